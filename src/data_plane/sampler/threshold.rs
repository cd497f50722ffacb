//! Consistent probability sampling: 56-bit randomness and rejection thresholds.
//!
//! Purpose: the arithmetic of the OpenTelemetry probability sampling specification, for logs.
//! Promises: keep iff R ≥ T; kept with probability (2^56 − T) / 2^56; stacking never samples twice on the same
//! randomness.
//! Never: draws randomness; callers pass it in.
//!
//! Source: OpenTelemetry "TraceState: Probability Sampling" (thresholds, randomness) and the `sampling.threshold`,
//! `sampling.randomness` attributes that carry them on log records.

use crate::data_plane::view::{AnyValueRef, RecordRef};

/// 2^56: one more than the largest randomness.
pub const RANDOMNESS_RANGE: u64 = 1 << 56;
/// Hex digits of a full threshold.
const HEX_DIGITS: usize = 14;

/// The probability with which threshold `t` keeps.
pub fn probability(t: u64) -> f64 {
    RANDOMNESS_RANGE.saturating_sub(t) as f64 / RANDOMNESS_RANGE as f64
}

/// Reads a threshold as carried by `sampling.threshold`: 1 to 14 hex digits, extended with zeros on the right.
pub fn parse_threshold(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > HEX_DIGITS {
        return None;
    }
    Some(parse_hex(digits)? << (4 * (HEX_DIGITS - digits.len())))
}

/// Reads randomness as carried by `sampling.randomness`: exactly 14 hex digits.
pub fn parse_randomness(digits: &[u8]) -> Option<u64> {
    if digits.len() == HEX_DIGITS { parse_hex(digits) } else { None }
}

fn parse_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, digit| {
        let digit = (*digit as char).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}

/// A threshold as text: hex, trailing zeros cut, `0` for zero. Must be below 2^56.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThresholdText {
    digits: [u8; HEX_DIGITS],
    len: usize,
}

impl ThresholdText {
    /// The text of `t`.
    pub fn new(t: u64) -> Self {
        let mut digits = [b'0'; HEX_DIGITS];
        for (i, digit) in digits.iter_mut().enumerate() {
            let nibble = t >> (4 * (HEX_DIGITS - 1 - i)) & 0xf;
            *digit = b"0123456789abcdef"[nibble as usize];
        }
        let zeros = digits.iter().rev().take_while(|digit| **digit == b'0').count();
        ThresholdText { digits, len: (HEX_DIGITS - zeros).max(1) }
    }

    /// The digits.
    pub fn as_bytes(&self) -> &[u8] {
        &self.digits[..self.len]
    }
}

/// What a record brings with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The record's randomness R.
    pub randomness: u64,
    /// The threshold an earlier sampler applied to this randomness; 0 for none.
    pub threshold: u64,
}

impl Incoming {
    /// Reads R from `sampling.randomness`, else takes that of the trace id (`trace`, read when the bytes were in cache),
    /// else draws it from `fresh` (any 64 random bits): fail open, a record without a trace can still be sampled. A fresh R is drawn above the incoming
    /// threshold, as the record is known to have passed it. An incoming threshold that R contradicts is void.
    #[inline]
    pub fn of(record: RecordRef<'_>, trace: Option<u64>, fresh: impl FnOnce() -> u64) -> Self {
        let threshold = match record.threshold() {
            Some(AnyValueRef::Str(digits)) => parse_threshold(digits).unwrap_or(0),
            _ => 0,
        };
        let explicit = match record.randomness() {
            Some(AnyValueRef::Str(digits)) => parse_randomness(digits),
            _ => None,
        };
        match explicit.or(trace) {
            Some(randomness) if randomness >= threshold => Incoming { randomness, threshold },
            Some(randomness) => Incoming { randomness, threshold: 0 },
            None => {
                let room = RANDOMNESS_RANGE - threshold;
                let drawn = ((u128::from(fresh()) * u128::from(room)) >> 64) as u64;
                Incoming { randomness: threshold + drawn, threshold }
            }
        }
    }
}

/// The threshold to write after keeping with `applied` a record that came with `incoming`. On the same randomness the
/// stricter one holds; on its own randomness (a sample key) the probabilities multiply.
pub fn stacked(incoming: u64, applied: u64, own_randomness: bool) -> u64 {
    if !own_randomness {
        return incoming.max(applied);
    }
    let kept =
        u128::from(RANDOMNESS_RANGE.saturating_sub(incoming)) * u128::from(RANDOMNESS_RANGE.saturating_sub(applied));
    RANDOMNESS_RANGE - (kept >> 56) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::policy::{threshold_of, trace_randomness};

    #[test]
    fn percentages_become_thresholds_and_text() {
        for (percentage, t, text) in [
            (100.0, 0, "0"),
            (25.0, 0xc0_0000_0000_0000, "c"),
            (50.0, 0x80_0000_0000_0000, "8"),
            (10.0, 0xe6_6666_6666_6666, "e6666666666666"),
            (0.0, RANDOMNESS_RANGE, "0"),
        ] {
            assert_eq!(threshold_of(percentage), t, "{percentage}");
            if t < RANDOMNESS_RANGE {
                assert_eq!(ThresholdText::new(t).as_bytes(), text.as_bytes());
                assert_eq!(parse_threshold(text.as_bytes()), Some(t));
            }
        }
    }

    #[test]
    fn bad_texts_are_absent() {
        for bad in ["", "g", "0x8", "-1", "123456789012345"] {
            assert_eq!(parse_threshold(bad.as_bytes()), None, "{bad}");
        }
        for bad in ["", "c", "c000000000000", "c00000000000000", "c000000000000z"] {
            assert_eq!(parse_randomness(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_randomness(b"C0000000000000"), Some(0xc0_0000_0000_0000));
    }

    #[test]
    fn stacking_never_samples_twice() {
        let (half, quarter) = (threshold_of(50.0), threshold_of(25.0));
        assert_eq!(stacked(half, quarter, false), quarter);
        assert_eq!(stacked(quarter, half, false), quarter);
        assert_eq!(stacked(half, half, true), quarter);
        assert_eq!(stacked(0, half, true), half);
    }

    #[test]
    fn trace_ids_give_their_low_56_bits() {
        let mut id = [0xffu8; 16];
        assert_eq!(trace_randomness(&id), Some(RANDOMNESS_RANGE - 1));
        id[8] = 0;
        assert_eq!(trace_randomness(&id), Some(RANDOMNESS_RANGE - 1));
        assert_eq!(trace_randomness(&[0; 16]), None);
        assert_eq!(trace_randomness(&[1; 15]), None);
    }
}
