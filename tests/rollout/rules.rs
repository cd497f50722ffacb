//! The pure rules: never live without having passed, never left without the parent, nothing twice, whatever the clock does.

use std::time::Duration;

use lipservice::control_plane::rollout::{
    Action, Arms, Command, Interval, Kind, Mode, Observation, Phase, Plan, Prediction, RolloutConfig, Stage, State,
    Why, begin, order, step,
};
use lipservice::control_plane::store::{ArmSums, Timestamp};
use proptest::prelude::*;

use crate::control_plane::store::START;

const CANDIDATE: i64 = 7;

fn config() -> RolloutConfig {
    RolloutConfig::default()
}

fn plan(mode: Mode, manual: bool, parent: Option<i64>) -> Plan {
    let config = config();
    Plan {
        mode,
        manual,
        candidate: CANDIDATE,
        parent,
        expires_at: None,
        stages: Plan::stages_of(mode, &config),
        max_wait_ms: config.max_wait.0.as_millis() as u64,
        ttl_ms: config.ttl.0.as_millis() as u64,
        prediction: Prediction { kept: Some(Interval::around(0.2, 0.25)), ..Prediction::default() },
    }
}

fn seen(active: Option<i64>, records: u64, kept_share: f64) -> Observation {
    let candidate = ArmSums {
        records,
        bytes: records * 100,
        kept: (records as f64 * kept_share) as u64,
        kept_bytes: (records as f64 * 100.0 * kept_share) as u64,
        ..ArmSums::default()
    };
    let services = [("web".to_owned(), Arms { candidate, ..Arms::default() })].into();
    Observation { active, services }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::of(START).after(Duration::from_secs(seconds))
}

/// Looks every ten seconds until something changes, for `most` seconds; the state and how long it took.
fn until_change(plan: &Plan, mut state: State, seen: &Observation, most: u64) -> (State, Vec<Action>, u64) {
    let from = state.seen_at;
    for seconds in (10..=most).step_by(10) {
        let (next, actions) = step(plan, &state, seen, from.after(Duration::from_secs(seconds)));
        if (next.phase, next.stage) != (state.phase, state.stage) {
            return (next, actions, seconds);
        }
        state = next;
    }
    (state, Vec::new(), most)
}

#[test]
fn a_good_version_goes_through_every_stage_and_stays() {
    let plan = plan(Mode::Canary, true, Some(3));
    let (state, actions) = begin(&plan, at(0));
    assert_eq!((state.phase, actions.as_slice()), (Phase::Waiting, &[][..]));
    let (state, ..) = until_change(&plan, state, &seen(Some(3), 9_999, 0.2), 3600);
    assert_eq!(state.phase, Phase::Waiting, "nobody approved");
    let (mut state, _) = order(&plan, &state, &Command::Approve, Some(3), at(3600)).unwrap();
    let mut path = vec![(state.phase, state.stage)];
    while !state.phase.is_over() {
        let active = if state.phase == Phase::Live { CANDIDATE } else { 3 };
        let duration = plan.stages[state.stage as usize].duration_ms / 1000;
        let (next, actions, took) = until_change(&plan, state, &seen(Some(active), 50_000, 0.21), 100_000);
        assert_eq!(took, duration);
        assert_eq!(actions == [Action::Activate], next.phase == Phase::Live);
        path.push((next.phase, next.stage));
        state = next;
    }
    let canary = |stage| (Phase::Canary, stage);
    let expected = [(Phase::Shadow, 0), canary(1), canary(2), canary(3), (Phase::Live, 4), (Phase::Succeeded, 4)];
    assert_eq!(path, expected);
    assert_eq!(state.why, None);
}

#[test]
fn a_shadow_never_decides() {
    let plan = plan(Mode::Shadow, false, None);
    let (state, actions) = begin(&plan, at(0));
    assert_eq!((state.phase, actions.len()), (Phase::Shadow, 0));
    let (state, actions, _) = until_change(&plan, state, &seen(None, 50_000, 0.2), 100_000);
    assert_eq!((state.phase, actions.len()), (Phase::Succeeded, 0));
}

