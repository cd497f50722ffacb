//! Logs to an OTLP/HTTP endpoint, PostHog's included.
//!
//! Purpose: one body, one POST, one outcome.
//! Promises: a partial success counts the rejected records and is never sent again; a 2xx is believed whatever its body.
//! Never: decodes an answer of PostHog's (it is the JSON `{}` whatever was sent), retries, or queues.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use reqwest::Url;

use super::accounts::FailReason;
use super::body::Body;
use super::config::{OtlpHttpConfig, PostHogConfig};
use super::dispatcher::{Delivery, Sink};
use super::http_client::{Answer, HttpClient, HttpSettings, SendError, parse_url};
use super::outcome::{Outcome, Preset, classify};
use super::{ExporterError, config};
use crate::clock::Clock;
use crate::reread::Renewable;

/// The path PostHog takes logs at.
const POSTHOG_PATH: &str = "/i/v1/logs";

/// An OTLP/HTTP destination.
#[derive(Debug)]
pub(super) struct OtlpHttp {
    client: HttpClient,
    url: Url,
    preset: Preset,
    clock: Clock,
}

impl OtlpHttp {
    /// `name` is the exporter's in the configuration.
    pub(super) fn posthog(name: &str, config: &PostHogConfig, clock: Clock) -> Result<Self, ExporterError> {
        let url = posthog_url(config)?;
        let client = HttpClient::new(&HttpSettings {
            name,
            clock: &clock,
            headers: &std::collections::BTreeMap::new(),
            token: config.token.as_ref(),
            token_file: config.token_file.as_ref(),
            judge_token: |token| match token.starts_with("phx_") {
                true => Err(ExporterError::PersonalKey),
                false => Ok(()),
            },
            pass_token: true,
            compression: config.compression,
            timeout: config.timeout.0,
            tls: &config.tls,
            is_tls: url.scheme() == "https",
            connections: config.sending_queue.num_consumers,
        })?;
        Ok(OtlpHttp { client, url, preset: Preset::PostHog, clock })
    }

    pub(super) fn new(name: &str, config: &OtlpHttpConfig, clock: Clock) -> Result<Self, ExporterError> {
        let url = signal_url(config, config.logs_endpoint.as_deref(), "/v1/logs")?;
        let client = HttpClient::new(&settings(name, config, url.scheme() == "https", &clock))?;
        Ok(OtlpHttp { client, url, preset: Preset::Otlp, clock })
    }

    /// Whether requests of different tokens must be kept apart.
    pub(super) fn passes_token(&self) -> bool {
        self.client.passes_token()
    }

    /// What it made of files: certificates and tokens.
    pub(super) fn files(&self) -> Vec<Arc<dyn Renewable>> {
        self.client.files()
    }

    pub(super) async fn send(&self, body: &Body, token: Option<&str>) -> Outcome {
        if self.preset == Preset::PostHog && self.client.passes_token() && token.is_none_or(str::is_empty) {
            let why = "there is no project token: set the exporter's token, or have the clients send theirs";
            return Outcome::Refused { reason: FailReason::Unauthorized, why: why.into() };
        }
        match self.client.post(&self.url, body, token).await {
            Ok(answer) => self.judge(&answer),
            Err(SendError::Unreachable(why)) => Outcome::transient(format!("cannot reach the destination: {why}")),
            Err(SendError::Unauthorized(why)) => Outcome::Refused { reason: FailReason::Unauthorized, why },
            Err(error @ SendError::Compress(_)) => {
                Outcome::Refused { reason: FailReason::Internal, why: error.to_string() }
            }
        }
    }

    fn judge(&self, answer: &Answer) -> Outcome {
        match classify(answer.status, &answer.headers, self.preset, self.clock.now()) {
            Outcome::Delivered { .. } => Outcome::Delivered {
                rejected: match self.preset {
                    Preset::PostHog => 0,
                    Preset::Otlp => rejected_records(answer),
                },
                wire_bytes: answer.wire_bytes,
            },
            other => other,
        }
    }
}

impl Sink for OtlpHttp {
    fn deliver<'a>(&'a self, body: &'a Body, _records: u64, token: Option<&'a str>) -> Delivery<'a> {
        Box::pin(self.send(body, token))
    }
}

/// The client settings of an `otlp_http:` section.
pub(super) fn settings<'a>(
    name: &'a str,
    config: &'a OtlpHttpConfig,
    is_tls: bool,
    clock: &'a Clock,
) -> HttpSettings<'a> {
    HttpSettings {
        name,
        clock,
        headers: &config.headers,
        token: None,
        token_file: config.token_file.as_ref(),
        judge_token: |_| Ok(()),
        pass_token: config.pass_token,
        compression: config.compression,
        timeout: config.timeout.0,
        tls: &config.tls,
        is_tls,
        connections: config.sending_queue.num_consumers,
    }
}

