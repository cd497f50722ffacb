//! LipService beside other ways to cut logs, on one workload: `cargo run --release --example evaluate`.
//!
//! Purpose: the table of docs/evaluation.md.
//! Promises: seeded; the same arguments print the same figures; the workload is made as it is read.
//! Never: shows a method the labels.

use clap::Parser;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[path = "../tests/patterns/evaluate.rs"]
#[expect(clippy::unwrap_used, dead_code, reason = "it is code of tests")]
mod labelled;

#[path = "support/judge.rs"]
mod judge;
#[path = "support/quality.rs"]
mod quality;
#[path = "support/workload.rs"]
mod workload;

use std::collections::BTreeMap;

use labelled::sets;
use lipservice::control_plane::generator::offline::Proposal;
use lipservice::control_plane::generator::plan::Standing;
use lipservice::units::Period;
use quality::{Kept, by_severity, deduplicated, throttled, uniform};
use workload::{CORPUS, Text, Workload};

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
    /// Draw from the lines of ../shared/loghub, each kind as often as it is there, instead of making them up.
    #[arg(long)]
    loghub: bool,
    /// Length of a window, in each of which every pattern leaves a record.
    #[arg(long, default_value = "60s")]
    window: Period,
    /// Shares of the bytes to keep.
    #[arg(long, value_delimiter = ',', default_value = "0.2,0.1")]
    shares: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let Args { seed, seconds, rate, mut patterns, .. } = args;
    if args.loghub {
        let corpus = corpus();
        if corpus.is_empty() {
            return Ok(());
        }
        println!("{} kinds of lines", corpus.len());
        patterns = 0;
        let _first = CORPUS.set(corpus);
    }
    let workload = Workload { seed, seconds, rate, patterns };
    let truth = judge::truth(workload);
    println!("judged on {} records of the second half", truth.len());
    for share in args.shares {
        let start = std::time::Instant::now();
        let proposal = judge::learn(workload, share, args.window)?;
        let learned = start.elapsed();
        for finding in proposal.findings.iter().filter(|finding| !finding.ok) {
            println!("review: {}: {}", finding.check, finding.detail);
        }
        println!("sent whatever the rates, of the first half: {}", standing(&proposal));
        let start = std::time::Instant::now();
        let (ours, report) = judge::judge(workload, &proposal, &truth, args.window)?;
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

/// Lines by set, template and severity, which is guessed: the sets have no common notion of it.
fn corpus() -> Vec<Text> {
    let mut kinds: BTreeMap<(usize, String, u8), Vec<String>> = BTreeMap::new();
    for (number, set) in sets("examples/evaluate").into_iter().enumerate() {
        for (line, template) in set.lines.into_iter().zip(set.truth) {
            let severity = severity(&line);
            kinds.entry((number, template, severity)).or_default().push(line);
        }
    }
    kinds.into_iter().map(|((set, _, severity), lines)| Text { set, severity, lines }).collect()
}

fn severity(line: &str) -> u8 {
    let lower = line.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["error", "fatal", "panic", "exception"]) {
        17
    } else if says(&["warn", "fail"]) {
        13
    } else {
        9
    }
}

/// What rates cannot change, in shares of all bytes.
fn standing(proposal: &Proposal) -> String {
    let Standing { protected, human, floor_and_novelty, summaries, least_rates, beyond_bounds } = &proposal.standing;
    let all = proposal.report.total.received.bytes;
    let share = |name: &str, bytes: f64| (bytes > 0.0).then(|| format!("{name} {:.1} %", 100.0 * bytes / all));
    let parts = [
        share("protected severities", *protected),
        share("human policies", *human),
        share("floor and novelty", *floor_and_novelty),
        share("summaries", *summaries),
        share("lowest rates", *least_rates),
        share("patterns beyond the bounds", *beyond_bounds),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
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
