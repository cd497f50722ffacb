//! The mask: what varies in a line becomes `<*>`.
//!
//! Purpose: write the template of a text (`spec/signature.md`, section 2): take its first line, find its variable
//! stretches, copy the rest.
//! Promises: total (any bytes have a template), exact (the specification is this algorithm in words), linear in the
//! text, no regex, no allocation but once for its buffers.
//! Never: knows where the text came from, or keeps anything between texts.

use super::line::{EVENT, FRONT, Line, SEEN, SPACE, is};
use super::scan::{Scan, Watch};
use super::spans::Spans;

pub use super::line::MAX_TEXT_BYTES;

/// Stands for one or more adjacent variable parts.
pub const VARIABLE: &[u8; 3] = b"<*>";

/// Room for a template. The densest text is `(1` repeated, four bytes for two, so a template stays below 3 x
/// [`MAX_TEXT_BYTES`]; a power of two lets an index be masked instead of checked.
const ROOM: usize = 4096;

/// A buffer that templates are written to, one after the other.
#[derive(Debug)]
pub struct Template {
    line: Line,
    spans: Spans,
    out: Box<[u8; ROOM]>,
    len: usize,
}

impl Default for Template {
    fn default() -> Self {
        Template { line: Line::default(), spans: Spans::default(), out: Box::new([0; ROOM]), len: 0 }
    }
}

/// A part of a text that varies, before it is joined with its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The rule of `spec/signature.md` that says so.
    pub rule: &'static str,
    /// The bytes; none for a value that is not there.
    pub bytes: Vec<u8>,
}

/// Collects for [`Template::explain`].
struct Explain<'a>(&'a Line, Vec<Variable>);

impl Watch for &mut Explain<'_> {
    fn variable(&mut self, rule: &'static str, start: usize, end: usize) {
        self.1.push(Variable { rule, bytes: self.0.bytes(start, end).to_vec() });
    }
}

impl Template {
    /// The template written last.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.out[..self.len.min(ROOM)]
    }

    /// Writes the template of `text`, which may hold several lines: the first one that is not blank counts.
    #[inline]
    pub fn write(&mut self, text: &[u8]) {
        self.line.set(first_line(text));
        Scan::run(&self.line, &mut self.spans, ());
        self.compose();
    }

    /// As [`Template::write`]; returns what was found to vary, in the order of the text.
    pub fn explain(&mut self, text: &[u8]) -> Vec<Variable> {
        self.line.set(first_line(text));
        let mut explain = Explain(&self.line, Vec::new());
        Scan::run(&self.line, &mut self.spans, &mut explain);
        let Explain(_, variables) = explain;
        self.compose();
        variables
    }

    /// Writes the line with [`VARIABLE`] for each stretch.
    #[inline]
    fn compose(&mut self) {
        let (mut at, mut len) = (FRONT, 0);
        for &(start, end) in self.spans.all() {
            len = copy(&self.line, at, usize::from(start), &mut self.out, len);
            for &byte in VARIABLE {
                self.out[len & (ROOM - 1)] = byte;
                len += 1;
            }
            at = usize::from(end);
        }
        len = copy(&self.line, at, self.line.end(), &mut self.out, len);
        while len > 0 && matches!(self.out[(len - 1) & (ROOM - 1)], b' ' | b'.' | b',' | b';' | b':') {
            len -= 1;
        }
        self.len = len;
    }
}

/// Copies constant text to `out[len..]`, a stretch of spaces as one; returns the new length. Sixteen bytes at a time, so
/// that what is behind the new length may be overwritten.
#[inline]
fn copy(line: &Line, start: usize, end: usize, out: &mut [u8; ROOM], mut len: usize) -> usize {
    let mut at = start;
    while at < end {
        let spaces = line.bits(SPACE, at);
        // Spaces behind a space, and those that are not the byte 0x20.
        let odd = (spaces & line.bits(SPACE, at - 1)) | (spaces & line.bits(EVENT, at));
        let plain = (odd.trailing_zeros() as usize).min(end - at).min(SEEN - 1);
        let mut done = 0;
        while done < plain {
            if let Some(room) = out.get_mut(len + done..len + done + 16) {
                room.copy_from_slice(line.chunk(at + done));
            }
            done += 16;
        }
        len += plain;
        at += plain;
        if at < end && plain < SEEN - 1 {
            if len == 0 || out[(len - 1) & (ROOM - 1)] != b' ' {
                out[len & (ROOM - 1)] = b' ';
                len += 1;
            }
            at += 1;
        }
    }
    len
}

/// The first line of `text` that is not blank, without the blank bytes before it, cut to [`MAX_TEXT_BYTES`].
#[inline]
fn first_line(text: &[u8]) -> &[u8] {
    let blank = text.iter().take_while(|&&b| is(b, 1 << SPACE)).count();
    let text = &text[blank..];
    let seen = &text[..text.len().min(MAX_TEXT_BYTES + 1)];
    cut_utf8(memchr::memchr2(b'\n', b'\r', seen).map_or(seen, |end| &seen[..end]), MAX_TEXT_BYTES)
}

/// At most `limit` bytes of `text`, without the head of a UTF-8 sequence that the limit would split.
pub(super) fn cut_utf8(text: &[u8], limit: usize) -> &[u8] {
    if text.len() <= limit {
        return text;
    }
    let is_continuation = |b: u8| b & 0xc0 == 0x80;
    if is_continuation(text[limit]) {
        for end in (limit.saturating_sub(3)..limit).rev() {
            if !is_continuation(text[end]) {
                return if text[end] >= 0xc0 { &text[..end] } else { &text[..limit] };
            }
        }
    }
    &text[..limit]
}
