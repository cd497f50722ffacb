//! received = kept + dropped + refused, whatever comes.

use std::sync::Arc;

use lipservice::data_plane::receiver::Refusal;
use lipservice::data_plane::sampler::config::SamplerConfig;
use proptest::prelude::*;

use super::{Bench, compile, wiring};
use crate::support::otlp::{block, record, request, request_of, traced};

const MIXED: &str = "policies:
- {id: none, name: none, log: {match: [{log_field: body, contains: none}], keep: none}}
- {id: tenth, name: t, log: {match: [{log_field: body, contains: tenth}], keep: 10%}}
- {id: limit, name: l, log: {match: [{log_field: body, contains: limit}], keep: 2/s}}
- {id: keyed, name: k, log: {match: [{log_field: body, contains: key}], keep: 30%, sample_key: {log_field: body}}}";

fn bodies() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec!["none", "tenth", "limit", "key", "user 17", "GET /a/b?c=1", ""]);
    prop::collection::vec(word, 0..4).prop_map(|words| words.join(" "))
}

/// (service, [(severity, body, randomness)]) blocks of one request; whether the queue is full; seconds that pass.
type Step = (Vec<(u8, Vec<(i32, String, u64)>)>, bool, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = (0..25i32, bodies(), 0..1u64 << 56);
    let blocks = prop::collection::vec((0..4u8, prop::collection::vec(one, 0..12)), 0..4);
    prop::collection::vec((blocks, prop::bool::weighted(0.2), 0..15u64), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_record_is_accounted_for(steps in steps()) {
        let bench = Bench::new(&SamplerConfig::default(), MIXED);
        let (mut sent, mut refused, mut arrived, mut summaries) = (0, 0, 0, 0);
        for (blocks, full, seconds) in steps {
            bench.sink.set_full(full);
            let mut n = 0;
            let blocks = blocks.into_iter().map(|(service, records)| {
                n += records.len() as u64;
                let records = records.into_iter().map(|(severity, body, r)| traced(severity, &body, r)).collect();
                block(&format!("s{service}"), records)
            }).collect();
            sent += n;
            match bench.send(request(blocks)) {
                Ok(()) => prop_assert!(!full || n == 0),
                Err(Refusal::Busy { .. }) => refused += n,
                Err(other) => prop_assert!(false, "{other:?}"),
            }
            arrived += bench.arrived().len() as u64;
            bench.advance(seconds);
            if seconds > 10 {
                summaries += bench.pipeline.summarise();
                prop_assert_eq!(bench.arrived().len() as u64, if full { 0 } else { summaries });
                summaries = 0;
            }
        }
        let totals = bench.pipeline.ledger.totals();
        prop_assert!(totals.balance());
        prop_assert_eq!(totals.received.records, sent);
        prop_assert_eq!(totals.refused.records, refused);
        prop_assert_eq!(totals.kept.records, arrived);
        prop_assert_eq!(totals.dropped.records, sent - refused - arrived);
        let rows = bench.pipeline.table.snapshot(super::START, usize::MAX).rows;
        prop_assert_eq!(rows.iter().map(|row| row.total.dropped()).sum::<u64>(), totals.dropped.records);
    }
}

#[test]
fn a_refused_request_has_no_effect() {
    let bench = Bench::new(&SamplerConfig::default(), MIXED);
    bench.sink.set_full(true);
    let body = request_of("web", vec![record(9, "brand new")]);
    let refusal = bench.send(body.clone()).unwrap_err();
    assert!(matches!(&refusal, Refusal::Busy { message, .. } if message.contains("sending_queue")), "{refusal:?}");
    assert!(bench.pipeline.table.is_empty());
    let mut cut = body.clone();
    cut.truncate(body.len() - 1);
    assert!(matches!(bench.send(cut), Err(Refusal::Malformed(_))));
    assert!(bench.pipeline.table.is_empty());
    bench.sink.set_full(false);
    bench.send(body).unwrap();
    assert_eq!(bench.arrived().len(), 1);
}

#[test]
fn while_draining_clients_are_told_to_retry() {
    let bench = Bench::new(&SamplerConfig::default(), MIXED);
    bench.pipeline.drain();
    assert!(matches!(bench.send(request_of("web", vec![record(9, "late")])), Err(Refusal::Busy { .. })));
}

#[test]
fn an_empty_request_is_taken_and_forwards_nothing() {
    let bench = Bench::new(&SamplerConfig::default(), MIXED);
    bench.send(Vec::new()).unwrap();
    bench.send(request(vec![block("web", Vec::new())])).unwrap();
    assert!(bench.sink.take().is_empty());
}

#[test]
fn policies_and_destinations_are_replaced_without_losing_counts() {
    let bench = Bench::new(&SamplerConfig::default(), MIXED);
    bench.pass("web", vec![record(9, "none"), record(9, "plain")]);
    bench.pipeline.set_policy(compile("policies: []"));
    let other = Arc::new(super::Sink::default());
    bench.pipeline.rewire(wiring(&SamplerConfig::default(), &other));
    bench.send(request_of("web", vec![record(9, "none")])).unwrap();
    assert!(bench.sink.take().is_empty());
    assert_eq!(other.take().len(), 1);
    assert_eq!(bench.pipeline.ledger.totals().received.records, 3);
    assert_eq!(bench.pipeline.table.len(), 2);
}
