//! Made-up events as OTLP requests.
//!
//! Purpose: what an SDK's exporter would put on the wire, one service per request.
//! Promises: ten attributes per record and eight per resource, ids and times set; lossless.
//! Never: is part of the gateway.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::templates::TEMPLATES;
use super::traffic::{Event, Value, resource};

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn any(value: Value) -> any_value::Value {
    match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Int(number) => any_value::Value::IntValue(number),
        Value::Float(number) => any_value::Value::DoubleValue(number),
        Value::Bool(flag) => any_value::Value::BoolValue(flag),
    }
}

/// One record.
pub fn record(event: Event, now_unix_nano: u64) -> LogRecord {
    let kind = TEMPLATES[event.template].kind;
    let (trace_id, span_id) = event.trace.map(|(trace, span)| (trace.to_vec(), span.to_vec())).unwrap_or_default();
    LogRecord {
        time_unix_nano: now_unix_nano,
        observed_time_unix_nano: now_unix_nano,
        severity_number: kind.severity(),
        severity_text: kind.severity_text().to_owned(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(event.body)) }),
        attributes: event.attributes.into_iter().map(|(key, value)| attribute(key, any(value))).collect(),
        flags: u32::from(!trace_id.is_empty()),
        trace_id,
        span_id,
        ..Default::default()
    }
}

/// One request with the records of one service.
pub fn request(service: usize, records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let attributes = resource(service)
        .into_iter()
        .map(|(key, value)| attribute(key, any_value::Value::StringValue(value)))
        .collect();
    let scope = InstrumentationScope { name: "shop.logging".into(), version: "1.4.0".into(), ..Default::default() };
    let scope_logs = ScopeLogs { scope: Some(scope), log_records: records, ..Default::default() };
    let resource = Resource { attributes, ..Default::default() };
    let resource_logs = ResourceLogs { resource: Some(resource), scope_logs: vec![scope_logs], ..Default::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource_logs] }
}
