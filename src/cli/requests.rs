//! Recorded traffic as OTLP requests: lines of text, a column of CSV, OTLP JSON or protobuf, or what PostHog holds.
//!
//! Purpose: what `simulate`, `generate` and `cost` replay, one request at a time.
//! Promises: memory is bounded by the longest request; the same file gives the same requests; lines without a time are
//! spread evenly; what cannot be read is said with its line or byte.
//! Never: guesses a service's name; sends anything.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::Bytes;

use super::content::{Content, Documents, MAX_DOCUMENT_BYTES, content_of};
use super::csv::Column;
use super::history::{Fetched, HistoryArgs};
use super::send::severity::{guess, leading_time};
use crate::clock::UnixNanos;
use crate::control_plane::replay::Coverage;
use crate::data_plane::view::encode::{Header, RESOURCE_ATTRIBUTE, RecordBuilder, resource_logs, string_attribute};

/// Longest line of text; the rest of a longer one is cut off.
const MAX_LINE_BYTES: usize = 1 << 20;
/// Records of one request made of lines.
const MAX_RECORDS: usize = 512;
/// When lines without a time begin: 2026-01-01T00:00:00Z.
const EPOCH: UnixNanos = 1_767_225_600_000_000_000;

/// Arguments of commands that read recorded traffic.
#[derive(Clone, Debug, clap::Args)]
pub struct InputArgs {
    /// Recorded traffic: lines of text, CSV (with --body-column), OTLP JSON or OTLP protobuf.
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Read FILE as CSV with a header and take the messages from this column.
    #[arg(long, value_name = "NAME", requires = "input")]
    pub body_column: Option<String>,
    /// What the file holds.
    #[arg(long, value_enum, default_value = "auto")]
    pub input_format: Content,
    /// `service.name` of lines of text; from PostHog, only this service (repeatable).
    #[arg(long, value_name = "NAME")]
    pub service: Vec<String>,
    /// Records per second of lines that do not begin with a time.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub records_per_second: u32,
    #[command(flatten)]
    pub history: HistoryArgs,
}

/// Traffic that can be read as often as needed.
pub enum Traffic {
    /// A file.
    File(Box<InputArgs>, PathBuf),
    /// What PostHog held.
    PostHog(Box<Fetched>),
}

impl Traffic {
    /// Reads it from its start.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn requests(&self) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Bytes>>>> {
        Ok(match self {
            Traffic::File(args, path) => Box::new(args.open(path)?),
            Traffic::PostHog(fetched) => {
                let path = fetched.history.spool.clone();
                let requests = fetched.history.requests().with_context(|| format!("reading {}", path.display()))?;
                Box::new(requests.map(|request| request.map_err(anyhow::Error::from)))
            }
        })
    }

    /// What was read of a longer time; `None` when there are no gaps.
    pub fn coverage(&self) -> Option<Coverage> {
        let Traffic::PostHog(fetched) = self else { return None };
        fetched.history.parts.as_ref().map(|parts| Coverage {
            read_seconds: parts.stretches.total_seconds(),
            span_seconds: parts.span_seconds,
            share: parts.share(),
        })
    }

    /// For messages.
    pub fn name(&self) -> String {
        match self {
            Traffic::File(_, path) => path.display().to_string(),
            Traffic::PostHog(_) => "PostHog's logs".into(),
        }
    }
}

impl InputArgs {
    /// The traffic; fetches it if it is elsewhere. `config` is the file that was named for settings.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn traffic(&self, config: Option<&PathBuf>) -> anyhow::Result<Traffic> {
        match &self.input {
            Some(path) => Ok(Traffic::File(Box::new(self.clone()), path.clone())),
            None => {
                let fetched = self.history.fetch(config, &self.service, false)?;
                eprintln!("lipservice: {}", fetched.summary().replace('\n', "\nlipservice: "));
                Ok(Traffic::PostHog(Box::new(fetched)))
            }
        }
    }

    /// Opens the file from its start.
    ///
    /// # Errors
    /// When it cannot be opened or read.
    fn open(&self, path: &Path) -> anyhow::Result<Requests> {
        if self.service.len() > 1 {
            bail!("a file of lines has one service: give --service once");
        }
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let mut input = BufReader::with_capacity(1 << 18, file);
        let head = input.fill_buf().with_context(|| format!("reading {}", path.display()))?;
        let content = match (self.input_format, &self.body_column) {
            (Content::Auto | Content::Text, Some(_)) => Content::Text,
            (_, Some(_)) => bail!("--body-column is for CSV: leave --input-format out"),
            (Content::Auto, None) => content_of(head, path),
            (given, None) => given,
        };
        let column = self.body_column.as_ref().map(|name| Column::find(&mut input, name, MAX_LINE_BYTES));
        let column = column.transpose().with_context(|| format!("reading {}", path.display()))?;
        let mut resource = Vec::new();
        let service = self.service.first().map_or("unknown_service", String::as_str);
        string_attribute(&mut resource, RESOURCE_ATTRIBUTE, "service.name", service.as_bytes());
        Ok(Requests {
            input,
            content,
            column,
            documents: Documents::default(),
            ready: VecDeque::new(),
            resource,
            step_ns: 1_000_000_000 / u64::from(self.records_per_second),
            now: EPOCH,
            at: 0,
            pending: Vec::new(),
            waiting: None,
            done: false,
        })
    }
}

