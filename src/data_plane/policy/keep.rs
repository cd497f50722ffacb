//! The forms of `keep`.
//!
//! Purpose: parse `all`, `none`, `N%`, `N/s`, `N/m`, `N/Ds`, `N/Dm` and turn percentages into thresholds.
//! Promises: a malformed value is an error, never a permissive default.
//! Never: decides.

use std::time::Duration;

/// Bits of randomness of consistent sampling (OpenTelemetry probability sampling, W3C trace context level 2).
pub const RANDOMNESS_BITS: u32 = 56;

/// What a policy wants of the records it matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// Every one.
    All,
    /// None of them.
    None,
    /// About this share of them, 0 to 100.
    Percentage(f64),
    /// At most `limit` in each window.
    RateLimit {
        /// Records.
        limit: u32,
        /// Length of the window.
        window: Duration,
    },
}

/// The rejection threshold of a percentage: keep a record iff its 56-bit randomness is at least this. Computed from the
/// share that stays, because a double holds that more exactly where it is small.
pub fn threshold_of(percentage: f64) -> u64 {
    let all = 1u64 << RANDOMNESS_BITS;
    let kept = (percentage.clamp(0.0, 100.0) / 100.0 * all as f64).round() as u64;
    all - kept
}

impl Keep {
    /// Reads a `keep` value; `None` when it is malformed.
    pub fn parse(text: &str) -> Option<Keep> {
        match text {
            "all" => return Some(Keep::All),
            "none" => return Some(Keep::None),
            _ => {}
        }
        if let Some(number) = text.strip_suffix('%') {
            return percentage(number).map(Keep::Percentage);
        }
        let (limit, period) = text.split_once('/')?;
        let limit = positive(limit)?;
        let (count, unit) = period.split_at_checked(period.len().checked_sub(1)?)?;
        let seconds_per_unit = match unit {
            "s" => 1,
            "m" => 60,
            _ => return None,
        };
        let count = if count.is_empty() { 1 } else { positive(count)? };
        let seconds = count.checked_mul(seconds_per_unit).filter(|&s| s <= MAX_WINDOW_SECONDS)?;
        // More than four billion a window is no limit that could be reached.
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        Some(Keep::RateLimit { limit, window: Duration::from_secs(seconds) })
    }
}

/// Ten years: longer windows are typing errors.
const MAX_WINDOW_SECONDS: u64 = 10 * 366 * 86_400;

/// Digits with at most one point, 0 to 100; no sign and no exponent.
fn percentage(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.bytes().any(|b| b.is_ascii_digit());
    let number: f64 = if plain { text.parse().ok()? } else { return None };
    (0.0..=100.0).contains(&number).then_some(number)
}

/// Digits alone, at least 1.
fn positive(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&number| plain && number > 0)
}
