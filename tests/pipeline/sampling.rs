//! What stays, and what it carries.

use lipservice::data_plane::sampler::config::SamplerConfig;

use super::{Bench, plain};
use crate::support::otlp::{attribute, body_of, record, request_of, string_at, traced};

const KEEP_QUARTER: &str =
    "policies: [{id: quarter, name: q, log: {match: [{log_field: body, regex: '.*'}], keep: 25%}}]";
const KEEP_NONE: &str =
    "policies: [{id: none, name: none, log: {match: [{log_field: body, contains: noise}], keep: none}}]";
/// The lowest randomness that 25 % keeps.
const QUARTER: u64 = 0xc0_0000_0000_0000;

#[test]
fn a_trace_is_kept_or_dropped_by_its_id_and_carries_the_threshold() {
    let bench = Bench::new(&plain(), KEEP_QUARTER);
    for (randomness, keep) in [(0, false), (QUARTER - 1, false), (QUARTER, true), ((1 << 56) - 1, true)] {
        let arrived = bench.pass("web", vec![traced(9, "a b", randomness), traced(9, "something else", randomness)]);
        assert_eq!(arrived.len(), if keep { 2 } else { 0 }, "{randomness:x}");
        for record in arrived {
            assert_eq!(string_at(&record.attributes, "sampling.threshold").as_deref(), Some("c"));
        }
    }
}

#[test]
fn explicit_randomness_comes_before_the_trace_id() {
    let bench = Bench::new(&plain(), KEEP_QUARTER);
    let mut low = traced(9, "a", u64::MAX >> 8);
    low.attributes.push(attribute("sampling.randomness", "00000000000000"));
    let mut high = traced(9, "a", 0);
    high.attributes.push(attribute("sampling.randomness", "ffffffffffffff"));
    let arrived = bench.pass("web", vec![low, high]);
    assert_eq!(arrived.len(), 1);
    assert_eq!(string_at(&arrived[0].attributes, "sampling.randomness").as_deref(), Some("ffffffffffffff"));
}

#[test]
fn an_sdk_and_a_gateway_never_sample_twice() {
    let bench = Bench::new(&plain(), KEEP_QUARTER);
    // (incoming threshold, randomness, kept, outgoing threshold)
    for (incoming, randomness, keep, outgoing) in [
        ("8", QUARTER, true, "c"),
        ("8", QUARTER - 1, false, ""),
        ("e", QUARTER + (1 << 55), true, "e"),
        ("c", QUARTER, true, "c"),
        ("not hex", QUARTER, true, "c"),
    ] {
        let mut record = traced(9, "a", randomness | (0xf0_0000_0000_0000 * u64::from(incoming == "e")));
        record.attributes = vec![attribute("a", "1"), attribute("sampling.threshold", incoming), attribute("z", "2")];
        let arrived = bench.pass("web", vec![record]);
        assert_eq!(arrived.len(), usize::from(keep), "{incoming}");
        for record in arrived {
            let thresholds: Vec<_> = record.attributes.iter().filter(|a| a.key == "sampling.threshold").collect();
            assert_eq!(thresholds.len(), 1, "{incoming}: one threshold");
            assert_eq!(string_at(&record.attributes, "sampling.threshold").as_deref(), Some(outgoing), "{incoming}");
            assert_eq!(string_at(&record.attributes, "a").as_deref(), Some("1"));
            assert_eq!(string_at(&record.attributes, "z").as_deref(), Some("2"));
        }
    }
}

#[test]
fn records_without_randomness_are_sampled_and_weigh_what_they_stand_for() {
    let bench = Bench::new(&plain(), KEEP_QUARTER);
    let sent = 40_000;
    let arrived = bench.pass("web", (0..sent).map(|_| record(9, "same text")).collect());
    let estimate = arrived.len() as f64 * 4.0;
    // Five standard deviations of a binomial estimate.
    let tolerance = 5.0 * (f64::from(sent) * 3.0).sqrt();
    assert!((estimate - f64::from(sent)).abs() < tolerance, "{estimate}");
}

#[test]
fn errors_are_kept_whatever_a_policy_says() {
    let none = "policies: [{id: none, name: none, log: {match: [{log_field: body, exists: true}], keep: none}}]";
    let bench = Bench::new(&SamplerConfig::default(), none);
    let mut by_text = record(0, "by text");
    by_text.severity_text = "ERROR".into();
    let arrived = bench.pass("web", vec![record(9, "info"), record(17, "error"), record(21, "fatal"), by_text]);
    let bodies: Vec<_> = arrived.iter().map(body_of).collect();
    assert_eq!(bodies, ["error", "fatal", "by text"]);
    assert!(arrived.iter().all(|record| string_at(&record.attributes, "sampling.threshold").is_none()));
}

