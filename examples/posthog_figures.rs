//! The figures of reading PostHog: `cargo build --release && cargo run --release --example posthog_figures`.
//!
//! Purpose: a history of a million rows with every fault the stand-in has, killed on the way: rows lost or doubled, peak
//! memory, time; a cold start from a history to a reviewed policy; its prediction against the gateway itself.
//! Promises: the real binary as a process, the stand-in (a model, not PostHog) in this one; loopback only; fails when a row
//! is lost or doubled. Prints Markdown for docs/benchmarks.md.
//! Never: states a figure of anything but this machine.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use lipservice::control_plane::posthog::{Checkpoint, SPOOL_FILE, SpoolReader};

#[path = "support/bill.rs"]
mod bill;
#[path = "support/encode.rs"]
#[expect(dead_code, reason = "requests are built from rows here")]
mod encode;
#[path = "../tests/support/fake_posthog/mod.rs"]
#[expect(dead_code, unused_imports, reason = "some of its faults are for tests")]
mod fake_posthog;
#[path = "support/history.rs"]
mod history;
#[path = "support/sink.rs"]
mod sink;
#[path = "support/templates.rs"]
mod templates;
#[path = "support/timeline.rs"]
mod timeline;
#[path = "support/traffic.rs"]
mod traffic;

use fake_posthog::{FakePostHog, PROJECT, READER, ReadFaults, Row};

/// Arguments.
#[derive(Debug, Parser)]
struct Args {
    /// Rows of the history.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Share of bytes that may be sent.
    #[arg(long, default_value = "30%")]
    budget: String,
    /// The built program.
    #[arg(long, default_value = "target/release/lipservice")]
    program: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    let directory = tempfile::tempdir()?;
    let rows = history::rows(1, args.rows, history::now());
    println!("| {} rows | time | CPU | peak memory | requests | |\n|---|---|---|---|---|---|", args.rows);
    for api in ["logs", "hogql"] {
        faults(&args, api, &rows, directory.path()).await?;
    }
    cold_start(&args, rows, directory.path()).await
}

fn config(posthog: &FakePostHog, sampler: &str, directory: &Path) -> anyhow::Result<PathBuf> {
    let path = directory.join("config.yaml");
    let key = directory.join("key");
    std::fs::write(&key, READER)?;
    let text = format!(
        "{}posthog: {{host: '{}', project: {PROJECT}, api_key_file: '{}', requests_per_minute: 1000000, \
         requests_per_hour: 1000000, max_attempts: 50, initial_interval: 10ms, max_interval: 100ms}}\n",
        bill::config_text(sampler, "http://127.0.0.1:9"),
        posthog.url(),
        key.display()
    );
    std::fs::write(&path, text)?;
    Ok(path)
}

/// A run of the program: its peak memory and CPU time while it lasted, looked at every 20 ms.
struct Run {
    child: Child,
    peak_kib: u64,
    cpu: Duration,
}