/// The requests of a file, in order.
pub struct Requests {
    input: BufReader<File>,
    content: Content,
    /// Of a CSV.
    column: Option<Column>,
    documents: Documents,
    /// Documents that one line completed.
    ready: VecDeque<Bytes>,
    resource: Vec<u8>,
    step_ns: u64,
    now: UnixNanos,
    /// Lines or bytes read.
    at: u64,
    pending: Vec<Vec<u8>>,
    /// A record that begins the next request, and its time.
    waiting: Option<(Vec<u8>, UnixNanos)>,
    done: bool,
}

impl Iterator for Requests {
    type Item = anyhow::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let read = match self.content {
            Content::Auto | Content::Text => self.text(),
            Content::OtlpJson => self.json(),
            Content::OtlpProto => self.proto(),
        };
        self.done |= !matches!(read, Ok(Some(_)));
        read.transpose()
    }
}

impl Requests {
    fn line(&mut self, limit: usize) -> anyhow::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = self.input.by_ref().take(limit as u64).read_until(b'\n', &mut line).context("reading the input")?;
        if read == 0 {
            return Ok(None);
        }
        self.at += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            line.pop_if(|byte| *byte == b'\r');
        } else if read == limit {
            self.input.skip_until(b'\n').context("reading the input")?;
        }
        Ok(Some(line))
    }

    /// Lines of one second, so that a request never covers more than a window.
    fn text(&mut self) -> anyhow::Result<Option<Bytes>> {
        let mut second = None;
        if let Some((record, time)) = self.waiting.take() {
            second = Some(time / 1_000_000_000);
            self.pending.push(record);
        }
        while self.pending.len() < MAX_RECORDS {
            let line = match &mut self.column {
                None => self.line(MAX_LINE_BYTES)?,
                Some(column) => column.next(&mut self.input)?.map(<[u8]>::to_vec),
            };
            let Some(line) = line else { break };
            if line.trim_ascii().is_empty() {
                continue;
            }
            self.now = leading_time(&line).unwrap_or(self.now + self.step_ns).max(self.now);
            let record = record(&line, self.now);
            if second.is_some_and(|second| second != self.now / 1_000_000_000) {
                self.waiting = Some((record, self.now));
                break;
            }
            second = Some(self.now / 1_000_000_000);
            self.pending.push(record);
        }
        if self.pending.is_empty() {
            return Ok(None);
        }
        let mut out = Vec::new();
        let resource = Header { message: &self.resource, ..Header::default() };
        resource_logs(&mut out, resource, Header::default(), self.pending.iter().map(Vec::as_slice));
        self.pending.clear();
        Ok(Some(out.into()))
    }

    fn json(&mut self) -> anyhow::Result<Option<Bytes>> {
        while self.ready.is_empty() {
            let Some(line) = self.line(MAX_DOCUMENT_BYTES)? else {
                return Ok(self.documents.end().transpose()?);
            };
            for document in self.documents.line(&line) {
                self.ready.push_back(document?);
            }
        }
        Ok(self.ready.pop_front())
    }

    fn proto(&mut self) -> anyhow::Result<Option<Bytes>> {
        let head = self.input.fill_buf().context("reading the input")?;
        let Some(first) = head.first().copied() else { return Ok(None) };
        if self.at == 0 && first == 0x0a {
            // Field 1 with a length: the file is one request. A length prefix would begin with 0 to 3.
            return self.rest().map(Some);
        }
        let mut prefix = [0u8; 4];
        self.input.read_exact(&mut prefix).with_context(|| format!("at byte {}: a length is cut off", self.at))?;
        let len = u32::from_be_bytes(prefix) as usize;
        if len > MAX_DOCUMENT_BYTES {
            bail!("at byte {}: a request of {len} bytes, more than {MAX_DOCUMENT_BYTES}", self.at);
        }
        let mut request = vec![0; len];
        self.input.read_exact(&mut request).with_context(|| format!("at byte {}: a request is cut off", self.at))?;
        self.at += 4 + len as u64;
        Ok(Some(request.into()))
    }

    fn rest(&mut self) -> anyhow::Result<Bytes> {
        let mut request = Vec::new();
        let limit = MAX_DOCUMENT_BYTES as u64 * 16;
        self.input.by_ref().take(limit + 1).read_to_end(&mut request).context("reading the input")?;
        if request.len() as u64 > limit {
            bail!("one request of more than {limit} bytes; write several, each after its length");
        }
        self.at = request.len() as u64;
        Ok(request.into())
    }
}

