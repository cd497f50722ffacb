//! Settings of the store.
//!
//! Promises: every key has a default; unknown keys are refused; a password in the URL does not print.
//! Never: connects.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Engine, StoreError};
use crate::units::{Period, SecretUrl};

/// Where policies live when nothing is said: beside the process, in a file.
pub const DEFAULT_URL: &str = "sqlite:lipservice.db";

/// `store:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:PATH` (created when missing), `sqlite::memory:` (forgotten at the end), or
    /// `postgres://user:password@host:5432/database`. `sqlite:lipservice.db` in the working directory when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<SecretUrl>,
    /// Connections to PostgreSQL at most.
    pub max_connections: u32,
    /// How long statistics are kept.
    pub retention: RetentionConfig,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { url: None, max_connections: 8, retention: RetentionConfig::default() }
    }
}

/// `retention:` of `store`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionConfig {
    /// Age at which buckets of 10 s are added up to buckets of 5 minutes.
    pub fine: Period,
    /// Age at which buckets of 5 minutes are added up to buckets of an hour.
    pub medium: Period,
    /// Age at which buckets of an hour are forgotten, and with them patterns not seen since.
    pub coarse: Period,
    /// Age at which the ids of ingested batches are forgotten: a batch sent again later than this would count twice.
    pub batches: Period,
    /// Age at which entries of the audit log and anomalies are forgotten.
    pub audit: Period,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        RetentionConfig {
            fine: Period::secs(15 * 60),
            medium: Period::secs(86_400),
            coarse: Period::secs(30 * 86_400),
            batches: Period::secs(86_400),
            audit: Period::secs(365 * 86_400),
        }
    }
}

impl StoreConfig {
    /// The engine and the URL to connect to.
    pub(super) fn target(&self) -> Result<(Engine, String), StoreError> {
        let url = self.url.as_ref().map_or(DEFAULT_URL, SecretUrl::expose);
        let engine = engine_of(url).ok_or(StoreError::Url)?;
        let url = match engine {
            Engine::Sqlite if !url.contains(":memory:") && !url.contains('?') => format!("{url}?mode=rwc"),
            _ => url.to_owned(),
        };
        Ok((engine, url))
    }

    /// The file of an embedded database.
    pub fn file(&self) -> Option<&str> {
        let url = self.url.as_ref().map_or(DEFAULT_URL, SecretUrl::expose);
        let path = url.strip_prefix("sqlite:").filter(|path| *path != ":memory:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        Some(path.split('?').next().unwrap_or(path))
    }
}

/// The engine of a URL, if there is one.
pub fn engine_of(url: &str) -> Option<Engine> {
    match url.split_once(':')? {
        ("sqlite", rest) if !rest.is_empty() => Some(Engine::Sqlite),
        ("postgres" | "postgresql", rest) if rest.starts_with("//") => Some(Engine::Postgres),
        _ => None,
    }
}
