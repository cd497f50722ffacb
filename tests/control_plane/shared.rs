//! What gateways share through their control plane: which patterns are new, and rate limits.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use lipservice::clock::Clock;
use lipservice::data_plane::receiver::{Consumer as _, Received, Transport};
use lipservice::data_plane::sampler::Reason;
use lipservice::gateway::{Gateway, Options};
use serde_json::json;
use tempfile::TempDir;

use super::replicas::{alone, ask};
use crate::gateway::{PATIENCE, parse, start, yaml};
use crate::support::fake_posthog::FakePostHog;
use crate::support::otlp;

/// Keeps what is new, and nothing else.
const ONLY_NEWS: &str = "default_percentage: 0, novelty_records: 1, floor_records: 0, summary: {enabled: false}";

fn follower(fake: &FakePostHog, sampler: &str, api: SocketAddr, (home, more): (&TempDir, &str)) -> String {
    let state = home.path().join("policies.json").display().to_string();
    let base = yaml(fake, sampler, "");
    format!(
        "{base}role: gateway\ncontrol_plane: {{endpoint: 'http://{api}', state_file: '{state}', report_interval: 100ms{more}}}\n"
    )
}

/// Takes records of a service, one of each text.
fn take(gateway: &Gateway, texts: &[String]) {
    let records = texts.iter().map(|text| otlp::record(9, text)).collect();
    let body = Bytes::from(otlp::request_of("shop", records));
    gateway.pipeline().consume_logs(Received { body, token: None, transport: Transport::Http }).unwrap();
}

fn news(gateway: &Gateway) -> u64 {
    let by_reason = gateway.pipeline().ledger.by_reason();
    by_reason.iter().filter(|(reason, ..)| *reason == Reason::Novelty).map(|(_, kept, _)| kept.records).sum()
}

