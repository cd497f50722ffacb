//! One request: index it, then decide record by record, then splice.
//!
//! Purpose: the hot path. The first pass reads every byte once (index and signature); the second works on the index.
//! Promises: no allocation per record once the buffers have grown; no lock held across records; nothing acts before the
//! whole request is known to be valid.
//! Never: decodes with prost. Its speed is measured in `benches/hot_path.rs`.

use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::tap::Tapped;
use super::{Pipeline, Wiring};
use crate::clock::UnixNanos;
use crate::data_plane::exporter::Outgoing;
use crate::data_plane::ledger::Entry;
use crate::data_plane::pattern::{Grouping, PatternCache, PatternId};
use crate::data_plane::policy::{Candidates, CompiledPolicy, Edit, Matches, Resolution, trace_randomness};
use crate::data_plane::receiver::Received;
use crate::data_plane::sampler::summary::put_threshold;
use crate::data_plane::sampler::{Boosts, Decision, Facts, Incoming, ThresholdText, decide as decide_record};
use crate::data_plane::signature::{Signature, Signer};
use crate::data_plane::view::wire::put_len_field;
use crate::data_plane::view::{
    Action, AnyValueRef, LogIndex, RecordRef, ResourceRef, ResourceSpan, ScopeRef, Span, SplicePlan, ViewError,
};
use crate::data_plane::window::{Band, Cause, CellCache, PatternKey, Sight};

/// Longest template kept with a pattern, in bytes.
const MAX_TEMPLATE_BYTES: usize = 512;
/// Longest example kept with a pattern, in bytes.
const MAX_EXAMPLE_BYTES: usize = 256;
/// Records beyond which a scratch gives its buffers back to the allocator (about 8 MiB of index).
const MAX_IDLE_RECORDS: usize = 1 << 16;

/// A request forwarded whole is copied up to this size: it may be a small part of its connection's read buffer, and the
/// queue, which counts its own bytes only, would hold all of that for as long as the destination is away.
const COPIED_BYTES: usize = 64 << 10;

/// Buffers of one request at a time, reused.
pub(super) struct Scratch {
    pub(super) index: LogIndex,
    pub(super) entry: Entry,
    signer: Signer,
    signatures: Vec<Signature>,
    patterns: PatternCache,
    /// What the trace ids say for the decision. Read in the first pass: in the second, the record's bytes have left the
    /// cache when the request is large.
    traces: Vec<Option<u64>>,
    plan: SplicePlan,
    candidates: Candidates,
    matches: Matches,
    edit: Edit,
    cells: CellCache,
    rng: SmallRng,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch {
            index: LogIndex::default(),
            entry: Entry::default(),
            signer: Signer::default(),
            signatures: Vec::new(),
            patterns: PatternCache::default(),
            traces: Vec::new(),
            plan: SplicePlan::default(),
            candidates: Candidates::default(),
            matches: Matches::default(),
            edit: Edit::default(),
            cells: CellCache::default(),
            rng: SmallRng::from_os_rng(),
        }
    }
}

impl Scratch {
    /// With randomness from `seed`.
    pub(super) fn seeded(seed: u64) -> Self {
        Scratch { rng: SmallRng::seed_from_u64(seed), ..Scratch::default() }
    }

    /// Indexes a request and signs its records.
    pub(super) fn read(&mut self, body: &[u8]) -> Result<(), ViewError> {
        self.entry.clear();
        self.plan.clear();
        self.signatures.clear();
        self.traces.clear();
        let Scratch { signer, signatures, traces, .. } = self;
        self.index.parse(body, |record| {
            signatures.push(signer.sign(record));
            traces.push(trace_randomness(record.trace_id()));
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.index.records.is_empty()
    }

    /// Gives the buffers of an unusually large request back.
    pub(super) fn shrink(&mut self) {
        if self.index.records.capacity() > MAX_IDLE_RECORDS {
            self.index = LogIndex::default();
            self.plan = SplicePlan::default();
            self.signatures = Vec::new();
            self.traces = Vec::new();
        }
    }
}

/// What stays the same over a batch.
struct Batch<'a> {
    pipeline: &'a Pipeline,
    wiring: &'a Wiring,
    policy: &'a CompiledPolicy,
    boosts: &'a Boosts,
    body: &'a [u8],
    index: &'a LogIndex,
    now: UnixNanos,
    window: u64,
    /// The record whose decision somebody wants to see.
    tapped: Option<usize>,
}

/// What stays the same over a scope block.
struct Block<'a> {
    resource: ResourceRef<'a>,
    scope: ScopeRef<'a>,
    service: u32,
}

