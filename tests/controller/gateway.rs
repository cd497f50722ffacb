//! The whole loop behind a gateway: OTLP in, a model asked over HTTP, a policy in force, less bytes out, no restart.

use std::sync::Arc;
use std::time::Duration;

use lipservice::config::load_text;
use lipservice::control_plane::generator::llm::config::LlmProviderType;
use lipservice::control_plane::generator::llm::provider::transport::SystemTimer;
use lipservice::gateway::{Gateway, Options};
use serde_json::Value;

use super::shop;
use crate::gateway::{PATIENCE, client};
use crate::llm::real_model;
use crate::support::fake_llm::serve::serve;
use crate::support::fake_llm::{FakeLlm, Fault, KEY, MODEL, minds};
use crate::support::fake_posthog::FakePostHog;
use crate::support::otlp;

struct Setup {
    gateway: Gateway,
    posthog: FakePostHog,
    http: reqwest::Client,
    sent: u64,
}

impl Setup {
    async fn start(llm: &str) -> Setup {
        let posthog = FakePostHog::start().await.unwrap();
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}
processors: {{sampler: {{patterns: {{interval: 1h}}, window: {{interval: 1h}}, summary: {{interval: 1h}}}}}}
exporters: {{posthog: {{host: '{}', batch: {{timeout: 5ms}}}}}}
service:
  pipelines: {{logs: {{receivers: [otlp], processors: [sampler], exporters: [posthog]}}}}
  telemetry: {{metrics: {{address: '127.0.0.1:0'}}}}
api: {{endpoint: '127.0.0.1:0'}}
store: {{url: 'sqlite::memory:'}}
generator: {{budget: 40%, publish: live, interval: 12h, expires_in: 1d, reservoir: {{span: 6h}}}}
llm: {llm}
",
            posthog.url()
        );
        let env = |name: &str| match name {
            "TEST_LLM_KEY" => Some(KEY.to_owned()),
            "REAL_LLM_KEY" => Some("test-key".to_owned()),
            _ => None,
        };
        let config = load_text(&yaml, "test.yaml", &env).unwrap_or_else(|errors| panic!("{errors}\n{yaml}")).config;
        let gateway = Gateway::start(config, Options::default()).await.unwrap();
        Setup { gateway, posthog, http: client(), sent: 0 }
    }

    /// Logs a few minutes of a shop; the bytes that arrived at the destination for them, summaries aside.
    async fn log(&mut self, seconds: std::ops::Range<u64>) {
        for second in seconds {
            let blocks = shop(second).into_iter().map(|(service, record)| otlp::block(service, vec![record]));
            let body = otlp::request(blocks.collect());
            self.sent += shop(second).len() as u64;
            let url = format!("http://{}/v1/logs", self.gateway.http_addrs()[0]);
            let request = self.http.post(url).bearer_auth("phc_test").header("content-type", "application/x-protobuf");
            assert_eq!(request.body(body).send().await.unwrap().status().as_u16(), 200);
        }
    }

    fn api(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.api_addr().unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.http.get(self.api(path)).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Asks for a run and waits, with an open poll, until other policies are in force.
    async fn run(&self) {
        let before = self.get("/v1/policies/active").await;
        let asked = self.http.post(self.api("/v1/generator/runs")).send().await.unwrap();
        assert_eq!(asked.status().as_u16(), 202);
        let tag = format!("\"{}\"", before["hash"].as_str().unwrap());
        let poll = self.http.get(self.api("/v1/policies/active?wait=60")).header("if-none-match", tag);
        let answer = tokio::time::timeout(PATIENCE, poll.send()).await.unwrap().unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{}", self.get("/v1/generator").await);
        let in_force = async {
            while self.gateway.pipeline().policy().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, in_force).await.unwrap();
    }

    fn received(&self) -> (u64, u64) {
        let totals = self.gateway.pipeline().ledger.totals();
        (totals.received.bytes, totals.kept.bytes)
    }
}

