//! Replays of recorded traffic: the report against what is known of the traffic.

mod anomalies;
mod command;
mod parts;

use bytes::Bytes;
use lipservice::control_plane::insights::Prices;
use lipservice::control_plane::replay::{Outcome, Replay, Report, Settings};
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use lipservice::data_plane::sampler::config::{ProtectSeverity, SamplerConfig};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::support::otlp;

/// 2026-01-01, at the start of a window.
const START: u64 = 1_767_225_600_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// `seconds` of two services: a chatty pattern, a slow one, and an error every tenth second; two traces a second.
fn traffic(seconds: u64) -> Vec<Bytes> {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut requests = Vec::new();
    for second in 0..seconds {
        let at = |mut record: LogRecord| {
            record.time_unix_nano = START + second * SECOND;
            record
        };
        let mut shop: Vec<LogRecord> = (0..40)
            .map(|i| at(otlp::traced(9, &format!("GET /cart/{i} took {second} ms"), rng.random::<u64>() >> 8)))
            .collect();
        shop.push(at(otlp::record(13, &format!("cache at {second} %"))));
        let mut auth = vec![at(otlp::record(9, &format!("token {second} checked")))];
        if second % 10 == 0 {
            auth.push(at(otlp::record(17, &format!("login of user {second} failed: timeout"))));
        }
        requests.push(otlp::request(vec![otlp::block("shop", shop), otlp::block("auth", auth)]).into());
    }
    requests
}

fn compile(policies: &str) -> CompiledPolicy {
    let documents = Document::parse("test.yaml", policies.as_bytes()).unwrap();
    let policy = CompiledPolicy::compile(&documents, START, None);
    assert!(policy.problems().is_empty(), "{:?}", policy.problems());
    policy
}

fn replay(requests: &[Bytes], sampler: SamplerConfig, policies: &str) -> Outcome {
    let settings = Settings { sampler, ..Settings::default() };
    let mut replay = Replay::new(&settings, compile(policies), CompiledPolicy::default());
    for request in requests {
        replay.feed(request.clone()).unwrap();
    }
    replay.finish().unwrap()
}

fn report(requests: &[Bytes], sampler: SamplerConfig, policies: &str) -> Report {
    Report::of(&replay(requests, sampler, policies), &Prices::default())
}

const TENTH: &str = "{id: tenth, name: a tenth, log: {match: [{log_field: body, exists: true}], keep: 10%}}";

#[test]
fn everything_in_is_kept_or_reported() {
    let requests = traffic(300);
    let report = report(&requests, SamplerConfig::default(), TENTH);
    assert_eq!(report.total.received.records, 300 * 42 + 30);
    assert_eq!(report.patterns.len(), 4);
    assert!(report.checks.pass(), "{:?}", report.checks);
    for row in &report.patterns {
        assert_eq!(row.counted, row.totals.received.records, "{row:?}");
        let error = (row.weighted - row.totals.received.records as f64).abs() / row.totals.received.records as f64;
        assert!(error <= 5.0 * row.standard_error + 1e-9, "{row:?}");
    }
    let errors = report.patterns.iter().find(|row| row.severity == "error").unwrap();
    assert_eq!((errors.totals.kept.records, errors.standard_error), (30, 0.0));
    assert!((0.05..0.4).contains(&report.kept_share()), "{}", report.kept_share());
    let traces = report.traces;
    assert_eq!(traces.traces, 300 * 40);
    assert_eq!(traces.whole + traces.gone, traces.traces, "one record a trace cannot break");
}

