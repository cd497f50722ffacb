//! Lines into OTLP requests.
//!
//! Purpose: collect lines until a batch is full, in records or in bytes, or has waited long enough.
//! Promises: every line that is not empty is in exactly one batch or counted as unreadable; a batch stays under
//! gRPC's usual 4 MiB; a slow input is flushed after a second; bodies that are not UTF-8 get replacement characters.
//! Never: drops a line silently.

use std::io;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::io::AsyncBufRead;

use super::severity::{self, Severity};
use super::source::{Line, Lines};
use crate::clock::Clock;
use crate::data_plane::view::json;

/// Longest line of text; the rest of a longer one is cut off.
pub const TEXT_LIMIT_BYTES: usize = 1 << 20;
/// Longest line of OTLP JSON; a longer one cannot be read.
pub const JSON_LIMIT_BYTES: usize = 16 << 20;
/// Text batches are closed at this many bytes of lines: with one more line they stay under 4 MiB.
const BATCH_BYTES: usize = 2 << 20;

/// What the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Decided by the first line.
    Auto,
    /// One record a line.
    Text,
    /// One OTLP JSON request (`{"resourceLogs": …}`) a line.
    OtlpJson,
}

/// How a line of text becomes a record.
#[derive(Debug)]
pub struct Recipe {
    /// Resource of every record.
    pub resource: Vec<KeyValue>,
    /// Severity of every record; `None` guesses.
    pub severity: Option<Severity>,
    /// Whether to take the time from the line's start.
    pub parse_time: bool,
    /// Where "now" comes from.
    pub clock: Clock,
}

/// What was read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Lines that were not empty.
    pub lines: u64,
    /// Lines that were cut.
    pub cut: u64,
    /// Lines of OTLP JSON that could not be read.
    pub unreadable: u64,
}

/// Some records to send in one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The request.
    pub request: ExportLogsServiceRequest,
    /// Records in it.
    pub records: u64,
}

/// Reads lines and makes batches.
pub struct Batches<R> {
    lines: Lines<R>,
    format: Format,
    recipe: Recipe,
    largest: usize,
    flush_after: Duration,
    /// What was read so far.
    pub counts: ReadCounts,
    /// The first line that could not be read, and why.
    pub first_problem: Option<String>,
}

impl<R: AsyncBufRead + Unpin> Batches<R> {
    /// Batches of `largest` records at most.
    pub fn new(input: R, format: Format, recipe: Recipe, largest: usize) -> Self {
        let limit = if format == Format::Text { TEXT_LIMIT_BYTES } else { JSON_LIMIT_BYTES };
        Batches {
            lines: Lines::new(input, limit),
            format,
            recipe,
            largest,
            flush_after: Duration::from_secs(1),
            counts: ReadCounts::default(),
            first_problem: None,
        }
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.lines.bytes_read
    }

    /// The next batch, or `None` at the end of the input.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        let mut pending = Pending::default();
        let flush = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(flush);
        while pending.records() < self.largest && pending.bytes < BATCH_BYTES {
            let line = if pending.is_empty() {
                self.lines.next_line().await?
            } else {
                tokio::select! {
                    biased;
                    line = self.lines.next_line() => line?,
                    () = &mut flush => break,
                }
            };
            let Some(line) = line else { break };
            if pending.is_empty() {
                flush.as_mut().reset(tokio::time::Instant::now() + self.flush_after);
            }
            self.take(line, &mut pending);
        }
        Ok(pending.into_batch(&self.recipe.resource))
    }

    fn take(&mut self, mut line: Line, pending: &mut Pending) {
        if line.bytes.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.counts.lines += 1;
        if self.format == Format::Auto {
            self.format = detect(&line.bytes);
            if self.format == Format::Text {
                self.lines.set_limit(TEXT_LIMIT_BYTES);
                line.cut |= line.bytes.len() > TEXT_LIMIT_BYTES;
                line.bytes.truncate(TEXT_LIMIT_BYTES);
            }
        }
        self.counts.cut += u64::from(line.cut);
        pending.bytes += line.bytes.len();
        if self.format == Format::OtlpJson {
            self.take_json(&line, pending);
        } else {
            pending.text.push(self.recipe.record(&line.bytes));
        }
    }

    fn take_json(&mut self, line: &Line, pending: &mut Pending) {
        let parsed =
            if line.cut { Err(format!("longer than {JSON_LIMIT_BYTES} bytes")) } else { read_json(&line.bytes) };
        match parsed {
            Ok(request) => pending.requests.extend(request.resource_logs),
            Err(problem) => {
                self.counts.unreadable += 1;
                self.first_problem.get_or_insert_with(|| format!("line {}: {problem}", self.counts.lines));
            }
        }
    }
}

fn read_json(line: &[u8]) -> Result<ExportLogsServiceRequest, String> {
    let request = json::decode(line).map_err(|error| error.to_string())?;
    ExportLogsServiceRequest::decode(&*request).map_err(|error| error.to_string())
}

/// Text unless the line is a JSON object with `resourceLogs`.
fn detect(line: &[u8]) -> Format {
    let start = line.trim_ascii_start();
    let otlp = start.first() == Some(&b'{') && memchr::memmem::find(start, b"\"resourceLogs\"").is_some();
    if otlp { Format::OtlpJson } else { Format::Text }
}

