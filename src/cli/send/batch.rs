//! What a file holds into OTLP requests.
//!
//! Purpose: collect records until a batch is full, in records or in bytes, or has waited long enough.
//! Promises: every line that is not empty, and every record of OTLP, is in exactly one batch or counted as unreadable; a
//! batch of more than one record stays under gRPC's usual 4 MiB, however large the document it came in; slow lines are
//! flushed after a second; bodies that are not UTF-8 get replacement characters.
//! Never: drops a line silently.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use tokio::io::AsyncBufRead;

use super::pending::{BATCH_BYTES, Batch, Pending};
use super::severity::{self, Severity};
use super::source::{Line, Lines};
use crate::cli::content::{Content, Documents, MAX_DOCUMENT_BYTES};
use crate::clock::Clock;

/// Longest line of text; the rest of a longer one is cut off.
pub const TEXT_LIMIT_BYTES: usize = 1 << 20;

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
    /// Lines that were not empty; messages of OTLP protobuf.
    pub lines: u64,
    /// Lines that were cut.
    pub cut: u64,
    /// What should have been OTLP and could not be read.
    pub unreadable: u64,
}

/// Reads lines and makes batches.
pub struct Batches<R> {
    lines: Lines<R>,
    content: Content,
    recipe: Recipe,
    largest: usize,
    flush_after: Duration,
    documents: Documents,
    pending: Pending,
    /// Nothing more is read.
    is_over: bool,
    /// What was read so far.
    pub counts: ReadCounts,
    /// What could not be read first, and why.
    pub first_problem: Option<String>,
}

impl<R: AsyncBufRead + Unpin> Batches<R> {
    /// Batches of `largest` records at most, of lines that hold `content`.
    pub fn new(mut lines: Lines<R>, content: Content, recipe: Recipe, largest: usize) -> Self {
        lines.set_limit(if content == Content::OtlpJson { MAX_DOCUMENT_BYTES } else { TEXT_LIMIT_BYTES });
        Batches {
            lines,
            content,
            recipe,
            largest,
            flush_after: Duration::from_secs(1),
            documents: Documents::default(),
            pending: Pending::default(),
            is_over: false,
            counts: ReadCounts::default(),
            first_problem: None,
        }
    }

    /// What is read.
    pub fn content(&self) -> Content {
        self.content
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
        loop {
            match self.content {
                Content::OtlpProto => self.read_messages().await?,
                _ => self.read_lines().await?,
            }
            let batch = self.pending.batch(self.largest, &self.recipe.resource);
            // Requests without records are not the end.
            if batch.is_some() || self.is_over {
                return Ok(batch);
            }
        }
    }

    fn has_room(&self) -> bool {
        !self.is_over && self.pending.records() < self.largest && self.pending.bytes < BATCH_BYTES
    }

