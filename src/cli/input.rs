//! Log messages of a file or standard input: plain lines, one column of CSV, or OTLP JSON.
//!
//! Purpose: hand out every message in order with its signature and template, whatever the input looks like.
//! Promises: memory is bounded by the longest message that is read ([`MAX_LINE_BYTES`], for OTLP JSON
//! [`MAX_REQUEST_BYTES`]), however long the input; what is wrong with an input is said in one sentence with its line.
//! Never: keeps messages.

use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use csv_core::{ReadFieldResult, Reader};

use crate::clock::UnixNanos;
use crate::data_plane::signature::{Signature, Signer, text};
use crate::data_plane::view::{LogIndex, json};
use crate::data_plane::window::Band;

/// Bytes of a message that are read; what follows is skipped. As many as a JSON body is read for.
pub const MAX_LINE_BYTES: usize = 16_384;
/// Longest line of OTLP JSON.
pub const MAX_REQUEST_BYTES: usize = 64 << 20;
/// Columns of a CSV at most.
const MAX_COLUMNS: usize = 10_000;
/// The word that tells OTLP JSON from a log line that is JSON, and how far it is looked for.
const OTLP_KEYS: [&[u8]; 2] = [b"\"resourceLogs\"", b"\"resource_logs\""];
const OTLP_KEY_WITHIN: usize = 256;

/// One message.
#[derive(Debug)]
pub struct Message<'a> {
    /// Its signature.
    pub signature: Signature,
    /// Its template.
    pub template: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// Severity and time (if given) of a record; a line has them in its text, if at all.
    pub stated: Option<(Band, Option<UnixNanos>)>,
    /// Length as OTLP protobuf without the blocks around it; of a line, its text.
    pub bytes: u64,
}

/// Opens a file, or standard input for `-`. Returns its length too, where it has one.
///
/// # Errors
/// When the file cannot be opened.
pub fn open(path: &Path) -> anyhow::Result<(Box<dyn Read>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let file = std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    let metadata = file.metadata().with_context(|| format!("reading {}", path.display()))?;
    if metadata.is_dir() {
        bail!("{} is a directory; name a file", path.display());
    }
    let length = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), length))
}

/// Calls `visit` with every message of `input`: of the CSV column `column`, or of its lines.
///
/// # Errors
/// When reading fails, the input is no CSV with that column or not OTLP JSON after it began as such, or `visit` fails.
pub fn for_each(
    mut input: impl BufRead,
    column: Option<&str>,
    visit: &mut dyn FnMut(Message<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut signing = Signing { signer: Signer::default(), visit };
    if let Some(column) = column {
        return csv(input, column, &mut signing);
    }
    let start = input.fill_buf().context("reading the input")?;
    let head = &start[..start.len().min(OTLP_KEY_WITHIN)];
    let is_otlp = head.trim_ascii_start().starts_with(b"{")
        && OTLP_KEYS.iter().any(|key| head.windows(key.len()).any(|window| window == *key));
    if is_otlp { otlp(input, &mut signing) } else { lines(input, &mut signing) }
}

struct Signing<'v> {
    signer: Signer,
    visit: &'v mut dyn FnMut(Message<'_>) -> anyhow::Result<()>,
}

