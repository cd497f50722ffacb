//! The classes of bytes, 64 at a time, and the mask compiled for newer processors.
//!
//! Purpose: what `line` does byte by byte, for processors with AVX2: 42 ns for a line of 67 bytes instead of 131. All that
//! follows is compiled with BMI, LZCNT and POPCNT as well, which the walk over bits gains from. `write_key` makes the keys of `memo`.
//! Promises: the same result (a test compares); reads and writes nothing but its arguments.
//! Never: uses an instruction before it asked whether the processor has it.

use super::line::{CLASSES, TABLE};
use super::mask::Template;
use super::memo::{CALM, COLON, DIGIT, Form, HEX, KEY_CLASSES, KEY_ROOM, KEY_TABLE, Key, MARK, Piece, SCHEME, WORD};
use bytemuck::cast;
use std::arch::x86_64::*;

/// Rows of the ASCII table (by high nibble) in eight groups; rows 0 and 1 and rows 8 to 15 do not differ.
const GROUP: [u8; 16] = [1, 1, 2, 4, 8, 16, 32, 64, 128, 128, 128, 128, 128, 128, 128, 128];

/// For each class, by low nibble, the groups of rows in which that byte is a member.
const fn members<const N: usize>(table: &[u8; 256]) -> [[u8; 16]; N] {
    let mut members = [[0; 16]; N];
    let mut byte = 0;
    while byte < 256 {
        let mut class = 0;
        while class < N {
            if table[byte] >> class & 1 != 0 {
                members[class][byte & 15] |= GROUP[byte >> 4];
            }
            class += 1;
        }
        byte += 1;
    }
    members
}

const LINE: [[u8; 16]; CLASSES] = members(&TABLE);
const KEY: [[u8; 16]; KEY_CLASSES] = members(&KEY_TABLE);

/// Whether the processor has what [`write`] is compiled for.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
}

/// Writes the template of a text, as [`Template::write_by`] does.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn write(template: &mut Template, text: &[u8]) {
    template.write_by(text, |block| classify(block, &LINE));
}

#[target_feature(enable = "avx2")]
#[inline]
fn classify<const N: usize>(block: &[u8; 64], members: &[[u8; 16]; N]) -> [u64; N] {
    let table = |bytes: &[u8; 16]| _mm256_broadcastsi128_si256(cast(*bytes));
    let groups = table(&GROUP);
    let nibble = _mm256_set1_epi8(15);
    let [a, b]: [__m256i; 2] = cast(*block);
    let row = |v| _mm256_shuffle_epi8(groups, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
    let (row_a, row_b) = (row(a), row(b));
    let (col_a, col_b) = (_mm256_and_si256(a, nibble), _mm256_and_si256(b, nibble));
    let bits = |members, col, row| {
        let is = _mm256_and_si256(_mm256_shuffle_epi8(members, col), row);
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(is, row)) as u32
    };
    members.each_ref().map(|members| {
        let members = table(members);
        u64::from(bits(members, col_a, row_a)) | u64::from(bits(members, col_b, row_b)) << 32
    })
}

/// Writes the key of a text (`memo`); false when it has none. Twice over its blocks: each step is a chain of instructions of
/// its own, and the processor looks far enough ahead to work on two blocks only if a step is short.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn write_key(text: &[u8], key: &mut Key) -> bool {
    let Key { bytes, len, pieces } = key;
    let (mut at, mut count, mut before) = (0, 0, Before { mark: 0, word: 0, calm: 1 });
    while at < text.len() {
        let (block, past) = block_at(text, at);
        let sets = classify(&block, &KEY).map(|set| set >> past);
        let open = sets[WORD].leading_ones() as usize;
        let Some(piece) = pieces.get_mut(count).filter(|_| open < 64) else { return false };
        // A row that reaches the block's end is looked at once more, from its beginning.
        let taken = 64 - past - open;
        let form = unify(sets, open, before);
        let kept = form.kept & (u64::MAX >> (64 - taken));
        *piece = Piece { block, form: Form { zero: form.zero << past, lead: form.lead << past, kept: kept << past } };
        before = Before::end_of(&sets, taken);
        at += taken;
        count += 1;
    }
    *len = 0;
    for Piece { block, form } in pieces.iter().take(count) {
        *len = write_kept(&formed(block, form), form.kept, bytes, *len);
    }
    true
}

/// The 64 bytes from `at` on, and 0. Where fewer are left, they end the block, and the number of bytes before them is told.
#[inline]
fn block_at(text: &[u8], at: usize) -> ([u8; 64], usize) {
    let rest = &text[at..];
    if let Some(block) = rest.first_chunk() {
        return (*block, 0);
    }
    let past = 64 - rest.len();
    let block = text.last_chunk().copied().unwrap_or_else(|| {
        let mut block = [b' '; 64];
        block[past..].copy_from_slice(rest);
        block
    });
    (block, past)
}

/// What stands before a block, as bits: the classes of the byte before it, and whether the one before that is a word byte. A
/// block begins where a row may begin, so the byte before it is none.
#[derive(Clone, Copy)]
struct Before {
    mark: u64,
    word: u64,
    calm: u64,
}

