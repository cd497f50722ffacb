//! What a file of logs holds, and OTLP JSON put together from its lines.
//!
//! Purpose: one answer to "text, OTLP JSON or OTLP protobuf?" for every command that reads a file.
//! Promises: OTLP JSON is read one document a line, one document over many lines, or a mix; a line that is no document
//! spoils itself, not those after it; holds one document at most, of [`MAX_DOCUMENT_BYTES`].
//! Never: reads anything itself.

use std::path::Path;

use bytes::Bytes;

use crate::data_plane::view::json;

/// Longest OTLP JSON document, or message of OTLP protobuf.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// Bytes that are looked at to tell what a file holds.
pub const HEAD_BYTES: usize = 4_096;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Content {
    /// Decided by its first bytes.
    Auto,
    /// One record a line.
    Text,
    /// OTLP JSON: one document a line, or over many.
    OtlpJson,
    /// One OTLP protobuf request, or many, each after its length in four bytes, most significant first (as the
    /// collector's file exporter writes them).
    OtlpProto,
}

/// What a file holds that begins with `head`: the first [`HEAD_BYTES`] of it, or all.
pub fn content_of(head: &[u8], path: &Path) -> Content {
    let head = &head[..head.len().min(HEAD_BYTES)];
    if is_proto(head) || path.extension().is_some_and(|extension| extension == "pb") {
        Content::OtlpProto
    } else if is_document(head) {
        Content::OtlpJson
    } else {
        Content::Text
    }
}

/// Whether this is the beginning of an OTLP JSON document, and not a log line that is JSON.
fn is_document(text: &[u8]) -> bool {
    let start = text.trim_ascii_start();
    let is_key = |at: usize| start[at..].trim_ascii_start().starts_with(b":");
    let keys = [&b"\"resourceLogs\""[..], b"\"resource_logs\""];
    start.starts_with(b"{")
        && keys.iter().any(|key| memchr::memmem::find_iter(start, key).any(|at| is_key(at + key.len())))
}

/// Bytes that no text holds, where a request would have them. Text with such bytes here and there stays text.
fn is_proto(head: &[u8]) -> bool {
    let binary = |byte: &u8| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b);
    let framed = head.get(..4).and_then(|prefix| <[u8; 4]>::try_from(prefix).ok()).is_some_and(|prefix| {
        let len = u32::from_be_bytes(prefix) as usize;
        (1..=MAX_DOCUMENT_BYTES).contains(&len) && begins_request(&head[4..])
    });
    head.iter().any(binary) && (framed || begins_request(head))
}

/// Field 1 with a length, and in it a field that a `ResourceLogs` has: 1 (resource), 2 (scope) or 3 (schema).
fn begins_request(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"\x0a") else { return false };
    let len = rest.iter().take(5).position(|byte| *byte < 0x80);
    len.is_some_and(|last| rest.get(last + 1).is_some_and(|tag| matches!(tag, 0x0a | 0x12 | 0x1a)))
}

/// A request that was put together, as protobuf, or what is wrong with the text.
pub type Document = Result<Bytes, Fault>;

/// Text that is no document.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is no OTLP JSON: {what}")]
pub struct Fault {
    /// Where it begins.
    pub line: u64,
    /// Why.
    pub what: String,
}

/// Puts documents together, line by line.
#[derive(Default)]
pub struct Documents {
    partial: Vec<u8>,
    depth: Depth,
    /// Lines seen, and the first of the document that is open.
    lines: u64,
    first: u64,
}

impl Documents {
    /// Takes a line. Hands out what it completed: none, a document, or first what broke off before it.
    pub fn line(&mut self, line: &[u8]) -> impl Iterator<Item = Document> + use<> {
        self.lines += 1;
        let mut done: [Option<Document>; 2] = [None, None];
        if !self.partial.is_empty() && is_document(&line[..line.len().min(HEAD_BYTES)]) && line.starts_with(b"{") {
            // The beginning of another: what is open will not end.
            done[0] = self.end();
        }
        if !line.trim_ascii().is_empty() {
            done[1] = self.add(line);
        }
        done.into_iter().flatten()
    }

    fn add(&mut self, line: &[u8]) -> Option<Document> {
        let is_first = self.partial.is_empty();
        if is_first {
            (self.depth, self.first) = (Depth::default(), self.lines);
        }
        self.depth.add(line);
        if self.depth.is_closed() && is_first {
            return Some(self.decode(line));
        }
        if self.partial.len() + line.len() >= MAX_DOCUMENT_BYTES {
            self.partial = Vec::new();
            return Some(Err(Fault { line: self.first, what: format!("longer than {MAX_DOCUMENT_BYTES} bytes") }));
        }
        self.partial.extend_from_slice(line);
        self.partial.push(b'\n');
        if !self.depth.is_closed() {
            return None;
        }
        let whole = std::mem::take(&mut self.partial);
        Some(self.decode(&whole))
    }

