//! The books: every record, exactly once.
//!
//! Purpose: count what was received, kept, dropped (by policy and reason) and refused, in records and bytes.
//! Promises: received = kept + dropped + refused holds for every request that is booked, and is checked at each one
//! (panic in debug builds, a metric in release builds).
//! Never: counts what happens behind the exporters' queues; each exporter keeps its own books (accepted = sent + failed
//! + waiting).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

use crate::data_plane::receiver::{Signal, Transport};
use crate::data_plane::sampler::Reason;
use crate::telemetry::{MetricSink, MetricSource};

/// Most policies with counters of their own; decisions of further ones are booked under `_other`.
const MAX_POLICIES: usize = 20_000;

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records.
    pub records: u64,
    /// Bytes of the records as received, field tag and length included.
    pub bytes: u64,
}

impl Tally {
    /// Adds one record.
    #[inline]
    pub fn add(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
    }

    /// Adds those of another.
    pub fn merge(&mut self, other: Tally) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

#[derive(Debug, Default)]
struct AtomicTally {
    records: AtomicU64,
    bytes: AtomicU64,
}

impl AtomicTally {
    fn add(&self, tally: Tally) {
        self.records.fetch_add(tally.records, Ordering::Relaxed);
        self.bytes.fetch_add(tally.bytes, Ordering::Relaxed);
    }
    fn read(&self) -> Tally {
        Tally { records: self.records.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// Whose decision it was, while a policy is on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arm {
    /// The policy in force.
    Baseline,
    /// The policy on trial.
    Candidate,
}

impl Arm {
    /// Both, in order.
    pub const ALL: [Arm; 2] = [Arm::Baseline, Arm::Candidate];

    /// Its name in metrics and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Arm::Baseline => "baseline",
            Arm::Candidate => "candidate",
        }
    }
}

/// Decisions by policy (index) and reason: dropped, kept.
type ByPolicy = std::collections::HashMap<(u16, Reason), [Tally; 2], ahash::RandomState>;

/// The outcome of one request, to be booked at once.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Length of the request, protobuf, decompressed.
    pub request_bytes: u64,
    /// Length of what was handed to the exporters.
    pub forwarded_bytes: u64,
    /// Everything in the request.
    pub received: Tally,
    /// By reason: dropped, kept.
    pub by_reason: [[Tally; 2]; Reason::ALL.len()],
    /// By policy of the arm that decided.
    pub by_policy: [ByPolicy; 2],
}

impl Entry {
    /// Books one decision of `arm`, to whose set the index of the policy belongs.
    #[inline]
    pub fn add(&mut self, arm: Arm, keep: bool, reason: Reason, policy: Option<u16>, bytes: u64) {
        self.received.add(bytes);
        self.by_reason[reason as usize][usize::from(keep)].add(bytes);
        if let Some(policy) = policy {
            self.by_policy[arm as usize].entry((policy, reason)).or_default()[usize::from(keep)].add(bytes);
        }
    }

    /// Empties it for the next request.
    pub fn clear(&mut self) {
        self.request_bytes = 0;
        self.forwarded_bytes = 0;
        self.received = Tally::default();
        self.by_reason = Default::default();
        self.by_policy.iter_mut().for_each(ByPolicy::clear);
    }

    /// What was kept, or dropped.
    pub fn total(&self, keep: bool) -> Tally {
        self.by_reason.iter().map(|tallies| tallies[usize::from(keep)]).fold(Tally::default(), |sum, tally| Tally {
            records: sum.records + tally.records,
            bytes: sum.bytes + tally.bytes,
        })
    }
}

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Everything that came in whole requests.
    pub received: Tally,
    /// Handed to the exporters.
    pub kept: Tally,
    /// Dropped by decision.
    pub dropped: Tally,
    /// In requests that were refused for lack of room; the client still has them.
    pub refused: Tally,
    /// Summary records made here (not among the received).
    pub summaries: Tally,
    /// Bytes of requests taken.
    pub request_bytes: u64,
    /// Bytes handed to the exporters, summaries included.
    pub forwarded_bytes: u64,
    /// Times the books did not balance. Always 0 unless there is a defect.
    pub violations: u64,
}

