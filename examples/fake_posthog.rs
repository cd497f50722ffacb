//! `cargo run --example fake_posthog`: the stand-in for PostHog's Logs, by hand.
//!
//! Purpose: try `lipservice run`, `analyze --from posthog`, `generate --from posthog` and scripts without an account.
//! Promises: loopback only; holds a day of made-up traffic at the start, the same for the same seed, count and end; keeps
//! rows in memory until Ctrl-C.
//! Never: is PostHog. It is a MODEL written from its public source as of September 2026, never compared with PostHog Cloud;
//! `tests/support/fake_posthog` says what it does and what it leaves out.

use std::time::Duration;

use clap::Parser;
use lipservice::data_plane::policy::parse_timestamp;

#[path = "support/encode.rs"]
#[expect(dead_code, reason = "requests are for what sends")]
mod encode;
#[path = "../tests/support/fake_posthog/mod.rs"]
#[expect(dead_code, unused_imports, reason = "some of its faults are for tests")]
mod fake_posthog;
#[path = "support/history.rs"]
mod history;
#[path = "support/templates.rs"]
mod templates;
#[path = "support/timeline.rs"]
mod timeline;
#[path = "support/traffic.rs"]
mod traffic;

use fake_posthog::{FakePostHog, PROJECT, READER, ReadFaults};

/// Arguments.
#[derive(Debug, Parser)]
struct Args {
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 8010)]
    port: u16,
    /// Rows that are there from the start, spread over the day before the end.
    #[arg(long, default_value_t = 50_000)]
    rows: u64,
    /// When that day ends, such as 2026-11-22T18:00:00Z; now when left out. Read it with the same --until.
    #[arg(long, value_name = "TIME", value_parser = time)]
    end: Option<u64>,
    /// Of those, rows that appear only while others are read.
    #[arg(long, default_value_t = 0)]
    late: u64,
    /// Seed of rows and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests a minute that are answered.
    #[arg(long, default_value_t = 240)]
    per_minute: usize,
    /// Requests an hour that are answered.
    #[arg(long, default_value_t = 1_200)]
    per_hour: usize,
    /// Share of read requests that get a 429.
    #[arg(long, default_value_t = 0.0)]
    busy: f64,
    /// Share of read requests that get a 500.
    #[arg(long, default_value_t = 0.0)]
    fail: f64,
    /// Share of read requests whose answer breaks off.
    #[arg(long, default_value_t = 0.0)]
    reset: f64,
    /// Share of read requests that get the page before once more.
    #[arg(long, default_value_t = 0.0)]
    duplicate: f64,
    /// Share of read requests that are answered slowly.
    #[arg(long, default_value_t = 0.0)]
    slow: f64,
    /// How slowly, in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    slow_ms: u64,
}

fn time(text: &str) -> Result<u64, String> {
    parse_timestamp(text).ok_or_else(|| "write a time with its offset, such as 2026-11-22T18:00:00Z".into())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let posthog = FakePostHog::start_on(args.port).await?;
    let mut rows = history::rows(args.seed, args.rows, args.end.unwrap_or_else(history::now));
    let late = rows.split_off(rows.len().saturating_sub(args.late as usize));
    posthog.add_rows(rows);
    posthog.read_side(|read| {
        read.limits = (args.per_minute, args.per_hour);
        read.late = late.into_iter().enumerate().map(|(at, row)| (at as u64 / 50 + 2, row)).collect();
        read.faults = ReadFaults {
            seed: args.seed,
            busy: args.busy,
            retry_after: Some("1".into()),
            fail: args.fail,
            reset: args.reset,
            duplicate: args.duplicate,
            slow: args.slow,
            slow_by: Duration::from_millis(args.slow_ms),
        };
    });
    let url = posthog.url();
    println!("A stand-in for PostHog (a model, not PostHog) listens at {url} with {} rows.", args.rows);
    println!("Send:  OTLP/HTTP to {url}/i/v1/logs, any token of the form phc_...");
    println!("Read:  export POSTHOG_HOST={url} POSTHOG_PROJECT_ID={PROJECT} POSTHOG_PERSONAL_API_KEY={READER}");
    println!("       lipservice analyze --from posthog");
    println!("Ctrl-C ends it.");
    tokio::signal::ctrl_c().await?;
    let injected = posthog.read_side(|read| read.injected.clone());
    println!(
        "{} rows, {} read requests, faults: {injected:?}",
        posthog.row_count(),
        posthog.read_side(|read| read.requests)
    );
    Ok(())
}
