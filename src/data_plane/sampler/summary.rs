//! Summary records: what a pattern lost since the last one, as a log record of its own.
//!
//! Purpose: make counts after sampling exact: one record a pattern and cause, with records, bytes, first and last time,
//! template and policy.
//! Promises: requests hold the records of one token only and are valid OTLP; size is bounded by the template's bound;
//! attribute names are short, as they are billed.
//! Never: decides when to report, or forgets what it was given.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::data_plane::pattern::PatternId;
use crate::data_plane::view::wire::{put_len_field, put_varint};
use crate::data_plane::window::{Cell, Suppressed};

/// One pattern and one cause, to be reported.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The pattern.
    pub cell: Arc<Cell>,
    /// What it lost.
    pub suppressed: Suppressed,
}

/// A request full of summary records.
#[derive(Clone, Debug)]
pub struct SummaryRequest {
    /// An `ExportLogsServiceRequest`.
    pub body: Vec<u8>,
    /// Records in it.
    pub records: u64,
    /// Whose they are.
    pub token: Option<Arc<str>>,
    /// What it reports, to be put back should the request find no room.
    pub entries: Vec<Entry>,
}

/// Most entries in one request, so that one fits a destination's limit on bodies (about 1 KiB each).
const MAX_ENTRIES: usize = 1_000;

/// Writes `entries` as requests: one service a resource block, never two tokens in a request.
pub fn requests(entries: Vec<Entry>, now: UnixNanos) -> Vec<SummaryRequest> {
    let mut by_token: BTreeMap<Option<Arc<str>>, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        by_token.entry(entry.cell.service.token.clone()).or_default().push(entry);
    }
    let mut requests = Vec::new();
    for (token, mut entries) in by_token {
        entries.sort_by(|a, b| a.cell.service.name.cmp(&b.cell.service.name));
        for chunk in entries.chunks(MAX_ENTRIES) {
            let (token, entries) = (token.clone(), chunk.to_vec());
            requests.push(SummaryRequest { body: request(chunk, now), records: chunk.len() as u64, token, entries });
        }
    }
    requests
}

/// Field numbers are those of `opentelemetry.proto.logs.v1`.
fn request(entries: &[Entry], now: UnixNanos) -> Vec<u8> {
    let mut out = Vec::new();
    for of_service in entries.chunk_by(|a, b| a.cell.service.name == b.cell.service.name) {
        let mut resource = Vec::new();
        put_attribute(&mut resource, 1, "service.name", Value::Text(&of_service[0].cell.service.name));
        let mut scope = Vec::new();
        put_len_field(&mut scope, 1, b"lipservice");
        let mut scope_logs = Vec::new();
        put_len_field(&mut scope_logs, 1, &scope);
        for entry in of_service {
            put_len_field(&mut scope_logs, 2, &record(entry, now));
        }
        let mut resource_logs = Vec::new();
        put_len_field(&mut resource_logs, 1, &resource);
        put_len_field(&mut resource_logs, 2, &scope_logs);
        put_len_field(&mut out, 1, &resource_logs);
    }
    out
}

fn record(entry: &Entry, now: UnixNanos) -> Vec<u8> {
    let Entry { cell, suppressed } = entry;
    let mut out = Vec::with_capacity(256 + cell.template.len());
    out.push(0x09); // time_unix_nano, fixed64
    out.extend_from_slice(&now.to_le_bytes());
    if cell.band.severity_number() != 0 {
        out.push(0x10); // severity_number, varint
        put_varint(&mut out, u64::from(cell.band.severity_number()));
    }
    let text = format!("{} records dropped: {}", suppressed.records, cell.template);
    let mut body = Vec::with_capacity(text.len() + 4);
    put_len_field(&mut body, 1, text.as_bytes());
    put_len_field(&mut out, 5, &body);
    put_attribute(&mut out, 6, "lip.summary", Value::Int(1));
    put_attribute(&mut out, 6, "lip.records", Value::Int(suppressed.records));
    put_attribute(&mut out, 6, "lip.bytes", Value::Int(suppressed.bytes));
    put_attribute(&mut out, 6, "lip.first", Value::Int(suppressed.first));
    put_attribute(&mut out, 6, "lip.last", Value::Int(suppressed.last));
    put_attribute(&mut out, 6, "lip.reason", Value::Text(suppressed.cause.reason));
    if let Some(policy) = &suppressed.cause.policy {
        put_attribute(&mut out, 6, "lip.policy", Value::Text(policy));
    }
    if let Some(signature) = cell.signature {
        put_attribute(&mut out, 6, "lip.signature", Value::Text(&signature.to_string()));
    }
    // A pattern that nothing was joined with has its signature's number.
    if let Some(pattern) = cell.pattern.filter(|pattern| cell.signature.map(PatternId::from) != Some(*pattern)) {
        put_attribute(&mut out, 6, "lip.pattern", Value::Text(&pattern.to_string()));
    }
    out
}

