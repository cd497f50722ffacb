//! An OTLP load generator: `cargo run --release --example loadgen -- --endpoint 127.0.0.1:4317`.
//!
//! Purpose: load a gateway with realistic records (about 600 bytes each) and say how fast it took them.
//! Promises: loopback and a bounded number of records by default; the same seed sends the same records.
//! Never: goes on after an answer that is neither success nor "retry later".

use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::Context;
use clap::Parser;

#[path = "support/encode.rs"]
mod encode;
#[path = "support/load.rs"]
mod load;
#[path = "support/mix.rs"]
mod mix;
#[path = "support/templates.rs"]
mod templates;
#[path = "support/traffic.rs"]
mod traffic;

use load::{Load, Pool, Protocol};

/// Arguments.
#[derive(Debug, Parser)]
struct Args {
    /// Address of the receiver: host:port, or a URL whose path is ignored.
    #[arg(long, default_value = "127.0.0.1:4317")]
    endpoint: String,
    #[arg(long, value_enum, default_value = "grpc")]
    protocol: Protocol,
    /// Records to send in all.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Records per request.
    #[arg(long, default_value_t = 512)]
    batch: usize,
    /// Compress requests.
    #[arg(long)]
    gzip: bool,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Cut or pad every body to this length.
    #[arg(long)]
    body_bytes: Option<usize>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Records per second; as fast as it goes without it.
    #[arg(long)]
    rate: Option<f64>,
}

fn address(endpoint: &str) -> anyhow::Result<SocketAddr> {
    let rest = endpoint.trim_start_matches("http://");
    let host = rest.split('/').next().unwrap_or(rest);
    let found = host.to_socket_addrs().with_context(|| format!("{endpoint}: write host:port"))?.next();
    found.with_context(|| format!("{endpoint} has no address"))
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    anyhow::ensure!(args.batch > 0, "--batch must be above 0");
    let load = Load {
        server: address(&args.endpoint)?,
        protocol: args.protocol,
        records: args.records,
        batch: args.batch,
        gzip: args.gzip,
        connections: args.connections,
        body_bytes: args.body_bytes,
        seed: args.seed,
        rate: args.rate,
    };
    let pool = Pool::new(&load)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let sent = runtime.block_on(load::send(load, pool))?;
    let seconds = sent.elapsed.as_secs_f64();
    println!(
        "{} records of {:.0} bytes in {} requests ({} retried), {seconds:.2} s: {:.0} records/s",
        sent.records,
        sent.record_bytes,
        sent.requests,
        sent.retries,
        sent.records as f64 / seconds,
    );
    Ok(())
}
