//! One request: index it, then decide record by record, then splice.
//!
//! Purpose: the hot path. The first pass reads every byte once (index and signature); the second works on the index.
//! Promises: no allocation per record once the buffers have grown; no lock held across records; nothing acts before the
//! whole request is known to be valid.
//! Never: decodes with prost. Its speed is measured in `benches/hot_path.rs`.

use std::sync::Arc;

use bytes::Bytes;
use rand::RngCore;

use super::scratch::{Scratch, TrialScratch};
use super::take::alone;
use super::tap::Tapped;
use super::trial::{Counted, Mode, Trial};
use super::{Pipeline, Wiring};
use crate::clock::UnixNanos;
use crate::data_plane::exporter::Outgoing;
use crate::data_plane::ledger::Arm;
use crate::data_plane::pattern::{Grouping, PatternId};
use crate::data_plane::policy::{CompiledPolicy, Matches, Resolution, Turn};
use crate::data_plane::receiver::Received;
use crate::data_plane::sampler::threshold::RANDOMNESS_RANGE;
use crate::data_plane::sampler::{Boosts, Decision, Facts, Incoming, ThresholdText, decide as decide_record};
use crate::data_plane::signature::{Signature, Signer};
use crate::data_plane::view::{Action, AnyValueRef, LogIndex, RecordRef, ResourceRef, ResourceSpan, ScopeRef};
use crate::data_plane::window::{Band, CauseRef, Cell, PatternKey, Sight};

/// Longest template kept with a pattern, in bytes.
const MAX_TEMPLATE_BYTES: usize = 512;
/// Longest example kept with a pattern, in bytes.
const MAX_EXAMPLE_BYTES: usize = 256;

/// A request forwarded whole is copied up to this size: it may be a small part of its connection's read buffer, and the
/// queue, which counts its own bytes only, would hold all of that for as long as the destination is away.
const COPIED_BYTES: usize = 64 << 10;

/// What stays the same over a batch.
pub(super) struct Batch<'a> {
    pub(super) pipeline: &'a Pipeline,
    wiring: &'a Wiring,
    pub(super) policy: &'a CompiledPolicy,
    trial: Option<&'a Trial>,
    boosts: &'a Boosts,
    body: &'a [u8],
    index: &'a LogIndex,
    now: UnixNanos,
    /// The same, and who shares rate limits.
    turn: Turn,
    pub(super) window: u64,
    /// The record whose decision somebody wants to see.
    tapped: Option<usize>,
    /// Whether templates of new signatures are noted.
    is_learning: bool,
    /// Whether a pattern may be another than its signature, or a signature news.
    resolves: bool,
}

/// What stays the same over a scope block.
pub(super) struct Block<'a> {
    pub(super) resource: ResourceRef<'a>,
    pub(super) scope: ScopeRef<'a>,
    service: u32,
}

/// One record and what was found out about it before any policy is asked.
struct Subject<'a> {
    record: RecordRef<'a>,
    grouping: Grouping,
    band: Band,
    incoming: Incoming,
    boost: u64,
}

/// Decides on every record of the request in `scratch` and writes what is kept; `None` when nothing is.
pub(super) fn decide(
    pipeline: &Pipeline,
    wiring: &Wiring,
    (policy, trial, boosts): (&CompiledPolicy, Option<&Trial>, &Boosts),
    scratch: &mut Scratch,
    request: &Received,
) -> Option<Outgoing> {
    let now = pipeline.clock.now();
    let turn = Turn { now, fleet: pipeline.fleet() };
    let window = pipeline.table.window_at(now);
    let index = std::mem::take(&mut scratch.index);
    let trial = trial.filter(|trial| now < trial.until);
    let tapped = pipeline.tap.pick(index.records.len(), || scratch.rng.next_u64());
    let body = &request.body;
    let is_learning = pipeline.sightings.is_on();
    let resolves = is_learning || !policy.catalogue().is_empty();
    let batch = Batch {
        pipeline,
        wiring,
        policy,
        trial,
        boosts,
        body,
        index: &index,
        now,
        turn,
        window,
        tapped,
        is_learning,
        resolves,
    };
    scratch.patterns.begin(policy.catalogue());
    for (i, span) in index.resources.iter().enumerate() {
        batch.resource(scratch, i as u32, span, request.token.as_ref());
    }
    pipeline.sightings.count_evicted(scratch.patterns.take_evicted());
    if let Some(trial) = trial {
        trial.take(&mut scratch.trial.entry);
    }
    let outgoing = write(scratch, &index, request);
    scratch.index = index;
    outgoing
}

