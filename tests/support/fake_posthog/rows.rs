//! From an OTLP request to rows, as PostHog maps them.
//!
//! Time 0 becomes the server's now, a time more than 24 h away is overwritten with now; the severity number wins over
//! the text; attributes become text; ids of the wrong length read back as zeros. Scope attributes, schema URLs, observed
//! times and dropped counts are not kept.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;

const DAY_NANOS: u64 = 24 * 3600 * 1_000_000_000;

/// A stored log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// PostHog's own id; see [`Row::uuid`].
    pub id: u128,
    /// When it was received.
    pub observed_time_unix_nano: u64,
    /// The project token it came with.
    pub token: String,
    /// As sent.
    pub sent_time_unix_nano: u64,
    /// As stored.
    pub time_unix_nano: u64,
    /// Text; a body that is not a string is JSON.
    pub body: String,
    /// trace, debug, info, warn, error or fatal.
    pub level: String,
    /// As sent.
    pub severity_text: String,
    /// As sent.
    pub severity_number: i32,
    /// 32 upper-case hex digits.
    pub trace_id: String,
    /// 16 upper-case hex digits.
    pub span_id: String,
    /// `service.name` of the resource.
    pub service_name: String,
    /// The record's attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// The resource's attributes as text.
    pub resource_attributes: Arc<BTreeMap<String, String>>,
    /// Name of the scope.
    pub instrumentation_scope: String,
    /// As sent.
    pub event_name: String,
}

impl Row {
    /// An id that no other row of this process has, but for those of [`Row::id_of`].
    pub fn new_id() -> u128 {
        static ROWS: AtomicU64 = AtomicU64::new(0);
        Row::id_of(0, ROWS.fetch_add(1, Ordering::Relaxed))
    }

    /// The id of row `number` of a history: the same in every run, and spread over all values so that its order says
    /// nothing. Series 0 is that of [`Row::new_id`].
    pub fn id_of(series: u64, number: u64) -> u128 {
        let name = [series.to_le_bytes(), number.to_le_bytes()].concat();
        let half = |seed| u128::from(twox_hash::XxHash64::oneshot(seed, &name));
        half(1) << 64 | half(2)
    }

    /// The id as PostHog shows it.
    pub fn uuid(&self) -> String {
        let hex = format!("{:032x}", self.id);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// The time as stored, which is to the microsecond.
    pub fn micros(&self) -> u64 {
        self.time_unix_nano / 1_000
    }
}

/// Reads protobuf, else JSON, else JSON lines.
pub(super) fn decode(body: &[u8], token: &str, now: u64) -> Option<Vec<Row>> {
    if let Ok(request) = ExportLogsServiceRequest::decode(body) {
        return Some(rows(request, token, now));
    }
    if let Ok(request) = serde_json::from_slice::<ExportLogsServiceRequest>(body) {
        return Some(rows(request, token, now));
    }
    let mut all = Vec::new();
    for line in std::str::from_utf8(body).ok()?.lines().filter(|line| !line.trim().is_empty()) {
        all.extend(rows(serde_json::from_str::<ExportLogsServiceRequest>(line).ok()?, token, now));
    }
    Some(all)
}

fn rows(request: ExportLogsServiceRequest, token: &str, now: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for block in request.resource_logs {
        let resource_attributes = Arc::new(attributes(&block.resource.unwrap_or_default().attributes));
        for scope in block.scope_logs {
            let scope_name = scope.scope.map(|scope| scope.name).unwrap_or_default();
            for record in scope.log_records {
                rows.push(row(record, token, now, &resource_attributes, &scope_name));
            }
        }
    }
    rows
}

fn row(record: LogRecord, token: &str, now: u64, resource: &Arc<BTreeMap<String, String>>, scope: &str) -> Row {
    let sent = record.time_unix_nano;
    let body = record.body.as_ref().map(text).unwrap_or_default();
    Row {
        id: Row::new_id(),
        observed_time_unix_nano: now,
        token: token.to_owned(),
        sent_time_unix_nano: sent,
        time_unix_nano: if sent == 0 || sent.abs_diff(now) > DAY_NANOS { now } else { sent },
        level: level(record.severity_number, &record.severity_text).to_owned(),
        body,
        severity_text: record.severity_text,
        severity_number: record.severity_number,
        trace_id: hex(&record.trace_id, 16),
        span_id: hex(&record.span_id, 8),
        service_name: resource.get("service.name").cloned().unwrap_or_default(),
        attributes: attributes(&record.attributes),
        resource_attributes: Arc::clone(resource),
        instrumentation_scope: scope.to_owned(),
        event_name: record.event_name,
    }
}

fn level(number: i32, text: &str) -> &'static str {
    match number {
        1..=4 => "trace",
        5..=8 => "debug",
        9..=12 => "info",
        13..=16 => "warn",
        17..=20 => "error",
        21..=24 => "fatal",
        _ => match text.to_ascii_lowercase().as_str() {
            "trace" => "trace",
            "debug" => "debug",
            "warn" | "warning" => "warn",
            "error" => "error",
            "fatal" | "critical" => "fatal",
            _ => "info",
        },
    }
}

fn hex(id: &[u8], len: usize) -> String {
    let zeros = vec![0; len];
    let id = if id.len() == len { id } else { &zeros };
    id.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02X}");
        out
    })
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter().map(|entry| (entry.key.clone(), entry.value.as_ref().map(text).unwrap_or_default())).collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        None => String::new(),
        _ => json(value).to_string(),
    }
}

fn json(value: &AnyValue) -> serde_json::Value {
    use serde_json::Value as Json;
    match &value.value {
        Some(Value::StringValue(text)) => Json::from(text.as_str()),
        Some(Value::BoolValue(flag)) => Json::from(*flag),
        Some(Value::IntValue(number)) => Json::from(*number),
        Some(Value::DoubleValue(number)) => Json::from(*number),
        Some(Value::ArrayValue(array)) => Json::Array(array.values.iter().map(json).collect()),
        Some(Value::KvlistValue(list)) => {
            let entry = |kv: &KeyValue| (kv.key.clone(), kv.value.as_ref().map_or(Json::Null, json));
            Json::Object(list.values.iter().map(entry).collect())
        }
        Some(Value::BytesValue(bytes)) => Json::from(bytes.as_slice()),
        _ => Json::Null,
    }
}
