//! Settings of the control plane, beside those of the store and the API.
//!
//! Promises: every key has a default; unknown keys are refused.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::api::config::ApiConfig;
use super::cache::config::CacheConfig;
use super::generator::config::GeneratorConfig;
use super::rollout::RolloutConfig;
use super::store::config::StoreConfig;
use crate::data_plane::reservoir::config::ReservoirConfig;
use crate::units::{ByteSize, Period, Secret};

/// `role:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Both in one process: records flow through it, and it holds the policies.
    #[default]
    All,
    /// Records only; policies come from the control plane that `control_plane.endpoint` names.
    Gateway,
    /// Policies only; no receivers.
    ControlPlane,
}

/// What a process does for the control plane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ControlConfig {
    /// `role:`
    pub role: Role,
    /// `api:`; with `role: all` the control plane runs only when this section is there.
    pub api: Option<ApiConfig>,
    /// `store:`
    pub store: StoreConfig,
    /// `rollout:`
    pub rollout: RolloutConfig,
    /// `cache:`
    pub cache: CacheConfig,
    /// `generator:`; no policy is written without it.
    pub generator: Option<GeneratorConfig>,
    /// `control_plane:`, for `role: gateway`.
    pub follow: FollowConfig,
}

/// `control_plane:` With `role: gateway`, the control plane this gateway follows and reports to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FollowConfig {
    /// Its API, such as `http://control-plane:8000`.
    pub endpoint: String,
    /// A token with the scope `ingest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// PEM file with authorities to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// File for the last good policies, read at the start when the control plane is away. What is known of patterns is beside
    /// it, with `.known` at the end of the name.
    pub state_file: String,
    /// How often counts are reported.
    pub report_interval: Period,
    /// Who shares the rate limits of policies (`keep: N/s`): all gateways that report to the control plane, each an equal part,
    /// or nobody, so that this gateway passes N. As `report_interval` and `known_patterns`, it holds with `role: all`, too.
    pub rate_limits: RateLimits,
    /// Patterns known to the control plane that are remembered here, 8 bytes each: the first records of these are no news and
    /// get none of `novelty_records`. What is beyond counts as new. 0 asks for none.
    pub known_patterns: usize,
    /// Recent records for the loop there (`generator:`). Off without the section: then counts alone leave this gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<SamplesConfig>,
}

/// `control_plane.rate_limits:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateLimits {
    /// All gateways that report to the control plane, each an equal part.
    #[default]
    Fleet,
    /// Nobody: each gateway passes all of it.
    Gateway,
}

/// `control_plane.samples:` Some recent records of every pattern, as the policies in force redact them, and its counts by window
/// are handed to the control plane, whose loop writes policies from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplesConfig {
    /// How often what is new is handed over.
    pub interval: Period,
    /// Bytes of records handed over at once at most, in base64; what does not fit goes with the next. Counts always go.
    pub max_size: ByteSize,
    /// Records handed over at once at most.
    pub max_records: usize,
    /// Recent records, kept in memory until then.
    pub reservoir: ReservoirConfig,
}

impl Default for SamplesConfig {
    fn default() -> Self {
        SamplesConfig {
            interval: Period::secs(30),
            max_size: ByteSize::mib(2),
            max_records: 5_000,
            reservoir: ReservoirConfig::default(),
        }
    }
}

impl Default for FollowConfig {
    fn default() -> Self {
        FollowConfig {
            endpoint: String::new(),
            token: None,
            ca_file: None,
            state_file: "lipservice-policies.json".into(),
            report_interval: Period::secs(10),
            rate_limits: RateLimits::default(),
            known_patterns: 1_000_000,
            samples: None,
        }
    }
}
