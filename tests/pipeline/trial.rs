//! A policy on trial: shares are whole and unbiased, shadows leave no trace, books stay exact.

use std::collections::{HashMap, HashSet};

use lipservice::data_plane::ledger::{Arm, Tally};
use lipservice::data_plane::pipeline::trial::{ArmCounts, Mode, Trial, TrialId};
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::data_plane::sampler::threshold::{parse_threshold, probability};
use lipservice::data_plane::sampler::{Reason, Share};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;

use super::{Bench, START, compile, plain};
use crate::support::otlp::{body_of, int_at, record, request_of, string_at, traced};

const ID: TrialId = TrialId { rollout: 1, stage: 0 };
const FOREVER: u64 = u64::MAX;

fn rule(id: &str, keep: &str) -> String {
    format!("{{id: {id}, name: n, log: {{match: [{{log_field: body, contains: ping}}], keep: {keep}}}}}")
}

fn policies(rules: &[String]) -> String {
    format!("policies: [{}]", rules.join(", "))
}

fn canary(percentage: f64) -> Mode {
    Mode::Canary(Share::of_percentage(percentage))
}

fn try_on(bench: &Bench, mode: Mode, text: &str) {
    bench.pipeline.set_trial(Some(Trial::new(ID, mode, FOREVER, compile(text), None)));
}

/// The counts of an arm, all services together.
fn counts(bench: &Bench, arm: Arm) -> (Tally, Tally) {
    let counts = bench.pipeline.trial_counts().unwrap();
    let (mut kept, mut dropped) = (Tally::default(), Tally::default());
    for arms in counts.services.values() {
        kept.merge(arms[arm as usize].total(true));
        dropped.merge(arms[arm as usize].total(false));
    }
    (kept, dropped)
}

fn of(bench: &Bench, service: &str, arm: Arm) -> ArmCounts {
    bench.pipeline.trial_counts().unwrap().services[service][arm as usize]
}

/// Well mixed 56-bit numbers.
fn randomness(i: u64) -> u64 {
    let mixed = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 8
}

fn weight(record: &LogRecord) -> f64 {
    let threshold = string_at(&record.attributes, "sampling.threshold");
    threshold.map_or(1.0, |digits| 1.0 / probability(parse_threshold(digits.as_bytes()).unwrap()))
}

#[test]
fn a_canary_decides_about_its_share_under_its_own_name_and_estimates_stay_right() {
    for with_traces in [true, false] {
        let bench = Bench::new(&plain(), &policies(&[rule("old", "50%")]));
        try_on(&bench, canary(25.0), &policies(&[rule("new", "10%")]));
        let sent = 40_000u64;
        let make = |i| if with_traces { traced(9, "ping", randomness(i)) } else { record(9, "ping") };
        let arrived = bench.pass("web", (0..sent).map(make).collect());
        let n = sent as f64;
        // Five standard deviations of each: of the share, of what is kept, and of the estimate from the weights.
        let (kept, dropped) = counts(&bench, Arm::Candidate);
        let share = (kept.records + dropped.records) as f64;
        assert!((share - 0.25 * n).abs() < 5.0 * (n * 0.25 * 0.75).sqrt(), "{share}");
        assert!((kept.records as f64 - 0.1 * share).abs() < 5.0 * (share * 0.1 * 0.9).sqrt(), "{kept:?}");
        let estimate: f64 = arrived.iter().map(weight).sum();
        let variance = n * (0.75 * (1.0 / 0.5 - 1.0) + 0.25 * (1.0 / 0.1 - 1.0));
        assert!((estimate - n).abs() < 5.0 * variance.sqrt(), "{estimate}");
        // What each policy kept carries its threshold, and is booked under its name.
        let weights: HashSet<u64> = arrived.iter().map(|record| weight(record).round() as u64).collect();
        assert_eq!(weights, HashSet::from([2, 10]));
        let booked: HashMap<String, (Tally, Tally)> =
            bench.pipeline.ledger.by_policy().into_iter().map(|(id, _, k, d)| (id.to_string(), (k, d))).collect();
        assert_eq!(booked["new"], (kept, dropped));
        assert_eq!(booked["old"], counts(&bench, Arm::Baseline));
        assert_eq!(booked["old"].0.records + booked["new"].0.records, arrived.len() as u64);
        // Summaries name the policy that dropped.
        bench.pipeline.summarise();
        let summary = |(_, record): (String, LogRecord)| {
            (string_at(&record.attributes, "lip.policy").unwrap(), int_at(&record.attributes, "lip.records").unwrap())
        };
        let summaries: HashMap<String, i64> = bench.arrived().into_iter().map(summary).collect();
        assert_eq!(summaries, ["old", "new"].map(|id| (id.to_owned(), booked[id].1.records as i64)).into());
    }
}