    /// At the end of the input: what is still open.
    pub fn end(&mut self) -> Option<Document> {
        let partial = std::mem::take(&mut self.partial);
        (!partial.is_empty()).then(|| self.decode(&partial))
    }

    fn decode(&self, text: &[u8]) -> Document {
        json::decode(text).map(Bytes::from).map_err(|error| Fault { line: self.first, what: error.to_string() })
    }
}

/// How deep in objects and lists a text is.
#[derive(Default)]
struct Depth {
    depth: u64,
    in_string: bool,
    is_escaped: bool,
}

impl Depth {
    fn add(&mut self, text: &[u8]) {
        for byte in text {
            match (self.in_string, byte) {
                (true, _) if self.is_escaped => self.is_escaped = false,
                (true, b'\\') => self.is_escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_closed(&self) -> bool {
        self.depth == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a } \" {"}}]}]}]}"#;

    fn many_lines() -> String {
        serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(ONE).unwrap()).unwrap()
    }

    fn documents(text: &str) -> Vec<Document> {
        let mut documents = Documents::default();
        let mut out: Vec<Document> = text.lines().flat_map(|line| documents.line(line.as_bytes())).collect();
        out.extend(documents.end());
        out
    }

    #[test]
    fn kinds_are_told_apart() {
        let request = json::decode(ONE.as_bytes()).unwrap();
        let framed = [&(request.len() as u32).to_be_bytes()[..], &request].concat();
        let snake = ONE.replace("resourceLogs", "resource_logs");
        let cases: &[(&[u8], Content)] = &[
            (ONE.as_bytes(), Content::OtlpJson),
            (snake.as_bytes(), Content::OtlpJson),
            (&many_lines().into_bytes(), Content::OtlpJson),
            (b"\n\n {\n\"resourceLogs\" :", Content::OtlpJson),
            (&request, Content::OtlpProto),
            (&framed, Content::OtlpProto),
            (&request[..8], Content::OtlpProto),
            (b"", Content::Text),
            (b"{\"msg\":\"resourceLogs\"}\n", Content::Text),
            (b"GET {\"resourceLogs\":[]}\n", Content::Text),
            (b"\nH\nlines\n", Content::Text),
            (b"\x1b[31mERROR\x1b[0m red\n", Content::Text),
            (b"form feed \x0c and bell \x07 in a line\n", Content::Text),
            (b"\nbell \x07 after an empty line\n", Content::Text),
        ];
        for (head, content) in cases {
            assert_eq!(content_of(head, Path::new("x.log")), *content, "{}", String::from_utf8_lossy(head));
        }
        assert_eq!(content_of(b"", Path::new("x.pb")), Content::OtlpProto);
    }

    #[test]
    fn documents_are_found_however_their_lines_are_broken() {
        let whole = many_lines();
        let expected = json::decode(ONE.as_bytes()).unwrap();
        for (text, count) in [
            (ONE.to_owned(), 1),
            (format!("{ONE}\n\n{ONE}\n"), 2),
            (whole.clone(), 1),
            (format!("{whole}\n{ONE}\n\n{whole}"), 3),
        ] {
            let found = documents(&text);
            assert_eq!(found.len(), count, "{text}");
            assert!(found.iter().all(|document| document.as_ref().unwrap() == &expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_document_spoils_itself_alone() {
        let cut = &ONE[..30];
        let whole = many_lines();
        for (text, expected) in [
            (format!("{ONE}\nnonsense\n{ONE}"), vec![None, Some(2), None]),
            (format!("{cut}\n{ONE}"), vec![Some(1), None]),
            (format!("{ONE}\n\n{cut}"), vec![None, Some(3)]),
            (format!("}}}}\n{whole}"), vec![Some(1), None]),
            (format!("{ONE}{ONE}\n{ONE}"), vec![Some(1), None]),
        ] {
            let found = documents(&text);
            let lines: Vec<Option<u64>> =
                found.iter().map(|found| found.as_ref().err().map(|fault| fault.line)).collect();
            assert_eq!(lines, expected, "{text}");
        }
    }

    #[test]
    fn a_document_without_an_end_is_bounded() {
        let mut documents = Documents::default();
        let open = format!("{{\"resourceLogs\":[\"{}", "x".repeat(1 << 20));
        assert_eq!(documents.line(open.as_bytes()).count(), 0);
        let more = "x".repeat(1 << 20);
        let broken = (0..64).flat_map(|_| documents.line(more.as_bytes()).collect::<Vec<_>>()).next().unwrap();
        assert!(broken.unwrap_err().to_string().contains("line 1 is no OTLP JSON: longer than"));
        assert!(documents.partial.len() < 2 << 20);
    }
}
