//! Finds what varies in a line.
//!
//! Purpose: walk a line from run to run and mark to mark (`spec/signature.md`, 2.3 and 2.6) and collect its variable
//! stretches; `marks` and `names` hold the rules that look around.
//! Promises: linear in the line; bytes that no rule asks for are not visited one by one; no regex, no allocation.
//! Never: looks at another line, or writes.

use super::line::{DIGIT, EVENT, LETTER, Line, POINT, RUN, SEEN, SLASH, SPACE, first, is};
use super::spans::Spans;
use super::words::{self, COLON, DASH};

/// A letter or digit.
const ALNUM: u8 = 1 << LETTER | 1 << DIGIT;

/// Told of each variable stretch before it is joined with others.
pub(super) trait Watch {
    /// `start..end` varies by `rule`.
    fn variable(&mut self, rule: &'static str, start: usize, end: usize);
}

impl Watch for () {
    #[inline]
    fn variable(&mut self, _: &'static str, _: usize, _: usize) {}
}

/// A word that varies if one of `needs` follows.
#[derive(Clone, Copy, Default)]
pub(super) struct Candidate {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) needs: u16,
    pub(super) rule: &'static str,
}

/// What is known on the way through a line.
pub(super) struct Scan<'a, W> {
    pub(super) line: &'a Line,
    pub(super) spans: &'a mut Spans,
    pub(super) watch: W,
    /// Where the last word ended.
    pub(super) word_end: usize,
    /// What that word means (`words`), and the one before it.
    pub(super) word: u16,
    pub(super) word_before: u16,
    pub(super) candidate: Candidate,
    /// Quotes that are not closed from here on: `"`, `'`, `` ` ``.
    pub(super) open_quotes: [bool; 3],
}

/// Signs before a name or number that do not belong to it.
const LEAD: u8 = 1;
/// Marks behind one.
const TAIL: u8 = 2;
static TRIM: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    let lead = b".-+#%&?!^:$~";
    while i < lead.len() {
        table[lead[i] as usize] |= LEAD;
        i += 1;
    }
    let tail = b".:!?-+&";
    i = 0;
    while i < tail.len() {
        table[tail[i] as usize] |= TAIL;
        i += 1;
    }
    table
};

/// A letter, digit or `_`.
#[inline]
pub(super) fn is_word(byte: u8) -> bool {
    is(byte, ALNUM) || byte == b'_'
}

fn is_hex_group(bytes: &[u8]) -> bool {
    bytes.len() <= 4 && bytes.iter().all(u8::is_ascii_hexdigit)
}

impl<'a, W: Watch> Scan<'a, W> {
    /// Finds the variable stretches of `line`.
    #[inline]
    pub(super) fn run(line: &'a Line, spans: &'a mut Spans, watch: W) {
        spans.clear();
        let candidate = Candidate::default();
        let open_quotes = [false; 3];
        Scan { line, spans, watch, word_end: 0, word: 0, word_before: 0, candidate, open_quotes }.scan();
    }

    #[inline]
    fn scan(&mut self) {
        let line = self.line;
        let end = line.end();
        let mut done = 0;
        let mut block = 0;
        let mut carry = 0;
        while block * 64 <= end {
            let run = line.block(RUN, block);
            let opening = line.block(POINT, block) & !run;
            let closing = |block| line.block(SLASH, block) & !line.block(RUN, block);
            let empty = opening & (closing(block) >> 1 | closing(block + 1) << 63);
            let starts = run & !(run << 1 | carry);
            carry = run >> 63;
            let mut events = starts | line.block(EVENT, block) & !line.block(SPACE, block) | empty;
            while events != 0 {
                let first = events & events.wrapping_neg();
                let at = block * 64 + events.trailing_zeros() as usize;
                events ^= first;
                if at < done {
                    continue;
                }
                if starts & first != 0 {
                    done = self.run_of(at);
                } else {
                    done = self.mark(at);
                }
            }
            block += 1;
        }
    }

