//! Records sent against records found, by spans of time.
//!
//! Purpose: notice that PostHog drops what it acknowledged, for it never says so.
//! Promises: pure: time and counts are arguments; no more than [`MAX_WAITING`] spans are kept, the oldest go first and are
//! counted.
//! Never: asks anybody, sleeps, or logs.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::UnixNanos;

/// Spans that wait for their comparison at most: with the default settings an hour of a read API that fails.
pub const MAX_WAITING: usize = 12;

/// What was acknowledged from one reading of the exporter's counter to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First reading.
    pub from: UnixNanos,
    /// Second reading.
    pub to: UnixNanos,
    /// Records acknowledged between.
    pub sent: u64,
}

/// How the two counts stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Equal, but for the tolerance.
    Agrees,
    /// Fewer were found.
    Missing,
    /// More were found: others write to the project too, or answers were lost and records sent twice.
    Surplus,
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// What was sent, and when.
    pub span: Span,
    /// Records found.
    pub found: u64,
    /// Share of the sent records that was not found, 0 to 1.
    pub missing_share: f64,
    /// The verdict.
    pub verdict: Verdict,
}

/// Compares. `tolerance` is a share of what was sent, 0 to 1; at least one record may always differ.
pub fn compare(span: Span, found: u64, tolerance: f64) -> Comparison {
    let missing = span.sent.saturating_sub(found);
    let missing_share = if span.sent == 0 { 0.0 } else { missing as f64 / span.sent as f64 };
    let allowed = (span.sent as f64 * tolerance).max(1.0);
    let verdict = if missing as f64 > allowed {
        Verdict::Missing
    } else if found.saturating_sub(span.sent) as f64 > allowed {
        Verdict::Surplus
    } else {
        Verdict::Agrees
    };
    Comparison { span, found, missing_share, verdict }
}

/// Spans under way and spans that wait for PostHog to have taken in what was sent.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    open: Option<(UnixNanos, u64)>,
    waiting: VecDeque<Span>,
    lost: u64,
}

impl Spans {
    /// Takes a reading of the counter of acknowledged records: ends the span under way and begins another. A counter that went
    /// back belongs to another exporter, and a clock that went back tells no span: then only a new one begins.
    pub fn read(&mut self, now: UnixNanos, sent: u64) {
        if let Some((from, before)) = self.open.replace((now, sent))
            && sent >= before
            && now > from
        {
            if self.waiting.len() == MAX_WAITING {
                self.waiting.pop_front();
                self.lost += 1;
            }
            self.waiting.push_back(Span { from, to: now, sent: sent - before });
        }
    }

    /// The oldest span that ended at least `delay` ago. It stays until [`Spans::done`].
    pub fn due(&self, now: UnixNanos, delay: Duration) -> Option<Span> {
        let span = self.waiting.front()?;
        (span.to.saturating_add(delay.as_nanos() as u64) <= now).then_some(*span)
    }

    /// Takes this span off.
    pub fn done(&mut self, span: Span) {
        self.waiting.retain(|waiting| *waiting != span);
    }

    /// Spans given up because too many waited.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn verdicts() {
        for (sent, found, verdict) in [
            (1_000, 1_000, Verdict::Agrees),
            (1_000, 950, Verdict::Agrees),
            (1_000, 949, Verdict::Missing),
            (1_000, 0, Verdict::Missing),
            (1_000, 1_051, Verdict::Surplus),
            (0, 0, Verdict::Agrees),
            (1, 0, Verdict::Agrees),
            (2, 0, Verdict::Missing),
            (0, 500, Verdict::Surplus),
        ] {
            let span = Span { from: 0, to: SECOND, sent };
            assert_eq!(compare(span, found, 0.05).verdict, verdict, "{sent} {found}");
        }
        let all = compare(Span { from: 0, to: 1, sent: 10 }, 0, 0.05);
        assert!((all.missing_share - 1.0).abs() < f64::EPSILON);
        assert!(compare(Span { from: 0, to: 1, sent: 0 }, 9, 0.05).missing_share.abs() < f64::EPSILON);
    }

    #[test]
    fn spans_wait_for_what_is_late_and_survive_other_counters_and_clocks() {
        let (mut spans, delay) = (Spans::default(), Duration::from_secs(60));
        spans.read(0, 100);
        assert_eq!(spans.due(u64::MAX, delay), None, "nothing is known of before the first reading");
        spans.read(10 * SECOND, 130);
        assert_eq!(spans.due(69 * SECOND, delay), None);
        let first = Span { from: 0, to: 10 * SECOND, sent: 30 };
        assert_eq!(spans.due(70 * SECOND, delay), Some(first));
        assert_eq!(spans.due(70 * SECOND, delay), Some(first), "until it is done");
        spans.done(first);
        // Another exporter, then a clock that was set back.
        spans.read(20 * SECOND, 5);
        spans.read(15 * SECOND, 9);
        assert_eq!(spans.due(u64::MAX, delay), None);
        for at in 0..20 {
            spans.read((100 + at) * SECOND, 9 + at);
        }
        assert_eq!(spans.lost(), 20 - MAX_WAITING as u64);
    }
}
