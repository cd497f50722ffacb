//! How much more of an anomalous pattern is kept.
//!
//! Purpose: a percentage per pattern from what is anomalous now: the configured one while it lasts, halving after its end.
//! Promises: never keeps more than `max_records_per_second` of a pattern by a boost; forgets a pattern once its boost is
//! below a percent; bounded by the patterns that are anomalous.
//! Never: touches the data plane; the gateway publishes what this returns.

use std::collections::HashMap;
use std::sync::Arc;

use super::config::BoostConfig;
use super::detector::Detector;
use crate::clock::UnixNanos;
use crate::control_plane::analysis::frequency::Pattern;
use crate::data_plane::window::Service;

/// Below this percentage a boost is over.
const LEAST_PERCENTAGE: f64 = 1.0;

/// One pattern's boost.
#[derive(Clone, Debug, PartialEq)]
pub struct Boost {
    /// Whose pattern.
    pub service: Arc<Service>,
    /// Which.
    pub pattern: Pattern,
    /// Percentage of its records to keep, where its policy would keep less.
    pub percentage: f64,
}

/// Boosts in force, with the time of the last step.
#[derive(Debug, Default)]
pub struct BoostPlan {
    percentages: HashMap<(Arc<Service>, Pattern), f64, ahash::RandomState>,
    last: Option<UnixNanos>,
}

impl BoostPlan {
    /// Nothing boosted.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to boost from `now` on.
    pub fn step(
        &mut self,
        detector: &Detector,
        config: &BoostConfig,
        window_seconds: f64,
        now: UnixNanos,
    ) -> Vec<Boost> {
        if !config.enabled {
            self.percentages.clear();
            return Vec::new();
        }
        let passed = now.saturating_sub(self.last.unwrap_or(now)) as f64 / 1e9;
        let half_life = config.half_life.0.as_secs_f64().max(1e-3);
        self.last = Some(now);
        self.percentages.values_mut().for_each(|percentage| *percentage *= 0.5f64.powf(passed / half_life));
        for (service, pattern, per_window) in detector.anomalous() {
            let per_second = per_window / window_seconds;
            let affordable = 100.0 * config.max_records_per_second / per_second.max(1e-9);
            let percentage = config.percentage.min(affordable);
            self.percentages.insert((Arc::clone(service), pattern), percentage);
        }
        self.percentages.retain(|_, percentage| *percentage >= LEAST_PERCENTAGE);
        let boost = |((service, pattern), percentage): (&(Arc<Service>, Pattern), &f64)| Boost {
            service: Arc::clone(service),
            pattern: *pattern,
            percentage: *percentage,
        };
        self.percentages.iter().map(boost).collect()
    }
}
