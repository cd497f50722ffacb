//! Log messages of a file or standard input: plain lines, one column of CSV, or OTLP JSON.
//!
//! Purpose: hand out every message in order with its signature and template, whatever the input looks like.
//! Promises: memory is bounded by the longest message that is read ([`MAX_LINE_BYTES`], for OTLP JSON
//! [`MAX_DOCUMENT_BYTES`]), however long the input; what is wrong with an input is said in one sentence with its line.
//! Never: keeps messages.

use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;

use super::content::{Content, Documents, HEAD_BYTES, MAX_DOCUMENT_BYTES, content_of};
use super::csv::Column;
use crate::clock::UnixNanos;
use crate::data_plane::signature::{Signature, Signer, text};
use crate::data_plane::view::LogIndex;
use crate::data_plane::window::Band;

/// Bytes of a message that are read; what follows is skipped. As many as a JSON body is read for.
pub const MAX_LINE_BYTES: usize = 16_384;

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
    let head = head(&mut input).context("reading the input")?;
    let content = content_of(&head, Path::new(""));
    let input = io::Cursor::new(head).chain(input);
    match content {
        Content::OtlpJson => otlp(input, &mut signing),
        Content::OtlpProto => bail!(
            "this is OTLP protobuf, which is not read here; `lipservice simulate` and `lipservice generate` read it"
        ),
        Content::Auto | Content::Text => lines(input, &mut signing),
    }
}

/// The first bytes: as many as there are at once, but a whole line at least.
fn head(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while head.len() < HEAD_BYTES && !head.trim_ascii_start().contains(&b'\n') {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        let used = buffer.len().min(HEAD_BYTES - head.len());
        head.extend_from_slice(&buffer[..used]);
        input.consume(used);
    }
    Ok(head)
}

struct Signing<'v> {
    signer: Signer,
    visit: &'v mut dyn FnMut(Message<'_>) -> anyhow::Result<()>,
}

impl Signing<'_> {
    fn request(&mut self, request: &[u8], index: &mut LogIndex) -> anyhow::Result<()> {
        index.read(request).context("this is no OTLP")?;
        self.records(request, index)
    }

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
    let (mut documents, mut index) = (Documents::default(), LogIndex::default());
    while let Some(is_cut) = read_line(&mut input, &mut line, MAX_DOCUMENT_BYTES).context("reading the input")? {
        number += 1;
        if is_cut {
            bail!("line {number} is longer than {MAX_DOCUMENT_BYTES} bytes; write one export request a line");
        }
        for request in documents.line(&line) {
            signing.request(&request?, &mut index)?;
        }
    }
    documents.end().map_or(Ok(()), |request| signing.request(&request?, &mut index))
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

fn csv(mut input: impl BufRead, column: &str, signing: &mut Signing<'_>) -> anyhow::Result<()> {
    let mut column = Column::find(&mut input, column, MAX_LINE_BYTES)?;
    while let Some(text) = column.next(&mut input)? {
        signing.text(text)?;
    }
    Ok(())
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
