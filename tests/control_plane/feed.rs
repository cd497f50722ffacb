//! What a gateway finds reaches the control plane: anomalies with their course, and a sample of single decisions.

use std::time::Duration;

use bytes::Bytes;
use lipservice::clock::Clock;
use lipservice::data_plane::receiver::{Consumer as _, Received, Transport};
use lipservice::gateway::{Gateway, Options};
use serde_json::{Value, json};

use super::api::events_until;
use super::replicas::{all, alone, ask, follower};
use super::store::START;
use crate::gateway::{PATIENCE, client, parse, start};
use crate::support::fake_posthog::FakePostHog;
use crate::support::otlp;

/// A gateway whose windows end when the test says so.
pub struct Watched {
    pub gateway: Gateway,
    clock: Clock,
}

impl Watched {
    pub async fn start(yaml: &str, now: u64) -> Watched {
        let clock = Clock::manual(now);
        let options = Options { clock: clock.clone() };
        Watched { gateway: Gateway::start(parse(yaml), options).await.unwrap(), clock }
    }

    /// So many windows with so many records of each text.
    pub fn windows(&self, windows: usize, texts: &[(&str, usize)]) {
        for _ in 0..windows {
            for (text, records) in texts {
                let records = (0..*records).map(|_| otlp::record(9, text)).collect();
                let body = Bytes::from(otlp::request_of("shop", records));
                self.gateway
                    .pipeline()
                    .consume_logs(Received { body, token: None, transport: Transport::Http })
                    .unwrap();
            }
            self.clock.advance(Duration::from_secs(10));
            self.gateway.look_at_windows();
        }
    }
}

const USUAL: [(&str, usize); 2] = [("order placed", 20), ("cart shown", 5)];
const WITH_NEW: [(&str, usize); 3] = [USUAL[0], USUAL[1], ("card refused by bank", 60)];

