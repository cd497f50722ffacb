//! Words that the mask knows: names of days and months, truth values, units.
//!
//! Purpose: answer for one run of letters whether it is such a word (`spec/signature.md`, 2.6).
//! Promises: a few comparisons of numbers, no table built at run time; nearly all other words are told apart by one look.
//! Never: looks at what stands around the word.

/// Words that vary wherever they stand: names of days and months, truth values.
#[inline]
pub(super) fn is_variable_word(word: &[u8]) -> bool {
    const WORDS: [u64; 26] = pack_all([
        b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun", b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul",
        b"Aug", b"Sep", b"Oct", b"Nov", b"Dec", b"true", b"True", b"TRUE", b"null", b"false", b"False", b"FALSE",
    ]);
    /// By first byte, the lengths of the words that begin with it, one bit each. Nearly all other words fail this test,
    /// so its branch is predicted well.
    static LENGTHS: [u8; 256] = {
        let mut lengths = [0; 256];
        let mut i = 0;
        while i < WORDS.len() {
            let bits = 64 - WORDS[i].leading_zeros();
            let len = bits.div_ceil(8);
            lengths[(WORDS[i] >> (8 * (len - 1))) as usize] |= 1 << len;
            i += 1;
        }
        lengths
    };
    let may_be = word.len() < 8 && word.first().is_some_and(|&first| LENGTHS[first as usize] >> word.len() & 1 != 0);
    may_be && WORDS.contains(&pack(word))
}

/// Words that belong to the number before them.
pub(super) fn is_unit(word: &[u8]) -> bool {
    const UNITS: [u64; 38] = pack_all([
        b"ns", b"us", b"ms", b"s", b"sec", b"secs", b"second", b"seconds", b"m", b"min", b"mins", b"minute",
        b"minutes", b"h", b"hour", b"hours", b"day", b"days", b"B", b"b", b"kB", b"KB", b"MB", b"GB", b"TB", b"KiB",
        b"MiB", b"GiB", b"TiB", b"kb", b"mb", b"gb", b"byte", b"bytes", b"AM", b"PM", b"UTC", b"GMT",
    ]);
    word.len() <= 7 && UNITS.contains(&pack(word))
}

/// Up to eight letters as one number: a list of words is then searched by comparing numbers.
#[inline]
const fn pack(word: &[u8]) -> u64 {
    let mut packed = 0;
    let mut i = 0;
    while i < word.len() && i < 8 {
        packed = packed << 8 | word[i] as u64;
        i += 1;
    }
    packed
}

const fn pack_all<const N: usize>(words: [&[u8]; N]) -> [u64; N] {
    let mut packed = [0; N];
    let mut i = 0;
    while i < N {
        packed[i] = pack(words[i]);
        i += 1;
    }
    packed
}
