//! The variable stretches of a line.
//!
//! Purpose: collect stretches from left to right and join those that only separators or brackets keep apart
//! (`spec/signature.md`, "Joining").
//! Promises: bounded, no allocation after the first line; the stretches are sorted and do not touch.
//! Never: finds a stretch itself.

use super::line::{Line, SEEN, SEPARATOR, SPACE, is};

/// More than a line can hold: between two stretches stands a byte that is no separator.
const ROOM: usize = 1024;

/// A stack of stretches, each from its start to behind its end.
#[derive(Debug)]
pub(super) struct Spans {
    spans: Box<[(u16, u16); ROOM]>,
    len: usize,
    /// Where the last stretch ends; 0 if there is none.
    end: usize,
}

impl Default for Spans {
    fn default() -> Self {
        Spans { spans: Box::new([(0, 0); ROOM]), len: 0, end: 0 }
    }
}

impl Spans {
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.end = 0;
    }

    #[inline]
    pub(super) fn all(&self) -> &[(u16, u16)] {
        &self.spans[..self.len.min(ROOM)]
    }

    /// Where the last stretch ends; 0 if there is none.
    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// Adds a stretch that begins behind all others.
    #[inline]
    pub(super) fn push(&mut self, line: &Line, start: usize, end: usize) {
        let follows = self.len > 0 && are_separators(line, self.end, start);
        if follows || takes_in(line.at(start - 1)) {
            return self.join(line, start, end);
        }
        self.put(start, end);
    }

    #[inline]
    fn put(&mut self, start: usize, end: usize) {
        self.spans[self.len & (ROOM - 1)] = (start as u16, end as u16);
        self.len += 1;
        self.end = end;
    }

    /// Adds a stretch together with what it is joined with or takes in.
    fn join(&mut self, line: &Line, mut start: usize, mut end: usize) {
        loop {
            if let Some(&(before, until)) = self.all().last()
                && are_separators(line, usize::from(until), start)
            {
                self.len -= 1;
                start = usize::from(before);
                continue;
            }
            let before = line.at(start - 1);
            if closes(before, line.at(end)) {
                start -= 1;
                end += 1;
            } else if before == b'<' || (before == b'*' && is(line.at(start - 2), 1 << SPACE)) {
                start -= 1;
            } else {
                break;
            }
        }
        self.put(start, end);
    }
}

#[inline]
fn are_separators(line: &Line, start: usize, end: usize) -> bool {
    let len = (!line.bits(SEPARATOR, start)).trailing_zeros() as usize;
    if len < SEEN { start + len >= end } else { line.run_end(SEPARATOR, start) >= end }
}

/// Whether a byte before a stretch may become part of it.
#[inline]
fn takes_in(byte: u8) -> bool {
    matches!(byte, b'(' | b'[' | b'{' | b'<' | b'*')
}

/// Whether `close` is the bracket that closes `open`.
#[inline]
pub(super) fn closes(open: u8, close: u8) -> bool {
    matches!((open, close), (b'(', b')') | (b'[', b']') | (b'{', b'}') | (b'<', b'>'))
}
