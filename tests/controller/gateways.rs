//! The loop of a control plane that no records flow past: it writes a version from what two gateways hand over, and both enforce it.

use std::time::Duration;

use lipservice::gateway::Gateway;
use serde_json::Value;
use tempfile::TempDir;

use super::shop;
use crate::gateway::{PATIENCE, client, start};
use crate::support::fake_posthog::FakePostHog;
use crate::support::otlp;

const CONTROL: &str = "role: control_plane
api: {endpoint: '127.0.0.1:0'}
store: {url: 'sqlite::memory:'}
generator: {budget: 40%, publish: live, interval: 12h, expires_in: 1d, reservoir: {span: 6h}}
service: {telemetry: {metrics: {address: '127.0.0.1:0'}}}
";

fn gateway(fake: &FakePostHog, control: &Gateway, directory: &TempDir, name: &str) -> String {
    format!(
        "role: gateway
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}
processors: {{sampler: {{patterns: {{interval: 1h}}, window: {{interval: 1h}}, summary: {{interval: 1h}}}}}}
exporters: {{posthog: {{host: '{}', batch: {{timeout: 5ms}}}}}}
service:
  pipelines: {{logs: {{receivers: [otlp], processors: [sampler], exporters: [posthog]}}}}
  telemetry: {{metrics: {{address: '127.0.0.1:0'}}}}
control_plane:
  endpoint: 'http://{}'
  state_file: '{}'
  report_interval: 200ms
  samples: {{interval: 200ms, reservoir: {{span: 6h}}}}
",
        fake.url(),
        control.api_addr().unwrap(),
        directory.path().join(name).display(),
    )
}

/// Logs seconds of a shop at a gateway; how many records.
async fn log(gateway: &Gateway, seconds: std::ops::Range<u64>) -> u64 {
    let (http, mut sent) = (client(), 0);
    for second in seconds {
        let records = shop(second);
        sent += records.len() as u64;
        let blocks = records.into_iter().map(|(service, record)| otlp::block(service, vec![record]));
        let url = format!("http://{}/v1/logs", gateway.http_addrs()[0]);
        let request = http.post(url).bearer_auth("phc_test").header("content-type", "application/x-protobuf");
        let answer = request.body(otlp::request(blocks.collect())).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }
    sent
}

async fn ask(url: &str) -> Value {
    client().get(url).send().await.unwrap().json().await.unwrap()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited for {what}"));
}

fn metric(gateway: &Gateway, name: &str) -> f64 {
    let text = gateway.metrics_text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

fn volume(gateway: &Gateway) -> (u64, u64) {
    let totals = gateway.pipeline().ledger.totals();
    (totals.received.bytes, totals.kept.bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_from_what_two_gateways_saw_is_enforced_by_both() {
    let (fake, directory) = (FakePostHog::start().await.unwrap(), tempfile::tempdir().unwrap());
    let control = start(CONTROL).await;
    let mut gateways = Vec::new();
    for name in ["a", "b"] {
        gateways.push(start(&gateway(&fake, &control, &directory, name)).await);
    }
    let mut sent = 0;
    for (at, gateway) in (0u64..).zip(&gateways) {
        sent += log(gateway, 60 * at..60 * (at + 1)).await;
        assert_eq!(volume(gateway).0, volume(gateway).1, "without a policy everything is kept");
        gateway.look_at_windows();
        until("a sample", || metric(gateway, "lipservice_control_sampled_log_records") > 0.0).await;
    }
    assert_eq!(metric(&control, "lipservice_samples_gateways"), 2.0);
    let api = format!("http://{}", control.api_addr().unwrap());
    let tag = format!("\"{}\"", ask(&format!("{api}/v1/policies/active")).await["hash"].as_str().unwrap());
    let asked = client().post(format!("{api}/v1/generator/runs")).send().await.unwrap();
    assert_eq!(asked.status().as_u16(), 202);
    // Open until a version is in force.
    let poll = client().get(format!("{api}/v1/policies/active?wait=60")).header("if-none-match", tag);
    let poll = tokio::time::timeout(PATIENCE, poll.send()).await.unwrap().unwrap();
    assert_eq!(poll.status().as_u16(), 200, "{}", ask(&format!("{api}/v1/generator")).await);
    for gateway in &gateways {
        until("a policy", || !gateway.pipeline().policy().is_empty()).await;
    }
    let runs = ask(&format!("{api}/v1/generator/runs")).await;
    let detail = &runs["items"][0]["detail"];
    // Every record that came to either, once.
    assert_eq!((&detail["state"], &detail["sample"]["records"]), (&"published".into(), &sent.into()), "{detail}");
    for (at, gateway) in (0u64..).zip(&gateways) {
        let (received, kept) = volume(gateway);
        log(gateway, 200 + 60 * at..260 + 60 * at).await;
        let (all, sent) = volume(gateway);
        let share = (sent - kept) as f64 / (all - received) as f64;
        assert!((0.05..0.7).contains(&share), "{at}: {share}");
    }
    for gateway in gateways {
        let report = gateway.shutdown(PATIENCE).await;
        assert!(report.balance(), "{report}");
    }
    control.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_section_no_record_leaves_for_the_control_plane() {
    let (fake, directory) = (FakePostHog::start().await.unwrap(), tempfile::tempdir().unwrap());
    let control = start(CONTROL).await;
    let yaml = gateway(&fake, &control, &directory, "a");
    let without: String =
        yaml.lines().filter(|line| !line.contains("samples:")).map(|line| format!("{line}\n")).collect();
    let gateway = start(&without).await;
    log(&gateway, 0..5).await;
    gateway.look_at_windows();
    // Counts do, and those of the end come last.
    gateway.shutdown(PATIENCE).await;
    let api = format!("http://{}", control.api_addr().unwrap());
    let patterns = ask(&format!("{api}/v1/patterns")).await;
    assert!(!patterns["items"].as_array().unwrap().is_empty(), "{patterns}");
    assert_eq!(metric(&control, "lipservice_samples_gateways"), 0.0);
    assert_eq!(metric(&control, "lipservice_reservoir_log_records"), 0.0);
    control.shutdown(PATIENCE).await;
}