enum Value<'a> {
    Text(&'a str),
    Int(u64),
}

fn put_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: Value<'_>) {
    let mut any = Vec::new();
    match value {
        Value::Text(text) => put_len_field(&mut any, 1, text.as_bytes()),
        Value::Int(number) => {
            any.push(0x18); // int_value, varint
            put_varint(&mut any, number);
        }
    }
    let mut key_value = Vec::with_capacity(key.len() + any.len() + 8);
    put_len_field(&mut key_value, 1, key.as_bytes());
    put_len_field(&mut key_value, 2, &any);
    put_len_field(out, field, &key_value);
}

/// Appends the `sampling.threshold` attribute to the fields of a record.
pub fn put_threshold(out: &mut Vec<u8>, digits: &[u8]) {
    // Known lengths: key 18 bytes, value at most 14, so that every length is one byte.
    let digits = &digits[..digits.len().min(14)];
    let any_len = 2 + digits.len() as u8;
    out.extend_from_slice(&[0x32, 2 + 18 + 2 + any_len, 0x0a, 18]);
    out.extend_from_slice(b"sampling.threshold");
    out.extend_from_slice(&[0x12, any_len, 0x0a, digits.len() as u8]);
    out.extend_from_slice(digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::pattern::Grouping;
    use crate::data_plane::signature::Signature;
    use crate::data_plane::window::{Band, Cause, Service};
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
    use opentelemetry_proto::tonic::logs::v1::LogRecord;
    use prost::Message;

    fn entry(service: &str, token: Option<&str>, records: u64) -> Entry {
        let service = Arc::new(Service { name: service.into(), token: token.map(Into::into) });
        let texts = ("GET <*> took <*>".into(), "GET /a took 5ms".into());
        let grouping = Grouping { signature: Signature(0xabc), pattern: PatternId(0xdef) };
        let cell = Arc::new(Cell::new(service, Band::Info, Some(grouping), texts));
        let cause = Cause { policy: Some("p1".into()), reason: "policy_percentage" };
        Entry { cell, suppressed: Suppressed { cause, records, bytes: records * 100, first: 5, last: 9 } }
    }

    fn text(attributes: &[KeyValue], key: &str) -> String {
        let found = attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone()).and_then(|v| v.value);
        match found {
            Some(any_value::Value::StringValue(text)) => text,
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_request_holds_one_token_and_everything_it_was_given() {
        let entries = vec![entry("web", Some("a"), 3), entry("api", Some("a"), 7), entry("web", None, 11)];
        let requests = requests(entries, 1_000);
        assert_eq!(requests.len(), 2);
        let mut dropped = 0;
        for request in &requests {
            let decoded = ExportLogsServiceRequest::decode(request.body.as_slice()).unwrap();
            for block in &decoded.resource_logs {
                let records = &block.scope_logs[0].log_records;
                dropped +=
                    records.iter().map(|r| text(&r.attributes, "lip.records").parse::<u64>().unwrap()).sum::<u64>();
            }
            assert!(request.entries.iter().all(|entry| entry.cell.service.token == request.token));
        }
        assert_eq!(dropped, 21);
    }

    #[test]
    fn a_summary_reads_back() {
        let requests = requests(vec![entry("web", None, 3)], 1_000);
        let decoded = ExportLogsServiceRequest::decode(requests[0].body.as_slice()).unwrap();
        let block = &decoded.resource_logs[0];
        assert_eq!(text(&block.resource.as_ref().unwrap().attributes, "service.name"), "web");
        let record = &block.scope_logs[0].log_records[0];
        assert_eq!((record.time_unix_nano, record.severity_number), (1_000, 9));
        let body = record.body.clone().unwrap().value.unwrap();
        assert_eq!(body, any_value::Value::StringValue("3 records dropped: GET <*> took <*>".into()));
        for (key, value) in [
            ("lip.summary", "1"),
            ("lip.records", "3"),
            ("lip.bytes", "300"),
            ("lip.first", "5"),
            ("lip.last", "9"),
            ("lip.reason", "policy_percentage"),
            ("lip.policy", "p1"),
            ("lip.signature", "0000000000000abc"),
            ("lip.pattern", "0000000000000def"),
        ] {
            assert_eq!(text(&record.attributes, key), value, "{key}");
        }
    }

    #[test]
    fn a_threshold_is_one_attribute() {
        for digits in ["8", "e6666666666666"] {
            let mut out = Vec::new();
            put_threshold(&mut out, digits.as_bytes());
            let record = LogRecord::decode(out.as_slice()).unwrap();
            assert_eq!(text(&record.attributes, "sampling.threshold"), digits);
        }
    }
}
