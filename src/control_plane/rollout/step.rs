//! The next step of a rollout.
//!
//! Purpose: one pure function from what was seen to what is done.
//! Promises: the version comes in force only after every stage before has passed, in order; every other end has the
//! parent in force, unless a person chose otherwise meanwhile; time that nobody watched does not count as watched; a
//! clock that jumps makes a rollout go back at worst.
//! Never: reads a clock, the store or the traffic.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::{Kind, Phase, Plan, Stage, State, Why};
use super::prediction::Interval;
use crate::control_plane::store::{ArmSums, Timestamp};

/// Most time that counts between two looks, in milliseconds: nobody watched a longer gap.
const MAX_CREDIT_MS: u64 = 60_000;
/// Records of anomalous patterns, on both sides, before they are judged.
const MIN_ANOMALOUS: u64 = 100;
/// Part of what the version in force keeps of anomalous patterns that the new one must keep.
const ANOMALOUS_PART: f64 = 0.9;

/// Both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arms {
    /// The version in force.
    pub baseline: ArmSums,
    /// The new one.
    pub candidate: ArmSums,
}

/// What is known when a step is taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// The version in force.
    pub active: Option<i64>,
    /// Counts of the present stage by service.
    pub services: BTreeMap<String, Arms>,
}

impl Observation {
    /// All services together.
    pub fn total(&self) -> Arms {
        self.services.values().fold(Arms::default(), |mut sum, arms| {
            sum.baseline.add(&arms.baseline);
            sum.candidate.add(&arms.candidate);
            sum
        })
    }
}

/// What is to be done beside writing the state down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Put the candidate in force.
    Activate,
    /// Put the parent in force again.
    Restore,
}

/// What a person may say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Go on.
    Approve,
    /// Go back.
    Abort {
        /// Who says so.
        by: String,
    },
}

/// The state after, and what follows from it.
pub type Turned = (State, Vec<Action>);

/// A rollout's first state.
pub fn begin(plan: &Plan, now: Timestamp) -> Turned {
    let state = State {
        phase: Phase::Waiting,
        stage: 0,
        entered_at: now,
        seen_at: now,
        elapsed_ms: 0,
        total_elapsed_ms: 0,
        deadline: now.after(Duration::from_millis(plan.ttl_ms)),
        why: None,
    };
    if plan.manual { (state, Vec::new()) } else { enter(plan, &state, 0, now) }
}

/// Looks at a rollout. A state that comes back as it was needs not be written.
pub fn step(plan: &Plan, state: &State, seen: &Observation, now: Timestamp) -> Turned {
    if state.phase.is_over() {
        return (state.clone(), Vec::new());
    }
    let state = watched(state, now);
    if let Some(why) = must_stop(plan, &state, seen, now) {
        return end(&state, why);
    }
    let stage = match plan.stages.get(state.stage as usize) {
        Some(stage) if state.phase != Phase::Waiting => *stage,
        _ => return (state, Vec::new()),
    };
    let total = seen.total();
    if let Some(why) = fault(plan, stage, seen, &total) {
        return end(&state, why);
    }
    if total.candidate.records >= stage.min_records && state.elapsed_ms >= stage.duration_ms {
        return enter(plan, &state, state.stage + 1, now);
    }
    if state.elapsed_ms >= plan.max_wait_ms.max(stage.duration_ms) {
        let records = total.candidate.records;
        return end(&state, Why::NoData { records, needed: stage.min_records });
    }
    (state, Vec::new())
}

/// Carries out what a person says while `active` is in force; `None` where that says nothing: there is nothing to approve,
/// or it is over.
pub fn order(plan: &Plan, state: &State, command: &Command, active: Option<i64>, now: Timestamp) -> Option<Turned> {
    if state.phase.is_over() || (*command == Command::Approve && state.phase != Phase::Waiting) {
        return None;
    }
    let state = watched(state, now);
    let seen = Observation { active, ..Observation::default() };
    Some(match (must_stop(plan, &state, &seen, now), command) {
        (Some(why), _) => end(&state, why),
        (None, Command::Approve) => enter(plan, &state, 0, now),
        (None, Command::Abort { by }) => end(&state, Why::Aborted { by: by.clone() }),
    })
}

