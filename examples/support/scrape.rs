//! Reads the gateway's own numbers over HTTP.
//!
//! Purpose: `/patterns` totals and sums of `/metrics` families. Promises: bounded by the client's timeout.
//! Never: interprets them.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

/// `totals` of `/patterns`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Records in.
    pub received: u64,
    /// Records kept.
    pub kept: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Records refused.
    pub refused: u64,
}

#[derive(Deserialize)]
struct Patterns {
    totals: Totals,
}

/// Reads one gateway.
pub struct Scraper {
    client: reqwest::Client,
    base: String,
}

impl Scraper {
    /// Reads the gateway whose metrics are at `address`.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(Scraper { client, base: format!("http://{address}") })
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let response = self.client.get(format!("{}{path}", self.base)).send().await?.error_for_status()?;
        Ok(response.text().await?)
    }

    /// The totals now.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub async fn totals(&self) -> anyhow::Result<Totals> {
        let text = self.get("/patterns?limit=1").await?;
        let patterns: Patterns = serde_json::from_str(&text).context("/patterns is not what it was")?;
        Ok(patterns.totals)
    }

    /// The sum of a family over all its labels; `None` where there is no such family.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub async fn sum(&self, family: &str) -> anyhow::Result<Option<f64>> {
        Ok(sum(&self.get("/metrics").await?, family))
    }
}

/// Prometheus text: `name{labels} value`, counters with or without `_total`.
fn sum(text: &str, family: &str) -> Option<f64> {
    let values = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let name = line.split(['{', ' ']).next()?;
        let wanted = name == family || name.strip_suffix("_total") == Some(family);
        if wanted { line.rsplit(' ').next()?.parse::<f64>().ok() } else { None }
    });
    values.reduce(|sum, value| sum + value)
}
