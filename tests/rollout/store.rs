//! Rollouts in the store, on each engine: one at a time, each step once, restarts and rivals.

use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::rollout::drive::{carry_out, latest, observe};
use lipservice::control_plane::rollout::{
    Command, Driver, Interval, Mode, Phase, Prediction, RolloutConfig, Start, Why, start,
};
use lipservice::control_plane::store::{ArmRow, ArmSums, Fault, Store, TrialRows};

use crate::control_plane::store::{actor, new_version, on_each, sqlite_file};

const SERVICE: &str = "shop";

fn config() -> RolloutConfig {
    RolloutConfig::default()
}

fn wanted(version: i64, mode: Mode) -> Start {
    let kept = Some(Interval::around(0.1, 0.25));
    let prediction = Prediction { kept, ..Prediction::default() };
    Start { service: SERVICE.into(), version, mode, prediction, ..Start::default() }
}

/// Versions 1 (in force) and 2.
async fn two(store: &Store) {
    for keep in ["all", "10%"] {
        store.create_version(&new_version(SERVICE, keep), &actor()).await.unwrap();
    }
    store.activate(SERVICE, 1, "", &actor()).await.unwrap();
}

/// A gateway tells its counts of the present stage.
async fn tell(store: &Store, replica: &str, records: u64, share: f64) {
    let rollout = latest(store, SERVICE).await.unwrap();
    let row = |service: &str, arm: &str, share: f64| ArmRow {
        service: service.into(),
        arm: arm.into(),
        sums: ArmSums {
            records,
            bytes: records * 10,
            kept: (records as f64 * share) as u64,
            kept_bytes: (records as f64 * 10.0 * share) as u64,
            ..ArmSums::default()
        },
    };
    // What another service does is not this version's doing.
    let rows = vec![row(SERVICE, "candidate", share), row(SERVICE, "baseline", 1.0), row("other", "candidate", 1.0)];
    let (id, stage) = (rollout.id, rollout.state.stage);
    store.note_trials(&[TrialRows { rollout: id, stage, replica: replica.into(), rows }]).await.unwrap();
}

/// Turns every ten seconds until a step is taken.
async fn next_step(driver: &Driver, store: &Store, clock: &Clock) -> Phase {
    for _ in 0..10_000 {
        clock.advance(Duration::from_secs(10));
        if let Some(stepped) = driver.turn(store).await.unwrap() {
            return stepped.rollout.state.phase;
        }
    }
    panic!("no step: {:?}", latest(store, SERVICE).await.unwrap());
}

#[tokio::test]
async fn a_rollout_is_driven_to_its_end_by_whoever_leads() {
    on_each(|store, clock| async move {
        two(&store).await;
        let driver = Driver::default();
        assert_eq!(driver.turn(&store).await.unwrap(), None);
        start(&store, &wanted(2, Mode::Canary), &config(), &actor()).await.unwrap();
        let error = start(&store, &wanted(2, Mode::Canary), &config(), &actor()).await.unwrap_err();
        assert_eq!((error.fault(), error.to_string().contains("is open")), (Fault::Conflict, true), "{error}");
        let mut phases = Vec::new();
        while phases.last() != Some(&Phase::Succeeded) {
            tell(&store, "one", 4_000, 0.1).await;
            tell(&store, "two", 8_000, 0.09).await;
            tell(&store, "two", 7_000, 0.9).await;
            let seen = observe(&store, &latest(&store, SERVICE).await.unwrap()).await.unwrap().total();
            assert_eq!((seen.candidate.records, seen.candidate.kept), (12_000, 1_120), "an older word came late");
            // Another leader each time, as after a crash.
            phases.push(next_step(&Driver::default(), &store, &clock).await);
        }
        assert_eq!(phases, [Phase::Canary, Phase::Canary, Phase::Canary, Phase::Live, Phase::Succeeded]);
        assert_eq!(store.active_number(SERVICE).await.unwrap(), Some(2));
        assert!(store.open_rollout().await.unwrap().is_none());
        let activations = store.activations(SERVICE, None, 9).await.unwrap();
        assert_eq!(activations.len(), 2, "in force once: {activations:?}");
        let audit = store.audit_log(None, 99).await.unwrap();
        let count = |action: &str| audit.iter().filter(|entry| entry.action == action).count();
        let counted =
            ["rollout.start", "rollout.canary", "rollout.live", "rollout.succeeded", "policy.activate"].map(count);
        assert_eq!(counted, [1, 3, 1, 1, 2], "{audit:?}");
    })
    .await;
}

