//! A policy on trial beside the one in force.
//!
//! Purpose: try a policy on real traffic before it decides about all of it: only count what it would do (`Shadow`), let
//! it decide about a consistent share (`Canary`), or watch it once it is in force (`Live`).
//! Promises: both sides are counted by service and reason, in records and bytes; counts outlive a compilation of the
//! same trial; a trial ends by itself when its time is over, whoever has started it; without one, a batch pays one load.
//! Never: decides whether a trial goes on; the control plane does.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Pipeline;
use crate::clock::UnixNanos;
use crate::data_plane::ledger::{Arm, Tally};
use crate::data_plane::policy::{CompiledPolicy, Origin};
use crate::data_plane::sampler::{Decision, Reason, Share};
use crate::data_plane::window::Band;
use crate::telemetry::MetricSink;

/// Which trial: a rollout and its stage, as the control plane numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrialId {
    /// The rollout.
    pub rollout: i64,
    /// Its stage, from 0.
    pub stage: u32,
}

/// How far a policy on trial may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its decisions are counted, not enforced.
    Shadow,
    /// It decides about a share of the traffic.
    Canary(Share),
    /// It is the policy in force; all that is decided is counted as its.
    Live,
}

/// What one arm decided, or would have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArmCounts {
    /// By reason: dropped, kept.
    pub by_reason: [[Tally; 2]; Reason::ALL.len()],
    /// Of these, dropped records of ERROR and above that no person's policy ordered dropped.
    pub errors_lost: u64,
    /// Of these, records of patterns that were anomalous: dropped, kept.
    pub anomalous: [Tally; 2],
}

impl ArmCounts {
    fn add(&mut self, keep: bool, reason: Reason, bytes: u64, (is_error, is_anomalous): (bool, bool)) {
        self.by_reason[reason as usize][usize::from(keep)].add(bytes);
        self.errors_lost += u64::from(is_error && !keep);
        if is_anomalous {
            self.anomalous[usize::from(keep)].add(bytes);
        }
    }

    fn merge(&mut self, other: &ArmCounts) {
        let both = self.by_reason.iter_mut().flatten().zip(other.by_reason.iter().flatten());
        both.chain(self.anomalous.iter_mut().zip(&other.anomalous)).for_each(|(to, from)| to.merge(*from));
        self.errors_lost += other.errors_lost;
    }

    /// Records and bytes kept (or dropped), whatever the reason.
    pub fn total(&self, keep: bool) -> Tally {
        let mut sum = Tally::default();
        self.by_reason.iter().for_each(|tallies| sum.merge(tallies[usize::from(keep)]));
        sum
    }
}

/// Counts of both arms by service.
type ByService = HashMap<u32, [ArmCounts; 2], ahash::RandomState>;

/// What a trial counted so far.
#[derive(Debug, Default)]
struct Tallies {
    by_service: Mutex<ByService>,
}

/// A policy on trial.
#[derive(Debug)]
pub struct Trial {
    /// Which.
    pub id: TrialId,
    /// How far it goes.
    pub mode: Mode,
    /// When it ends by itself.
    pub until: UnixNanos,
    /// The policy; empty when it is the one in force.
    pub policy: CompiledPolicy,
    tallies: Arc<Tallies>,
}

impl Trial {
    /// A trial that goes on counting where `earlier` stands, if that is the same.
    pub fn new(id: TrialId, mode: Mode, until: UnixNanos, policy: CompiledPolicy, earlier: Option<&Trial>) -> Self {
        let earlier = earlier.filter(|earlier| earlier.id == id && earlier.mode == mode);
        let tallies = earlier.map(|earlier| Arc::clone(&earlier.tallies)).unwrap_or_default();
        Trial { id, mode, until, policy, tallies }
    }

    /// Who decides about a record with this randomness (of its trace id, else its own).
    #[inline]
    pub(super) fn decides(&self, randomness: u64) -> Arm {
        match self.mode {
            Mode::Canary(share) if share.holds(randomness) => Arm::Candidate,
            _ => Arm::Baseline,
        }
    }