impl Signing<'_> {
    /// Every record of a request.
    fn records(&mut self, request: &[u8], index: &LogIndex) -> anyhow::Result<()> {
        let mut scratch = Vec::new();
        for i in 0..index.records.len() {
            let record = index.record(request, i);
            let signature = self.signer.sign(record);
            let template = self.signer.last_template();
            let band = Band::of(record.span.severity_number, record.severity_text());
            let stated = Some((band, Some(record.span.time_unix_nano).filter(|time| *time > 0)));
            let (text, bytes) = (text::of_record(record, &mut scratch), record.span.field.len() as u64);
            (self.visit)(Message { signature, template, text, stated, bytes })?;
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> anyhow::Result<()> {
        let signature = self.signer.sign_text(text);
        let bytes = text.len() as u64;
        (self.visit)(Message { signature, template: self.signer.last_template(), text, stated: None, bytes })
    }
}

fn lines(mut input: impl BufRead, signing: &mut Signing<'_>) -> anyhow::Result<()> {
    let mut line = Vec::new();
    while read_line(&mut input, &mut line, MAX_LINE_BYTES).context("reading the input")?.is_some() {
        signing.text(&line)?;
    }
    Ok(())
}

/// Reads one line without its end, at most `limit` bytes of it. Says whether it was cut; `None` at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, limit: usize) -> io::Result<Option<bool>> {
    line.clear();
    let read = input.by_ref().take(limit as u64).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        return Ok(Some(false));
    }
    if read == limit {
        // The end of the line is the rest of this line, or nothing more.
        let rest = input.skip_until(b'\n')?;
        return Ok(Some(rest > 1));
    }
    Ok((read > 0).then_some(false))
}

