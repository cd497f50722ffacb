//! A line as sets of byte positions.
//!
//! Purpose: hold one line of text between spaces, and for each class of bytes (`spec/signature.md`, 2.2) its positions as
//! bits, so that the end of a word, or whether only separators stand between, takes a few instructions to find.
//! Promises: bounded, a line has at most [`MAX_TEXT_BYTES`]; 64 bytes take the same time whatever they are. The sets come
//! from `avx2` where the processor has it, from [`portable`] elsewhere (a test holds them equal).
//! Never: decides what varies.

/// Bytes of a text that are looked at; a longer text is cut here, at a UTF-8 boundary.
pub const MAX_TEXT_BYTES: usize = 1024;

/// Spaces before the text, so that looking back needs no check. A whole block, so that blocks of the text are blocks here.
pub(super) const FRONT: usize = BLOCK;
const BLOCK: usize = 64;

/// Room for [`FRONT`], the text, and spaces behind it. A power of two: an index can be masked instead of checked. A block
/// more stands behind, so that what begins at a masked index can be read without asking.
const ROOM: usize = 2048;
/// Bytes of a set, and eight more: any position can be read with the 56 behind it.
const SET: usize = ROOM / 8 + 8;
type Set = [u8; SET];

/// Positions that [`Line::bits`] tells of.
pub(super) const SEEN: usize = 57;

/// Number of classes.
pub(super) const CLASSES: usize = 8;

/// Continues a run: letters, digits and the marks that stand inside of names, numbers, paths and addresses.
pub(super) const RUN: usize = 0;
/// `A-Z`, `a-z`, and every byte of a character that is not ASCII.
pub(super) const LETTER: usize = 1;
/// `0-9`.
pub(super) const DIGIT: usize = 2;
/// Space and control bytes.
pub(super) const SPACE: usize = 3;
/// May stand between variables that are joined into one. Spaces are among them.
pub(super) const SEPARATOR: usize = 4;
/// A quote, `=` or `<`: has a rule of its own. Of spaces: is not the byte 0x20. Of letters: is `E`, with which the end of
/// an exception's name begins. Of other run bytes: is one of `. - + # % & ? ! ^ : $ ~`, which may be cut off in front of a
/// name or number, some of them also behind it.
pub(super) const EVENT: usize = 5;
/// `.` or `:`. Of bytes that do not continue a run: an opening bracket.
pub(super) const POINT: usize = 6;
/// `/`, `\` or `@`. Of bytes that do not continue a run: a closing bracket.
pub(super) const SLASH: usize = 7;

/// The classes of each byte, a bit for each.
pub(super) const TABLE: [u8; 256] = classes();
static CLASS: [u8; 256] = TABLE;

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let run = 1 << RUN;
        let separator = 1 << SEPARATOR;
        table[byte] = match b {
            b' ' => 1 << SPACE | separator,
            0..=0x1f | 0x7f => 1 << SPACE | separator | 1 << EVENT,
            b'0'..=b'9' => run | 1 << DIGIT,
            b'E' => run | 1 << LETTER | 1 << EVENT,
            b'A'..=b'Z' | b'a'..=b'z' | 0x80..=0xff => run | 1 << LETTER,
            b'.' | b':' => run | separator | 1 << EVENT | 1 << POINT,
            b'/' | b'\\' | b'@' => run | separator | 1 << SLASH,
            b'_' => run | separator,
            b'-' | b'+' | b'#' | b'$' | b'%' | b'~' | b'&' => run | separator | 1 << EVENT,
            b'!' | b'?' | b'^' => run | 1 << EVENT,
            b',' | b';' | b'|' => separator,
            b'"' | b'\'' | b'`' | b'=' | b'<' => 1 << EVENT,
            b'(' | b'[' | b'{' => 1 << POINT,
            b')' | b']' | b'}' => 1 << SLASH,
            _ => 0,
        };
        byte += 1;
    }
    table
}

/// Whether `byte` is of one of the classes `classes` (bits).
#[inline]
pub(super) fn is(byte: u8, classes: u8) -> bool {
    CLASS[byte as usize] & classes != 0
}

/// One line. Positions count from the start of the padding: the text stands at [`FRONT`]`..`[`Line::end`].
#[derive(Debug)]
pub(super) struct Line {
    bytes: Box<[u8; ROOM + BLOCK]>,
    /// For each class, a bit for each position.
    sets: Box<[Set; CLASSES]>,
    end: usize,
    is_even: bool,
}

impl Default for Line {
    fn default() -> Self {
        let sets = Box::new([[0; SET]; CLASSES]);
        let mut line = Line { bytes: Box::new([b' '; ROOM + BLOCK]), sets, end: FRONT, is_even: true };
        line.put(0, SPACES);
        line
    }
}