#[derive(Default)]
struct Pending {
    text: Vec<LogRecord>,
    requests: Vec<ResourceLogs>,
    bytes: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.requests.is_empty()
    }

    fn records(&self) -> usize {
        let nested =
            self.requests.iter().flat_map(|resource| &resource.scope_logs).map(|scope| scope.log_records.len());
        self.text.len() + nested.sum::<usize>()
    }

    fn into_batch(self, resource: &[KeyValue]) -> Option<Batch> {
        let records = self.records() as u64;
        let mut resource_logs = self.requests;
        if !self.text.is_empty() {
            let scope = InstrumentationScope {
                name: "lipservice.send".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                ..Default::default()
            };
            let scope_logs = ScopeLogs { scope: Some(scope), log_records: self.text, ..Default::default() };
            let resource = Resource { attributes: resource.to_vec(), ..Default::default() };
            resource_logs.push(ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![scope_logs],
                ..Default::default()
            });
        }
        (!resource_logs.is_empty()).then_some(Batch { request: ExportLogsServiceRequest { resource_logs }, records })
    }
}

impl Recipe {
    fn record(&self, line: &[u8]) -> LogRecord {
        let now = self.clock.now();
        let time = if self.parse_time { severity::leading_time(line) } else { None };
        let severity = self.severity.unwrap_or_else(|| severity::guess(line));
        LogRecord {
            time_unix_nano: time.unwrap_or(now),
            observed_time_unix_nano: now,
            severity_number: severity.number,
            severity_text: severity.text.into(),
            body: Some(text_value(&String::from_utf8_lossy(line))),
            ..Default::default()
        }
    }
}

/// An OTLP string.
pub fn text_value(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

/// An OTLP attribute with a string value.
pub fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(text_value(value)), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe() -> Recipe {
        let resource = vec![attribute("service.name", "shop")];
        Recipe { resource, severity: None, parse_time: true, clock: Clock::manual(7) }
    }

    async fn batches(text: &[u8], format: Format, largest: usize) -> (Vec<Batch>, ReadCounts, Option<String>) {
        let mut batches = Batches::new(text, format, recipe(), largest);
        let mut out = Vec::new();
        while let Some(batch) = batches.next_batch().await.unwrap() {
            out.push(batch);
        }
        (out, batches.counts, batches.first_problem)
    }

    #[tokio::test]
    async fn text_lines_become_records_in_batches() {
        let (got, counts, _) = batches(b"ERROR a\n\n  \n2026-11-22T21:50:54Z b\n\xff\n", Format::Auto, 2).await;
        assert_eq!(got.iter().map(|batch| batch.records).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(counts, ReadCounts { lines: 3, cut: 0, unreadable: 0 });
        let records = &got[0].request.resource_logs[0].scope_logs[0].log_records;
        assert_eq!((records[0].severity_number, records[0].time_unix_nano), (17, 7));
        assert_eq!((records[1].severity_number, records[1].time_unix_nano), (9, 1_795_384_254_000_000_000));
        assert_eq!(records[1].observed_time_unix_nano, 7);
        assert_eq!(got[0].request.resource_logs[0].resource.as_ref().unwrap().attributes, recipe().resource);
        let last = &got[1].request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(last.body, Some(text_value("\u{fffd}")));
    }

    #[tokio::test]
    async fn batches_close_by_bytes_and_long_lines_are_cut() {
        let mut text = vec![b'x'; TEXT_LIMIT_BYTES + 5];
        text.push(b'\n');
        let text = text.repeat(5);
        for format in [Format::Auto, Format::Text] {
            let (got, counts, _) = batches(&text, format, 512).await;
            assert_eq!(got.iter().map(|batch| batch.records).collect::<Vec<_>>(), [2, 2, 1]);
            assert_eq!(counts, ReadCounts { lines: 5, cut: 5, unreadable: 0 });
        }
    }

    #[tokio::test]
    async fn otlp_json_lines_are_recognised_and_bad_ones_counted() {
        let line = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},{"body":{"stringValue":"b"}}]}]}]}"#;
        let text = [&line[..], b"\nnot json\n", &line[..]].concat();
        let (got, counts, problem) = batches(&text, Format::Auto, 512).await;
        assert_eq!(got.iter().map(|batch| batch.records).collect::<Vec<_>>(), [4]);
        assert_eq!(counts, ReadCounts { lines: 3, cut: 0, unreadable: 1 });
        assert!(problem.unwrap().starts_with("line 2: "));
        let (got, ..) = batches(&text, Format::Text, 512).await;
        assert_eq!(got[0].records, 3, "--format text wins over the look of the first line");
    }

    #[tokio::test]
    async fn a_slow_input_is_flushed() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let mut batches = Batches::new(tokio::io::BufReader::new(reader), Format::Auto, recipe(), 512);
        batches.flush_after = Duration::from_millis(1);
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"one\ntwo and a ha").await.unwrap();
        assert_eq!(batches.next_batch().await.unwrap().unwrap().records, 1);
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"lf\n").await.unwrap();
        drop(writer);
        let batch = batches.next_batch().await.unwrap().unwrap();
        let body = &batch.request.resource_logs[0].scope_logs[0].log_records[0].body;
        assert_eq!(*body, Some(text_value("two and a half")));
        assert_eq!(batches.next_batch().await.unwrap(), None);
    }
}
