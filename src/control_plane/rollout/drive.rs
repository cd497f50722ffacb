//! Applies steps to the store.
//!
//! Purpose: start a rollout, carry out orders, and take the next step; the leader calls it again and again.
//! Promises: a step and what follows from it are one transaction, which fails when someone else was faster or another
//! version is in force: then nothing of it has happened, and the next look starts from what is there; restarts lose
//! nothing.
//! Never: decides; `step` does.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::config::RolloutConfig;
use super::plan::{Mode, Phase, Plan, State};
use super::prediction::Prediction;
use super::step::{Action, Arms, Command, Observation, Turned, begin, order, step};
use crate::control_plane::store::{
    Actor, Fault, GLOBAL, InForce, NewRollout, RolloutChange, RolloutRow, Store, StoreError,
};
use crate::telemetry::{MetricSink, MetricSource};

/// Who takes steps, in the audit log and the history.
pub const ACTOR: &str = "rollout";
/// How often an order is tried when others are faster.
const TURNS: usize = 5;

/// A rollout to start: the order "roll this reviewed version out".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// Whose policies; empty for all services.
    pub service: String,
    /// The version, written and not in force.
    pub version: i64,
    /// How far it goes.
    pub mode: Mode,
    /// Whether it waits for a person first.
    pub manual: bool,
    /// What is expected of it: [`Prediction::of`] its replay.
    pub prediction: Prediction,
    /// Why.
    pub reason: String,
}

/// A rollout as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// Its number.
    pub id: i64,
    /// Whose policies; empty for all services.
    pub service: String,
    /// What was agreed on.
    pub plan: Plan,
    /// Where it stands.
    pub state: State,
    /// Why it was started.
    pub reason: String,
    /// Who started it.
    pub created_by: String,
    /// When.
    pub created_at: crate::control_plane::store::Timestamp,
    /// How often it was written.
    #[serde(skip)]
    pub(super) revision: i64,
}

impl Rollout {
    /// As the store holds it.
    ///
    /// # Errors
    /// A row that this release cannot read.
    pub fn of(row: RolloutRow) -> Result<Rollout, StoreError> {
        let broken = |error: serde_json::Error| StoreError::Row(format!("rollout {}: {error}", row.id));
        Ok(Rollout {
            plan: serde_json::from_value(row.plan.clone()).map_err(broken)?,
            state: serde_json::from_value(row.state.clone()).map_err(broken)?,
            id: row.id,
            service: row.service,
            reason: row.reason,
            created_by: row.created_by,
            created_at: row.created_at,
            revision: row.revision,
        })
    }

