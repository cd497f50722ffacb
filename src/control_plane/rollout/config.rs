//! Settings of rollouts.
//!
//! Promises: every key has a default; unknown keys are refused. A rollout keeps the settings it was started with.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// `rollout:` How a version comes in force step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutConfig {
    /// Counted, not enforced.
    pub shadow: StageConfig,
    /// Deciding about a share of the traffic.
    pub canary: CanaryConfig,
    /// In force, still watched.
    pub live: StageConfig,
    /// How long a stage may wait for records, beyond its duration too, before the rollout goes back.
    pub max_wait: Period,
    /// How long a rollout may take in all, approval included.
    pub ttl: Period,
    /// How far what is kept may be from the prediction, as a part of it (0.25 is a quarter).
    pub tolerance: f64,
}

/// A stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StageConfig {
    /// How long it lasts at least.
    pub duration: Period,
    /// Records it needs before it is judged.
    pub min_records: u64,
}

impl Default for StageConfig {
    fn default() -> Self {
        StageConfig { duration: Period::secs(600), min_records: 1000 }
    }
}

/// `canary:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CanaryConfig {
    /// Shares of the traffic, in percent, ascending; each is a stage.
    pub percentages: Vec<f64>,
    /// How long each lasts at least.
    pub duration: Period,
    /// Records of the share that each needs before it is judged.
    pub min_records: u64,
}

impl Default for CanaryConfig {
    fn default() -> Self {
        let StageConfig { duration, min_records } = StageConfig::default();
        CanaryConfig { percentages: vec![5.0, 25.0, 50.0], duration, min_records }
    }
}

impl Default for RolloutConfig {
    fn default() -> Self {
        RolloutConfig {
            shadow: StageConfig::default(),
            canary: CanaryConfig::default(),
            live: StageConfig { duration: Period::secs(1800), ..StageConfig::default() },
            max_wait: Period::secs(7200),
            ttl: Period::secs(86_400),
            tolerance: 0.25,
        }
    }
}
