//! Settings of the OTLP receiver, in the Collector's words.
//!
//! Promises: every key has a default; unknown keys are refused; secrets do not print.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Period, Secret};

/// `receivers: otlp:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpReceiverConfig {
    /// Which protocols to serve. At least one.
    pub protocols: Protocols,
    /// Bytes of requests held at once over both protocols (bodies being read, inflated or processed); further requests
    /// are told to retry.
    pub max_in_flight: ByteSize,
    /// Connections open at once over both protocols; further ones are closed as they come.
    pub max_connections: usize,
    /// Threads that connections are spread over; 0 means one for each core.
    pub threads: usize,
    /// A connection on which no request runs for so long is closed; also the time to send a request's headers.
    pub idle_timeout: Period,
    /// Time a client has to send the body of a request.
    pub read_timeout: Period,
}

impl Default for OtlpReceiverConfig {
    fn default() -> Self {
        OtlpReceiverConfig {
            protocols: Protocols::default(),
            max_in_flight: ByteSize::mib(256),
            max_connections: 4096,
            threads: 0,
            idle_timeout: Period::secs(120),
            read_timeout: Period::secs(60),
        }
    }
}

/// `protocols:`; a protocol that is not named is not served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Protocols {
    /// OTLP/gRPC. `grpc:` alone takes every default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::units::present")]
    pub grpc: Option<GrpcConfig>,
    /// OTLP/HTTP. `http:` alone takes every default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "crate::units::present")]
    pub http: Option<HttpConfig>,
}

/// `grpc:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcConfig {
    /// Address to listen on.
    pub endpoint: String,
    /// Largest request, before and after decompression.
    pub max_recv_msg_size: ByteSize,
    /// Requests served at once over all connections; further ones are told to retry.
    pub max_concurrent_requests: usize,
    /// TLS; plain text without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Who may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthRef>,
}

impl Default for GrpcConfig {
    fn default() -> Self {
        GrpcConfig {
            endpoint: "127.0.0.1:4317".into(),
            max_recv_msg_size: ByteSize::mib(64),
            max_concurrent_requests: 256,
            tls: None,
            auth: None,
        }
    }
}

/// `http:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Address to listen on.
    pub endpoint: String,
    /// Largest request body, before and after decompression.
    pub max_request_body_size: ByteSize,
    /// Requests served at once over all connections; further ones are told to retry.
    pub max_concurrent_requests: usize,
    /// TLS; plain text without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Who may send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthRef>,
    /// Cross-origin requests from browsers; off without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<CorsConfig>,
}

impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            endpoint: "127.0.0.1:4318".into(),
            max_request_body_size: ByteSize::mib(64),
            max_concurrent_requests: 256,
            tls: None,
            auth: None,
            cors: None,
        }
    }
}

/// `tls:` of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the certificate chain.
    pub cert_file: String,
    /// PEM file with the private key.
    pub key_file: String,
    /// PEM file with the authorities that sign client certificates; setting it demands one of every client (mTLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca_file: Option<String>,
    /// Look at the files for changes when so much time has passed, at the next handshake; files that cannot be used leave
    /// the last good ones in force. `0s` reads them again on SIGHUP only.
    pub reload_interval: Period,
}

impl Default for TlsConfig {
    fn default() -> Self {
        TlsConfig {
            cert_file: String::new(),
            key_file: String::new(),
            client_ca_file: None,
            reload_interval: Period::secs(60),
        }
    }
}

/// `auth:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthRef {
    /// Name of an extension, such as `bearertokenauth`.
    pub authenticator: String,
}

/// `cors:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// Origins that may send, such as `https://app.example.com`; `*` in a name stands for any text, `*` alone for all.
    pub allowed_origins: Vec<String>,
    /// Request headers allowed beside the defaults (Content-Type, Content-Encoding, Authorization).
    pub allowed_headers: Vec<String>,
    /// How long a browser may cache the answer, in seconds.
    pub max_age: u32,
}

/// `extensions: bearertokenauth:` Clients must send `Authorization: <scheme> <token>` with one of the tokens. At least
/// one of `token`, `tokens` and `filename` is required; what they name adds up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BearerTokenAuthConfig {
    /// Word before the token, compared without regard to case.
    pub scheme: String,
    /// A token to accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// Tokens to accept.
    pub tokens: Vec<Secret>,
    /// File with one token to accept on each line; empty lines and lines that start with `#` are skipped. A change holds
    /// within a second; a file that cannot be used leaves the last good tokens in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
}

impl Default for BearerTokenAuthConfig {
    fn default() -> Self {
        BearerTokenAuthConfig { scheme: "Bearer".into(), token: None, tokens: Vec::new(), filename: None }
    }
}
