//! From the decision on one record to the whole batch: everything between a receiver and an exporter's queue.

use std::sync::Arc;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use lipservice::clock::Clock;
use lipservice::data_plane::exporter::Outgoing;
use lipservice::data_plane::pipeline::{Destination, Forward, Pipeline, Room, Wiring, settings_of};
use lipservice::data_plane::policy::{CompiledPolicy, Document, Form, Resolution, threshold_of};
use lipservice::data_plane::receiver::{Consumer, Received, Refusal, Reply, Signal, Transport};
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::data_plane::sampler::threshold::RANDOMNESS_RANGE;
use lipservice::data_plane::sampler::{Facts, Incoming, decide};
use lipservice::data_plane::window::{PatternTable, Sight};

use super::{SIZES, request};

/// Takes everything and keeps nothing.
struct Nowhere;

impl Room for Nowhere {
    fn submit(self: Box<Self>, outgoing: Outgoing) {
        black_box(outgoing.body.len());
    }
}

impl Destination for Nowhere {
    fn name(&self) -> &str {
        "nowhere"
    }
    fn try_reserve(&self, _: usize) -> Option<Box<dyn Room>> {
        Some(Box::new(Nowhere))
    }
    fn note_refused(&self, _: u64) {}
}

impl Forward for Nowhere {
    fn forward(&self, _: Signal, _: Received) -> Reply {
        Box::pin(async { Err(Refusal::Unsupported(String::new())) })
    }
}

fn pipeline(policies: &str, default_percentage: f64) -> Pipeline {
    let config = SamplerConfig { default_percentage, ..SamplerConfig::default() };
    let (settings, protect_from) = settings_of(&config);
    let documents = Document::parse("bench", policies.as_bytes()).unwrap();
    let policy = CompiledPolicy::compile(&documents, 0, None);
    assert!(policy.problems().is_empty(), "{:?}", policy.problems());
    let wiring = Wiring {
        destinations: vec![Arc::new(Nowhere)],
        forward: Arc::new(Nowhere),
        overload: None,
        settings,
        protect_from,
        summaries: true,
    };
    Pipeline::new(Clock::System, PatternTable::new(&config.window), policy, wiring)
}

fn consume(bencher: Bencher<'_, '_>, pipeline: &Pipeline, records: usize) {
    let body = Bytes::from(request::generate(records));
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        let received = Received { body: body.clone(), token: None, transport: Transport::Grpc };
        pipeline.consume_logs(black_box(received)).unwrap();
    });
}

/// One decision, its facts at hand.
#[divan::bench]
fn decide_one(bencher: Bencher<'_, '_>) {
    let (settings, _) = settings_of(&SamplerConfig::default());
    let threshold = threshold_of(20.0);
    let facts = |randomness: u64| Facts {
        incoming: Incoming { randomness, threshold: 0 },
        is_summary: false,
        protected_by: None,
        severity_protected: false,
        ordered_drop: None,
        boost: RANDOMNESS_RANGE,
        sight: Sight { seen: 1_000, kept_in_window: 5, is_known: false },
    };
    bencher.counter(ItemsCount::new(1_000usize)).bench_local(|| {
        (0..1_000u64)
            .filter(|i| {
                let facts = facts(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8);
                let keep = facts.incoming.randomness >= threshold;
                let resolution =
                    Resolution { keep, form: Form::Percentage, threshold, policy: Some(1), ..Resolution::UNMATCHED };
                decide(black_box(&facts), &settings, || resolution).keep
            })
            .count()
    });
}

/// A fifth by default, no policies: parse, sign, count, decide, annotate, splice, book.
#[divan::bench(args = SIZES)]
fn batch_default_fifth(bencher: Bencher<'_, '_>, records: usize) {
    consume(bencher, &pipeline("policies: []", 20.0), records);
}

/// A fifth by one policy on the resource.
#[divan::bench(args = SIZES)]
fn batch_policy_fifth(bencher: Bencher<'_, '_>, records: usize) {
    let policy =
        "policies: [{id: a, name: a, log: {match: [{resource_attribute: service.name, exists: true}], keep: 20%}}]";
    consume(bencher, &pipeline(policy, 100.0), records);
}

/// Ten thousand policies by signature, as a generator would write them, and one that matches.
#[divan::bench(args = SIZES)]
fn batch_10000_signature_policies(bencher: Bencher<'_, '_>, records: usize) {
    let mut policies =
        String::from("policies:\n- {id: all, name: all, log: {match: [{log_field: body, exists: true}], keep: 20%}}\n");
    for i in 0..10_000u64 {
        let signature = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        policies +=
            &format!("- {{id: p{i}, name: p, log: {{match: [{{signature: '{signature:016x}'}}], keep: 5%}}}}\n");
    }
    consume(bencher, &pipeline(&policies, 100.0), records);
}

/// Twenty policies that look into every body.
#[divan::bench(args = SIZES)]
fn batch_20_body_policies(bencher: Bencher<'_, '_>, records: usize) {
    let mut policies = String::from("policies:\n");
    for i in 0..20 {
        policies += &format!(
            "- {{id: p{i}, name: p, log: {{match: [{{log_field: body, contains: 'needle {i}'}}], keep: none}}}}\n"
        );
    }
    consume(bencher, &pipeline(&policies, 20.0), records);
}

/// Everything is kept: forwarded without a copy.
#[divan::bench(args = SIZES)]
fn batch_keep_all(bencher: Bencher<'_, '_>, records: usize) {
    consume(bencher, &pipeline("policies: []", 100.0), records);
}

/// Policies that look for words in the body, as people write them against noise; none matches. One by one (3, below the
/// index), then by one search.
#[divan::bench(args = [0, 3, 20, 200])]
fn batch_word_policies(bencher: Bencher<'_, '_>, count: usize) {
    let mut policies =
        String::from("policies:\n- {id: all, name: all, log: {match: [{log_field: body, exists: true}], keep: 20%}}\n");
    for i in 0..count {
        let test = if i % 4 == 3 {
            format!("regex: 'handler-{i} (took|waited)'")
        } else {
            format!("contains: 'handler-{i} '")
        };
        policies += &format!("- {{id: w{i}, name: w, log: {{match: [{{log_field: body, {test}}}], keep: none}}}}\n");
    }
    consume(bencher, &pipeline(&policies, 100.0), 512);
}
