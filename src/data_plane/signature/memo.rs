//! Lines that differ only in what surely varies are masked once.
//!
//! Purpose: before the mask, shorten the digits and hex tokens of a text to one form (its *key*) and look the key up among the
//! texts signed before: the same key has the same template, for a fifth of the price.
//! Promises: exact: [`KEY_TABLE`] says why, keys are compared whole, and a template that kept a digit is not remembered, so
//! that no part of a token stands in one that is. Bounded: one table of [`SLOTS`] slots.
//! Never: changes a signature (a signer without it is the test), or slows text that never repeats by much: it pauses then.

use super::Signature;

/// Longest text that is looked up, in bytes.
pub(super) const MAX_TEXT_BYTES: usize = 512;
/// Room for keys, a power of two: an index can be masked instead of checked.
pub(super) const KEY_ROOM: usize = 1024;
/// Longest key that is kept, in bytes.
const MAX_KEY_BYTES: usize = 320;
/// Texts remembered; a power of two. With their keys and templates 1 MiB a signer.
const SLOTS: usize = 2048;
/// Room for a key and its template, so that a slot has 512 bytes.
const SLOT_BYTES: usize = 496;

/// Lookups after which is asked whether they paid, and lookups left out when fewer than one in eight did.
pub(super) const TRIAL: u32 = 512;
pub(super) const PAUSE: u32 = 4096;

/// Number of classes that keys are made by.
pub(super) const KEY_CLASSES: usize = 7;
/// Letters, digits and `_`. A *row* is all that stand together.
pub(super) const WORD: usize = 0;
/// `0-9`.
pub(super) const DIGIT: usize = 1;
/// `A-F a-f`. A *token* is a row of these and digits that has a digit.
pub(super) const HEX: usize = 2;
/// Run bytes that are no word bytes.
pub(super) const MARK: usize = 3;
/// A space or `=`: what stands behind begins a run, and nothing in front of it asks for a digit.
pub(super) const CALM: usize = 4;
/// `+ . - :`: may go on in the scheme of a URL.
pub(super) const SCHEME: usize = 5;
/// `:`
pub(super) const COLON: usize = 6;

/// The classes of each byte, a bit for each.
///
/// A key is the text with these changes, which no rule of `spec/signature.md` can tell:
/// - Each digit is `0`: rules ask whether a byte is a digit, never which.
/// - Of digits in a row only the first stays, unless `:` follows the row: how many there are matters to hex groups, which
///   stand before `::`, and to nothing else.
/// - Letters of a token are `0`, which then count as digits: the token is variable by its digit, whatever else is in it.
/// - But a token's first letter is `a` or `A`, and the byte behind it stays, where its class may matter: behind `<`, `[`, or a
///   sign at a run's beginning, and in the scheme of a URL. It cannot matter behind a mark behind a word byte, nor behind a
///   calm byte when no byte follows that may go on in a scheme.
pub(super) const KEY_TABLE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        let (word, mark) = (1 << WORD, 1 << MARK);
        table[byte] = match b {
            b'0'..=b'9' => word | 1 << DIGIT,
            b'a'..=b'f' | b'A'..=b'F' => word | 1 << HEX,
            b'g'..=b'z' | b'G'..=b'Z' | b'_' | 0x80..=0xff => word,
            b':' => mark | 1 << SCHEME | 1 << COLON,
            b'+' | b'.' | b'-' => mark | 1 << SCHEME,
            b'/' | b'\\' | b'@' | b'#' | b'$' | b'%' | b'&' | b'~' | b'!' | b'?' | b'^' => mark,
            b' ' | b'=' => 1 << CALM,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// The key of a text. Blocks are written whole, so there is room for one behind the longest.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) bytes: [u8; KEY_ROOM + 64],
    pub(super) len: usize,
    pub(super) pieces: [Piece; MAX_PIECES],
}

/// Blocks of the longest text: two in a row take more than 64 bytes of it.
const MAX_PIECES: usize = 2 * MAX_TEXT_BYTES / 64 + 2;

