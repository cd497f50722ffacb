//! Settings of the API.
//!
//! Promises: every key has a default; unknown keys are refused.
//! Never: checks what values mean; see `config`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::control_plane::insights::Prices;
use crate::data_plane::receiver::config::TlsConfig;
use crate::units::ByteSize;

/// `api:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Address to listen on. Beyond loopback a token must exist (`lipservice token create`), or `insecure` be set.
    pub endpoint: String,
    /// Serve without tokens to everybody who can reach the address.
    pub insecure: bool,
    /// TLS; plain text without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Largest request body.
    pub max_body_size: ByteSize,
    /// Largest policy document, as JSON.
    pub max_policy_size: ByteSize,
    /// Connections open at once; further ones wait.
    pub max_connections: usize,
    /// Requests a second of one client (a token, or an address without one); as many again in a burst.
    pub requests_per_second: u32,
    /// What the destination bills, for `/v1/costs` and `/v1/recommendations`.
    pub prices: Prices,
}

impl Default for ApiConfig {
    fn default() -> Self {
        ApiConfig {
            endpoint: "127.0.0.1:8000".into(),
            insecure: false,
            tls: None,
            max_body_size: ByteSize::mib(8),
            max_policy_size: ByteSize::mib(4),
            max_connections: 4096,
            requests_per_second: 5_000,
            prices: Prices::default(),
        }
    }
}
