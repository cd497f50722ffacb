//! Settings of the sampler.
//!
//! Promises: every key has a default; unknown keys are refused.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data_plane::pattern::config::PatternsConfig;
use crate::data_plane::window::config::WindowConfig;
use crate::units::Period;

/// `processors: sampler:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SamplerConfig {
    /// Policy files (YAML or JSON) or directories of them, read in this order and watched for changes.
    pub policies: Vec<String>,
    /// Percentage of records to keep that no policy matches.
    pub default_percentage: f64,
    /// Records of this severity or above are always kept, whatever a policy says.
    pub protect_severity: ProtectSeverity,
    /// Records kept when a pattern is seen for the first time (or again after it was forgotten). With a control plane: for the
    /// first time by any gateway that reports to it.
    pub novelty_records: u32,
    /// Records kept of every pattern in every window, whatever its rate. A policy with `keep: none` is an order and is
    /// obeyed: its patterns appear in summaries alone.
    pub floor_records: u32,
    /// Patterns learned from signatures.
    pub patterns: PatternsConfig,
    /// Windows and their bounds.
    pub window: WindowConfig,
    /// Summary records of what was dropped.
    pub summary: SummaryConfig,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        SamplerConfig {
            policies: Vec::new(),
            default_percentage: 100.0,
            protect_severity: ProtectSeverity::Error,
            novelty_records: 1,
            floor_records: 1,
            patterns: PatternsConfig::default(),
            window: WindowConfig::default(),
            summary: SummaryConfig::default(),
        }
    }
}

/// `protect_severity:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProtectSeverity {
    /// 13 and above.
    Warn,
    /// 17 and above.
    #[default]
    Error,
    /// 21 and above.
    Fatal,
    /// Protect by policy only.
    None,
}

/// `summary:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SummaryConfig {
    /// Whether patterns that lost records leave a summary record.
    pub enabled: bool,
    /// How often.
    pub interval: Period,
}

impl Default for SummaryConfig {
    fn default() -> Self {
        SummaryConfig { enabled: true, interval: Period::secs(60) }
    }
}
