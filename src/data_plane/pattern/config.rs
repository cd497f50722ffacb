//! Settings of learned patterns.
//!
//! Promises: every key has a default; unknown keys are refused.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// `patterns:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PatternsConfig {
    /// Whether patterns are learned from signatures. Patterns published in policy files apply either way.
    pub enabled: bool,
    /// How often what was seen is mined and published.
    pub interval: Period,
    /// Distinct signatures held for mining; beyond it those not seen for longest are forgotten and counted.
    pub max_signatures: usize,
    /// File that keeps signatures and patterns over a restart. Without it a gateway learns anew, which takes an interval.
    pub file: Option<String>,
}

impl Default for PatternsConfig {
    fn default() -> Self {
        PatternsConfig { enabled: true, interval: Period::secs(60), max_signatures: 50_000, file: None }
    }
}
