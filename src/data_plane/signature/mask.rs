//! The mask: what varies in a line becomes `<*>`.
//!
//! Purpose: write the template of a text (`spec/signature.md`, section 2): take its first line, find its variable
//! stretches, copy the rest.
//! Promises: total (any bytes have a template), exact (the specification is this algorithm in words), linear in the
//! text, no regex, no allocation but once for its buffers.
//! Never: knows where the text came from, or keeps anything between texts.

use super::line::{CLASSES, EVENT, FRONT, Line, SEEN, SPACE, is, portable};
use super::scan::{Scan, Watch};
use super::spans::Spans;

pub use super::line::MAX_TEXT_BYTES;

/// Stands for one or more adjacent variable parts.
pub const VARIABLE: &[u8; 3] = b"<*>";

/// Room for a template. The densest text is `(1` repeated, four bytes for two, so a template stays below 3 x
/// [`MAX_TEXT_BYTES`]; a power of two lets an index be masked instead of checked.
const ROOM: usize = 4096;
/// Bytes that are copied at once. What is behind the end of a template may be overwritten.
const CHUNK: usize = 32;
type Out = [u8; ROOM + CHUNK];

/// A buffer that templates are written to, one after the other.
#[derive(Debug)]
pub struct Template {
    line: Line,
    spans: Spans,
    out: Box<Out>,
    len: usize,
    /// Whether the processor has what `avx2` is compiled for.
    #[cfg(target_arch = "x86_64")]
    has_avx2: bool,
}

impl Default for Template {
    fn default() -> Self {
        Template {
            line: Line::default(),
            spans: Spans::default(),
            out: Box::new([0; ROOM + CHUNK]),
            len: 0,
            #[cfg(target_arch = "x86_64")]
            has_avx2: super::avx2::is_available(),
        }
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
    /// One that uses no instruction that not every processor has, and writes the same.
    pub fn portable() -> Self {
        Template {
            #[cfg(target_arch = "x86_64")]
            has_avx2: false,
            ..Template::default()
        }
    }

    /// The template written last.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.out[..self.len.min(ROOM)]
    }

    /// Writes the template of `text`, which may hold several lines: the first one that is not blank counts.
    #[inline]
    #[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a call of a function for processors with AVX2"))]
    pub fn write(&mut self, text: &[u8]) {
        #[cfg(target_arch = "x86_64")]
        if self.has_avx2 {
            // SAFETY: the processor has AVX2, BMI1, BMI2, LZCNT and POPCNT, and that is all the function asks for: it has no pointers and
            // no unsafe code.
            return unsafe { super::avx2::write(self, text) };
        }
        self.write_by(text, portable);
    }

    /// As [`Template::write`]; `classify` tells the sets of a block.
    #[inline(always)]
    pub(super) fn write_by(&mut self, text: &[u8], classify: impl Fn(&[u8; 64]) -> [u64; CLASSES]) {
        self.line.set(first_line(text), classify);
        Scan::run(&self.line, &mut self.spans, ());
        self.compose();
    }

    /// As [`Template::write`]; returns what was found to vary, in the order of the text.
    pub fn explain(&mut self, text: &[u8]) -> Vec<Variable> {
        self.line.set(first_line(text), portable);
        let mut explain = Explain(&self.line, Vec::new());
        Scan::run(&self.line, &mut self.spans, &mut explain);
        let Explain(_, variables) = explain;
        self.compose();
        variables
    }

    /// Writes the line with [`VARIABLE`] for each stretch.
    #[inline(always)]
    fn compose(&mut self) {
        if self.line.is_even() { self.compose_by(copy) } else { self.compose_by(copy_uneven) }
    }

    #[inline(always)]
    fn compose_by(&mut self, copy: impl Fn(&Line, usize, usize, &mut Out, usize) -> usize) {
        let Template { line, spans, out, .. } = self;
        let (mut at, mut len) = (FRONT, 0);
        for &(start, end) in spans.all() {
            len = copy(line, at, usize::from(start), out, len);
            if let Some(room) = out[len & (ROOM - 1)..].first_chunk_mut() {
                // One byte more than [`VARIABLE`], which will be overwritten, is one store less.
                *room = *b"<*> ";
            }
            len += VARIABLE.len();
            at = usize::from(end);
        }
        len = copy(line, at, line.end(), out, len);
        while len > 0 && matches!(out[(len - 1) & (ROOM - 1)], b' ' | b'.' | b',' | b';' | b':') {
            len -= 1;
        }
        self.len = len;
    }
}

/// Copies constant text to `out[len..]`; returns the new length.
#[inline(always)]
fn copy(line: &Line, start: usize, end: usize, out: &mut Out, len: usize) -> usize {
    let mut done = 0;
    while start + done < end {
        if let Some(room) = out[(len + done) & (ROOM - 1)..].first_chunk_mut() {
            *room = *line.chunk::<CHUNK>(start + done);
        }
        done += CHUNK;
    }
    len + (end - start)
}

/// As [`copy`], for a line with rows of spaces, or other spaces than the byte 0x20: each row becomes one byte 0x20.
fn copy_uneven(line: &Line, start: usize, end: usize, out: &mut Out, mut len: usize) -> usize {
    let mut at = start;
    while at < end {
        let spaces = line.bits(SPACE, at);
        // Spaces behind a space, and those that are not the byte 0x20.
        let odd = (spaces & line.bits(SPACE, at - 1)) | (spaces & line.bits(EVENT, at));
        let plain = (odd.trailing_zeros() as usize).min(end - at).min(SEEN - 1);
        let mut done = 0;
        while done < plain {
            if let Some(room) = out.get_mut(len + done..len + done + 16) {
                room.copy_from_slice(line.chunk::<16>(at + done));
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

/// `text` without the blank bytes before it. If its first line is longer than [`MAX_TEXT_BYTES`], that line, cut.
#[inline(always)]
fn first_line(text: &[u8]) -> &[u8] {
    let blank = text.iter().take_while(|&&b| is(b, 1 << SPACE)).count();
    let text = &text[blank..];
    if text.len() <= MAX_TEXT_BYTES {
        return text;
    }
    let seen = &text[..MAX_TEXT_BYTES + 1];
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
