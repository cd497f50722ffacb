//! The loop that writes policies, as the demo shows it.
//!
//! Purpose: say when a policy goes into force and why, and what the bytes were until the first one did.
//! Promises: asks the API alone; who scores is named: the stand-in in this process, or the provider of DEMO_LLM_KEY.
//! Never: steers the loop.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

/// Who says what patterns are worth: variables for the gateway's configuration, and a name for people.
pub struct Scores {
    /// For `config/demo/gateway.yaml`.
    pub environment: Vec<(&'static str, String)>,
    /// For people.
    pub name: String,
}

impl Scores {
    /// A provider that the environment opens (DEMO_LLM_KEY, with DEMO_LLM_TYPE, DEMO_LLM_URL and DEMO_LLM_MODEL), else
    /// the stand-in at `address` with its key and model.
    pub fn choose(address: SocketAddr, key: &str, model: &str) -> Scores {
        let given = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        if given("DEMO_LLM_KEY").is_none() {
            return Scores {
                environment: vec![
                    ("DEMO_LLM_TYPE", "openai".to_owned()),
                    ("DEMO_LLM_URL", format!("http://{address}/v1")),
                    ("DEMO_LLM_MODEL", model.to_owned()),
                    ("DEMO_LLM_KEY", key.to_owned()),
                ],
                name: "a stand-in for a language model, in this process (set DEMO_LLM_KEY for a real one)".to_owned(),
            };
        }
        // The variables are there already and reach the gateway; what is left out is the vendor's.
        let kind = given("DEMO_LLM_TYPE").unwrap_or_else(|| "openai".to_owned());
        let (url, usual) = match kind.as_str() {
            "anthropic" => ("https://api.anthropic.com", "claude-haiku-4-5"),
            "ollama" => ("http://127.0.0.1:11434", "qwen3:8b"),
            _ => ("https://api.openai.com/v1", "gpt-4.1-mini"),
        };
        let url = given("DEMO_LLM_URL").unwrap_or_else(|| url.to_owned());
        let model = given("DEMO_LLM_MODEL").unwrap_or_else(|| usual.to_owned());
        let name = format!("{model} at {url} ({kind}), as DEMO_LLM_KEY allows: it sees masked templates");
        Scores { environment: vec![("DEMO_LLM_TYPE", kind), ("DEMO_LLM_URL", url), ("DEMO_LLM_MODEL", model)], name }
    }
}

/// Bytes in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Sent by the services.
    pub sent: u64,
    /// Billed by the destination.
    pub billed: u64,
}

impl Bytes {
    /// What came after `then`.
    pub fn since(self, then: Bytes) -> Bytes {
        Bytes { sent: self.sent - then.sent, billed: self.billed - then.billed }
    }

    /// Percentage of the bytes that is billed.
    pub fn billed_percent(self) -> f64 {
        100.0 * self.billed as f64 / self.sent.max(1) as f64
    }
}

/// Watches the loop.
pub struct Writer {
    client: reqwest::Client,
    url: String,
    version: i64,
    /// Policies that went into force.
    pub published: u64,
    /// The bytes up to the first of them.
    pub before: Option<Bytes>,
}

impl Writer {
    /// Watches the loop behind the API at `address`.
    ///
    /// # Errors
    /// When the client cannot be set up.
    pub fn new(address: SocketAddr) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        Ok(Writer { client, url: format!("http://{address}/v1/generator"), version: 0, published: 0, before: None })
    }

    /// Looks; returns what to say when another run has ended.
    ///
    /// # Errors
    /// When the gateway does not answer.
    pub async fn look(&mut self, now: Bytes) -> anyhow::Result<Option<String>> {
        let text = self.client.get(&self.url).send().await?.error_for_status()?.text().await?;
        let status: Value = serde_json::from_str(&text)?;
        let last = &status["generator"]["last"];
        let version = last["detail"]["version"].as_i64().unwrap_or(0);
        if version == self.version {
            return Ok(None);
        }
        self.version = version;
        let state = last["state"].as_str().unwrap_or_default();
        if state == "published" {
            self.published += 1;
            self.before.get_or_insert(now);
        }
        let llm = &last["detail"]["llm"];
        Ok(Some(format!(
            "policy {version} {state}: {} rules; {} of {} patterns scored by {}",
            last["detail"]["rules"], llm["by_model"], last["detail"]["sample"]["patterns"], llm["models"]
        )))
    }
}
