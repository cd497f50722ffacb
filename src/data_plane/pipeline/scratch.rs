//! What a worker keeps from one request to the next.
//!
//! Purpose: the buffers of the hot path, and what it remembers: signatures, patterns, cells.
//! Promises: one request at a time; nothing is allocated once the buffers have grown; those of an unusually large request are given
//! back.
//! Never: decides.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::trial::TrialEntry;
use crate::data_plane::ledger::Entry;
use crate::data_plane::pattern::PatternCache;
use crate::data_plane::policy::{Candidates, Edit, Matches, trace_randomness};
use crate::data_plane::sampler::ThresholdText;
use crate::data_plane::sampler::summary::put_threshold;
use crate::data_plane::signature::{Signature, Signer};
use crate::data_plane::view::{LogIndex, Span, SplicePlan, ViewError};
use crate::data_plane::window::CellCache;

/// Records beyond which a scratch gives its buffers back to the allocator (about 8 MiB of index).
const MAX_IDLE_RECORDS: usize = 1 << 16;

/// Buffers of one request at a time, reused.
pub(super) struct Scratch {
    pub(super) index: LogIndex,
    pub(super) entry: Entry,
    pub(super) signer: Signer,
    pub(super) signatures: Vec<Signature>,
    pub(super) patterns: PatternCache,
    /// What the trace ids say for the decision. Read in the first pass: in the second, the record's bytes have left the
    /// cache when the request is large.
    pub(super) traces: Vec<Option<u64>>,
    pub(super) plan: SplicePlan,
    /// The threshold that was written last, and where in the plan's buffer its attribute is.
    annotation: Option<(u64, Span)>,
    pub(super) candidates: Candidates,
    pub(super) matches: Matches,
    pub(super) edit: Edit,
    pub(super) cells: CellCache,
    pub(super) rng: SmallRng,
    /// What the policy on trial needs, while there is one.
    pub(super) trial: TrialScratch,
}

/// Buffers for a policy on trial.
#[derive(Default)]
pub(super) struct TrialScratch {
    pub(super) candidates: Candidates,
    pub(super) matches: Matches,
    pub(super) entry: TrialEntry,
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
            annotation: None,
            candidates: Candidates::default(),
            matches: Matches::default(),
            edit: Edit::default(),
            cells: CellCache::default(),
            rng: SmallRng::from_os_rng(),
            trial: TrialScratch::default(),
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
        self.trial.entry.clear();
        self.plan.clear();
        self.annotation = None;
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

    /// Where in the plan's buffer the attribute with a threshold is. Records in a row nearly always share one.
    #[inline]
    pub(super) fn annotation(&mut self, threshold: u64) -> Span {
        match self.annotation {
            Some((written, at)) if written == threshold => at,
            _ => {
                let start = self.plan.scratch.len();
                put_threshold(&mut self.plan.scratch, ThresholdText::new(threshold).as_bytes());
                let at = Span::new(start, self.plan.scratch.len());
                self.annotation = Some((threshold, at));
                at
            }
        }
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
