//! The level of one series of counts, how much it varies, and how surprising the last windows are.
//!
//! Purpose: an exponentially weighted mean (EWMA) of records per window and, at three time scales, of their dispersion
//! around the prediction; predictive tails of a negative binomial from both.
//! Promises: the mean of a young series counts as uncertain (wide tails); one wild window moves neither mean nor
//! dispersion by more than a clipped value; sizes are constant.
//! Never: knows what the counts are of, reads a clock, or decides that something is an anomaly.
//!
//! Beside the mean, which moves slowly, a series leans to one side for minutes: how far is followed as fast as its counts tell
//! (a Kalman filter of what returns to 0), so that a busy series is predicted from the last minutes and a rare one is not.
//!
//! The model: windows of exposure `e` hold NB(mean · e, dispersion) records. Dispersion is estimated by moments,
//! Σ((x − m)² − m) / Σm², once for single windows, once for sums of 2 and of 6 windows: neighbouring windows are alike,
//! so sums vary more than independence would allow, and each scale learns by how much. Young estimates are shrunk to a
//! prior that pattern and service share.

use serde::{Deserialize, Serialize};

use super::kept::{amount, number, pairs};
use super::tail;

/// How many windows are looked at together.
pub const SCALES: [usize; 3] = [1, 2, 6];
const LONGEST: usize = SCALES[2];

/// Windows after which a count weighs half in the mean: 20 minutes of 10 s.
const MEAN_HALF_LIFE_WINDOWS: f64 = 120.0;
/// Windows after which a residual weighs half in the dispersion: 6 hours.
const SPREAD_HALF_LIFE_WINDOWS: f64 = 2160.0;
/// Windows' worth of evidence that the prior dispersion stands for.
const PRIOR_WINDOWS: f64 = 60.0;
/// Counts are learned up to so many standard deviations above the prediction.
const CLIP_DEVIATIONS: f64 = 4.0;
/// Residuals are learned up to so many.
const CLIP_RESIDUAL_DEVIATIONS: f64 = 6.0;
/// Up to so many standard deviations above the prediction, a count is called certain: it is no news by any limit.
const PLAIN_DEVIATIONS: f64 = 1.5;
/// What a series leans to for minutes is this large (one standard deviation, as a share of its mean) …
const LEAN_DEVIATION: f64 = 0.07;
/// … and this much of it is left after a window: half after about four minutes of 10 s windows.
const LEAN_KEPT: f64 = 0.97;
/// A window moves it by no more than one of so many standard deviations would: a spike must not explain itself.
const LEAN_CLIP_DEVIATIONS: f64 = 2.0;
/// How far a series can lean.
const LEAN_RANGE: (f64, f64) = (-0.5, 1.0);
/// Windows after which a series is known well enough to see it lean.
const LEAN_WINDOWS: f64 = 30.0;
/// Records that stand for knowing nothing (Jeffreys' prior of a rate).
const PRIOR_RECORDS: f64 = 0.5;

/// Moments of the residuals at one scale.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Spread {
    #[serde(deserialize_with = "number")]
    excess: f64,
    #[serde(deserialize_with = "amount")]
    square: f64,
}

/// One series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Level {
    #[serde(deserialize_with = "amount")]
    mean: f64,
    /// Exposure behind the mean, discounted.
    #[serde(deserialize_with = "amount")]
    weight: f64,
    /// Windows behind the mean, discounted.
    #[serde(deserialize_with = "amount")]
    windows: f64,
    /// Windows in all.
    #[serde(deserialize_with = "amount")]
    age: f64,
    /// Records expected in a window, smoothed.
    #[serde(deserialize_with = "amount")]
    typical: f64,
    spread: [Spread; 3],
    /// By how much more or less than the mean is expected for some minutes, as a share of it.
    #[serde(deserialize_with = "number")]
    lean: f64,
    /// Variance of what is not known of that.
    #[serde(deserialize_with = "amount")]
    lean_doubt: f64,
    /// (seen, expected) of the last windows, newest last.
    #[serde(deserialize_with = "pairs")]
    recent: [(f64, f64); LONGEST],
    #[serde(deserialize_with = "filled")]
    filled: usize,
}

fn filled<'de, D: serde::Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    Ok(usize::deserialize(from)?.min(LONGEST))
}

