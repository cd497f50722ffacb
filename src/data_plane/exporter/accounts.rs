//! The books of one exporter: every record it took, and what became of it.
//!
//! Purpose: one lock around the numbers that must agree, and a [`Claim`] that travels with the records it stands for.
//! Promises: accepted = sent + failed + waiting, checked at every change: a panic in debug builds, counted in release. A
//! claim that is dropped unsettled counts its records as failed, so nothing leaves the books unseen.
//! Never: waits, allocates while locked, or knows destinations.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Charged to the queue for each request on top of its body, so that a flood of tiny requests or of new tokens is
/// bounded too.
pub const REQUEST_OVERHEAD_BYTES: usize = 256;

/// However small a body the destination calls too large, batches are not made smaller than this on its account.
const SMALLEST_BODY_LIMIT_BYTES: usize = 64 << 10;

/// Bodies near the learned limit that raise it, at first and at most.
const FIRST_PATIENCE: u32 = 16;
const LONGEST_PATIENCE: u32 = 4096;

/// Why records were given up. One enum for metrics, logs and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailReason {
    /// The destination does not take the token (401, 403), or there is none to send.
    Unauthorized,
    /// The destination's quota is used up (402).
    Quota,
    /// The destination refuses these records for good (400 down to the single record, other 4xx, redirects).
    Rejected,
    /// A single record larger than the destination takes (413).
    TooLarge,
    /// The destination kept answering 500 to these very records.
    Destination500,
    /// The destination took the request but said that it rejected some of its records.
    PartialRejection,
    /// Transient failures until `retry_on_failure.max_elapsed_time` was over (or retries are switched off).
    GaveUp,
    /// Still waiting when the gateway had to stop.
    Shutdown,
    /// A defect of the exporter.
    Internal,
}

impl FailReason {
    /// Every reason, in the order of [`Failed`].
    pub const ALL: [FailReason; 9] = [
        FailReason::Unauthorized,
        FailReason::Quota,
        FailReason::Rejected,
        FailReason::TooLarge,
        FailReason::Destination500,
        FailReason::PartialRejection,
        FailReason::GaveUp,
        FailReason::Shutdown,
        FailReason::Internal,
    ];

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            FailReason::Unauthorized => "unauthorized",
            FailReason::Quota => "quota",
            FailReason::Rejected => "rejected",
            FailReason::TooLarge => "too_large",
            FailReason::Destination500 => "destination_500",
            FailReason::PartialRejection => "partial_rejection",
            FailReason::GaveUp => "gave_up",
            FailReason::Shutdown => "shutdown",
            FailReason::Internal => "internal",
        }
    }
}

/// Failed records by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failed([u64; FailReason::ALL.len()]);

impl Failed {
    /// Records that failed for `reason`.
    pub fn count(&self, reason: FailReason) -> u64 {
        self.0[reason as usize]
    }
    /// Records that failed.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
    fn add(&mut self, reason: FailReason, records: u64) {
        self.0[reason as usize] += records;
    }
}

/// The numbers of one exporter at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExporterStats {
    /// Records taken.
    pub accepted: u64,
    /// Records the destination acknowledged.
    pub sent: u64,
    /// Records given up, by reason.
    pub failed: Failed,
    /// Records queued, in flight or waiting for a retry.
    pub waiting: u64,
    /// Bytes charged to the queue, those in flight and in retry included.
    pub queue_bytes: usize,
    /// Bound of `queue_bytes`.
    pub queue_capacity_bytes: usize,
    /// Reservations refused because the queue was full.
    pub refused_reservations: u64,
    /// Records that callers reported as turned away by a full queue.
    pub enqueue_failed: u64,
    /// Bytes of acknowledged bodies before compression: what PostHog bills.
    pub sent_bytes: u64,
    /// Bytes of acknowledged bodies as they went over the wire.
    pub sent_wire_bytes: u64,
    /// Requests acknowledged.
    pub requests_ok: u64,
    /// Requests that failed in a way that may pass.
    pub requests_transient: u64,
    /// Requests refused for good.
    pub requests_refused: u64,
    /// Requests that were sent again.
    pub retries: u64,
    /// Bodies cut in two.
    pub bisections: u64,
    /// Times the books did not add up. Anything but 0 is a defect.
    pub invariant_violations: u64,
}

