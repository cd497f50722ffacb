//! When runs begin, how they end, and what is left of them.

use lipservice::control_plane::controller::{ACTOR, RunState};
use lipservice::control_plane::generator::config::{DriftConfig, GeneratorConfig, Publish};
use lipservice::control_plane::generator::llm::config::LlmProviderType;
use lipservice::control_plane::rollout::Rollout;
use lipservice::control_plane::store::{Actor, BookAccount, GENERATED};
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::units::Period;
use serde_json::json;

use super::{Stage, Wanted, generator, shop};
use crate::support::fake_llm::{MODEL, minds};
use crate::support::otlp;

#[tokio::test]
async fn traffic_becomes_a_policy_in_force_and_the_bill_falls() {
    let kinds = [LlmProviderType::OpenAi, LlmProviderType::Ollama, LlmProviderType::Anthropic];
    for kind in kinds {
        let mut stage = Stage::new(Wanted { llm: Some((kind, minds::sensible())), ..Wanted::default() }).await;
        stage.pass(50, shop);
        assert_eq!(stage.turn().await, None, "not enough was seen");
        stage.pass(250, shop);
        let (before, _) = stage.arrived();
        assert_eq!(stage.turn().await, Some(RunState::Published));
        assert_eq!(stage.fake.as_ref().unwrap().complaints(), Vec::<String>::new());
        let version = stage.store.version(GENERATED, 1).await.unwrap();
        assert_eq!((version.author.as_str(), stage.store.active_number(GENERATED).await.unwrap()), (ACTOR, Some(1)));
        assert!(version.reason.contains("passed its review"), "{}", version.reason);
        let run = stage.store.runs(None, 10).await.unwrap().remove(0);
        assert_eq!((&run.detail["state"], &run.detail["trigger"]), (&json!("published"), &json!("first")));
        assert_eq!(run.detail["llm"]["models"], json!([MODEL]));
        let dollars = run.detail["llm"]["dollars"].as_f64().unwrap();
        assert!(dollars > 0.0, "{}", run.detail);
        // What the model cost is on the other side of the ledger, to the last whole microdollar.
        let booked = stage.store.books(BookAccount::LlmMicrodollars, 0).await.unwrap();
        assert_eq!(booked, [(stage.store.today(), (1e6 * dollars).floor() as u64)], "{kind:?}");
        assert_eq!(run.detail["llm"]["prompt"].as_str().unwrap().len(), 12, "{}", run.detail["llm"]);
        let rule = &version.document["policies"][0];
        assert!(rule["description"].as_str().unwrap().contains("by fake-1 (request)"), "{rule}");
        // The same traffic again, under the policy.
        stage.pass(300, shop);
        let (after, records) = stage.arrived();
        let share = after as f64 / before as f64;
        assert!((0.2..0.5).contains(&share), "{kind:?}: {before} {after}");
        let promised = run.detail["kept_share"].as_f64().unwrap();
        assert!((promised - 0.4).abs() < 0.03, "{promised}");
        // Counts stay exact, and errors whole.
        let count = |service: &str| {
            let own = records.iter().filter(|(name, _)| name == service);
            own.map(|(_, record)| otlp::int_at(&record.attributes, "lip.records").unwrap_or(1)).sum::<i64>()
        };
        assert_eq!((count("web"), count("checkout")), (9 * 300, 300 + 10 + 6));
        assert_eq!(records.iter().filter(|(_, record)| record.severity_number == 17).count(), 6);
    }
}

#[tokio::test]
async fn without_a_word_nothing_is_published() {
    let mut stage = Stage::new(Wanted {
        generator: GeneratorConfig { publish: Publish::Manual, ..generator() },
        ..Wanted::default()
    })
    .await;
    stage.pass(120, shop);
    assert_eq!(stage.turn().await, Some(RunState::Waiting));
    assert_eq!(stage.store.active_number(GENERATED).await.unwrap(), None);
    let ann = Actor::named("ann");
    assert!(stage.store.activate(GENERATED, 1, "looks good", &ann).await.unwrap());
    stage.pass(600, shop);
    assert_eq!(stage.turn().await, Some(RunState::Waiting));
    assert_eq!(stage.store.active_number(GENERATED).await.unwrap(), Some(1), "a later one waits too");
}

#[tokio::test]
async fn by_stages_a_version_is_on_trial_before_it_is_in_force() {
    let config = GeneratorConfig { publish: Publish::Canary, ..generator() };
    let mut stage = Stage::new(Wanted { generator: config, ..Wanted::default() }).await;
    stage.pass(120, shop);
    assert_eq!(stage.turn().await, Some(RunState::Rollout));
    assert_eq!(stage.store.active_number(GENERATED).await.unwrap(), None, "it is not in force yet");
    let rollout = Rollout::of(stage.store.open_rollout().await.unwrap().unwrap()).unwrap();
    assert_eq!((rollout.service.as_str(), rollout.plan.candidate), (GENERATED, 1));
    let run = stage.store.runs(None, 10).await.unwrap().remove(0);
    let promised = run.detail["kept_share"].as_f64().unwrap();
    assert!(rollout.plan.prediction.kept.unwrap().allows(promised, 1_000_000), "held to what the replay promised");
    // The next run does not start a second one.
    stage.pass(600, shop);
    assert_eq!(stage.turn().await, Some(RunState::Waiting));
    assert_eq!(stage.store.open_rollout().await.unwrap().unwrap().id, rollout.id);
}

