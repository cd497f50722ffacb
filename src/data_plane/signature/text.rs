//! Which text of a record its signature is made of.
//!
//! Purpose: find the message in a string body, a structured body or a JSON object written as a string
//! (`spec/signature.md`, "The text").
//! Promises: total, bounded; copies only what has to be joined or unescaped, into the caller's scratch buffer.
//! Never: validates JSON or UTF-8: what does not read as an object is plain text.

use crate::data_plane::view::{AnyValueRef, RecordRef};

/// Fields that hold the message of a structured body, best first. Names are compared byte for byte.
pub const MESSAGE_FIELDS: [&[u8]; 12] = [
    b"message",
    b"msg",
    b"event",
    b"log",
    b"body",
    b"text",
    b"@mt",
    b"@m",
    b"short_message",
    b"MESSAGE",
    b"Message",
    b"error",
];

/// Entries of a structured body that are looked at.
pub const MAX_ENTRIES: usize = 64;

/// Bytes of a JSON body, and of its message, that are looked at.
pub const MAX_JSON_BYTES: usize = 16_384;

/// The text of a record: its body's, or `event_name` when the body has none.
#[inline]
pub fn of_record<'a>(record: RecordRef<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    match record.body() {
        Some(AnyValueRef::Str(text)) if !is_blank(text) => of_text(text, scratch),
        None | Some(AnyValueRef::Empty | AnyValueRef::Str(_)) => record.event_name(),
        Some(AnyValueRef::KvList(entries)) => of_entries(AnyValueRef::KvList(entries), scratch),
        Some(AnyValueRef::Array(_)) => b"[array]",
        Some(AnyValueRef::Bytes(_)) => b"[bytes]",
        Some(AnyValueRef::Int(_) | AnyValueRef::Double(_)) => b"[number]",
        Some(AnyValueRef::Bool(_)) => b"[bool]",
    }
}

/// The text of a string body: the string, or the message of the JSON object it holds.
#[inline]
pub fn of_text<'a>(text: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if text.first().is_none_or(|&b| b != b'{' && !b.is_ascii_whitespace()) {
        return text;
    }
    match JsonObject::open(text) {
        Some(object) => of_json(text, object, scratch),
        None => text,
    }
}

#[inline]
fn is_blank(text: &[u8]) -> bool {
    text.iter().all(|&b| b <= b' ' || b == 0x7f)
}

/// The best message so far, and the keys in case there is none.
struct Search<'a> {
    rank: usize,
    message: &'a [u8],
    keys: [&'a [u8]; MAX_ENTRIES],
    entries: usize,
}

impl<'a> Search<'a> {
    fn new() -> Self {
        Search { rank: MESSAGE_FIELDS.len(), message: &[], keys: [&[]; MAX_ENTRIES], entries: 0 }
    }

    /// Notes one entry; returns whether to go on.
    fn note(&mut self, key: &'a [u8], text: Option<&'a [u8]>) -> bool {
        self.keys[self.entries] = key;
        self.entries += 1;
        if let Some(text) = text.filter(|text| !is_blank(text))
            && let Some(rank) = MESSAGE_FIELDS[..self.rank].iter().position(|field| *field == key)
        {
            self.rank = rank;
            self.message = text;
        }
        self.rank > 0 && self.entries < MAX_ENTRIES
    }

    fn found(&self) -> Option<&'a [u8]> {
        (self.rank < MESSAGE_FIELDS.len()).then_some(self.message)
    }

    /// `{a b c}`, sorted by bytes.
    fn write_keys(&mut self, out: &mut Vec<u8>) {
        let keys = &mut self.keys[..self.entries];
        keys.sort_unstable();
        out.clear();
        out.push(b'{');
        for (i, key) in keys.iter().enumerate() {
            if i > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(super::mask::cut_utf8(key, super::mask::MAX_TEXT_BYTES));
        }
        out.push(b'}');
    }
}

fn of_entries<'a>(body: AnyValueRef<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let mut search = Search::new();
    for entry in body.entries() {
        let text = match entry.value() {
            AnyValueRef::Str(text) => Some(text),
            _ => None,
        };
        if !search.note(entry.key, text) {
            break;
        }
    }
    if let Some(message) = search.found() {
        return message;
    }
    search.write_keys(scratch);
    scratch
}

fn of_json<'a>(text: &'a [u8], mut object: JsonObject<'a>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let mut search = Search::new();
    while let Some((key, value)) = object.entry() {
        if !search.note(key, value) {
            break;
        }
    }
    match search.found() {
        Some(message) if !message.contains(&b'\\') => message,
        Some(message) => {
            unescape(message, scratch);
            scratch
        }
        None if search.entries == 0 => text,
        None => {
            search.write_keys(scratch);
            scratch
        }
    }
}

/// A lenient reader of the entries of one JSON object. Whatever it cannot read ends the object.
struct JsonObject<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> JsonObject<'a> {
    fn open(text: &'a [u8]) -> Option<Self> {
        let mut object = JsonObject { bytes: &text[..text.len().min(MAX_JSON_BYTES)], at: 0 };
        object.take(b'{').then_some(object)
    }

    /// Skips white space, then `byte` if it is next.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// The next key and, if it is a string, its value; both still escaped.
    fn entry(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        self.take(b',');
        let key = self.string()?;
        if !self.take(b':') {
            return None;
        }
        self.skip_space();
        match self.bytes.get(self.at) {
            Some(b'"') => Some((key, Some(self.string_or_rest()))),
            _ => {
                self.skip_value();
                Some((key, None))
            }
        }
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        if !self.take(b'"') {
            return None;
        }
        let start = self.at;
        self.skip_string();
        (self.at <= self.bytes.len()).then(|| &self.bytes[start..self.at - 1])
    }

    /// As [`JsonObject::string`], but a value that is never closed (a body that was cut) reaches to the end.
    fn string_or_rest(&mut self) -> &'a [u8] {
        let start = self.at + 1;
        self.string().unwrap_or_else(|| &self.bytes[start.min(self.bytes.len())..])
    }

    /// From behind an opening quote to behind the closing one; past the end if there is none.
    fn skip_string(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'"' => return,
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        self.at = self.bytes.len() + 1;
    }

    /// Skips a number, word, array or object: up to a `,` or `}` outside of brackets.
    fn skip_value(&mut self) {
        let mut depth = 0u32;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b',' | b'}' | b']' if depth == 0 => return,
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                b'"' => {
                    self.at += 1;
                    self.skip_string();
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }
}

/// Writes `raw` with JSON escapes resolved. An unknown escape stands for its letter, half a surrogate pair for U+FFFD.
fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let mut rest = raw;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escape, tail)) = rest.split_first() else { return };
        rest = tail;
        match escape {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'u' => rest = unescape_unicode(rest, out),
            other => out.push(other),
        }
    }
}

/// `rest` begins behind `\u`; returns what follows the escape.
fn unescape_unicode<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let Some(first) = hex4(rest) else {
        out.push(b'u');
        return rest;
    };
    let mut tail = &rest[4..];
    let mut code = first;
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = tail.strip_prefix(b"\\u").and_then(hex4)
        && (0xdc00..0xe000).contains(&second)
    {
        code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        tail = &tail[6..];
    }
    let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    tail
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.first_chunk::<4>()?;
    digits.iter().try_fold(0, |code, &b| Some(code << 4 | char::from(b).to_digit(16)?))
}