impl Totals {
    /// Whether received = kept + dropped + refused.
    pub fn balance(&self) -> bool {
        self.violations == 0
            && self.received.records == self.kept.records + self.dropped.records + self.refused.records
            && self.received.bytes == self.kept.bytes + self.dropped.bytes + self.refused.bytes
    }
}

/// The books of one gateway.
#[derive(Debug, Default)]
pub struct Ledger {
    received: AtomicTally,
    refused: AtomicTally,
    summaries: AtomicTally,
    request_bytes: AtomicU64,
    forwarded_bytes: AtomicU64,
    by_reason: [[AtomicTally; 2]; Reason::ALL.len()],
    by_policy: DashMap<(Arc<str>, Reason), [AtomicTally; 2], ahash::RandomState>,
    refused_requests: [[AtomicU64; 2]; 3],
    accepted: [AtomicU64; 2],
    refused_by_transport: [AtomicU64; 2],
    violations: AtomicU64,
}

impl Ledger {
    /// Books a request that was taken. `policy_id` names a policy by index.
    pub fn book(&self, entry: &Entry, transport: Transport, policy_id: impl Fn(Arm, u16) -> Arc<str>) {
        let (kept, dropped) = (entry.total(true), entry.total(false));
        let balanced = entry.received.records == kept.records + dropped.records
            && entry.received.bytes == kept.bytes + dropped.bytes;
        debug_assert!(balanced, "a request does not balance: {entry:?}");
        if !balanced {
            self.violations.fetch_add(1, Ordering::Relaxed);
        }
        self.received.add(entry.received);
        self.accepted[transport as usize].fetch_add(entry.received.records, Ordering::Relaxed);
        self.request_bytes.fetch_add(entry.request_bytes, Ordering::Relaxed);
        self.forwarded_bytes.fetch_add(entry.forwarded_bytes, Ordering::Relaxed);
        for (tallies, counted) in self.by_reason.iter().zip(entry.by_reason) {
            for keep in [0, 1].into_iter().filter(|keep| counted[*keep].records > 0) {
                tallies[keep].add(counted[keep]);
            }
        }
        let of = |arm: Arm| entry.by_policy[arm as usize].iter().map(move |decided| (arm, decided));
        for (arm, (&(policy, reason), counted)) in Arm::ALL.into_iter().flat_map(of) {
            let key = (policy_id(arm, policy), reason);
            let full = self.by_policy.len() >= MAX_POLICIES && !self.by_policy.contains_key(&key);
            let key = if full { (Arc::from("_other"), reason) } else { key };
            let tallies = self.by_policy.entry(key).or_default();
            tallies[0].add(counted[0]);
            tallies[1].add(counted[1]);
        }
    }

    /// Books a request that was refused whole after its records were counted.
    pub fn refuse(&self, records: Tally, transport: Transport) {
        self.received.add(records);
        self.refused.add(records);
        self.refused_by_transport[transport as usize].fetch_add(records.records, Ordering::Relaxed);
    }

