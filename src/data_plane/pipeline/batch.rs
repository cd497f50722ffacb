//! One request: index it, then decide record by record, then splice.
//!
//! Purpose: the hot path. The first pass reads every byte once (index and signature); the second works on the index.
//! Promises: no allocation per record once the buffers have grown; no lock held across records; nothing acts before the
//! whole request is known to be valid.
//! Never: decodes with prost. Its speed is measured in `benches/hot_path.rs`.

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::{Pipeline, Wiring};
use crate::clock::UnixNanos;
use crate::data_plane::exporter::Outgoing;
use crate::data_plane::ledger::Entry;
use crate::data_plane::policy::{Candidates, CompiledPolicy, Matches};
use crate::data_plane::receiver::Received;
use crate::data_plane::sampler::summary::put_threshold;
use crate::data_plane::sampler::{Decision, Facts, Incoming, PolicyVerdict, ThresholdText, decide as decide_record};
use crate::data_plane::signature::{Signature, Signer};
use crate::data_plane::view::{Action, AnyValueRef, LogIndex, RecordRef, SplicePlan, ViewError};
use crate::data_plane::window::{Band, Cause, CellCache, PatternKey};

/// Longest template kept with a pattern, in bytes.
const MAX_TEMPLATE_BYTES: usize = 512;
/// Longest example kept with a pattern, in bytes.
const MAX_EXAMPLE_BYTES: usize = 256;
/// Records beyond which a scratch gives its buffers back to the allocator (about 8 MiB of index).
const MAX_IDLE_RECORDS: usize = 1 << 16;

/// Buffers of one request at a time, reused.
pub(super) struct Scratch {
    pub(super) index: LogIndex,
    pub(super) entry: Entry,
    signer: Signer,
    signatures: Vec<Signature>,
    plan: SplicePlan,
    matches: Matches,
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
            plan: SplicePlan::default(),
            matches: Matches::default(),
            cells: CellCache::default(),
            rng: SmallRng::from_os_rng(),
        }
    }
}

impl Scratch {
    /// Indexes a request and signs its records.
    pub(super) fn read(&mut self, body: &[u8]) -> Result<(), ViewError> {
        self.entry.clear();
        self.plan.clear();
        self.signatures.clear();
        let (signer, signatures) = (&mut self.signer, &mut self.signatures);
        self.index.parse(body, |record| signatures.push(signer.sign(record)))
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
        }
    }
}

/// What stays the same over a batch.
struct Context<'a> {
    pipeline: &'a Pipeline,
    wiring: &'a Wiring,
    policy: &'a CompiledPolicy,
    body: &'a [u8],
    now: UnixNanos,
    window: u64,
}

