//! Gateways and the control plane they follow.

use std::net::SocketAddr;
use std::time::Duration;

use lipservice::gateway::Gateway;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::gateway::{PATIENCE, client, parse, start, yaml};
use crate::support::fake_posthog::FakePostHog;
use crate::support::otlp;

/// What it says about records whose text has `ping`.
fn policy(keep: &str) -> Value {
    json!({ "policies": [{ "id": "ping", "name": "Ping", "log": {
        "match": [{ "log_field": "body", "contains": "ping" }], "keep": keep } }] })
}

async fn put(api: SocketAddr, keep: &str) {
    let body = json!({ "document": policy(keep), "activate": true });
    let url = format!("http://{api}/v1/policies/service:shop");
    let response = client().put(url).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
}

pub async fn ask(api: SocketAddr, path: &str) -> Value {
    client().get(format!("http://{api}{path}")).send().await.unwrap().json().await.unwrap()
}

/// Sends a record; whether it was kept, by the books.
async fn keeps(gateway: &Gateway, service: &str, text: &str) -> bool {
    let before = gateway.report().totals.kept.records;
    let body = otlp::request_of(service, vec![otlp::record(9, text)]);
    let url = format!("http://{}/v1/logs", gateway.http_addrs()[0]);
    let request = client().post(url).header("content-type", "application/x-protobuf").body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    gateway.report().totals.kept.records > before
}