/// Decides on every record of the request in `scratch` and writes what is kept; `None` when nothing is.
pub(super) fn decide(
    pipeline: &Pipeline,
    wiring: &Wiring,
    (policy, boosts): (&CompiledPolicy, &Boosts),
    scratch: &mut Scratch,
    request: &Received,
) -> Option<Outgoing> {
    let now = pipeline.clock.now();
    let window = pipeline.table.window_at(now);
    let index = std::mem::take(&mut scratch.index);
    let tapped = pipeline.tap.pick(index.records.len(), || scratch.rng.next_u64());
    let batch = Batch { pipeline, wiring, policy, boosts, body: &request.body, index: &index, now, window, tapped };
    scratch.patterns.begin(policy.catalogue());
    for (i, span) in index.resources.iter().enumerate() {
        batch.resource(scratch, i as u32, span, request.token.as_ref());
    }
    pipeline.sightings.count_evicted(scratch.patterns.take_evicted());
    let outgoing = write(scratch, &index, request);
    scratch.index = index;
    outgoing
}

fn write(scratch: &mut Scratch, index: &LogIndex, request: &Received) -> Option<Outgoing> {
    let records = scratch.plan.actions.iter().filter(|action| **action != Action::Drop).count() as u64;
    if records == 0 {
        return None;
    }
    let body = if scratch.plan.is_identity() {
        match request.body.len() {
            ..=COPIED_BYTES => Bytes::copy_from_slice(&request.body),
            _ => request.body.clone(),
        }
    } else {
        let dropped: usize = std::iter::zip(&scratch.plan.actions, &index.records)
            .filter(|(action, _)| **action == Action::Drop)
            .map(|(_, record)| record.field.len())
            .sum();
        let mut out = Vec::with_capacity(request.body.len() - dropped + scratch.plan.scratch.len() + 64);
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
        let rewrites = self.policy.has_transforms();
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
        let (pattern, unseen) = match scratch.patterns.get(signature) {
            Some(pattern) => (pattern, None),
            None => self.resolve(scratch, record, signature),
        };
        let grouping = Grouping { signature, pattern };
        let matches = &mut scratch.matches;
        self.policy.matches(&scratch.candidates, record, block.resource, block.scope, grouping, matches);
        // What a policy rewrites must not be learned: a published template would show it.
        if let Some(template) = unseen.filter(|_| !self.policy.transforms(matches)) {
            self.pipeline.sightings.note(signature, &template);
        }
        let band = Band::of(record.span.severity_number, record.severity_text());
        let facts = Facts {
            incoming: Incoming::of(record, scratch.traces[i], || scratch.rng.next_u64()),
            is_summary: record.span.is_summary,
            protected_by: matches.protected,
            severity_protected: self.wiring.protect_from.is_some_and(|from| band >= from),
            ordered_drop: self.policy.ordered_drop(matches),
            boost: self.boosts.threshold(block.service, pattern),
            sight: Sight::default(),
        };
        let bytes = record.span.field.len() as u64;
        let key = PatternKey { service: block.service, band, pattern };
        let (decision, resolution) = self.decide_in_cell(scratch, record, block, (key, signature), facts);
        if !scratch.matches.is_empty() {
            self.policy.count(&scratch.matches, &resolution, decision.keep);
        }
        if self.tapped == Some(i) {
            self.tap(key, signature, &decision);
        }
        scratch.entry.add(decision.keep, decision.reason, decision.policy, bytes);
        let action = if decision.keep { self.kept(scratch, record, decision.threshold) } else { Action::Drop };
        scratch.plan.actions.push(action);
    }

    /// Leaves a decision for those who watch.
    #[cold]
    fn tap(&self, key: PatternKey, signature: Signature, decision: &Decision) {
        self.pipeline.tap.note(|| {
            Some(Tapped {
                at: self.now,
                service: self.pipeline.table.service_at(key.service)?,
                band: key.band,
                signature,
                pattern: key.pattern,
                policy: decision.policy.map(|index| Arc::clone(&self.policy.policy(index).id)),
                keep: decision.keep,
                reason: decision.reason.as_str(),
            })
        });
    }

    /// Looks the pattern of a signature up; once a signature and catalogue, while the cache has room. Returns its template
    /// too, if that is to be learned from.
    #[cold]
    fn resolve(
        &self,
        scratch: &mut Scratch,
        record: RecordRef<'_>,
        signature: Signature,
    ) -> (PatternId, Option<String>) {
        let is_learning = self.pipeline.sightings.is_on();
        let catalogue = self.policy.catalogue();
        if catalogue.is_empty() && !is_learning {
            return (signature.into(), None);
        }
        let template = scratch.signer.template(record);
        let pattern = catalogue.resolve(signature, &template);
        scratch.patterns.put(signature, pattern);
        (pattern, is_learning.then_some(template))
    }

    /// Runs the decision under the lock of the record's pattern.
    fn decide_in_cell(
        &self,
        scratch: &mut Scratch,
        record: RecordRef<'_>,
        block: &Block<'_>,
        (key, signature): (PatternKey, Signature),
        facts: Facts,
    ) -> (Decision, Resolution) {
        let Scratch { cells, signer, matches, .. } = scratch;
        let bytes = record.span.field.len() as u64;
        loop {
            let texts = || self.texts(signer, record, block, matches);
            let cell = cells.get(key, || self.pipeline.table.cell(key, signature, texts));
            let decided = cell.record(self.window, self.now, bytes, |sight| {
                let mut resolution = Resolution::UNMATCHED;
                let ask = || {
                    let randomness = facts.incoming.randomness;
                    resolution =
                        self.policy.resolve(matches, record, block.resource, block.scope, randomness, self.now);
                    resolution
                };
                let decision = decide_record(&Facts { sight, ..facts }, &self.wiring.settings, ask);
                let cause = (!decision.keep).then(|| Cause {
                    policy: decision.policy.map(|index| Arc::clone(&self.policy.policy(index).id)),
                    reason: decision.reason.as_str(),
                });
                (decision.keep, cause, (decision, resolution))
            });
            match decided {
                Some(decided) => return decided,
                None => cells.forget(key),
            }
        }
    }

    /// Template and example of a pattern seen for the first time. They are shown and sent in summaries, so they are
    /// taken from the record as policies rewrite it: what a policy redacts must not leave by this door.
    #[cold]
    fn texts(
        &self,
        signer: &mut Signer,
        record: RecordRef<'_>,
        block: &Block<'_>,
        matches: &Matches,
    ) -> (Box<str>, Box<str>) {
        if !self.policy.transforms(matches) {
            let (template, example) = texts(signer, record);
            let pattern = self.policy.catalogue().find(&signer.template(record));
            return (pattern.map_or(template, |pattern| cut(&pattern.template, MAX_TEMPLATE_BYTES)), example);
        }
        // An edit of its own: the record may yet be dropped, and must then leave no trace in its block.
        let mut edit = Edit::default();
        edit.begin_resource(block.resource.message());
        edit.begin_scope(block.scope.message());
        edit.begin_record(record.payload());
        self.policy.apply(matches, &mut edit);
        let message = edit.record().unwrap_or(record.payload());
        let (mut scope_logs, mut resource_logs, mut request) = (Vec::new(), Vec::new(), Vec::new());
        put_len_field(&mut scope_logs, 2, message);
        put_len_field(&mut resource_logs, 2, &scope_logs);
        put_len_field(&mut request, 1, &resource_logs);
        let mut index = LogIndex::default();
        match index.read(&request) {
            Ok(()) if !index.records.is_empty() => texts(signer, index.record(&request, 0)),
            _ => ("(rewritten by a policy)".into(), "".into()),
        }
    }

    /// What the splice does with a record that stays: rewritten by policies, annotated with its threshold, or copied.
    fn kept(&self, scratch: &mut Scratch, record: RecordRef<'_>, threshold: u64) -> Action {
        let annotation = (threshold != 0).then(|| ThresholdText::new(threshold)).filter(|text| {
            let carried = record.threshold();
            !matches!(carried, Some(AnyValueRef::Str(digits)) if digits == text.as_bytes())
        });
        if self.policy.transforms(&scratch.matches) {
            return self.rewritten(scratch, record, annotation);
        }
        let Some(text) = annotation else { return Action::Keep };
        let start = scratch.plan.scratch.len();
        put_threshold(&mut scratch.plan.scratch, text.as_bytes());
        let append = Span::new(start, scratch.plan.scratch.len());
        Action::Annotate { append, without: record.span.threshold_field }
    }

    #[cold]
    fn rewritten(&self, scratch: &mut Scratch, record: RecordRef<'_>, annotation: Option<ThresholdText>) -> Action {
        let edit = &mut scratch.edit;
        edit.begin_record(record.payload());
        self.policy.apply(&scratch.matches, edit);
        if let Some(text) = annotation {
            edit.set_record_attribute(b"sampling.threshold", Some(text.as_bytes()));
        }
        match edit.record() {
            Some(message) => Action::Replace(scratch.plan.stash(message)),
            None => Action::Keep,
        }
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
