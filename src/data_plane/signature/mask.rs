//! The mask: what varies in a line becomes `<*>`.
//!
//! Purpose: one pass over the bytes of a text that writes its template (`spec/signature.md`, "The mask").
//! Promises: total (any bytes have a template), exact (the specification is this algorithm in words), linear in the
//! text, no regex, no allocation.
//! Never: knows where the text came from, or keeps anything between texts.

use super::words::{is_unit, is_variable_word};

/// Stands for one or more adjacent variable parts.
pub const VARIABLE: &[u8; 3] = b"<*>";

/// Bytes of a text that are looked at; a longer text is cut here, at a UTF-8 boundary.
pub const MAX_TEXT_BYTES: usize = 1024;

/// Room for a template. The densest text is `1=&` repeated, 3 bytes for 8, so a template stays below 3 x
/// [`MAX_TEXT_BYTES`]; a power of two lets an index be masked instead of checked.
const ROOM: usize = 4096;

const LETTER: u8 = 1;
const DIGIT: u8 = 2;
const WORD: u8 = LETTER | DIGIT;
/// Space and control bytes. Line ends are among them only in the blank bytes before the text.
const SPACE: u8 = 4;
/// May stand between variables that are joined into one.
const SEPARATOR: u8 = 8;
/// `=`, `:`, `@`, `/`: bytes with a rule of their own.
const SPECIAL: u8 = 32;
/// Continues a path or URL.
const URL: u8 = 64;
/// Ends an unquoted value after `=`.
const VALUE_END: u8 = 128;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let class = match b {
            0..=b' ' | 0x7f => SPACE | VALUE_END,
            b'0'..=b'9' => DIGIT | URL,
            b'A'..=b'Z' | b'a'..=b'z' | 0x80..=0xff => LETTER | URL,
            b':' | b'@' | b'/' => SPECIAL | SEPARATOR | URL,
            b'=' => SPECIAL | URL,
            b'.' | b'-' | b'\\' | b'+' | b'_' | b'#' | b'%' => SEPARATOR | URL,
            b',' | b';' | b'|' => SEPARATOR | VALUE_END,
            b'&' => URL | VALUE_END,
            b')' | b']' | b'}' | b'>' | b'"' | b'\'' => VALUE_END,
            b'!' | b'$' | b'*' | b'?' | b'^' | b'~' => URL,
            _ => 0,
        };
        table[byte] = class;
        byte += 1;
    }
    table
}

#[inline]
fn class(byte: u8) -> u8 {
    CLASS[byte as usize]
}

/// A buffer that templates are written to, one after the other.
#[derive(Debug)]
pub struct Template {
    bytes: Box<[u8; ROOM]>,
    len: usize,
    /// Length just after the last variable, while only separators followed it; else [`NONE`].
    gap: usize,
}

const NONE: usize = usize::MAX;

impl Default for Template {
    fn default() -> Self {
        Template { bytes: Box::new([0; ROOM]), len: 0, gap: NONE }
    }
}