#[test]
fn traces_stay_whole_in_a_canary_and_shares_only_grow() {
    let mut decided: Vec<HashMap<u64, bool>> = Vec::new();
    for percentage in [5.0, 25.0, 50.0] {
        let bench = Bench::new(&plain(), &policies(&[rule("old", "all")]));
        try_on(&bench, canary(percentage), &policies(&[rule("new", "none")]));
        let mut kept: HashMap<u64, HashSet<bool>> = HashMap::new();
        // Each trace in several requests, from several services.
        for service in ["a", "b"] {
            for i in 0..500 {
                let texts = ["ping", "ping 2", "ping three"];
                let arrived = bench.pass(service, texts.iter().map(|text| traced(9, text, randomness(i))).collect());
                assert!(arrived.is_empty() || arrived.len() == texts.len(), "{:?}", arrived.iter().map(body_of));
                kept.entry(i).or_default().insert(arrived.is_empty());
            }
        }
        assert!(kept.values().all(|answers| answers.len() == 1), "a trace in two arms");
        decided.push(kept.into_iter().map(|(trace, answers)| (trace, answers.contains(&true))).collect());
    }
    for (less, more) in [(0, 1), (1, 2)] {
        assert!(decided[less].iter().all(|(trace, inside)| !inside || decided[more][trace]));
    }
    assert!(decided[2].values().any(|inside| !inside) && decided[0].values().any(|inside| *inside));
}

/// Traffic over several windows: (seconds before, service, severity, text, randomness).
fn traffic() -> Vec<(u64, &'static str, LogRecord)> {
    let texts = ["ping", "ping none", "job {} done", "pong"];
    let one = |i: u64| {
        let severity = if i.is_multiple_of(41) { 17 } else { 9 };
        let text = texts[(i % 4) as usize].replace("{}", &i.to_string());
        (
            u64::from(i.is_multiple_of(97)) * 7,
            ["web", "db"][(i % 3 / 2) as usize],
            traced(severity, &text, randomness(i)),
        )
    };
    (0..4_000).map(one).collect()
}

#[test]
fn a_shadow_changes_nothing_and_counts_what_the_policy_would_do() {
    let config = SamplerConfig { default_percentage: 50.0, ..SamplerConfig::default() };
    let (old, new) = (policies(&[rule("old", "90%")]), policies(&[rule("new", "5%"), rule("z", "3/s")]));
    let [plain, shadowed, enforced] = [&old, &old, &new].map(|text| Bench::new(&config, text));
    try_on(&shadowed, Mode::Shadow, &new);
    for (seconds, service, record) in traffic() {
        for bench in [&plain, &shadowed, &enforced] {
            bench.advance(seconds);
        }
        let body = request_of(service, vec![record]);
        let sent = [&plain, &shadowed, &enforced].map(|bench| {
            bench.send(body.clone()).unwrap();
            bench.sink.take().into_iter().map(|out| out.body).collect::<Vec<_>>()
        });
        assert_eq!(sent[0], sent[1], "a shadow had an effect");
    }
    let books = |bench: &Bench| (bench.pipeline.ledger.by_reason(), bench.pipeline.ledger.totals());
    assert_eq!(books(&plain), books(&shadowed));
    // What was counted is what happens where the policy is in force, novelty, floors and limits included.
    let mut would = ArmCounts::default().by_reason;
    for service in ["web", "db"] {
        let arm = of(&shadowed, service, Arm::Candidate);
        would.iter_mut().flatten().zip(arm.by_reason.iter().flatten()).for_each(|(to, from)| to.merge(*from));
        assert_eq!((arm.errors_lost, of(&shadowed, service, Arm::Baseline).errors_lost), (0, 0));
    }
    let did = enforced.pipeline.ledger.by_reason();
    for (reason, kept, dropped) in did {
        assert_eq!(would[reason as usize], [dropped, kept], "{reason:?}");
    }
    assert_ne!(would[Reason::Floor as usize][1].records, 0);
    let (kept, dropped) = counts(&shadowed, Arm::Baseline);
    let totals = shadowed.pipeline.ledger.totals();
    assert_eq!((kept, dropped), (totals.kept, totals.dropped));
}