    /// Takes the counts of a batch, leaving none.
    pub(super) fn take(&self, batch: &mut TrialEntry) {
        if batch.by_service.is_empty() {
            return;
        }
        let mut by_service = self.tallies.by_service.lock();
        for (service, arms) in batch.by_service.drain() {
            let to = by_service.entry(service).or_default();
            to.iter_mut().zip(&arms).for_each(|(to, from)| to.merge(from));
        }
    }
}

/// What a trial counted in one batch.
#[derive(Debug, Default)]
pub(super) struct TrialEntry {
    by_service: ByService,
}

/// What is known of a record beside the decision about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    pub service: u32,
    pub bytes: u64,
    pub band: Band,
    pub is_anomalous: bool,
}

impl TrialEntry {
    /// Counts a decision of `policy`.
    pub fn add(&mut self, arm: Arm, policy: &CompiledPolicy, decision: &Decision, of: Counted) {
        let Decision { keep, reason, .. } = *decision;
        let by_order = || {
            let by_human = |index| policy.policy(index).origin == Origin::Human;
            reason == Reason::PolicyNone && decision.policy.is_some_and(by_human)
        };
        let is_error = of.band >= Band::Error && !by_order();
        let arms = self.by_service.entry(of.service).or_default();
        arms[arm as usize].add(keep, reason, of.bytes, (is_error, of.is_anomalous));
    }

    /// Forgets what was counted for a batch that was given up.
    pub fn clear(&mut self) {
        self.by_service.clear();
    }
}

/// A trial's counts at one moment, since it began in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialCounts {
    /// Which trial.
    pub id: TrialId,
    /// By service, in the order of names: baseline, candidate.
    pub services: BTreeMap<String, [ArmCounts; 2]>,
}

impl Pipeline {
    /// The policy on trial, if there is one.
    pub fn trial(&self) -> Option<Arc<Trial>> {
        self.trial.load_full()
    }

    /// Begins, replaces or ends a trial, from the next batch on.
    pub fn set_trial(&self, trial: Option<Trial>) {
        self.trial.store(trial.map(Arc::new));
    }

    /// What the trial has counted so far.
    pub fn trial_counts(&self) -> Option<TrialCounts> {
        let trial = self.trial.load_full()?;
        let counted = trial.tallies.by_service.lock().clone();
        let mut services: BTreeMap<String, [ArmCounts; 2]> = BTreeMap::new();
        for (service, arms) in counted {
            // Of one service under several tokens there is one line.
            let name = self.table.service_at(service).map(|service| service.name.to_string()).unwrap_or_default();
            let to = services.entry(name).or_default();
            to.iter_mut().zip(&arms).for_each(|(to, from)| to.merge(from));
        }
        Some(TrialCounts { id: trial.id, services })
    }

    /// Both arms by reason; services would be too many labels.
    pub(super) fn collect_trial(&self, out: &mut dyn MetricSink) {
        let counts = self.trial_counts();
        let on = f64::from(u8::from(counts.is_some()));
        out.gauge("lipservice_rollout_trial", "Whether a policy is on trial here (1).", &[], on);
        let Some(counts) = counts else { return };
        for arm in Arm::ALL {
            let mut sum = ArmCounts::default();
            counts.services.values().for_each(|arms| sum.merge(&arms[arm as usize]));
            for (reason, tallies) in Reason::ALL.into_iter().zip(&sum.by_reason) {
                for (decision, tally) in ["dropped", "kept"].into_iter().zip(tallies).filter(|(_, t)| t.records > 0) {
                    let labels = [("arm", arm.as_str()), ("decision", decision), ("reason", reason.as_str())];
                    let help = "Log records by decision of the policy in force and the one on trial, in this stage.";
                    out.counter("lipservice_rollout_log_records", help, &labels, tally.records);
                    out.counter("lipservice_rollout_log_bytes", "Bytes of these.", &labels, tally.bytes);
                }
            }
            let help = "Log records of ERROR and above that were dropped, or would have been.";
            out.counter("lipservice_rollout_errors_lost", help, &[("arm", arm.as_str())], sum.errors_lost);
        }
    }
}