impl Template {
    /// The template written last.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(ROOM)]
    }

    /// Writes the template of `text`, which may hold several lines: the first one that is not blank counts.
    pub fn write(&mut self, text: &[u8]) {
        self.len = 0;
        self.gap = NONE;
        let text = first_line(text);
        let mut i = 0;
        while i < text.len() {
            let class = class(text[i]);
            i = if class & WORD != 0 {
                self.words(text, i)
            } else if class & (SPACE | SEPARATOR | SPECIAL) == 0 {
                self.put(text[i]);
                self.gap = NONE;
                i + 1
            } else if class & SPACE != 0 {
                self.space(text, i)
            } else if class & SPECIAL != 0 {
                self.special(text, i)
            } else {
                self.put(text[i]);
                i + 1
            };
        }
        if self.last() == Some(b' ') {
            self.len -= 1;
        }
    }

    #[inline]
    fn put(&mut self, byte: u8) {
        self.bytes[self.len & (ROOM - 1)] = byte;
        self.len += 1;
    }

    #[inline]
    fn last(&self) -> Option<u8> {
        self.bytes().last().copied()
    }

    /// Writes a variable, or extends the one before if only separators stand between.
    #[inline]
    fn variable(&mut self) {
        if self.gap != NONE {
            self.len = self.gap;
            return;
        }
        if let [before @ .., b'-' | b'+'] = self.bytes()
            && before.last().is_none_or(|&b| class(b) & LETTER == 0)
        {
            self.len -= 1;
        }
        VARIABLE.iter().for_each(|&b| self.put(b));
        self.gap = self.len;
    }

    #[inline]
    fn space(&mut self, text: &[u8], mut i: usize) -> usize {
        while i < text.len() && class(text[i]) & SPACE != 0 {
            i += 1;
        }
        self.put(b' ');
        i
    }

    /// Words with one space between, the commonest stretch of a line, without asking for each byte's class; returns
    /// where the text goes on.
    #[inline]
    fn words(&mut self, text: &[u8], mut i: usize) -> usize {
        loop {
            i = self.word(text, i);
            match text.get(i..i + 2) {
                Some(&[b' ', next]) if class(next) & WORD != 0 => self.put(b' '),
                _ => return i,
            }
            i += 1;
        }
    }

    /// A run of letters and digits; returns where the text goes on.
    #[inline]
    fn word(&mut self, text: &[u8], start: usize) -> usize {
        let begin = self.len;
        // Locals, so that the length is not stored for each byte (benches/hot_path.rs, signature).
        let (mut i, mut len, mut digits) = (start, begin, 0);
        let out = &mut *self.bytes;
        let mut is_open = true;
        while is_open && let (Some(bytes), Some(room)) = (first_eight(text, i), out.get_mut(len..len + 8)) {
            room.copy_from_slice(bytes);
            let run = Run::of(*bytes);
            digits |= run.digits;
            i += run.len;
            len += run.len;
            is_open = run.len == 8;
        }
        while is_open && let Some(&byte) = text.get(i).filter(|&&byte| class(byte) & WORD != 0) {
            digits |= u64::from(class(byte) & DIGIT);
            out[len & (ROOM - 1)] = byte;
            i += 1;
            len += 1;
        }
        self.len = len;
        if digits != 0 {
            self.len = begin;
            self.variable();
            return i;
        }
        let next = text.get(i).copied().unwrap_or(b' ');
        let word = &text[start..i];
        let plain = self.gap == NONE && next != b':' && next != b'-';
        if (plain || !self.is_marked(text, start, i, begin)) && !is_variable_word(word) {
            self.gap = NONE;
            return i;
        }
        self.len = begin;
        let end = self.marked_end(text, start, i);
        self.variable();
        end
    }

    /// Whether what stands around a word of letters makes it part of a variable: URL, drive, hex groups, unit, the rest
    /// of a dotted or underscored name that began with a variable.
    fn is_marked(&self, text: &[u8], start: usize, end: usize, begin: usize) -> bool {
        let word = &text[start..end];
        if self.gap != NONE {
            let between = &self.bytes()[self.gap..begin];
            if matches!(between, b"." | b"_") || (between == b" " && is_unit(word)) {
                return true;
            }
            let joined = !between.is_empty() && between.iter().all(|b| matches!(b, b'-' | b':'));
            if joined && is_hex_group(word) {
                return true;
            }
        }
        url_start(text, start, end) || (is_hex_group(word) && hex_run_end(text, start) > end)
    }

    /// Where the variable ends that a word of letters begins.
    #[inline]
    fn marked_end(&self, text: &[u8], start: usize, end: usize) -> usize {
        if url_start(text, start, end) {
            return url_end(text, start);
        }
        if is_hex_group(&text[start..end]) { hex_run_end(text, start).max(end) } else { end }
    }

    fn special(&mut self, text: &[u8], i: usize) -> usize {
        let before = if i == 0 { 0 } else { class(text[i - 1]) };
        let next = text.get(i + 1).copied().unwrap_or(b' ');
        match text[i] {
            b'=' => return self.equals(text, i, next),
            b'/' if before & WORD == 0
                && !matches!(text[..i].last(), Some(b'<' | b'/'))
                && (class(next) & WORD != 0 || matches!(next, b'.' | b'_')) =>
            {
                self.variable();
                return url_end(text, i);
            }
            b':' if before & LETTER != 0 && class(next) & DIGIT != 0 => {
                let name = self.name_start();
                if self.bytes()[name..].iter().skip(1).any(|&b| b == b'.') {
                    self.cut(name);
                    self.variable();
                }
            }
            b':' if i > 0 && matches!(text[i - 1], b'"' | b'\'') => return self.quoted_pair(text, i),
            b'@' if before & WORD != 0 && class(next) & WORD != 0 => {
                self.cut(self.name_start());
                self.variable();
                return address_end(text, i + 1);
            }
            _ => {}
        }
        self.put(text[i]);
        i + 1
    }

    /// `=`: what follows a name is a value.
    fn equals(&mut self, text: &[u8], i: usize, next: u8) -> usize {
        self.put(b'=');
        self.gap = NONE;
        let named = i > 0 && (class(text[i - 1]) & WORD != 0 || text[i - 1] == b'_');
        if !named || matches!(next, b'=' | b'>' | b'{' | b'[' | b'(' | b'<') {
            return i + 1;
        }
        self.variable();
        value_end(text, i + 1)
    }

    /// `"key": "value"`, as JSON and Python print it: the value varies, unless it is not quoted like the key.
    fn quoted_pair(&mut self, text: &[u8], i: usize) -> usize {
        let spaced = text.get(i + 1) == Some(&b' ');
        let start = i + 1 + usize::from(spaced);
        self.put(b':');
        if text.get(start) != Some(&text[i - 1]) {
            return i + 1;
        }
        let end = value_end(text, start);
        if end == start {
            return i + 1;
        }
        if spaced {
            self.put(b' ');
        }
        self.gap = NONE;
        self.variable();
        end
    }

    /// Where the dotted name at the end of the template begins: letters, `.`, `-`, `_` and variables.
    fn name_start(&self) -> usize {
        let mut rest = self.bytes();
        loop {
            rest = match rest {
                [head @ .., b'<', b'*', b'>'] => head,
                [head @ .., last] if class(*last) & LETTER != 0 || matches!(last, b'.' | b'-' | b'_') => head,
                _ => return rest.len(),
            };
        }
    }

    /// Cuts the template back to `len` and finds out again whether it ends with a variable and separators.
    fn cut(&mut self, len: usize) {
        self.len = len;
        let rest = self.bytes();
        let separators = rest.iter().rev().take_while(|&&b| b == b' ' || class(b) & SEPARATOR != 0).count();
        let end = rest.len() - separators;
        self.gap = if rest[..end].ends_with(VARIABLE) { end } else { NONE };
    }
}

