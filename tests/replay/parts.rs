//! Stretches of a history: what lies between them was not read, and is no silence.

use bytes::Bytes;
use lipservice::control_plane::analysis::anomaly::AnomalyConfig;
use lipservice::control_plane::insights::{MONTH_DAYS, Prices};
use lipservice::control_plane::replay::{Coverage, Outcome, Replay, Report, Settings};
use lipservice::data_plane::policy::CompiledPolicy;
use lipservice::data_plane::sampler::config::SamplerConfig;

use super::{SECOND, START, compile};
use crate::support::otlp;

const NOTHING: &str = "{id: n, name: n, log: {match: [{log_field: body, exists: true}], keep: 0.0001%}}";

/// Ten minutes every two hours of a service that writes steadily: a twelfth of a day. What it writes takes turns, so that each
/// pattern pauses for almost four hours.
fn stretches() -> Vec<Bytes> {
    let seconds = (0..12u64).flat_map(|stretch| (0..600u64).map(move |second| stretch * 7_200 + second));
    let request = |second: u64| {
        let records = (0..4u64).map(|n| {
            let verb = ["carts read", "orders stored"][(second / 7_200 % 2) as usize];
            let mut record = otlp::record(9, &format!("{verb} in {} ms by {n}", 10 * second + n));
            record.time_unix_nano = START + second * SECOND;
            record
        });
        Bytes::from(otlp::request(vec![otlp::block("shop", records.collect())]))
    };
    seconds.map(request).collect()
}

fn replayed(settings: &Settings) -> Outcome {
    let mut replay = Replay::new(settings, compile(NOTHING), CompiledPolicy::default());
    stretches().into_iter().for_each(|request| replay.feed(request).unwrap());
    replay.finish().unwrap()
}

#[test]
fn gaps_are_neither_silence_nor_forgetting_nor_time_that_is_billed() {
    let sampler = SamplerConfig { floor_records: 0, novelty_records: 1, ..SamplerConfig::default() };
    let settings = Settings { sampler, anomalies: Some(AnomalyConfig::default()), ..Settings::default() };
    let coverage = Coverage { read_seconds: 7_200.0, span_seconds: 86_400.0, share: 1.0 / 12.0 };
    let prices = Prices { free_gb: 0.0, ..Prices::default() };
    let (blind, knowing) = (replayed(&settings), replayed(&settings.clone().in_parts(coverage)));
    let (wrong, right) = (Report::of(&blind, &prices), Report::of(&knowing, &prices));
    // A pattern is new once, and not after every gap.
    assert!(wrong.total.kept.records > 8, "{:?}", wrong.total);
    assert!((2..=3).contains(&right.total.kept.records) && right.checks.pass(), "{:?}", right.total);
    assert!(wrong.anomalies.is_some() && right.anomalies.is_none() && right.is_in_parts && !wrong.is_in_parts);
    // A twelfth of the records is a twelfth of the day.
    assert_eq!(right.seconds, 7_200.0);
    assert_eq!((knowing.profile.windows(), knowing.profile.span_seconds()), (720.0, 79_799.0));
    let bytes = right.total.received.bytes * MONTH_DAYS * 86_400.0 / 7_200.0;
    assert!((right.total.month_before / prices.month(bytes) - 1.0).abs() < 1e-9, "{}", right.total.month_before);
    assert!(wrong.total.month_before < right.total.month_before / 5.0);
}
