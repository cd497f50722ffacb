//! How the loop goes, for people and for `/metrics`.
//!
//! Purpose: one place that says what the last run did, why, and what the next waits for.
//! Promises: labels come from enums; texts are ours or have been made harmless.
//! Never: decides anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::decide::{Observed, Trigger};
use crate::control_plane::generator::config::Publish;
use crate::control_plane::generator::llm::LlmMetrics;
use crate::control_plane::store::Timestamp;
use crate::telemetry::{MetricSink, MetricSource};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its policy is in force.
    Published,
    /// Its policy passed, and a rollout brings it in force by stages, or not.
    Rollout,
    /// Its policy passed and waits: for a person, or for the end of a rollout under way.
    Waiting,
    /// Its policy passed; a person took an earlier one back, so it waits.
    Held,
    /// Its policy is stored and did not pass its review.
    Refused,
    /// It could not be made.
    Failed,
    /// Its process ended first.
    Interrupted,
}

impl RunState {
    const ALL: [RunState; 7] = [
        RunState::Published,
        RunState::Rollout,
        RunState::Waiting,
        RunState::Held,
        RunState::Refused,
        RunState::Failed,
        RunState::Interrupted,
    ];

    /// Its name in entries and metrics.
    pub fn label(self) -> &'static str {
        match self {
            RunState::Published => "published",
            RunState::Rollout => "rollout",
            RunState::Waiting => "waiting",
            RunState::Held => "held",
            RunState::Refused => "refused",
            RunState::Failed => "failed",
            RunState::Interrupted => "interrupted",
        }
    }
}

#[derive(Default)]
struct Numbers {
    leads: bool,
    running: Option<(String, Trigger, Timestamp)>,
    ended: BTreeMap<RunState, u64>,
    triggered: BTreeMap<&'static str, u64>,
    last: Option<(RunState, String, Value)>,
    observed: Observed,
    store_failures: u64,
    dollars: f64,
}

/// Numbers of one loop.
pub struct LoopStatus {
    publish: Publish,
    llm: Arc<LlmMetrics>,
    numbers: Mutex<Numbers>,
}

impl LoopStatus {
    pub(super) fn new(publish: Publish, llm: Arc<LlmMetrics>) -> Self {
        LoopStatus { publish, llm, numbers: Mutex::default() }
    }

    pub(super) fn note_lead(&self, leads: bool) {
        self.numbers.lock().leads = leads;
    }

    pub(super) fn note_observed(&self, observed: &Observed) {
        self.numbers.lock().observed = *observed;
    }

    pub(super) fn note_begin(&self, id: &str, trigger: Trigger, at: Timestamp) {
        let mut numbers = self.numbers.lock();
        *numbers.triggered.entry(trigger.label()).or_default() += 1;
        numbers.running = Some((id.to_owned(), trigger, at));
    }

    pub(super) fn note_end(&self, state: RunState, told: Option<(&str, &Value)>) {
        let mut numbers = self.numbers.lock();
        *numbers.ended.entry(state).or_default() += 1;
        numbers.running = None;
        if let Some((why, detail)) = told {
            numbers.dollars += detail["llm"]["dollars"].as_f64().unwrap_or(0.0);
            numbers.last = Some((state, why.to_owned(), detail.clone()));
        }
    }

    pub(super) fn store_failed(&self) {
        self.numbers.lock().store_failures += 1;
    }

    /// Everything, as JSON.
    pub fn json(&self) -> Value {
        let numbers = self.numbers.lock();
        let running = numbers.running.as_ref();
        let running = running.map(|(id, trigger, at)| json!({ "id": id, "trigger": trigger, "since": at }));
        let observed = &numbers.observed;
        let last = numbers.last.as_ref();
        json!({
            "leads": numbers.leads,
            "publish": self.publish,
            "running": running,
            "last": last.map(|(state, why, detail)| json!({ "state": state, "why": why, "detail": detail })),
            "last_run": observed.last_run.map(Timestamp::of),
            "observed": {
                "seen_seconds": observed.seen_ns / 1_000_000_000,
                "unscored_share": observed.unscored_share,
                "kept_share": observed.kept.map(|(kept, _)| kept),
                "promised_share": observed.kept.map(|(_, promised)| promised),
                "new_patterns": observed.new_patterns,
            },
            "llm": self.llm.status(),
        })
    }
}

impl MetricSource for LoopStatus {
    fn collect(&self, out: &mut dyn MetricSink) {
        self.llm.collect(out);
        let numbers = self.numbers.lock();
        for state in RunState::ALL {
            let count = numbers.ended.get(&state).copied().unwrap_or(0);
            let help = "Runs of the loop by how they ended.";
            out.counter("lipservice_generator_runs", help, &[("state", state.label())], count);
        }
        for (trigger, count) in &numbers.triggered {
            let help = "Runs of the loop by what started them.";
            out.counter("lipservice_generator_triggers", help, &[("trigger", trigger)], *count);
        }
        let help = "Times the loop could not reach the store.";
        out.counter("lipservice_generator_store_failures", help, &[], numbers.store_failures);
        let mut gauge = |name, help, value: Option<f64>| {
            if let Some(value) = value {
                out.gauge(name, help, &[], value);
            }
        };
        let observed = &numbers.observed;
        let flag = |is: bool| Some(f64::from(u8::from(is)));
        gauge("lipservice_generator_running", "Whether a run is under way (1).", flag(numbers.running.is_some()));
        let last_run = observed.last_run.map(|at| at as f64 / 1e9);
        gauge("lipservice_generator_last_run_timestamp_seconds", "When the last run began.", last_run);
        let help = "Share of the bytes of patterns that no run has looked at.";
        gauge("lipservice_generator_unscored_share", help, observed.unscored_share);
        let help = "Share of the bytes that is kept since the last run.";
        gauge("lipservice_generator_kept_share", help, observed.kept.map(|(kept, _)| kept));
        let help = "Share of the bytes that the replay of the policy in force promised to keep.";
        gauge("lipservice_generator_promised_share", help, observed.kept.map(|(_, promised)| promised));
        let help = "Patterns that appeared since the last run.";
        gauge("lipservice_generator_new_patterns", help, Some(observed.new_patterns as f64));
        let detail = numbers.last.as_ref().map(|(_, _, detail)| detail);
        let number = |key: &str| detail.and_then(|detail| detail[key].as_f64());
        gauge("lipservice_generator_rules", "Rules that the last run wrote.", number("rules"));
        let help = "Length of the last run.";
        gauge("lipservice_generator_run_seconds", help, number("duration_ms").map(|ms| ms / 1e3));
        let feasible = detail.and_then(|detail| detail["feasible"].as_bool());
        let help = "Whether the last run found the budget within reach (1).";
        gauge("lipservice_generator_feasible", help, feasible.and_then(flag));
        let help = "US dollars that runs spent on a language model.";
        gauge("lipservice_generator_llm_dollars", help, Some(numbers.dollars));
    }
}
