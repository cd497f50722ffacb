//! A few single decisions, for people who watch.
//!
//! Purpose: whoever watches asks for so many; batches that come then leave one decision each, of a random record.
//! Promises: while nobody asks a batch pays one load of a counter; what is noted is bounded by what was asked for; who
//! asks never makes a batch wait longer than it takes to push one value.
//! Never: stands in for the books: it is a sample, and says nothing of how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::clock::UnixNanos;
use crate::data_plane::pattern::PatternId;
use crate::data_plane::policy::CompiledPolicy;
use crate::data_plane::sampler::Decision;
use crate::data_plane::signature::Signature;
use crate::data_plane::window::{Band, PatternKey, Service};

/// Decisions asked for at once, at most.
const MAX_WANTED: usize = 1000;

/// One record's decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Tapped {
    /// When.
    pub at: UnixNanos,
    /// Whose record.
    pub service: Arc<Service>,
    /// Its severity band.
    pub band: Band,
    /// Signature of its text.
    pub signature: Signature,
    /// Its pattern.
    pub pattern: PatternId,
    /// The policy that decided.
    pub policy: Option<Arc<str>>,
    /// Whether it was kept.
    pub keep: bool,
    /// Why.
    pub reason: &'static str,
}

impl Tapped {
    #[cold]
    pub(super) fn new(
        at: UnixNanos,
        service: Arc<Service>,
        (key, signature): (PatternKey, Signature),
        policy: &CompiledPolicy,
        decision: &Decision,
    ) -> Self {
        let (keep, reason) = (decision.keep, decision.reason.as_str());
        let by = decision.policy.map(|index| Arc::clone(&policy.policy(index).id));
        Tapped { at, service, band: key.band, signature, pattern: key.pattern, policy: by, keep, reason }
    }
}

/// Where they wait to be fetched.
#[derive(Debug, Default)]
pub struct Tap {
    wanted: AtomicUsize,
    noted: Mutex<Vec<Tapped>>,
}

impl Tap {
    /// What was noted since the last call; asks for up to `wanted` more.
    pub fn take(&self, wanted: usize) -> Vec<Tapped> {
        let noted = std::mem::take(&mut *self.noted.lock());
        self.wanted.store(wanted.min(MAX_WANTED), Ordering::Relaxed);
        noted
    }

    /// The record of a batch that is wanted, if any is: `random` picks it.
    pub(super) fn pick(&self, records: usize, random: impl FnOnce() -> u64) -> Option<usize> {
        let is_wanted = records > 0 && self.wanted.load(Ordering::Relaxed) > 0;
        is_wanted.then(|| (random() % records as u64) as usize)
    }

    /// Notes a decision, if it is still wanted.
    pub(super) fn note(&self, decision: impl FnOnce() -> Option<Tapped>) {
        let mut noted = self.noted.lock();
        let left = self.wanted.load(Ordering::Relaxed);
        if left > 0
            && let Some(decision) = decision()
        {
            self.wanted.store(left - 1, Ordering::Relaxed);
            noted.push(decision);
        }
    }
}
