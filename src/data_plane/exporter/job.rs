//! One batch on its way: what the last answer means for it and which part of it goes next.
//!
//! Purpose: retry, give up and bisect, as a decision over time and evidence that are arguments.
//! Promises: every record of the batch ends in exactly one claim settled once. A poisonous record is isolated in about
//! 2·log2(n) requests. An outage loses nothing before `max_elapsed_time` and never explodes a batch: parts are tried one
//! after the other, each failure cuts at most one part, and without evidence that the destination is well each failure
//! also costs a wait.
//! Never: sends, sleeps, or reads a clock.
//!
//! PostHog's 500 is either an outage or a body it can never take. What tells them apart is evidence: another request that
//! was acknowledged since. Only a 500 with evidence since this part's previous answer counts as a strike, and only three
//! strikes condemn a single record, or one and [`LONELY_TRIES`] answers of 500 when nothing else is sent that could bring
//! more evidence; so an outage alone condemns none. See the table in the tests.

use std::time::Duration;

use tokio::time::Instant;

use super::accounts::{Accounts, Claim, FailReason};
use super::backoff::Backoff;
use super::body::Body;
use super::outcome::Outcome;
use crate::data_plane::view::halves;

/// Answers of 500 to one body before it is cut, and strikes against a single record before it is given up.
const TRIES: u32 = 3;
/// Answers of 500 to a single record, one of them a strike, after which it is given up. With the default waits they take
/// about a minute.
const LONELY_TRIES: u32 = 8;
/// Single records refused in one batch, without any sign that the destination takes records at all, after which the rest
/// of the batch is tried in the parts it has and not cut further.
const HOPELESS: u32 = 16;

/// A body and the records in it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) body: Body,
    pub(super) claim: Claim,
    /// Answers of 500 so far.
    tries: u32,
    strikes: u32,
    /// The destination's successes at this part's last answer.
    successes_seen: u64,
}

impl Part {
    pub(super) fn new(body: Body, claim: Claim, successes_seen: u64) -> Self {
        Part { body, claim, tries: 0, strikes: 0, successes_seen }
    }
}

/// What comes next for a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send the current part now.
    Again,
    /// Send the current part at `due`.
    Wait {
        /// When.
        due: Instant,
        /// The destination itself asked for the wait.
        ordered: bool,
        /// The failure says something about the destination, not just about this part.
        outage: bool,
    },
    /// Nothing is left.
    Done,
}

/// Everything a decision depends on besides the batch.
pub(super) struct Rules<'a> {
    pub(super) accounts: &'a Accounts,
    pub(super) backoff: &'a Backoff,
    pub(super) retry: bool,
    /// `None`: never give up.
    pub(super) max_elapsed: Option<Duration>,
}

/// A batch in parts. The last of `parts` is current.
#[derive(Debug)]
pub(super) struct Job {
    parts: Vec<Part>,
    /// Single records under suspicion, put off until the other parts were tried.
    suspects: Vec<Part>,
    /// Failures in a row.
    failures: u32,
    /// Whether it has been put off before.
    pub(super) was_put_off: bool,
    /// Start of the time that `max_elapsed_time` counts.
    since: Option<Instant>,
    successes_at_start: u64,
    singles_refused: u32,
    bisecting: bool,
}

impl Job {
    pub(super) fn new(part: Part) -> Self {
        Job {
            successes_at_start: part.successes_seen,
            parts: vec![part],
            suspects: Vec::new(),
            failures: 0,
            was_put_off: false,
            since: None,
            singles_refused: 0,
            bisecting: false,
        }
    }

    /// The part to send.
    pub(super) fn current(&self) -> Option<&Part> {
        self.parts.last()
    }

    /// Decides what follows from the answer to the current part. The second value is worth a log line.
    pub(super) fn advance(&mut self, outcome: Outcome, now: Instant, rules: &Rules<'_>) -> (Step, Option<String>) {
        let Some(part) = self.parts.pop() else { return (Step::Done, None) };
        self.since.get_or_insert(now);
        match outcome {
            Outcome::Delivered { rejected, wire_bytes } => {
                rules.accounts.note_success(part.body.len(), wire_bytes);
                part.claim.sent(rejected);
                self.failures = 0;
                self.since = Some(now);
                (self.next(now, rules), None)
            }
            Outcome::Refused { reason, why } => {
                rules.accounts.note(|stats| stats.requests_refused += 1);
                let why = format!("{} records failed: {why}", part.claim.records());
                part.claim.fail(reason);
                (self.next(now, rules), Some(why))
            }
            Outcome::Cut { reason, why } => {
                rules.accounts.note(|stats| stats.requests_refused += 1);
                let learned = match reason {
                    // The next batches need not find out again.
                    FailReason::TooLarge if part.claim.records() > 1 => rules.accounts.note_too_large(part.body.len()),
                    _ => None,
                };
                let failed = self.cut_or_fail(part, reason, rules);
                let line = failed.map(|records| format!("{records} records failed: {why}"));
                let learned = learned.map(|limit| format!("{why}; batches have at most {limit} bytes for now"));
                (self.next(now, rules), line.or(learned))
            }
            Outcome::Transient { after, why } => {
                rules.accounts.note(|stats| stats.requests_transient += 1);
                self.failures += 1;
                self.parts.push(part);
                self.put_off(FailReason::GaveUp, after, true, why, now, rules)
            }
            Outcome::Suspect { why } => {
                rules.accounts.note(|stats| stats.requests_transient += 1);
                self.failures += 1;
                self.suspect(part, why, now, rules)
            }
        }
    }