/// A block of a text, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) block: [u8; 64],
    pub(super) form: Form,
}

/// Which bytes of a block become `0`, which `a` or `A`, and which are kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Form {
    pub(super) zero: u64,
    pub(super) lead: u64,
    pub(super) kept: u64,
}

impl Default for Key {
    fn default() -> Self {
        Key { bytes: [0; KEY_ROOM + 64], len: 0, pieces: [Piece { block: [0; 64], form: Form::default() }; MAX_PIECES] }
    }
}

impl Key {
    fn get(&self) -> &[u8] {
        &self.bytes[..self.len.min(MAX_TEXT_BYTES)]
    }

    /// Where to look. That lines of an attacker share a slot costs a mask each, as without the table.
    fn slot(&mut self) -> usize {
        let end = self.len.min(MAX_TEXT_BYTES);
        self.bytes[end..end + 32].fill(0);
        let (blocks, _) = self.bytes[..end.next_multiple_of(32)].as_chunks::<32>();
        // Two products at a time, as one would wait for the one before it.
        let (mut even, mut odd) = (self.len as u64, 0);
        for block in blocks {
            let [a, b, c, d]: [u64; 4] = bytemuck::cast(*block);
            even = fold(a ^ even ^ 0xd6e8_feb8_6659_fd93, b ^ 0x9e37_79b9_7f4a_7c15);
            odd = fold(c ^ odd ^ 0xa076_1d64_78bd_642f, d ^ 0xe703_7ed1_a0b4_28db);
        }
        ((even ^ odd.rotate_left(32)) >> 20) as usize % SLOTS
    }
}

/// A product of 128 bits, folded, spreads each bit of both factors (as wyhash does).
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[derive(Clone, Debug)]
struct Slot {
    signature: Signature,
    key: u16,
    template: u16,
    bytes: [u8; SLOT_BYTES],
}

const EMPTY: Slot = Slot { signature: Signature(0), key: 0, template: 0, bytes: [0; SLOT_BYTES] };

/// What a lookup found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    /// The text's signature, and the slot that holds its template.
    Known(Signature, usize),
    /// Nothing; this is the slot to keep it in.
    New(usize),
    /// The text is not one to remember.
    Passed,
}

/// The texts signed before.
#[derive(Debug)]
pub(super) struct Memo {
    key: Key,
    /// Made when the first text is kept.
    slots: Vec<Slot>,
    tries: u32,
    hits: u32,
    pub(super) pause: u32,
    pub(super) is_on: bool,
}

impl Default for Memo {
    fn default() -> Self {
        #[cfg(target_arch = "x86_64")]
        let is_on = super::avx2::is_available();
        #[cfg(not(target_arch = "x86_64"))]
        let is_on = false;
        Memo { key: Key::default(), slots: Vec::new(), tries: 0, hits: 0, pause: 0, is_on }
    }
}

impl Memo {
    /// Looks a text up.
    #[inline]
    pub(super) fn find(&mut self, text: &[u8]) -> Found {
        if self.pause > 0 {
            self.pause -= 1;
            return Found::Passed;
        }
        if !self.is_on || text.is_empty() || text.len() > MAX_TEXT_BYTES || !write_key(text, &mut self.key) {
            return Found::Passed;
        }
        self.tries += 1;
        if self.tries == TRIAL {
            self.pause = if self.hits < TRIAL / 8 { PAUSE } else { 0 };
            (self.tries, self.hits) = (0, 0);
        }
        let at = self.key.slot();
        match self.slots.get(at) {
            Some(slot) if slot.bytes.get(..usize::from(slot.key)) == Some(self.key.get()) => {
                self.hits += 1;
                Found::Known(slot.signature, at)
            }
            _ => Found::New(at),
        }
    }

