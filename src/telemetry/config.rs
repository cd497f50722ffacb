//! Settings of health, metrics, own logs and the memory limiter, in the Collector's words.
//!
//! Promises: every key has a default; unknown keys are refused; what is printed loads again.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// `extensions: health_check:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheckConfig {
    /// Address of `/`, `/health/live` and `/health/ready`.
    pub endpoint: String,
}

impl Default for HealthCheckConfig {
    fn default() -> Self {
        HealthCheckConfig { endpoint: "127.0.0.1:13133".into() }
    }
}

/// `processors: memory_limiter:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryLimiterConfig {
    /// How often resident memory is read.
    pub check_interval: Period,
    /// Hard limit of resident memory in MiB. This or `limit_percentage` is required; this one goes first.
    pub limit_mib: u64,
    /// Requests are told to retry above `limit_mib` less this many MiB. A fifth of `limit_mib` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spike_limit_mib: Option<u64>,
    /// Hard limit in percent of the memory there is: the container's limit (cgroup), else the machine's.
    pub limit_percentage: u64,
    /// Requests are told to retry above `limit_percentage` less this many percent. A fifth of it when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spike_limit_percentage: Option<u64>,
}

impl Default for MemoryLimiterConfig {
    fn default() -> Self {
        MemoryLimiterConfig {
            check_interval: Period::secs(1),
            limit_mib: 0,
            spike_limit_mib: None,
            limit_percentage: 0,
            spike_limit_percentage: None,
        }
    }
}

/// `service: telemetry:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The gateway's own logs, on standard error.
    pub logs: OwnLogsConfig,
    /// The gateway's own metrics.
    pub metrics: MetricsConfig,
}

/// `logs:` of `service.telemetry`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OwnLogsConfig {
    /// Least severity written, of the gateway's own code; libraries are heard from `warn` up. The variable `RUST_LOG`
    /// wins over it.
    pub level: LogLevel,
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
    /// Limit on lines that repeat.
    pub sampling: LogSamplingConfig,
}

/// `sampling:` of `service.telemetry.logs`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogSamplingConfig {
    /// Whether lines that repeat are held back. How many were is written once they may pass again.
    pub enabled: bool,
    /// Lines from one place in the code that pass in each `tick`.
    pub initial: u32,
    /// Period over which lines are counted.
    pub tick: Period,
}

impl Default for LogSamplingConfig {
    fn default() -> Self {
        LogSamplingConfig { enabled: true, initial: 10, tick: Period::secs(10) }
    }
}

/// `level:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For the gateway's developers.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What may need a person.
    Warn,
    /// What went wrong.
    Error,
}

/// `format:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// `metrics:` of `service.telemetry`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address of `/metrics` (Prometheus) and `/patterns`; `null` serves neither.
    pub address: Option<String>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        MetricsConfig { address: Some("127.0.0.1:8888".into()) }
    }
}
