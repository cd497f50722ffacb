//! The reservoir and the replay of what it holds, against the whole traffic.

use std::sync::Arc;

use lipservice::control_plane::insights::Prices;
use lipservice::control_plane::replay::{Replay, Report, Script, Settings, settings_for};
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use lipservice::data_plane::reservoir::config::ReservoirConfig;
use lipservice::units::ByteSize;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{START, Stage, Wanted, generator, shop};
use crate::support::otlp;

const POLICIES: &str = "policies:
  - {id: flood, name: f, log: {match: [{log_field: body, contains: 'GET '}], keep: 12.5%}}
  - {id: beat, name: b, log: {match: [{log_field: body, contains: heartbeat}], keep: 1%}}
";

fn compile(text: &str) -> CompiledPolicy {
    CompiledPolicy::compile(&Document::parse("t", text.as_bytes()).unwrap(), START, None)
}

/// The shop, with traces.
fn traced(second: u64) -> Vec<(&'static str, LogRecord)> {
    let mut rng = SmallRng::seed_from_u64(second);
    let mut records = shop(second);
    for (_, record) in &mut records {
        record.trace_id = vec![0xab; 16];
        record.trace_id[9..].copy_from_slice(&rng.random::<u64>().to_be_bytes()[1..]);
    }
    records
}

async fn stage(reservoir: ReservoirConfig) -> Stage {
    let config = lipservice::control_plane::generator::config::GeneratorConfig { reservoir, ..generator() };
    Stage::new(Wanted { generator: config, ..Wanted::default() }).await
}

#[tokio::test]
async fn a_replay_of_samples_tells_what_a_replay_of_everything_tells() {
    let mut stage = stage(ReservoirConfig::default()).await;
    stage.pass(600, traced);
    let settings = settings_for(&Settings::default());
    let mut whole = Replay::new(&settings, compile(POLICIES), CompiledPolicy::default());
    for second in 0..600 {
        for (service, mut record) in traced(second) {
            record.time_unix_nano = START + second * 1_000_000_000;
            whole.feed(otlp::request_of(service, vec![record]).into()).unwrap();
        }
    }
    let whole = Report::of(&whole.finish().unwrap(), &Prices::default());
    let sample = stage.flow.reservoir.sample();
    assert_eq!(sample.records(), whole.total.received.records);
    // Bytes of blocks go by how records meet in batches, which a sample does not tell to the byte.
    let (most, off) = (100_000, 0.08);
    let catalogue = Arc::default();
    let script = Script::new(&sample, &catalogue, &settings, most);
    assert!(script.records() <= whole.total.received.records.min(most * 3 / 2), "{}", script.records());
    let outcome = script.play(&settings, compile(POLICIES), CompiledPolicy::default()).unwrap();
    let part = Report::of(&outcome, &Prices::default());
    assert!(part.checks.pass(), "{:?}", part.checks);
    assert_eq!(part.total.received.records, whole.total.received.records);
    assert_eq!(part.patterns.len(), whole.patterns.len());
    for row in &whole.patterns {
        let own = part.patterns.iter().find(|own| own.pattern == row.pattern && own.severity == row.severity);
        let own = own.unwrap_or_else(|| panic!("{row:?} is missing"));
        assert_eq!(own.totals.received.records, row.totals.received.records);
        let close = |a: f64, b: f64| (a - b).abs() <= off * b + 12.0 * row.standard_error.max(0.05);
        assert!(
            close(own.totals.kept.records as f64, row.totals.kept.records as f64),
            "{most}: {} of {}, {}",
            own.totals.kept.records,
            row.totals.kept.records,
            row.template
        );
    }
    let (a, b) = (part.kept_share(), whole.kept_share());
    assert!((a / b - 1.0).abs() < off, "{most}: {a} {b}");
}

#[tokio::test]
async fn rare_patterns_have_their_records_and_memory_is_bounded() {
    let small = ReservoirConfig { max_size: ByteSize(1 << 20), ..ReservoirConfig::default() };
    let mut stage = stage(small).await;
    // Many patterns with long records: more than there is room for.
    let many = |second: u64| {
        let mut records = shop(second);
        for i in 0..40u64 {
            let word = format!("{:x}", (second * 40 + i) % 900 + 0xabc000).replace(|c: char| c.is_ascii_digit(), "g");
            records.push(("bulk", otlp::record(9, &format!("{word} {}", "word ".repeat(60)))));
        }
        records
    };
    stage.pass(600, many);
    let mut text = String::new();
    let held = stage.flow.reservoir.sample();
    let bytes: usize = held.strata.iter().flat_map(|stratum| &stratum.records).map(|record| record.len()).sum();
    assert!(bytes < 1 << 20, "{bytes}");
    for stratum in &held.strata {
        text += &format!("{} {:?} {}\n", stratum.service, stratum.band, stratum.records.len());
    }
    let rare = held.strata.iter().filter(|stratum| &*stratum.service == "checkout");
    assert!(rare.clone().count() == 3 && rare.clone().all(|stratum| !stratum.records.is_empty()), "{text}");
    // What is not there any more is not guessed: every window held is exact.
    let errors = held.strata.iter().find(|stratum| stratum.band.as_str() == "error").unwrap();
    let windows = errors.windows.iter().map(|count| count.records).sum::<u64>();
    assert!(errors.windows.iter().all(|count| count.records == 1) && windows <= 12, "{:?}", errors.windows);
}

