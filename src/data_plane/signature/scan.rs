//! Finds what varies in a line.
//!
//! Purpose: walk a line from run to run and mark to mark (`spec/signature.md`, 2.3 and 2.6) and collect its variable
//! stretches; `marks` and `names` hold the rules that look around.
//! Promises: linear in the line; bytes that no rule asks for are not visited one by one; no regex, no allocation.
//! Never: looks at another line, or writes.

use super::line::{DIGIT, FRONT, LETTER, Line, POINT, RUN, SLASH, SPACE, is};
use super::spans::Spans;
use super::window::{Window, below, from};
use super::words::{self, COLON, DASH, LEADER, VARIABLE};

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
    /// Where a word is not to be passed: one byte behind the last word, if that asks, or behind the last stretch.
    pub(super) look: usize,
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
    #[inline(always)]
    pub(super) fn run(line: &'a Line, spans: &'a mut Spans, watch: W) {
        spans.clear();
        let candidate = Candidate::default();
        let open_quotes = [false; 3];
        Scan { line, spans, watch, word_end: 0, word: 0, word_before: 0, look: 0, candidate, open_quotes }.scan();
    }

    #[inline(always)]
    fn scan(&mut self) {
        let mut at = FRONT;
        while at < self.line.end() {
            at = self.window(at);
        }
    }

    /// Reads what begins in the window of `at`; returns where the text goes on. `at` is not inside of a run.
    #[inline(always)]
    fn window(&mut self, at: usize) -> usize {
        let line = self.line;
        let window = Window::at(line, at & !7);
        let base = window.base;
        let limit = window.limit();
        if base + limit <= at {
            // This run reaches behind the window.
            return self.run_of(at);
        }
        let starts = window.starts();
        let names = starts & window.letter;
        let behind = window.behind_letters(starts);
        let ends = behind & !window.run;
        let passable = window.passable(names);
        let mut events = (starts | window.events()) & from(at - base) & below(limit);
        while events != 0 {
            let i = events.trailing_zeros() as usize;
            events &= events - 1;
            let start = base + i;
            if names >> i & 1 != 0 {
                let len = (behind >> i).trailing_zeros() as usize;
                if ends >> ((i + len) & 63) & 1 != 0 {
                    if window.event >> ((i + len) & 63) & 1 != 0 && line.at(start + len) == b'=' {
                        continue;
                    }
                    if passable >> i & 1 == 0 || start == self.look {
                        self.word(start, start + len);
                    } else {
                        match words::notable_meaning(line.chunk(start), len) {
                            0 => continue,
                            meaning => self.notable(start, start + len, meaning),
                        }
                    }
                    events &= from(i + len);
                    continue;
                }
            }
            let done = if starts >> i & 1 != 0 {
                self.run_in(&window, i)
            } else if window.run >> i & 1 != 0 {
                // An `E` in a word that was passed: it may be the end of an exception's name.
                self.run_in(&window, window.start_of_run(i))
            } else {
                self.mark(&window, i)
            };
            if done >= base + limit {
                return done;
            }
            events &= from(done - base);
        }
        base + limit
    }

    /// A word that varies or counts, that nothing before it asks for.
    #[inline(always)]
    fn notable(&mut self, start: usize, end: usize, meaning: u16) {
        if meaning & VARIABLE != 0 {
            return self.push("word", start, end);
        }
        self.word_before = if self.is_adjacent(start) { self.word } else { 0 };
        self.word_end = end;
        self.word = meaning;
        if meaning & LEADER != 0 {
            self.look = end + 1;
        }
    }

    /// Whether a word from `start` on stands one space behind the last word.
    #[inline]
    pub(super) fn is_adjacent(&self, start: usize) -> bool {
        (self.word_end + 1 == start) & (self.line.at(start - 1) == b' ')
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
        self.look = self.spans.end() + 1;
    }

    /// A run from `start`, of any length; returns where the text goes on.
    fn run_of(&mut self, start: usize) -> usize {
        let window = Window::at(self.line, start & !7);
        if ((!window.run) >> (start & 7)) == 0 {
            return self.long(start, self.line.run_end(RUN, start));
        }
        self.run_in(&window, start & 7)
    }

    /// The run from place `i` of a window on, which ends in it; returns where the text goes on.
    #[inline(always)]
    fn run_in(&mut self, window: &Window, i: usize) -> usize {
        let end = (!window.run & from(i)).trailing_zeros() as usize;
        let all = from(i) & below(end);
        // Digits, no sign to cut off, no point (or points in what is no name), nothing behind that has a rule of its own.
        let points = window.point & all;
        let is_plain =
            window.leads() & (1 << (i & 63) | 1 << ((end - 1) & 63)) == 0 && window.event >> (end & 63) & 1 == 0;
        let is_whole = points == 0 || window.letter >> i & 1 == 0 && points & points >> 1 == 0;
        if window.digit & all != 0 && is_plain && is_whole {
            self.push("digits", window.base + i, window.base + end);
            return window.base + end;
        }
        self.rough(window, i, end)
    }

    /// As [`Scan::run_in`].
    fn rough(&mut self, window: &Window, i: usize, end: usize) -> usize {
        let line = self.line;
        let all = from(i) & below(end);
        let (start, end) = (window.base + i, window.base + end);
        let behind = line.at(end);
        if window.letter & all == all {
            if behind != b'=' {
                self.word(start, end);
            }
            return end;
        }
        let points = window.point & all;
        if behind == b'=' || points != 0 && window.slash & all != 0 {
            return self.long(start, end);
        }
        let (from, to) = self.trim(start, end);
        let points = points & super::window::from(from - window.base) & below(to - window.base);
        let name = if points == 0 { 0 } else { line.run_end(LETTER, from) };
        // A name before a colon is letters up to it, or up to `_` and `-`; nothing else is cut without a double point.
        let is_one_part =
            points == 0 || points & points >> 1 == 0 && (name == from || !matches!(line.at(name), b':' | b'_' | b'-'));
        if is_one_part {
            self.judge(from, to);
        } else {
            self.parts(from, to);
        }
        self.note_end(start, to, end);
        end
    }

    /// A run that is long or may be a URL, query or key.
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
            (self.word, self.word_before, self.word_end, self.look) = (COLON, 0, end, end + 1);
        } else if line.at(end - 1) == b'-' && end == start + 1 && is(line.at(start - 1), 1 << SPACE) {
            (self.word, self.word_before, self.word_end, self.look) = (DASH, 0, end, end + 1);
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
        loop {
            i = line.next_pair(POINT, i, end);
            if i + 2 >= end {
                return None;
            }
            let byte = line.at(i);
            if line.at(i + 1) != byte {
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
    }

    /// A run or a part of one, without signs around.
    fn judge(&mut self, start: usize, end: usize) {
        let line = self.line;
        if start >= end {
            return;
        }
        if line.any(DIGIT, start, end) {
            return self.push("digits", start, end);
        }
        if line.run_end(LETTER, start) >= end {
            return self.word(start, end);
        }
        if !line.any(LETTER, start, end) {
            return;
        }
        if line.any(SLASH, start, end) {
            return self.push("path", start, end);
        }
        let bytes = line.bytes(start, end);
        let (mut is_dotted, mut is_snake, mut is_pure) = (false, false, true);
        let is_small = |i: usize| line.at(i).is_ascii_lowercase();
        let mut i = line.run_end(LETTER, start);
        while i < end {
            let is_inside = start < i && i + 1 < end;
            match line.at(i) {
                b'.' => is_dotted |= is_inside && is_word(line.at(i - 1)) && is_word(line.at(i + 1)),
                b'_' => is_snake |= is_inside && is_small(i - 1) && is_small(i + 1),
                _ => {}
            }
            is_pure &= matches!(line.at(i), b'_' | b'-');
            i = line.run_end(LETTER, i + 1);
        }
        if is_dotted {
            self.push("dotted name", start, end);
        } else if is_snake && !bytes.iter().any(u8::is_ascii_uppercase) {
            self.push("snake_case name", start, end);
        } else if is_pure {
            self.word(start, end);
        } else if self.is_enclosed(start, end) {
            self.push("enclosed", start, end);
        } else if words::is_exception(bytes) {
            self.push("exception", start, end);
        }
    }
}