    /// The percentage of traffic the version decides about now.
    pub fn percentage(&self) -> f64 {
        match (self.state.phase, self.plan.stages.get(self.state.stage as usize).map(|stage| stage.kind)) {
            (Phase::Canary, Some(super::plan::Kind::Canary(percentage))) => percentage,
            (Phase::Live, _) => 100.0,
            (Phase::Succeeded, _) if self.plan.mode != Mode::Shadow => 100.0,
            _ => 0.0,
        }
    }
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Stepped {
    /// The rollout after it.
    pub rollout: Rollout,
    /// Whether other policies are in force than before.
    pub changed_active: bool,
}

/// The state and the plan as JSON; both are plain data.
fn json(value: &impl Serialize) -> Result<serde_json::Value, StoreError> {
    serde_json::to_value(value).map_err(|error| StoreError::Row(format!("a rollout: {error}")))
}

/// What the actions put in force.
fn in_force(plan: &Plan, actions: &[Action]) -> Option<InForce> {
    actions.last().map(|action| match action {
        Action::Activate => InForce { number: Some(plan.candidate), is_return: false },
        Action::Restore => InForce { number: plan.parent, is_return: true },
    })
}

/// Starts a rollout.
///
/// # Errors
/// [`StoreError::NotFound`] for a version that is not there; [`StoreError::Conflict`] when another rollout is open, or the
/// version is in force, has expired, or is expected to do what nothing can.
pub async fn start(
    store: &Store,
    wanted: &Start,
    config: &RolloutConfig,
    actor: &Actor,
) -> Result<Rollout, StoreError> {
    let conflict = |message: &str| Err(StoreError::Conflict(message.to_owned()));
    let version = store.version(&wanted.service, wanted.version).await?;
    let parent = store.active_number(&wanted.service).await?;
    if parent == Some(wanted.version) {
        return conflict("the version is in force already");
    }
    if version.expires_at.is_some_and(|at| at <= store.now()) {
        return conflict("the version has expired; write a new one");
    }
    if !wanted.prediction.is_sound() {
        return conflict("the prediction is no share between 0 and 1, or ends before it begins");
    }
    let plan = Plan {
        mode: wanted.mode,
        manual: wanted.manual,
        candidate: wanted.version,
        parent,
        expires_at: version.expires_at,
        stages: Plan::stages_of(wanted.mode, config),
        max_wait_ms: super::plan::millis(config.max_wait),
        ttl_ms: super::plan::millis(config.ttl),
        prediction: wanted.prediction.clone(),
    };
    let (state, actions) = begin(&plan, store.now());
    let new = NewRollout {
        service: wanted.service.clone(),
        number: wanted.version,
        parent,
        phase: state.phase.as_str(),
        plan: json(&plan)?,
        state: json(&state)?,
        reason: wanted.reason.clone(),
        in_force: in_force(&plan, &actions),
    };
    Rollout::of(store.start_rollout(&new, actor).await?)
}

/// Carries out what a person says about the latest rollout of a service.
///
/// # Errors
/// [`StoreError::NotFound`] without one; [`StoreError::Conflict`] when there is nothing to approve, or it is over.
pub async fn carry_out(store: &Store, service: &str, command: &Command, actor: &Actor) -> Result<Stepped, StoreError> {
    for _ in 0..TURNS {
        let rollout = latest(store, service).await?;
        let active = store.active_number(service).await?;
        let Some(turned) = order(&rollout.plan, &rollout.state, command, active, store.now()) else {
            let message = format!("the rollout is {}; that cannot be done to it", rollout.state.phase.as_str());
            return Err(StoreError::Conflict(message));
        };
        if let Some(stepped) = apply(store, &rollout, turned, active, actor).await? {
            return Ok(stepped);
        }
    }
    Err(StoreError::Conflict("the rollout changes all the time; try again".to_owned()))
}

/// The latest rollout of a service.
///
/// # Errors
/// [`StoreError::NotFound`] without one.
pub async fn latest(store: &Store, service: &str) -> Result<Rollout, StoreError> {
    match store.latest_rollout(service).await? {
        Some(row) => Rollout::of(row),
        None => Err(StoreError::NotFound("nothing was rolled out here".to_owned())),
    }
}

/// What gateways told about a rollout's present stage.
///
/// # Errors
/// When the database does not answer.
pub async fn observe(store: &Store, rollout: &Rollout) -> Result<Observation, StoreError> {
    let active = store.active_number(&rollout.service).await?;
    let mut seen = Observation { active, ..Observation::default() };
    for row in store.trial_counts(rollout.id, rollout.state.stage).await? {
        // A version of one service decides about nothing else.
        if rollout.service != GLOBAL && row.service != rollout.service {
            continue;
        }
        let arms: &mut Arms = seen.services.entry(row.service).or_default();
        let arm = if row.arm == "candidate" { &mut arms.candidate } else { &mut arms.baseline };
        arm.add(&row.sums);
    }
    Ok(seen)
}

/// Writes a step; `None` when someone else was faster.
async fn apply(
    store: &Store,
    rollout: &Rollout,
    (state, actions): Turned,
    active: Option<i64>,
    actor: &Actor,
) -> Result<Option<Stepped>, StoreError> {
    let is_step = state.phase != rollout.state.phase || state.stage != rollout.state.stage;
    let in_force = in_force(&rollout.plan, &actions);
    let why = state.why.as_ref().map(ToString::to_string).unwrap_or_default();
    let change = RolloutChange {
        id: rollout.id,
        service: &rollout.service,
        revision: rollout.revision,
        phase: state.phase.as_str(),
        state: json(&state)?,
        is_step,
        is_over: state.phase.is_over(),
        active,
        in_force,
        why: &why,
    };
    if !store.change_rollout(&change, actor).await? {
        return Ok(None);
    }
    let rollout = Rollout { state, revision: rollout.revision + 1, ..rollout.clone() };
    Ok(Some(Stepped { rollout, changed_active: in_force.is_some() }))
}

/// Takes steps, and counts them.
#[derive(Debug, Default)]
pub struct Driver {
    steps: [AtomicU64; Phase::ALL.len()],
    open: AtomicI64,
    percentage: AtomicU64,
}

impl Driver {
    /// Looks at the open rollout, if there is one. Returns a step that was taken.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn turn(&self, store: &Store) -> Result<Option<Stepped>, StoreError> {
        let Some(row) = store.open_rollout().await? else {
            self.show(None);
            return Ok(None);
        };
        let rollout = Rollout::of(row)?;
        let seen = observe(store, &rollout).await?;
        let turned = step(&rollout.plan, &rollout.state, &seen, store.now());
        let actor = Actor::named(ACTOR);
        let applied = match apply(store, &rollout, turned, seen.active, &actor).await {
            Err(error) if error.fault() == Fault::Conflict => None,
            other => other?,
        };
        let Some(stepped) = applied else { return Ok(None) };
        self.show(Some(&stepped.rollout));
        let (before, after) = (&rollout.state, &stepped.rollout.state);
        Ok((before.phase != after.phase || before.stage != after.stage).then(|| {
            self.note(&stepped);
            stepped
        }))
    }