    /// Where the text goes on behind a variable that may have ended inside of a run.
    pub(super) fn resume(&mut self, mut at: usize) -> usize {
        while is(self.line.at(at), 1 << RUN) && is(self.line.at(at - 1), 1 << RUN) {
            at = self.run_of(at);
        }
        at
    }

    #[inline]
    pub(super) fn push(&mut self, rule: &'static str, start: usize, end: usize) {
        self.watch.variable(rule, start, end);
        self.spans.push(self.line, start, end);
    }

    /// A run from `start`; returns where the text goes on.
    #[inline]
    pub(super) fn run_of(&mut self, start: usize) -> usize {
        let line = self.line;
        let len = (!line.bits(RUN, start)).trailing_zeros() as usize;
        let letters = (!line.bits(LETTER, start)).trailing_zeros() as usize;
        if len == letters && len < SEEN {
            if line.at(start + len) != b'=' {
                self.word(start, start + len);
            }
            return start + len;
        }
        self.rough(start, len)
    }

    /// A run that holds more than letters; `len` may be short of its end if it is [`SEEN`] or more.
    fn rough(&mut self, start: usize, len: usize) -> usize {
        if len >= SEEN {
            return self.long(start, self.line.run_end(RUN, start));
        }
        let line = self.line;
        let all = first(len);
        let end = start + len;
        let bits = |class| line.bits(class, start) & all;
        let (digits, points, slashes) = (bits(DIGIT), bits(POINT), bits(SLASH));
        if line.at(end) == b'=' || (points != 0 && slashes != 0) {
            return self.long(start, end);
        }
        let (from, to) = self.trim(start, end);
        let inner = first(to - start) & !first(from - start);
        let (digits, points) = (digits & inner, points & inner);
        // A name before a colon is letters up to it, or up to `_` and `-`; nothing else is cut without a double point.
        let name = (!(line.bits(LETTER, from))).trailing_zeros() as usize;
        let is_whole = points == 0
            || (points & points >> 1 == 0 && (name == 0 || !matches!(line.at(from + name), b':' | b'_' | b'-')));
        if is_whole && digits != 0 {
            self.push("digits", from, to);
        } else if is_whole {
            self.judge(from, to);
        } else {
            self.parts(from, to);
        }
        self.note_end(start, to, end);
        end
    }

    /// As [`Scan::rough`], for runs that are long or may be URLs, queries or keys.
    fn long(&mut self, start: usize, end: usize) -> usize {
        let line = self.line;
        let has = |class| line.any(class, start, end);
        let has_slash = has(SLASH);
        if has_slash && self.is_url(start, end) {
            return self.url("URL", start, start);
        }
        if line.at(end) == b'=' {
            if has_slash && line.bytes(start, end).contains(&b'/') && line.bytes(start, end).contains(&b'?') {
                let name = line.run_end(LETTER, start);
                return self.url("query", start, if line.at(name) == b':' { name + 1 } else { start });
            }
            if !has(DIGIT) {
                return end;
            }
        }
        let (from, to) = self.trim(start, end);
        self.parts(from, to);
        self.note_end(start, to, end);
        end
    }

    /// A run without the signs before it and the marks behind it.
    #[inline]
    fn trim(&self, start: usize, end: usize) -> (usize, usize) {
        let line = self.line;
        let trim = |i| TRIM[line.at(i) as usize];
        let mut from = start;
        if trim(start) & LEAD != 0 {
            while from < end && trim(from) & LEAD != 0 {
                from += 1;
            }
            let is_sign =
                from == start + 1 && matches!(line.at(start), b'-' | b'+' | b'~') && is(line.at(from), 1 << DIGIT);
            if is_sign || !is_word(line.at(from)) {
                from = start;
            }
        }
        let mut to = end;
        while to > from && trim(to - 1) & TAIL != 0 {
            to -= 1;
        }
        (from, to)
    }