/// The word bytes that eight bytes begin with, found without a branch a byte: where words end is what a processor
/// predicts worst. The same classes as [`CLASS`] (held equal by a test).
struct Run {
    /// How many, 0 to 8.
    len: usize,
    /// Not 0 if there is a digit among them.
    digits: u64,
}

impl Run {
    #[inline]
    fn of(bytes: [u8; 8]) -> Run {
        const HIGH: u64 = 0x8080_8080_8080_8080;
        const fn every(byte: u8) -> u64 {
            0x0101_0101_0101_0101 * byte as u64
        }
        let bytes = u64::from_le_bytes(bytes);
        let low = bytes & !HIGH;
        // Adding 0x80 - n sets a byte's high bit from n on; no carry leaves a byte, because its high bit was clear.
        let within = |x: u64, first: u8, last: u8| (x + every(0x80 - first)) & !(x + every(0x7f - last));
        let digit = within(low, b'0', b'9') & !bytes & HIGH;
        let letter = within(low | every(0x20), b'a', b'z') | bytes;
        let end = !(letter | digit) & HIGH;
        let before_end = end.wrapping_sub(1) & !end;
        Run { len: end.trailing_zeros() as usize / 8, digits: digit & before_end }
    }
}

#[inline]
fn first_eight(text: &[u8], from: usize) -> Option<&[u8; 8]> {
    text.get(from..)?.first_chunk()
}