#[tokio::test]
async fn a_person_who_rolls_back_stops_publishing_until_a_person_starts_it_again() {
    let mut stage = Stage::new(Wanted::default()).await;
    stage.pass(120, shop);
    assert_eq!(stage.turn().await, Some(RunState::Published));
    let ann = Actor::named("ann");
    stage.store.deactivate(GENERATED, "too quiet", &ann).await.unwrap();
    stage.pass(600, shop);
    assert_eq!(stage.turn().await, Some(RunState::Held));
    assert_eq!(stage.store.active_number(GENERATED).await.unwrap(), None);
    stage.store.activate(GENERATED, 2, "go on", &ann).await.unwrap();
    stage.pass(600, shop);
    assert_eq!(stage.turn().await, Some(RunState::Published));
}

#[tokio::test]
async fn a_policy_that_fails_its_review_is_stored_with_its_report_and_not_published() {
    // Without floor and summaries of a short interval a low rate loses rare patterns.
    let sampler = SamplerConfig { floor_records: 0, novelty_records: 0, ..SamplerConfig::default() };
    let config = GeneratorConfig { budget: Some("1%".parse().unwrap()), ..generator() };
    let mut stage = Stage::new(Wanted { generator: config, sampler, ..Wanted::default() }).await;
    stage.pass(300, shop);
    assert_eq!(stage.turn().await, Some(RunState::Refused));
    assert_eq!(stage.store.active_number(GENERATED).await.unwrap(), None);
    let version = stage.store.version(GENERATED, 1).await.unwrap();
    assert!(version.reason.contains("failed its review (no pattern vanishes"), "{}", version.reason);
    let run = stage.store.runs(None, 1).await.unwrap().remove(0);
    assert!(run.detail["checks"]["vanished_patterns"].as_u64().unwrap() > 0, "{}", run.detail);
    assert_eq!(stage.controller.status().json()["last"]["state"], "refused");
    // Everything goes on as before, and the next run has its turn.
    assert_eq!(stage.turn().await, None);
    stage.pass(600, shop);
    assert_eq!(stage.turn().await, Some(RunState::Refused));
}

#[tokio::test]
async fn a_budget_out_of_reach_is_approached_and_said() {
    let config = GeneratorConfig { budget: Some("1%".parse().unwrap()), ..generator() };
    let mut stage = Stage::new(Wanted { generator: config, ..Wanted::default() }).await;
    stage.pass(300, shop);
    assert_eq!(stage.turn().await, Some(RunState::Published));
    let run = stage.store.runs(None, 1).await.unwrap().remove(0);
    assert_eq!(run.detail["feasible"], false);
    assert!(run.detail["why"].as_str().unwrap().contains("as close to the budget as can be"), "{}", run.detail["why"]);
}

#[tokio::test]
async fn a_run_that_a_crash_cut_off_is_closed_and_its_turn_comes_again() {
    let mut stage = Stage::new(Wanted::default()).await;
    stage.store.begin_run("run-1", json!({"trigger": "interval"}), &Actor::named(ACTOR)).await.unwrap();
    stage.pass(120, shop);
    assert_eq!(stage.turn().await, Some(RunState::Published), "an interrupted run is no run");
    let runs = stage.store.runs(None, 10).await.unwrap();
    let states: Vec<_> = runs.iter().map(|run| (run.target.len(), run.detail["state"].as_str().unwrap())).collect();
    assert_eq!(states, [(36, "published"), (5, "interrupted")]);
    // A second start finds nothing open, and knows when the last run was.
    let Stage { store, clock, .. } = stage;
    let mut again = Stage::over(Wanted::default(), store, clock).await;
    again.pass(300, shop);
    assert_eq!(again.turn().await, None);
    again.pass(300, shop);
    assert_eq!(again.turn().await, Some(RunState::Published));
}

#[tokio::test]
async fn drift_starts_a_run_before_its_time() {
    let drift = DriftConfig { pause: Period::secs(60), ..DriftConfig::default() };
    let config = GeneratorConfig { drift, interval: Period::secs(3000), ..generator() };
    let mut stage = Stage::new(Wanted { generator: config, ..Wanted::default() }).await;
    stage.pass(300, shop);
    assert_eq!(stage.turn().await, Some(RunState::Published));
    stage.pass(120, shop);
    assert_eq!(stage.turn().await, None, "nothing has changed");
    // A deploy: another flood that no rule knows.
    let changed = |second: u64| {
        let mut records = shop(second);
        for i in 0..20 {
            records.push(("web", otlp::record(9, &format!("session {second}{i} refreshed its token from the cache"))));
        }
        records
    };
    stage.pass(120, changed);
    assert_eq!(stage.turn().await, Some(RunState::Published));
    let run = stage.store.runs(None, 1).await.unwrap().remove(0);
    assert_eq!(run.detail["trigger"], "budget_error", "{}", run.detail["why"]);
}
