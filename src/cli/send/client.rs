//! An OTLP logs client: HTTP with protobuf or JSON, and gRPC.
//!
//! Purpose: one attempt to deliver one batch, and what its answer means under OTLP 1.11.
//! Promises: says whether to retry and how long the server asks to wait; a 2xx body is decoded as what its
//! Content-Type says it is, and a partial success is not an error.
//! Never: retries or waits itself; follows a redirect; prints a token.

use std::io::Write;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use flate2::Compression as Level;
use flate2::write::GzEncoder;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use url::Url;

use crate::data_plane::view::json;
use crate::units::Secret;

/// How to speak OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// OTLP/HTTP with protobuf.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
    /// OTLP/HTTP with JSON.
    #[value(name = "http/json")]
    HttpJson,
    /// OTLP/gRPC.
    #[value(name = "grpc")]
    Grpc,
}

/// Where to send and how.
#[derive(Debug)]
pub struct Target {
    /// Base URL, or the full URL where it has a path.
    pub endpoint: Url,
    /// How to speak.
    pub protocol: Protocol,
    /// Headers to add.
    pub headers: HeaderMap,
    /// Whether to compress with gzip.
    pub gzip: bool,
    /// Time limit of one attempt.
    pub timeout: Duration,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken; `rejected` records were refused for good.
    Accepted {
        /// Records that were not taken.
        rejected: u64,
        /// What the server says about them, or a warning.
        message: String,
    },
    /// Not taken; the same request may be taken later.
    TryLater {
        /// What the server asks for.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// Not taken, and trying again is useless.
    Refused {
        /// Why.
        reason: String,
        /// Whether every other batch would fare the same (wrong token, wrong path).
        for_all: bool,
    },
}

/// A request ready to be sent any number of times.
pub enum Prepared {
    /// Encoded and compressed.
    Http(Bytes),
    /// Encoded by the gRPC library at each attempt.
    Grpc(ExportLogsServiceRequest),
}

/// A client for one destination.
pub enum Client {
    /// OTLP/HTTP.
    Http {
        /// Connection pool.
        client: reqwest::Client,
        /// Full URL.
        url: Url,
        /// JSON instead of protobuf.
        json: bool,
        /// Compress.
        gzip: bool,
    },
    /// OTLP/gRPC.
    Grpc {
        /// Stub.
        client: LogsServiceClient<Channel>,
        /// Headers to add.
        metadata: MetadataMap,
    },
}

/// `Authorization: Bearer <token>`, marked as sensitive.
///
/// # Errors
/// When the token holds bytes a header cannot.
pub fn bearer(token: &Secret) -> anyhow::Result<(HeaderName, HeaderValue)> {
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.ok().context("--token holds characters that a header cannot carry")?;
    value.set_sensitive(true);
    Ok((AUTHORIZATION, value))
}

/// The URL for logs: `/v1/logs` is appended to an endpoint without a path, any other is used as it is.
pub fn logs_url(endpoint: &Url) -> Url {
    let mut url = endpoint.clone();
    if url.path() == "/" || url.path().is_empty() {
        url.set_path("/v1/logs");
    }
    url
}

impl Client {
    /// A client; connects at the first attempt.
    ///
    /// # Errors
    /// When the endpoint or a header cannot be used with the protocol.
    pub fn new(target: Target) -> anyhow::Result<Self> {
        if target.protocol == Protocol::Grpc {
            return Self::grpc(target);
        }
        let client = reqwest::Client::builder()
            .default_headers(target.headers)
            .timeout(target.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot set up the HTTP client")?;
        let json = target.protocol == Protocol::HttpJson;
        Ok(Client::Http { client, url: logs_url(&target.endpoint), json, gzip: target.gzip })
    }

    fn grpc(target: Target) -> anyhow::Result<Self> {
        if !matches!(target.endpoint.path(), "" | "/") {
            anyhow::bail!("a gRPC endpoint has no path: write http://host:4317, not {}", target.endpoint);
        }
        let mut endpoint = Endpoint::from_shared(target.endpoint.to_string())?.timeout(target.timeout);
        if target.endpoint.scheme() == "https" {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots())?;
        }
        let mut client = LogsServiceClient::new(endpoint.connect_lazy());
        if target.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client = client.accept_compressed(CompressionEncoding::Gzip);
        Ok(Client::Grpc { client, metadata: MetadataMap::from_headers(target.headers) })
    }

    /// Encodes a request once for all its attempts.
    ///
    /// # Errors
    /// When it cannot be encoded; a fault of this program.
    pub fn prepare(&self, request: ExportLogsServiceRequest) -> anyhow::Result<Prepared> {
        let Client::Http { json, gzip, .. } = self else {
            return Ok(Prepared::Grpc(request));
        };
        let mut body = request.encode_to_vec();
        if *json {
            let mut text = Vec::with_capacity(body.len() * 2);
            json::encode(&body, &mut text)?;
            body = text;
        }
        if *gzip {
            let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::fast());
            encoder.write_all(&body)?;
            body = encoder.finish()?;
        }
        Ok(Prepared::Http(body.into()))
    }

    /// One attempt.
    pub async fn attempt(&mut self, request: &Prepared) -> Answer {
        match (self, request) {
            (Client::Http { client, url, json, gzip }, Prepared::Http(body)) => {
                let content_type = if *json { "application/json" } else { "application/x-protobuf" };
                let mut post = client.post(url.clone()).header(CONTENT_TYPE, content_type).body(body.clone());
                if *gzip {
                    post = post.header(CONTENT_ENCODING, "gzip");
                }
                http_answer(post.send().await).await
            }
            (Client::Grpc { client, metadata }, Prepared::Grpc(request)) => {
                let mut request = tonic::Request::new(request.clone());
                *request.metadata_mut() = metadata.clone();
                grpc_answer(client.export(request).await)
            }
            _ => Answer::Refused { reason: "prepared for another protocol".into(), for_all: true },
        }
    }
}

