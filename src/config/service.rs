//! The `service:` section: pipelines, extensions in use, telemetry.
//!
//! Promises: every key has a default; unknown keys are refused.
//! Never: follows the names in it; see `build`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::telemetry::config::TelemetryConfig;
use crate::units::Period;

/// `service:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceConfig {
    /// Extensions to start, by component id. `health_check` runs only when it is listed; authenticators must be listed too.
    pub extensions: Vec<String>,
    /// Pipelines by signal: exactly one `logs` (or `logs/name`), at most one `traces` and one `metrics`.
    pub pipelines: BTreeMap<String, PipelineConfig>,
    /// The gateway's own logs and metrics.
    pub telemetry: TelemetryConfig,
    /// How long a stop may take to send what was accepted. What is still waiting then is counted as failed. Keep it
    /// below Kubernetes' `terminationGracePeriodSeconds` (30 by default).
    pub shutdown_timeout: Period,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        ServiceConfig {
            extensions: Vec::new(),
            pipelines: BTreeMap::new(),
            telemetry: TelemetryConfig::default(),
            shutdown_timeout: Period::secs(25),
        }
    }
}

/// One of `pipelines:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PipelineConfig {
    /// Receivers, by component id. A `traces` or `metrics` pipeline lists the same receivers as `logs`: they share the
    /// ports.
    pub receivers: Vec<String>,
    /// `memory_limiter` and `sampler`, each at most once, for `logs` only. Without a sampler nothing is dropped.
    pub processors: Vec<String>,
    /// Exporters: one or more for `logs`, exactly one `otlp_http` for `traces` and for `metrics`.
    pub exporters: Vec<String>,
}
