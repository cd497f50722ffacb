//! One request as an exporter would make it, without its queue.
//!
//! Purpose: let a person ask whether the configured way out works, and hear the destination's answer itself.
//! Promises: the exporter's own client, headers, compression and judgement; one attempt, bounded by `timeout`.
//! Never: retries, queues, or counts in any books.

use bytes::Bytes;

use super::config::ExporterConfig;
use super::otlp_http::OtlpHttp;
use super::{Body, ExporterError, Outcome};
use crate::clock::Clock;

/// Sends `body`, an `ExportLogsServiceRequest` in protobuf, once. `token` is what a client would have sent; it counts only where
/// the exporter passes tokens through. `None` for exporters that do not leave this machine.
///
/// # Errors
/// As [`super::Exporter::start`].
pub async fn probe(
    config: &ExporterConfig,
    body: Bytes,
    token: Option<&str>,
) -> Result<Option<Outcome>, ExporterError> {
    let destination = match config {
        ExporterConfig::PostHog(config) => OtlpHttp::posthog("posthog", config, Clock::System)?,
        ExporterConfig::OtlpHttp(config) => OtlpHttp::new("otlp_http", config, Clock::System)?,
        ExporterConfig::Debug(_) | ExporterConfig::File(_) => return Ok(None),
    };
    Ok(Some(destination.send(&Body::chain(vec![body]), token).await))
}

/// Where `config` sends logs, as it is reached: `None` for exporters that do not leave this machine.
///
/// # Errors
/// [`ExporterError::Url`].
pub fn logs_url(config: &ExporterConfig) -> Result<Option<reqwest::Url>, ExporterError> {
    match config {
        ExporterConfig::PostHog(config) => super::otlp_http::posthog_url(config).map(Some),
        ExporterConfig::OtlpHttp(config) => {
            super::otlp_http::signal_url(config, config.logs_endpoint.as_deref(), "/v1/logs").map(Some)
        }
        ExporterConfig::Debug(_) | ExporterConfig::File(_) => Ok(None),
    }
}
