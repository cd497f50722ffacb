//! The built gateway as a child process.
//!
//! Purpose: start `lipservice run` on free loopback ports, read what it costs, stop it as an operator would.
//! Promises: ready means its health endpoint says so; its own log goes to a file; it does not outlive its owner, except
//! when the owner is killed outright.
//! Never: reads anything but the child's own /proc entries.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

/// The ports of one gateway.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// OTLP/gRPC.
    pub grpc: u16,
    /// OTLP/HTTP.
    pub http: u16,
    /// Health.
    pub health: u16,
    /// Metrics and patterns.
    pub metrics: u16,
    /// The API, where the configuration has one.
    pub api: u16,
}

impl Ports {
    /// The usual ports where they are free, else any.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn usual_or_free() -> anyhow::Result<Self> {
        Self::choose([4317, 4318, 13133, 8888, 8000])
    }

    /// Any free ports.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn free() -> anyhow::Result<Self> {
        Self::choose([0; 5])
    }

    fn choose(wanted: [u16; 5]) -> anyhow::Result<Self> {
        // All are held until all are chosen, so that none is chosen twice.
        let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let held = wanted.map(|port| bind(port).or_else(|_| bind(0)));
        let mut ports = [0; 5];
        for (port, listener) in ports.iter_mut().zip(held) {
            *port = listener.and_then(|listener| listener.local_addr()).context("no free loopback port")?.port();
        }
        let [grpc, http, health, metrics, api] = ports;
        Ok(Ports { grpc, http, health, metrics, api })
    }
}

/// A port of this machine.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Largest resident set so far, in bytes.
    pub peak_rss_bytes: u64,
    /// Resident set now, in bytes.
    pub rss_bytes: u64,
}

/// A running gateway; killed when dropped.
pub struct Gateway {
    child: Child,
    /// Where it listens.
    pub ports: Ports,
    /// Its own log.
    pub log: PathBuf,
}

impl Gateway {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When the program is not built, or ends, or is not ready in time; the message holds the end of its log.
    pub async fn start(
        config: &Path,
        ports: Ports,
        environment: &[(&str, String)],
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let program = program()?;
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(config).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(out);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        // A group of its own: Ctrl-C is for the owner, who then stops the gateway in order.
        command.process_group(0);
        let child = command.spawn().context("cannot start the gateway")?;
        let mut gateway = Gateway { child, ports, log };
        let ready = tokio::time::timeout(Duration::from_secs(30), gateway.ready()).await;
        match ready {
            Ok(result) => result?,
            Err(_) => bail!("the gateway was not ready after 30 s\n{}", gateway.end_of_log()),
        }
        Ok(gateway)
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let url = format!("http://{}/health/ready", local(self.ports.health));
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the gateway ended with {status}\n{}", self.end_of_log());
            }
            if client.get(&url).send().await.is_ok_and(|response| response.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The last lines of its log.
    pub fn end_of_log(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has used; zeros once it has ended.
    pub fn usage(&self) -> Usage {
        usage(self.child.id()).unwrap_or_default()
    }

    /// Asks it to drain and end, and waits.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn stop(mut self) -> anyhow::Result<ExitStatus> {
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        asked.context("cannot run kill")?;
        let ended = async {
            loop {
                match self.child.try_wait() {
                    Ok(Some(status)) => return status,
                    _ => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        ended.context("the gateway did not end within 60 s of SIGTERM")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails where it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `target/<profile>/lipservice`, beside the directory of this example.
fn program() -> anyhow::Result<PathBuf> {
    let example = std::env::current_exe()?;
    let directory = example.parent().and_then(Path::parent).context("this example has no directory")?;
    let program = directory.join("lipservice");
    if !program.is_file() {
        bail!("{} is missing: build it with `cargo build --bin lipservice` and the same profile", program.display());
    }
    Ok(program)
}

/// What a process has used. Linux only; the clock ticks 100 times a second on every architecture it runs on.
pub fn usage(pid: u32) -> Option<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may hold spaces; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Usage {
        cpu: Duration::from_millis(ticks * 10),
        peak_rss_bytes: kib("VmHWM").unwrap_or(0) << 10,
        rss_bytes: kib("VmRSS").unwrap_or(0) << 10,
    })
}
