//! OTLP in: gRPC and HTTP, protobuf and JSON, to whoever consumes it.
//!
//! Purpose: turn a request on the wire into one contiguous protobuf body and hand it over; turn the answer into OTLP's
//! status codes, retry hints and error bodies.
//! Promises: bodies are bounded before and after decompression; a request is consumed as a whole or refused as a whole;
//! every refusal says whose fault it is and whether to retry.
//! Never: decides what is kept, knows policies or exporters, or queues.

mod answer;
mod auth;
mod body;
mod buffer;
pub mod config;
mod cors;
mod direct;
mod grpc;
mod head;
mod http;
mod inflate;
mod intake;
mod serve;
mod stats;
mod status;
mod tls;
mod wire;
mod workers;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use auth::Authenticators;
pub use serve::{Bound, OtlpReceiver};
pub use stats::ReceiverStats;
pub use tls::{ServerTls, server_tls};

/// The three OTLP signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Logs: sampled.
    Logs,
    /// Traces: forwarded or refused.
    Traces,
    /// Metrics: forwarded or refused.
    Metrics,
}

/// How a request came in; a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP.
    Http,
}

/// One request: protobuf, decompressed, as large as the configured limit at most.
#[derive(Clone, Debug)]
pub struct Received {
    /// An `Export*ServiceRequest` in protobuf.
    pub body: Bytes,
    /// The project token the client sent (`Authorization: Bearer …` or `?token=`), passed through to the destination.
    pub token: Option<Arc<str>>,
    /// How it came in.
    pub transport: Transport,
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The client's fault; do not retry. 400 / INVALID_ARGUMENT.
    #[error("{0}")]
    Malformed(String),
    /// Larger than a limit; do not retry unchanged. 413 / RESOURCE_EXHAUSTED without RetryInfo.
    #[error("{0}")]
    TooLarge(String),
    /// No room now: retry after the given time. 503 + Retry-After / UNAVAILABLE + RetryInfo: it is the gateway that is
    /// full. 429 would be retried just the same, but blames the one client.
    #[error("{message}")]
    Busy {
        /// What is full and which setting enlarges it.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// This gateway does not handle the signal; says what to configure. 404 / UNIMPLEMENTED.
    #[error("{0}")]
    Unsupported(String),
    /// The destination of a forwarded signal refused the client's credentials. 401 / UNAUTHENTICATED.
    #[error("{0}")]
    Unauthenticated(String),
    /// The destination of a forwarded signal refused for good; do not retry. 500 / INTERNAL.
    #[error("{0}")]
    Failed(String),
}

/// A reply that may take time.
pub type Reply = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// Whoever takes requests. Implemented by the pipeline.
pub trait Consumer: Send + Sync + 'static {
    /// Takes one logs request whole, or refuses it whole. Does not block: it computes, and either has room or not.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing of the request has then had any effect.
    fn consume_logs(&self, request: Received) -> Result<(), Refusal>;

    /// Forwards a traces or metrics request untouched and waits for the destination's answer.
    fn forward(&self, signal: Signal, request: Received) -> Reply;

    /// Notes a request that was refused before its records could be counted (bad encoding, too large, not allowed).
    fn refused(&self, signal: Signal, transport: Transport);
}

/// Why a receiver could not be set up. The operator's to mend; each names the setting.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Neither protocol is configured.
    #[error("receiver {0:?} serves nothing: set `protocols.grpc` or `protocols.http`")]
    NoProtocol(String),
    /// An address that cannot be listened on.
    #[error("{setting}: cannot listen on {address:?}: {source}")]
    Listen {
        /// Path of the setting.
        setting: String,
        /// The address as configured.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start the threads of connections (`threads`): {0}")]
    Threads(std::io::Error),
    /// A file that cannot be read.
    #[error("{setting}: cannot read {path:?}: {source}")]
    File {
        /// Path of the setting.
        setting: String,
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate or key that does not serve.
    #[error("{setting}: {path:?}: {what}")]
    Tls {
        /// Path of the setting.
        setting: String,
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// An authenticator whose tokens do not serve.
    #[error("extensions.{name}: {what}")]
    Tokens {
        /// The extension.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// An `auth:` that names no extension.
    #[error("{setting}: no authenticator {name:?}; define it under `extensions` and list it in `service.extensions`")]
    UnknownAuthenticator {
        /// Path of the setting.
        setting: String,
        /// The name.
        name: String,
    },
    /// Another setting that does not serve.
    #[error("{setting}: {what}")]
    Setting {
        /// Path of the setting.
        setting: String,
        /// What is wrong.
        what: String,
    },
}