impl Run {
    fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Run> {
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Run::of(command.spawn().with_context(|| format!("starting {}", program.display()))?))
    }

    fn of(child: Child) -> Run {
        Run { child, peak_kib: 0, cpu: Duration::ZERO }
    }

    fn look(&mut self) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|rest| rest.trim().split(' ').next()?.parse().ok());
        self.peak_kib = self.peak_kib.max(peak.unwrap_or(0));
        // Fields 14 and 15 of stat, in ticks of 10 ms; the name before them may hold anything but a last parenthesis.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        self.cpu = self.cpu.max(Duration::from_millis(ticks * 10));
    }

    /// Waits for its end, or kills it once `enough` holds. Says whether it ended by itself, and well.
    async fn wait(&mut self, enough: impl Fn() -> bool) -> anyhow::Result<bool> {
        loop {
            self.look();
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.success());
            }
            if enough() {
                self.child.kill()?;
                self.child.wait()?;
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn faults(args: &Args, api: &str, rows: &[Row], directory: &Path) -> anyhow::Result<()> {
    let posthog = FakePostHog::start().await?;
    let is_late = |at: usize| at % 997 == 3;
    posthog.add_rows(rows.iter().enumerate().filter(|(at, _)| !is_late(*at)).map(|(_, row)| row.clone()));
    let late = rows.iter().enumerate().filter(|(at, _)| is_late(*at)).map(|(_, row)| row.clone());
    let late: VecDeque<(u64, Row)> = late.enumerate().map(|(at, row)| (at as u64 / 20 + 3, row)).collect();
    posthog.read_side(|read| {
        read.limits = (usize::MAX, usize::MAX);
        read.late = late;
        read.faults = ReadFaults {
            seed: 7,
            busy: 0.05,
            retry_after: Some("0.05".into()),
            fail: 0.05,
            reset: 0.05,
            duplicate: 0.05,
            slow: 0.05,
            slow_by: Duration::from_millis(100),
        };
    });
    let config = config(&posthog, "", directory)?;
    let (checkpoint, report) = (directory.join(format!("fetch-{api}")), directory.join(format!("{api}.json")));
    let [config, kept, output] = [&config, &checkpoint, &report].map(|path| path.display().to_string());
    let arguments = ["analyze", "--from", "posthog", "--posthog-api", api, "--config", &config, "--checkpoint", &kept];
    let arguments = [&arguments[..], &["--format", "json", "--output", &output]].concat();
    let (start, mut peak, mut kills, mut cpu) = (Instant::now(), 0, 0, Duration::ZERO);
    let pages = if api == "logs" { args.rows / 1_000 } else { args.rows / 10_000 };
    loop {
        let mut run = Run::start(&args.program, &arguments)?;
        let stop_at = posthog.read_side(|read| read.requests) + pages / 3;
        let is_killed = kills < 3;
        let ended = run.wait(|| is_killed && posthog.read_side(|read| read.requests) >= stop_at).await?;
        peak = peak.max(run.peak_kib);
        cpu += run.cpu;
        if ended {
            break;
        }
        ensure!(is_killed, "the program failed");
        kills += 1;
    }
    let elapsed = start.elapsed();
    let value: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    ensure!(value["messages"] == args.rows, "{} messages in the analysis", value["messages"]);
    same_ids(&checkpoint, &posthog)?;
    let (requests, injected) = posthog.read_side(|read| (read.requests, read.injected.clone()));
    println!(
        "| analyze, {api} API, {kills} × kill -9 | {:.0} s | {:.0} s | {} MiB | {requests} | every row once; {injected:?} |",
        elapsed.as_secs_f64(),
        cpu.as_secs_f64(),
        peak >> 10
    );
    Ok(())
}

/// Every id of the stand-in is in the spool once, and no other.
fn same_ids(checkpoint: &Path, posthog: &FakePostHog) -> anyhow::Result<()> {
    let found = Checkpoint::load(checkpoint).map_err(anyhow::Error::msg)?.context("no checkpoint")?;
    let mut reader = SpoolReader::open(&checkpoint.join(SPOOL_FILE), found.spool_bytes)?;
    let mut read = Vec::new();
    while let Some(ids) = reader.next_page()? {
        read.extend(ids.iter().map(|(id, _)| id.clone()));
    }
    read.sort_unstable();
    let mut stored: Vec<String> = posthog.take_rows().iter().map(Row::uuid).collect();
    stored.sort_unstable();
    ensure!(read == stored, "{} ids in the spool, {} in the stand-in", read.len(), stored.len());
    Ok(())
}

async fn cold_start(args: &Args, rows: Vec<Row>, directory: &Path) -> anyhow::Result<()> {
    let posthog = FakePostHog::start().await?;
    posthog.add_rows(rows.iter().cloned());
    let config = config(&posthog, "", directory)?;
    let (policy, found) = (directory.join("policy.yaml"), directory.join("found.json"));
    let start = Instant::now();
    let mut command = Command::new(&args.program);
    command.args(["generate", "--from", "posthog", "--budget", &args.budget, "--json", "--config"]).arg(&config);
    command.arg("--output").arg(&policy).stderr(std::fs::File::create(&found)?);
    let mut run = Run::of(command.spawn()?);
    let passed = run.wait(|| false).await?;
    let elapsed = start.elapsed();
    let text = std::fs::read_to_string(&found)?;
    ensure!(passed, "generate failed:\n{text}");
    let requests = posthog.read_side(|read| read.requests);
    println!(
        "| generate --budget {}, no LLM | {:.1} s | {:.1} s | {} MiB | {requests} | reviewed |",
        args.budget,
        elapsed.as_secs_f64(),
        run.cpu.as_secs_f64(),
        run.peak_kib >> 10
    );
    drop(posthog.take_rows());
    let json = &text[text.find('{').context("no JSON")?..];
    let found: serde_json::Value = serde_json::from_str(json)?;
    let bytes = |side: &str| found["total"][side]["bytes"].as_f64().unwrap_or(0.0);
    let predicted = 1.0 - (bytes("kept") + bytes("summaries")) / bytes("received");
    let all = bill::billed(&rows, "").await? as f64;
    let sampled = bill::billed(&rows, &format!("policies: ['{}']", policy.display())).await? as f64;
    let measured = 1.0 - sampled / all;
    println!(
        "\nSaving predicted {:.2} %, measured at the gateway {:.2} % ({:+.2} % of it); {:.0} MB billed without, {:.0} MB with.",
        100.0 * predicted,
        100.0 * measured,
        100.0 * (predicted / measured - 1.0),
        all / 1e6,
        sampled / 1e6
    );
    Ok(())
}