impl Line {
    /// Takes the first line of a text of at most [`MAX_TEXT_BYTES`]. `classify` tells the sets of a block.
    #[inline(always)]
    pub(super) fn set(&mut self, text: &[u8], classify: impl Fn(&[u8; BLOCK]) -> [u64; CLASSES]) {
        let text = &text[..text.len().min(MAX_TEXT_BYTES)];
        self.end = FRONT + text.len();
        let (blocks, rest) = text.as_chunks::<BLOCK>();
        let mut odd = 0;
        let mut space_before = 0;
        let mut block = FRONT / BLOCK;
        for bytes in blocks {
            if let Some(room) = self.bytes.as_chunks_mut::<BLOCK>().0.get_mut(block) {
                *room = *bytes;
            }
            let sets = classify(bytes);
            self.put(block, sets);
            let controls = sets[SPACE] & sets[EVENT];
            odd |= sets[SPACE] & (sets[SPACE] << 1 | space_before) | controls;
            space_before = sets[SPACE] >> 63;
            if controls != 0 && self.cut(block, controls) {
                self.is_even = false;
                return;
            }
            block += 1;
        }
        self.put_end(text);
        let sets = classify(self.chunk(block * BLOCK));
        self.put(block, sets);
        self.put(block + 1, SPACES);
        let in_rest = first(rest.len());
        let controls = sets[SPACE] & sets[EVENT] & in_rest;
        odd |= (sets[SPACE] & (sets[SPACE] << 1 | space_before) | controls) & in_rest;
        self.is_even = odd == 0;
        if controls != 0 {
            self.cut(block, controls);
        }
    }

    /// Puts the last bytes of a text, a block of them if there are as many, and spaces behind them.
    #[inline(always)]
    fn put_end(&mut self, text: &[u8]) {
        match text.last_chunk::<BLOCK>() {
            Some(last) => self.bytes[self.end - BLOCK..self.end].copy_from_slice(last),
            None => self.bytes[FRONT..self.end].copy_from_slice(text),
        }
        self.bytes[self.end..self.end + BLOCK].fill(b' ');
    }

    /// Ends the line at the first LF or CR among the `controls` of a block, if there is one.
    #[cold]
    fn cut(&mut self, block: usize, mut controls: u64) -> bool {
        while controls != 0 {
            let in_block = controls.trailing_zeros() as usize;
            let end = block * BLOCK + in_block;
            if matches!(self.at(end), b'\n' | b'\r') {
                self.end = end;
                self.bytes[end..end + BLOCK].fill(b' ');
                let mut sets = SPACES;
                for (class, set) in sets.iter_mut().enumerate() {
                    *set = *set & !first(in_block) | self.from(class, block * BLOCK) & first(in_block);
                }
                self.put(block, sets);
                self.put(block + 1, SPACES);
                return true;
            }
            controls &= controls - 1;
        }
        false
    }

    /// Writes the sets of a block.
    #[inline(always)]
    fn put(&mut self, block: usize, sets: [u64; CLASSES]) {
        for (set, bits) in self.sets.iter_mut().zip(sets) {
            if let Some(room) = set[block * 8 & (ROOM / 8 - 1)..].first_chunk_mut() {
                *room = bits.to_le_bytes();
            }
        }
    }

    /// Whether every space of the line is one byte 0x20 alone.
    #[inline]
    pub(super) fn is_even(&self) -> bool {
        self.is_even
    }

    #[inline]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    #[inline]
    pub(super) fn at(&self, i: usize) -> u8 {
        self.bytes[i & (ROOM - 1)]
    }

    #[inline]
    pub(super) fn bytes(&self, start: usize, end: usize) -> &[u8] {
        self.bytes.get(start..end).unwrap_or(&[])
    }

    /// `N` bytes from `i` on, at most a block.
    #[inline]
    pub(super) fn chunk<const N: usize>(&self, i: usize) -> &[u8; N] {
        self.bytes[i & (ROOM - 1)..].first_chunk().unwrap_or(&[b' '; N])
    }

    /// The eight bytes before `end`.
    #[inline]
    pub(super) fn tail(&self, end: usize) -> &[u8; 8] {
        self.bytes[(end & (ROOM - 1)).saturating_sub(8)..].first_chunk().unwrap_or(&[b' '; 8])
    }

    /// The members of a class among the 64 positions from `base` on, a multiple of eight.
    #[inline]
    pub(super) fn from(&self, class: usize, base: usize) -> u64 {
        u64::from_le_bytes(*eight(&self.sets[class], base / 8))
    }

    /// The members of a class among the [`SEEN`] positions from `i` on; bit 0 is `i`. Higher bits mean nothing.
    #[inline]
    pub(super) fn bits(&self, class: usize, i: usize) -> u64 {
        u64::from_le_bytes(*eight(&self.sets[class], i / 8)) >> (i % 8)
    }

    /// The end of the run of members of `class` from `i` on.
    #[inline]
    pub(super) fn run_end(&self, class: usize, mut i: usize) -> usize {
        loop {
            let len = (!self.bits(class, i)).trailing_zeros() as usize;
            if len < SEEN {
                return i + len;
            }
            i += SEEN;
        }
    }

