//! A million distinct signatures: memory stays under the bound, the overflow is counted.

use std::sync::atomic::Ordering;

use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::data_plane::window::config::WindowConfig;

use super::Bench;
use crate::support::otlp::{record, request_of};

const DISTINCT: u64 = 1_000_000;
const PER_REQUEST: u64 = 10_000;
const MAX_PATTERNS: usize = 5_000;

/// A word of letters only, different for every `i`: digits would be masked into one signature.
fn word(mut i: u64) -> String {
    let mut word = String::from("w");
    for _ in 0..8 {
        word.push(char::from(b'a' + (i % 26) as u8));
        i /= 26;
    }
    word
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

#[test]
fn a_million_signatures_stay_within_the_bound() {
    let window = WindowConfig { max_patterns: MAX_PATTERNS, ..WindowConfig::default() };
    let bench =
        Bench::new(&SamplerConfig { window, default_percentage: 1.0, ..SamplerConfig::default() }, "policies: []");
    let mut after_first = None;
    for first in (0..DISTINCT).step_by(PER_REQUEST as usize) {
        let records = (first..first + PER_REQUEST).map(|i| record(9, &format!("started {} again", word(i)))).collect();
        bench.send(request_of("web", records)).unwrap();
        bench.sink.take();
        if first == PER_REQUEST {
            after_first = resident_bytes();
        }
    }
    assert_eq!(bench.pipeline.table.len(), MAX_PATTERNS);
    let overflow = bench.pipeline.table.overflow_records.load(Ordering::Relaxed);
    assert_eq!(overflow, DISTINCT - MAX_PATTERNS as u64);
    let rows = bench.pipeline.table.snapshot(super::START, usize::MAX).rows;
    assert_eq!(rows.iter().map(|row| row.total.records).sum::<u64>(), DISTINCT);
    match (after_first, resident_bytes()) {
        // Other tests run in this process, so this bound is far above noise and far below a million entries (~1 GB).
        (Some(before), Some(after)) => {
            assert!(after.saturating_sub(before) < 300 << 20, "grew from {before} to {after}")
        }
        _ => eprintln!("SKIPPED the memory check: /proc/self/statm cannot be read here"),
    }
}
