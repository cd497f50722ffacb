//! A consistent share of traffic.
//!
//! Purpose: say which records a policy on trial decides about, by the same answer everywhere and for a whole trace.
//! Promises: two records with the same randomness are both in a share or both not; a smaller share lies within a larger
//! one; whether a record is in it says nothing about which percentages keep it, so that weights stay unbiased.
//! Never: decides whether a record is kept.
//!
//! Source: XXH64 of the 56-bit randomness as eight little-endian bytes, under a seed of its own; its upper 56 bits are
//! held against the share as a threshold is held against randomness.

use twox_hash::XxHash64;

use super::threshold::RANDOMNESS_RANGE;

/// The seed: "canary" as bytes. Sample keys are hashed with seed 0.
const SEED: u64 = 0x0063_616e_6172_7900;

/// A share of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// Hashes below it are in.
    below: u64,
}

impl Share {
    /// Nothing.
    pub const NONE: Share = Share { below: 0 };

    /// A percentage, cut to 0 to 100.
    pub fn of_percentage(percentage: f64) -> Self {
        let fraction = if percentage.is_nan() { 0.0 } else { (percentage / 100.0).clamp(0.0, 1.0) };
        Share { below: (fraction * RANDOMNESS_RANGE as f64) as u64 }
    }

    /// Whether records with this randomness (of the trace id, else their own) are in it.
    #[inline]
    pub fn holds(self, randomness: u64) -> bool {
        XxHash64::oneshot(SEED, &randomness.to_le_bytes()) >> 8 < self.below
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::policy::threshold_of;

    /// 56-bit numbers that look random.
    fn numbers(n: u64) -> impl Iterator<Item = u64> {
        (0..n).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 8)
    }

    #[test]
    fn shares_are_as_large_as_they_say_and_lie_within_each_other() {
        let n = 200_000;
        let mut before = Share::NONE;
        for percentage in [0.0, 0.1, 5.0, 25.0, 50.0, 100.0] {
            let share = Share::of_percentage(percentage);
            let held = numbers(n).filter(|r| share.holds(*r)).count() as f64;
            let p = percentage / 100.0;
            let allowed = 5.0 * (n as f64 * p * (1.0 - p)).sqrt() + 0.5;
            assert!((held - n as f64 * p).abs() <= allowed, "{percentage}: {held}");
            assert!(numbers(n).all(|r| !before.holds(r) || share.holds(r)));
            before = share;
        }
        assert!(before.holds(0) && before.holds(RANDOMNESS_RANGE - 1) && !Share::of_percentage(f64::NAN).holds(0));
    }

    #[test]
    fn a_share_says_nothing_about_thresholds() {
        let n = 200_000;
        for (share, rate) in [(5.0, 10.0), (25.0, 1.0), (50.0, 50.0), (5.0, 95.0)] {
            let (held, threshold) = (Share::of_percentage(share), threshold_of(rate));
            let inside: Vec<u64> = numbers(n).filter(|r| held.holds(*r)).collect();
            let kept = inside.iter().filter(|r| **r >= threshold).count() as f64;
            let (of, p) = (inside.len() as f64, rate / 100.0);
            assert!(
                (kept - of * p).abs() <= 5.0 * (of * p * (1.0 - p)).sqrt(),
                "{share} % at {rate} %: {kept} of {of}"
            );
        }
    }

    #[test]
    fn the_hash_is_a_promise() {
        let share = Share::of_percentage(50.0);
        let held: Vec<u64> = (0..16).filter(|r| share.holds(*r)).collect();
        assert_eq!(held, HELD);
    }

    /// Made with another implementation of XXH64: the digests whose highest bit is 0.
    const HELD: [u64; 8] = [0, 1, 3, 4, 5, 6, 8, 9];
}
