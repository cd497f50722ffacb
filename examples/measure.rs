//! End-to-end cost of the gateway: `cargo build --release && cargo run --release --example measure`.
//!
//! Purpose: CPU-seconds of the server process per million records and its peak memory, by protocol, batch size and
//! compression, 20 % kept and forwarded; and a steady run at a million records a minute.
//! Promises: a fresh gateway process for every row; load generator and sink run in this process and are not counted;
//! loopback only. Prints Markdown for docs/benchmarks.md.
//! Never: states a figure of anything but this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

#[path = "support/encode.rs"]
mod encode;
#[path = "support/gateway.rs"]
#[expect(dead_code, reason = "usual ports are for the demo")]
mod gateway;
#[path = "support/load.rs"]
mod load;
#[path = "support/mix.rs"]
mod mix;
#[path = "support/relay.rs"]
mod relay;
#[path = "support/scrape.rs"]
#[expect(dead_code, reason = "single metrics are for the demo")]
mod scrape;
#[path = "support/sink.rs"]
mod sink;
#[path = "support/templates.rs"]
mod templates;
#[path = "support/traffic.rs"]
mod traffic;

use gateway::{Gateway, Ports, Usage, local};
use load::{Load, Pool, Protocol, Sent};
use relay::Relay;
use scrape::{Scraper, Totals};

/// Arguments.
#[derive(Debug, Parser)]
struct Args {
    /// Records per row.
    #[arg(long, default_value_t = 3_000_000)]
    records: u64,
    /// Length of the steady run.
    #[arg(long, default_value_t = 30)]
    steady_seconds: u64,
    /// Connections of the load generator.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Only rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Extra lines for the sampler's configuration, such as `floor_records: 0`.
    #[arg(long, default_value = "")]
    sampler: String,
    /// For a profiler: print the pid of the gateway and wait
    /// this many seconds before the load.
    #[arg(long, default_value_t = 0)]
    pause_seconds: u64,
    /// Instead of the gateway, measure a relay that looks at nothing: what is left when all of its own work is gone.
    #[arg(long)]
    relay_only: bool,
    /// For the program itself.
    #[arg(long, hide = true)]
    relay: Option<String>,
}

/// One row.
#[derive(Clone, Copy, Debug)]
struct Case {
    protocol: Protocol,
    batch: usize,
    gzip_in: bool,
    out: &'static str,
    rate: Option<f64>,
}