/// Waits until the gateway enforces something; how long that took.
async fn enforced(gateway: &Gateway, policies: usize, keep: &str) -> Duration {
    let started = Instant::now();
    let seen = async {
        loop {
            let policy = gateway.pipeline().policy();
            if policy.len() == policies
                && (0..policies).all(|i| format!("{:?}", policy.policy(i as u16).keep).contains(keep))
            {
                return;
            }
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap();
    started.elapsed()
}

pub fn all(fake: &FakePostHog, store: &str) -> String {
    let base = yaml(fake, "novelty_records: 0, floor_records: 0", "");
    format!(
        "{base}api: {{endpoint: '127.0.0.1:0'}}\nstore: {{url: '{store}'}}\ncontrol_plane: {{report_interval: 200ms}}\n"
    )
}

pub fn follower(fake: &FakePostHog, api: SocketAddr, directory: &TempDir) -> String {
    let base = yaml(fake, "novelty_records: 0, floor_records: 0", "");
    let state = directory.path().join("policies.json").display().to_string();
    format!(
        "{base}role: gateway\ncontrol_plane: {{endpoint: 'http://{api}', state_file: '{state}', report_interval: 200ms}}\n"
    )
}

pub fn alone(address: &str, store: &str) -> String {
    format!(
        "role: control_plane\napi: {{endpoint: '{address}'}}\nstore: {{url: '{store}'}}\n\
         service: {{telemetry: {{metrics: {{address: '127.0.0.1:0'}}}}}}\n"
    )
}

#[tokio::test]
async fn one_process_enforces_what_is_activated_in_it() {
    let fake = FakePostHog::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let gateway = start(&all(&fake, &store)).await;
    let api = gateway.api_addr().unwrap();
    assert!(keeps(&gateway, "shop", "ping 1").await);
    put(api, "none").await;
    enforced(&gateway, 1, "None").await;
    assert!(!keeps(&gateway, "shop", "ping 2").await);
    assert!(keeps(&gateway, "other", "ping 3").await, "another service");
    let explained =
        client().post(format!("http://{api}/v1/explain")).json(&json!({ "text": "ping", "service": "shop" }));
    let explained: Value = explained.send().await.unwrap().json().await.unwrap();
    assert_eq!((&explained["reason"], &explained["policies"][0]["id"]), (&json!("policy_none"), &json!("shop/ping")));
    let metrics = gateway.metrics_text();
    assert!(metrics.contains("lipservice_control_active_policies 1") && metrics.contains("lipservice_control_leads"));
    gateway.shutdown(PATIENCE).await;
    // The counts are reported at the end at the latest, and policies outlive the process.
    let gateway = start(&all(&fake, &store)).await;
    let patterns = ask(gateway.api_addr().unwrap(), "/v1/patterns?service=shop").await;
    let found = &patterns["items"][0];
    assert_eq!((&found["records"], &found["kept"], &found["template"]), (&json!(2), &json!(1), &json!("ping <*>")));
    assert!(!keeps(&gateway, "shop", "ping 4").await, "in force before the first record");
    gateway.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn gateways_follow_report_and_survive_without_the_control_plane() {
    let fake = FakePostHog::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let control = start(&alone("127.0.0.1:0", &store)).await;
    let api = control.api_addr().unwrap();
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = start(&follower(&fake, api, &homes[0])).await;
    let two = start(&follower(&fake, api, &homes[1])).await;
    put(api, "none").await;
    for gateway in [&one, &two] {
        enforced(gateway, 1, "None").await;
        assert!(!keeps(gateway, "shop", "ping 1").await);
    }
    // What both saw is added up.
    let both = async {
        while ask(api, "/v1/patterns?service=shop").await["items"][0]["records"] != 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    assert_eq!(ask(api, "/v1/status").await["replicas"].as_array().unwrap().len(), 2);

    control.shutdown(PATIENCE).await;
    assert!(!keeps(&one, "shop", "ping 2").await, "the last good policies stay");
    // A gateway that starts meanwhile has them from its disk.
    two.shutdown(PATIENCE).await;
    let two = start(&follower(&fake, api, &homes[1])).await;
    assert!(!keeps(&two, "shop", "ping 3").await);

    let control = start(&alone(&api.to_string(), &store)).await;
    put(api, "all").await;
    for gateway in [&one, &two] {
        enforced(gateway, 1, "All").await;
    }
    // Counts from the time without a control plane arrive: the second gateway's last report before its end did not,
    // as nobody was there, but `ping 2` and `ping 3` were seen by processes that live.
    let later = async {
        while ask(api, "/v1/patterns?service=shop").await["items"][0]["records"] != 4 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, later).await.unwrap();
    for gateway in [one, two, control] {
        gateway.shutdown(PATIENCE).await;
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused() {
    let fake = FakePostHog::start().await.unwrap();
    let base = yaml(&fake, "", "");
    for (more, path) in [
        ("role: gateway", "control_plane.endpoint"),
        ("role: gateway\ncontrol_plane: {endpoint: 'ftp://h'}", "control_plane.endpoint"),
        ("role: gateway\ncontrol_plane: {endpoint: 'http://h'}\napi: {}", "api"),
        ("role: leader", "role"),
        ("api: {endpoint: nowhere}", "api.endpoint"),
        ("api: {endpoints: x}", "api.endpoints"),
        ("api: {requests_per_second: 0}", "api.requests_per_second"),
        ("store: {url: 'mysql://h/d'}", "store.url"),
        ("store: {retention: {fine: 2days}}", "store.retention.medium"),
        ("rollout: {canary: {percentages: [5, 5]}}", "rollout.canary.percentages"),
        ("rollout: {canary: {percentages: [5, 100]}}", "rollout.canary.percentages"),
        ("rollout: {shadow: {duration: 3h}}", "rollout.shadow.duration"),
        ("rollout: {ttl: 1h}", "rollout.ttl"),
        ("rollout: {tolerance: 0}", "rollout.tolerance"),
    ] {
        let text = format!("{base}{more}\n");
        let errors = lipservice::config::load_text(&text, "t", &|_| None).unwrap_err();
        assert!(errors.0.iter().any(|problem| problem.path == path), "{more}: {errors}");
    }
    let exposed = format!("{base}api: {{endpoint: '0.0.0.0:0'}}\nstore: {{url: 'sqlite::memory:'}}\n");
    let error = Gateway::start(parse(&exposed), Default::default()).await.err().unwrap().to_string();
    assert!(error.contains("no token exists"), "{error}");
}
