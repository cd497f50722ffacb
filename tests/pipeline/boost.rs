//! Anomalous patterns: more is kept, the weights stay right, orders stay orders.

use lipservice::data_plane::policy::threshold_of;
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::data_plane::sampler::threshold::{parse_threshold, probability};
use lipservice::data_plane::sampler::{Boosts, Reason};
use lipservice::data_plane::window::Service;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;

use super::{Bench, plain};
use crate::support::otlp::{record, string_at, traced};

const POLICIES: &str = "policies:
- {id: tenth, name: t, log: {match: [{log_field: body, contains: tenth}], keep: 10%}}
- {id: none, name: n, log: {match: [{log_field: body, contains: nothing}], keep: none}}
- {id: limit, name: l, log: {match: [{log_field: body, contains: limited}], keep: 5/s}}
- {id: both, name: b, log: {match: [{log_field: body, contains: both}], keep: 10%}}
- {id: both-limit, name: c, log: {match: [{log_field: body, contains: both}], keep: 5/s}}
- {id: keyed, name: k, log: {match: [{log_field: body, contains: keyed}], keep: 10%, sample_key: {log_attribute: user}}}";

/// Boosts every pattern that the bench knows to `percentage`.
fn boost(bench: &Bench, percentage: f64) {
    let mut boosts = Boosts::new();
    for row in bench.pipeline.table.snapshot(super::START, usize::MAX).rows {
        let service = bench.pipeline.table.index_of(&row.service).unwrap();
        boosts.set(service, row.pattern.unwrap(), threshold_of(percentage));
    }
    bench.pipeline.set_boosts(boosts);
}

/// What a kept record stands for.
fn weight(record: &LogRecord) -> f64 {
    let threshold = string_at(&record.attributes, "sampling.threshold");
    threshold.map_or(1.0, |digits| 1.0 / probability(parse_threshold(digits.as_bytes()).unwrap()))
}

fn kept_for(bench: &Bench, reason: Reason) -> u64 {
    bench
        .pipeline
        .ledger
        .by_reason()
        .into_iter()
        .find(|(known, ..)| *known == reason)
        .map_or(0, |(_, kept, _)| kept.records)
}

#[test]
fn a_boost_raises_the_rate_and_keeps_the_estimate() {
    for (percentage, boosted) in [(10.0, None), (50.0, Some(50.0)), (100.0, Some(100.0)), (10.0, Some(3.0))] {
        let bench = Bench::new(&plain(), POLICIES);
        bench.pass("web", vec![record(9, "tenth")]);
        if let Some(boosted) = boosted {
            boost(&bench, boosted);
        }
        let sent = 20_000;
        let arrived = bench.pass("web", (0..sent).map(|_| record(9, "tenth")).collect());
        let p: f64 = percentage / 100.0;
        let (kept, estimate) = (arrived.len() as f64, arrived.iter().map(weight).sum::<f64>());
        // Five standard deviations of the kept count, and of the estimate made from it.
        let deviation = 5.0 * (f64::from(sent) * p * (1.0 - p)).sqrt();
        assert!((kept - f64::from(sent) * p).abs() <= deviation, "{percentage}: {kept}");
        assert!((estimate - f64::from(sent)).abs() <= deviation / p, "{percentage}: {estimate}");
        assert!(bench.pipeline.ledger.totals().balance());
    }
}

#[test]
fn only_what_the_boost_added_is_kept_for_it() {
    let bench = Bench::new(&plain(), POLICIES);
    bench.pass("web", vec![record(9, "tenth")]);
    boost(&bench, 50.0);
    let (tenth, half) = (threshold_of(10.0), threshold_of(50.0));
    for (randomness, keep, by_boost) in
        [(half - 1, false, 0), (half, true, 1), (tenth - 1, true, 1), (tenth, true, 0), ((1 << 56) - 1, true, 0)]
    {
        let before = kept_for(&bench, Reason::Anomaly);
        let arrived = bench.pass("web", vec![traced(9, "tenth", randomness)]);
        assert_eq!(arrived.len(), usize::from(keep), "{randomness:x}");
        assert_eq!(kept_for(&bench, Reason::Anomaly) - before, by_boost, "{randomness:x}");
        for record in arrived {
            assert_eq!(string_at(&record.attributes, "sampling.threshold").as_deref(), Some("8"));
        }
    }
}

#[test]
fn orders_and_limits_are_obeyed_all_the_same() {
    for (body, most) in [("nothing", 0), ("limited", 5), ("both", 5)] {
        let bench = Bench::new(&plain(), POLICIES);
        bench.pass("web", vec![record(9, body)]);
        bench.advance(10);
        boost(&bench, 100.0);
        let arrived = bench.pass("web", (0..200).map(|_| record(9, body)).collect());
        assert!(arrived.len() <= most, "{body}: {}", arrived.len());
        assert_eq!(kept_for(&bench, Reason::Anomaly), 0, "{body}");
    }
}

#[test]
fn a_boost_is_of_one_pattern_of_one_service() {
    let bench = Bench::new(&plain(), POLICIES);
    bench.pass("web", vec![record(9, "tenth")]);
    boost(&bench, 100.0);
    let low = || vec![traced(9, "tenth", 0)];
    assert_eq!(bench.pass("web", low()).len(), 1);
    assert_eq!(bench.pass("api", low()).len(), 0);
    assert_eq!(bench.pass("web", vec![traced(9, "tenth of another", 0)]).len(), 0);
    bench.pipeline.set_boosts(Boosts::new());
    assert_eq!(bench.pass("web", low()).len(), 0);
    let unknown = Service { name: "db".into(), token: None };
    assert_eq!(bench.pipeline.table.index_of(&unknown), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn books_balance_and_a_boost_never_drops_more(
        bodies in prop::collection::vec(prop::sample::select(vec!["tenth", "nothing", "keyed", "free"]), 1..40),
        randomness in prop::collection::vec(0..1u64 << 56, 40),
        percentage in 0.0..100.0f64,
    ) {
        let records = || -> Vec<LogRecord> {
            bodies.iter().zip(&randomness).map(|(body, r)| traced(9, body, *r)).collect()
        };
        let config = SamplerConfig { default_percentage: 20.0, ..SamplerConfig::default() };
        let (without, with) = (Bench::new(&config, POLICIES), Bench::new(&config, POLICIES));
        let kept: Vec<usize> = [&without, &with].into_iter().map(|bench| {
            bench.pass("web", records());
            if std::ptr::eq(bench, &with) {
                boost(bench, percentage);
            }
            let arrived = bench.pass("web", records());
            assert!(bench.pipeline.ledger.totals().balance());
            arrived.len()
        }).collect();
        prop_assert!(kept[1] >= kept[0], "{kept:?}");
        if percentage <= 10.0 {
            prop_assert_eq!(kept[1], kept[0]);
        }
    }
}