/// One error in every window, two in a single one: four windows of sixty are played, and those tell of the others.
#[tokio::test]
async fn errors_that_seldom_come_in_pairs_are_not_taken_for_lost() {
    let mut stage = stage(ReservoirConfig::default()).await;
    let word =
        |number: u64| ["red", "blue", "green", "grey", "pink"][(number % 5) as usize].repeat(1 + number as usize / 5);
    let errors = |second: u64| {
        let mut records = shop(second);
        for number in (0..20).filter(|number| second.is_multiple_of(10) || second == 5 + 10 * number) {
            records.push(("paint", otlp::record(17, &format!("no {} left", word(number)))));
        }
        records
    };
    stage.pass(600, errors);
    let sample = stage.flow.reservoir.sample();
    let settings = settings_for(&Settings::default());
    let script = Script::new(&sample, &Arc::default(), &settings, 500);
    assert!(script.records() < sample.records() / 2, "{} of {}", script.records(), sample.records());
    let outcome = script.play(&settings, compile(POLICIES), CompiledPolicy::default()).unwrap();
    let report = Report::of(&outcome, &Prices::default());
    let found: Vec<_> = report.patterns.iter().filter(|row| row.service == "paint").collect();
    assert_eq!(found.len(), 20);
    for row in found {
        assert_eq!((row.totals.received.records, row.totals.kept.records), (61, 61), "{}", row.template);
    }
    assert!(report.checks.pass(), "{:?}", report.checks);
}

#[tokio::test]
async fn what_a_policy_redacts_is_not_held() {
    let people = "policies: [{id: r, name: r, log: {match: [{log_field: body, contains: order}], keep: all, \
                  transform: {redact: [{log_attribute: card, replacement: gone}]}}}]";
    let mut stage = Stage::new(Wanted { people, ..Wanted::default() }).await;
    let records = |second: u64| {
        let mut record = otlp::record(9, &format!("order {second} placed"));
        record.attributes.push(otlp::attribute("card", "4111-MARKER"));
        vec![("checkout", record)]
    };
    stage.pass(120, records);
    let sample = stage.flow.reservoir.sample();
    let held: Vec<_> = sample.strata.iter().flat_map(|stratum| &stratum.records).collect();
    assert!(!held.is_empty());
    for record in held {
        let (_, record) = otlp::records_in(record).remove(0);
        assert_eq!(otlp::string_at(&record.attributes, "card").as_deref(), Some("gone"));
    }
}

#[tokio::test]
async fn a_policy_that_comes_later_redacts_what_was_taken_before() {
    let mut record = otlp::record(9, "order 7 placed");
    record.attributes.push(otlp::attribute("card", "4111-MARKER"));
    let request = otlp::request_of("checkout", vec![record]);
    let policy = compile(
        "policies: [{id: r, name: r, log: {match: [{log_field: body, contains: order}], keep: none, \
         transform: {redact: [{log_attribute: card, replacement: gone}]}}}]",
    );
    let rewritten = policy.rewrite(&request, START).unwrap();
    assert_eq!(otlp::string_at(&otlp::records_in(&rewritten)[0].1.attributes, "card").as_deref(), Some("gone"));
    assert!(policy.stats().iter().all(|stats| stats.hits + stats.misses == 0), "and counts nothing");
}

#[tokio::test]
async fn a_pattern_without_a_record_to_play_is_kept_whole() {
    let mut stage = stage(ReservoirConfig::default()).await;
    stage.pass(60, shop);
    let mut sample = stage.flow.reservoir.sample();
    let all = sample.records();
    let web = sample.strata.iter_mut().find(|stratum| &*stratum.service == "web").unwrap();
    web.records.clear();
    let settings = settings_for(&Settings::default());
    let script = Script::new(&sample, &Arc::default(), &settings, 10_000);
    let outcome = script.play(&settings, compile(POLICIES), CompiledPolicy::default()).unwrap();
    let report = Report::of(&outcome, &Prices::default());
    assert_eq!(report.total.received.records, all);
    assert!(report.checks.pass(), "{:?}", report.checks);
}