    async fn read_lines(&mut self) -> io::Result<()> {
        let flush = tokio::time::sleep(self.flush_after);
        tokio::pin!(flush);
        while self.has_room() {
            let was_empty = self.pending.is_empty();
            let line = if was_empty {
                self.lines.next_line().await?
            } else {
                tokio::select! {
                    biased;
                    line = self.lines.next_line() => line?,
                    () = &mut flush => break,
                }
            };
            if was_empty {
                flush.as_mut().reset(tokio::time::Instant::now() + self.flush_after);
            }
            match line {
                Some(line) => self.take(&line),
                None => {
                    self.is_over = true;
                    let last = self.documents.end();
                    last.into_iter().for_each(|document| self.add(document.map_err(|fault| (fault.line, fault.what))));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, line: &Line) {
        if line.bytes.iter().all(u8::is_ascii_whitespace) {
            if self.content == Content::OtlpJson {
                // For the numbers of lines in what is said.
                let _nothing = self.documents.line(b"");
            }
            return;
        }
        self.counts.lines += 1;
        self.counts.cut += u64::from(line.cut);
        if self.content == Content::OtlpJson {
            for document in self.documents.line(&line.bytes) {
                self.add(document.map_err(|fault| (fault.line, fault.what)));
            }
        } else {
            self.pending.bytes += line.bytes.len();
            self.pending.text.push(self.recipe.record(&line.bytes));
        }
    }

    /// Messages of OTLP protobuf: the whole input, or each after its length.
    async fn read_messages(&mut self) -> io::Result<()> {
        let is_framed = self.lines.head().await?.first() != Some(&0x0a);
        while self.has_room() {
            let message = if is_framed { self.framed().await? } else { self.whole().await? };
            let Some(message) = message else {
                self.is_over = true;
                break;
            };
            // Behind a length that is wrong nothing can be found.
            self.is_over = !is_framed || message.is_err();
            self.counts.lines += 1;
            self.add(message.map_err(|what| (self.counts.lines, what)));
        }
        Ok(())
    }

    async fn framed(&mut self) -> io::Result<Option<Result<Bytes, String>>> {
        let (mut prefix, mut message) = (Vec::new(), Vec::new());
        self.lines.read_into(&mut prefix, 4).await?;
        if prefix.is_empty() {
            return Ok(None);
        }
        let Ok(prefix) = <[u8; 4]>::try_from(prefix) else { return Ok(Some(Err("a length is cut off".into()))) };
        let len = u32::from_be_bytes(prefix) as usize;
        if len > MAX_DOCUMENT_BYTES {
            return Ok(Some(Err(format!("longer than {MAX_DOCUMENT_BYTES} bytes"))));
        }
        self.lines.read_into(&mut message, len).await?;
        Ok(Some(if message.len() < len { Err("cut off".into()) } else { Ok(message.into()) }))
    }

    async fn whole(&mut self) -> io::Result<Option<Result<Bytes, String>>> {
        let mut message = Vec::new();
        self.lines.read_into(&mut message, MAX_DOCUMENT_BYTES + 1).await?;
        let is_long = message.len() > MAX_DOCUMENT_BYTES;
        Ok(Some(if is_long { Err(format!("longer than {MAX_DOCUMENT_BYTES} bytes")) } else { Ok(message.into()) }))
    }

    /// A request in protobuf, or where there should be one and what is there.
    fn add(&mut self, request: Result<Bytes, (u64, String)>) {
        let decoded = request.and_then(|request| {
            let bytes = request.len();
            let decoded = ExportLogsServiceRequest::decode(request);
            decoded.map(|request| (request, bytes)).map_err(|error| (self.counts.lines, error.to_string()))
        });
        match decoded {
            Ok((request, bytes)) => {
                self.pending.bytes += bytes;
                self.pending.requests.extend(request.resource_logs);
            }
            Err((at, what)) => {
                self.counts.unreadable += 1;
                let unit = if self.content == Content::OtlpProto { "message" } else { "line" };
                self.first_problem.get_or_insert_with(|| format!("{unit} {at}: {what}"));
            }
        }
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
    use std::path::Path;

    use super::*;
    use crate::cli::content::content_of;
    use crate::data_plane::view::json;

    fn recipe() -> Recipe {
        let resource = vec![attribute("service.name", "shop")];
        Recipe { resource, severity: None, parse_time: true, clock: Clock::manual(7) }
    }

    async fn open(text: &[u8], content: Content, largest: usize) -> Batches<&[u8]> {
        let mut lines = Lines::new(text, TEXT_LIMIT_BYTES);
        let content = match content {
            Content::Auto => content_of(lines.head().await.unwrap(), Path::new("-")),
            given => given,
        };
        Batches::new(lines, content, recipe(), largest)
    }

    async fn batches(text: &[u8], content: Content, largest: usize) -> (Vec<Batch>, ReadCounts, Option<String>) {
        let mut batches = open(text, content, largest).await;
        let mut out = Vec::new();
        while let Some(batch) = batches.next_batch().await.unwrap() {
            out.push(batch);
        }
        assert_eq!(batches.bytes_read(), text.len() as u64);
        (out, batches.counts, batches.first_problem)
    }

    #[tokio::test]
    async fn text_lines_become_records_in_batches() {
        let (got, counts, _) = batches(b"ERROR a\n\n  \n2026-11-22T21:50:54Z b\n\xff\n", Content::Auto, 2).await;
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
        for content in [Content::Auto, Content::Text] {
            let (got, counts, _) = batches(&text, content, 512).await;
            assert_eq!(got.iter().map(|batch| batch.records).collect::<Vec<_>>(), [2, 2, 1]);
            assert_eq!(counts, ReadCounts { lines: 5, cut: 5, unreadable: 0 });
        }
    }

    #[tokio::test]
    async fn otlp_json_lines_are_recognised_and_bad_ones_counted() {
        let line = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},{"body":{"stringValue":"b"}}]}]}]}"#;
        let text = [&line[..], b"\nnot json\n", &line[..]].concat();
        let (got, counts, problem) = batches(&text, Content::Auto, 512).await;
        assert_eq!(got.iter().map(|batch| batch.records).collect::<Vec<_>>(), [4]);
        assert_eq!(counts, ReadCounts { lines: 3, cut: 0, unreadable: 1 });
        assert!(problem.unwrap().starts_with("line 2: "));
        let (got, ..) = batches(&text, Content::Text, 512).await;
        assert_eq!(got[0].records, 3, "--format text wins over the look of the first line");
    }

    #[tokio::test]
    async fn a_slow_input_is_flushed() {
        let (mut writer, reader) = tokio::io::duplex(64);
        let lines = Lines::new(tokio::io::BufReader::new(reader), TEXT_LIMIT_BYTES);
        let mut batches = Batches::new(lines, Content::Text, recipe(), 512);
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

    const REQUEST: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"k","value":{"stringValue":"r1"}}]},
        "schemaUrl":"u1","scopeLogs":[
          {"scope":{"name":"s1"},"logRecords":[{"body":{"stringValue":"1"}},{"body":{"stringValue":"2"}}]},
          {"scope":{"name":"s2"},"schemaUrl":"u2","logRecords":[{"body":{"stringValue":"3"}}]}]},
        {"scopeLogs":[{"logRecords":[]},{"logRecords":[{"body":{"stringValue":"4"}},{"body":{"stringValue":"5"}}]}]}]}"#;

    fn request() -> Vec<u8> {
        json::decode(REQUEST.as_bytes()).unwrap()
    }

    /// Every record with what stands around it.
    fn flat(requests: &[ExportLogsServiceRequest]) -> Vec<String> {
        let mut out = Vec::new();
        for logs in requests.iter().flat_map(|request| &request.resource_logs) {
            for scope in &logs.scope_logs {
                let around = (&logs.resource, &logs.schema_url, &scope.scope, &scope.schema_url);
                out.extend(scope.log_records.iter().map(|record| format!("{around:?} {record:?}")));
            }
        }
        out
    }

    #[tokio::test]
    async fn every_kind_of_otlp_gives_the_same_records_in_batches_of_any_size() {
        let request = request();
        let whole = flat(&[ExportLogsServiceRequest::decode(&*request).unwrap()]);
        assert_eq!(whole.len(), 5);
        let framed = [&(request.len() as u32).to_be_bytes()[..], &request].concat();
        let line = REQUEST.replace('\n', " ");
        let kinds = [
            (REQUEST.as_bytes().to_vec(), 1),
            (line.clone().into_bytes(), 1),
            (format!("{line}\n\n{line}\n").into_bytes(), 2),
            (format!("{REQUEST}\n{line}").into_bytes(), 2),
            (request.clone(), 1),
            (framed.clone(), 1),
            (framed.repeat(3), 3),
        ];
        for (text, times) in kinds {
            for largest in [1, 2, 3, 4, 5, 6, 512] {
                let (got, counts, problem) = batches(&text, Content::Auto, largest).await;
                let case = format!("{largest} of {}", String::from_utf8_lossy(&text));
                assert_eq!((counts.unreadable, problem), (0, None), "{case}");
                let records: Vec<usize> = got.iter().map(|batch| batch.records as usize).collect();
                let requests: Vec<_> = got.into_iter().map(|batch| batch.request).collect();
                let mut scopes = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|r| &r.scope_logs);
                assert!(scopes.all(|scope| !scope.log_records.is_empty()), "no empty blocks: {case}");
                let expected: Vec<String> = std::iter::repeat_n(&whole, times).flatten().cloned().collect();
                assert_eq!(flat(&requests), expected, "{case}");
                let (last, full) = records.split_last().unwrap();
                assert!(full.iter().all(|records| *records == largest) && *last <= largest, "{records:?}: {case}");
            }
        }
    }

    #[tokio::test]
    async fn broken_protobuf_is_counted_and_ends_where_lengths_cannot_be_trusted() {
        let request = request();
        let framed = [&(request.len() as u32).to_be_bytes()[..], &request].concat();
        let wrong = [&3u32.to_be_bytes()[..], b"\x0a\x7f\x0a"].concat();
        for (text, records, says) in [
            ([&framed[..], &wrong, &framed].concat(), 10, "message 2: "),
            ([&framed[..], &framed[..9]].concat(), 5, "message 2: cut off"),
            ([&framed[..], &framed[..3]].concat(), 5, "message 2: a length is cut off"),
            (request[..request.len() - 1].to_vec(), 0, "message 1: "),
        ] {
            let (got, counts, problem) = batches(&text, Content::OtlpProto, 512).await;
            assert_eq!(got.iter().map(|batch| batch.records).sum::<u64>(), records, "{problem:?}");
            assert_eq!(counts.unreadable, 1);
            assert!(problem.as_ref().is_some_and(|problem| problem.starts_with(says)), "{problem:?}");
        }
    }

    #[tokio::test]
    async fn a_large_document_is_sent_in_batches_below_four_mebibytes() {
        let record = format!(r#"{{"body":{{"stringValue":"{}"}}}}"#, "x".repeat(1 << 20));
        let records = vec![record; 7].join(",");
        let text = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
        let (got, ..) = batches(text.as_bytes(), Content::Auto, 512).await;
        assert_eq!(got.iter().map(|batch| batch.records).sum::<u64>(), 7);
        assert!(got.len() > 2 && got.iter().all(|batch| batch.request.encoded_len() < 4 << 20), "{}", got.len());
    }
}