    /// Books a request that was refused before its records could be counted.
    pub fn refuse_unread(&self, signal: Signal, transport: Transport) {
        self.refused_requests[signal as usize][transport as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Books summary records that were handed to the exporters.
    pub fn summarise(&self, records: u64, bytes: u64) {
        self.summaries.add(Tally { records, bytes });
        self.forwarded_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The totals now. Exact when no request is being booked.
    pub fn totals(&self) -> Totals {
        let side = |keep: usize| {
            self.by_reason.iter().map(|tallies| tallies[keep].read()).fold(Tally::default(), |sum, tally| Tally {
                records: sum.records + tally.records,
                bytes: sum.bytes + tally.bytes,
            })
        };
        Totals {
            received: self.received.read(),
            kept: side(1),
            dropped: side(0),
            refused: self.refused.read(),
            summaries: self.summaries.read(),
            request_bytes: self.request_bytes.load(Ordering::Relaxed),
            forwarded_bytes: self.forwarded_bytes.load(Ordering::Relaxed),
            violations: self.violations.load(Ordering::Relaxed),
        }
    }

    /// Kept and dropped by policy id and reason.
    pub fn by_policy(&self) -> Vec<(Arc<str>, Reason, Tally, Tally)> {
        let read = |entry: dashmap::mapref::multiple::RefMulti<'_, (Arc<str>, Reason), [AtomicTally; 2]>| {
            let (policy, reason) = entry.key().clone();
            (policy, reason, entry.value()[1].read(), entry.value()[0].read())
        };
        self.by_policy.iter().map(read).collect()
    }

    /// Kept and dropped by reason.
    pub fn by_reason(&self) -> Vec<(Reason, Tally, Tally)> {
        let read = |reason: Reason| {
            let tallies = &self.by_reason[reason as usize];
            (reason, tallies[1].read(), tallies[0].read())
        };
        Reason::ALL.into_iter().map(read).collect()
    }
}

const TRANSPORTS: [(&str, Transport); 2] = [("grpc", Transport::Grpc), ("http", Transport::Http)];
const SIGNALS: [(&str, Signal); 3] = [("logs", Signal::Logs), ("traces", Signal::Traces), ("metrics", Signal::Metrics)];

impl MetricSource for Ledger {
    fn collect(&self, out: &mut dyn MetricSink) {
        let totals = self.totals();
        for (name, transport) in TRANSPORTS {
            let labels = [("transport", name)];
            let read = |counters: &[AtomicU64; 2]| counters[transport as usize].load(Ordering::Relaxed);
            out.counter("otelcol_receiver_accepted_log_records", "Log records taken.", &labels, read(&self.accepted));
            let help = "Log records in requests that were refused for lack of room.";
            out.counter("otelcol_receiver_refused_log_records", help, &labels, read(&self.refused_by_transport));
            for (signal, of) in SIGNALS {
                let count = self.refused_requests[of as usize][transport as usize].load(Ordering::Relaxed);
                let labels = [("transport", name), ("signal", signal)];
                let help = "Requests refused before their records could be counted.";
                out.counter("lipservice_receiver_refused_requests", help, &labels, count);
            }
        }
        self.collect_totals(&totals, out);
        for (reason, kept, dropped) in self.by_reason() {
            for (decision, tally) in [("kept", kept), ("dropped", dropped)] {
                let labels = [("decision", decision), ("reason", reason.as_str())];
                out.counter("lipservice_sampler_log_records", "Log records by decision.", &labels, tally.records);
                out.counter("lipservice_sampler_log_bytes", "Bytes of log records by decision.", &labels, tally.bytes);
            }
        }
        for (policy, reason, kept, dropped) in self.by_policy() {
            for (decision, tally) in [("kept", kept), ("dropped", dropped)] {
                let labels = [("policy", &*policy), ("decision", decision), ("reason", reason.as_str())];
                let help = "Log records by the policy that decided.";
                out.counter("lipservice_policy_log_records", help, &labels, tally.records);
                let help = "Bytes of log records by the policy that decided.";
                out.counter("lipservice_policy_log_bytes", help, &labels, tally.bytes);
            }
        }
    }
}

impl Ledger {
    fn collect_totals(&self, totals: &Totals, out: &mut dyn MetricSink) {
        let processor = [("processor", "sampler")];
        let incoming = totals.received.records - totals.refused.records;
        out.counter("otelcol_processor_incoming_items", "Items that entered the processor.", &processor, incoming);
        let outgoing = totals.kept.records + totals.summaries.records;
        out.counter("otelcol_processor_outgoing_items", "Items that left the processor.", &processor, outgoing);
        for (name, help, value) in [
            ("lipservice_request_bytes", "Bytes of log requests taken, decompressed.", totals.request_bytes),
            ("lipservice_forwarded_bytes", "Bytes handed to the exporters, uncompressed.", totals.forwarded_bytes),
            ("lipservice_summary_log_records", "Summary records made.", totals.summaries.records),
            ("lipservice_conservation_violations", "Requests whose books did not balance.", totals.violations),
        ] {
            out.counter(name, help, &[], value);
        }
    }
}