/// How surprising the last windows are at the scale where they are most so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Surprise {
    /// Windows looked at together.
    pub windows: usize,
    /// Records seen in them.
    pub seen: f64,
    /// Records expected in them.
    pub expected: f64,
    /// Dispersion of the prediction, uncertainty of the mean included.
    pub dispersion: f64,
    /// `ln P(X ≥ seen)`.
    pub ln_p: f64,
}

/// What is left of an old count after some windows: `2^(−windows / half_life)` to first order, which a few windows are
/// short enough for.
fn kept(windows: f64, half_life: f64) -> f64 {
    1.0 - std::f64::consts::LN_2 * windows / half_life
}

/// Variance of a count.
fn variance(mean: f64, dispersion: f64) -> f64 {
    mean + dispersion * mean * mean
}

/// `ln P(X ≥ seen)`, not worked out where it is nothing special.
fn ln_tail(seen: f64, expected: f64, dispersion: f64) -> f64 {
    let above = seen - expected;
    if above <= 0.0 || above * above < PLAIN_DEVIATIONS * PLAIN_DEVIATIONS * variance(expected, dispersion) {
        return 0.0;
    }
    tail::ln_at_least(seen, expected, dispersion)
}

impl Level {
    /// Records per exposure, as predicted; a series never seen is given the benefit of half a record.
    pub fn mean(&self) -> f64 {
        self.mean.max(PRIOR_RECORDS / (self.weight + 1.0)) * (1.0 + self.lean)
    }

    /// Windows seen so far.
    pub fn age(&self) -> f64 {
        self.age
    }

    /// Dispersion at a scale (index into [`SCALES`]), shrunk to `prior` while there is little evidence.
    pub fn dispersion(&self, scale: usize, prior: f64) -> f64 {
        let Spread { excess, square } = self.spread[scale];
        // A window of few records says little about dispersion: the prior weighs more the smaller the counts.
        let sum = self.typical.max(PRIOR_RECORDS / (self.windows + 1.0)) * SCALES[scale] as f64;
        let weight = PRIOR_WINDOWS * sum * (sum + 0.5);
        ((excess + prior * weight) / (square + weight)).max(0.0)
    }

    /// The series' own dispersion at a scale, without a prior; `None` while there is too little to go by.
    pub fn own_dispersion(&self, scale: usize) -> Option<f64> {
        let Spread { excess, square } = self.spread[scale];
        (self.age > 6.0 * PRIOR_WINDOWS && square > 9.0 * PRIOR_WINDOWS).then(|| (excess / square).max(0.0))
    }

    /// Relative variance of the mean itself.
    fn doubt(&self, prior: f64) -> f64 {
        1.0 / (self.mean() * self.weight + PRIOR_RECORDS) + self.dispersion(0, prior) / (self.windows + 1.0)
    }

    /// Scales the mean, where a seasonal baseline says that more or less is usual from now on.
    pub fn shift(&mut self, factor: f64) {
        self.mean *= factor;
    }

    /// Takes over what another series brings, when two become one.
    pub fn absorb(&mut self, other: &Level) {
        self.mean += other.mean;
        self.lean = 0.0;
        self.typical += other.typical;
        self.interrupt();
    }

    /// Notes a window without learning from it: what [`Level::surprise`] looks at.
    pub fn note(&mut self, seen: f64, expected: f64) {
        self.recent.rotate_left(1);
        self.recent[LONGEST - 1] = (seen, expected);
        self.filled = (self.filled + 1).min(LONGEST);
    }

    /// How surprising the noted windows are, at the most surprising scale from two windows on: one window by itself is
    /// looked at only while there is no other.
    pub fn surprise(&self, prior: &[f64; 3]) -> Surprise {
        let mut most = Surprise { windows: 1, seen: 0.0, expected: 0.0, dispersion: 0.0, ln_p: 0.0 };
        let doubt = self.doubt(prior[0]);
        for (scale, &windows) in SCALES.iter().enumerate().take_while(|(_, windows)| **windows <= self.filled) {
            let (seen, expected) = self.sum(windows);
            let dispersion = self.dispersion(scale, prior[scale]) + doubt;
            let ln_p = ln_tail(seen, expected, dispersion);
            if scale < 2 || ln_p < most.ln_p {
                most = Surprise { windows, seen, expected, dispersion, ln_p };
            }
        }
        most
    }

