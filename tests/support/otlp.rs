//! OTLP logs for tests: build requests with prost, take them apart again.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

/// A string value.
pub fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.into())) }
}

/// A string attribute.
pub fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(text(value)), ..KeyValue::default() }
}

/// A record with a body and a severity number.
pub fn record(severity_number: i32, body: &str) -> LogRecord {
    LogRecord { time_unix_nano: 1, severity_number, body: Some(text(body)), ..LogRecord::default() }
}

/// A record of a trace whose randomness (low 56 bits) is `randomness`.
pub fn traced(severity_number: i32, body: &str, randomness: u64) -> LogRecord {
    let mut trace_id = vec![0xab; 16];
    trace_id[8..].copy_from_slice(&(randomness | 0xab << 56).to_be_bytes());
    LogRecord { trace_id, ..record(severity_number, body) }
}

/// The records as one block of one service.
pub fn block(service: &str, log_records: Vec<LogRecord>) -> ResourceLogs {
    let resource = Resource { attributes: vec![attribute("service.name", service)], ..Resource::default() };
    let scope = InstrumentationScope { name: "test".into(), ..InstrumentationScope::default() };
    let scope_logs = ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() };
    ResourceLogs { resource: Some(resource), scope_logs: vec![scope_logs], ..ResourceLogs::default() }
}

/// Blocks as request bytes.
pub fn request(resource_logs: Vec<ResourceLogs>) -> Vec<u8> {
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// The records of one service as request bytes.
pub fn request_of(service: &str, records: Vec<LogRecord>) -> Vec<u8> {
    request(vec![block(service, records)])
}

/// Every record of a request, with its service.
pub fn records_in(body: &[u8]) -> Vec<(String, LogRecord)> {
    let decoded = ExportLogsServiceRequest::decode(body).unwrap();
    let mut found = Vec::new();
    for resource_logs in decoded.resource_logs {
        let attributes = resource_logs.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = string_at(&attributes, "service.name").unwrap_or_default();
        for scope_logs in resource_logs.scope_logs {
            found.extend(scope_logs.log_records.into_iter().map(|record| (service.clone(), record)));
        }
    }
    found
}

/// The text of a string attribute.
pub fn string_at(attributes: &[KeyValue], key: &str) -> Option<String> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// The number of an integer attribute.
pub fn int_at(attributes: &[KeyValue], key: &str) -> Option<i64> {
    match attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()? {
        any_value::Value::IntValue(number) => Some(*number),
        _ => None,
    }
}

/// The text of a string body.
pub fn body_of(record: &LogRecord) -> String {
    match record.body.as_ref().and_then(|body| body.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

/// The attributes of a request's first resource.
pub fn resource_attributes(body: &[u8]) -> Vec<KeyValue> {
    let decoded = ExportLogsServiceRequest::decode(body).unwrap();
    let first = decoded.resource_logs.into_iter().next();
    first.and_then(|block| block.resource).map(|resource| resource.attributes).unwrap_or_default()
}