    /// Counts and logs a step.
    pub fn note(&self, stepped: &Stepped) {
        let Rollout { id, service, plan, state, .. } = &stepped.rollout;
        if let Some(counter) = Phase::ALL.iter().position(|phase| *phase == state.phase).map(|i| &self.steps[i]) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let (phase, version, percentage) = (state.phase.as_str(), plan.candidate, stepped.rollout.percentage());
        let why = state.why.as_ref().map(ToString::to_string).unwrap_or_default();
        match state.why {
            Some(_) => tracing::warn!(rollout = id, service, version, phase, why, "a rollout ended early"),
            None => tracing::info!(rollout = id, service, version, phase, percentage, "a rollout took a step"),
        }
    }

    fn show(&self, rollout: Option<&Rollout>) {
        let open = rollout.filter(|rollout| !rollout.state.phase.is_over());
        self.open.store(open.map_or(0, |rollout| rollout.id), Ordering::Relaxed);
        let percentage = open.map_or(0.0, Rollout::percentage);
        self.percentage.store(percentage.to_bits(), Ordering::Relaxed);
    }
}

impl MetricSource for Driver {
    fn collect(&self, out: &mut dyn MetricSink) {
        for (phase, counter) in Phase::ALL.into_iter().zip(&self.steps) {
            let help = "Steps of rollouts taken by this process, by the phase they led to.";
            let count = counter.load(Ordering::Relaxed);
            out.counter("lipservice_rollout_steps", help, &[("phase", phase.as_str())], count);
        }
        let open = f64::from(u8::from(self.open.load(Ordering::Relaxed) != 0));
        out.gauge("lipservice_rollout_open", "Whether a rollout is under way (1), as the leader sees it.", &[], open);
        let percentage = f64::from_bits(self.percentage.load(Ordering::Relaxed));
        let help = "Percentage of the traffic that the version being rolled out decides about.";
        out.gauge("lipservice_rollout_percentage", help, &[], percentage);
    }
}
