//! The exporter against a stand-in for PostHog: every record ends exactly once as a row or as a failure.
//!
//! Retries run on real sockets here with waits of a millisecond; waits themselves are tested in simulated time
//! (`src/data_plane/exporter/simulation_tests.rs`).

mod conservation;
mod delivery;
mod outputs;
mod pressure;
mod renewal;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lipservice::clock::Clock;
use lipservice::data_plane::exporter::config::{ExporterConfig, OtlpHttpConfig, PostHogConfig, RetryConfig};
use lipservice::data_plane::exporter::{Exporter, ExporterStats, Outgoing};
use lipservice::units::{Period, Secret};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

pub use crate::support::fake_posthog::{FakePostHog, Mode};

/// Generous: it only ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn fake() -> FakePostHog {
    FakePostHog::start().await.expect("loopback is there")
}

/// Retries after about a millisecond, for ever.
pub fn impatient() -> RetryConfig {
    RetryConfig {
        enabled: true,
        initial_interval: Period::millis(1),
        max_interval: Period::millis(3),
        max_elapsed_time: Period::secs(0),
    }
}

pub fn posthog(fake: &FakePostHog) -> PostHogConfig {
    let mut config = PostHogConfig {
        host: fake.url(),
        token: Some(Secret::new("phc_test")),
        retry_on_failure: impatient(),
        ..PostHogConfig::default()
    };
    config.batch.timeout = Period::millis(1);
    config
}

pub fn otlp(fake: &FakePostHog) -> OtlpHttpConfig {
    let mut config =
        OtlpHttpConfig { endpoint: fake.url(), retry_on_failure: impatient(), ..OtlpHttpConfig::default() };
    config.headers.insert("authorization".into(), Secret::new("Bearer phc_test"));
    config.batch.timeout = Period::millis(1);
    config
}

pub fn start(config: PostHogConfig) -> Exporter {
    Exporter::start("posthog", &ExporterConfig::PostHog(config), Clock::System, 1).expect("starts")
}

pub fn start_otlp(config: OtlpHttpConfig) -> Exporter {
    Exporter::start("otlp_http", &ExporterConfig::OtlpHttp(config), Clock::System, 1).expect("starts")
}

/// A request of one service whose records have the given bodies.
pub fn request(service: &str, bodies: impl IntoIterator<Item = String>) -> Bytes {
    let text = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    let log_records = bodies
        .into_iter()
        .map(|body| LogRecord { severity_number: 9, body: text(&body), ..LogRecord::default() })
        .collect();
    let scope = InstrumentationScope { name: "app".into(), ..InstrumentationScope::default() };
    let name = KeyValue { key: "service.name".into(), value: text(service), ..KeyValue::default() };
    let block = ResourceLogs {
        resource: Some(Resource { attributes: vec![name], ..Resource::default() }),
        scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![block] }.encode_to_vec().into()
}

/// Submits the records `range` as one request.
pub fn submit(exporter: &Exporter, range: std::ops::Range<u32>, token: Option<&str>) {
    let records = u64::from(range.end - range.start);
    let body = request("shop", range.map(|i| format!("record {i}")));
    submit_body(exporter, body, records, token);
}

pub fn submit_body(exporter: &Exporter, body: Bytes, records: u64, token: Option<&str>) {
    let reservation = exporter.try_reserve(body.len()).expect("there is room");
    reservation.submit(Outgoing { body, records, token: token.map(Arc::from) });
}

/// Drains and checks the books: everything sent or failed, nothing waiting.
pub async fn drained(exporter: &Exporter) -> ExporterStats {
    let undelivered = tokio::time::timeout(PATIENCE, exporter.drain(PATIENCE)).await.expect("drains");
    let stats = exporter.stats();
    assert_eq!(undelivered, 0, "{stats:?}");
    assert_eq!(stats.accepted, stats.sent + stats.failed.total(), "{stats:?}");
    assert_eq!((stats.waiting, stats.queue_bytes, stats.invariant_violations), (0, 0, 0), "{stats:?}");
    stats
}

/// The bodies of all rows, sorted.
pub fn stored(fake: &FakePostHog) -> Vec<String> {
    let mut bodies: Vec<String> = fake.rows().into_iter().map(|row| row.body).collect();
    bodies.sort();
    bodies
}

/// What [`stored`] returns when the records `range` arrived once each.
pub fn expected(range: std::ops::Range<u32>) -> Vec<String> {
    let mut bodies: Vec<String> = range.map(|i| format!("record {i}")).collect();
    bodies.sort();
    bodies
}
