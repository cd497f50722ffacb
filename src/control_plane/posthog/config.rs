//! Settings of reading PostHog: `posthog:`.
//!
//! Promises: every key has a default but the project and the key; unknown keys are refused; the key never prints.
//! Never: reads files or connects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Period, Secret};

/// Which of PostHog's APIs rows are read through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ReadApi {
    /// HogQL through the query API, scope `query:read`: ten times the rows a request, and counts, which samples need.
    #[default]
    Hogql,
    /// The logs query API, scope `logs:read`: at most 1,000 rows a request, and no samples.
    Logs,
}

/// `posthog:`, reading back what PostHog has stored. Sending is `exporters.posthog`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReadConfig {
    /// `us` or `eu` for PostHog Cloud, else the URL of your own PostHog, as in a browser.
    pub host: String,
    /// Number of the project, as in its address: `/project/<number>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<u64>,
    /// Personal API key (`phx_…`) with the scopes `query:read` and `logs:read`, as `${env:NAME}`; not the project token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// File with the personal API key. It is read again for each request, so the key may be renewed there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<String>,
    /// PEM file with authorities to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Which API rows are read through: `hogql` or `logs`.
    pub api: ReadApi,
    /// Requests a minute at most, of all parts of this process together. PostHog allows a key 240.
    pub requests_per_minute: u32,
    /// Requests an hour at most, of all parts of this process together. PostHog allows a key 1,200.
    pub requests_per_hour: u32,
    /// Time limit for one request.
    pub timeout: Period,
    /// Tries of one request, the first included.
    pub max_attempts: u32,
    /// Wait before the second try; it doubles from there, and is spread at random.
    pub initial_interval: Period,
    /// Longest such wait. What PostHog orders (`Retry-After`) is obeyed up to an hour.
    pub max_interval: Period,
    /// How long a record may take from being received to being found. Records that arrive while a history is read are
    /// looked for once more from this long before the start.
    pub overlap: Period,
    /// Comparing records sent with records found.
    pub reconcile: ReconcileConfig,
}

/// `posthog.reconcile:`, whether PostHog holds what it acknowledged. Needs `query:read` and a project that only this gateway
/// writes to (docs/doctor.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReconcileConfig {
    /// Whether the gateway compares.
    pub enabled: bool,
    /// Exporter whose records are counted. Without it, the only `posthog` exporter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exporter: Option<String>,
    /// Length of the spans that are compared; one request each.
    pub interval: Period,
    /// How long after the end of a span PostHog is asked: as long as a record may take until it can be found.
    pub delay: Period,
    /// Share of the records sent by which the counts may differ, 0 to 1.
    pub tolerance: f64,
    /// How much older than its sending a record's own time may be; older ones are not counted. Longer reads more.
    pub max_age: Period,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        ReconcileConfig {
            enabled: false,
            exporter: None,
            interval: Period::secs(300),
            delay: Period::secs(300),
            tolerance: 0.05,
            max_age: Period::secs(25 * 3_600),
        }
    }
}

impl Default for ReadConfig {
    fn default() -> Self {
        ReadConfig {
            host: "us".into(),
            project: None,
            api_key: None,
            api_key_file: None,
            ca_file: None,
            api: ReadApi::Hogql,
            requests_per_minute: 240,
            requests_per_hour: 1_200,
            timeout: Period::secs(60),
            max_attempts: 8,
            initial_interval: Period::secs(1),
            max_interval: Period::secs(60),
            overlap: Period::secs(300),
            reconcile: ReconcileConfig::default(),
        }
    }
}
