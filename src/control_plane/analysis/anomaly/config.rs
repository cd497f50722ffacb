//! Settings of anomaly detection.
//!
//! Promises: every key has a default; unknown keys are refused.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// `anomalies:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnomalyConfig {
    /// Whether rates are watched.
    pub enabled: bool,
    /// False alarms that are acceptable, per service and day. Detectors set their thresholds by it.
    pub false_alarms_per_service_day: f64,
    /// Records above the expectation that a spike needs at least, within the windows it is seen in.
    pub min_records: u32,
    /// By how much a spike, or a severity's share, must exceed the expectation at least. Large counts make small changes
    /// certain, but not interesting.
    pub min_factor: f64,
    /// How long a service is only learned from, after it is first seen.
    pub warm_up: Period,
    /// After this long a lasting change is the new normal and its anomaly ends.
    pub accept_after: Period,
    /// Forget a pattern after this long without a record; when it comes again it is new.
    pub forget_after: Period,
    /// Patterns watched at once over all services. When nine tenths are taken, those that paused for an hour are forgotten;
    /// a new pattern without room is not watched until there is some, and its records are counted.
    pub max_patterns: usize,
    /// Services watched at once; further ones are not watched.
    pub max_services: usize,
    /// Anomalies that ended and are still listed.
    pub max_ended: usize,
    /// File that keeps what is known of rates over a restart. Without it everything is learned anew, which takes a
    /// day. Set `processors.sampler.patterns.file` too, so that learned patterns keep their ids.
    pub state_file: Option<String>,
    /// How often the file is written, beside at shutdown.
    pub state_interval: Period,
    /// Keeping more records of a pattern while it is anomalous.
    pub boost: BoostConfig,
}

impl Default for AnomalyConfig {
    fn default() -> Self {
        AnomalyConfig {
            enabled: true,
            false_alarms_per_service_day: 1.0,
            min_records: 10,
            min_factor: 2.0,
            warm_up: Period::secs(600),
            accept_after: Period::secs(1800),
            forget_after: Period::secs(7 * 86_400),
            max_patterns: 20_000,
            max_services: 1_000,
            max_ended: 200,
            state_file: None,
            state_interval: Period::secs(300),
            boost: BoostConfig::default(),
        }
    }
}

/// `boost:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BoostConfig {
    /// Whether anomalous patterns are kept at a higher percentage. `keep: none` and rate limits are obeyed all the same.
    pub enabled: bool,
    /// Percentage kept while a pattern is anomalous, where its policy would keep less.
    pub percentage: f64,
    /// Records per second that a boost may keep of one pattern; above that the percentage is lowered accordingly.
    pub max_records_per_second: f64,
    /// After the end of an anomaly the boosted percentage halves in each such time, until it is below the policy's.
    pub half_life: Period,
}

impl Default for BoostConfig {
    fn default() -> Self {
        BoostConfig { enabled: true, percentage: 100.0, max_records_per_second: 100.0, half_life: Period::secs(60) }
    }
}