#[test]
fn every_way_to_fail_goes_back_and_says_why() {
    let with = |change: fn(&mut Plan)| {
        let mut plan = plan(Mode::Live, false, Some(3));
        change(&mut plan);
        plan
    };
    let errors = |mut seen: Observation| {
        seen.services.get_mut("web").unwrap().candidate.errors_lost = 1;
        seen
    };
    let anomalous = |baseline: u64, candidate: u64| {
        let mut seen = seen(Some(CANDIDATE), 5_000, 0.2);
        let arms = seen.services.get_mut("web").unwrap();
        (arms.baseline.anomalous, arms.baseline.anomalous_kept) = (1_000, baseline);
        (arms.candidate.anomalous, arms.candidate.anomalous_kept) = (1_000, candidate);
        seen
    };
    let live = Some(CANDIDATE);
    let plain = || with(|_| {});
    let by_service = || {
        with(|plan| {
            plan.prediction.kept = None;
            plan.prediction.services = [("web".to_owned(), Interval::around(0.5, 0.1))].into();
        })
    };
    let predicted = || with(|plan| plan.prediction.anomalous_kept = Some(0.8));
    let expiring = || with(|plan| plan.expires_at = Some(at(5)));
    let cases: [(&str, Plan, Observation, &str); 10] = [
        ("more bytes", plain(), seen(live, 5_000, 0.5), "50.0 % of the bytes are kept, predicted were 15.0 to 25.0 %"),
        ("fewer bytes", plain(), seen(live, 5_000, 0.05), "5.0 % of the bytes"),
        ("a service", by_service(), seen(live, 5_000, 0.2), "of web"),
        ("lost errors, few records", plain(), errors(seen(live, 5, 0.2)), "1 records of ERROR"),
        ("lost errors", plain(), errors(seen(live, 5_000, 0.2)), "1 records of ERROR"),
        ("anomalies", plain(), anomalous(900, 500), "anomalous"),
        ("anomalies, predicted", predicted(), anomalous(0, 500), "anomalous"),
        ("no data", plain(), seen(live, 0, 0.0), "0 records came in time, 1000 are needed"),
        ("few data, far off", plain(), seen(live, 999, 1.0), "999 records"),
        ("expired", expiring(), seen(live, 5_000, 0.2), "past its time"),
    ];
    for (name, plan, seen, why) in cases {
        let (state, actions) = begin(&plan, at(0));
        assert_eq!((state.phase, actions.as_slice()), (Phase::Live, &[Action::Activate][..]));
        let (state, actions, _) = until_change(&plan, state, &seen, 1_000_000);
        assert_eq!((state.phase, actions.as_slice()), (Phase::RolledBack, &[Action::Restore][..]), "{name}: {state:?}");
        let said = state.why.unwrap().to_string();
        assert!(said.contains(why), "{name}: {said}");
    }
    let (state, _) = begin(&plain(), at(0));
    let fine = until_change(&plain(), state, &anomalous(900, 880), 1_000_000).0;
    assert_eq!(fine.phase, Phase::Succeeded, "{fine:?}");
}

#[test]
fn time_that_nobody_watched_does_not_count_and_the_rest_is_bounded() {
    let plan = plan(Mode::Canary, false, None);
    let (state, _) = begin(&plan, at(0));
    // The leader was away for five hours, then looks.
    let (state, _) = step(&plan, &state, &seen(None, 5_000, 0.2), at(18_000));
    assert_eq!((state.phase, state.elapsed_ms), (Phase::Shadow, 60_000));
    // A clock that goes back a year.
    let back = Timestamp::of(START - 365 * 86_400 * 1_000_000_000);
    let (state, _) = step(&plan, &state, &seen(None, 5_000, 0.2), back);
    assert_eq!((state.phase, state.elapsed_ms), (Phase::Shadow, 60_000));
    // It goes on from there, and still ends.
    let (state, ..) = until_change(&plan, state, &seen(None, 0, 0.2), 1_000_000);
    assert_eq!((state.phase, state.why.is_some()), (Phase::RolledBack, true));
    // A rollout that waits for a person gives up too.
    let waiting = Plan { manual: true, ..plan };
    let (state, took) = {
        let (state, _) = begin(&waiting, at(0));
        let (state, _, took) = until_change(&waiting, state, &seen(None, 0, 0.0), 1_000_000);
        (state, took)
    };
    assert_eq!((state.phase, state.why, took), (Phase::RolledBack, Some(Why::TimeOut), 86_400));
}

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// A look after so many seconds (the clock may go back), having seen so much.
    Look {
        seconds: i64,
        records: u64,
        share: f64,
        errors: u64,
    },
    Approve,
    Abort,
    /// Someone puts a version in force.
    Activate(Option<i64>),
    /// Two processes look at the same state; one of them writes.
    Again,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let seconds = prop_oneof![6 => 1..120i64, 1 => -100_000..0i64, 1 => 1_000..200_000i64];
    let share = prop_oneof![6 => 0.18..0.22f64, 1 => 0.0..1.0f64];
    let look = (
        seconds,
        prop_oneof![1 => 0..1_000u64, 6 => 1_000..100_000u64],
        share,
        prop_oneof![20 => 0..1u64, 1 => 1..9u64],
    );
    let look = look.prop_map(|(seconds, records, share, errors)| Event::Look { seconds, records, share, errors });
    let other = prop_oneof![
        4 => Just(Event::Approve),
        1 => Just(Event::Abort),
        1 => prop::option::of(1..9i64).prop_map(Event::Activate),
        4 => Just(Event::Again),
    ];
    prop::collection::vec(prop_oneof![20 => look, 1 => other], 0..300)
}