fn record(line: &[u8], time: UnixNanos) -> Vec<u8> {
    let severity = guess(line);
    let text = String::from_utf8_lossy(line);
    let mut record = RecordBuilder::default();
    record.time_unix_nano(time).severity_number(severity.number as u8).body(text.as_bytes());
    record.message().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::view::LogIndex;
    use std::io::Write;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        input: InputArgs,
    }

    fn requests(content: &[u8]) -> Vec<anyhow::Result<Bytes>> {
        read(content, &[]).unwrap()
    }

    fn read(content: &[u8], more: &[&str]) -> anyhow::Result<Vec<anyhow::Result<Bytes>>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let path = file.path().to_str().unwrap();
        let args = [&["x", "--input", path, "--service", "shop", "--records-per-second", "10"], more].concat();
        let args = <Command as clap::Parser>::parse_from(args).input;
        Ok(args.traffic(None).unwrap().requests()?.collect())
    }

    #[test]
    fn a_column_of_csv_gives_the_requests_of_its_lines() {
        let csv = "id,\"the, body\"\r\n1,ERROR \"\"a\"\"\r\n2,\"b, c\"\n3,\n4,\"2026-11-22T21:50:54Z d\ne\"\n";
        let lines = "ERROR \"\"a\"\"\nb, c\n";
        let column = ["--body-column", "the, body"];
        let from_csv: Vec<Bytes> = read(csv.as_bytes(), &column).unwrap().into_iter().map(Result::unwrap).collect();
        let from_lines: Vec<Bytes> = requests(lines.as_bytes()).into_iter().map(Result::unwrap).collect();
        assert_eq!(from_csv[0], from_lines[0]);
        assert_eq!(from_csv.len(), 2, "what has a time of its own is another second");
        assert!(memchr::memmem::find(&from_csv[1], b"d\ne").is_some(), "a value of two lines is one record");
        for (content, more, says) in [
            ("a,b\n1,2\n", vec!["--body-column", "body"], "no column \"body\"; its columns are a, b"),
            ("", vec!["--body-column", "body"], "the input is empty"),
            ("body\nx\n", vec!["--body-column", "body", "--input-format", "otlp-json"], "--body-column is for CSV"),
        ] {
            let error = read(content.as_bytes(), &more).err().unwrap();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
        let cut = read(b"a,body\n1,2\n3\n", &["--body-column", "body"]).unwrap();
        assert!(format!("{:#}", cut.last().unwrap().as_ref().unwrap_err()).contains("record 3"), "{cut:?}");
    }

    #[test]
    fn a_document_over_many_lines_is_one_request() {
        let text = "{\n \"resourceLogs\": [\n  {\"scopeLogs\": [\n{\"logRecords\": [{}, {}]\n}]}]}\n";
        assert_eq!(records(&requests(text.as_bytes())), [2]);
        assert_eq!(records(&requests(text.repeat(2).as_bytes())), [2, 2]);
    }

    fn records(requests: &[anyhow::Result<Bytes>]) -> Vec<usize> {
        let mut index = LogIndex::default();
        let count = |request: &anyhow::Result<Bytes>| {
            index.read(request.as_ref().unwrap()).unwrap();
            index.records.len()
        };
        requests.iter().map(count).collect()
    }

    #[test]
    fn lines_are_cut_into_requests_by_second() {
        let text = "2026-11-22T21:50:54Z a\n2026-11-22T21:50:54.9Z ERROR b\n\nno time\n2026-11-22T21:50:57Z c\n";
        assert_eq!(records(&requests(text.as_bytes())), [2, 1, 1]);
        // Ten a second: a second's worth in each request, and every line in one.
        let many: Vec<usize> = records(&requests(&b"x\n".repeat(95)));
        assert_eq!(many.iter().sum::<usize>(), 95);
        assert!(many.iter().all(|n| *n <= 10), "{many:?}");
    }

    #[test]
    fn json_lines_and_protobuf_give_the_same_requests() {
        let line = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},{"body":{"stringValue":"b"}}]}]}]}"#;
        let from_json = requests(&[&line[..], b"\n\n", &line[..]].concat());
        assert_eq!(records(&from_json), [2, 2]);
        let request = from_json[0].as_ref().unwrap().to_vec();
        assert_eq!(records(&requests(&request)), [2]);
        let framed = [&(request.len() as u32).to_be_bytes()[..], &request].concat();
        assert_eq!(records(&requests(&framed.repeat(3))), [2, 2, 2]);
        let cut = requests(&framed[..framed.len() - 1]);
        assert!(format!("{:#}", cut[0].as_ref().unwrap_err()).contains("cut off"));
        let bad = requests(&[&line[..], b"\nnot json\n"].concat());
        assert!(format!("{:#}", bad[1].as_ref().unwrap_err()).contains("line 2"));
        assert_eq!(bad.len(), 2, "nothing is read after an error");
    }
}
