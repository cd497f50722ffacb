//! Words that the mask knows.
//!
//! Purpose: answer for one run of letters what it can mean to the mask (`spec/signature.md`, 2.8).
//! Promises: two loads and a comparison, whatever the word, and one load to tell that a word is none of those that change
//! the meaning of others; the tables are built by the compiler, which refuses a list whose words collide in them.
//! Never: looks at what stands around the word.

/// Varies wherever it stands: days, months, truth values, nothing, the superuser.
pub(super) const VARIABLE: u16 = 1;
/// Belongs to the variable before it.
pub(super) const UNIT: u16 = 1 << 1;
/// A preposition.
pub(super) const PREPOSITION: u16 = 1 << 2;
/// A preposition that a name may follow.
pub(super) const SLOT: u16 = 1 << 3;
/// Shows behind a name that it was one.
pub(super) const SLOT_END: u16 = 1 << 4;
/// `by`, `via`: who did it stands behind.
pub(super) const BY: u16 = 1 << 5;
/// `the`, `a`, `an`.
pub(super) const ARTICLE: u16 = 1 << 6;
/// `is`, `was`, `has`.
pub(super) const IS: u16 = 1 << 7;
/// `user`, `User`.
pub(super) const USER: u16 = 1 << 8;
/// Says what kind of thing the name behind it is.
pub(super) const NOUN: u16 = 1 << 9;
/// Is no name.
pub(super) const STOP: u16 = 1 << 10;
/// `for`.
pub(super) const FOR: u16 = 1 << 11;

/// Not of a word: a colon stood behind what came before.
pub(super) const COLON: u16 = 1 << 12;
/// Not of a word: a hyphen stood alone.
pub(super) const DASH: u16 = 1 << 13;

/// Asks for a look at the word behind it.
pub(super) const LEADER: u16 = USER | NOUN | BY | SLOT | COLON | DASH;

/// What makes a word one to look at.
const LISTS: [(u16, &str); 12] = [
    (
        VARIABLE,
        "Mon Tue Wed Thu Fri Sat Sun Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec true True TRUE false False FALSE \
         null NULL None nil undefined NaN root admin",
    ),
    (
        UNIT,
        "ns us \u{b5}s \u{3bc}s ms s sec secs second seconds m min mins minute minutes h hr hrs hour hours d day days week weeks \
         B b kB KB MB GB TB KiB MiB GiB TiB kb mb gb byte bytes Bytes bit bits K M G AM PM am pm UTC GMT percent Hz kHz \
         MHz GHz W V mV rpm",
    ),
    (PREPOSITION | STOP, "for from to by of in on at with as via into"),
    (SLOT, "for from of by to"),
    (SLOT_END, "from to by in on at port via"),
    (BY, "by via"),
    (ARTICLE, "the a an"),
    (IS, "is was has"),
    (USER, "user User"),
    (
        NOUN,
        "user username host hostname node pod container queue topic namespace group database table index schema bucket \
         job task thread role cluster partition volume device interface package module key channel tenant template \
         region zone worker account service server deployment",
    ),
    (
        STOP,
        "is was has had have not no are be been unknown invalid will may can cannot could must should does did do the a \
         an this that and or but if name names id ids type already manager list set up down ready failed error timeout \
         status state file data now",
    ),
    (FOR, "for"),
];

/// Longest word of the lists, bytes.
const MAX_WORD: usize = 16;
const SLOTS: usize = 4096;
/// Found by trying: no two words share a slot.
const FACTOR: u64 = 0xae97_ba94_d0ed_a82f;

struct Table {
    /// By slot, which word it may be; 0 is none.
    slots: [u8; SLOTS],
    words: [(u64, u64, u16); 256],
}

static TABLE: Table = build();

/// By slot, whether a word there varies, is a preposition, or asks for a look at the word behind it.
static NOTABLE: [bool; SLOTS] = {
    let table = build();
    let mut notable = [false; SLOTS];
    let mut slot = 0;
    while slot < SLOTS {
        notable[slot] = table.words[table.slots[slot] as usize].2 & (VARIABLE | PREPOSITION | LEADER) != 0;
        slot += 1;
    }
    notable
};

/// The slot of a word that begins with these eight bytes; zeros follow a shorter one. The lists have no two words that
/// begin with the same eight.
#[inline]
const fn slot(low: u64) -> usize {
    (low.wrapping_mul(FACTOR) >> (64 - 12)) as usize
}

