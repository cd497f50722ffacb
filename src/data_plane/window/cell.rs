//! The counts of one pattern.
//!
//! Purpose: tell the sampler what it must know before a decision (is the pattern new, has this window a record yet),
//! then take the decision into the counts.
//! Promises: `records = kept + dropped` and the same for bytes; what was dropped waits in `suppressed`, exact, until a
//! summary takes it; windows roll over by time alone.
//! Never: decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::band::Band;
use super::table::Service;
use crate::clock::UnixNanos;
use crate::data_plane::pattern::{Grouping, PatternId};
use crate::data_plane::signature::Signature;

/// Records and bytes (as received, field tag and length included), by decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records seen.
    pub records: u64,
    /// Bytes seen.
    pub bytes: u64,
    /// Records kept.
    pub kept: u64,
    /// Bytes kept.
    pub kept_bytes: u64,
}

impl Counts {
    /// Records dropped.
    pub fn dropped(&self) -> u64 {
        self.records - self.kept
    }
    /// Bytes dropped.
    pub fn dropped_bytes(&self) -> u64 {
        self.bytes - self.kept_bytes
    }
    fn add(&mut self, bytes: u64, keep: bool) {
        self.records += 1;
        self.bytes += bytes;
        if keep {
            self.kept += 1;
            self.kept_bytes += bytes;
        }
    }
}

/// Why records were dropped: the policy, if one decided, and the sampler's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Id of the deciding policy.
    pub policy: Option<Arc<str>>,
    /// Name of the reason.
    pub reason: &'static str,
}

/// A [`Cause`] as a decision names it, a record at a time: with the policy's own id.
#[derive(Clone, Copy, Debug)]
pub struct CauseRef<'a> {
    /// Id of the deciding policy.
    pub policy: Option<&'a Arc<str>>,
    /// Name of the reason.
    pub reason: &'static str,
}

impl CauseRef<'_> {
    /// Whether it is this one. Equal texts are nearly always the same text.
    #[inline]
    fn is(self, cause: &Cause) -> bool {
        let is_policy = match (self.policy, &cause.policy) {
            (Some(policy), Some(of)) => Arc::ptr_eq(policy, of) || policy == of,
            (None, None) => true,
            _ => false,
        };
        is_policy && (std::ptr::eq(self.reason, cause.reason) || self.reason == cause.reason)
    }

    fn to_owned(self) -> Cause {
        Cause { policy: self.policy.cloned(), reason: self.reason }
    }
}

/// Dropped records of one pattern and one cause that no summary has reported yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppressed {
    /// Why.
    pub cause: Cause,
    /// How many.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Arrival of the first.
    pub first: UnixNanos,
    /// Arrival of the last.
    pub last: UnixNanos,
}

/// What the sampler may know of a pattern before it decides on a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Records of the pattern decided on before this one, in all.
    pub seen: u64,
    /// Records of the pattern kept in this window before this one.
    pub kept_in_window: u64,
    /// Whether the pattern was known before its first record came here.
    pub is_known: bool,
}

/// The counts as they stand.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Index of the running window (time divided by the interval).
    pub window: u64,
    /// The running window.
    pub current: Counts,
    /// The window before it.
    pub last: Counts,
    /// Since the pattern was first seen.
    pub total: Counts,
    /// Records of the running window that a policy on trial would have kept.
    pub would_keep: u64,
    /// Arrival of the first record.
    pub first_seen: UnixNanos,
    /// Arrival of the last record.
    pub last_seen: UnixNanos,
    /// Dropped and not yet reported.
    pub suppressed: SmallVec<[Suppressed; 1]>,
    /// Set when the cell has left the table: whoever holds it must look the pattern up again.
    pub evicted: bool,
}

impl State {
    fn roll(&mut self, window: u64) {
        if window == self.window {
            return;
        }
        // A clock that steps back keeps counting into the running window.
        if window > self.window {
            self.last = if window == self.window + 1 { self.current } else { Counts::default() };
            self.current = Counts::default();
            self.would_keep = 0;
            self.window = window;
        }
    }

    #[inline]
    fn suppress(&mut self, cause: CauseRef<'_>, bytes: u64, now: UnixNanos) {
        if let Some(found) = self.suppressed.iter_mut().find(|entry| cause.is(&entry.cause)) {
            found.records += 1;
            found.bytes += bytes;
            found.last = found.last.max(now);
            return;
        }
        self.suppressed.push(Suppressed { cause: cause.to_owned(), records: 1, bytes, first: now, last: now });
    }
}