#[test]
fn a_protect_policy_beats_every_drop() {
    let policies = "policies:
- {id: none, name: none, log: {match: [{log_field: body, exists: true}], keep: none}}
- {id: vip, name: vip, protect: true, log: {match: [{log_attribute: tier, equals: vip}]}}";
    let bench = Bench::new(&plain(), policies);
    let mut vip = record(5, "vip");
    vip.attributes.push(attribute("tier", "vip"));
    let arrived = bench.pass("web", vec![record(5, "other"), vip]);
    assert_eq!(arrived.iter().map(body_of).collect::<Vec<_>>(), ["vip"]);
}

#[test]
fn a_new_pattern_is_kept_and_every_window_keeps_one() {
    let zero = "policies: [{id: z, name: z, log: {match: [{log_field: body, exists: true}], keep: 0.0001%}}]";
    let config = SamplerConfig { novelty_records: 3, floor_records: 1, ..SamplerConfig::default() };
    let bench = Bench::new(&config, zero);
    let many = |n: usize| (0..n).map(|_| traced(9, "the same pattern", 0)).collect::<Vec<_>>();
    assert_eq!(bench.pass("web", many(10)).len(), 3, "novelty");
    assert_eq!(bench.pass("web", many(10)).len(), 0, "the window has its records");
    bench.advance(10);
    let arrived = bench.pass("web", many(10));
    assert_eq!(arrived.len(), 1, "the floor of the next window");
    assert!(arrived[0].attributes.is_empty(), "kept for certain: no threshold");
    assert_eq!(bench.pass("api", many(10)).len(), 3, "another service, another pattern");
    let mut debug = many(10);
    debug.iter_mut().for_each(|record| record.severity_number = 5);
    assert_eq!(bench.pass("web", debug).len(), 3, "another severity band, another pattern");
}

#[test]
fn an_order_to_drop_is_obeyed_for_new_patterns_too() {
    let bench = Bench::new(&SamplerConfig::default(), KEEP_NONE);
    let arrived = bench.pass("web", vec![record(5, "some noise"), record(5, "some signal")]);
    assert_eq!(arrived.iter().map(body_of).collect::<Vec<_>>(), ["some signal"]);
}

#[test]
fn the_default_percentage_is_for_records_that_no_policy_matches() {
    let config = SamplerConfig { default_percentage: 25.0, ..plain() };
    let keep_all = "policies: [{id: a, name: a, log: {match: [{log_field: body, contains: keep}], keep: 100%}}]";
    let bench = Bench::new(&config, keep_all);
    let arrived =
        bench.pass("web", vec![traced(9, "keep me", 0), traced(9, "not me", 0), traced(9, "but me", QUARTER)]);
    assert_eq!(arrived.iter().map(body_of).collect::<Vec<_>>(), ["keep me", "but me"]);
}

#[test]
fn without_policies_a_request_passes_byte_for_byte() {
    let bench = Bench::new(&SamplerConfig::default(), "policies: []");
    let body = request_of("web", vec![record(9, "a"), record(17, "b")]);
    bench.send(body.clone()).unwrap();
    let outgoing = bench.sink.take();
    assert_eq!(outgoing.len(), 1);
    assert_eq!(&outgoing[0].body[..], &body[..]);
}

#[test]
fn summaries_of_an_earlier_gateway_pass() {
    let bench = Bench::new(
        &plain(),
        "policies: [{id: none, name: none, log: {match: [{log_field: body, exists: true}], keep: none}}]",
    );
    let mut summary = record(9, "5 records dropped: a b");
    summary.attributes.push(attribute("lip.summary", "1"));
    assert_eq!(bench.pass("web", vec![summary, record(9, "a b")]).len(), 1);
}

#[test]
fn transforms_rewrite_what_is_kept() {
    let redact = "policies:
- id: redact
  name: r
  log:
    match: [{log_attribute: user.email, exists: true}]
    transform:
      redact: [{log_attribute: user.email}]
      add: [{resource_attribute: seen, value: 'yes'}]";
    let bench = Bench::new(&plain(), redact);
    let mut with = record(9, "hello");
    with.attributes.push(attribute("user.email", "a@b.c"));
    bench.send(request_of("web", vec![record(9, "plain"), with])).unwrap();
    let outgoing = bench.sink.take();
    let arrived = super::records_of(&outgoing[0]);
    assert_eq!(arrived.len(), 2);
    assert_eq!(string_at(&arrived[1].1.attributes, "user.email").as_deref(), Some("[REDACTED]"));
    let resource = crate::support::otlp::resource_attributes(&outgoing[0].body);
    assert_eq!(string_at(&resource, "seen").as_deref(), Some("yes"));
}
