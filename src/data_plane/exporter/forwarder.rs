//! Traces and metrics, passed on untouched.
//!
//! Purpose: apps usually send all three signals to one port; the two that are not ours go to a configured OTLP/HTTP
//! endpoint, and its answer goes back to the client.
//! Promises: the body arrives as it came (compressed anew); nothing is acknowledged before the destination did; the bytes
//! being forwarded are bounded by `sending_queue.max_size`.
//! Never: queues, retries (the client does), or looks into a body.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;

use super::ExporterError;
use super::config::OtlpHttpConfig;
use super::http_client::{HttpClient, SendError};
use super::otlp_http::{settings, signal_url};
use super::outcome::{Outcome, Preset, classify};
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::reread::Renewable;

/// What a client is asked to wait when the destination names no time.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// The longest wait that is passed on to a client.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// A signal that is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForwardKind {
    /// Traces.
    Traces,
    /// Metrics.
    Metrics,
}

impl ForwardKind {
    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            ForwardKind::Traces => "traces",
            ForwardKind::Metrics => "metrics",
        }
    }
}

/// Why a request was not forwarded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// It may pass: the client should try again.
    #[error("{message}")]
    Retryable {
        /// What is wrong.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The destination does not take the credentials.
    #[error("{message}")]
    Unauthenticated {
        /// What is wrong and which setting to look at.
        message: String,
    },
    /// The destination will never take it.
    #[error("{message}")]
    Permanent {
        /// What is wrong.
        message: String,
    },
}

/// How a forwarded request ended, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForwardResult {
    Ok,
    Retryable,
    Unauthenticated,
    Permanent,
}

impl ForwardResult {
    pub(super) const ALL: [ForwardResult; 4] =
        [ForwardResult::Ok, ForwardResult::Retryable, ForwardResult::Unauthenticated, ForwardResult::Permanent];

    pub(super) fn label(self) -> &'static str {
        match self {
            ForwardResult::Ok => "ok",
            ForwardResult::Retryable => "transient",
            ForwardResult::Unauthenticated => "unauthorized",
            ForwardResult::Permanent => "refused",
        }
    }
}

#[derive(Debug)]
struct Shared {
    name: String,
    client: HttpClient,
    traces: Url,
    metrics: Url,
    clock: Clock,
    capacity_bytes: usize,
    bytes: AtomicUsize,
    counts: [[AtomicU64; 4]; 2],
    log: Throttle,
}

/// Forwards traces and metrics to one destination. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Forwarder(Arc<Shared>);

impl Forwarder {
    /// A forwarder named `name` in the configuration.
    ///
    /// # Errors
    /// An [`ExporterError`] that names the setting to change.
    pub fn new(name: &str, config: &OtlpHttpConfig, clock: Clock) -> Result<Self, ExporterError> {
        let traces = signal_url(config, config.traces_endpoint.as_deref(), "/v1/traces")?;
        let metrics = signal_url(config, config.metrics_endpoint.as_deref(), "/v1/metrics")?;
        let is_tls = [&traces, &metrics].iter().any(|url| url.scheme() == "https");
        Ok(Forwarder(Arc::new(Shared {
            name: name.to_owned(),
            client: HttpClient::new(&settings(name, config, is_tls, &clock))?,
            traces,
            metrics,
            clock,
            capacity_bytes: config.sending_queue.max_size.as_usize(),
            bytes: AtomicUsize::new(0),
            counts: Default::default(),
            log: Throttle::default(),
        })))
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it made of files: certificates and tokens.
    pub fn files(&self) -> Vec<Arc<dyn Renewable>> {
        self.0.client.files()
    }

    /// Sends `body`, an `Export*ServiceRequest` in protobuf, and waits for the answer.
    ///
    /// # Errors
    /// A [`ForwardError`]; the client keeps the request.
    pub async fn forward(&self, kind: ForwardKind, body: Bytes, token: Option<Arc<str>>) -> Result<(), ForwardError> {
        let result = self.attempt(kind, &body, token.as_deref()).await;
        let counted = match &result {
            Ok(()) => ForwardResult::Ok,
            Err(ForwardError::Retryable { .. }) => ForwardResult::Retryable,
            Err(ForwardError::Unauthenticated { .. }) => ForwardResult::Unauthenticated,
            Err(ForwardError::Permanent { .. }) => ForwardResult::Permanent,
        };
        self.0.counts[kind as usize][counted as usize].fetch_add(1, Ordering::Relaxed);
        if let Err(error) = &result {
            self.0.log.warn(
                &self.0.name,
                &format!("{} not forwarded: {error}", kind.label()),
                tokio::time::Instant::now(),
            );
        }
        result
    }

    async fn attempt(&self, kind: ForwardKind, body: &Bytes, token: Option<&str>) -> Result<(), ForwardError> {
        let shared = &*self.0;
        let Some(_room) = Room::take(shared, body.len()) else {
            let message = format!(
                "{} bytes are being forwarded to {} already; sending_queue.max_size allows more",
                shared.capacity_bytes, shared.name
            );
            return Err(ForwardError::Retryable { message, retry_after: DEFAULT_WAIT });
        };
        let url = match kind {
            ForwardKind::Traces => &shared.traces,
            ForwardKind::Metrics => &shared.metrics,
        };
        let answer = shared.client.post(url, &body.clone().into(), token).await.map_err(|error| match error {
            SendError::Unreachable(why) => ForwardError::Retryable {
                message: format!("cannot reach {}: {why}", shared.name),
                retry_after: DEFAULT_WAIT,
            },
            SendError::Unauthorized(message) => ForwardError::Unauthenticated { message },
            SendError::Compress(error) => ForwardError::Permanent { message: error.to_string() },
        })?;
        let outcome = classify(answer.status, &answer.headers, Preset::Otlp, shared.clock.now());
        match outcome {
            Outcome::Delivered { .. } => Ok(()),
            Outcome::Transient { after, why } => Err(ForwardError::Retryable {
                message: why,
                retry_after: after.unwrap_or(DEFAULT_WAIT).min(LONGEST_WAIT),
            }),
            Outcome::Refused { why, .. } if matches!(answer.status.as_u16(), 401 | 403) => {
                Err(ForwardError::Unauthenticated { message: why })
            }
            Outcome::Refused { why, .. } | Outcome::Cut { why, .. } | Outcome::Suspect { why } => {
                Err(ForwardError::Permanent { message: why })
            }
        }
    }

    pub(super) fn count(&self, kind: ForwardKind, result: ForwardResult) -> u64 {
        self.0.counts[kind as usize][result as usize].load(Ordering::Relaxed)
    }

    pub(super) fn bytes_in_flight(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }
}

/// Bytes of a request being forwarded; given back when it ends, also when the client goes away.
struct Room<'a>(&'a Shared, usize);

impl<'a> Room<'a> {
    /// One request is let in whatever its size when nothing else is on its way.
    fn take(shared: &'a Shared, bytes: usize) -> Option<Self> {
        let room = |now: usize| {
            let then = now.saturating_add(bytes);
            (now == 0 || then <= shared.capacity_bytes).then_some(then)
        };
        shared.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, room).ok()?;
        Some(Room(shared, bytes))
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.bytes.fetch_sub(self.1, Ordering::AcqRel);
    }
}