/// As much of an error body as is worth showing.
const SHOWN_BYTES: usize = 300;
/// OTLP allows 4 MiB; a body that says what happened is far smaller.
const ANSWER_LIMIT_BYTES: usize = 1 << 20;

async fn http_answer(response: reqwest::Result<reqwest::Response>) -> Answer {
    let mut response = match response {
        Ok(response) => response,
        Err(error) if error.is_builder() => {
            return Answer::Refused { reason: chain(&error.without_url()), for_all: true };
        }
        Err(error) => return Answer::TryLater { after: None, reason: chain(&error.without_url()) },
    };
    let status = response.status();
    let after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let protobuf = content_type.is_some_and(|value| value.starts_with("application/x-protobuf"));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(ANSWER_LIMIT_BYTES - body.len())]);
        if body.len() == ANSWER_LIMIT_BYTES {
            break;
        }
    }
    if status.is_success() {
        let decoded = if protobuf {
            ExportLogsServiceResponse::decode(&*body).ok()
        } else {
            serde_json::from_slice::<ExportLogsServiceResponse>(&body).ok()
        };
        return accepted(decoded.unwrap_or_default());
    }
    let told = if protobuf { RpcStatus::decode(&*body).map(|status| status.message).ok() } else { None };
    let told = told.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned());
    let reason =
        format!("{status}: {}", told.chars().filter(|c| !c.is_control()).take(SHOWN_BYTES).collect::<String>());
    match status.as_u16() {
        429 | 502..=504 => Answer::TryLater { after, reason },
        code => Answer::Refused { reason, for_all: matches!(code, 300..=399 | 401..=405 | 415) },
    }
}

fn grpc_answer(response: Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status>) -> Answer {
    use tonic::Code;
    let status = match response {
        Ok(response) => return accepted(response.into_inner()),
        Err(status) => status,
    };
    let after = retry_info(status.details());
    let message: String = status.message().chars().filter(|c| !c.is_control()).take(SHOWN_BYTES).collect();
    let reason = match std::error::Error::source(&status) {
        Some(cause) => format!("{:?}: {message}: {}", status.code(), chain(cause)),
        None => format!("{:?}: {message}", status.code()),
    };
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::TryLater { after, reason },
        Code::ResourceExhausted if after.is_some() => Answer::TryLater { after, reason },
        code => {
            let for_all = matches!(code, Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented);
            Answer::Refused { reason, for_all }
        }
    }
}

fn accepted(response: ExportLogsServiceResponse) -> Answer {
    let partial = response.partial_success.unwrap_or_default();
    Answer::Accepted {
        rejected: u64::try_from(partial.rejected_log_records).unwrap_or(0),
        message: partial.error_message,
    }
}

/// An error with its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// `Retry-After`: seconds or an HTTP date.
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

// The parts of google.rpc that OTLP uses (google/rpc/status.proto, error_details.proto).
#[derive(prost::Message)]
struct RpcStatus {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcDetail>,
}

#[derive(prost::Message)]
struct RpcDetail {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

#[derive(prost::Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// The delay a gRPC server asks for in `grpc-status-details-bin`.
fn retry_info(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let detail = status.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&*detail.value).ok()?.retry_delay.unwrap_or_default();
    let nanos = u32::try_from(delay.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_appended_only_where_there_is_none() {
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/logs"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/logs"),
            ("https://eu.i.posthog.com/i/v1/logs", "https://eu.i.posthog.com/i/v1/logs"),
            ("http://h/x?token=phc", "http://h/x?token=phc"),
        ] {
            assert_eq!(logs_url(&endpoint.parse().unwrap()).as_str(), url);
        }
    }

    #[test]
    fn retry_after_is_read() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 21:50:54 GMT").unwrap();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 12 ", Some(12)),
            ("Sun, 22 Nov 2026 21:51:04 GMT", Some(10)),
            ("Sun, 22 Nov 2026 21:50:04 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let got = retry_after(&HeaderValue::from_static(text), now);
            assert_eq!(got, seconds.map(Duration::from_secs), "{text}");
        }
    }

    fn details(seconds: i64, nanos: i32) -> Bytes {
        let info = RetryInfo { retry_delay: Some(RetryDelay { seconds, nanos }) };
        let detail =
            RpcDetail { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value: info.encode_to_vec() };
        RpcStatus { message: String::new(), details: vec![detail] }.encode_to_vec().into()
    }

    #[test]
    fn grpc_statuses_mean_what_otlp_says() {
        use tonic::{Code, Status};
        let later = |code, details: Bytes| {
            matches!(grpc_answer(Err(Status::with_details(code, "x", details))), Answer::TryLater { .. })
        };
        for code in (0..17).map(Code::from_i32).filter(|code| *code != Code::Ok) {
            let retryable = [1, 4, 10, 11, 14, 15].contains(&(code as i32));
            assert_eq!(later(code, Bytes::new()), retryable, "{code:?}");
        }
        assert!(later(Code::ResourceExhausted, details(1, 0)));
        assert_eq!(retry_info(&details(2, 500_000_000)), Some(Duration::from_millis(2_500)));
        for (seconds, nanos) in [(-1, 0), (0, -1), (0, i32::MAX)] {
            assert_eq!(retry_info(&details(seconds, nanos)), None);
        }
        assert_eq!(retry_info(b"\xff\xff"), None);
    }
}
