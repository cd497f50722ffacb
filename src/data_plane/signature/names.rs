//! Words that vary for what stands around them.
//!
//! Purpose: units, names behind `user` and other nouns, names between prepositions (`spec/signature.md`, 2.7).
//! Promises: a word that none of this asks for is passed with one branch.
//! Never: looks further than two words back and one ahead.

use super::line::{DIGIT, SPACE, is};
use super::scan::{Candidate, Scan, Watch};
use super::words::{
    self, ARTICLE, BY, COLON, DASH, FOR, IS, LEADER, NOUN, PREPOSITION, SLOT, SLOT_END, STOP, UNIT, USER, VARIABLE,
};

impl<W: Watch> Scan<'_, W> {
    /// Whether brackets stand around.
    #[inline]
    pub(super) fn is_enclosed(&self, start: usize, end: usize) -> bool {
        let around = u16::from_le_bytes([self.line.at(start - 1), self.line.at(end)]);
        (around == u16::from_le_bytes(*b"()")) | (around == u16::from_le_bytes(*b"[]"))
    }

    /// A word of letters (and `_` or `-` inside).
    #[inline]
    pub(super) fn word(&mut self, start: usize, end: usize) {
        let line = self.line;
        let meaning = words::meaning(line.chunk(start), end - start);
        let is_adjacent = self.is_adjacent(start);
        let p = if is_adjacent { self.word } else { 0 };
        let pp = if is_adjacent { self.word_before } else { 0 };
        let asks = (meaning & (VARIABLE | UNIT)) | (p & (LEADER & !SLOT));
        let is_candidate = self.candidate.end + 1 == start;
        if (asks != 0) | self.may_be_exception(end) | is_candidate | self.is_enclosed(start, end) {
            return self.special(start, end, meaning, p, pp);
        }
        if p & SLOT != 0 {
            self.hold_between(start, end, meaning, p);
        }
        self.note(end, meaning, p);
    }

    /// A word behind `for`, `from`, `of` or `to`.
    #[inline]
    fn hold_between(&mut self, start: usize, end: usize, meaning: u16, p: u16) {
        let line = self.line;
        let is_constant = || line.at(start).is_ascii_uppercase() && words::is_constant(line.bytes(start, end));
        if meaning & ARTICLE == 0 && (p & FOR != 0 || !is_constant()) {
            self.candidate = Candidate { start, end, needs: SLOT_END, rule: "between prepositions" };
        }
    }

    /// The word at hand is now the last word.
    #[inline]
    fn note(&mut self, end: usize, meaning: u16, p: u16) {
        self.word_end = end;
        self.word_before = p;
        self.word = meaning;
        if (meaning & LEADER != 0) | (self.candidate.end == end) {
            self.look = end + 1;
        }
    }

    #[inline]
    fn may_be_exception(&self, end: usize) -> bool {
        let tail = u64::from_le_bytes(*self.line.tail(end));
        (tail == u64::from_le_bytes(*b"xception")) | (tail >> 24 == u64::from_le_bytes(*b"Error\0\0\0"))
    }

    /// A word that may vary.
    fn special(&mut self, start: usize, end: usize, meaning: u16, p: u16, pp: u16) {
        let line = self.line;
        if self.is_enclosed(start, end) {
            return self.push("enclosed", start, end);
        }
        if meaning & VARIABLE != 0 {
            return self.push("word", start, end);
        }
        if self.may_be_exception(end) && words::is_exception(line.bytes(start, end)) {
            return self.push("exception", start, end);
        }
        let follows_space = line.at(start - 1) == b' ';
        let candidate = self.candidate;
        if candidate.needs & meaning != 0 && candidate.end + 1 == start && follows_space {
            self.push(candidate.rule, candidate.start, candidate.end);
        }
        let behind = line.at(end);
        if meaning & UNIT != 0 && follows_space && self.spans.end() + 1 == start && behind != b'=' {
            return self.push("unit", start, end);
        }
        if p & COLON != 0 && matches!(behind, b',' | b';') {
            self.push("listed value", start, end);
        } else if p & DASH != 0 && line.bytes(end, end + 2) == b" [" && is(line.at(end + 2), 1 << DIGIT) {
            self.push("client", start, end);
        } else if p & LEADER != 0 {
            self.slot(start, end, meaning, p, pp);
        }
        self.note(end, meaning, p);
    }

    /// A word behind one that a name may follow.
    fn slot(&mut self, start: usize, end: usize, meaning: u16, p: u16, pp: u16) {
        let line = self.line;
        let bytes = line.bytes(start, end);
        let (behind, next) = (line.at(end), line.at(end + 1));
        let is_stop = meaning & STOP != 0;
        if p & USER != 0 && !is_stop && !words::has_ending(bytes) {
            return self.push("user", start, end);
        }
        if p & (NOUN | BY) != 0 && words::is_constant(bytes) {
            return;
        }
        let is_named = pp & PREPOSITION != 0;
        let ends = is(next, 1 << SPACE);
        if p & NOUN != 0 && !is_stop && (is_named || !words::has_ending(bytes)) {
            let is_set_off =
                matches!(behind, b':' | b',' | b'(') && ends || behind == b' ' && matches!(next, b'(' | b'[');
            if is_named || is_set_off {
                return self.push("noun", start, end);
            }
            self.candidate = Candidate { start, end, needs: PREPOSITION | IS, rule: "noun" };
        } else if p & BY != 0 && meaning & ARTICLE == 0 {
            if end >= line.end() || matches!(behind, b'.' | b',' | b':' | b';') && ends {
                return self.push("by", start, end);
            }
            self.candidate = Candidate { start, end, needs: PREPOSITION, rule: "by" };
        } else if p & SLOT != 0 {
            self.hold_between(start, end, meaning, p);
        }
    }
}