impl Before {
    /// Behind the first `len` bytes of a block.
    #[inline]
    fn end_of(sets: &[u64; KEY_CLASSES], len: usize) -> Self {
        let last = |set: u64| set >> (len - 1) & 1;
        Before { mark: last(sets[MARK]), word: last(sets[WORD] << 1), calm: last(sets[CALM]) }
    }
}

/// Finds what brings a block into one form; the row of `open` bytes at its end is left alone. Without branches: how many
/// tokens a block has is not predictable.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn unify(sets: [u64; KEY_CLASSES], open: usize, before: Before) -> Form {
    let word = sets[WORD] & (u64::MAX >> open);
    let (digit, hex) = (sets[DIGIT] & word, sets[HEX] & word);
    let inside = (sets[MARK] << 1 | before.mark) & (sets[WORD] << 2 | before.word);
    let calm = sets[CALM] << 1 | before.calm;
    // A sum carries from a member to behind the end of its row, and from there no further.
    let rows_with = |members: u64| word.wrapping_add(members) & !word;
    let varies = rows_with(digit);
    let tokens = varies & !rows_with(word & !(digit | hex));
    let [token, by_colon, by_scheme, _] = rows_before([tokens, varies & sets[COLON], tokens & sets[SCHEME], 0], word);
    let first = token & !(token << 1);
    let lead = first & hex & !(inside | calm & !by_scheme);
    // Of a first letter, one more byte stays: its row has a digit.
    let kept = !(digit & digit << 1) & !token | first | lead << 1 | by_colon;
    Form { zero: (digit | token) & !lead, lead, kept }
}

/// The rows of word bytes that end before each of `ends`, by doubling; four at a time.
#[target_feature(enable = "avx2")]
#[inline]
fn rows_before(ends: [u64; 4], word: u64) -> [u64; 4] {
    let word = _mm256_set1_epi64x(word as i64);
    let (mut rows, mut whole): (__m256i, __m256i) = (cast(ends), word);
    for step in [1, 2, 4, 8, 16, 32] {
        let step = _mm_cvtsi32_si128(step);
        rows = _mm256_or_si256(rows, _mm256_and_si256(_mm256_srl_epi64(rows, step), whole));
        whole = _mm256_and_si256(whole, _mm256_srl_epi64(whole, step));
    }
    cast(_mm256_and_si256(rows, word))
}

/// Makes bytes `0`, and letters `a` or `A`.
#[target_feature(enable = "avx2")]
#[inline]
fn formed(block: &[u8; 64], &Form { zero, lead, .. }: &Form) -> [u8; 64] {
    let halves: [__m256i; 2] = cast(*block);
    let form = |as_is, zero, lead| {
        let letter = _mm256_or_si256(_mm256_and_si256(as_is, _mm256_set1_epi8(0x20)), _mm256_set1_epi8(b'A' as i8));
        let with_lead = _mm256_blendv_epi8(as_is, letter, expand(lead));
        _mm256_blendv_epi8(with_lead, _mm256_set1_epi8(b'0' as i8), expand(zero))
    };
    let [low, high] = halves;
    let high = form(high, (zero >> 32) as u32, (lead >> 32) as u32);
    cast([form(low, zero as u32, lead as u32), high])
}

/// A byte 0xFF for each bit that is set.
#[target_feature(enable = "avx2")]
#[inline]
fn expand(bits: u32) -> __m256i {
    let ones = 0x0101_0101_0101_0101;
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), _mm256_set_epi64x(ones * 3, ones * 2, ones, 0));
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit)
}

/// For each set of eight bytes, where its members stand.
const PLACES: [u64; 256] = {
    let mut places = [0; 256];
    let mut set = 0;
    while set < 256 {
        let (mut place, mut count) = (0, 0);
        while place < 8 {
            if set >> place & 1 != 0 {
                places[set] |= (place as u64) << (8 * count);
                count += 1;
            }
            place += 1;
        }
        set += 1;
    }
    places
};
static PLACE: [u64; 256] = PLACES;

/// Writes the bytes of a block that are kept behind the `len` that the key has; returns how many it has then.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn write_kept(block: &[u8; 64], kept: u64, key: &mut [u8; KEY_ROOM + 64], mut len: usize) -> usize {
    let words: [u64; 8] = cast(*block);
    for (word, set) in words.into_iter().zip(kept.to_le_bytes()) {
        let bytes = _mm_cvtsi64_si128(word as i64);
        let packed = _mm_shuffle_epi8(bytes, _mm_cvtsi64_si128(PLACE[usize::from(set)] as i64));
        // Masked instead of checked: a key is never longer than its text.
        if let Some(room) = key[len & (KEY_ROOM - 1)..].first_chunk_mut() {
            *room = _mm_cvtsi128_si64(packed).to_le_bytes();
        }
        len += set.count_ones() as usize;
    }
    len
}

#[cfg(test)]
mod tests {
    use super::super::line::portable;
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "a call of a function for processors with AVX2")]
    fn the_sets_are_those_of_any_processor() {
        if !is_available() {
            return eprintln!("SKIPPED the_sets_are_those_of_any_processor: no AVX2");
        }
        for shift in 0..64 {
            for row in 0..4 {
                let block = std::array::from_fn(|i| ((i + shift) % 64 + row * 64) as u8);
                // SAFETY: the processor has AVX2, and that is all the function asks for.
                assert_eq!(unsafe { classify(&block, &LINE) }, portable(&block));
            }
        }
    }
}
