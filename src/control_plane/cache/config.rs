//! Settings of the cache.
//!
//! Promises: every key has a default; unknown keys are refused; a password in the URL does not print.
//! Never: connects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::SecretUrl;

/// `cache:`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Redis between control planes on one store: `redis://:${env:REDIS_PASSWORD}@host:6379/0`, or `rediss://…` for TLS.
    /// None when left out: then a change made through another control plane is noticed within half a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<SecretUrl>,
    /// PEM file with authorities to trust instead of the system's, for `rediss://`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

/// Whether this is a URL of a Redis server.
pub fn is_redis(url: &str) -> bool {
    redis::parse_redis_url(url).is_some_and(|url| ["redis", "rediss"].contains(&url.scheme()) && url.has_host())
}