/// How many records of these were kept because they are new.
fn new_of(gateway: &Gateway, texts: &[&str]) -> u64 {
    let before = news(gateway);
    take(gateway, &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    news(gateway) - before
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited for {what}"));
}

async fn records_there(api: SocketAddr) -> u64 {
    let patterns = ask(api, "/v1/patterns?service=shop").await;
    patterns["items"].as_array().unwrap().iter().map(|pattern| pattern["records"].as_u64().unwrap()).sum()
}

async fn ends(gateway: Gateway) {
    let report = gateway.shutdown(PATIENCE).await;
    assert!(report.balance(), "{report}");
}

#[tokio::test]
async fn what_one_gateway_has_seen_is_no_news_at_another() {
    let fake = FakePostHog::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let control = start(&alone("127.0.0.1:0", &store)).await;
    let api = control.api_addr().unwrap();
    let homes = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let gateway = |number: usize| follower(&fake, ONLY_NEWS, api, (&homes[number], ""));
    let one = start(&gateway(0)).await;
    assert_eq!(new_of(&one, &["order 1 placed", "order 2 placed", "cart shown"]), 2);
    until("a report", async || records_there(api).await == 3).await;

    // One that starts later knows at its first record.
    let two = start(&gateway(1)).await;
    assert_eq!(new_of(&two, &["order 3 placed", "cart shown", "cart shown"]), 0);
    assert_eq!(new_of(&two, &["card refused by bank"]), 1);
    assert!(two.metrics_text().contains("lipservice_window_known_patterns 2\n"), "{}", two.metrics_text());
    // The one that runs hears of it before it comes there.
    until("news", async || one.metrics_text().contains("lipservice_control_known_patterns 3\n")).await;
    assert_eq!(new_of(&one, &["card refused by bank"]), 0);
    // Every record is in the statistics, kept or not.
    until("all counts", async || records_there(api).await == 8).await;

    // Without the control plane a restart knows what the last run knew, its own last news included.
    assert_eq!(new_of(&two, &["disk 7 is full"]), 1);
    ends(two).await;
    assert_eq!(records_there(api).await, 9);
    control.shutdown(PATIENCE).await;
    let two = start(&gateway(1)).await;
    assert_eq!(new_of(&two, &["order 4 placed", "cart shown", "card refused by bank", "disk 8 is full"]), 0);
    assert_eq!(new_of(&two, &["lease lost"]), 1, "truly new");
    // One that never heard of anything keeps more, not less.
    let three = start(&gateway(2)).await;
    assert_eq!(new_of(&three, &["order 5 placed", "cart shown"]), 2);
    for gateway in [one, two, three] {
        ends(gateway).await;
    }
}

#[tokio::test]
async fn one_process_knows_after_a_restart_what_its_store_does() {
    let fake = FakePostHog::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let with = |more: &str| {
        let base = yaml(&fake, ONLY_NEWS, "");
        format!(
            "{base}api: {{endpoint: '127.0.0.1:0'}}\nstore: {{url: '{store}'}}\ncontrol_plane: {{report_interval: 100ms{more}}}\n"
        )
    };
    let gateway = start(&with("")).await;
    assert_eq!(new_of(&gateway, &["order 1 placed", "cart shown"]), 2);
    ends(gateway).await;
    let gateway = start(&with("")).await;
    assert_eq!(new_of(&gateway, &["order 2 placed", "cart shown", "card refused by bank"]), 1);
    ends(gateway).await;
    // Room for one: the oldest has it, and the rest is new and said to be left out.
    let gateway = start(&with(", known_patterns: 1")).await;
    assert!(gateway.metrics_text().contains("lipservice_control_known_patterns_left_out 2\n"));
    assert_eq!(new_of(&gateway, &["order 3 placed", "cart shown", "card refused by bank"]), 2);
    ends(gateway).await;
    let gateway = start(&with(", known_patterns: 0")).await;
    assert_eq!(new_of(&gateway, &["order 4 placed"]), 1, "switched off");
    ends(gateway).await;
}

async fn limit(api: SocketAddr, keep: &str) {
    let document = json!({ "policies": [{ "id": "ping", "name": "Ping", "log": {
        "match": [{ "log_field": "body", "contains": "ping" }], "keep": keep } }] });
    let body = json!({ "document": document, "activate": true });
    let url = format!("http://{api}/v1/policies/global");
    assert_eq!(crate::gateway::client().put(url).json(&body).send().await.unwrap().status(), 200);
}

/// Gateways whose seconds pass when the test says so.
async fn shares(fake: &FakePostHog, api: SocketAddr, home: (&TempDir, &str), clock: &Clock) -> Gateway {
    let sampler = "novelty_records: 0, floor_records: 0, summary: {enabled: false}";
    let options = Options { clock: clock.clone() };
    Gateway::start(parse(&follower(fake, sampler, api, home)), options).await.unwrap()
}

async fn are(gateways: &[&Gateway], number: u32) {
    for gateway in gateways {
        let wanted = format!("lipservice_policy_fleet_gateways {number}\n");
        until(&wanted, async || gateway.metrics_text().contains(&wanted)).await;
    }
}

/// How many of thirty records at each pass in the present second.
fn passed(gateways: &[&Gateway], clock: &Clock) -> Vec<u64> {
    clock.advance(Duration::from_secs(1));
    let thirty: Vec<String> = (0..30).map(|n| format!("ping {n}")).collect();
    let kept = |gateway: &Gateway| gateway.pipeline().ledger.totals().kept.records;
    let pass = |gateway: &&Gateway| {
        let before = kept(gateway);
        take(gateway, &thirty);
        kept(gateway) - before
    };
    gateways.iter().map(pass).collect()
}

#[tokio::test]
async fn gateways_pass_a_limit_together_and_each_its_part() {
    let fake = FakePostHog::start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let control = start(&alone("127.0.0.1:0", &store)).await;
    let api = control.api_addr().unwrap();
    limit(api, "10/s").await;
    let homes = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let clock = Clock::manual(Clock::System.now());
    let enforces = |gateway: &Gateway, limit: u32| {
        let policy = gateway.pipeline().policy();
        policy.len() == 1 && format!("{:?}", policy.policy(0).keep).contains(&format!("limit: {limit},"))
    };
    let one = shares(&fake, api, (&homes[0], ""), &clock).await;
    until("a policy", async || enforces(&one, 10)).await;
    assert_eq!(passed(&[&one], &clock), [10], "alone");
    let two = shares(&fake, api, (&homes[1], ""), &clock).await;
    until("a policy", async || enforces(&two, 10)).await;
    let both = [&one, &two];
    are(&both, 2).await;
    for _ in 0..4 {
        assert_eq!(passed(&both, &clock), [5, 5]);
    }
    // One that does not want to share passes all of it, and is not one of them.
    let own = shares(&fake, api, (&homes[2], ", rate_limits: gateway"), &clock).await;
    until("a policy", async || enforces(&own, 10)).await;
    assert_eq!(passed(&[&one, &two, &own], &clock), [5, 5, 10]);
    // Odd limits take turns; each second the sum is the limit.
    limit(api, "5/s").await;
    for gateway in both {
        until("a policy", async || enforces(gateway, 5)).await;
    }
    let seconds: Vec<_> = (0..6).map(|_| passed(&both, &clock)).collect();
    assert!(seconds.iter().all(|parts| parts.iter().sum::<u64>() == 5), "{seconds:?}");
    for place in 0..2 {
        assert_eq!(seconds.iter().map(|parts| parts[place]).sum::<u64>(), 15, "{seconds:?}");
    }
    // While the control plane is away the last word stands.
    control.shutdown(PATIENCE).await;
    assert_eq!(passed(&both, &clock).iter().sum::<u64>(), 5);
    let control = start(&alone(&api.to_string(), &store)).await;
    // One that ends leaves its part to the others.
    take(&two, &["goodbye".to_owned()]);
    let heard = async || ask(api, "/v1/patterns?service=shop").await.to_string().contains("goodbye");
    until("a report", heard).await;
    ends(two).await;
    are(&[&one], 1).await;
    assert_eq!(passed(&[&one], &clock), [5]);
    for gateway in [one, own, control] {
        ends(gateway).await;
    }
}
