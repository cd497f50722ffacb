//! What a gateway would have been billed for a history, by sending it through one.
//!
//! Purpose: hold a prediction against the gateway itself. Promises: the gateway's clock is the records' time, its destination
//! counts decompressed bytes as PostHog bills them; loopback only.
//! Never: takes requests from the fetched history: it builds them from the stored rows, as an SDK would have sent them.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use lipservice::clock::Clock;
use lipservice::config;
use lipservice::gateway::{Gateway, Options};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::fake_posthog::Row;
use super::sink;

/// Time that a request covers: the sampler's default window. Were it longer, a pattern would find one floor where it has several.
const BATCH_NANOS: u64 = 10_000_000_000;

/// A configuration for `generate --config` and for the gateway: `sampler` is the inside of that section. Batches fill by
/// size, so that they do not depend on how fast the history is played.
pub fn config_text(sampler: &str, destination: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}
processors: {{sampler: {{summary: {{interval: 48h}}, {sampler}}}}}
exporters: {{posthog: {{host: '{destination}', token: phc_x, compression: none, batch: {{max_size: 1MiB, timeout: 1h}}}}}}
service:
  pipelines: {{logs: {{receivers: [otlp], processors: [sampler], exporters: [posthog]}}}}
  telemetry: {{metrics: {{address: '127.0.0.1:0'}}}}
"
    )
}

/// Bytes that leave a gateway with this sampler when `rows`, in the order of time, pass through it.
///
/// # Errors
/// When the gateway does not start, refuses something, or its books do not balance.
pub async fn billed(rows: &[Row], sampler: &str) -> anyhow::Result<u64> {
    let (address, counts) = sink::start().await?;
    let text = config_text(sampler, &format!("http://{address}"));
    let loaded = config::load_text(&text, "bill.yaml", &|_| None).map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let mut now = rows.first().context("no rows")?.time_unix_nano;
    let clock = Clock::manual(now);
    let gateway = Gateway::start(loaded.config, Options { clock: clock.clone() }).await?;
    let url = format!("http://{}/v1/logs", gateway.http_addrs().first().context("no port")?);
    let client = reqwest::Client::builder().no_proxy().build()?;
    for batch in rows.chunk_by(|a, b| a.time_unix_nano / BATCH_NANOS == b.time_unix_nano / BATCH_NANOS) {
        let latest = batch.iter().map(|row| row.time_unix_nano).max().unwrap_or(now).max(now);
        clock.advance(Duration::from_nanos(latest - now));
        now = latest;
        let post = client.post(&url).header("content-type", "application/x-protobuf").body(request(batch));
        let status = post.send().await?.status();
        ensure!(status.is_success(), "the gateway answers {status}");
    }
    let report = gateway.shutdown(Duration::from_secs(120)).await;
    ensure!(report.balance(), "the gateway's books do not balance:\n{report}");
    Ok(counts.bytes.load(Ordering::Relaxed))
}

fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }
}

fn attributes(map: &BTreeMap<String, String>) -> Vec<KeyValue> {
    map.iter()
        .map(|(key, value)| KeyValue { key: key.clone(), value: Some(text(value)), ..KeyValue::default() })
        .collect()
}

fn id(hex: &str) -> Vec<u8> {
    let bytes: Vec<u8> =
        (0..hex.len() / 2).filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()).collect();
    if bytes.iter().all(|byte| *byte == 0) { Vec::new() } else { bytes }
}

fn request(rows: &[Row]) -> Vec<u8> {
    let mut services: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        services.entry(&row.service_name).or_default().push(row);
    }
    let block = |rows: Vec<&Row>| {
        let record = |row: &&Row| LogRecord {
            time_unix_nano: row.time_unix_nano,
            severity_number: row.severity_number,
            severity_text: row.severity_text.clone(),
            body: Some(text(&row.body)),
            attributes: attributes(&row.attributes),
            trace_id: id(&row.trace_id),
            span_id: id(&row.span_id),
            ..LogRecord::default()
        };
        let scope = InstrumentationScope { name: rows[0].instrumentation_scope.clone(), ..Default::default() };
        let scope_logs =
            ScopeLogs { scope: Some(scope), log_records: rows.iter().map(record).collect(), ..Default::default() };
        let resource = Resource { attributes: attributes(&rows[0].resource_attributes), ..Default::default() };
        ResourceLogs { resource: Some(resource), scope_logs: vec![scope_logs], ..Default::default() }
    };
    ExportLogsServiceRequest { resource_logs: services.into_values().map(block).collect() }.encode_to_vec()
}
