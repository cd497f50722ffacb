//! The bars of docs/evaluation.md on a smaller workload: the policy is learned from the first half and judged on the second.

use std::collections::HashSet;

use lipservice::data_plane::signature::Signer;
use lipservice::data_plane::view::LogIndex;
use lipservice::units::Period;

use super::judge::{judge, learn, truth};
use super::quality::{by_severity, deduplicated, labels, throttled, uniform};
use super::workload::{CORPUS, Text, Workload};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const SMALL: Workload = Workload { seed: 11, seconds: 2_400, rate: 40.0, patterns: 12 };
const WINDOW: Period = Period::secs(60);

#[test]
fn a_tenth_of_the_bytes_keeps_every_pattern_and_every_error() {
    let truth = truth(SMALL);
    let proposal = learn(SMALL, 0.1, WINDOW).unwrap();
    let (kept, report) = judge(SMALL, &proposal, &truth, WINDOW).unwrap();
    let q = kept.quality();
    let failed: Vec<_> = proposal.findings.iter().filter(|finding| !finding.ok).collect();
    assert!(report.checks.pass(), "{:?}", report.checks);
    assert_eq!(q.patterns, 1.0, "{q:?}");
    assert_eq!(q.errors, 1.0, "{q:?}");
    assert!(q.incidents >= 0.95, "{q:?}");
    assert!(q.counts.0 <= 0.02, "{q:?}");
    // A tenth of so little is a handful of records a pattern: the bar for weights alone is the large workload's.
    assert!(q.weights.0 <= 0.3, "{q:?}");
    assert!(q.bytes <= 0.25, "{q:?} {failed:?}");
    // At the same bytes the others lose what was kept here.
    let mut rng = StdRng::seed_from_u64(1);
    let blind = uniform(&truth, q.bytes, &mut || rng.random::<f64>()).quality();
    assert!(blind.patterns < 0.9 && blind.errors < 0.5, "{blind:?}");
    let severe = by_severity(&truth, q.bytes, &mut || rng.random::<f64>()).quality();
    assert!(severe.patterns < 1.0, "{severe:?}");
    assert!(deduplicated(&truth).share() > 0.9, "values make texts differ: hardly any is an exact duplicate");
    assert!(throttled(&truth, q.bytes).quality().weights.0 > q.weights.0);
}

#[test]
fn the_workload_is_the_same_twice_and_labelled_truly() {
    let records = || {
        let (mut index, mut signer, mut out) = (LogIndex::default(), Signer::default(), Vec::new());
        SMALL.stream().for_each(|request| labels(&request, &mut index, &mut signer, &mut out));
        out
    };
    let (first, second) = (records(), records());
    assert!(first.len() > 80_000, "{}", first.len());
    assert!(first.iter().map(|l| (l.text_hash, l.second)).eq(second.iter().map(|l| (l.text_hash, l.second))));
    // One signature is one pattern and one pattern is one signature.
    let pairs: HashSet<_> = first.iter().map(|label| (label.pattern, label.signature)).collect();
    let patterns: HashSet<_> = first.iter().map(|label| label.pattern).collect();
    let signatures: HashSet<_> = first.iter().map(|label| label.signature).collect();
    assert_eq!(pairs.len(), patterns.len());
    assert_eq!(pairs.len(), signatures.len());
    assert!(first.iter().any(|label| label.is_incident) && first.iter().any(|label| label.severity == 17));
}

#[test]
fn lines_of_a_corpus_come_as_often_as_they_are_in_it() {
    let text =
        |severity, lines: &[&str]| Text { set: 0, severity, lines: lines.iter().map(|l| l.to_string()).collect() };
    CORPUS.get_or_init(|| vec![text(9, &["a", "b", "b"]), text(17, &["it failed"])]);
    let drawn = Workload { patterns: 0, rate: 50.0, seconds: 40, seed: 3 };
    let (mut index, mut signer, mut out) = (LogIndex::default(), Signer::default(), Vec::new());
    drawn.stream().for_each(|request| labels(&request, &mut index, &mut signer, &mut out));
    let errors = out.iter().filter(|label| label.severity == 17).count() as f64 / out.len() as f64;
    assert!((0.2..0.3).contains(&errors) && out.len() > 1_500, "{errors} of {}", out.len());
}
