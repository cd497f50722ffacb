//! The loop: look at what flows, write a policy for the budget, review it, put it in force, and again.
//!
//! Purpose: decide when a run begins (`decide`), make it (`run`), let its policy in force (`publish`), tell (`status`).
//! Promises: one run at a time, on the leader of several control planes alone; each run has a beginning and an end in the
//! audit log, and one that a crash cut off is closed as interrupted at the next start; every version it writes says why;
//! whatever fails, the policy in force stays and records flow on.
//! Never: sets a rate by what a model says; publishes what did not pass its review; waits for a model on the way of a
//! record.

pub mod decide;
mod publish;
mod run;
mod status;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::generator::config::GeneratorConfig;
use super::generator::document::rule_id;
use super::generator::llm::Scorer;
use super::insights::Prices;
use super::mirror::Mirror;
use super::replay::Settings;
use super::rollout::RolloutConfig;
use super::store::{Actor, GENERATED, Store, StoreError};
use super::validate::Limits;
use crate::clock::UnixNanos;
use crate::data_plane::ledger::Tally;
use crate::data_plane::pattern::{Catalogue, PatternId};
use crate::data_plane::policy::Document;
use crate::data_plane::reservoir::Sample;
use crate::shutdown::Shutdown;
use decide::{Observed, Trigger};

pub use status::{LoopStatus, RunState};

/// How often the loop looks whether it is time.
const LOOK: Duration = Duration::from_secs(1);
/// How the loop is called in histories and the audit log.
pub const ACTOR: &str = "generator";

/// What flows, as the loop sees it.
pub trait Traffic: Send + Sync {
    /// Recent records and their counts, as the policies in force redact them.
    fn sample(&self) -> Sample;
    /// The counts alone.
    fn counts(&self) -> Sample;
    /// The patterns that are published.
    fn catalogue(&self) -> Arc<Catalogue>;
    /// Policies beside those of the store.
    fn policies(&self) -> Vec<Document>;
    /// Patterns that are anomalous now, by service.
    fn anomalous(&self) -> HashSet<(String, PatternId)>;
    /// What came in and what was kept of it since the start.
    fn volume(&self) -> (Tally, Tally);
}

/// What a loop stands on.
pub struct Parts {
    /// Settings.
    pub config: GeneratorConfig,
    /// Where versions and runs are kept.
    pub store: Store,
    /// What is in force.
    pub mirror: Arc<Mirror>,
    /// What flows.
    pub traffic: Arc<dyn Traffic>,
    /// Whether this process leads.
    pub leads: Box<dyn Fn() -> bool + Send + Sync>,
    /// Tells that another version of the loop's policies is in force.
    pub tell: Box<dyn Fn(i64) + Send + Sync>,
    /// Who says what patterns are worth.
    pub scorer: Scorer,
    /// How replays run.
    pub settings: Settings,
    /// What a document is checked against before it is stored.
    pub limits: Limits,
    /// Prices.
    pub prices: Prices,
    /// How a version comes in force by stages.
    pub rollout: RolloutConfig,
}

/// What the last run of this process knew.
#[derive(Default)]
struct Memory {
    /// This process leads, and has closed what another left open.
    has_taken_over: bool,
    last_run: Option<UnixNanos>,
    /// Rules by id that the last run looked at, those waiting for a model excepted; `None` without a run.
    known: Option<HashSet<String>>,
    /// Share of the bytes that the policy in force keeps, as its replay promised.
    promised: Option<f64>,
    /// What had come in and been kept when it went into force.
    volume_then: (Tally, Tally),
}

/// The loop.
pub struct Controller {
    config: GeneratorConfig,
    store: Store,
    mirror: Arc<Mirror>,
    traffic: Arc<dyn Traffic>,
    leads: Box<dyn Fn() -> bool + Send + Sync>,
    tell: Box<dyn Fn(i64) + Send + Sync>,
    scorer: tokio::sync::Mutex<Scorer>,
    settings: Settings,
    limits: Limits,
    prices: Prices,
    rollout: RolloutConfig,
    status: Arc<LoopStatus>,
    memory: Mutex<Memory>,
    is_wanted: AtomicBool,
    wake: Notify,
}

impl Controller {
    /// A loop that has not looked yet.
    pub fn new(parts: Parts) -> Arc<Controller> {
        let Parts { config, store, mirror, traffic, leads, tell, scorer, settings, limits, prices, rollout } = parts;
        let status = Arc::new(LoopStatus::new(config.publish, scorer.metrics()));
        let (memory, is_wanted, wake) = (Mutex::default(), AtomicBool::new(false), Notify::new());
        let scorer = tokio::sync::Mutex::new(scorer);
        let settings = super::replay::settings_for(&settings);
        Arc::new(Controller {
            config,
            store,
            mirror,
            traffic,
            leads,
            tell,
            scorer,
            settings,
            limits,
            prices,
            rollout,
            status,
            memory,
            is_wanted,
            wake,
        })
    }

    /// How it goes.
    pub fn status(&self) -> &Arc<LoopStatus> {
        &self.status
    }

