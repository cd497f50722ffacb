//! Settings of the loop: `generator:`.
//!
//! Promises: every key but a budget has a default; unknown keys are refused; nothing is published unless it says so.
//! Never: checks what values mean; see `config`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use crate::data_plane::reservoir::config::ReservoirConfig;
use crate::units::Period;

/// `generator:` Writes sampling policies for a budget from what flows through this process and through gateways with
/// `control_plane.samples`, again and again. Off without the section. Needs `role: all` and `api:`, or `role: control_plane`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorConfig {
    /// What may be sent of everything: a share (20%), bytes (50GB/day) or money ($200/month).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// What may be sent of single services.
    pub service_budgets: BTreeMap<String, Budget>,
    /// How often a policy is written.
    pub interval: Period,
    /// What becomes of a policy that passed its review.
    pub publish: Publish,
    /// Lowest rate of a pattern, as a share.
    pub least_rate: f64,
    /// Share of its rate in the policy before that a rate may fall to in one run; 0 for no bound.
    pub most_step: f64,
    /// Rules at most; the patterns that would save least keep everything.
    pub max_rules: usize,
    /// How long a policy holds, should no further run renew it.
    pub expires_in: Period,
    /// What must have been seen before the first run.
    pub warm_up: Period,
    /// What starts a run before its time.
    pub drift: DriftConfig,
    /// Recent records, for the replay.
    pub reservoir: ReservoirConfig,
    /// Records of one replay, about. More make its estimates closer, and a run longer.
    pub replay_records: u64,
}

impl Default for GeneratorConfig {
    fn default() -> Self {
        GeneratorConfig {
            budget: None,
            service_budgets: BTreeMap::new(),
            interval: Period::secs(3600),
            publish: Publish::Manual,
            least_rate: 0.000_1,
            most_step: 0.25,
            max_rules: 2_000,
            expires_in: Period::secs(86_400),
            warm_up: Period::secs(300),
            drift: DriftConfig::default(),
            reservoir: ReservoirConfig::default(),
            replay_records: 60_000,
        }
    }
}

/// `publish:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// It is stored, and waits for a person to activate it.
    #[default]
    Manual,
    /// It is counted beside what is in force, and never decides.
    Shadow,
    /// Counted, then deciding about growing shares, then in force; back by itself when it does not do what was predicted
    /// (`rollout:`).
    Canary,
    /// It goes into force at once.
    Live,
}

/// `drift:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DriftConfig {
    /// Share of the bytes, 0 to 1, of patterns that no run has looked at.
    pub unscored_share: f64,
    /// How far the share that is kept may be off the share that the replay promised, relative to that.
    pub budget_error: f64,
    /// Patterns that appeared since the last run.
    pub new_patterns: u64,
    /// Never sooner than this after the last run.
    pub pause: Period,
}

impl Default for DriftConfig {
    fn default() -> Self {
        DriftConfig { unscored_share: 0.2, budget_error: 0.3, new_patterns: 100, pause: Period::secs(600) }
    }
}
