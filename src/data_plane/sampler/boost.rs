//! Patterns that are kept at a higher percentage for a while.
//!
//! Purpose: the third meeting of the planes: the control plane says which patterns are anomalous, the pipeline loads the
//! set once per batch, the decision lowers the rejection threshold of their records.
//! Promises: a lookup without allocation, none at all while nothing is boosted.
//! Never: knows why.

use std::collections::HashMap;

use super::threshold::RANDOMNESS_RANGE;
use crate::data_plane::pattern::PatternId;

/// Rejection thresholds of boosted patterns, by number of the service in its table and pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boosts {
    thresholds: HashMap<(u32, PatternId), u64, ahash::RandomState>,
}

impl Boosts {
    /// Nothing boosted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the records of a pattern whose randomness is at least `threshold`, where its policy would keep less.
    pub fn set(&mut self, service: u32, pattern: PatternId, threshold: u64) {
        self.thresholds.insert((service, pattern), threshold);
    }

    /// The threshold of a pattern; 2⁵⁶, which raises nothing, for one that is not boosted.
    #[inline]
    pub fn threshold(&self, service: u32, pattern: PatternId) -> u64 {
        if self.thresholds.is_empty() {
            return RANDOMNESS_RANGE;
        }
        self.thresholds.get(&(service, pattern)).copied().unwrap_or(RANDOMNESS_RANGE)
    }

    /// How many patterns are boosted.
    pub fn len(&self) -> usize {
        self.thresholds.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.thresholds.is_empty()
    }
}