const fn build() -> Table {
    let mut table = Table { slots: [0; SLOTS], words: [(0, 0, 0); 256] };
    let mut count = 1;
    let mut list = 0;
    while list < LISTS.len() {
        let (meaning, text) = LISTS[list];
        let text = text.as_bytes();
        let mut at = 0;
        while at < text.len() {
            let mut word = 0u128;
            let mut len = 0;
            while at < text.len() && text[at] != b' ' {
                word |= (text[at] as u128) << (8 * len);
                len += 1;
                at += 1;
            }
            at += 1;
            if len > 0 {
                let (low, high) = (word as u64, (word >> 64) as u64);
                let slot = slot(low);
                if table.slots[slot] == 0 {
                    table.slots[slot] = count as u8;
                    table.words[count] = (low, high, 0);
                    count += 1;
                    assert!(count <= 256, "a slot is one byte");
                }
                let known = &mut table.words[table.slots[slot] as usize];
                assert!(known.0 == low && known.1 == high, "two words share a slot: try another factor");
                known.2 |= meaning;
            }
        }
        list += 1;
    }
    table
}

/// What the word that `bytes` begins with means; `len` is its length. 0 for most words.
#[inline]
pub(super) fn meaning(bytes: &[u8; 16], len: usize) -> u16 {
    let (low, high) = masked(bytes, len);
    let known = &TABLE.words[TABLE.slots[slot(low)] as usize];
    // Not `&&`: which words are listed is not predictable.
    let is_known = (known.0 ^ low) | (known.1 ^ high) == 0;
    known.2 & u16::from(is_known).wrapping_neg()
}

/// As [`meaning`], of the words that vary, are prepositions, or ask for a look at the word behind them; 0 for others.
#[inline]
pub(super) fn notable_meaning(bytes: &[u8; 16], len: usize) -> u16 {
    let low = u128::from_le_bytes(*bytes) as u64 & KEEP_LOW[len & 63];
    if NOTABLE[slot(low)] { meaning(bytes, len) } else { 0 }
}

/// Masks for the first `n` of eight bytes, all from eight on.
static KEEP_LOW: [u64; 64] = {
    let mut masks = [u64::MAX; 64];
    let mut n = 0;
    while n < 8 {
        masks[n] = (1 << (8 * n)) - 1;
        n += 1;
    }
    masks
};

/// The first `len` of sixteen bytes, zeros behind. No word of the lists has sixteen: a longer one is equal to none.
#[inline]
fn masked(bytes: &[u8; 16], len: usize) -> (u64, u64) {
    let keep = KEEP[if len > MAX_WORD { MAX_WORD } else { len }];
    let word = u128::from_le_bytes(*bytes);
    (word as u64 & keep.0, (word >> 64) as u64 & keep.1)
}

/// Masks for the first `n` bytes of sixteen.
static KEEP: [(u64, u64); MAX_WORD + 1] = {
    let mut masks = [(0, 0); MAX_WORD + 1];
    let mut n = 1;
    while n <= MAX_WORD {
        let mask = if n == 16 { u128::MAX } else { (1u128 << (8 * n)) - 1 };
        masks[n] = (mask as u64, (mask >> 64) as u64);
        n += 1;
    }
    masks
};

/// Whether a word of this form is no name: a verb or an abstract noun by its ending, in small letters.
pub(super) fn has_ending(word: &[u8]) -> bool {
    let ends = |ending: &[u8]| word.len() >= ending.len() + 3 && word.ends_with(ending);
    let has = match word.last() {
        Some(b'd') => ends(b"ed"),
        Some(b'g') => ends(b"ing"),
        Some(b'e') => ends(b"able") || ends(b"ible"),
        Some(b'n') => ends(b"tion"),
        Some(b's') => ends(b"tions"),
        Some(b't') => ends(b"ment"),
        _ => false,
    };
    has && word.iter().all(u8::is_ascii_lowercase)
}

/// Whether the word is longer than one letter, and all of it capitals.
pub(super) fn is_constant(word: &[u8]) -> bool {
    word.len() > 1 && word.iter().all(u8::is_ascii_uppercase)
}

/// Whether the word names a kind of exception.
pub(super) fn is_exception(word: &[u8]) -> bool {
    (word.len() > 5 && word.ends_with(b"Error")) || (word.len() > 9 && word.ends_with(b"Exception"))
}