#[test]
fn lost_errors_and_anomalous_records_are_counted() {
    let config =
        SamplerConfig { protect_severity: lipservice::data_plane::sampler::config::ProtectSeverity::None, ..plain() };
    let bench = Bench::new(&config, &policies(&[]));
    let generated = rule("g", "none").replacen('{', "{origin: generated, ", 1);
    try_on(&bench, Mode::Shadow, &policies(&[generated]));
    bench.pass("web", vec![record(17, "ping"), record(9, "ping"), record(21, "pong")]);
    assert_eq!((of(&bench, "web", Arm::Candidate).errors_lost, of(&bench, "web", Arm::Baseline).errors_lost), (1, 0));
    // What a person orders dropped is not a loss.
    try_on(&bench, Mode::Shadow, &policies(&[rule("h", "none")]));
    bench.pass("web", vec![record(17, "ping")]);
    assert_eq!(of(&bench, "web", Arm::Candidate).errors_lost, 0);
    let mut boosts = lipservice::data_plane::sampler::Boosts::new();
    for row in bench.pipeline.table.snapshot(START, usize::MAX).rows {
        boosts.set(bench.pipeline.table.index_of(&row.service).unwrap(), row.pattern.unwrap(), 0);
    }
    bench.pipeline.set_boosts(boosts);
    bench.pass("web", vec![record(9, "ping"), record(9, "ping")]);
    let [baseline, candidate] = Arm::ALL.map(|arm| of(&bench, "web", arm).anomalous.map(|tally| tally.records));
    assert_eq!((baseline, candidate), ([0, 2], [2, 0]));
}

#[test]
fn a_trial_ends_by_itself_and_counts_go_on_only_within_one() {
    let bench = Bench::new(&plain(), &policies(&[rule("old", "all")]));
    let none = || compile(&policies(&[rule("new", "none")]));
    let until = START + 10_000_000_000;
    bench.pipeline.set_trial(Some(Trial::new(ID, canary(100.0), until, none(), None)));
    assert_eq!(bench.pass("web", vec![record(9, "ping")]).len(), 0);
    // Compiled again, because something else has changed.
    let again = Trial::new(ID, canary(100.0), until, none(), bench.pipeline.trial().as_deref());
    bench.pipeline.set_trial(Some(again));
    assert_eq!(bench.pass("web", vec![record(9, "ping")]).len(), 0);
    assert_eq!(counts(&bench, Arm::Candidate).1.records, 2);
    bench.advance(10);
    assert_eq!(bench.pass("web", vec![record(9, "ping")]).len(), 1, "its time is over");
    assert_eq!(counts(&bench, Arm::Candidate).1.records, 2);
    // Another stage counts anew.
    let next = TrialId { stage: 1, ..ID };
    let trial = Trial::new(next, Mode::Live, FOREVER, compile("policies: []"), bench.pipeline.trial().as_deref());
    bench.pipeline.set_trial(Some(trial));
    assert_eq!(bench.pass("web", vec![record(9, "ping")]).len(), 1);
    assert_eq!((counts(&bench, Arm::Candidate).0.records, counts(&bench, Arm::Baseline).0.records), (1, 0));
    bench.pipeline.set_trial(None);
    assert!(bench.pipeline.trial_counts().is_none());
}

