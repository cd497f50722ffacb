//! LipService on the labelled workload: learn a policy from the first half, judge it on the second.
//!
//! Purpose: the same run for docs/evaluation.md and for the test that holds its bars.
//! Promises: the policy is made from what was seen before, never from what it is judged on.
//! Never: tunes anything by the second half.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use lipservice::control_plane::generator::budget::Budget;
use lipservice::control_plane::generator::offline::{Order, Proposal, propose};
use lipservice::control_plane::insights::Prices;
use lipservice::control_plane::replay::{Replay, ReplayError, Report, Services, Settings, Walker};
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use lipservice::data_plane::sampler::threshold::{parse_threshold, probability};
use lipservice::data_plane::signature::Signer;
use lipservice::data_plane::view::{AnyValueRef, LogIndex};
use lipservice::data_plane::window::PatternKey;
use lipservice::units::Period;

use super::quality::{Kept, Label, labels};
use super::workload::{START_NS, Workload};

/// Records of a workload that is held in memory at most.
const MAX_HELD_RECORDS: f64 = 200_000.0;

/// How LipService is set up here, beside the windows: summaries every five minutes, batches of two seconds.
fn settings(window: Period) -> Settings {
    let mut settings = Settings::default();
    settings.sampler.window.interval = window;
    settings.sampler.summary.interval = Period::secs(300);
    settings.sampler.window.max_patterns = 100_000;
    settings.batch.timeout = Period::secs(2);
    settings
}

/// The labels of the second half.
pub fn truth(workload: Workload) -> Vec<Label> {
    let (mut index, mut signer, mut out) = (LogIndex::default(), Signer::default(), Vec::new());
    for request in second_half(workload) {
        labels(&request, &mut index, &mut signer, &mut out);
    }
    out
}

/// Small halves are made once and held; large ones are made anew for each replay.
fn first_half(workload: Workload) -> impl Fn() -> Box<dyn Iterator<Item = Bytes>> {
    let made = move || requests(workload, move |second| second < workload.seconds / 2).map(Bytes::from);
    let is_small = workload.rate * workload.seconds as f64 <= MAX_HELD_RECORDS;
    let held: Option<Vec<Bytes>> = is_small.then(|| made().collect());
    move || match &held {
        Some(held) => Box::new(held.clone().into_iter()),
        None => Box::new(made()),
    }
}

fn second_half(workload: Workload) -> impl Iterator<Item = Vec<u8>> {
    requests(workload, move |second| second >= workload.seconds / 2)
}

fn requests(workload: Workload, wanted: impl Fn(u64) -> bool) -> impl Iterator<Item = Vec<u8>> {
    let mut index = LogIndex::default();
    workload.stream().filter(move |request| {
        index.read(request).is_ok()
            && index.records.first().is_some_and(|record| wanted((record.time_unix_nano - START_NS) / 1_000_000_000))
    })
}

/// A policy for the first half. In every `window` each pattern leaves a record.
///
/// # Errors
/// Those of the replay.
pub fn learn(workload: Workload, share: f64, window: Period) -> Result<Proposal, ReplayError> {
    let (settings, first_half) = (settings(window), first_half(workload));
    let order = Order {
        budget: Some(Budget::Share(share)),
        service_budgets: Vec::new(),
        prices: Prices::default(),
        least_rate: 0.000_1,
        most_step: 0.0,
        max_rules: 10_000,
        expires_at: START_NS + 365 * 86_400 * 1_000_000_000,
        now: START_NS,
        previous: None,
        human: Vec::new(),
    };
    propose(&order, &settings, &mut |policy, human| {
        let mut replay = Replay::new(&settings, policy, human);
        for request in first_half() {
            replay.feed(request)?;
        }
        replay.finish()
    })
}

/// Runs a policy over the second half.
///
/// # Errors
/// Those of the replay.
pub fn judge(
    workload: Workload,
    proposal: &Proposal,
    truth: &[Label],
    window: Period,
) -> Result<(Kept, Report), ReplayError> {
    let documents = [Document::from_value("generated", proposal.document.clone())];
    let policy = CompiledPolicy::compile(&documents, START_NS, None);
    let catalogue = std::sync::Arc::clone(policy.catalogue());
    let mut replay = Replay::new(&settings(window), policy, CompiledPolicy::default());
    let sent = Rc::new(RefCell::new(Sent::default()));
    let (tap, mut walker) = (Rc::clone(&sent), Walker::new(catalogue));
    let (mut services, mut signer) = (Services::new(1_000), Signer::default());
    replay.set_tap(Box::new(move |body| tap.borrow_mut().read(body, &mut walker, &mut services, &mut signer)));
    for request in second_half(workload) {
        replay.feed(Bytes::from(request))?;
    }
    let outcome = replay.finish()?;
    let mut kept = std::mem::take(&mut sent.borrow_mut().kept);
    truth.iter().for_each(|label| kept.seen(label));
    let sent = sent.borrow();
    let mut reported: HashMap<(String, u8, u64), u64> = HashMap::new();
    for (key, delivered) in &outcome.delivery.cells {
        let name = outcome.services.name(key.service).to_string();
        *reported.entry((name, key.band as u8, key.pattern.0)).or_default() += delivered.reported;
    }
    kept.counted = sent.counted(&reported);
    let report = Report::of(&outcome, &Prices::default());
    kept.billed_share = Some(report.kept_share());
    Ok((kept, report))
}

/// What went out, by what LipService calls a pattern and by what is one.
#[derive(Default)]
struct Sent {
    kept: Kept,
    records: HashMap<u16, f64>,
    weights: HashMap<(String, u8, u64), HashMap<u16, f64>>,
}

impl Sent {
    fn read(&mut self, body: &[u8], walker: &mut Walker, services: &mut Services, signer: &mut Signer) {
        if walker.read(body).is_err() {
            return;
        }
        let mut records: Vec<(PatternKey, Label, f64)> = Vec::new();
        walker.each(
            body,
            services,
            |seen| {
                if seen.record.span.is_summary {
                    return;
                }
                let threshold = match seen.record.threshold() {
                    Some(AnyValueRef::Str(digits)) => parse_threshold(digits).unwrap_or(0),
                    _ => 0,
                };
                records.push((seen.key, Label::of(seen.record, signer), 1.0 / probability(threshold)));
            },
            |_, _| {},
        );
        for (key, label, weight) in records {
            self.kept.kept(&label, weight);
            *self.records.entry(label.pattern).or_default() += 1.0;
            let key = (services.name(key.service).to_string(), key.band as u8, key.pattern.0);
            *self.weights.entry(key).or_default().entry(label.pattern).or_default() += weight;
        }
    }

    /// Records kept, and those reported as dropped, split by weight where a pattern of LipService is several.
    fn counted(&self, reported: &HashMap<(String, u8, u64), u64>) -> HashMap<u16, f64> {
        let mut counted = self.records.clone();
        for (key, dropped) in reported {
            let Some(weights) = self.weights.get(key) else { continue };
            let all: f64 = weights.values().sum();
            for (pattern, weight) in weights {
                *counted.entry(*pattern).or_default() += *dropped as f64 * weight / all;
            }
        }
        counted
    }
}