/// Asks until the answer is as wanted.
async fn until(api: std::net::SocketAddr, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let asking = async {
        loop {
            let answer = ask(api, path).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} does not come"))
}

/// An anomaly of `watched` opens, goes on and ends, as `api` tells it.
async fn is_told(watched: &Watched, api: std::net::SocketAddr) {
    watched.windows(70, &USUAL);
    assert_eq!(ask(api, "/v1/anomalies").await["items"], json!([]));
    watched.windows(6, &WITH_NEW);
    let open = until(api, "/v1/anomalies?open=true", |answer| !answer["items"].as_array().unwrap().is_empty()).await;
    let open = &open["items"][0];
    assert_eq!((&open["kind"], &open["service"], &open["end"]), (&json!("new_pattern"), &json!("shop"), &Value::Null));
    assert_eq!(open["subject"], "card refused by <*>");
    assert!(open["score"].as_f64().unwrap() > 4.0 && open["seen"] == 60.0, "{open}");
    assert!(!open["replica"].as_str().unwrap().is_empty());
    watched.windows(40, &WITH_NEW);
    let over = until(api, "/v1/anomalies?open=false", |answer| !answer["items"].as_array().unwrap().is_empty()).await;
    assert_eq!((&over["items"][0]["id"], &over["items"][0]["end"]), (&open["id"], &json!("accepted")));
    assert_eq!(ask(api, "/v1/anomalies").await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn one_process_tells_of_its_anomalies_and_shows_decisions() {
    let fake = FakePostHog::start().await.unwrap();
    let watched = Watched::start(&all(&fake, "sqlite::memory:"), START).await;
    let api = watched.gateway.api_addr().unwrap();
    let stream = client().get(format!("http://{api}/v1/events")).send().await.unwrap();
    is_told(&watched, api).await;
    let heard = async {
        events_until(stream, |text| text.contains("event: anomaly\n") && text.contains("event: decision\n")).await
    };
    let sending = async {
        loop {
            watched.windows(1, &USUAL);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let heard = tokio::select! { heard = heard => heard, () = sending => unreachable!() };
    let decision = heard.split("event: decision\n").nth(1).unwrap().lines().next().unwrap();
    let decision: Value = serde_json::from_str(decision.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&decision["service"], &decision["keep"]), (&json!("shop"), &json!(true)), "{decision}");
    assert_eq!(decision["signature"].as_str().map(str::len), Some(16));
    watched.gateway.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn a_gateway_tells_the_control_plane_it_follows() {
    let fake = FakePostHog::start().await.unwrap();
    let control = start(&alone("127.0.0.1:0", "sqlite::memory:")).await;
    let api = control.api_addr().unwrap();
    let home = tempfile::tempdir().unwrap();
    let watched = Watched::start(&follower(&fake, api, &home), Clock::System.now()).await;
    is_told(&watched, api).await;
    watched.gateway.shutdown(PATIENCE).await;
    control.shutdown(PATIENCE).await;
}

#[tokio::test]
async fn rates_and_patterns_outlive_a_process() {
    let fake = FakePostHog::start().await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("rates");
    let patterns = home.path().join("patterns.json");
    let sampler = format!("patterns: {{file: '{}'}}", patterns.display());
    let base = crate::gateway::yaml(&fake, &sampler, "");
    let yaml = format!("{base}anomalies: {{state_file: '{}'}}\n", file.display());
    let watched = Watched::start(&yaml, START).await;
    watched.windows(70, &USUAL);
    watched.windows(2, &WITH_NEW);
    let listed = |watched: &Watched| {
        let url = format!("http://{}/anomalies", watched.gateway.metrics_addr().unwrap());
        async { client().get(url).send().await.unwrap().json::<Value>().await.unwrap() }
    };
    let before = listed(&watched).await;
    assert_eq!(before["ongoing"][0]["kind"], "new_pattern");
    let now = watched.clock.now();
    watched.gateway.shutdown(PATIENCE).await;

    // After a restart the anomaly goes on, and patterns that were known are no news.
    let watched = Watched::start(&yaml, now).await;
    let after = listed(&watched).await;
    assert_eq!((&after["ongoing"], &after["watched"]), (&before["ongoing"], &before["watched"]));
    watched.windows(5, &WITH_NEW);
    assert_eq!(listed(&watched).await["ongoing"].as_array().unwrap().len(), 1);
    watched.gateway.shutdown(PATIENCE).await;

    // A file that cannot be used costs what was known, and nothing else.
    std::fs::write(&file, b"LIPRATES\x01\0\0\0nonsense").unwrap();
    let watched = Watched::start(&yaml, now).await;
    assert_eq!(listed(&watched).await["watched"]["patterns"], 0);
    assert!(watched.gateway.metrics_text().contains("lipservice_anomalies_file_failures 1"));
    watched.windows(3, &USUAL);
    watched.gateway.shutdown(PATIENCE).await;
    let watched = Watched::start(&yaml, now).await;
    assert_eq!(listed(&watched).await["watched"]["patterns"], 2, "the file was written anew");
    watched.gateway.shutdown(PATIENCE).await;
}

/// What is unusual is kept whole while it lasts, though the default keeps a hundredth, and the rate falls afterwards.
#[tokio::test]
async fn a_gateway_keeps_more_of_what_is_unusual_and_lets_go() {
    let fake = FakePostHog::start().await.unwrap();
    let watched = Watched::start(&crate::gateway::yaml(&fake, "default_percentage: 1", ""), START).await;
    let kept = || watched.gateway.pipeline().ledger.totals().kept.records;
    let kept_in = |windows: usize, texts: &[(&str, usize)]| {
        let before = kept();
        watched.windows(windows, texts);
        kept() - before
    };
    let boosted = |count: usize| {
        let metrics = watched.gateway.metrics_text();
        assert!(metrics.contains(&format!("lipservice_anomalies_boosted_patterns {count}\n")), "{metrics}");
    };
    watched.windows(70, &USUAL);
    boosted(0);
    assert!(kept_in(10, &USUAL) < 40, "a floor of one record a window for each of two patterns, and chance");
    watched.windows(1, &WITH_NEW);
    boosted(1);
    let anomalous = kept_in(4, &WITH_NEW);
    assert!((240..270).contains(&anomalous), "{anomalous}: all of four times 60");
    // Five minutes later it is no longer new; from then on the rate halves every minute.
    watched.windows(80, &WITH_NEW);
    boosted(0);
    assert!(kept_in(10, &WITH_NEW) < 60);
    watched.gateway.shutdown(PATIENCE).await;
}