impl Case {
    fn name(&self) -> String {
        let protocol = if self.protocol == Protocol::Grpc { "gRPC" } else { "HTTP" };
        let gzip = if self.gzip_in { "gzip" } else { "none" };
        let rate = if self.rate.is_some() { " steady" } else { "" };
        format!("{protocol} {} {gzip} {}{rate}", self.batch, self.out)
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let case = |protocol, batch, gzip_in, out| Case { protocol, batch, gzip_in, out, rate: None };
    for protocol in [Protocol::Grpc, Protocol::Http] {
        for batch in [512, 8192] {
            for gzip in [false, true] {
                cases.push(case(protocol, batch, gzip, "none"));
            }
        }
    }
    for protocol in [Protocol::Grpc, Protocol::Http] {
        for batch in [64, 8] {
            cases.push(case(protocol, batch, false, "none"));
        }
    }
    for out in ["gzip", "zstd"] {
        cases.push(case(Protocol::Grpc, 512, false, out));
    }
    for (protocol, out) in [(Protocol::Grpc, "none"), (Protocol::Grpc, "gzip"), (Protocol::Http, "none")] {
        cases.push(Case { rate: Some(1e6 / 60.0), ..case(protocol, 512, false, out) });
    }
    cases
}

struct Measured {
    sent: Sent,
    totals: Totals,
    cpu: Duration,
    after: Usage,
    out_requests: u64,
    out_bytes: u64,
}

fn main() -> anyhow::Result<()> {
    // Already installed is as good: there is only one provider in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    if let Some(addresses) = &args.relay {
        return relay::run(addresses);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    heading();
    for case in cases().into_iter().filter(|case| case.name().contains(&args.only)) {
        let records = match case.rate {
            Some(rate) => (rate * args.steady_seconds as f64) as u64,
            None if case.batch < 64 => args.records / 4,
            None => args.records,
        };
        let measured = async {
            if args.relay_only {
                measure_relay(&args, case, records).await
            } else {
                measure(&args, case, records).await
            }
        };
        let measured = runtime.block_on(measured).with_context(|| case.name())?;
        print(case, &measured);
    }
    Ok(())
}

fn config(case: Case, ports: Ports, sink: std::net::SocketAddr, more: &str) -> String {
    let Ports { grpc, http, health, metrics, .. } = ports;
    format!(
        "receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: '127.0.0.1:{grpc}' }}, http: {{ endpoint: '127.0.0.1:{http}' }} }} }} }}
processors: {{ sampler: {{ default_percentage: 20, {more} }} }}
exporters: {{ otlp_http/sink: {{ endpoint: 'http://{sink}', compression: {out} }} }}
extensions: {{ health_check: {{ endpoint: '127.0.0.1:{health}' }} }}
service:
  extensions: [health_check]
  pipelines: {{ logs: {{ receivers: [otlp], processors: [sampler], exporters: [otlp_http/sink] }} }}
  telemetry: {{ metrics: {{ address: '127.0.0.1:{metrics}' }} }}
",
        out = case.out,
    )
}

async fn measure(args: &Args, case: Case, records: u64) -> anyhow::Result<Measured> {
    let (sink, counts) = sink::start().await?;
    let ports = Ports::free()?;
    let stem = format!("lipservice-measure-{}", std::process::id());
    let directory = std::env::temp_dir();
    let file = |kind: &str| -> PathBuf { directory.join(format!("{stem}.{kind}")) };
    std::fs::write(file("yaml"), config(case, ports, sink, &args.sampler))?;
    let gateway = Gateway::start(&file("yaml"), ports, &[], file("log")).await?;
    let load = load_of(args, case, ports, records);
    let pool = Pool::new(&load)?;
    if args.pause_seconds > 0 {
        eprintln!("{}: waiting {} s, pid {}", case.name(), args.pause_seconds, gateway.pid());
        tokio::time::sleep(Duration::from_secs(args.pause_seconds)).await;
    }
    let before = gateway.usage();
    let sent = load::send(load, pool).await?;
    quiet(&counts).await;
    let after = gateway.usage();
    let totals = Scraper::new(local(ports.metrics))?.totals().await?;
    gateway.stop().await?;
    for kind in ["yaml", "log"] {
        // Temporary files; the system cleans up where this fails.
        let _ = std::fs::remove_file(file(kind));
    }
    Ok(Measured {
        sent,
        totals,
        cpu: after.cpu.saturating_sub(before.cpu),
        after,
        out_requests: counts.requests.load(Ordering::Relaxed),
        out_bytes: counts.bytes.load(Ordering::Relaxed),
    })
}

fn load_of(args: &Args, case: Case, ports: Ports, records: u64) -> Load {
    Load {
        server: local(if case.protocol == Protocol::Grpc { ports.grpc } else { ports.http }),
        protocol: case.protocol,
        records,
        batch: case.batch,
        gzip: case.gzip_in,
        connections: args.connections,
        body_bytes: None,
        seed: 1,
        rate: case.rate,
    }
}

/// The same load on a relay. It knows of no records, so what it kept is not told.
async fn measure_relay(args: &Args, case: Case, records: u64) -> anyhow::Result<Measured> {
    let (sink, counts) = sink::start().await?;
    let ports = Ports::free()?;
    let relay = Relay::start(ports, sink).await?;
    let load = load_of(args, case, ports, records);
    let pool = Pool::new(&load)?;
    if args.pause_seconds > 0 {
        eprintln!("{}: waiting {} s, pid {}", case.name(), args.pause_seconds, relay.pid());
        tokio::time::sleep(Duration::from_secs(args.pause_seconds)).await;
    }
    let before = relay.usage();
    let sent = load::send(load, pool).await?;
    quiet(&counts).await;
    let after = relay.usage();
    Ok(Measured {
        sent,
        totals: Totals { received: sent.records, ..Totals::default() },
        cpu: after.cpu.saturating_sub(before.cpu),
        after,
        out_requests: counts.requests.load(Ordering::Relaxed),
        out_bytes: counts.bytes.load(Ordering::Relaxed),
    })
}

/// Waits until nothing more arrives at the sink.
async fn quiet(counts: &Arc<sink::Counts>) {
    let mut last = u64::MAX;
    while last != counts.bytes.load(Ordering::Relaxed) {
        last = counts.bytes.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn heading() {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let date = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
    println!(
        "{}, {cores} vCPU ({}), lipservice {}",
        &date[..10],
        model.trim_start_matches([':', '\t', ' ']),
        env!("CARGO_PKG_VERSION")
    );
    println!();
    println!(
        "| in | batch | in | out | records/s | CPU-s per M records | of one core | peak memory | kept | requests out |"
    );
    println!("|---|--:|---|---|--:|--:|--:|--:|--:|--:|");
}

fn print(case: Case, measured: &Measured) {
    let Measured { sent, totals, cpu, after, out_requests, out_bytes } = measured;
    let millions = sent.records as f64 / 1e6;
    let seconds = sent.elapsed.as_secs_f64();
    println!(
        "| {} | {} | {} | {} | {:.0}{} | **{:.2}** | {:.1} % | {:.0} MB | {:.1} % | {out_requests} of {:.0} kB |",
        if case.protocol == Protocol::Grpc { "gRPC" } else { "HTTP" },
        case.batch,
        if case.gzip_in { "gzip" } else { "plain" },
        if case.out == "none" { "plain" } else { case.out },
        sent.records as f64 / seconds,
        if case.rate.is_some() { " (steady)" } else { "" },
        cpu.as_secs_f64() / millions,
        100.0 * cpu.as_secs_f64() / seconds,
        after.peak_rss_bytes as f64 / 1e6,
        100.0 * totals.kept as f64 / totals.received.max(1) as f64,
        *out_bytes as f64 / 1e3 / (*out_requests).max(1) as f64,
    );
    if totals.received != sent.records {
        eprintln!("the gateway counts {} records, {} were sent", totals.received, sent.records);
    }
    eprintln!(
        "{}: {} records of {:.0} bytes, {} requests, {} retried, {:.1} MB resident at the end",
        case.name(),
        sent.records,
        sent.record_bytes,
        sent.requests,
        sent.retries,
        after.rss_bytes as f64 / 1e6
    );
}
