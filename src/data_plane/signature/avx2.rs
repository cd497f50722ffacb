//! The classes of bytes, 64 at a time, and the mask compiled for newer processors.
//!
//! Purpose: what `line` does byte by byte, for processors with AVX2: 42 ns for a line of 67 bytes instead of 131. All that
//! follows is compiled with BMI, LZCNT and POPCNT as well, which the walk over bits gains from. `write_key` makes the keys of `memo`.
//! Promises: the same result (a test compares); reads and writes nothing but its arguments.
//! Never: uses an instruction before it asked whether the processor has it.

use super::line::{CLASSES, TABLE};
use super::mask::Template;
use super::memo::{CALM, COLON, DIGIT, HEX, KEY_CLASSES, KEY_ROOM, KEY_TABLE, Key, MARK, SCHEME, WORD, is};
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

/// Writes the key of a text (`memo`); false when it has none.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
pub(super) fn write_key(text: &[u8], key: &mut Key) -> bool {
    key.len = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let block = rest.first_chunk().copied().unwrap_or_else(|| {
            let mut block = [b' '; 64];
            block[..rest.len()].copy_from_slice(rest);
            block
        });
        // A block begins where a row of word bytes may begin, so the byte before it is none.
        let before = |back: usize| at.checked_sub(back).map_or(b' ', |at| text[at]);
        let (open, kept, block) = unify(&block, before(1), before(2));
        if open == 64 {
            return false;
        }
        // A row that reaches the block's end is looked at once more, from its beginning.
        let len = (64 - open).min(rest.len());
        write_kept(&block, kept & (u64::MAX >> (64 - len)), key);
        at += len;
    }
    true
}

/// Brings a block into one form. Returns the length of the row at its end, which is left alone, what to keep, and the block.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn unify(block: &[u8; 64], before: u8, before_that: u8) -> (usize, u64, [u8; 64]) {
    let sets = classify(block, &KEY);
    let open = sets[WORD].leading_ones() as usize;
    if open == 64 {
        return (open, 0, *block);
    }
    let word = sets[WORD] & (u64::MAX >> open);
    let (digit, hex) = (sets[DIGIT] & word, sets[HEX] & word);
    let bit = |is: bool| u64::from(is);
    let behind_mark = sets[MARK] << 1 | bit(is(before, MARK));
    let behind_word = sets[WORD] << 2 | bit(is(before_that, WORD));
    let inside = behind_mark & behind_word;
    let calm = sets[CALM] << 1 | bit(is(before, CALM));
    // A sum carries from a member to behind the end of its row, and from there no further.
    let rows_with = |members: u64| word.wrapping_add(members) & !word;
    let tokens = !rows_with(word & !(digit | hex));
    let mut ends = rows_with(digit) & (tokens | sets[COLON]);
    let (mut zero, mut lead, mut kept) = (digit, 0, !(digit & digit << 1));
    while ends != 0 {
        let end = ends & ends.wrapping_neg();
        ends &= ends - 1;
        // Behind the last byte before the end that is none of a row.
        let start = 1u64.checked_shl(64 - ((end - 1) & !word).leading_zeros()).unwrap_or_default();
        let row = end.wrapping_sub(start);
        if tokens & end == 0 {
            kept |= row;
            continue;
        }
        let is_plain = (inside | calm & bit(sets[SCHEME] & end == 0).wrapping_neg()) & start != 0;
        let first = if is_plain { 0 } else { start & hex };
        lead |= first;
        zero |= row & !first;
        // Of a first letter, one more byte stays: its row has a digit.
        let short = start | first << 1;
        kept = if sets[COLON] & end != 0 { kept | row } else { (kept & !row) | short };
    }
    (open, kept, formed(block, zero, lead))
}

/// Makes bytes `0`, and letters `a` or `A`.
#[target_feature(enable = "avx2")]
#[inline]
fn formed(block: &[u8; 64], zero: u64, lead: u64) -> [u8; 64] {
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

/// Writes the bytes of a block that are kept behind what the key has.
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
#[inline]
fn write_kept(block: &[u8; 64], kept: u64, key: &mut Key) {
    let words: [u64; 8] = cast(*block);
    let mut len = key.len;
    for (word, set) in words.into_iter().zip(kept.to_le_bytes()) {
        let bytes = _mm_cvtsi64_si128(word as i64);
        let packed = _mm_shuffle_epi8(bytes, _mm_cvtsi64_si128(PLACE[usize::from(set)] as i64));
        // Masked instead of checked: a key is never longer than its text.
        if let Some(room) = key.bytes[len & (KEY_ROOM - 1)..].first_chunk_mut() {
            *room = _mm_cvtsi128_si64(packed).to_le_bytes();
        }
        len += set.count_ones() as usize;
    }
    key.len = len;
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
