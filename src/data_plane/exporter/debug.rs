//! The `debug` exporter: records as text for people, on standard output.
//!
//! Purpose: see what would be sent.
//! Promises: one line a batch (`basic`) or a record (`normal`), or every field (`detailed`), as the Collector's exporter
//! of that name offers; a record takes no more lines than that whatever it holds, and cannot move the terminal.
//! Never: waits for the terminal on a thread of the runtime, or retries: what cannot be printed has failed.

use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::accounts::FailReason;
use super::body::Body;
use super::config::Verbosity;
use super::dispatcher::{Delivery, Sink};
use super::outcome::Outcome;
use super::text::{put_hex, put_text, put_time, put_value};
use crate::data_plane::view::wire::{Reader, WireType};
use crate::data_plane::view::{Attributes, LogIndex, RecordRef, ResourceRef, ScopeRef, ViewError};

/// Longest body in a `normal` line, in bytes.
const LINE_BODY_BYTES: usize = 4096;

/// Prints batches.
pub(super) struct Debug<W> {
    verbosity: Verbosity,
    out: Arc<Mutex<W>>,
}

impl<W: Write + Send + 'static> Debug<W> {
    pub(super) fn new(verbosity: Verbosity, out: W) -> Self {
        Debug { verbosity, out: Arc::new(Mutex::new(out)) }
    }

    async fn print(&self, body: Bytes, records: u64) -> Outcome {
        let verbosity = self.verbosity;
        let out = Arc::clone(&self.out);
        let printed = tokio::task::spawn_blocking(move || {
            let text = render(verbosity, &body, records).map_err(std::io::Error::other)?;
            let mut out = out.lock();
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).map(|()| text.len())
        });
        match printed.await.map_err(std::io::Error::other).flatten() {
            Ok(bytes) => Outcome::delivered(bytes),
            Err(error) => Outcome::Refused {
                reason: FailReason::Rejected,
                why: format!("cannot print to standard output: {error}"),
            },
        }
    }
}

impl<W: Write + Send + 'static> Sink for Debug<W> {
    fn deliver<'a>(&'a self, body: &'a Body, records: u64, _token: Option<&'a str>) -> Delivery<'a> {
        Box::pin(self.print(body.whole(), records))
    }
}

/// The text for one batch.
fn render(verbosity: Verbosity, body: &[u8], records: u64) -> Result<String, ViewError> {
    let mut out = String::new();
    if verbosity == Verbosity::Basic {
        let _ = writeln!(out, "logs: {records} records, {} bytes", body.len());
        return Ok(out);
    }
    let mut index = LogIndex::default();
    index.read(body)?;
    match verbosity {
        Verbosity::Detailed => detailed(&mut out, body, &index),
        _ => normal(&mut out, body, &index),
    }
    Ok(out)
}

/// One line a record: time, severity, service, body, attributes, trace.
fn normal(out: &mut String, request: &[u8], index: &LogIndex) {
    for span in &index.records {
        let record = RecordRef::new(request, span);
        put_time(out, record.span.time_unix_nano);
        out.push(' ');
        put_severity(out, record);
        out.push(' ');
        match index.resource_of(request, span).attributes().get(b"service.name") {
            Some(service) => put_value(out, service),
            None => out.push('-'),
        }
        out.push(' ');
        let start = out.len();
        match record.body() {
            Some(body) => put_value(out, body),
            None => put_text(out, record.event_name()),
        }
        shorten(out, start + LINE_BODY_BYTES);
        for entry in record.attributes() {
            out.push(' ');
            put_text(out, entry.key);
            out.push('=');
            put_value(out, entry.value());
        }
        if !record.trace_id().is_empty() {
            out.push_str(" trace_id=");
            put_hex(out, record.trace_id());
        }
        out.push('\n');
    }
}

fn shorten(out: &mut String, longest: usize) {
    if out.len() > longest {
        let end = (0..=longest).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        let left = out.len() - end;
        out.truncate(end);
        let _ = write!(out, "… ({left} more bytes)");
    }
}

/// Every field, blocks and records numbered from 0.
fn detailed(out: &mut String, request: &[u8], index: &LogIndex) {
    for (i, block) in index.resources.iter().enumerate() {
        let resource = ResourceRef::new(request, block);
        let _ = writeln!(out, "Resource {i}");
        put_field(out, "schema_url", resource.schema_url());
        put_attributes(out, resource.attributes());
        for (j, scope_span) in
            index.scopes.iter().enumerate().take(block.scopes.1 as usize).skip(block.scopes.0 as usize)
        {
            let scope = ScopeRef::new(request, scope_span);
            let _ = writeln!(out, "Scope {}", j - block.scopes.0 as usize);
            put_field(out, "name", scope.name());
            put_field(out, "version", scope.version());
            put_field(out, "schema_url", scope.schema_url());
            put_attributes(out, scope.attributes());
            let records = index.records.get(scope_span.records.0 as usize..scope_span.records.1 as usize);
            for (k, span) in records.unwrap_or_default().iter().enumerate() {
                let _ = writeln!(out, "Record {k}");
                put_record(out, RecordRef::new(request, span));
            }
        }
    }
}

fn put_record(out: &mut String, record: RecordRef<'_>) {
    let rest = Rest::of(record);
    out.push_str("  time: ");
    put_time(out, record.span.time_unix_nano);
    out.push_str("\n  observed_time: ");
    put_time(out, rest.observed_time_unix_nano);
    out.push_str("\n  severity: ");
    put_severity(out, record);
    let _ = writeln!(out, " ({})", record.span.severity_number);
    put_field(out, "event_name", record.event_name());
    if let Some(body) = record.body() {
        out.push_str("  body: ");
        put_value(out, body);
        out.push('\n');
    }
    put_attributes(out, record.attributes());
    for (name, id) in [("trace_id", record.trace_id()), ("span_id", record.span_id())] {
        if !id.is_empty() {
            let _ = write!(out, "  {name}: ");
            put_hex(out, id);
            out.push('\n');
        }
    }
    for (name, number) in [("flags", rest.flags), ("dropped_attributes_count", rest.dropped_attributes_count)] {
        if number != 0 {
            let _ = writeln!(out, "  {name}: {number}");
        }
    }
}