/// Traffic, a run, the same traffic again; what became of it.
async fn whole(llm: &str, check: impl AsyncFn(&Setup)) {
    let mut setup = Setup::start(llm).await;
    setup.log(0..120).await;
    assert_eq!(setup.received().0, setup.received().1, "without a policy everything is kept");
    setup.gateway.look_at_windows();
    setup.run().await;
    check(&setup).await;
    let (received, kept) = setup.received();
    setup.log(120..240).await;
    let (all, sent) = setup.received();
    let share = (sent - kept) as f64 / (all - received) as f64;
    assert!((0.05..0.6).contains(&share), "{share}");
    let metrics = setup.gateway.metrics_text();
    for line in ["lipservice_generator_runs{state=\"published\"} 1", "lipservice_generator_feasible 1"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("lipservice_llm_health{"), "{metrics}");
    let sent = setup.sent;
    let Setup { gateway, posthog, .. } = setup;
    let report = gateway.shutdown(PATIENCE).await;
    assert!(report.balance(), "{report}");
    // What arrived and what summaries report are all that was logged.
    let rows = posthog.take_rows();
    let count = |row: &crate::support::fake_posthog::Row| {
        row.attributes.get("lip.records").map_or(1, |text| text.parse::<u64>().unwrap())
    };
    assert_eq!(rows.iter().map(count).sum::<u64>(), sent);
    assert_eq!(rows.iter().filter(|row| row.severity_number == 17).count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_api_end_to_end() {
    for (kind, name, path) in [
        (LlmProviderType::OpenAi, "openai", "/v1"),
        (LlmProviderType::Ollama, "ollama", ""),
        (LlmProviderType::Anthropic, "anthropic", ""),
    ] {
        let fake = FakeLlm::new(kind, minds::sensible(), Arc::new(SystemTimer));
        // It stumbles first; what it is asked is checked against its published shape.
        fake.then([Fault::Status(500, Vec::new(), String::new()), Fault::Slow(Duration::from_millis(5))]);
        let served = serve(fake.clone()).await.unwrap();
        let llm = format!(
            "{{chain: [main, none], providers: {{main: {{type: {name}, base_url: 'http://{}{path}', model: {MODEL}, \
             api_key: '${{env:TEST_LLM_KEY}}', initial_interval: 1ms, max_interval: 2ms, input_price: 100, \
             output_price: 100}}}}, limits: {{max_cost_per_day: 1000}}}}",
            served.address
        );
        whole(&llm, async |setup| {
            let status = setup.get("/v1/generator").await["generator"].clone();
            assert_eq!((&status["last"]["state"], &status["llm"]["health"]), (&"published".into(), &"ok".into()));
            let runs = setup.get("/v1/generator/runs").await;
            assert_eq!(runs["items"][0]["detail"]["llm"]["models"][0], MODEL, "{runs}");
            let cost = runs["items"][0]["detail"]["llm"]["dollars"].as_f64().unwrap();
            let ledger = setup.get("/v1/costs").await["ledger"]["llm"].clone();
            assert!(cost > 0.01 && (ledger["today"].as_f64().unwrap() - cost).abs() < 2e-6, "{cost} {ledger}");
            let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lipservice"));
            command.args(["cost", "--server", &setup.api("")]);
            let printed = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
            let printed = String::from_utf8(printed.stdout).unwrap();
            assert!(printed.contains(&format!("language models ${cost:.2} to date")), "{cost}\n{printed}");
            let version = setup.get("/v1/policies/generated").await;
            let text = version.to_string();
            assert!(text.contains("by fake-1 (request)") && !text.contains(KEY), "{text}");
        })
        .await;
        assert_eq!(fake.complaints(), Vec::<String>::new(), "{kind:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_model_end_to_end() {
    let Some(server) = real_model::start() else { return };
    let prompts = real_model::prompts();
    let llm = format!(
        "{{chain: [small, none], prompts: '{}', limits: {{batch_size: 2, max_requests_per_round: 4, round_timeout: 60s}}, \
         providers: {{small: {{type: openai, base_url: '{}/v1', model: smollm2, api_key: '${{env:REAL_LLM_KEY}}', \
         answer: score_only, temperature: 0, timeout: 40s, context_tokens: 4096}}}}}}",
        prompts.path().display(),
        server.address
    );
    whole(&llm, async |setup| {
        let status = setup.get("/v1/generator").await["generator"].clone();
        assert!(status["llm"]["asked"].as_u64().unwrap() >= 4, "{status}");
        assert!(status["llm"]["spend"]["input_tokens"].as_u64().unwrap() > 0, "{status}");
    })
    .await;
}