    /// Asks for a run as soon as may be. Asking twice before it begins is asking once.
    pub fn want(&self) {
        self.is_wanted.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Looks every second, until the signal; a run that is under way then ends as interrupted.
    pub async fn run(self: Arc<Self>, stop: Shutdown) {
        loop {
            tokio::select! {
                () = stop.triggered() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
            tokio::select! {
                () = stop.triggered() => {
                    let _closed = self.store.close_open_run(&Actor::named(ACTOR)).await;
                    return;
                }
                turned = self.turn() => if let Err(error) = turned {
                    self.status.store_failed();
                    tracing::warn!(%error, "the loop cannot reach the store; the policy in force stays");
                }
            }
        }
    }

    /// Looks once, and makes a run if it is time. Returns how it ended.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn turn(&self) -> Result<Option<RunState>, StoreError> {
        let leads = (self.leads)();
        self.status.note_lead(leads);
        if !leads {
            self.memory.lock().has_taken_over = false;
            return Ok(None);
        }
        self.take_over().await?;
        let observed = self.observe();
        self.status.note_observed(&observed);
        match decide::trigger(&observed, &self.config) {
            Some(trigger) => self.make_run(trigger, observed.now).await.map(Some),
            None => Ok(None),
        }
    }

    /// Closes what a process that ended left open, and learns when the last run was.
    async fn take_over(&self) -> Result<(), StoreError> {
        if self.memory.lock().has_taken_over {
            return Ok(());
        }
        if let Some(id) = self.store.close_open_run(&Actor::named(ACTOR)).await? {
            tracing::warn!(run = id, "a run was cut off by the end of its process; the next begins anew");
            self.status.note_end(RunState::Interrupted, None);
        }
        // An interrupted run is no run: its turn comes again.
        let ended = self.store.runs(None, 20).await?;
        let last = ended.iter().find(|run| run.detail["state"] != RunState::Interrupted.label());
        let mut memory = self.memory.lock();
        memory.has_taken_over = true;
        memory.last_run = last.map(|run| run.at.nanos());
        Ok(())
    }

    fn observe(&self) -> Observed {
        let now = self.store.now().nanos();
        let counts = self.traffic.counts();
        let seen_ns = counts.windows() * counts.window_ns;
        let memory = self.memory.lock();
        let (mut all, mut unscored, mut new_patterns) = (0u64, 0u64, 0u64);
        for stratum in &counts.strata {
            let bytes: u64 = stratum.windows.iter().map(|count| count.bytes).sum();
            all += bytes;
            let (Some(pattern), Some(known)) = (stratum.pattern, &memory.known) else { continue };
            if !known.contains(&rule_id(&stratum.service, pattern.0)) {
                unscored += bytes;
                new_patterns += u64::from(memory.last_run.is_some_and(|last| stratum.first_seen > last));
            }
        }
        let (received, kept) = self.traffic.volume();
        let (received_then, kept_then) = memory.volume_then;
        let since = received.bytes.saturating_sub(received_then.bytes);
        let share = kept.bytes.saturating_sub(kept_then.bytes) as f64 / since.max(1) as f64;
        // As much as the run saw is enough to tell drift from chance.
        let enough = since > 0 && since as f64 >= 0.1 * all as f64;
        let in_force = self.mirror.view().active.iter().any(|active| active.version.service == GENERATED);
        Observed {
            now,
            last_run: memory.last_run,
            is_wanted: self.is_wanted.load(Ordering::Relaxed),
            seen_ns,
            unscored_share: memory.known.as_ref().map(|_| unscored as f64 / all.max(1) as f64),
            kept: memory.promised.filter(|_| enough && in_force).map(|promised| (share, promised)),
            new_patterns,
        }
    }

    async fn make_run(&self, trigger: Trigger, now: UnixNanos) -> Result<RunState, StoreError> {
        self.is_wanted.store(false, Ordering::Relaxed);
        let id = uuid::Uuid::now_v7().to_string();
        let actor = Actor { name: ACTOR.to_owned(), request_id: id.clone() };
        self.store.begin_run(&id, serde_json::json!({ "trigger": trigger }), &actor).await?;
        self.status.note_begin(&id, trigger, self.store.now());
        let started = std::time::Instant::now();
        let ended = self.cycle(trigger, now, &actor).await;
        let mut detail = ended.detail;
        detail["trigger"] = trigger.label().into();
        detail["state"] = ended.state.label().into();
        detail["why"] = ended.why.clone().into();
        detail["version"] = ended.version.into();
        detail["duration_ms"] = (started.elapsed().as_millis() as u64).into();
        self.memory.lock().last_run = Some(now);
        self.status.note_end(ended.state, Some((&ended.why, &detail)));
        let (state, version, why) = (ended.state.label(), ended.version.unwrap_or(0), ended.why);
        match ended.state {
            RunState::Failed | RunState::Refused => {
                tracing::warn!(
                    run = id,
                    trigger = trigger.label(),
                    state,
                    version,
                    why,
                    "a run wrote no policy in force"
                );
            }
            _ => tracing::info!(run = id, trigger = trigger.label(), state, version, why, "a run ended"),
        }
        self.store.end_run(&id, detail, &actor).await?;
        Ok(ended.state)
    }
}