/// The largest body worth trying: half of what the destination last called too large, then an eighth more after every
/// so many bodies of about that size were taken. Each refusal doubles how many that is, so that a bound which stays is
/// tried less and less.
#[derive(Debug)]
struct Learned {
    /// In bytes; `usize::MAX` before anything was too large.
    limit: usize,
    /// Bodies near the limit taken since it last changed.
    taken: u32,
    /// How many of them raise it.
    patience: u32,
}

impl Default for Learned {
    fn default() -> Self {
        Learned { limit: usize::MAX, taken: 0, patience: FIRST_PATIENCE }
    }
}

impl Learned {
    /// The destination called a body of `bytes` too large; whether that lowers the limit.
    fn refused(&mut self, bytes: usize) -> bool {
        let limit = (bytes / 2).max(SMALLEST_BODY_LIMIT_BYTES);
        if limit >= self.limit {
            return false;
        }
        if self.limit != usize::MAX {
            self.patience = self.patience.saturating_mul(2).min(LONGEST_PATIENCE);
        }
        (self.limit, self.taken) = (limit, 0);
        true
    }

    /// The destination took a body of `bytes`.
    fn took(&mut self, bytes: usize) {
        if self.limit == usize::MAX || bytes < self.limit / 2 {
            return;
        }
        self.taken += 1;
        if self.taken >= self.patience {
            (self.limit, self.taken) = (self.limit + self.limit / 8, 0);
        }
    }
}

#[derive(Debug, Default)]
struct Ledger {
    stats: ExporterStats,
    learned: Learned,
    reservations: usize,
    closed: bool,
}

/// The books. Shared by the handle, the queue and the requests in flight.
#[derive(Debug)]
pub(super) struct Accounts {
    ledger: Mutex<Ledger>,
    /// Acknowledged requests: evidence that the destination is well.
    successes: AtomicU64,
    /// [`Learned::limit`], for readers without the lock.
    body_limit: AtomicUsize,
    /// Set when what is left is given up: unsettled claims then fail as [`FailReason::Shutdown`].
    abandoned: AtomicBool,
    /// Told when nothing waits any more.
    pub(super) idle: Notify,
}