/// The world around a rollout, and what is known of how it got where it is.
struct World {
    plan: Plan,
    state: State,
    now: Timestamp,
    active: Option<i64>,
    activated: usize,
    restored: usize,
    approved: bool,
    /// Whether a person put another version in force meanwhile.
    meddled: bool,
    /// Milliseconds of the present stage that were watched.
    watched_ms: u64,
}

impl World {
    fn new(plan: Plan) -> World {
        let now = at(0);
        let (state, first) = begin(&plan, now);
        let active = if first.is_empty() { plan.parent } else { Some(CANDIDATE) };
        let (activated, approved) = (first.len(), !plan.manual);
        World { plan, state, now, active, activated, restored: 0, approved, meddled: false, watched_ms: 0 }
    }

    /// What an event leads to, and whether the present stage may be left as passed.
    fn turn(&mut self, event: &Event) -> Option<((State, Vec<Action>), bool)> {
        let World { plan, state, now, active, .. } = self;
        match *event {
            Event::Look { seconds, records, share, errors } => {
                let nanos = i128::from(now.nanos()) + i128::from(seconds) * 1_000_000_000;
                *now = Timestamp::of(u64::try_from(nanos.max(0)).unwrap());
                self.watched_ms += (seconds.max(0) as u64 * 1000).min(60_000);
                let mut seen = seen(*active, records, share);
                let candidate = &mut seen.services.get_mut("web").unwrap().candidate;
                candidate.errors_lost = errors;
                let share = candidate.kept_bytes as f64 / candidate.bytes as f64;
                let is_fine = errors == 0 && Interval::around(0.2, 0.25).allows(share, records);
                let stage = plan.stages.get(state.stage as usize);
                let enough = |stage: &Stage| records >= stage.min_records && self.watched_ms >= stage.duration_ms;
                Some((step(plan, state, &seen, *now), is_fine && stage.is_some_and(enough)))
            }
            Event::Approve => {
                let turned = order(plan, state, &Command::Approve, *active, *now)?;
                self.approved = true;
                Some((turned, false))
            }
            Event::Abort => Some((order(plan, state, &Command::Abort { by: "ann".into() }, *active, *now)?, false)),
            Event::Activate(version) => {
                self.meddled |= *active != version;
                *active = version;
                None
            }
            Event::Again => Some((step(plan, state, &seen(*active, 0, 0.2), *now), false)),
        }
    }

    /// Carries out what follows; what must hold of each action.
    fn act(&mut self, next: &State, actions: &[Action], passed: bool) -> Result<(), TestCaseError> {
        prop_assert!(actions.len() <= 1);
        for action in actions {
            match action {
                Action::Activate => {
                    self.activated += 1;
                    prop_assert_eq!(next.phase, Phase::Live);
                    prop_assert!(self.approved);
                    let from_canary = self.state.phase == Phase::Canary && passed;
                    prop_assert!(self.plan.mode == Mode::Live || from_canary, "not passed: {:?}", self.state);
                    self.active = Some(CANDIDATE);
                }
                Action::Restore => {
                    self.restored += 1;
                    prop_assert_eq!((self.state.phase, self.active), (Phase::Live, Some(CANDIDATE)));
                    self.active = self.plan.parent;
                }
            }
        }
        Ok(())
    }

    /// What must hold of the way from one state to the next.
    fn went(&mut self, next: State, passed: bool) -> Result<(), TestCaseError> {
        let before = std::mem::replace(&mut self.state, next);
        let next = &self.state;
        if before.phase.is_over() {
            prop_assert_eq!(next, &before);
        } else if (next.phase, next.stage) != (before.phase, before.stage) {
            let goes_on = !next.phase.is_over() || next.phase == Phase::Succeeded;
            if goes_on && before.phase != Phase::Waiting {
                prop_assert!(passed, "{:?} to {:?}", before, next);
                prop_assert!(next.phase == Phase::Succeeded || next.stage == before.stage + 1);
            }
            prop_assert_eq!(next.why.is_some(), !goes_on);
            self.watched_ms = 0;
        }
        let kind = self.plan.stages[next.stage as usize].kind;
        let expected = match next.phase {
            _ if self.meddled => return Ok(()),
            Phase::Live => Some(CANDIDATE),
            Phase::Succeeded if self.plan.mode != Mode::Shadow => Some(CANDIDATE),
            _ => self.plan.parent,
        };
        prop_assert_eq!(self.active, expected);
        prop_assert!(next.phase != Phase::Live || kind == Kind::Live);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_happens(
        events in events(),
        mode in prop::sample::select(vec![Mode::Shadow, Mode::Canary, Mode::Live]),
        manual in any::<bool>(),
        parent in prop::option::of(1..6i64),
    ) {
        let mut world = World::new(plan(mode, manual, parent));
        for event in &events {
            let Some(((next, actions), passed)) = world.turn(event) else { continue };
            world.act(&next, &actions, passed)?;
            world.went(next, passed)?;
        }
        prop_assert!(world.activated <= 1 && world.restored <= world.activated);
    }
}
