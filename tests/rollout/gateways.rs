//! Whole gateways with real traffic: a version that keeps what was predicted comes in force, another goes back by itself.
//! The clock is the test's: time passes only between looks.

use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::rollout::{Driver, Phase, Rollout, drive};
use lipservice::control_plane::store::Store;
use lipservice::data_plane::pipeline::trial::{Mode, TrialId};
use lipservice::gateway::{Gateway, Options};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::control_plane::store::{START, at};
use crate::gateway::{PATIENCE, client, parse, yaml};
use crate::support::fake_posthog::FakePostHog;
use crate::support::otlp;

/// Records a gateway gets in a stage.
const RECORDS: u64 = 1_500;
const ROLLOUT: &str = "rollout: {shadow: {duration: 20s, min_records: 500}, canary: {percentages: [20, 50], \
                       duration: 20s, min_records: 100}, live: {duration: 20s, min_records: 500}}\n";

/// A control plane, and gateways: itself, or followers.
struct World {
    control: Gateway,
    followers: Vec<Gateway>,
    store: Store,
    clock: Clock,
    driver: Driver,
    sent: u64,
    _directories: Vec<TempDir>,
}

impl World {
    async fn start(fake: &FakePostHog, followers: usize) -> World {
        let mut directories = vec![tempfile::tempdir().unwrap()];
        let url = format!("sqlite:{}", directories[0].path().join("store.db").display());
        let clock = Clock::manual(START);
        let options = || Options { clock: clock.clone() };
        let base = yaml(fake, "novelty_records: 0, floor_records: 0", "");
        let own = format!("api: {{endpoint: '127.0.0.1:0'}}\nstore: {{url: '{url}'}}\n{ROLLOUT}");
        let text = match followers {
            0 => format!("{base}{own}control_plane: {{report_interval: 100ms}}\n"),
            _ => format!("role: control_plane\n{own}service: {{telemetry: {{metrics: {{address: '127.0.0.1:0'}}}}}}\n"),
        };
        let control = Gateway::start(parse(&text), options()).await.unwrap();
        let api = control.api_addr().unwrap();
        let mut running = Vec::new();
        for _ in 0..followers {
            let home = tempfile::tempdir().unwrap();
            let state = home.path().join("policies.json").display().to_string();
            directories.push(home);
            let text = format!(
                "{base}role: gateway\ncontrol_plane: {{endpoint: 'http://{api}', state_file: '{state}', report_interval: 100ms}}\n"
            );
            running.push(Gateway::start(parse(&text), options()).await.unwrap());
        }
        let store = Store::open(&at(url), clock.clone()).await.unwrap();
        let world = World {
            control,
            followers: running,
            store,
            clock,
            driver: Driver::default(),
            sent: 0,
            _directories: directories,
        };
        world.put("all", true).await;
        world.put("20%", false).await;
        world
    }