/// Where a `posthog:` section sends logs.
pub(super) fn posthog_url(config: &PostHogConfig) -> Result<Url, ExporterError> {
    let base = match config.host.trim() {
        "us" => "https://us.i.posthog.com",
        "eu" => "https://eu.i.posthog.com",
        other => other,
    };
    parse_url(&format!("{}{POSTHOG_PATH}", base.trim_end_matches('/')))
}

/// The URL for one signal: the full one if configured, else the base with the signal's path.
pub(super) fn signal_url(
    config: &config::OtlpHttpConfig,
    full: Option<&str>,
    path: &str,
) -> Result<Url, ExporterError> {
    match full {
        Some(full) => parse_url(full),
        None => parse_url(&format!("{}{path}", config.endpoint.trim_end_matches('/'))),
    }
}

/// `partial_success.rejected_log_records` of an answer that says what it is written in.
fn rejected_records(answer: &Answer) -> u64 {
    let content_type = answer.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let rejected = match content_type.map(|text| text.split(';').next().unwrap_or_default().trim()) {
        Some("application/x-protobuf") => ExportLogsServiceResponse::decode(answer.body.as_slice())
            .ok()
            .and_then(|response| response.partial_success)
            .map(|partial| partial.rejected_log_records),
        Some("application/json") => serde_json::from_slice::<serde_json::Value>(&answer.body).ok().and_then(|json| {
            let partial = json.get("partialSuccess").or_else(|| json.get("partial_success"))?;
            let count = partial.get("rejectedLogRecords").or_else(|| partial.get("rejected_log_records"))?;
            count.as_i64().or_else(|| count.as_str()?.parse().ok())
        }),
        _ => None,
    };
    rejected.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, StatusCode};
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;

    fn answer(content_type: Option<&str>, body: &[u8]) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = content_type {
            headers.insert(http::header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        Answer { status: StatusCode::OK, headers, body: body.to_vec(), wire_bytes: 0 }
    }

    #[test]
    fn partial_success_is_read_in_both_encodings_and_never_guessed() {
        let partial = ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess { rejected_log_records: 3, error_message: "no".into() }),
        }
        .encode_to_vec();
        for (content_type, body, expected) in [
            (Some("application/x-protobuf"), partial.as_slice(), 3),
            (None, partial.as_slice(), 0),
            (Some("application/x-protobuf"), b"", 0),
            (Some("application/x-protobuf"), b"{}", 0),
            (Some("application/json"), b"{}", 0),
            (Some("application/json; charset=utf-8"), br#"{"partialSuccess":{"rejectedLogRecords":"4"}}"#, 4),
            (Some("application/json"), br#"{"partialSuccess":{"rejectedLogRecords":5}}"#, 5),
            (Some("application/json"), br#"{"partialSuccess":{"rejectedLogRecords":-5}}"#, 0),
            (Some("application/json"), b"<html>", 0),
        ] {
            let answer = answer(content_type, body);
            assert_eq!(rejected_records(&answer), expected, "{content_type:?} {body:?}");
        }
    }

    #[test]
    fn urls_are_built_as_configured() {
        for (host, url) in [
            ("us", "https://us.i.posthog.com/i/v1/logs"),
            ("eu", "https://eu.i.posthog.com/i/v1/logs"),
            ("http://localhost:8000/", "http://localhost:8000/i/v1/logs"),
        ] {
            let config = PostHogConfig { host: host.into(), ..PostHogConfig::default() };
            match OtlpHttp::posthog("posthog", &config, Clock::System) {
                Ok(exporter) => assert_eq!(exporter.url.as_str(), url),
                // A machine without certificates cannot build a TLS client.
                Err(error) => assert!(matches!(error, ExporterError::Client(_)) && url.starts_with("https"), "{error}"),
            }
        }
        for bad in ["", "localhost:8000", "ftp://x", "us.posthog.com"] {
            let config = PostHogConfig { host: bad.into(), ..PostHogConfig::default() };
            assert!(
                matches!(OtlpHttp::posthog("posthog", &config, Clock::System), Err(ExporterError::Url { .. })),
                "{bad}"
            );
        }
        let token = Some(crate::units::Secret::new("phx_personal"));
        let config = PostHogConfig { host: "http://localhost:1".into(), token, ..PostHogConfig::default() };
        assert_eq!(OtlpHttp::posthog("posthog", &config, Clock::System).err(), Some(ExporterError::PersonalKey));
        let mut config = OtlpHttpConfig { endpoint: "http://collector:4318/base/".into(), ..OtlpHttpConfig::default() };
        assert_eq!(signal_url(&config, None, "/v1/logs").unwrap().as_str(), "http://collector:4318/base/v1/logs");
        config.logs_endpoint = Some("http://collector:4318/elsewhere".into());
        assert_eq!(
            OtlpHttp::new("otlp_http", &config, Clock::System).unwrap().url.as_str(),
            "http://collector:4318/elsewhere"
        );
    }
}
