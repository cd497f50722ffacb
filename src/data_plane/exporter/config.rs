//! Settings of the exporters, in the Collector's words.
//!
//! Promises: every key has a default; unknown keys are refused; secrets do not print.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::units::{ByteSize, Period, Secret};

/// One entry of `exporters:`; its type is the part of its name before `/`.
#[derive(Clone, Debug, PartialEq)]
pub enum ExporterConfig {
    /// `posthog:`
    PostHog(PostHogConfig),
    /// `otlp_http:` (also spelled `otlphttp:`)
    OtlpHttp(OtlpHttpConfig),
    /// `debug:`
    Debug(DebugConfig),
    /// `file:`
    File(FileConfig),
}

/// `posthog:` OTLP/HTTP with PostHog's limits and habits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PostHogConfig {
    /// `us`, `eu`, or the URL of a self-hosted instance (records go to `<host>/i/v1/logs`).
    pub host: String,
    /// Project token (`phc_…`). Without it, the token each client sent is passed through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// File with the project token, instead of `token`. A change holds within a second; a file that cannot be used leaves
    /// the last good token in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Compression of the body; lowers traffic, not the bill.
    pub compression: Compression,
    /// Time limit for one attempt.
    pub timeout: Period,
    /// Batching. PostHog refuses bodies over 2 MiB.
    pub batch: BatchConfig,
    /// Retries.
    pub retry_on_failure: RetryConfig,
    /// Queue.
    pub sending_queue: QueueConfig,
    /// TLS towards a self-hosted instance, such as one with a certificate of your own authority.
    pub tls: ClientTlsConfig,
}

impl Default for PostHogConfig {
    fn default() -> Self {
        PostHogConfig {
            host: "us".into(),
            token: None,
            token_file: None,
            compression: Compression::Gzip,
            timeout: Period::secs(30),
            batch: BatchConfig { max_size: ByteSize(2_000_000), ..BatchConfig::default() },
            retry_on_failure: RetryConfig::default(),
            sending_queue: QueueConfig::default(),
            tls: ClientTlsConfig::default(),
        }
    }
}

/// `otlp_http:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpHttpConfig {
    /// Base URL; `/v1/logs`, `/v1/traces`, `/v1/metrics` are appended.
    pub endpoint: String,
    /// Full URL for logs, used as it is instead of `endpoint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs_endpoint: Option<String>,
    /// Full URL for traces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces_endpoint: Option<String>,
    /// Full URL for metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_endpoint: Option<String>,
    /// Headers to send; values are secrets.
    pub headers: BTreeMap<String, Secret>,
    /// File with a token to send as `Authorization: Bearer …`. A change holds within a second; a file that cannot be used
    /// leaves the last good token in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Pass the client's token on as `Authorization: Bearer …` (unless `headers` sets Authorization).
    pub pass_token: bool,
    /// Compression of the body.
    pub compression: Compression,
    /// Time limit for one attempt.
    pub timeout: Period,
    /// Batching.
    pub batch: BatchConfig,
    /// Retries.
    pub retry_on_failure: RetryConfig,
    /// Queue.
    pub sending_queue: QueueConfig,
    /// TLS towards the destination.
    pub tls: ClientTlsConfig,
}

impl Default for OtlpHttpConfig {
    fn default() -> Self {
        OtlpHttpConfig {
            endpoint: String::new(),
            logs_endpoint: None,
            traces_endpoint: None,
            metrics_endpoint: None,
            headers: BTreeMap::new(),
            token_file: None,
            pass_token: false,
            compression: Compression::Gzip,
            timeout: Period::secs(30),
            batch: BatchConfig::default(),
            retry_on_failure: RetryConfig::default(),
            sending_queue: QueueConfig::default(),
            tls: ClientTlsConfig::default(),
        }
    }
}

/// `compression:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// gzip, fastest level.
    #[default]
    Gzip,
    /// zstd, level 1.
    Zstd,
    /// Off.
    None,
}

/// `batch:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Largest body, before compression. A single larger record is still tried alone.
    pub max_size: ByteSize,
    /// Send at the latest after this long.
    pub timeout: Period,
}

impl Default for BatchConfig {
    fn default() -> Self {
        BatchConfig { max_size: ByteSize::mib(4), timeout: Period::millis(200) }
    }
}

/// `retry_on_failure:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryConfig {
    /// Whether to retry at all.
    pub enabled: bool,
    /// Wait before the first retry.
    pub initial_interval: Period,
    /// Longest wait between two tries.
    pub max_interval: Period,
    /// Give a batch up after this long (its records count as failed); `0s` never gives up.
    pub max_elapsed_time: Period,
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig {
            enabled: true,
            initial_interval: Period::secs(5),
            max_interval: Period::secs(30),
            max_elapsed_time: Period::secs(300),
        }
    }
}

/// `sending_queue:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Bytes held in memory, batches in flight included. A full queue makes receivers tell clients to retry.
    pub max_size: ByteSize,
    /// Requests in flight at once.
    pub num_consumers: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig { max_size: ByteSize::mib(64), num_consumers: 4 }
    }
}

/// `tls:` of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTlsConfig {
    /// PEM file with authorities to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// PEM file with the client's certificate chain (mTLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// PEM file with the client's private key (mTLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Look at the files for changes when so much time has passed, at the next request; files that cannot be used leave
    /// the last good ones in force. `0s` reads them again on SIGHUP only.
    pub reload_interval: Period,
}

impl Default for ClientTlsConfig {
    fn default() -> Self {
        ClientTlsConfig { ca_file: None, cert_file: None, key_file: None, reload_interval: Period::secs(60) }
    }
}

/// `debug:` human-readable records on standard output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DebugConfig {
    /// `basic`: one line a batch; `normal`: one line a record; `detailed`: every field.
    pub verbosity: Verbosity,
}

impl Default for DebugConfig {
    fn default() -> Self {
        DebugConfig { verbosity: Verbosity::Normal }
    }
}

/// `verbosity:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verbosity {
    /// One line a batch.
    Basic,
    /// One line a record.
    #[default]
    Normal,
    /// Every field of every record.
    Detailed,
}

/// `file:` OTLP JSON, one request a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FileConfig {
    /// File to append to.
    pub path: String,
    /// Start over when the gateway starts.
    pub truncate: bool,
    /// Start a new file at this size, keeping the old one as `<path>.1`; `0` never.
    pub max_size: ByteSize,
}