#[tokio::test]
async fn a_version_that_does_something_else_goes_back_by_itself() {
    on_each(|store, clock| async move {
        two(&store).await;
        let driver = Driver::default();
        for (mode, parent) in [(Mode::Canary, Some(1)), (Mode::Live, Some(1)), (Mode::Live, None)] {
            if parent.is_none() {
                store.deactivate(SERVICE, "", &actor()).await.unwrap();
            }
            start(&store, &wanted(2, mode), &config(), &actor()).await.unwrap();
            if mode == Mode::Live {
                assert_eq!(store.active_number(SERVICE).await.unwrap(), Some(2));
            }
            tell(&store, "one", 4_000, 0.5).await;
            assert_eq!(next_step(&driver, &store, &clock).await, Phase::RolledBack);
            assert_eq!(store.active_number(SERVICE).await.unwrap(), parent);
            assert_eq!(driver.turn(&store).await.unwrap(), None);
            let over = latest(&store, SERVICE).await.unwrap();
            assert!(matches!(over.state.why, Some(Why::KeptBytes { seen, .. }) if (seen - 0.5).abs() < 0.01));
        }
        let history = store.activations(SERVICE, None, 1).await.unwrap();
        assert!(history[0].reason.contains("50.0 % of the bytes"), "{history:?}");
    })
    .await;
}

#[tokio::test]
async fn of_rivals_one_writes_and_a_person_has_the_last_word() {
    on_each(|store, clock| async move {
        two(&store).await;
        let driver = Driver::default();
        let manual = Start { manual: true, ..wanted(2, Mode::Live) };
        start(&store, &manual, &config(), &actor()).await.unwrap();
        tell(&store, "one", 4_000, 0.1).await;
        clock.advance(Duration::from_secs(10));
        assert_eq!(driver.turn(&store).await.unwrap(), None);
        assert_eq!(store.active_number(SERVICE).await.unwrap(), Some(1), "nobody approved");
        let approved = carry_out(&store, SERVICE, &Command::Approve, &actor()).await.unwrap();
        assert_eq!((approved.rollout.state.phase, approved.changed_active), (Phase::Live, true));
        let again = carry_out(&store, SERVICE, &Command::Approve, &actor()).await.unwrap_err();
        assert_eq!(again.fault(), Fault::Conflict);
        // Two leaders at once, at the end of the stage.
        tell(&store, "one", 4_000, 0.1).await;
        for _ in 0..config().live.duration.0.as_secs() / 10 - 1 {
            clock.advance(Duration::from_secs(10));
            assert_eq!(driver.turn(&store).await.unwrap(), None);
        }
        clock.advance(Duration::from_secs(10));
        let (one, other) = (Driver::default(), Driver::default());
        let (one, other) = tokio::join!(one.turn(&store), other.turn(&store));
        let steps = [one.unwrap(), other.unwrap()].into_iter().flatten().count();
        assert_eq!((steps, latest(&store, SERVICE).await.unwrap().state.phase), (1, Phase::Succeeded));
        // Someone puts another version in force while a rollout runs: that stays.
        store.create_version(&new_version(SERVICE, "50%"), &actor()).await.unwrap();
        start(&store, &wanted(1, Mode::Live), &config(), &actor()).await.unwrap();
        store.activate(SERVICE, 3, "by hand", &actor()).await.unwrap();
        assert_eq!(next_step(&driver, &store, &clock).await, Phase::Superseded);
        assert_eq!(store.active_number(SERVICE).await.unwrap(), Some(3));
        // So does an abort that comes later than that.
        start(&store, &wanted(1, Mode::Live), &config(), &actor()).await.unwrap();
        store.activate(SERVICE, 2, "by hand", &actor()).await.unwrap();
        let aborted = carry_out(&store, SERVICE, &Command::Abort { by: "ann".into() }, &actor()).await.unwrap();
        assert_eq!(
            (aborted.rollout.state.phase, store.active_number(SERVICE).await.unwrap()),
            (Phase::Superseded, Some(2))
        );
        assert_eq!(
            start(&store, &wanted(2, Mode::Live), &config(), &actor()).await.unwrap_err().fault(),
            Fault::Conflict
        );
        assert_eq!(
            start(&store, &wanted(9, Mode::Live), &config(), &actor()).await.unwrap_err().fault(),
            Fault::NotFound
        );
    })
    .await;
}

#[tokio::test]
async fn a_rollout_outlives_its_process() {
    let (config_of, _directory) = sqlite_file();
    let clock = Clock::manual(crate::control_plane::store::START);
    let store = Store::open(&config_of, clock.clone()).await.unwrap();
    two(&store).await;
    let begun = start(&store, &wanted(2, Mode::Canary), &config(), &actor()).await.unwrap();
    tell(&store, "one", 4_000, 0.1).await;
    assert_eq!(next_step(&Driver::default(), &store, &clock).await, Phase::Canary);
    store.close().await;
    let store = Store::open(&config_of, clock.clone()).await.unwrap();
    let found = latest(&store, SERVICE).await.unwrap();
    assert_eq!(
        (found.id, &found.plan, found.state.phase, found.state.stage),
        (begun.id, &begun.plan, Phase::Canary, 1)
    );
    tell(&store, "one", 4_000, 0.9).await;
    assert_eq!(next_step(&Driver::default(), &store, &clock).await, Phase::RolledBack);
    store.close().await;
}