    /// The first place from `i` on where two members of `class` stand side by side, or one from `end` on.
    pub(super) fn next_pair(&self, class: usize, mut i: usize, end: usize) -> usize {
        while i < end {
            let members = self.bits(class, i);
            let first_pair = (members & members >> 1).trailing_zeros() as usize;
            if first_pair < SEEN - 1 {
                return i + first_pair;
            }
            i += SEEN - 1;
        }
        end
    }

    /// Whether a member of `class` stands in `start..end`.
    #[inline]
    pub(super) fn any(&self, class: usize, start: usize, end: usize) -> bool {
        let mut i = start;
        while i + SEEN < end {
            if self.bits(class, i) & first(SEEN) != 0 {
                return true;
            }
            i += SEEN;
        }
        self.bits(class, i) & first(end - i) != 0
    }
}

#[inline]
fn eight(set: &Set, i: usize) -> &[u8; 8] {
    set[i & (ROOM / 8 - 1)..].first_chunk().unwrap_or(&[0; 8])
}

/// The lowest `n` bits, `n` at most 64.
#[inline]
pub(super) fn first(n: usize) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// The sets of a block of spaces.
const SPACES: [u64; CLASSES] = [0, 0, 0, u64::MAX, u64::MAX, 0, 0, 0];

/// The sets of one block, by looking the classes of each byte up and turning 64 times 8 bits around.
pub(super) fn portable(bytes: &[u8; BLOCK]) -> [u64; CLASSES] {
    let mut rows = [0u64; CLASSES];
    let (eights, _) = bytes.as_chunks::<8>();
    for (row, bytes) in rows.iter_mut().zip(eights) {
        *row = turn_bits(u64::from_le_bytes(bytes.map(|byte| CLASS[byte as usize])));
    }
    turn_bytes(rows)
}

/// Exchanges bit `i` of byte `j` with bit `j` of byte `i`.
#[inline]
fn turn_bits(mut x: u64) -> u64 {
    for (shift, mask) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)] {
        let change = (x ^ x >> shift) & mask;
        x ^= change ^ change << shift;
    }
    x
}

/// Exchanges byte `i` of row `j` with byte `j` of row `i`.
#[inline]
fn turn_bytes(mut rows: [u64; CLASSES]) -> [u64; CLASSES] {
    for (distance, shift, mask) in
        [(4, 32, 0x0000_0000_ffff_ffff), (2, 16, 0x0000_ffff_0000_ffff), (1, 8, 0x00ff_00ff_00ff_00ff)]
    {
        let mut i = 0;
        while i < 8 {
            if i & distance == 0 {
                let change = (rows[i] >> shift ^ rows[i + distance]) & mask;
                rows[i + distance] ^= change;
                rows[i] ^= change << shift;
            }
            i += 1;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_the_table_says() {
        let mut line = Line::default();
        for shift in 0..7 {
            let text: Vec<u8> = (0..600).map(|i| ((i * 7 + shift) % 256) as u8).collect();
            line.set(&text, portable);
            for i in 0..line.end() + 64 {
                for class in 0..CLASSES {
                    let is = line.bits(class, i) & 1 != 0;
                    assert_eq!(is, TABLE[line.at(i) as usize] >> class & 1 != 0, "class {class} at {i}");
                }
            }
        }
    }

    #[test]
    fn a_line_ends_at_its_first_line_end() {
        let mut line = Line::default();
        for (end, mark) in [(0, b'\n'), (1, b'\r'), (63, b'\n'), (64, b'\n'), (70, b'\r'), (130, b'\n')] {
            let mut text = vec![b'x'; 200];
            (text[end], text[end + 3]) = (mark, b'\n');
            line.set(&text, portable);
            assert_eq!((line.end(), line.run_end(RUN, FRONT)), (FRONT + end, FRONT + end));
            assert!((FRONT + end..FRONT + end + 64).all(|i| line.at(i) == b' ' && line.bits(SPACE, i) & 1 != 0));
        }
    }

    #[test]
    fn a_line_is_even_without_rows_of_spaces_and_other_spaces() {
        let mut line = Line::default();
        for (at, spaces, is_even) in
            [(3, " ", true), (3, "  ", false), (63, "  ", false), (63, " ", true), (9, "\t", false)]
        {
            line.set(format!("{}{spaces}b", "a".repeat(at)).as_bytes(), portable);
            assert_eq!(line.is_even(), is_even, "{spaces:?} at {at}");
        }
    }

    #[test]
    fn a_run_ends_where_its_last_member_stands() {
        let mut line = Line::default();
        for len in [1, 56, 57, 58, 63, 64, 65, 500, MAX_TEXT_BYTES] {
            line.set(&vec![b'x'; len], portable);
            assert_eq!(line.run_end(RUN, FRONT), FRONT + len);
            assert!(line.any(SPACE, FRONT, line.end() + 1) && !line.any(SPACE, FRONT, line.end()));
        }
    }
}