/// The first line of `text` that is not blank, without the blank bytes before it, cut to [`MAX_TEXT_BYTES`].
#[inline]
fn first_line(text: &[u8]) -> &[u8] {
    let blank = text.iter().take_while(|&&b| class(b) & SPACE != 0).count();
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

/// Whether the letters at `start..end` begin `scheme://` or a drive such as `C:\`.
#[inline]
fn url_start(text: &[u8], start: usize, end: usize) -> bool {
    let rest = &text[end..];
    rest.starts_with(b"://") || (end - start == 1 && rest.starts_with(b":\\"))
}

/// Where a path or URL ends that begins at `start`; sentence marks at its end do not belong to it.
fn url_end(text: &[u8], start: usize) -> usize {
    let len = text[start..].iter().take_while(|&&b| class(b) & URL != 0).count();
    let mut end = start + len;
    while end > start + 1 && matches!(text[end - 1], b'.' | b':' | b'!' | b'?') {
        end -= 1;
    }
    end
}

fn address_end(text: &[u8], start: usize) -> usize {
    let in_address = |b: u8| class(b) & WORD != 0 || matches!(b, b'.' | b'-' | b'_');
    let mut end = start + text[start..].iter().take_while(|&&b| in_address(b)).count();
    while matches!(text[end - 1], b'.' | b'-') {
        end -= 1;
    }
    end
}

/// Where the value ends that begins at `start`, behind the closing quote if it is quoted.
fn value_end(text: &[u8], start: usize) -> usize {
    if let Some(&quote @ (b'"' | b'\'')) = text.get(start) {
        let mut i = start + 1;
        while i < text.len() {
            match text[i] {
                b'\\' => i += 1,
                b if b == quote => return i + 1,
                _ => {}
            }
            i += 1;
        }
        return start;
    }
    start + text[start..].iter().take_while(|&&b| class(b) & VALUE_END == 0).count()
}

/// Groups as in UUIDs, MAC and IPv6 addresses.
fn is_hex_group(word: &[u8]) -> bool {
    matches!(word.len(), 2 | 4 | 8 | 12) && word.iter().all(u8::is_ascii_hexdigit)
}

/// Where the run of hex digits, `-` and `:` from `start` ends, if it holds a digit and no letter follows; else `start`.
fn hex_run_end(text: &[u8], start: usize) -> usize {
    let in_run = |b: u8| b.is_ascii_hexdigit() || matches!(b, b'-' | b':');
    let mut end = start + text[start..].iter().take_while(|&&b| in_run(b)).count();
    if text.get(end).is_some_and(|&b| class(b) & WORD != 0) || !text[start..end].iter().any(u8::is_ascii_digit) {
        return start;
    }
    while matches!(text[end - 1], b'-' | b':') {
        end -= 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_eight_know_the_same_classes() {
        for byte in 0..=255u8 {
            for at in 0..8 {
                let mut bytes = *b"xxxxxxxx";
                bytes[at] = byte;
                let run = Run::of(bytes);
                let is_word = class(byte) & WORD != 0;
                assert_eq!(run.len, if is_word { 8 } else { at }, "{byte:x}");
                assert_eq!(run.digits != 0, class(byte) & DIGIT != 0, "{byte:x}");
                bytes[0] = b' ';
                assert_eq!(
                    (Run::of(bytes).len, Run::of(bytes).digits),
                    (0, 0),
                    "a digit behind the end does not count"
                );
            }
        }
    }
}
