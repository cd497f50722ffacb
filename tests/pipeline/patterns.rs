//! Learned patterns on the way of a record: counted together, learned from what passes, fair to what is rare.

use std::collections::BTreeSet;

use lipservice::control_plane::analysis::mining::Miner;
use lipservice::data_plane::pattern::PatternId;
use lipservice::data_plane::policy::CompiledPolicy;
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::data_plane::signature::Signer;

use super::Bench;
use crate::patterns::evaluate::{directory, rows};
use crate::support::otlp::{body_of, record, request_of, traced};

/// Mines what the pipeline noted and publishes it.
fn learn(bench: &Bench, miner: &mut Miner) {
    for (_, template) in bench.pipeline.sightings.take() {
        miner.insert(&template);
    }
    let catalogue = miner.mine();
    let policy = CompiledPolicy::compile_with(&[], catalogue.patterns(), super::START, Some(&bench.pipeline.policy()));
    bench.pipeline.set_policy(policy);
}

fn learning(config: &SamplerConfig) -> Bench {
    let bench = Bench::new(config, "policies: []");
    bench.pipeline.sightings.set_most(1_000);
    bench
}

#[test]
fn records_of_a_published_pattern_count_together() {
    let bench = learning(&SamplerConfig { default_percentage: 0.0, ..SamplerConfig::default() });
    let users = ["ann", "bob", "eve", "joe"];
    let lines = |range: &[&str]| range.iter().map(|user| record(9, &format!("session of {user} was opened"))).collect();
    assert_eq!(bench.pass("web", lines(&users)).len(), 4, "each is new");
    assert_eq!(bench.pipeline.table.len(), 4);
    learn(&bench, &mut Miner::new(100));
    assert_eq!(bench.pass("web", lines(&users)).len(), 1, "one pattern, of which one record is new");
    assert_eq!(bench.pass("web", lines(&["zoe"])).len(), 0, "a user never seen is of the same pattern");
    let snapshot = bench.pipeline.table.snapshot(super::START, 10);
    let template = "session of <*> was opened";
    let row = snapshot.rows.iter().find(|row| row.pattern == Some(PatternId::of(template))).unwrap();
    assert_eq!((row.total.records, &*row.template), (5, template));
    assert_eq!(row.signature.map(PatternId::from), Some(PatternId::of("session of ann was opened")));
}

#[test]
fn what_a_policy_rewrites_is_not_learned() {
    let policies = "policies: [{id: p, name: p, log: {match: [{log_field: body, contains: secret}], keep: all,
                    transform: {redact: [{log_field: body, replacement: x}]}}}]";
    let bench = Bench::new(&SamplerConfig::default(), policies);
    bench.pipeline.sightings.set_most(10);
    bench.pass("web", vec![record(9, "the secret of ann"), record(9, "nothing to hide")]);
    let seen: Vec<String> = bench.pipeline.sightings.take().into_iter().map(|(_, text)| text.into()).collect();
    assert_eq!(seen, ["nothing to hide"]);
}

/// Real lines in order, patterns learned as they come, a tenth of the bytes kept: every kind of alert is still there.
#[test]
fn sampling_to_a_tenth_keeps_every_kind_of_alert() {
    let Some(directory) = directory() else {
        eprintln!("SKIPPED sampling_to_a_tenth_keeps_every_kind_of_alert: no ../shared/loghub");
        return;
    };
    let text = std::fs::read(directory.join("BGL.log_structured.csv")).unwrap();
    let mut rows = rows(&String::from_utf8_lossy(&text)).into_iter();
    let head = rows.next().unwrap();
    let column = |name: &str| head.iter().position(|field| field == name).unwrap();
    let (label, content, template) = (column("Label"), column("Content"), column("EventTemplate"));
    let lines: Vec<Vec<String>> = rows.collect();
    let alerts: BTreeSet<&str> =
        lines.iter().filter(|row| row[label] != "-").map(|row| row[template].as_str()).collect();
    assert_eq!(alerts.len(), 15);

    let bench = learning(&SamplerConfig { default_percentage: 1.0, ..SamplerConfig::default() });
    let mut miner = Miner::new(10_000);
    let mut kept = BTreeSet::new();
    let mut randomness = 1u64;
    for part in lines.chunks(100) {
        let records: Vec<_> = part
            .iter()
            .map(|row| {
                randomness = randomness.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                traced(0, &row[content], randomness >> 8)
            })
            .collect();
        bench.send(request_of("bgl", records)).unwrap();
        kept.extend(bench.arrived().iter().map(|(_, record)| body_of(record)));
        learn(&bench, &mut miner);
    }
    let kept_templates: BTreeSet<&str> =
        lines.iter().filter(|row| kept.contains(&row[content])).map(|row| row[template].as_str()).collect();
    let lost: Vec<_> = alerts.iter().filter(|alert| !kept_templates.contains(*alert)).collect();
    assert!(lost.is_empty(), "{} of 15 kinds of alert lost", lost.len());

    // One record at least of each pattern, as they stand at the end.
    let mut signer = Signer::default();
    let catalogue = bench.pipeline.policy().catalogue().clone();
    let mut pattern_of = |line: &str| {
        let signature = signer.sign_text(line.as_bytes());
        catalogue.resolve(signature, &signer.template_of_text(line.as_bytes()))
    };
    let all: BTreeSet<PatternId> = lines.iter().map(|row| pattern_of(&row[content])).collect();
    let of_kept: BTreeSet<PatternId> = kept.iter().map(|body| pattern_of(body)).collect();
    assert_eq!(all, of_kept);
    let totals = bench.pipeline.ledger.totals();
    let share = totals.kept.bytes as f64 / totals.received.bytes as f64;
    eprintln!("kept {:.1} % of the bytes, {} patterns, 15 of 15 kinds of alert", share * 100.0, all.len());
    assert!(share <= 0.10, "{share}");
}
