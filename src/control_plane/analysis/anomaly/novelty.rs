//! How a service brings new patterns when nothing is wrong.
//!
//! Purpose: say how surprising a new pattern is that wrote `n` records in its first minute, and how surprising it is that
//! so many patterns are new at once.
//! Promises: a service that always brings new patterns raises few alarms, one that never does raises them at once; what
//! raised an alarm is not learned from.
//! Never: holds more than a few numbers.
//!
//! New patterns come at a rate that falls with a service's age (the vocabulary of logs grows like that of a language), so
//! the rate is the larger of a day's average and half the known patterns per time known. Sizes of harmless newcomers are
//! geometric with a learned mean: most write once or twice.

use serde::{Deserialize, Serialize};

use crate::control_plane::analysis::frequency::kept::amount;
use crate::control_plane::analysis::frequency::tail;

/// Windows in which a newcomer shows itself: a minute of 10 s.
pub const EARLY_WINDOWS: f64 = 6.0;
/// Windows after which the average of newcomers weighs half: a day.
const HALF_LIFE_WINDOWS: f64 = 8640.0;
/// Newcomers that the prior of their size stands for, and that size.
const PRIOR_NEWCOMERS: f64 = 4.0;
const PRIOR_SIZE: f64 = 2.0;
/// Newcomers come in clusters.
const DISPERSION: f64 = 0.5;
/// New patterns at once that make a deploy, at least.
const LEAST_AT_ONCE: f64 = 4.0;

/// A service's newcomers of one class of severity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Novelty {
    #[serde(deserialize_with = "amount")]
    known: f64,
    #[serde(deserialize_with = "amount")]
    age: f64,
    #[serde(deserialize_with = "amount")]
    recent: f64,
    #[serde(deserialize_with = "amount")]
    recent_age: f64,
    #[serde(deserialize_with = "amount")]
    sizes: f64,
    #[serde(deserialize_with = "amount")]
    sized: f64,
}

impl Novelty {
    /// Lets time pass.
    pub fn pass(&mut self, windows: f64) {
        let keep = 0.5f64.powf(windows / HALF_LIFE_WINDOWS);
        self.age += windows;
        self.recent *= keep;
        self.recent_age = self.recent_age * keep + windows;
    }

    /// Takes in a newcomer that raised no alarm, with its records in the first minute where they are an example of what
    /// is usual (not while everything is new).
    pub fn learn(&mut self, records: Option<f64>) {
        self.known += 1.0;
        let Some(records) = records else { return };
        self.recent += 1.0;
        // Half of what is known is forgotten after about 140 newcomers.
        self.sizes = self.sizes * 0.995 + records;
        self.sized = self.sized * 0.995 + 1.0;
    }

    /// Newcomers per window.
    pub fn rate(&self) -> f64 {
        let average = (self.recent + 0.5) / (self.recent_age + 1.0);
        let vocabulary = 0.5 * self.known / (self.age + 1.0);
        average.max(vocabulary)
    }

    /// `ln` of how many newcomers with at least `records` in their first minute a window brings when nothing is wrong.
    pub fn ln_rate_of(&self, records: f64) -> f64 {
        let mean = (self.sizes + PRIOR_NEWCOMERS * PRIOR_SIZE) / (self.sized + PRIOR_NEWCOMERS);
        let more = 1.0 - 1.0 / mean.max(1.01);
        self.rate().ln() + (records - 1.0).max(0.0) * more.ln()
    }

    /// `ln P` of at least `newcomers` within [`EARLY_WINDOWS`]; 0 for a few.
    pub fn ln_at_once(&self, newcomers: f64) -> f64 {
        if newcomers < LEAST_AT_ONCE {
            return 0.0;
        }
        tail::ln_at_least(newcomers, self.rate() * EARLY_WINDOWS, DISPERSION)
    }
}
