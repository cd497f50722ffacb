//! A signer that remembers gives what one without memory gives, whatever it signed before.

use lipservice::data_plane::signature::Signer;
use proptest::prelude::*;

use super::made_up_lines;

/// A generator that needs no crate.
pub struct Draw(pub u64);

impl Draw {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// The text with other digits, more or fewer, and other hex digits in words that are hex tokens, mostly of the same classes.
fn varied(text: &[u8], draw: &mut Draw) -> Vec<u8> {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
    let mut out = Vec::with_capacity(text.len());
    for row in text.chunk_by(|a, b| is_word(a) == is_word(b)) {
        let is_token = row.iter().all(u8::is_ascii_hexdigit) && row.iter().any(u8::is_ascii_digit);
        for &byte in row {
            let from: &[u8] = match byte {
                b'0'..=b'9' if is_token && draw.below(2) == 0 => b"0123456789abcdefABCDEF",
                b'0'..=b'9' => b"0123456789",
                _ if is_token => [&b"abcdef"[..], b"ABCDEF", b"0123456789"][draw.below(3)],
                _ => &[byte],
            };
            let times = match (draw.below(12), byte.is_ascii_digit() || is_token) {
                (0, true) => 0,
                (1, true) => 2 + draw.below(4),
                _ => 1,
            };
            out.extend((0..times).map(|_| from[draw.below(from.len())]));
        }
    }
    out
}

/// Two signers: one remembers all it has signed, the other is asked to explain, which remembers nothing.
#[derive(Default)]
struct Pair {
    ours: Signer,
    masked: Signer,
}

impl Pair {
    fn holds(&mut self, text: &[u8]) -> Result<(), String> {
        let Pair { ours, masked } = self;
        let signature = ours.sign_text(text);
        let is_same = signature == masked.explain_text(text).0 && ours.last_template() == masked.last_template();
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let told = || {
            let [ours, masked] = [ours.last_template(), masked.last_template()].map(show);
            format!("{:?}: {ours:?}, masked {masked:?}", show(text))
        };
        is_same.then_some(()).ok_or_else(told)
    }
}

#[test]
fn what_was_signed_before_changes_nothing() {
    let (mut pair, mut draw) = (Pair::default(), Draw(7));
    let mut lines = made_up_lines(6_000);
    for set in super::super::patterns::evaluate::sets("what_was_signed_before_changes_nothing (real lines)") {
        lines.extend(set.lines.iter().step_by(5).map(|line| line.clone().into_bytes()));
    }
    for line in &lines {
        for _ in 0..3 {
            pair.holds(line).unwrap();
            pair.holds(&varied(line, &mut draw)).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Tokens of every kind of first byte, behind and before every mark that a rule asks for.
    #[test]
    fn tokens_between_marks_have_their_templates(
        parts in proptest::collection::vec(
            "([0-9a-fA-F]{1,9}|[a-z_]{1,5}|[A-Z]{3})([-+~.:/@<>=\"'(){}\\[\\] ,;|#%&?!^$*\\\\]|::|\\.\\.|://| - |: |= )?", 1..12),
        seed in any::<u64>(),
    ) {
        let (mut pair, mut draw) = (Pair::default(), Draw(seed));
        let text = parts.concat().into_bytes();
        for _ in 0..4 {
            pair.holds(&text).map_err(TestCaseError::fail)?;
            let other = varied(&text, &mut draw);
            pair.holds(&other).map_err(TestCaseError::fail)?;
        }
    }

    #[test]
    fn any_bytes_twice_have_their_template(text in proptest::collection::vec(any::<u8>(), 0..300), seed in any::<u64>()) {
        let mut pair = Pair::default();
        let other = varied(&text, &mut Draw(seed));
        for text in [&text, &other, &text] {
            pair.holds(text).map_err(TestCaseError::fail)?;
        }
    }
}