fn otlp(mut input: impl BufRead, signing: &mut Signing<'_>) -> anyhow::Result<()> {
    let (mut line, mut number) = (Vec::new(), 0u64);
    let mut index = LogIndex::default();
    while let Some(is_cut) = read_line(&mut input, &mut line, MAX_REQUEST_BYTES).context("reading the input")? {
        number += 1;
        if is_cut {
            bail!("line {number} is longer than {MAX_REQUEST_BYTES} bytes; write one export request a line");
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let request = json::decode(&line).map_err(|error| anyhow::anyhow!("line {number} is no OTLP JSON: {error}"))?;
        index.read(&request).map_err(|error| anyhow::anyhow!("line {number} is no OTLP JSON: {error}"))?;
        signing.records(&request, &index)?;
    }
    Ok(())
}

/// Calls `visit` with every record of OTLP requests.
///
/// # Errors
/// When a request cannot be read, or `visit` fails.
pub fn for_each_record(
    requests: impl Iterator<Item = anyhow::Result<Bytes>>,
    visit: &mut dyn FnMut(Message<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut signing = Signing { signer: Signer::default(), visit };
    let mut index = LogIndex::default();
    for request in requests {
        let request = request?;
        index.read(&request).context("a request that was fetched cannot be read")?;
        signing.records(&request, &index)?;
    }
    Ok(())
}

/// One field at a time through a buffer of fixed size (RFC 4180; a byte order mark is skipped).
struct Fields<R> {
    input: R,
    reader: Reader,
    field: Vec<u8>,
}

/// What follows a field.
#[derive(PartialEq)]
enum After {
    Field,
    Record,
    End,
}

impl<R: BufRead> Fields<R> {
    /// Reads the next field into `self.field`, at most [`MAX_LINE_BYTES`] of it.
    fn next(&mut self) -> anyhow::Result<After> {
        self.field.clear();
        let mut part = [0u8; 4096];
        loop {
            let buffer = self.input.fill_buf().context("reading the input")?;
            let (result, used, written) = self.reader.read_field(buffer, &mut part);
            let room = MAX_LINE_BYTES - self.field.len();
            self.field.extend_from_slice(&part[..written.min(room)]);
            self.input.consume(used);
            match result {
                ReadFieldResult::InputEmpty | ReadFieldResult::OutputFull => {}
                ReadFieldResult::Field { record_end: false } => return Ok(After::Field),
                ReadFieldResult::Field { record_end: true } => return Ok(After::Record),
                ReadFieldResult::End => return Ok(After::End),
            }
        }
    }
}

fn csv(input: impl BufRead, column: &str, signing: &mut Signing<'_>) -> anyhow::Result<()> {
    let mut fields = Fields { input, reader: Reader::new(), field: Vec::new() };
    let wanted = find_column(&mut fields, column)?;
    let (mut at, mut record, mut is_found) = (0, 2u64, false);
    loop {
        let after = fields.next()?;
        if after == After::End {
            return Ok(());
        }
        if at == wanted {
            signing.text(&fields.field)?;
            is_found = true;
        }
        at += 1;
        if after == After::Record {
            if !is_found {
                bail!("record {record} of the CSV has {at} fields; column {column:?} is number {}", wanted + 1);
            }
            (at, is_found, record) = (0, false, record + 1);
        }
    }
}

fn find_column<R: BufRead>(fields: &mut Fields<R>, column: &str) -> anyhow::Result<usize> {
    let mut names = Vec::new();
    loop {
        let after = fields.next()?;
        if after == After::End {
            break;
        }
        let name = fields.field.strip_prefix(b"\xef\xbb\xbf").filter(|_| names.is_empty()).unwrap_or(&fields.field);
        names.push(String::from_utf8_lossy(name).into_owned());
        if names.len() > MAX_COLUMNS {
            bail!("the first line has more than {MAX_COLUMNS} fields; this is no CSV with a header");
        }
        if after == After::Record {
            break;
        }
    }
    match names.iter().position(|name| name == column) {
        Some(position) => Ok(position),
        None if names.is_empty() => bail!("the input is empty; a CSV begins with a line of column names"),
        None => {
            let known: String = names.join(", ").chars().filter(|c| !c.is_control()).take(300).collect();
            bail!("the CSV has no column {column:?}; its columns are {known}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(input: &[u8], column: Option<&str>) -> anyhow::Result<Vec<String>> {
        let mut texts = Vec::new();
        // A small buffer, so that fields and lines span several.
        let input = io::BufReader::with_capacity(7, input);
        for_each(input, column, &mut |message| {
            texts.push(String::from_utf8_lossy(message.text).into_owned());
            Ok(())
        })?;
        Ok(texts)
    }

    #[test]
    fn csv_fields_are_read_by_rfc_4180() {
        let csv = b"\xef\xbb\xbfid,\"the \"\"body\"\"\",x\r\n1,\"a, \"\"b\"\"\r\nc\",9\n2,plain,\n3,,\"\"\n4,last,1";
        assert_eq!(texts(csv, Some("the \"body\"")).unwrap(), ["a, \"b\"\r\nc", "plain", "", "last"]);
        assert_eq!(texts(csv, Some("id")).unwrap(), ["1", "2", "3", "4"]);
    }

    #[test]
    fn what_is_wrong_with_a_csv_is_said_once() {
        for (csv, says) in [
            (&b"a,b\n1,2\n"[..], "no column \"body\"; its columns are a, b"),
            (b"", "the input is empty"),
            (b"a,body\n1,2\n3\n", "record 3 of the CSV has 1 fields; column \"body\" is number 2"),
        ] {
            let error = texts(csv, Some("body")).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn lines_are_cut_and_counted_once() {
        let exact = "x".repeat(MAX_LINE_BYTES);
        let input = format!("{exact}\n{exact}y\nz\r\n\nend");
        let texts = texts(input.as_bytes(), None).unwrap();
        assert_eq!(texts, [&*exact, &*exact, "z", "", "end"]);
    }

    #[test]
    fn a_line_of_json_is_a_line_and_otlp_is_records() {
        assert_eq!(texts(b"{\"msg\":\"hi\"}\n", None).unwrap().len(), 1);
        let request = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a 1"}},{"body":{"stringValue":"b"}}]}]}]}"#;
        let head = b"{\"resourceLogs\":[";
        let mut input = request.to_vec();
        input.extend_from_slice(b"\n\n");
        input.extend_from_slice(request);
        let mut texts = Vec::new();
        for_each(&input[..], None, &mut |message| {
            texts.push(String::from_utf8_lossy(message.text).into_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(texts, ["a 1", "b", "a 1", "b"]);
        let error = for_each(&head[..], None, &mut |_| Ok(())).unwrap_err().to_string();
        assert!(error.starts_with("line 1 is no OTLP JSON"), "{error}");
    }
}