    /// Gives up whatever is left.
    fn fail_all(&mut self, reason: FailReason) -> u64 {
        let left = self.parts.drain(..).chain(self.suspects.drain(..));
        left.map(|part| {
            let records = part.claim.records();
            part.claim.fail(reason);
            records
        })
        .sum()
    }

    /// Waits before the current part is sent again, or gives up when the time is over.
    fn put_off(
        &mut self,
        reason: FailReason,
        after: Option<Duration>,
        outage: bool,
        why: String,
        now: Instant,
        rules: &Rules<'_>,
    ) -> (Step, Option<String>) {
        if !rules.retry {
            // Without retries each part still gets its one try.
            let records = self.parts.pop().map_or(0, |part| {
                let records = part.claim.records();
                part.claim.fail(reason);
                records
            });
            let line = format!("{records} records failed: {why}; retry_on_failure is disabled");
            return (self.next(now, rules), Some(line));
        }
        let deadline = match (self.since, rules.max_elapsed) {
            (Some(since), Some(max_elapsed)) => since.checked_add(max_elapsed),
            _ => None,
        };
        if deadline.is_some_and(|deadline| now >= deadline) {
            let records = self.fail_all(reason);
            let line = format!("{records} records failed: {why}; retry_on_failure.max_elapsed_time is over");
            return (Step::Done, Some(line));
        }
        let mut due = now + rules.backoff.wait(self.failures);
        // One last try when time is up, rather than none.
        due = deadline.map_or(due, |deadline| due.min(deadline));
        let ordered = after.map(|wish| now + rules.backoff.ordered(wish));
        due = ordered.map_or(due, |ordered| due.max(ordered));
        let line = self.failures == 1;
        (Step::Wait { due, ordered: ordered.is_some(), outage }, line.then(|| format!("{why}; trying again")))
    }

    /// A 500 from a destination where that may mean either thing.
    fn suspect(&mut self, mut part: Part, why: String, now: Instant, rules: &Rules<'_>) -> (Step, Option<String>) {
        let successes = rules.accounts.successes();
        let evidence = successes > part.successes_seen;
        part.successes_seen = successes;
        part.tries += 1;
        part.strikes += u32::from(evidence);
        if part.claim.records() > 1 {
            if rules.retry && (self.bisecting || part.tries >= TRIES) {
                self.bisecting = true;
                if let Err(part) = self.cut(part, rules) {
                    self.parts.push(part);
                }
                if evidence {
                    return (Step::Again, None);
                }
            } else {
                self.parts.push(part);
            }
            return self.put_off(FailReason::Destination500, None, !evidence, why, now, rules);
        }
        if part.strikes >= TRIES || part.strikes > 0 && part.tries >= LONELY_TRIES {
            part.claim.fail(FailReason::Destination500);
            let line = "1 record failed: the destination answers 500 to it and takes others (is it too large?)";
            return (self.next(now, rules), Some(line.into()));
        }
        if self.parts.is_empty() || !rules.retry {
            self.parts.push(part);
            self.parts.append(&mut self.suspects);
            return self.put_off(FailReason::Destination500, None, !evidence, why, now, rules);
        }
        // The others may be fine, and their success is the evidence that is missing.
        self.suspects.push(part);
        if evidence {
            return (Step::Again, None);
        }
        self.put_off(FailReason::Destination500, None, true, why, now, rules)
    }

    /// The step when the current part is settled: the next part, the suspects after a wait, or the end.
    fn next(&mut self, now: Instant, rules: &Rules<'_>) -> Step {
        if !self.parts.is_empty() {
            return Step::Again;
        }
        if self.suspects.is_empty() {
            return Step::Done;
        }
        self.parts.append(&mut self.suspects);
        Step::Wait { due: now + rules.backoff.wait(self.failures.max(1)), ordered: false, outage: false }
    }

    /// Cuts a refused body in two, or fails it when it cannot be cut; returns the records that failed.
    fn cut_or_fail(&mut self, part: Part, reason: FailReason, rules: &Rules<'_>) -> Option<u64> {
        let hopeless = self.singles_refused >= HOPELESS && rules.accounts.successes() == self.successes_at_start;
        let part = match part.claim.records() {
            0 | 1 => part,
            _ if hopeless => part,
            _ => match self.cut(part, rules) {
                Ok(()) => return None,
                Err(part) => part,
            },
        };
        self.singles_refused += 1;
        let records = part.claim.records();
        part.claim.fail(reason);
        Some(records)
    }

    /// Replaces a part by its halves, the first of them current; gives it back when it cannot be cut.
    fn cut(&mut self, mut part: Part, rules: &Rules<'_>) -> Result<(), Part> {
        let Ok(Some([(first, first_records), (second, _)])) = halves(&part.body.whole()) else { return Err(part) };
        rules.accounts.note(|stats| stats.bisections += 1);
        let first_claim = part.claim.split_off(first_records);
        self.parts.push(Part::new(second.into(), part.claim, part.successes_seen));
        self.parts.push(Part::new(first.into(), first_claim, part.successes_seen));
        Ok(())
    }
}