/// The fields of a record that nothing but this output reads.
#[derive(Default)]
struct Rest {
    observed_time_unix_nano: u64,
    flags: u64,
    dropped_attributes_count: u64,
}

impl Rest {
    fn of(record: RecordRef<'_>) -> Self {
        let mut rest = Rest::default();
        let mut reader = Reader::new(record.payload());
        while let Ok(Some(tag)) = reader.tag() {
            let read = match (tag.field, tag.wire_type) {
                (7, WireType::Varint) => reader.varint().map(|count| rest.dropped_attributes_count = count),
                (8, WireType::Fixed32) => reader.fixed32().map(|flags| rest.flags = u64::from(flags)),
                (11, WireType::Fixed64) => reader.fixed64().map(|time| rest.observed_time_unix_nano = time),
                _ => reader.skip(tag),
            };
            if read.is_err() {
                break;
            }
        }
        rest
    }
}

/// The text as sent, else the name of the number's band.
fn put_severity(out: &mut String, record: RecordRef<'_>) {
    const BANDS: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];
    if !record.severity_text().is_empty() {
        return put_text(out, record.severity_text());
    }
    let band = usize::from(record.span.severity_number).checked_sub(1).map(|number| number / 4);
    out.push_str(band.and_then(|band| BANDS.get(band)).unwrap_or(&"-"));
}

fn put_field(out: &mut String, name: &str, text: &[u8]) {
    if !text.is_empty() {
        let _ = write!(out, "  {name}: ");
        put_text(out, text);
        out.push('\n');
    }
}

fn put_attributes(out: &mut String, attributes: Attributes<'_>) {
    for entry in attributes {
        out.push_str("  - ");
        put_text(out, entry.key);
        out.push_str(": ");
        put_value(out, entry.value());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::view::json;

    const REQUEST: &str = r#"{"resourceLogs":[{"resource":{"attributes":[
        {"key":"service.name","value":{"stringValue":"shop"}}]},"schemaUrl":"https://schema","scopeLogs":[
        {"scope":{"name":"app","version":"1.2"},"logRecords":[
          {"timeUnixNano":"1700000000123456789","observedTimeUnixNano":"1700000001000000000","severityNumber":9,
           "severityText":"INFO","body":{"stringValue":"order \u001b[31mplaced\nERROR fake line"},"attributes":[
            {"key":"order.id","value":{"intValue":"7"}},
            {"key":"items","value":{"arrayValue":{"values":[{"stringValue":"a"},{"boolValue":true}]}}}],
           "traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","flags":1},
          {"severityNumber":17,"eventName":"it.broke","droppedAttributesCount":2}]}]}]}"#;

    fn rendered(verbosity: Verbosity) -> String {
        render(verbosity, &json::decode(REQUEST.as_bytes()).unwrap(), 2).unwrap()
    }

    #[test]
    fn each_verbosity_prints_its_lines() {
        assert!(rendered(Verbosity::Basic).starts_with("logs: 2 records, "));
        assert_eq!(rendered(Verbosity::Basic).lines().count(), 1);
        assert_eq!(
            rendered(Verbosity::Normal),
            "2023-11-14T22:13:20.123456Z INFO shop order \\u{1b}[31mplaced\\nERROR fake line order.id=7 items=[a, true] \
             trace_id=5b8efff798038103d269b633813fc60c\n- ERROR shop it.broke\n"
        );
        assert_eq!(
            rendered(Verbosity::Detailed),
            "Resource 0\n  schema_url: https://schema\n  - service.name: shop\nScope 0\n  name: app\n  version: 1.2\n\
             Record 0\n  time: 2023-11-14T22:13:20.123456Z\n  observed_time: 2023-11-14T22:13:21.000000Z\n  \
             severity: INFO (9)\n  body: order \\u{1b}[31mplaced\\nERROR fake line\n  - order.id: 7\n  - items: [a, true]\n  \
             trace_id: 5b8efff798038103d269b633813fc60c\n  span_id: eee19b7ec3c1b174\n  flags: 1\n\
             Record 1\n  time: -\n  observed_time: -\n  severity: ERROR (17)\n  event_name: it.broke\n  \
             dropped_attributes_count: 2\n"
        );
    }

    #[test]
    fn a_long_body_does_not_fill_the_screen() {
        let body = "ü".repeat(LINE_BODY_BYTES);
        let request = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{body}"}}}}]}}]}}]}}"#
        );
        let text = render(Verbosity::Normal, &json::decode(request.as_bytes()).unwrap(), 1).unwrap();
        assert!(text.len() < LINE_BODY_BYTES + 100 && text.ends_with("… (4096 more bytes)\n"), "{text}");
    }

    #[tokio::test]
    async fn what_cannot_be_printed_has_failed() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let body = Body::from(json::decode(REQUEST.as_bytes()).unwrap());
        let outcome = Debug::new(Verbosity::Normal, Closed).deliver(&body, 2, None).await;
        assert!(matches!(outcome, Outcome::Refused { reason: FailReason::Rejected, .. }), "{outcome:?}");
        let outcome = Debug::new(Verbosity::Basic, Vec::new()).deliver(&body, 2, None).await;
        assert!(matches!(outcome, Outcome::Delivered { rejected: 0, .. }), "{outcome:?}");
    }
}