fn write(scratch: &mut Scratch, index: &LogIndex, request: &Received) -> Option<Outgoing> {
    let records = scratch.entry.total(true).records;
    if records == 0 {
        return None;
    }
    let body = if scratch.plan.is_identity() {
        match request.body.len() {
            ..=COPIED_BYTES => Bytes::copy_from_slice(&request.body),
            _ => request.body.clone(),
        }
    } else {
        let mut out = Vec::new();
        scratch.plan.write(&request.body, index, &mut out);
        Bytes::from(out)
    };
    Some(Outgoing { body, records, token: request.token.clone() })
}

impl Batch<'_> {
    fn resource(&self, scratch: &mut Scratch, i: u32, span: &ResourceSpan, token: Option<&Arc<str>>) {
        let resource = ResourceRef::new(self.body, span);
        let name = match resource.attributes().get(b"service.name") {
            Some(AnyValueRef::Str(name)) => name,
            _ => b"",
        };
        let service = self.pipeline.table.service(name, token);
        let rewrites = self.policy.has_transforms() || self.trial.is_some_and(|trial| trial.policy.has_transforms());
        if rewrites {
            scratch.edit.begin_resource(resource.message());
        }
        for s in span.scopes.0..span.scopes.1 {
            let scope_span = &self.index.scopes[s as usize];
            let scope = ScopeRef::new(self.body, scope_span);
            if rewrites {
                scratch.edit.begin_scope(scope.message());
            }
            self.policy.block(resource, scope, self.now, &mut scratch.candidates);
            if let Some(trial) = self.trial {
                trial.policy.block(resource, scope, self.now, &mut scratch.trial.candidates);
            }
            let block = Block { resource, scope, service };
            for r in scope_span.records.0..scope_span.records.1 {
                self.record(scratch, &block, r as usize);
            }
            if let Some(message) = scratch.edit.scope().filter(|_| rewrites) {
                let rewritten = scratch.plan.stash(message);
                scratch.plan.scopes.push((s, rewritten));
            }
        }
        if let Some(message) = scratch.edit.resource().filter(|_| rewrites) {
            let rewritten = scratch.plan.stash(message);
            scratch.plan.resources.push((i, rewritten));
        }
    }

    /// Decides on record `i` and notes what becomes of it in the plan and the books.
    fn record(&self, scratch: &mut Scratch, block: &Block<'_>, i: usize) {
        let record = self.index.record(self.body, i);
        let signature = scratch.signatures[i];
        let (pattern, unseen) =
            if self.resolves { self.pattern(scratch, record, signature) } else { (signature.into(), None) };
        let band = Band::of(record.span.severity_number, record.severity_text());
        let incoming = Incoming::of(record, scratch.traces[i], || scratch.rng.next_u64());
        let boost = self.boosts.threshold(block.service, pattern);
        let subject = Subject { record, grouping: Grouping { signature, pattern }, band, incoming, boost };
        let (arm, policy) = match self.trial {
            None => (Arm::Baseline, self.policy),
            Some(trial) => self.arm(trial, scratch.traces[i].unwrap_or(incoming.randomness)),
        };
        let candidates = if arm == Arm::Baseline { &scratch.candidates } else { &scratch.trial.candidates };
        let matches = &mut scratch.matches;
        policy.matches(candidates, record, block.resource, block.scope, subject.grouping, matches);
        // What a policy rewrites must not be learned: a published template would show it.
        if let Some(template) = unseen.filter(|_| !policy.transforms(matches)) {
            self.pipeline.sightings.note(signature, &template);
        }
        let facts = self.facts(policy, matches, &subject);
        if let Some(trial) = self.trial.filter(|trial| trial.mode == Mode::Shadow) {
            self.watch(scratch, trial, &subject, block);
        }
        let bytes = record.span.field.len() as u64;
        let (decision, resolution) = self.decide_in_cell(scratch, policy, &subject, block, facts);
        if !scratch.matches.is_empty() {
            policy.count(&scratch.matches, &resolution, decision.keep);
        }
        if self.tapped == Some(i) {
            let (key, service) = (subject.key(block), self.pipeline.table.service_at(block.service));
            self.pipeline.tap.note(|| Some(Tapped::new(self.now, service?, (key, signature), policy, &decision)));
        }
        scratch.entry.add(arm, decision.keep, decision.reason, decision.policy, bytes);
        if let Some(trial) = self.trial {
            let arm = if trial.mode == Mode::Live { Arm::Candidate } else { arm };
            scratch.trial.entry.add(arm, policy, &decision, subject.counted(block));
        }
        let action = if decision.keep { self.kept(scratch, policy, record, decision.threshold) } else { Action::Drop };
        scratch.plan.actions.push(action);
    }

    /// Who decides about a record while a policy is on trial.
    fn arm<'p>(&'p self, trial: &'p Trial, randomness: u64) -> (Arm, &'p CompiledPolicy) {
        match trial.decides(randomness) {
            Arm::Baseline => (Arm::Baseline, self.policy),
            Arm::Candidate => (Arm::Candidate, &trial.policy),
        }
    }

    /// Counts what a policy on trial would decide. What a new pattern shows of itself is up to the policy in force.
    #[cold]
    fn watch(&self, scratch: &mut Scratch, trial: &Trial, subject: &Subject<'_>, block: &Block<'_>) {
        let Scratch { trial: TrialScratch { candidates, matches, entry }, cells, signer, .. } = scratch;
        let shown = (self.policy, &scratch.matches);
        let (policy, record) = (&trial.policy, subject.record);
        policy.matches(candidates, record, block.resource, block.scope, subject.grouping, matches);
        let facts = self.facts(policy, matches, subject);
        let key = subject.key(block);
        loop {
            let cell = cells.get(key, || self.cell(signer, subject, block, shown));
            let asked = cell.would_keep(self.window, |sight| {
                let randomness = facts.incoming.randomness;
                let ask = || policy.resolve(matches, record, block.resource, block.scope, randomness, self.turn);
                let decision = decide_record(&Facts { sight, ..facts }, &self.wiring.settings, ask);
                entry.add(Arm::Candidate, policy, &decision, subject.counted(block));
                decision.keep
            });
            match asked {
                Some(()) => return,
                None => cells.forget(key),
            }
        }
    }

    fn facts(&self, policy: &CompiledPolicy, matches: &Matches, subject: &Subject<'_>) -> Facts {
        Facts {
            incoming: subject.incoming,
            is_summary: subject.record.span.is_summary,
            protected_by: matches.protected,
            severity_protected: self.wiring.protect_from.is_some_and(|from| subject.band >= from),
            ordered_drop: policy.ordered_drop(matches),
            boost: subject.boost,
            sight: Sight::default(),
        }
    }

    /// The pattern of a signature. Looked up once a signature and catalogue, while the cache has room; the template comes
    /// with it then, if that is to be learned from.
    #[inline]
    fn pattern(
        &self,
        scratch: &mut Scratch,
        record: RecordRef<'_>,
        signature: Signature,
    ) -> (PatternId, Option<String>) {
        match scratch.patterns.get(signature) {
            Some(pattern) => (pattern, None),
            None => self.resolve(scratch, record, signature),
        }
    }

    #[cold]
    fn resolve(
        &self,
        scratch: &mut Scratch,
        record: RecordRef<'_>,
        signature: Signature,
    ) -> (PatternId, Option<String>) {
        let template = scratch.signer.template(record);
        let pattern = self.policy.catalogue().resolve(signature, &template);
        scratch.patterns.put(signature, pattern);
        (pattern, self.is_learning.then_some(template))
    }

    /// Runs the decision under the lock of the record's pattern.
    fn decide_in_cell(
        &self,
        scratch: &mut Scratch,
        policy: &CompiledPolicy,
        subject: &Subject<'_>,
        block: &Block<'_>,
        facts: Facts,
    ) -> (Decision, Resolution) {
        let Scratch { cells, signer, matches, rng, .. } = scratch;
        let (record, key) = (subject.record, subject.key(block));
        let bytes = record.span.field.len() as u64;
        loop {
            let cell = cells.get(key, || self.cell(signer, subject, block, (policy, matches)));
            let mut offered = None;
            let decided = cell.record(self.window, self.now, bytes, |sight| {
                offered = cell.offer(sight.seen).then_some(sight.seen);
                let mut resolution = Resolution::UNMATCHED;
                let ask = || {
                    let randomness = facts.incoming.randomness;
                    resolution = policy.resolve(matches, record, block.resource, block.scope, randomness, self.turn);
                    resolution
                };
                let decision = decide_record(&Facts { sight, ..facts }, &self.wiring.settings, ask);
                let cause = (!decision.keep).then(|| CauseRef {
                    policy: decision.policy.map(|index| &policy.policy(index).id),
                    reason: decision.reason.as_str(),
                });
                (decision.keep, cause, (decision, resolution))
            });
            match decided {
                Some(decided) => {
                    if let Some(seen) = offered {
                        self.hand_over(cell, seen, rng, (record, block), (policy, matches));
                    }
                    return decided;
                }
                None => cells.forget(key),
            }
        }
    }

    /// The cell of a record's pattern, from the table.
    #[cold]
    fn cell(
        &self,
        signer: &mut Signer,
        subject: &Subject<'_>,
        block: &Block<'_>,
        shown: (&CompiledPolicy, &Matches),
    ) -> Arc<Cell> {
        let texts = || self.texts(signer, subject.record, block, shown);
        self.pipeline.table.cell(subject.key(block), subject.grouping.signature, texts)
    }

    /// Template and example of a pattern seen for the first time. They are shown and sent in summaries, so they are
    /// taken from the record as policies rewrite it: what a policy redacts must not leave by this door.
    #[cold]
    fn texts(
        &self,
        signer: &mut Signer,
        record: RecordRef<'_>,
        block: &Block<'_>,
        (policy, matches): (&CompiledPolicy, &Matches),
    ) -> (Box<str>, Box<str>) {
        if !policy.transforms(matches) {
            let (template, example) = texts(signer, record);
            let pattern = self.policy.catalogue().find(&signer.template(record));
            return (pattern.map_or(template, |pattern| cut(&pattern.template, MAX_TEMPLATE_BYTES)), example);
        }
        let request = alone(record, block, (policy, matches));
        let mut index = LogIndex::default();
        match index.read(&request) {
            Ok(()) if !index.records.is_empty() => texts(signer, index.record(&request, 0)),
            _ => ("(rewritten by a policy)".into(), "".into()),
        }
    }

    /// What the splice does with a record that stays: rewritten by policies, annotated with its threshold, or copied.
    fn kept(&self, scratch: &mut Scratch, policy: &CompiledPolicy, record: RecordRef<'_>, threshold: u64) -> Action {
        let is_carried = || match record.threshold() {
            Some(AnyValueRef::Str(digits)) => digits == ThresholdText::new(threshold).as_bytes(),
            _ => false,
        };
        let annotates = threshold != 0 && !is_carried();
        if policy.transforms(&scratch.matches) {
            return self.rewritten(scratch, policy, record, annotates.then(|| ThresholdText::new(threshold)));
        }
        if !annotates {
            return Action::Keep;
        }
        Action::Annotate { append: scratch.annotation(threshold), without: record.span.threshold_field }
    }

    #[cold]
    fn rewritten(
        &self,
        scratch: &mut Scratch,
        policy: &CompiledPolicy,
        record: RecordRef<'_>,
        annotation: Option<ThresholdText>,
    ) -> Action {
        let edit = &mut scratch.edit;
        edit.begin_record(record.payload());
        policy.apply(&scratch.matches, edit);
        if let Some(text) = annotation {
            edit.set_record_attribute(b"sampling.threshold", Some(text.as_bytes()));
        }
        match edit.record() {
            Some(message) => Action::Replace(scratch.plan.stash(message)),
            None => Action::Keep,
        }
    }
}

impl Subject<'_> {
    fn key(&self, block: &Block<'_>) -> PatternKey {
        PatternKey { service: block.service, band: self.band, pattern: self.grouping.pattern }
    }

    /// What a trial counts it by.
    fn counted(&self, block: &Block<'_>) -> Counted {
        let is_anomalous = self.boost < RANDOMNESS_RANGE;
        Counted { service: block.service, bytes: self.record.span.field.len() as u64, band: self.band, is_anomalous }
    }
}

/// Template and example of a record's text.
fn texts(signer: &mut Signer, record: RecordRef<'_>) -> (Box<str>, Box<str>) {
    let template = cut(&signer.template(record), MAX_TEMPLATE_BYTES);
    let mut text = Vec::new();
    let example =
        String::from_utf8_lossy(crate::data_plane::signature::text::of_record(record, &mut text)).into_owned();
    (template, cut(&example, MAX_EXAMPLE_BYTES))
}

fn cut(text: &str, max_bytes: usize) -> Box<str> {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].into()
}