    /// How surprising the last window is, alone.
    pub fn surprise_of_last(&self, prior: &[f64; 3]) -> Surprise {
        let (seen, expected) = self.sum(1);
        let dispersion = self.dispersion(0, prior[0]) + self.doubt(prior[0]);
        let ln_p = ln_tail(seen, expected, dispersion);
        Surprise { windows: 1, seen, expected, dispersion, ln_p }
    }

    /// (seen, expected) of the last `windows` windows.
    pub fn sum(&self, windows: usize) -> (f64, f64) {
        let last = &self.recent[LONGEST - windows.min(LONGEST)..];
        last.iter().fold((0.0, 0.0), |sum, window| (sum.0 + window.0, sum.1 + window.1))
    }

    /// How many of the last `windows` windows brought more than `factor` times what was expected.
    pub fn high(&self, windows: usize, factor: f64) -> usize {
        let last = &self.recent[LONGEST - windows.min(LONGEST)..];
        last.iter().filter(|(seen, expected)| *seen > expected * factor).count()
    }

    /// Forgets the noted windows, after a gap.
    pub fn interrupt(&mut self) {
        self.filled = 0;
        self.recent = Default::default();
    }

    /// Learns one frame of `windows` windows and `exposure` (for counts per window the same; for shares, the records the
    /// share is of); `expected` is what was predicted for it (with whatever else was known, such as the load of the
    /// whole service). Call [`Level::note`] first.
    pub fn learn(&mut self, seen: f64, expected: f64, exposure: f64, windows: f64, prior: &[f64; 3]) {
        let (doubt, windows_passed) = (self.doubt(prior[0]), windows);
        for (scale, &windows) in SCALES.iter().enumerate().take_while(|(_, windows)| **windows <= self.filled) {
            let (seen, expected) = self.sum(windows);
            let dispersion = self.dispersion(scale, prior[scale]) + doubt;
            let most = CLIP_RESIDUAL_DEVIATIONS * variance(expected, dispersion).sqrt() + 1.0;
            let residual = (seen - expected).clamp(-most, most);
            let keep = kept(windows_passed, SPREAD_HALF_LIFE_WINDOWS);
            let spread = &mut self.spread[scale];
            spread.excess = spread.excess * keep + residual * residual - expected;
            spread.square = spread.square * keep + expected * expected;
        }
        self.follow_lean(seen, expected, windows, prior[0]);
        let most = expected + CLIP_DEVIATIONS * variance(expected, self.dispersion(0, prior[0]) + doubt).sqrt() + 1.0;
        let learned = if self.age < 1.0 { seen } else { seen.min(most) };
        let keep = kept(windows, MEAN_HALF_LIFE_WINDOWS);
        self.weight = self.weight * keep + exposure;
        self.windows = self.windows * keep + windows;
        self.mean = (self.mean + (learned - self.mean * exposure) / self.weight.max(1e-9)).max(0.0);
        self.typical += (expected / windows - self.typical) * (windows / self.windows);
        self.age += windows;
    }

    /// Follows what the series leans to, as far as a frame of `windows` windows tells.
    fn follow_lean(&mut self, seen: f64, expected: f64, windows: f64, prior: f64) {
        if self.age < LEAN_WINDOWS || expected <= 0.0 {
            return;
        }
        let kept = LEAN_KEPT.powf(windows);
        let doubt = self.lean_doubt * kept * kept + LEAN_DEVIATION * LEAN_DEVIATION * (1.0 - kept * kept);
        let noise = 1.0 / expected + self.dispersion(0, prior);
        let most = LEAN_CLIP_DEVIATIONS * (doubt + noise).sqrt();
        let gain = doubt / (doubt + noise);
        let lean = self.lean * kept + gain * (seen / expected - 1.0).clamp(-most, most);
        (self.lean, self.lean_doubt) = (lean.clamp(LEAN_RANGE.0, LEAN_RANGE.1), doubt * (1.0 - gain));
    }

    /// Takes `mean` for the new level, with little certainty: a lasting change was accepted.
    pub fn accept(&mut self, mean: f64) {
        let certain = self.windows.max(1.0);
        let left = certain.min(LONGEST as f64);
        (self.mean, self.lean) = (mean, 0.0);
        self.weight *= left / certain;
        self.windows = left;
        self.interrupt();
    }

    /// Seen over expected in the last noted windows, as a factor.
    pub fn recent_factor(&self) -> f64 {
        let (seen, expected) = self.sum(self.filled);
        if expected > 0.0 { seen / expected } else { 1.0 }
    }
}