    /// Keeps in mind for the next word that a colon or a hyphen stood before it.
    #[inline]
    fn note_end(&mut self, start: usize, to: usize, end: usize) {
        let line = self.line;
        if to == end {
            return;
        }
        if line.at(end - 1) == b':' && is_word(line.at(end - 2)) {
            (self.word, self.word_before, self.word_end) = (COLON, 0, end);
        } else if line.at(end - 1) == b'-' && end == start + 1 && is(line.at(start - 1), 1 << SPACE) {
            (self.word, self.word_before, self.word_end) = (DASH, 0, end);
        }
    }

    /// Cuts a run at names before a colon, `::` and `..`, and judges each part.
    fn parts(&mut self, mut start: usize, end: usize) {
        while start < end {
            if let Some(behind) = self.name_end(start, end) {
                start = behind;
                continue;
            }
            let Some((to, next)) = self.cut(start, end) else { return self.judge(start, end) };
            self.judge(start, to);
            start = next;
        }
    }

    /// Behind the colons of a name that `start..end` begins with.
    fn name_end(&self, start: usize, end: usize) -> Option<usize> {
        let line = self.line;
        if !is(line.at(start), 1 << LETTER) {
            return None;
        }
        let mut i = start;
        while i < end && (is(line.at(i), 1 << LETTER) || matches!(line.at(i), b'_' | b'-')) {
            i += 1;
        }
        let is_drive = i == start + 1 && i + 1 < end && line.at(i + 1) == b'\\';
        if i == end || line.at(i) != b':' || is_drive || is_hex_group(line.bytes(start, i)) {
            return None;
        }
        while i < end && line.at(i) == b':' {
            i += 1;
        }
        Some(i)
    }

    /// The first `::` of a qualified name or `..` between words: where it begins, and where the next part does.
    fn cut(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let line = self.line;
        let skip = |mut i: usize, byte: u8| {
            while i < end && line.at(i) == byte {
                i += 1;
            }
            i
        };
        let mut i = start + 1;
        while i + 2 < end {
            let byte = line.at(i);
            if !matches!(byte, b':' | b'.') || line.at(i + 1) != byte {
                i += 1;
                continue;
            }
            let next = skip(i, byte);
            if byte == b':' {
                let mut group = i;
                while group > start && is(line.at(group - 1), ALNUM) {
                    group -= 1;
                }
                if group < i && !is_hex_group(line.bytes(group, i)) {
                    return Some((i, next));
                }
            } else if is_word(line.at(i - 1)) && next < end && is_word(line.at(next)) {
                return Some((i, next));
            }
            i = next;
        }
        None
    }

    /// A run or a part of one, without signs around.
    fn judge(&mut self, start: usize, end: usize) {
        if start >= end {
            return;
        }
        let line = self.line;
        if line.any(DIGIT, start, end) {
            return self.push("digits", start, end);
        }
        if end - start < SEEN && (!line.bits(LETTER, start)).trailing_zeros() as usize >= end - start {
            return self.word(start, end);
        }
        if !line.any(LETTER, start, end) {
            return;
        }
        if line.any(SLASH, start, end) {
            return self.push("path", start, end);
        }
        let bytes = line.bytes(start, end);
        let mut around = bytes.windows(3);
        if around.any(|w| w[1] == b'.' && is_word(w[0]) && is_word(w[2])) {
            return self.push("dotted name", start, end);
        }
        let is_small = |b: u8| b.is_ascii_lowercase();
        if bytes.windows(3).any(|w| w[1] == b'_' && is_small(w[0]) && is_small(w[2]))
            && !bytes.iter().any(u8::is_ascii_uppercase)
        {
            return self.push("snake_case name", start, end);
        }
        let is_pure = bytes.iter().all(|&b| is(b, 1 << LETTER) || matches!(b, b'_' | b'-'));
        if is_pure {
            return self.word(start, end);
        }
        if self.is_enclosed(start, end) {
            self.push("enclosed", start, end);
        } else if words::is_exception(bytes) {
            self.push("exception", start, end);
        }
    }
}
