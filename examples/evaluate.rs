//! LipService beside other ways to cut logs, on one workload: `cargo run --release --example evaluate`.
//!
//! Purpose: the table of docs/evaluation.md.
//! Promises: seeded; the same arguments print the same figures; the workload is made as it is read.
//! Never: shows a method the labels.

use clap::Parser;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[path = "support/judge.rs"]
mod judge;
#[path = "support/quality.rs"]
mod quality;
#[path = "support/workload.rs"]
mod workload;

use quality::{Kept, by_severity, deduplicated, throttled, uniform};
use workload::Workload;

/// Arguments.
#[derive(Debug, Parser)]
struct Args {
    /// Seed of the workload.
    #[arg(long, default_value = "1")]
    seed: u64,
    /// Length of the workload in seconds; the policy is learned from the first half.
    #[arg(long, default_value = "7200")]
    seconds: u64,
    /// Records per second.
    #[arg(long, default_value = "300")]
    rate: f64,
    /// Patterns of each of the six services.
    #[arg(long, default_value = "80")]
    patterns: usize,
    /// Shares of the bytes to keep.
    #[arg(long, value_delimiter = ',', default_value = "0.2,0.1")]
    shares: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let Args { seed, seconds, rate, patterns, .. } = args;
    let workload = Workload { seed, seconds, rate, patterns };
    let truth = judge::truth(workload);
    println!("judged on {} records of the second half", truth.len());
    for share in args.shares {
        let start = std::time::Instant::now();
        let proposal = judge::learn(workload, share)?;
        let learned = start.elapsed();
        for finding in proposal.findings.iter().filter(|finding| !finding.ok) {
            println!("review: {}: {}", finding.check, finding.detail);
        }
        let start = std::time::Instant::now();
        let (ours, report) = judge::judge(workload, &proposal, &truth)?;
        eprintln!(
            "{} rules after {} replays in {learned:.1?}; judged in {:.1?}",
            proposal.rules.len(),
            proposal.replays,
            start.elapsed()
        );
        let bytes = ours.share();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut random = move || rng.random::<f64>();
        println!("\n### Asked for {:.0} % of the bytes\n", 100.0 * share);
        println!(
            "| method | bytes | patterns | ERROR+ | incidents | count error, weights | with summaries | a month |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        let month = report.total.month_before;
        row("LipService", &ours, month);
        row("uniform random", &uniform(&truth, bytes, &mut random), month);
        row("by severity", &by_severity(&truth, bytes, &mut random), month);
        row("throttled by signature", &throttled(&truth, bytes), month);
        row("exact duplicates", &deduplicated(&truth), month);
        println!(
            "\n{} of {} traces whole, {} in part",
            report.traces.whole, report.traces.traces, report.traces.broken
        );
    }
    Ok(())
}

/// Money by bytes: the free tier is the same for all.
fn row(name: &str, kept: &Kept, month: f64) {
    let q = kept.quality();
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let pair = |(median, p95): (f64, f64)| format!("{} / {}", percent(median), percent(p95));
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | ${:.2} |",
        percent(q.bytes),
        percent(q.patterns),
        percent(q.errors),
        percent(q.incidents),
        pair(q.weights),
        pair(q.counts),
        month * q.bytes
    );
}
