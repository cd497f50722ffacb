//! What could be noticed at all: a test that is told the truth about every pattern but whether it has a spike now.
//!
//! Purpose: the ceiling of recall. The likelihood of the last two windows with a spike over that without, which no other
//! test of the same counts can beat (Neyman and Pearson 1933), at the threshold that gives the false alarms allowed.
//! Promises: [`Knows::Everything`] is told each window's true mean (load, bursts, batches, slow wandering) and dispersion,
//! [`Knows::Averages`] all but the wandering. Thresholds are set on the very windows that are judged, which favours it.

use std::collections::HashMap;

use lipservice::control_plane::analysis::anomaly::Kind;

use super::score::{Alarm, Score, score};
use super::simulator::{Known, Plan, Truth};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Knows {
    Everything,
    Averages,
}

/// Suspicions below this log-likelihood ratio are not kept: far more than one a day are false there.
const LEAST: f64 = 5.0;
/// Steps of the threshold.
const STEP: f64 = 0.1;
/// Windows below the threshold after which an alarm is over, as for the other tests.
const CALM: u64 = 3;

/// Two neighbouring windows of a pattern that look like a spike.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    service: usize,
    pattern: u64,
    window: u64,
    /// Records per window that are usual.
    base: f64,
    ratio: f64,
}

/// A test of every pattern by itself.
pub struct Oracle {
    knows: Knows,
    factor: f64,
    /// By the number of a pattern: the window that follows its last, the records of that, and what was expected.
    last: Vec<(u64, f64, f64)>,
    suspicions: Vec<Suspicion>,
}

impl Oracle {
    pub fn new(knows: Knows, factor: f64) -> Self {
        Oracle { knows, factor, last: Vec::new(), suspicions: Vec::new() }
    }

    pub fn observe(&mut self, known: &[Known], window: u64) {
        for pattern in known {
            let (mean, records) = (self.mean(pattern), pattern.records as f64);
            let at = pattern.pattern as usize;
            self.last.resize(self.last.len().max(at + 1), (0, 0.0, 0.0));
            let (follows, seen, expected) = std::mem::replace(&mut self.last[at], (window + 1, records, mean));
            if follows != window {
                continue;
            }
            let ratio = match self.knows {
                Knows::Everything => {
                    let of = |seen, mean| ln_ratio(seen, mean, self.factor, pattern.variance);
                    of(records, mean) + of(seen, expected)
                }
                Knows::Averages => {
                    // The noise of one window is gone in the next, the wandering is not.
                    let dispersion = pattern.variance / 2.0 + pattern.wander_variance;
                    ln_ratio(records + seen, mean + expected, self.factor, dispersion)
                }
            };
            if ratio > LEAST {
                let Known { service, pattern, base, .. } = *pattern;
                self.suspicions.push(Suspicion { service, pattern, window, base, ratio });
            }
        }
    }

    fn mean(&self, known: &Known) -> f64 {
        if self.knows == Knows::Everything { known.mean } else { known.mean / known.wander }
    }

    /// The best score with so many false alarms per service and day, where patterns with fewer than `base` records per
    /// window are left alone.
    pub fn best(&self, truths: &[Truth], plan: &Plan, base: f64, false_per_service_day: f64) -> Score {
        let at = |step: usize| {
            let threshold = LEAST + STEP * step as f64;
            score(self.alarms(threshold, base), truths, plan)
        };
        let (mut low, mut high) = (0, (60.0 / STEP) as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            if at(middle).false_per_service_day() <= false_per_service_day {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        at(low)
    }

    fn alarms(&self, threshold: f64, base: f64) -> Vec<Alarm> {
        let mut open: HashMap<u64, u64> = HashMap::new();
        let mut alarms = Vec::new();
        for suspicion in self.suspicions.iter().filter(|s| s.ratio >= threshold && s.base >= base) {
            let Suspicion { service, pattern, window, .. } = *suspicion;
            let before = open.insert(pattern, window);
            if before.is_none_or(|before| before + CALM < window) {
                alarms.push(Alarm { kind: Kind::Spike, service, pattern: Some(pattern), window });
            }
        }
        alarms
    }
}

/// `ln` of how much likelier `seen` is when the mean is `factor` times as large.
fn ln_ratio(seen: f64, mean: f64, factor: f64, dispersion: f64) -> f64 {
    let spread = |mean: f64| (mean * dispersion).ln_1p();
    seen * factor.ln() - (seen + 1.0 / dispersion) * (spread(mean * factor) - spread(mean))
}
