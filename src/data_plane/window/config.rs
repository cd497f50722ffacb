//! Settings of the windows.
//!
//! Promises: every key has a default; unknown keys are refused.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// `window:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WindowConfig {
    /// Length of a window.
    pub interval: Period,
    /// Patterns tracked at once over all services. Further ones share one overflow entry per service and severity
    /// band, which is counted and visible.
    pub max_patterns: usize,
    /// Services tracked at once; further ones share one entry.
    pub max_services: usize,
    /// Forget a pattern after this long without a record.
    pub idle_timeout: Period,
}

impl Default for WindowConfig {
    fn default() -> Self {
        WindowConfig {
            interval: Period::secs(10),
            max_patterns: 20_000,
            max_services: 1_000,
            idle_timeout: Period::secs(3600),
        }
    }
}
