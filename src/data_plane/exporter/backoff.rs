//! How long to wait before trying again.
//!
//! Purpose: exponential back-off with full jitter, the Collector's factor 1.5, and the destination's own wish.
//! Promises: never longer than `max_interval`, but for a Retry-After, which is obeyed up to ten times that; a wait of at
//! least a tenth of the step, so that jitter never turns into a busy loop.
//! Never: sleeps or reads a clock; randomness comes from a seeded generator.

use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::config::RetryConfig;

const FACTOR: f64 = 1.5;
/// A Retry-After counts up to this many `max_interval`s.
const ORDERED_INTERVALS: u32 = 10;

/// The waiting rule of one exporter.
#[derive(Debug)]
pub(super) struct Backoff {
    initial: Duration,
    max: Duration,
    random: Mutex<SmallRng>,
}

impl Backoff {
    pub(super) fn new(config: &RetryConfig, seed: u64) -> Self {
        let initial = config.initial_interval.0.max(Duration::from_micros(100));
        let max = config.max_interval.0.max(initial);
        Backoff { initial, max, random: Mutex::new(SmallRng::seed_from_u64(seed)) }
    }

    /// The wait after the `failures`th failure in a row (1 for the first).
    pub(super) fn wait(&self, failures: u32) -> Duration {
        let step = self.step(failures);
        step.mul_f64(self.random.lock().random_range(0.1..=1.0))
    }

    /// What a destination's wish counts for.
    pub(super) fn ordered(&self, wish: Duration) -> Duration {
        wish.min(self.max.saturating_mul(ORDERED_INTERVALS))
    }

    fn step(&self, failures: u32) -> Duration {
        let growth = FACTOR.powi(failures.saturating_sub(1).min(64) as i32);
        let seconds = (self.initial.as_secs_f64() * growth).min(self.max.as_secs_f64());
        Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Period;

    #[test]
    fn waits_grow_to_the_bound_and_are_spread() {
        let backoff = Backoff::new(&RetryConfig::default(), 7);
        for (failures, step) in [(0, 5.0), (1, 5.0), (2, 7.5), (3, 11.25), (6, 30.0), (u32::MAX, 30.0)] {
            assert_eq!(backoff.step(failures), Duration::from_secs_f64(step), "{failures}");
            let waits: Vec<Duration> = (0..100).map(|_| backoff.wait(failures)).collect();
            assert!(waits.iter().all(|wait| wait.as_secs_f64() >= step * 0.099 && wait.as_secs_f64() <= step));
            assert!(waits.iter().any(|wait| wait.as_secs_f64() < step * 0.3), "full jitter reaches down");
            assert!(waits.iter().any(|wait| wait.as_secs_f64() > step * 0.8), "and up");
        }
        assert_eq!(backoff.ordered(Duration::from_secs(90)), Duration::from_secs(90));
        assert_eq!(backoff.ordered(Duration::from_secs(u64::MAX)), Duration::from_secs(300));
    }

    #[test]
    fn odd_settings_do_not_spin_or_panic() {
        let zero = RetryConfig {
            initial_interval: Period(Duration::ZERO),
            max_interval: Period(Duration::ZERO),
            ..RetryConfig::default()
        };
        assert!(Backoff::new(&zero, 1).wait(3) > Duration::ZERO);
    }
}