/// Decides on every record of the request in `scratch` and writes what is kept; `None` when nothing is.
pub(super) fn decide(
    pipeline: &Pipeline,
    wiring: &Wiring,
    policy: &CompiledPolicy,
    scratch: &mut Scratch,
    request: &Received,
) -> Option<Outgoing> {
    let now = pipeline.clock.now();
    let window = pipeline.table.window_at(now);
    let context = Context { pipeline, wiring, policy, body: &request.body, now, window };
    let index = std::mem::take(&mut scratch.index);
    let mut candidates = Candidates::default();
    let mut service = (u32::MAX, 0);
    for scope in &index.scopes {
        let Some(first) = index.records.get(scope.records.0 as usize).filter(|_| scope.records.0 < scope.records.1) else {
            continue;
        };
        let resource = index.resource_of(&request.body, first);
        if service.0 != scope.resource_index {
            let name = resource.attributes().get(b"service.name");
            let name = if let Some(AnyValueRef::Str(name)) = name { name } else { b"" };
            service = (scope.resource_index, pipeline.table.service(name, request.token.as_ref()));
        }
        policy.block(resource, index.scope_of(&request.body, first), now, &mut candidates);
        for i in scope.records.0..scope.records.1 {
            context.record(scratch, &index, &candidates, service.1, i as usize);
        }
    }
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
        request.body.clone()
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

impl Context<'_> {
    /// Decides on record `i` and notes what becomes of it in the plan and the books.
    fn record(&self, scratch: &mut Scratch, index: &LogIndex, candidates: &Candidates, service: u32, i: usize) {
        let record = index.record(self.body, i);
        let signature = scratch.signatures[i];
        let matches = &mut scratch.matches;
        self.policy.matches(candidates, record, signature, matches);
        let band = Band::of(record.span.severity_number, record.severity_text());
        let facts = Facts {
            incoming: Incoming::of(record, || scratch.rng.next_u64()),
            is_summary: record.span.is_summary,
            protected_by: matches.protected,
            severity_protected: self.wiring.protect_from.is_some_and(|from| band >= from),
            ordered_drop: self.policy.ordered_drop(matches),
            sight: Default::default(),
        };
        let bytes = record.span.field.len() as u64;
        let key = PatternKey { service, band, signature };
        let decision = self.decide_in_cell(scratch, record, key, bytes, facts);
        self.policy.count(&scratch.matches, decision.keep, decision.policy);
        scratch.entry.add(decision.keep, decision.reason, decision.policy, bytes);
        let action = self.action(scratch, index, record, &decision);
        scratch.plan.actions.push(action);
    }

    /// Runs the decision under the lock of the record's pattern.
    fn decide_in_cell(
        &self,
        scratch: &mut Scratch,
        record: RecordRef<'_>,
        key: PatternKey,
        bytes: u64,
        facts: Facts,
    ) -> Decision {
        let Scratch { cells, signer, matches, .. } = scratch;
        loop {
            let find = || self.pipeline.table.cell(key, || texts(signer, record));
            let cell = cells.get(key, find);
            let decided = cell.record(self.window, self.now, bytes, |sight| {
                let facts = Facts { sight, ..facts };
                let ask = || self.ask(matches, record, facts.incoming);
                let decision = decide_record(&facts, &self.wiring.settings, ask);
                let cause = (!decision.keep).then(|| Cause {
                    policy: decision.policy.map(|index| self.policy.policy(index).id.clone()),
                    reason: decision.reason.as_str(),
                });
                (decision.keep, cause, decision)
            });
            match decided {
                Some(decision) => return decision,
                None => cells.forget(key),
            }
        }
    }

    fn ask(&self, matches: &Matches, record: RecordRef<'_>, incoming: Incoming) -> PolicyVerdict {
        self.policy.resolve(matches, record, incoming.randomness, self.now)
    }

    /// What the splice does with a record.
    fn action(&self, scratch: &mut Scratch, index: &LogIndex, record: RecordRef<'_>, decision: &Decision) -> Action {
        if !decision.keep {
            return Action::Drop;
        }
        let _ = index;
        self.annotate(scratch, record, decision)
    }

    fn annotate(&self, scratch: &mut Scratch, record: RecordRef<'_>, decision: &Decision) -> Action {
        let carried = record.span.threshold_field;
        if decision.threshold == 0 {
            return Action::Keep;
        }
        let text = ThresholdText::new(decision.threshold);
        if let Some(AnyValueRef::Str(digits)) = record.threshold()
            && digits == text.as_bytes()
        {
            return Action::Keep;
        }
        let start = scratch.plan.scratch.len() as u32;
        put_threshold(&mut scratch.plan.scratch, text.as_bytes());
        let append = crate::data_plane::view::Span { start, end: scratch.plan.scratch.len() as u32 };
        Action::Annotate { append, without: carried }
    }
}

/// Template and example of a pattern seen for the first time.
#[cold]
fn texts(signer: &mut Signer, record: RecordRef<'_>) -> (Box<str>, Box<str>) {
    let template = cut(&signer.template(record), MAX_TEMPLATE_BYTES);
    let mut text = Vec::new();
    let example = String::from_utf8_lossy(crate::data_plane::signature::text::of_record(record, &mut text)).into_owned();
    (template, cut(&example, MAX_EXAMPLE_BYTES))
}

fn cut(text: &str, max_bytes: usize) -> Box<str> {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].into()
}