impl Accounts {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        let stats = ExporterStats { queue_capacity_bytes: capacity, ..ExporterStats::default() };
        Arc::new(Accounts {
            ledger: Mutex::new(Ledger { stats, ..Ledger::default() }),
            successes: AtomicU64::new(0),
            body_limit: AtomicUsize::new(usize::MAX),
            abandoned: AtomicBool::new(false),
            idle: Notify::new(),
        })
    }

    /// Sets `charge` bytes aside; `false` when they do not fit or the exporter is closed. Anything fits an empty queue.
    pub(super) fn reserve(&self, charge: usize) -> bool {
        let mut ledger = self.ledger.lock();
        let stats = &mut ledger.stats;
        let fits = stats.queue_bytes == 0 || stats.queue_bytes.saturating_add(charge) <= stats.queue_capacity_bytes;
        if ledger.closed || !fits {
            ledger.stats.refused_reservations += 1;
            return false;
        }
        ledger.stats.queue_bytes += charge;
        ledger.reservations += 1;
        true
    }

    /// Gives an unused reservation back.
    pub(super) fn release(&self, charge: usize) {
        let mut ledger = self.ledger.lock();
        ledger.reservations -= 1;
        ledger.stats.queue_bytes -= charge.min(ledger.stats.queue_bytes);
        self.note_idle(&ledger);
    }

    /// Turns a reservation of `reserved` bytes into a claim over `records` records that needs `charge` of them.
    pub(super) fn accept(self: &Arc<Self>, reserved: usize, charge: usize, records: u64) -> Claim {
        let mut ledger = self.ledger.lock();
        ledger.reservations -= 1;
        let stats = &mut ledger.stats;
        stats.queue_bytes = (stats.queue_bytes + charge).saturating_sub(reserved);
        stats.accepted += records;
        stats.waiting += records;
        Claim { accounts: Arc::clone(self), records, bytes: charge }
    }

    fn settle(&self, records: u64, bytes: usize, sent: u64, failed: u64, reason: FailReason) {
        let mut ledger = self.ledger.lock();
        let stats = &mut ledger.stats;
        stats.waiting = stats.waiting.saturating_sub(records);
        stats.queue_bytes = stats.queue_bytes.saturating_sub(bytes);
        stats.sent += sent;
        stats.failed.add(reason, failed);
        if stats.accepted != stats.sent + stats.failed.total() + stats.waiting {
            self.violated(stats, "accepted = sent + failed + waiting");
        }
        self.note_idle(&ledger);
    }

    #[cold]
    fn violated(&self, stats: &mut ExporterStats, law: &str) {
        stats.invariant_violations += 1;
        debug_assert!(false, "{law} does not hold: {stats:?}");
    }

    fn note_idle(&self, ledger: &Ledger) {
        if ledger.closed && ledger.stats.waiting == 0 && ledger.reservations == 0 {
            self.idle.notify_waiters();
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        let mut ledger = self.ledger.lock();
        ledger.closed = true;
        self.note_idle(&ledger);
    }

    /// Whether nothing waits and nothing is about to be submitted.
    pub(super) fn is_idle(&self) -> bool {
        let ledger = self.ledger.lock();
        ledger.stats.waiting == 0 && ledger.reservations == 0
    }

    /// From here on, claims dropped unsettled fail as [`FailReason::Shutdown`].
    pub(super) fn abandon(&self) {
        self.close();
        self.abandoned.store(true, Ordering::Release);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// The destination called a body of `bytes` too large; returns the new limit when that lowers it.
    pub(super) fn note_too_large(&self, bytes: usize) -> Option<usize> {
        let mut ledger = self.ledger.lock();
        let lowered = ledger.learned.refused(bytes);
        self.body_limit.store(ledger.learned.limit, Ordering::Release);
        lowered.then_some(ledger.learned.limit)
    }

    /// The largest body worth trying, in bytes.
    pub(super) fn body_limit(&self) -> usize {
        self.body_limit.load(Ordering::Acquire)
    }

    /// How many requests were acknowledged so far.
    pub(super) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Acquire)
    }

    /// Notes an acknowledged request.
    pub(super) fn note_success(&self, bytes: usize, wire_bytes: usize) {
        self.successes.fetch_add(1, Ordering::AcqRel);
        let mut ledger = self.ledger.lock();
        ledger.learned.took(bytes);
        self.body_limit.store(ledger.learned.limit, Ordering::Release);
        ledger.stats.requests_ok += 1;
        ledger.stats.sent_bytes += bytes as u64;
        ledger.stats.sent_wire_bytes += wire_bytes as u64;
    }

    /// Changes counters that stand outside the law.
    pub(super) fn note(&self, change: impl FnOnce(&mut ExporterStats)) {
        change(&mut self.ledger.lock().stats);
    }

    pub(super) fn stats(&self) -> ExporterStats {
        self.ledger.lock().stats
    }
}

/// The records and queue bytes that a piece of work answers for. Settled exactly once; dropped, they count as failed.
#[derive(Debug)]
pub(super) struct Claim {
    accounts: Arc<Accounts>,
    records: u64,
    bytes: usize,
}

impl Claim {
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// The destination acknowledged the request but for `rejected` of its records.
    pub(super) fn sent(mut self, rejected: u64) {
        let rejected = rejected.min(self.records);
        self.settle(self.records - rejected, rejected, FailReason::PartialRejection);
    }

    /// The records are given up.
    pub(super) fn fail(mut self, reason: FailReason) {
        self.settle(0, self.records, reason);
    }

    fn settle(&mut self, sent: u64, failed: u64, reason: FailReason) {
        self.accounts.settle(self.records, self.bytes, sent, failed, reason);
        (self.records, self.bytes) = (0, 0);
    }