/// Counts the time since the last look, as far as it was watched.
fn watched(state: &State, now: Timestamp) -> State {
    let passed = now.nanos().saturating_sub(state.seen_at.nanos()) / 1_000_000;
    let credit = passed.min(MAX_CREDIT_MS);
    State {
        seen_at: now,
        elapsed_ms: state.elapsed_ms.saturating_add(credit),
        total_elapsed_ms: state.total_elapsed_ms.saturating_add(credit),
        ..state.clone()
    }
}

/// What ends a rollout whatever the traffic says.
fn must_stop(plan: &Plan, state: &State, seen: &Observation, now: Timestamp) -> Option<Why> {
    let expected = if state.phase == Phase::Live { Some(plan.candidate) } else { plan.parent };
    if seen.active != expected {
        return Some(Why::Superseded { active: seen.active });
    }
    if plan.expires_at.is_some_and(|at| at <= now) {
        return Some(Why::Expired);
    }
    (now >= state.deadline || state.total_elapsed_ms >= plan.ttl_ms).then_some(Why::TimeOut)
}

/// What is wrong with what the version does.
fn fault(plan: &Plan, stage: Stage, seen: &Observation, total: &Arms) -> Option<Why> {
    if total.candidate.errors_lost > 0 {
        return Some(Why::ErrorsLost { records: total.candidate.errors_lost });
    }
    let outside = |service: Option<&String>, interval: &Interval, arm: &ArmSums| {
        let enough = arm.records >= stage.min_records.max(1) && arm.bytes > 0;
        let share = arm.kept_bytes as f64 / arm.bytes.max(1) as f64;
        (enough && !interval.allows(share, arm.records)).then(|| Why::KeptBytes {
            service: service.cloned(),
            seen: share,
            low: interval.low,
            high: interval.high,
        })
    };
    let in_all = plan.prediction.kept.as_ref().and_then(|interval| outside(None, interval, &total.candidate));
    let by_service = plan.prediction.services.iter().filter_map(|(service, interval)| {
        let arms = seen.services.get(service)?;
        outside(Some(service), interval, &arms.candidate)
    });
    in_all.into_iter().chain(by_service).next().or_else(|| less_anomalous(plan, total))
}

/// Whether what is anomalous is seen less than before.
fn less_anomalous(plan: &Plan, total: &Arms) -> Option<Why> {
    let share = |arm: &ArmSums| {
        (arm.anomalous >= MIN_ANOMALOUS).then(|| arm.anomalous_kept as f64 / arm.anomalous.max(1) as f64)
    };
    let low = plan.prediction.anomalous_kept.or_else(|| share(&total.baseline).map(|share| ANOMALOUS_PART * share))?;
    let seen = share(&total.candidate)?;
    let interval = Interval { low, high: 1.0 };
    (!interval.allows(seen, total.candidate.anomalous)).then_some(Why::Anomalous { seen, low })
}

/// Goes on to a stage; behind the last one it is done.
fn enter(plan: &Plan, state: &State, stage: u32, now: Timestamp) -> Turned {
    let Some(next) = plan.stages.get(stage as usize) else {
        return (State { phase: Phase::Succeeded, ..state.clone() }, Vec::new());
    };
    let (phase, actions) = match next.kind {
        Kind::Shadow => (Phase::Shadow, Vec::new()),
        Kind::Canary(_) => (Phase::Canary, Vec::new()),
        Kind::Live => (Phase::Live, vec![Action::Activate]),
    };
    (State { phase, stage, entered_at: now, elapsed_ms: 0, ..state.clone() }, actions)
}

/// Ends early: with the parent in force, or with what someone else put there.
fn end(state: &State, why: Why) -> Turned {
    let superseded = matches!(why, Why::Superseded { .. });
    let (phase, actions) = match state.phase {
        _ if superseded => (Phase::Superseded, Vec::new()),
        Phase::Live => (Phase::RolledBack, vec![Action::Restore]),
        _ => (Phase::RolledBack, Vec::new()),
    };
    (State { phase, why: Some(why), ..state.clone() }, actions)
}
