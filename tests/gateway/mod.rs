//! The whole gateway over loopback: real clients, the stand-in for PostHog, faults.

mod books;
mod flow;
mod outage;
mod patterns;
mod reload;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lipservice::config;
use lipservice::gateway::{Gateway, Options};

use crate::support::fake_posthog::FakePostHog;

/// Longer than any test needs, so that a hang fails instead of stopping the run.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway in front of a stand-in.
pub struct Setup {
    pub gateway: Gateway,
    pub posthog: Arc<FakePostHog>,
    pub client: reqwest::Client,
}

impl Setup {
    /// `sampler` and `posthog` are the insides of those sections, in YAML flow style.
    pub async fn start(sampler: &str, posthog: &str) -> Setup {
        let fake = Arc::new(FakePostHog::start().await.unwrap());
        let gateway = start(&yaml(&fake, sampler, posthog)).await;
        Setup { gateway, posthog: fake, client: client() }
    }

    /// Sends a protobuf request over HTTP; the status.
    pub async fn post(&self, body: Vec<u8>) -> u16 {
        self.post_as(body, "phc_test").await
    }

    pub async fn post_as(&self, body: Vec<u8>, token: &str) -> u16 {
        let url = format!("http://{}/v1/logs", self.gateway.http_addrs()[0]);
        let request = self.client.post(url).bearer_auth(token).header("content-type", "application/x-protobuf");
        request.body(body).send().await.unwrap().status().as_u16()
    }
}

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A configuration with free ports, quick batches and quick retries.
pub fn yaml(fake: &FakePostHog, sampler: &str, posthog: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}, http: {{endpoint: '127.0.0.1:0'}}}}}}}}
processors: {{sampler: {{{sampler}}}}}
exporters:
  posthog:
    host: {url}
    batch: {{timeout: 5ms, max_size: 100kB}}
    retry_on_failure: {{initial_interval: 5ms, max_interval: 20ms, max_elapsed_time: 0s}}
    {posthog}
extensions: {{health_check: {{endpoint: '127.0.0.1:0'}}}}
service:
  extensions: [health_check]
  pipelines: {{logs: {{receivers: [otlp], processors: [sampler], exporters: [posthog]}}}}
  telemetry: {{metrics: {{address: '127.0.0.1:0'}}}}
",
        url = fake.url()
    )
}

pub fn parse(yaml: &str) -> config::Config {
    let loaded = config::load_text(yaml, "test.yaml", &|_| None);
    loaded.unwrap_or_else(|errors| panic!("{errors}\n{yaml}")).config
}

pub async fn start(yaml: &str) -> Gateway {
    Gateway::start(parse(yaml), Options::default()).await.unwrap()
}

/// Writes a policy file and returns `policies: [path]` for a sampler section.
pub fn policies(dir: &Path, text: &str) -> String {
    let path = dir.join("policies.yaml");
    std::fs::write(&path, text).unwrap();
    format!("policies: ['{}']", path.display())
}
