//! How improbable a window must be to raise an alarm.
//!
//! Purpose: share the budget of false alarms (per service and day) among detectors, and each detector's share among the
//! tests it makes in a day.
//! Promises: if the predictive tails are right, false alarms stay within the budget: a Bonferroni bound over series and
//! windows, so that correlated ones make it smaller, not larger; where tails are known to be wrong, a measured factor.
//! Never: looks at what was seen.

/// Seconds in a day.
const DAY: f64 = 86_400.0;
/// Shares of the budget. A third is kept back: dispersion is an estimate, and real tails are a little heavier.
const SPIKE: f64 = 0.36;
const SILENCE: f64 = 0.1;
const NOVELTY: f64 = 0.1;
/// Far less than its part: patterns of one severity that burst together move a share more often than its tail says.
const SEVERITY: f64 = 0.005;
/// How much rarer an alarm is than its tail says, because a second high window must confirm it. Measured on simulated worlds
/// (`examples/anomalies`, seeds 101 and 102), as is the share above.
const CONFIRMED: f64 = 2.0;
/// Tests that the scales of one series amount to: they overlap, so they are surprised together.
const SCALES_TESTED: f64 = 1.5;

/// Natural logarithms of the probabilities below which a single test raises an alarm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// One pattern, one window, one scale.
    pub spike: f64,
    /// One pattern, one window.
    pub silence: f64,
    /// One window.
    pub novelty: f64,
    /// One class of severity, one window, one scale.
    pub severity: f64,
}

impl Limits {
    /// For a service with `series` series (its patterns and itself) and `classes` classes of severity.
    pub fn new(false_alarms_per_day: f64, window_seconds: f64, series: usize, classes: usize) -> Self {
        let windows = DAY / window_seconds;
        let ln = |share: f64, tests: f64| (false_alarms_per_day.max(1e-9) * share / (windows * tests)).min(0.5).ln();
        let (series, scales) = (series.max(1) as f64, SCALES_TESTED);
        Limits {
            spike: ln(SPIKE * CONFIRMED, series * scales),
            silence: ln(SILENCE, series),
            novelty: ln(NOVELTY, 2.0),
            severity: ln(SEVERITY, classes as f64 * scales),
        }
    }
}
