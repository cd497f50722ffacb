//! Which anomalies stay visible in what goes out.

use bytes::Bytes;
use lipservice::control_plane::analysis::anomaly::AnomalyConfig;
use lipservice::control_plane::insights::Prices;
use lipservice::control_plane::replay::{AnomalyCounts, Replay, Report, Settings};
use lipservice::data_plane::policy::CompiledPolicy;
use lipservice::data_plane::sampler::config::SamplerConfig;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::{SECOND, START, compile};
use crate::support::otlp;

/// Forty minutes of a steady shop whose payments come thirty times as often for two minutes.
fn traffic() -> Vec<Bytes> {
    let mut requests = Vec::new();
    for second in 0..2_400u64 {
        let at = |mut record: LogRecord| {
            record.time_unix_nano = START + second * SECOND;
            record
        };
        let payments = if (1_800..1_920).contains(&second) { 30 } else { 1 };
        let mut records: Vec<LogRecord> =
            (0..payments).map(|n| at(otlp::record(9, &format!("payment {second}{n} retried")))).collect();
        records.extend((0..5).map(|n| at(otlp::record(9, &format!("GET /cart/{second}{n} took {n} ms")))));
        requests.push(otlp::request(vec![otlp::block("shop", records)]).into());
    }
    requests
}

fn anomalies(policies: &str, summaries: bool) -> AnomalyCounts {
    let mut sampler = SamplerConfig::default();
    sampler.summary.enabled = summaries;
    let settings = Settings { sampler, anomalies: Some(AnomalyConfig::default()), ..Settings::default() };
    let mut replay = Replay::new(&settings, compile(policies), CompiledPolicy::default());
    traffic().into_iter().for_each(|request| replay.feed(request).unwrap());
    Report::of(&replay.finish().unwrap(), &Prices::default()).anomalies.unwrap()
}

const LIMIT: &str = "{id: l, name: l, log: {match: [{log_field: body, contains: payment}], keep: 1/s}}";
const FIFTH: &str = "{id: f, name: f, log: {match: [{log_field: body, exists: true}], keep: 20%}}";

#[test]
fn summaries_keep_a_spike_visible_and_a_rate_limit_without_them_hides_it() {
    let kept = anomalies("{policies: []}", true);
    assert!(kept.received > 0, "{kept:?}");
    assert_eq!((kept.missed, kept.invented), (0, 0), "what is sent whole looks the same: {kept:?}");
    for policy in [FIFTH, LIMIT] {
        let told = anomalies(policy, true);
        assert_eq!((told.received, told.missed), (kept.received, 0), "{policy}: {told:?}");
    }
    let hidden = anomalies(LIMIT, false);
    assert!(hidden.missed > 0, "{hidden:?}");
    let spike = hidden.examples.iter().find(|missed| missed.kind == "spike").unwrap();
    assert_eq!((spike.service.as_str(), spike.template.as_str()), ("shop", "payment <*> retried"), "{hidden:?}");
    assert!(spike.seen > 10.0 * spike.expected, "{spike:?}");
}

#[test]
fn nothing_is_watched_when_that_is_off() {
    let off = AnomalyConfig { enabled: false, ..AnomalyConfig::default() };
    let settings = Settings { anomalies: Some(off), ..Settings::default() };
    let mut replay = Replay::new(&settings, compile("{policies: []}"), CompiledPolicy::default());
    traffic().into_iter().take(50).for_each(|request| replay.feed(request).unwrap());
    assert_eq!(Report::of(&replay.finish().unwrap(), &Prices::default()).anomalies, None);
}