    fn gateways(&self) -> Vec<&Gateway> {
        if self.followers.is_empty() { vec![&self.control] } else { self.followers.iter().collect() }
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("http://{}{path}", self.control.api_addr().unwrap());
        let response = client().request(method.parse().unwrap(), url).json(body).send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    async fn put(&self, keep: &str, activate: bool) {
        let policy = json!({ "id": "ping", "name": "Ping", "log": {
            "match": [{ "log_field": "body", "contains": "ping" }], "keep": keep } });
        let body = json!({ "document": { "policies": [policy] }, "activate": activate });
        self.ask("PUT", "/v1/policies/service:shop", &body).await;
    }

    async fn roll_out(&self, mode: &str, low: f64, high: f64) {
        let body = json!({ "version": 2, "mode": mode, "prediction": { "kept": { "low": low, "high": high } } });
        self.ask("POST", "/v1/policies/service:shop/rollout", &body).await;
    }

    async fn rollout(&self) -> Rollout {
        drive::latest(&self.store, "shop").await.unwrap()
    }

    /// Waits until every gateway is at the present stage.
    async fn followed(&self) {
        let rollout = self.rollout().await;
        let (phase, id) = (rollout.state.phase, TrialId { rollout: rollout.id, stage: rollout.state.stage });
        for gateway in self.gateways() {
            let follows = async {
                loop {
                    let trial = gateway.pipeline().trial();
                    if if phase.is_over() { trial.is_none() } else { trial.is_some_and(|trial| trial.id == id) } {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(PATIENCE, follows).await.unwrap();
        }
    }

    /// Sends records of traces to every gateway; how many were kept.
    async fn send(&mut self, text: &str) -> u64 {
        let kept =
            |world: &World| world.gateways().iter().map(|gateway| gateway.report().totals.kept.records).sum::<u64>();
        let before = kept(self);
        let (first, last) = (self.sent, self.sent + RECORDS);
        for gateway in self.gateways() {
            let randomness = |i: u64| {
                ((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i << 17)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 8
            };
            let records = (first..last).map(|i| otlp::traced(9, text, randomness(i))).collect();
            let url = format!("http://{}/v1/logs", gateway.http_addrs()[0]);
            let request = client().post(url).header("content-type", "application/x-protobuf");
            let answer = request.body(otlp::request_of("shop", records)).send().await.unwrap();
            assert_eq!(answer.status(), 200);
        }
        self.sent = last;
        kept(self) - before
    }

    /// Waits until the store has heard of so many records of the new version at least, of this stage.
    async fn told(&self, records: u64) {
        let rollout = self.rollout().await;
        let heard = async {
            while drive::observe(&self.store, &rollout).await.unwrap().total().candidate.records < records {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap();
    }

    /// Lets the stage's time pass; the phase after.
    async fn pass(&self) -> Phase {
        let before = self.rollout().await;
        // The process has a leader of its own, which may be faster.
        for _ in 0..10 {
            self.clock.advance(Duration::from_secs(10));
            self.driver.turn(&self.store).await.unwrap();
            let after = self.rollout().await;
            if (after.state.phase, after.state.stage) != (before.state.phase, before.state.stage) {
                return after.state.phase;
            }
        }
        panic!("no step: {before:?}");
    }

    async fn active(&self) -> Option<i64> {
        self.store.active_number("shop").await.unwrap()
    }

    async fn stop(self) {
        for gateway in self.followers.into_iter().chain([self.control]) {
            assert!(gateway.shutdown(PATIENCE).await.balance());
        }
        self.store.close().await;
    }
}

/// Through every stage; `followers` gateways beside the control plane, or the control plane's own.
async fn a_good_version_goes_live(followers: usize) {
    let fake = FakePostHog::start().await.unwrap();
    let mut world = World::start(&fake, followers).await;
    let n = world.gateways().len() as u64 * RECORDS;
    world.roll_out("canary", 0.15, 0.25).await;
    for (phase, share) in [(Phase::Shadow, 0.0), (Phase::Canary, 0.2), (Phase::Canary, 0.5), (Phase::Live, 1.0)] {
        let rollout = world.rollout().await;
        assert_eq!((rollout.state.phase, rollout.percentage()), (phase, 100.0 * share));
        assert_eq!(world.active().await, Some(if phase == Phase::Live { 2 } else { 1 }));
        world.followed().await;
        let kept = world.send("ping").await as f64;
        let expected = n as f64 * (1.0 - share + 0.2 * share);
        assert!((kept - expected).abs() < 0.05 * n as f64, "{phase:?}: {kept} of {n}, {expected}");
        let counted = if phase == Phase::Canary { (n as f64 * share * 0.8) as u64 } else { n };
        world.told(counted).await;
        world.pass().await;
    }
    let over = world.rollout().await;
    assert_eq!((over.state.phase, over.state.why), (Phase::Succeeded, None));
    world.followed().await;
    assert!((world.send("ping").await as f64) < 0.25 * n as f64);
    world.stop().await;
}

#[tokio::test]
async fn in_one_process_a_good_version_goes_live() {
    a_good_version_goes_live(0).await;
}

#[tokio::test]
async fn over_several_gateways_a_good_version_goes_live() {
    a_good_version_goes_live(2).await;
}

#[tokio::test]
async fn what_real_traffic_contradicts_is_rolled_back_from_a_canary() {
    let fake = FakePostHog::start().await.unwrap();
    let mut world = World::start(&fake, 0).await;
    world.roll_out("canary", 0.15, 0.25).await;
    world.followed().await;
    world.send("ping").await;
    world.told(RECORDS).await;
    assert_eq!(world.pass().await, Phase::Canary);
    world.followed().await;
    // The replay knew nothing of these: no rule matches them, they stay.
    world.send("something new").await;
    world.told(RECORDS / 10).await;
    assert_eq!(world.pass().await, Phase::RolledBack);
    let why = world.rollout().await.state.why.unwrap().to_string();
    assert!(why.contains("100.0 % of the bytes are kept"), "{why}");
    assert_eq!(world.active().await, Some(1));
    world.followed().await;
    assert_eq!(world.send("ping").await, RECORDS, "the version before decides about everything again");
    let metrics = world.control.metrics_text();
    assert!(
        metrics.contains("lipservice_rollout_trial 0") && metrics.contains("lipservice_rollout_steps"),
        "{metrics}"
    );
    world.stop().await;
}

#[tokio::test]
async fn what_real_traffic_contradicts_is_rolled_back_from_live_on_every_gateway() {
    let fake = FakePostHog::start().await.unwrap();
    let mut world = World::start(&fake, 2).await;
    world.roll_out("live", 0.45, 0.55).await;
    world.followed().await;
    assert_eq!(world.active().await, Some(2));
    assert!(world.send("ping").await < RECORDS);
    world.told(2 * RECORDS).await;
    assert_eq!(world.pass().await, Phase::RolledBack);
    assert_eq!(world.active().await, Some(1));
    world.followed().await;
    assert_eq!(world.send("ping").await, 2 * RECORDS);
    world.stop().await;
}

#[tokio::test]
async fn a_gateway_that_loses_the_control_plane_ends_the_canary_by_itself() {
    let fake = FakePostHog::start().await.unwrap();
    let mut world = World::start(&fake, 1).await;
    world.roll_out("canary", 0.0, 1.0).await;
    world.followed().await;
    world.send("ping").await;
    world.told(RECORDS).await;
    assert_eq!(world.pass().await, Phase::Canary);
    world.followed().await;
    assert!(world.send("ping").await < RECORDS);
    let World { control, mut followers, store, clock, .. } = world;
    control.shutdown(PATIENCE).await;
    store.close().await;
    let gateway = followers.remove(0);
    let trial = gateway.pipeline().trial().unwrap();
    assert!(matches!(trial.mode, Mode::Canary(_)));
    clock.advance(Duration::from_nanos(trial.until - clock.now()));
    let body = otlp::request_of("shop", (0..1000).map(|i| otlp::traced(9, "ping", i << 40)).collect());
    let before = gateway.report().totals.kept.records;
    let url = format!("http://{}/v1/logs", gateway.http_addrs()[0]);
    let request = client().post(url).header("content-type", "application/x-protobuf").body(body);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(gateway.report().totals.kept.records - before, 1000);
    gateway.shutdown(PATIENCE).await;
}
