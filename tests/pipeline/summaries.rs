//! What was dropped is reported, exactly.

use std::collections::BTreeMap;

use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::data_plane::window::config::WindowConfig;

use super::Bench;
use crate::support::otlp::{int_at, record, records_in, request_of, string_at, traced};

const NOISE: &str = "policies:
- {id: noise, name: none, log: {match: [{log_field: body, contains: noise}], keep: none}}
- {id: half, name: h, log: {match: [{log_field: body, contains: half}], keep: 50%}}";

#[test]
fn every_pattern_that_lost_records_leaves_one_summary() {
    let bench = Bench::new(&SamplerConfig::default(), NOISE);
    let mut records: Vec<_> = (0..7).map(|_| record(9, "some noise")).collect();
    records.extend((0..5).map(|_| traced(9, "half of it", 0)));
    records.push(record(9, "signal"));
    let kept = bench.pass("web", records).len();
    assert_eq!(kept, 1 + 1, "the signal, and the first of a new pattern");
    assert_eq!(bench.pipeline.summarise(), 2);
    let summaries = bench.arrived();
    let mut by_policy = BTreeMap::new();
    for (service, summary) in &summaries {
        assert_eq!(service, "web");
        assert_eq!(int_at(&summary.attributes, "lip.summary"), Some(1));
        let policy = string_at(&summary.attributes, "lip.policy").unwrap();
        by_policy.insert(policy, int_at(&summary.attributes, "lip.records").unwrap());
    }
    assert_eq!(by_policy, BTreeMap::from([("noise".into(), 7), ("half".into(), 4)]));
    assert_eq!(bench.pipeline.summarise(), 0, "nothing is reported twice");
    let totals = bench.pipeline.ledger.totals();
    assert_eq!((totals.received.records, totals.kept.records, totals.dropped.records), (13, 2, 11));
    assert_eq!(totals.summaries.records, 2);
}

#[test]
fn a_summary_that_finds_no_room_goes_later() {
    let bench = Bench::new(&SamplerConfig::default(), NOISE);
    bench.pass("web", (0..7).map(|_| record(9, "some noise")).collect());
    bench.sink.set_full(true);
    assert_eq!(bench.pipeline.summarise(), 0);
    bench.sink.set_full(false);
    bench.pass("web", (0..3).map(|_| record(9, "some noise")).collect());
    assert_eq!(bench.pipeline.summarise(), 1);
    assert_eq!(int_at(&bench.arrived()[0].1.attributes, "lip.records"), Some(10));
}

#[test]
fn summaries_go_to_the_token_that_sent_the_records() {
    let bench = Bench::new(&SamplerConfig::default(), NOISE);
    for (token, n) in [("phc_a", 2), ("phc_b", 3)] {
        bench.send_as(request_of("web", (0..n).map(|_| record(9, "some noise")).collect()), Some(token)).unwrap();
    }
    bench.sink.take();
    bench.pipeline.summarise();
    let mut counts = BTreeMap::new();
    for outgoing in bench.sink.take() {
        let token = outgoing.token.as_deref().unwrap().to_owned();
        let records = records_in(&outgoing.body);
        counts.insert(token, int_at(&records[0].1.attributes, "lip.records").unwrap());
    }
    assert_eq!(counts, BTreeMap::from([("phc_a".into(), 2), ("phc_b".into(), 3)]));
}

#[test]
fn a_pattern_is_forgotten_only_after_its_summary() {
    let bench = Bench::new(&SamplerConfig::default(), NOISE);
    bench.pass("web", (0..3).map(|_| record(9, "some noise")).collect());
    bench.advance(4_000);
    assert_eq!(bench.pipeline.evict_idle(), 0, "something is left to report");
    bench.pipeline.summarise();
    assert_eq!(bench.pipeline.evict_idle(), 1);
    assert_eq!(bench.pipeline.table.len(), 0);
    bench.pass("web", vec![record(9, "some noise")]);
    assert_eq!(bench.pipeline.table.len(), 1, "a cached entry of a forgotten pattern is not used");
    bench.pipeline.summarise();
    assert_eq!(bench.arrived().len(), 1);
}

#[test]
fn patterns_beyond_the_bound_share_an_entry_that_is_counted() {
    let window = WindowConfig { max_patterns: 10, max_services: 3, ..WindowConfig::default() };
    let bench = Bench::new(&SamplerConfig { window, ..SamplerConfig::default() }, NOISE);
    let word =
        |i: usize| "abcdefghijklmnopqrstuvwxyz".chars().cycle().skip(i % 26).take(3 + i / 26).collect::<String>();
    for service in 0..20 {
        let records = (0..100).map(|i| record(9, &format!("noise {}", word(i)))).collect();
        bench.pass(&format!("service-{service}"), records);
    }
    assert_eq!(bench.pipeline.table.len(), 10);
    let overflow = bench.pipeline.table.overflow_records.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(overflow, 2_000 - 10);
    let rows = bench.pipeline.table.snapshot(super::START, 1_000).rows;
    assert_eq!(rows.iter().map(|row| row.total.records).sum::<u64>(), 2_000);
    assert!(rows.len() < 10 + 10, "{} rows", rows.len());
    bench.pipeline.summarise();
    let reported: i64 = bench.arrived().iter().map(|(_, r)| int_at(&r.attributes, "lip.records").unwrap()).sum();
    assert_eq!(reported, 2_000, "what has no entry of its own is reported all the same");
}

#[test]
fn what_a_policy_redacts_is_in_no_template_example_or_summary() {
    let policies = "policies:
- id: redact
  name: redact
  log:
    match: [{log_field: body, contains: password}]
    transform: {redact: [{log_field: body, regex: 'password \\w+', replacement: 'password was hidden'}]}
- {id: noise, name: noise, log: {match: [{log_field: body, contains: password}], keep: none}}";
    let bench = Bench::new(&SamplerConfig::default(), policies);
    bench.pass("web", vec![record(9, "login with password swordfish failed")]);
    let row = &bench.pipeline.table.snapshot(super::START, 1).rows[0];
    assert!(row.example.contains("was hidden") && row.template.contains("was hidden"), "{row:?}");
    bench.pipeline.summarise();
    let summaries = bench.arrived();
    assert_eq!(summaries.len(), 1);
    assert!(!format!("{summaries:?} {row:?}").contains("swordfish"), "{summaries:?} {row:?}");
}