    /// Takes over the claim of `other`.
    pub(super) fn absorb(&mut self, mut other: Claim) {
        self.records += std::mem::take(&mut other.records);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Hands `records` of the records and a like share of the bytes to a claim of their own. A count that is not there
    /// is a violation of the books; what is there is handed over.
    pub(super) fn split_off(&mut self, records: u64) -> Claim {
        if records > self.records {
            self.accounts.note(|stats| self.accounts.violated(stats, "a part has no more records than the whole"));
        }
        let taken = records.min(self.records);
        let share = (self.bytes as u128 * u128::from(taken) / u128::from(self.records.max(1))) as usize;
        self.records -= taken;
        self.bytes -= share;
        Claim { accounts: Arc::clone(&self.accounts), records: taken, bytes: share }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.records > 0 || self.bytes > 0 {
            let reason = if self.accounts.is_abandoned() { FailReason::Shutdown } else { FailReason::Internal };
            self.settle(0, self.records, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts_with(records: u64, bytes: usize) -> (Arc<Accounts>, Claim) {
        let accounts = Accounts::new(1000);
        assert!(accounts.reserve(bytes));
        let claim = accounts.accept(bytes, bytes, records);
        (accounts, claim)
    }

    #[test]
    fn a_claim_settles_once_however_it_is_cut() {
        let (accounts, mut whole) = accounts_with(10, 100);
        let part = whole.split_off(4);
        assert_eq!((part.records(), whole.records(), accounts.stats().waiting), (4, 6, 10));
        part.sent(1);
        whole.fail(FailReason::Rejected);
        let stats = accounts.stats();
        assert_eq!((stats.sent, stats.waiting, stats.queue_bytes), (3, 0, 0));
        assert_eq!(stats.failed.count(FailReason::PartialRejection), 1);
        assert_eq!(stats.failed.count(FailReason::Rejected), 6);
    }

    #[test]
    fn a_dropped_claim_is_a_failure_that_shows() {
        let (accounts, claim) = accounts_with(3, 30);
        drop(claim);
        assert_eq!(accounts.stats().failed.count(FailReason::Internal), 3);
        let (accounts, claim) = accounts_with(3, 30);
        accounts.abandon();
        drop(claim);
        assert_eq!(accounts.stats().failed.count(FailReason::Shutdown), 3);
        assert_eq!(accounts.stats().queue_bytes, 0);
    }

    #[test]
    fn the_bound_holds_but_an_empty_queue_takes_anything() {
        let accounts = Accounts::new(100);
        assert!(accounts.reserve(5_000));
        assert!(!accounts.reserve(1));
        accounts.release(5_000);
        assert!(accounts.reserve(60));
        assert!(!accounts.reserve(41));
        assert!(accounts.reserve(40));
        assert_eq!(accounts.stats().refused_reservations, 2);
        let claim = accounts.accept(60, 10, 1);
        assert_eq!(accounts.stats().queue_bytes, 50);
        claim.sent(0);
        assert_eq!(accounts.stats().queue_bytes, 40);
        accounts.close();
        assert!(!accounts.reserve(1));
    }

    #[test]
    fn a_learned_size_is_tried_upwards_less_and_less_and_recovers() {
        let (accounts, claim) = accounts_with(1, 1);
        // Sends the largest body that is allowed, up to a batch of 4 MB; returns how many were refused.
        let send = |bodies: u32, bound: usize| {
            let refused = |_: &u32| {
                let bytes = accounts.body_limit().min(4_000_000);
                match bytes > bound {
                    true => drop(accounts.note_too_large(bytes)),
                    false => accounts.note_success(bytes, bytes),
                }
                bytes > bound
            };
            (0..bodies).filter(refused).count()
        };
        assert_eq!(send(10, usize::MAX), 0);
        let (early, late) = (send(1_000, 1_000_000), send(10_000, 1_000_000));
        assert!(early < 12 && late < 10, "{early} and {late} refused");
        (0..100_000).for_each(|_| accounts.note_success(1_000, 1_000));
        assert!(accounts.body_limit() < 1_200_000, "small bodies say nothing about large ones");
        assert_eq!(send(100_000, usize::MAX), 0);
        assert!(accounts.body_limit() >= 4_000_000);
        claim.sent(0);
    }

    #[test]
    #[should_panic(expected = "a part has no more records than the whole")]
    fn a_part_larger_than_the_whole_is_a_defect() {
        let (_accounts, mut claim) = accounts_with(2, 10);
        let _part = claim.split_off(3);
    }
}
