//! A line as sets of byte positions.
//!
//! Purpose: hold one line of text between spaces, and for each class of bytes (`spec/signature.md`, 2.2) its positions as
//! bits, so that the end of a word, or whether only separators stand between, takes a few instructions to find.
//! Promises: bounded, a line has at most [`MAX_TEXT_BYTES`]; no branch depends on a byte; AVX2 where the processor has
//! it, plain arithmetic elsewhere, with the same result (a test holds them equal).
//! Never: decides what varies.

/// Bytes of a text that are looked at; a longer text is cut here, at a UTF-8 boundary.
pub const MAX_TEXT_BYTES: usize = 1024;

/// Spaces before the text, so that looking back needs no check.
pub(super) const FRONT: usize = 16;

/// Room for [`FRONT`], the text, and spaces behind it. A power of two: an index can be masked instead of checked.
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
/// A quote, `=` or `<`: has a rule of its own. Of spaces: is not the byte 0x20.
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
            b'A'..=b'Z' | b'a'..=b'z' | 0x80..=0xff => run | 1 << LETTER,
            b'.' | b':' => run | separator | 1 << POINT,
            b'/' | b'\\' | b'@' => run | separator | 1 << SLASH,
            b'-' | b'+' | b'_' | b'#' | b'$' | b'%' | b'~' | b'&' => run | separator,
            b'!' | b'?' | b'^' => run,
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
    bytes: Box<[u8; ROOM]>,
    /// For each class, a bit for each position.
    sets: Box<[Set; CLASSES]>,
    end: usize,
}

impl Default for Line {
    fn default() -> Self {
        Line { bytes: Box::new([b' '; ROOM]), sets: Box::new([[0; SET]; CLASSES]), end: FRONT }
    }
}

impl Line {
    /// Takes a text of at most [`MAX_TEXT_BYTES`].
    #[inline]
    pub(super) fn set(&mut self, text: &[u8]) {
        let text = &text[..text.len().min(MAX_TEXT_BYTES)];
        self.end = FRONT + text.len();
        let blocks = self.end / 64 + 1;
        // What stands behind the text in its last block.
        self.bytes[FRONT..FRONT + text.len()].copy_from_slice(text);
        self.bytes[self.end..self.end + 64].fill(b' ');
        let (bytes, _) = self.bytes.as_chunks::<64>();
        classify(&bytes[..blocks], &mut self.sets);
        put_all(&mut self.sets, blocks, SPACES);
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

    /// Sixteen bytes from `i` on.
    #[inline]
    pub(super) fn chunk(&self, i: usize) -> &[u8; 16] {
        self.bytes[i & (ROOM - 1)..].first_chunk().unwrap_or(&[b' '; 16])
    }

    /// The eight bytes before `end`.
    #[inline]
    pub(super) fn tail(&self, end: usize) -> &[u8; 8] {
        self.bytes[(end & (ROOM - 1)).saturating_sub(8)..].first_chunk().unwrap_or(&[b' '; 8])
    }

    /// The members of a class among the positions `block * 64..`.
    #[inline]
    pub(super) fn block(&self, class: usize, block: usize) -> u64 {
        u64::from_le_bytes(*eight(&self.sets[class], block * 8))
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

#[inline]
fn put(set: &mut Set, block: usize, bits: u64) {
    if let Some(room) = set.get_mut(block * 8..block * 8 + 8) {
        room.copy_from_slice(&bits.to_le_bytes());
    }
}

/// The lowest `n` bits, `n` at most 64.
#[inline]
pub(super) fn first(n: usize) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// The sets of a block of spaces.
const SPACES: [u64; CLASSES] = [0, 0, 0, u64::MAX, u64::MAX, 0, 0, 0];

/// Writes the sets of `blocks`.
#[inline]
fn classify(blocks: &[[u8; 64]], sets: &mut [Set; CLASSES]) {
    #[cfg(target_arch = "x86_64")]
    if super::avx2::classify(blocks, |block, bits| put_all(sets, block, bits)) {
        return;
    }
    for (block, bytes) in blocks.iter().enumerate() {
        put_all(sets, block, portable(bytes));
    }
}

/// The sets of one block, by looking the classes of each byte up and turning 64 times 8 bits around.
fn portable(bytes: &[u8; 64]) -> [u64; CLASSES] {
    let mut rows = [0u64; CLASSES];
    let (eights, _) = bytes.as_chunks::<8>();
    for (row, bytes) in rows.iter_mut().zip(eights) {
        *row = turn_bits(u64::from_le_bytes(bytes.map(|byte| CLASS[byte as usize])));
    }
    turn_bytes(rows)
}

#[inline]
fn put_all(sets: &mut [Set; CLASSES], block: usize, bits: [u64; CLASSES]) {
    for (set, bits) in sets.iter_mut().zip(bits) {
        put(set, block, bits);
    }
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
            line.set(&text);
            for i in 0..line.end() + 64 {
                for class in 0..CLASSES {
                    let is = line.bits(class, i) & 1 != 0;
                    assert_eq!(is, TABLE[line.at(i) as usize] >> class & 1 != 0, "class {class} at {i}");
                }
            }
        }
    }

    #[test]
    fn the_portable_sets_are_the_same() {
        let mut line = Line::default();
        line.set(&(0..=255).collect::<Vec<u8>>());
        let (blocks, _) = line.bytes.as_chunks::<64>();
        for (block, bytes) in blocks[..5].iter().enumerate() {
            let sets = portable(bytes);
            (0..CLASSES).for_each(|class| assert_eq!(sets[class], line.block(class, block), "class {class}"));
        }
    }

    #[test]
    fn a_run_ends_where_its_last_member_stands() {
        let mut line = Line::default();
        for len in [1, 56, 57, 58, 63, 64, 65, 500, MAX_TEXT_BYTES] {
            line.set(&vec![b'x'; len]);
            assert_eq!(line.run_end(RUN, FRONT), FRONT + len);
            assert!(line.any(SPACE, FRONT, line.end() + 1) && !line.any(SPACE, FRONT, line.end()));
        }
    }
}
