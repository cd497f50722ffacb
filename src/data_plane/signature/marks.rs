//! Marks with a rule of their own.
//!
//! Purpose: quoted text, values behind `=`, placeholders in angle brackets, empty brackets, URLs (`spec/signature.md`,
//! 2.4 and 2.5).
//! Promises: linear in the line: what is not closed is looked for once.
//! Never: decides about words.

use super::line::{DIGIT, LETTER, RUN, SPACE, is};
use super::scan::{Scan, Watch, is_word};
use super::spans::closes;
use super::window::{Window, below, from};

/// May end a value.
const VALUE: u8 = 1;
/// Ends a URL.
const URL: u8 = 2;
/// Ends a value that holds no bracket.
const PLAIN: u8 = 4;
static ENDS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            0..=b' ' | 0x7f | b'"' | b'\'' | b'`' | b'>' | b']' | b'}' | b',' | b';' | b'|' | b')' => {
                VALUE | URL | PLAIN
            }
            b'[' | b'{' => VALUE | URL,
            b'&' => VALUE | PLAIN,
            b'(' => VALUE,
            b'<' => URL,
            _ => 0,
        };
        byte += 1;
    }
    table
};

#[inline]
fn is_quote(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`')
}

impl<W: Watch> Scan<'_, W> {
    /// A byte with a rule of its own, outside of a run; returns where the text goes on.
    #[inline(always)]
    pub(super) fn mark(&mut self, window: &Window, i: usize) -> usize {
        let at = window.base + i;
        match self.plain_value(window, i) {
            Some(end) => {
                self.push("value", at + 1, end);
                end
            }
            None => self.other_mark(at),
        }
    }

    /// Where the value behind `=` ends, if it begins there and is made of run bytes that do not end one.
    #[inline(always)]
    fn plain_value(&self, window: &Window, i: usize) -> Option<usize> {
        let line = self.line;
        let at = window.base + i;
        let end = (!window.run & from(i + 1)).trailing_zeros() as usize;
        if line.at(at) != b'=' || !is_word(line.at(at - 1)) || end > 63 {
            return None;
        }
        let behind = line.at(window.base + end);
        let is_plain = if end > i + 1 {
            // Of the signs, `&` ends a value.
            let signs = window.leads() & !window.point & from(i + 1) & below(end);
            ENDS[behind as usize] & PLAIN != 0 && (signs == 0 || !line.bytes(at, window.base + end).contains(&b'&'))
        } else {
            behind == b' ' && !is_quote(line.at(at + 2))
        };
        is_plain.then_some(window.base + end)
    }

    fn other_mark(&mut self, at: usize) -> usize {
        let line = self.line;
        match line.at(at) {
            b'=' => self.equals(at),
            b'<' if is(line.at(at + 1), 1 << LETTER) => {
                let mut end = at + 1;
                while end < line.end() && !matches!(line.at(end), b'<' | b'>' | b'=') {
                    end += 1;
                }
                if line.at(end) != b'>' {
                    return at + 1;
                }
                self.push("placeholder", at, end + 1);
                self.resume(end + 1)
            }
            b'(' | b'[' | b'{' => self.empty(at),
            _ if is_quote(line.at(at)) => self.quoted(at),
            _ => at + 1,
        }
    }

    /// Brackets with nothing inside stand for what is not there.
    fn empty(&mut self, at: usize) -> usize {
        let line = self.line;
        let behind = line.at(at + 2);
        let stands_alone = line.at(at - 1) == b' ' && (is(behind, 1 << SPACE) || matches!(behind, b',' | b';' | b':'));
        if stands_alone && closes(line.at(at), line.at(at + 1)) {
            self.push("empty brackets", at, at + 2);
            return at + 2;
        }
        at + 1
    }

    /// A quoted text, if it is closed.
    fn quoted(&mut self, at: usize) -> usize {
        let line = self.line;
        if is_word(line.at(at - 1)) {
            return at + 1;
        }
        let Some(end) = self.quote_end(at) else { return at + 1 };
        if line.at(end) == b':' {
            let before = if line.at(at - 1) == b' ' { line.at(at - 2) } else { line.at(at - 1) };
            if matches!(before, b'{' | b',') {
                return end;
            }
        }
        let mut verb = at + 1;
        while line.at(verb).is_ascii_uppercase() {
            verb += 1;
        }
        let is_request = (3..=7).contains(&(verb - at - 1)) && line.at(verb) == b' ' && verb + 2 < end;
        self.push("quoted", if is_request { verb + 1 } else { at }, end);
        self.resume(end)
    }

    /// Behind the quote that closes the one at `at`, and behind those that follow it at once.
    fn quote_end(&mut self, at: usize) -> Option<usize> {
        let line = self.line;
        let quote = line.at(at);
        let kind = usize::from(quote & 1) + usize::from(quote == b'`') * 2;
        if self.open_quotes[kind] {
            return None;
        }
        for i in at + 1..line.end() {
            if line.at(i) == quote && line.at(i - 1) != b'\\' && !is_word(line.at(i + 1)) {
                let more = (i + 1..line.end()).take_while(|&i| line.at(i) == quote).count();
                return Some(i + 1 + more);
            }
        }
        self.open_quotes[kind] = true;
        None
    }

    /// What stands behind `=` and a name is a value.
    fn equals(&mut self, at: usize) -> usize {
        let line = self.line;
        let (before, behind) = (line.at(at - 1), line.at(at + 1));
        let is_spaced = before == b' ' && behind == b' ' && is_word(line.at(at - 2)) && is(line.at(at + 2), 1 << RUN);
        let is_named = is_word(before) || matches!(before, b']' | b')');
        if !is_spaced && (!is_named || matches!(behind, b'=' | b'>' | b'{' | b'[' | b'(' | b'<')) {
            return at + 1;
        }
        let mut start = at + 1 + usize::from(is_spaced);
        let quote = start + usize::from(!is_spaced && behind == b' ');
        let mut end = None;
        if is_quote(line.at(quote)) {
            end = self.quote_end(quote);
            if end.is_some() {
                start = quote;
            }
        }
        let end = end.unwrap_or_else(|| self.value_end(start));
        self.push("value", start, end);
        self.resume(end)
    }

    /// Where an unquoted value ends: at a space, a quote, or a mark outside of brackets that it opened.
    fn value_end(&self, start: usize) -> usize {
        let line = self.line;
        let mut depth = 0;
        let mut end = start;
        loop {
            // Behind the text stand spaces.
            while ENDS[line.at(end) as usize] & VALUE == 0 {
                end += 1;
            }
            match line.at(end) {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' if depth > 0 => depth -= 1,
                b',' | b';' | b'|' | b'&' | b'>' if depth > 0 => {}
                _ => return end,
            }
            end += 1;
        }
    }

    /// Where a URL ends; sentence marks at its end do not belong to it.
    fn url_end(&self, start: usize) -> usize {
        let line = self.line;
        let mut end = start;
        while ENDS[line.at(end) as usize] & URL == 0 {
            end += 1;
        }
        while matches!(line.at(end - 1), b'.' | b':' | b'!' | b'?') {
            end -= 1;
        }
        end
    }

    /// A URL or a path with a query from `start`, of which `from` on varies; returns where the text goes on.
    pub(super) fn url(&mut self, rule: &'static str, start: usize, from: usize) -> usize {
        let end = self.url_end(start);
        self.push(rule, from, end);
        self.resume(end)
    }

    /// Whether the run begins with a scheme and `://`, and goes on.
    pub(super) fn is_url(&self, start: usize, end: usize) -> bool {
        let line = self.line;
        let mut i = start;
        while i < end
            && (is(line.at(i), 1 << LETTER)
                || i > start && (is(line.at(i), 1 << DIGIT) || matches!(line.at(i), b'+' | b'.' | b'-')))
        {
            i += 1;
        }
        i > start && i + 3 < end && line.bytes(i, i + 3) == b"://"
    }
}