/// One pattern: what never changes, and its counts.
#[derive(Debug)]
pub struct Cell {
    /// Whose records.
    pub service: Arc<Service>,
    /// Their severity band.
    pub band: Band,
    /// Their pattern; `None` for the overflow entry.
    pub pattern: Option<PatternId>,
    /// The signature of the first record; a learned pattern has several. `None` for the overflow entry.
    pub signature: Option<Signature>,
    /// The pattern's template, cut to a bound.
    pub template: Box<str>,
    /// One body, cut to a bound.
    pub example: Box<str>,
    /// Whether the pattern was known before its first record came here.
    is_known: bool,
    state: Mutex<State>,
    /// After how many records one is offered to the reservoir.
    due: AtomicU64,
}

impl Cell {
    /// A pattern first seen at `now`.
    pub fn new(service: Arc<Service>, band: Band, grouping: Option<Grouping>, texts: (Box<str>, Box<str>)) -> Self {
        let pattern = grouping.map(|grouping| grouping.pattern);
        let signature = grouping.map(|grouping| grouping.signature);
        Cell {
            service,
            band,
            pattern,
            signature,
            template: texts.0,
            example: texts.1,
            is_known: false,
            state: Mutex::default(),
            due: AtomicU64::new(0),
        }
    }

    /// A pattern that is no news.
    pub fn known(self, is_known: bool) -> Self {
        Cell { is_known, ..self }
    }

    /// Whether the record after `seen` others is offered to the reservoir. Says so once, then waits for
    /// [`Cell::offer_after`]: without a reservoir this costs a comparison a record.
    #[inline]
    pub fn offer(&self, seen: u64) -> bool {
        self.due.load(Ordering::Relaxed) <= seen && self.due.swap(u64::MAX, Ordering::Relaxed) != u64::MAX
    }

    /// Offers a record again after `seen` records.
    pub fn offer_after(&self, seen: u64) {
        self.due.store(seen, Ordering::Relaxed);
    }

    /// Asks `decide` about one record of `bytes` bytes and counts the answer. `window` is the index of the running
    /// window. Returns `None`, having asked nothing, when the cell was evicted.
    ///
    /// `decide` runs under the cell's lock (one record long), so two threads never take the same record for the first.
    #[inline]
    pub fn record<'a, D>(
        &self,
        window: u64,
        now: UnixNanos,
        bytes: u64,
        decide: impl FnOnce(Sight) -> (bool, Option<CauseRef<'a>>, D),
    ) -> Option<D> {
        let mut state = self.state.lock();
        if state.evicted {
            return None;
        }
        state.roll(window);
        let (seen, kept_in_window) = (state.total.records, state.current.kept);
        let sight = Sight { seen, kept_in_window, is_known: self.is_known };
        let (keep, cause, decision) = decide(sight);
        if state.total.records == 0 {
            state.first_seen = now;
        }
        state.last_seen = state.last_seen.max(now);
        state.current.add(bytes, keep);
        state.total.add(bytes, keep);
        if let Some(cause) = cause.filter(|_| !keep) {
            state.suppress(cause, bytes, now);
        }
        Some(decision)
    }

    /// Asks what a policy on trial would do with a record that is not counted yet, by what it would have kept so far, and
    /// remembers the answer for its next question. Returns `None`, having asked nothing, when the cell was evicted.
    pub fn would_keep(&self, window: u64, decide: impl FnOnce(Sight) -> bool) -> Option<()> {
        let mut state = self.state.lock();
        if state.evicted {
            return None;
        }
        state.roll(window);
        let (seen, kept_in_window) = (state.total.records, state.would_keep);
        let sight = Sight { seen, kept_in_window, is_known: self.is_known };
        state.would_keep += u64::from(decide(sight));
        Some(())
    }

    /// A copy of the counts, rolled to `window`.
    pub fn read(&self, window: u64) -> State {
        let mut state = self.state.lock();
        state.roll(window);
        state.clone()
    }

    /// Whether something waits for a summary.
    pub fn has_suppressed(&self) -> bool {
        !self.state.lock().suppressed.is_empty()
    }

    /// Takes what no summary has reported yet.
    pub fn take_suppressed(&self) -> SmallVec<[Suppressed; 1]> {
        std::mem::take(&mut self.state.lock().suppressed)
    }

    /// Puts back what could not be reported, so that a later summary does.
    pub fn restore_suppressed(&self, entries: impl IntoIterator<Item = Suppressed>) {
        let mut state = self.state.lock();
        for entry in entries {
            match state.suppressed.iter_mut().find(|known| known.cause == entry.cause) {
                Some(known) => {
                    known.records += entry.records;
                    known.bytes += entry.bytes;
                    known.first = known.first.min(entry.first);
                    known.last = known.last.max(entry.last);
                }
                None => state.suppressed.push(entry),
            }
        }
    }

    /// Marks the cell evicted if nothing waits to be reported and no record came since `since`.
    pub(super) fn retire(&self, since: UnixNanos) -> bool {
        let mut state = self.state.lock();
        state.evicted = state.suppressed.is_empty() && state.last_seen < since;
        state.evicted
    }
}
