//! Many agents on one control plane, in small: each follows, each count arrives once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::replicas::{alone, ask};
use super::store::document;
use crate::gateway::{PATIENCE, client, start};
use crate::support::fleet::{Fleet, Habits};

const HABITS: Habits = Habits { agents: 50, every: Duration::from_millis(200), patterns: 20, reports: 3 };

#[tokio::test(flavor = "multi_thread")]
async fn every_agent_enforces_every_version_and_no_count_is_lost_or_doubled() {
    let control = start(&alone("127.0.0.1:0", "sqlite::memory:")).await;
    let api = control.api_addr().unwrap();
    let mut fleet = Fleet::start(api, None, HABITS);
    let whole = async {
        for keep in ["1%", "2%", "none"] {
            let body = json!({ "document": document(keep), "activate": true });
            let since = Instant::now();
            let put = client().put(format!("http://{api}/v1/policies/global")).json(&body).send().await.unwrap();
            assert_eq!(put.status(), 200);
            let hash = ask(api, "/v1/policies/active").await["hash"].as_str().unwrap().to_owned();
            let delays = fleet.enforce(&hash, since).await;
            assert_eq!(delays.len(), HABITS.agents);
            eprintln!("{keep}: the last of {} agents enforced it after {:?}", delays.len(), delays[delays.len() - 1]);
        }
        fleet.reported(HABITS.agents as u64 * HABITS.reports).await;
    };
    tokio::time::timeout(PATIENCE, whole).await.unwrap();
    // The first answer, then each version once; an agent that was slow may have skipped one, never seen one twice.
    let updates = fleet.done.updates.load(Ordering::Relaxed);
    assert!((150..=200).contains(&updates), "{updates}");
    fleet.stop().await;
    let patterns = ask(api, "/v1/patterns?limit=1000").await;
    let counts: Vec<u64> =
        patterns["items"].as_array().unwrap().iter().map(|item| item["records"].as_u64().unwrap()).collect();
    assert_eq!(counts, vec![HABITS.agents as u64 * HABITS.reports; HABITS.patterns]);
    assert_eq!(ask(api, "/v1/status").await["replicas"].as_array().unwrap().len(), HABITS.agents);
    control.shutdown(PATIENCE).await;
}