#[test]
fn a_shadow_does_not_show_what_the_policy_in_force_redacts() {
    let redact = "policies: [{id: r, name: r, log: {match: [{log_field: body, contains: secret}], keep: all, transform: \
                  {redact: [{log_field: body, replacement: '***'}]}}}]";
    let bench = Bench::new(&plain(), redact);
    try_on(&bench, Mode::Shadow, "policies: []");
    bench.pass("web", vec![record(9, "the secret is tulip")]);
    let rows = bench.pipeline.table.snapshot(START, usize::MAX).rows;
    assert!(rows.iter().all(|row| !row.example.contains("tulip") && !row.template.contains("tulip")), "{rows:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// received = kept + dropped, by policy and in all, in the arms and in the windows, while trials come and go.
    #[test]
    fn every_record_is_accounted_for_during_trials(
        steps in prop::collection::vec((0..5u8, 0..40u64, prop::sample::select(vec!["ping", "pong", "none"]), 0..15u64), 1..20),
    ) {
        let none = "{id: none, name: n, log: {match: [{log_field: body, contains: none}], keep: none}}".to_owned();
        let bench = Bench::new(&SamplerConfig::default(), &policies(&[rule("p", "40%"), none.clone()]));
        let (mut sent, mut arrived) = (0, 0);
        for (i, (mode, records, text, seconds)) in steps.into_iter().enumerate() {
            let candidate = policies(&[rule("p", "10%"), rule("q", "2/s"), none.clone()]);
            let id = TrialId { rollout: 1, stage: i as u32 };
            let trial = |mode, text: &str| Some(Trial::new(id, mode, FOREVER, compile(text), None));
            bench.pipeline.set_trial(match mode {
                0 => None,
                1 => trial(Mode::Shadow, &candidate),
                2 => trial(canary(5.0), &candidate),
                3 => trial(canary(50.0), &candidate),
                _ => trial(Mode::Live, "policies: []"),
            });
            let of = |i: u64| if i.is_multiple_of(2) { record(9, text) } else { traced((i % 24) as i32, text, randomness(i * 31 + seconds)) };
            let kept = bench.pass("web", (0..records).map(of).collect()).len() as u64;
            (sent, arrived) = (sent + records, arrived + kept);
            if let Some(counts) = bench.pipeline.trial_counts().filter(|_| records > 0) {
                let [baseline, candidate] = counts.services["web"];
                let all = |arm: ArmCounts| arm.total(true).records + arm.total(false).records;
                let enforced = match mode {
                    1 => {
                        prop_assert_eq!((all(baseline), all(candidate)), (records, records));
                        baseline.total(true)
                    }
                    _ => {
                        prop_assert_eq!(all(baseline) + all(candidate), records);
                        let mut both = baseline.total(true);
                        both.merge(candidate.total(true));
                        both
                    }
                };
                prop_assert_eq!(enforced.records, kept);
            }
            bench.advance(seconds);
        }
        let totals = bench.pipeline.ledger.totals();
        prop_assert!(totals.balance());
        prop_assert_eq!((totals.received.records, totals.kept.records), (sent, arrived));
        let by_policy: u64 = bench.pipeline.ledger.by_policy().iter().map(|(.., dropped)| dropped.records).sum();
        let by_default: u64 = bench.pipeline.ledger.by_reason().iter()
            .filter(|(reason, ..)| *reason == Reason::Default).map(|(.., dropped)| dropped.records).sum();
        prop_assert_eq!(by_policy + by_default, totals.dropped.records);
        let rows = bench.pipeline.table.snapshot(START, usize::MAX).rows;
        prop_assert_eq!(rows.iter().map(|row| row.total.dropped()).sum::<u64>(), totals.dropped.records);
        let suppressed = { let mut n = 0; bench.pipeline.table.for_each(|cell| n += cell.take_suppressed().iter().map(|s| s.records).sum::<u64>()); n };
        prop_assert_eq!(suppressed, totals.dropped.records);
    }
}
