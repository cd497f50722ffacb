//! Words that vary for what stands around them.
//!
//! Purpose: units, names behind `user` and other nouns, names between prepositions (`spec/signature.md`, 2.7).
//! Promises: a word that none of this asks for is passed with one branch.
//! Never: looks further than two words back and one ahead.

use super::line::{DIGIT, SPACE, is};
use super::scan::{Candidate, Scan, Watch};
use super::words::{
    self, ARTICLE, BY, COLON, DASH, FOR, IS, NOUN, PREPOSITION, SLOT, SLOT_END, STOP, UNIT, USER, VARIABLE,
};

impl<W: Watch> Scan<'_, W> {
    /// Whether brackets stand around.
    #[inline]
    pub(super) fn is_enclosed(&self, start: usize, end: usize) -> bool {
        matches!((self.line.at(start - 1), self.line.at(end)), (b'(', b')') | (b'[', b']'))
    }

    /// A word of letters (and `_` or `-` inside).
    #[inline]
    pub(super) fn word(&mut self, start: usize, end: usize) {
        let line = self.line;
        let meaning = words::meaning(line.chunk(start), end - start);
        let (before, behind) = (line.at(start - 1), line.at(end));
        let is_adjacent = (self.word_end + 1 == start) & (before == b' ');
        let p = if is_adjacent { self.word } else { 0 };
        let pp = if is_adjacent { self.word_before } else { 0 };
        let tail = u64::from_le_bytes(*line.tail(end));
        let is_exception =
            (tail == u64::from_le_bytes(*b"xception")) | (tail >> 24 == u64::from_le_bytes(*b"Error\0\0\0"));
        let around = u16::from_le_bytes([before, behind]);
        let is_enclosed = (around == u16::from_le_bytes(*b"()")) | (around == u16::from_le_bytes(*b"[]"));
        let is_candidate = self.candidate.end == start - 1;
        let asks = (meaning & (VARIABLE | UNIT)) | (p & (USER | NOUN | BY | SLOT | COLON | DASH));
        let is_special = (asks != 0) | is_exception | is_candidate | is_enclosed;
        if is_special && !self.special(start, end, meaning, p, pp) {
            return;
        }
        self.word_end = end;
        self.word_before = p;
        self.word = meaning;
    }

    /// A word that may vary; returns whether it counts as a word before others.
    fn special(&mut self, start: usize, end: usize, meaning: u16, p: u16, pp: u16) -> bool {
        let line = self.line;
        let bytes = line.bytes(start, end);
        if self.is_enclosed(start, end) {
            self.push("enclosed", start, end);
            return false;
        }
        if meaning & VARIABLE != 0 {
            self.push("word", start, end);
            return false;
        }
        if words::is_exception(bytes) {
            self.push("exception", start, end);
            return false;
        }
        let follows_space = line.at(start - 1) == b' ';
        let candidate = std::mem::take(&mut self.candidate);
        if candidate.needs & meaning != 0 && candidate.end + 1 == start && follows_space {
            self.push(candidate.rule, candidate.start, candidate.end);
        }
        let (behind, next) = (line.at(end), line.at(end + 1));
        if meaning & UNIT != 0 && follows_space && self.spans.end() + 1 == start && behind != b'=' {
            self.push("unit", start, end);
            return false;
        }
        if p & COLON != 0 && matches!(behind, b',' | b';') {
            self.push("listed value", start, end);
            return true;
        }
        if p & DASH != 0 && line.bytes(end, end + 2) == b" [" && is(line.at(end + 2), 1 << DIGIT) {
            self.push("client", start, end);
            return true;
        }
        self.slot(start, end, meaning, p, pp, (behind, next));
        true
    }

    /// A word behind one that a name may follow.
    fn slot(&mut self, start: usize, end: usize, meaning: u16, p: u16, pp: u16, (behind, next): (u8, u8)) {
        let bytes = self.line.bytes(start, end);
        let is_stop = meaning & STOP != 0;
        let is_name = !is_stop && !words::has_ending(bytes);
        let is_constant = bytes.len() > 1 && bytes.iter().all(u8::is_ascii_uppercase);
        let ends = is(next, 1 << SPACE);
        if p & USER != 0 && is_name {
            return self.push("user", start, end);
        }
        if p & (NOUN | BY) != 0 && is_constant {
            return;
        }
        let is_named = pp & PREPOSITION != 0;
        if p & NOUN != 0 && (is_name || is_named && !is_stop) {
            let is_set_off =
                matches!(behind, b':' | b',' | b'(') && ends || behind == b' ' && matches!(next, b'(' | b'[');
            if is_named || is_set_off {
                return self.push("noun", start, end);
            }
            self.candidate = Candidate { start, end, needs: PREPOSITION | IS, rule: "noun" };
        } else if p & BY != 0 && meaning & ARTICLE == 0 {
            if end >= self.line.end() || matches!(behind, b'.' | b',' | b':' | b';') && ends {
                return self.push("by", start, end);
            }
            self.candidate = Candidate { start, end, needs: PREPOSITION, rule: "by" };
        } else if p & SLOT != 0 && meaning & ARTICLE == 0 && (p & FOR != 0 || !is_constant) {
            self.candidate = Candidate { start, end, needs: SLOT_END, rule: "between prepositions" };
        }
    }
}