    /// Keeps what was found for the text looked up last, in the slot that [`Memo::find`] named.
    pub(super) fn keep(&mut self, at: usize, template: &[u8], signature: Signature) {
        let (key, len) = (self.key.get(), self.key.len);
        // A digit in a template is a part of the text that another text with the same key need not have.
        if len > MAX_KEY_BYTES || len + template.len() > SLOT_BYTES || template.iter().any(u8::is_ascii_digit) {
            return;
        }
        if self.slots.is_empty() {
            self.slots = vec![EMPTY; SLOTS];
        }
        if let Some(slot) = self.slots.get_mut(at) {
            slot.bytes[..len].copy_from_slice(key);
            slot.bytes[len..len + template.len()].copy_from_slice(template);
            (slot.key, slot.template, slot.signature) = (len as u16, template.len() as u16, signature);
        }
    }

    /// The template in a slot.
    pub(super) fn template(&self, at: usize) -> &[u8] {
        let of = |slot: &'_ Slot| usize::from(slot.key)..usize::from(slot.key) + usize::from(slot.template);
        self.slots.get(at).and_then(|slot| slot.bytes.get(of(slot))).unwrap_or_default()
    }
}

/// Writes the key of a text; false when it has a row too long to tell.
#[inline]
#[cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "a call of a function for processors with AVX2"))]
fn write_key(text: &[u8], key: &mut Key) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: a memo is only on where the processor has AVX2, BMI1, BMI2, LZCNT and POPCNT, which is all the function asks
        // for: it has no pointers and no unsafe code.
        unsafe { super::avx2::write_key(text, key) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (text, key);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a byte is of a class.
    fn is(byte: u8, class: usize) -> bool {
        KEY_TABLE[usize::from(byte)] >> class & 1 != 0
    }

    /// The key, written from its definition.
    fn key_of(text: &[u8]) -> Option<Vec<u8>> {
        let (mut key, mut at) = (Vec::new(), 0);
        let byte = |at: Option<usize>| at.and_then(|at| text.get(at)).copied().unwrap_or(b' ');
        for row in text.chunk_by(|a, b| is(*a, WORD) == is(*b, WORD)) {
            let (start, end) = (at, at + row.len());
            at = end;
            if is(row[0], WORD) && row.len() >= 64 {
                return None;
            }
            let is_token = row.iter().all(|b| is(*b, HEX) || is(*b, DIGIT)) && row.iter().any(|b| is(*b, DIGIT));
            let (before, behind) = (byte(start.checked_sub(1)), byte(Some(end)));
            let is_inside = is(before, MARK) && is(byte(start.checked_sub(2)), WORD);
            let is_plain = is_inside || is(before, CALM) && !is(behind, SCHEME);
            let of_digit = |b: u8| if is(b, DIGIT) { b'0' } else { b };
            let mut made: Vec<u8> = row.iter().map(|b| if is_token { b'0' } else { of_digit(*b) }).collect();
            if is_token && !is_plain && is(row[0], HEX) {
                made[0] = if row[0].is_ascii_lowercase() { b'a' } else { b'A' };
            }
            if !is(behind, COLON) || !is(row[0], WORD) {
                made.dedup_by(|a, b| *a == b'0' && *b == b'0');
            }
            key.extend(made);
        }
        Some(key)
    }

    #[test]
    fn keys_are_as_defined() {
        let mut memo = Memo::default();
        if !memo.is_on {
            return eprintln!("SKIPPED keys_are_as_defined: no AVX2");
        }
        let mut state = 5u64;
        let mut draw = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let bytes = b"0189afAFgzGZ_-. :=<[+/\xc3\xff\x00";
        for _ in 0..if cfg!(miri) { 100 } else { 30_000 } {
            let (len, word) = (draw(MAX_TEXT_BYTES + 1), 1 + draw(80));
            let text: Vec<u8> =
                (0..len).map(|_| bytes[if draw(word) == 0 { 13 + draw(12) } else { draw(12) }]).collect();
            let is_told = write_key(&text, &mut memo.key);
            let show = String::from_utf8_lossy;
            match key_of(&text) {
                Some(key) => assert!(
                    is_told && memo.key.get() == key,
                    "{:?}: {:?} is not {:?}",
                    show(&text),
                    show(memo.key.get()),
                    show(&key)
                ),
                None => assert!(!is_told, "{:?}", show(&text)),
            }
        }
    }
}
