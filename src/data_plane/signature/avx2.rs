//! The classes of bytes, 64 at a time.
//!
//! Purpose: what `line` does byte by byte, for processors with AVX2: it is the difference between 131 and 42 ns a line
//! (benches/hot_path.rs, signature, without what follows).
//! Promises: the same result (tests in `line` compare); reads and writes nothing but its arguments.
//! Never: uses an instruction before it asked whether the processor has it.

use super::line::{CLASSES, TABLE};
use std::arch::x86_64::*;

/// Rows of the ASCII table (by high nibble) in eight groups; rows 0 and 1 and rows 8 to 15 do not differ.
const GROUP: [u8; 16] = [1, 1, 2, 4, 8, 16, 32, 64, 128, 128, 128, 128, 128, 128, 128, 128];

/// For each class, by low nibble, the groups of rows in which that byte is a member.
const MEMBERS: [[u8; 16]; CLASSES] = {
    let mut members = [[0; 16]; CLASSES];
    let mut byte = 0;
    while byte < 256 {
        let mut class = 0;
        while class < CLASSES {
            if TABLE[byte] >> class & 1 != 0 {
                members[class][byte & 15] |= GROUP[byte >> 4];
            }
            class += 1;
        }
        byte += 1;
    }
    members
};

/// Gives `put` the number of each block and its sets; `false` if the processor cannot.
#[inline]
#[expect(unsafe_code, reason = "a call of a function for processors with AVX2")]
pub(super) fn classify(blocks: &[[u8; 64]], put: impl FnMut(usize, [u64; CLASSES])) -> bool {
    let can = std::arch::is_x86_feature_detected!("avx2");
    if can {
        // SAFETY: the processor has AVX2, and that is all the function asks for: it has no pointers and no unsafe code.
        unsafe { classify_avx2(blocks, put) }
    }
    can
}

#[target_feature(enable = "avx2")]
#[inline]
fn classify_avx2(blocks: &[[u8; 64]], mut put: impl FnMut(usize, [u64; CLASSES])) {
    let table = |bytes: &[u8; 16]| {
        let (h, _) = bytes.as_chunks::<8>();
        _mm256_broadcastsi128_si256(_mm_set_epi64x(i64::from_le_bytes(h[1]), i64::from_le_bytes(h[0])))
    };
    let groups = table(&GROUP);
    let members = MEMBERS.each_ref().map(table);
    let nibble = _mm256_set1_epi8(15);
    let zero = _mm256_setzero_si256();
    for (index, block) in blocks.iter().enumerate() {
        let (q, _) = block.as_chunks::<8>();
        let load = |i: usize| {
            let n = |k: usize| i64::from_le_bytes(q[i + k]);
            _mm256_set_epi64x(n(3), n(2), n(1), n(0))
        };
        let (a, b) = (load(0), load(4));
        let row = |v| _mm256_shuffle_epi8(groups, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
        let (row_a, row_b) = (row(a), row(b));
        let (col_a, col_b) = (_mm256_and_si256(a, nibble), _mm256_and_si256(b, nibble));
        let bits = |m, col, row| {
            let is = _mm256_and_si256(_mm256_shuffle_epi8(m, col), row);
            _mm256_movemask_epi8(_mm256_cmpeq_epi8(is, zero)) as u32
        };
        let mut sets = [0; CLASSES];
        for k in 0..CLASSES {
            sets[k] = !(u64::from(bits(members[k], col_a, row_a)) | u64::from(bits(members[k], col_b, row_b)) << 32);
        }
        put(index, sets);
    }
}