#[test]
fn parts_add_up_to_the_whole_and_to_the_bodies() {
    let outcome = replay(&traffic(120), SamplerConfig::default(), TENTH);
    let report = Report::of(&outcome, &Prices::default());
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b.max(1.0), "{a} {b}");
    let sent = |t: &lipservice::control_plane::replay::Totals| t.kept.bytes + t.summaries.bytes;
    close(report.services.values().map(sent).sum(), sent(&report.total));
    close(report.severities.values().map(sent).sum(), sent(&report.total));
    close(report.patterns.iter().map(|row| sent(&row.totals)).sum(), sent(&report.total));
    close(report.patterns.iter().map(|row| row.totals.month_after).sum(), report.total.month_after);
    // What is billed is the length of the bodies, blocks and annotations included.
    close(sent(&report.total), outcome.delivery.body_bytes as f64);
    close(report.total.received.bytes, outcome.arrived_bytes as f64);
    assert_eq!(outcome.totals.received.records, report.total.received.records);
    assert_eq!(outcome.totals.kept.records, report.total.kept.records);
    assert!(outcome.totals.balance());
}

#[test]
fn the_same_replay_gives_the_same_report_and_another_seed_another() {
    // Without trace ids randomness comes from the seed alone.
    let records = (0..2_000).map(|i| otlp::record(9, &format!("job {i} done")));
    let requests = [Bytes::from(otlp::request_of("jobs", records.collect()))];
    let with_seed = |seed| {
        let settings = Settings { seed, ..Settings::default() };
        let mut replay = Replay::new(&settings, compile(TENTH), CompiledPolicy::default());
        requests.iter().for_each(|request| replay.feed(request.clone()).unwrap());
        let outcome = replay.finish().unwrap();
        Report::of(&outcome, &Prices::default()).total.kept
    };
    assert_eq!(with_seed(1), with_seed(1));
    assert_ne!(with_seed(1), with_seed(2));
}

#[test]
fn nothing_is_sampled_without_a_policy() {
    let requests = traffic(30);
    let report = report(&requests, SamplerConfig::default(), "[]");
    assert_eq!(report.total.kept.records, report.total.received.records);
    assert_eq!(report.total.summaries.records, 0);
    assert!((report.kept_share() - 1.0).abs() < 1e-9, "{}", report.kept_share());
}

#[test]
fn checks_fail_when_something_is_lost() {
    let unprotected = SamplerConfig {
        protect_severity: ProtectSeverity::None,
        novelty_records: 0,
        floor_records: 0,
        ..SamplerConfig::default()
    };
    // ERROR records sampled.
    let lost = report(&traffic(200), unprotected.clone(), TENTH);
    assert!(lost.checks.error_records_lost > 0 && !lost.checks.pass(), "{:?}", lost.checks);
    assert_eq!(lost.checks.examples[0].severity, "error");
    // A generated policy that drops a pattern whole.
    let drop = |origin: &str| {
        format!(
            "{{id: d, name: d, origin: {origin}, log: {{match: [{{log_field: body, starts_with: token}}], keep: none}}}}"
        )
    };
    let gone = report(&traffic(200), unprotected.clone(), &drop("generated"));
    assert_eq!((gone.checks.vanished_patterns, gone.checks.pass()), (1, false));
    assert_eq!(gone.checks.examples[0].template, "token <*> checked");
    // The same as a person's order.
    let ordered = report(&traffic(200), unprotected, &drop("human"));
    assert_eq!((ordered.checks.pass(), ordered.ordered_dropped), (true, 1));
}

#[test]
fn human_policies_are_told_apart_in_the_profile() {
    let human = "{id: h, name: h, log: {match: [{log_field: body, starts_with: GET}], keep: 25%}}";
    let mut replay = Replay::new(&Settings::default(), compile(human), compile(human));
    traffic(10).into_iter().for_each(|request| replay.feed(request).unwrap());
    let profile = replay.finish().unwrap().profile;
    let decided: Vec<_> = profile.cells.values().filter(|cell| cell.decided.records > 0).collect();
    assert_eq!(decided.len(), 1);
    assert_eq!(decided[0].decided, decided[0].seen);
    assert_eq!(decided[0].decided_kept, 100.0);
    assert_eq!((decided[0].windows, decided[0].pairs), (1, 400.0 * 399.0));
}
