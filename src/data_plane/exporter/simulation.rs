//! The exporter's decisions in simulated time: lanes, jobs and books as the dispatcher drives them, against a world that
//! is a function. Hours of outage take milliseconds, and every record is followed by its number.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::accounts::{Accounts, REQUEST_OVERHEAD_BYTES};
use super::backoff::Backoff;
use super::config::RetryConfig;
use super::dispatcher::batches;
use super::job::{Job, Part, Rules};
use super::lanes::{Item, LaneId, LaneLimits, Lanes, Work};
use super::outcome::Outcome;
use crate::data_plane::view::LogIndex;
use crate::data_plane::view::wire::{put_len_field, put_varint};

/// A request as the world sees it.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    /// Since the start of the simulation.
    pub(super) at: Duration,
    /// Length of the body.
    pub(super) bytes: usize,
    pub(super) token: Option<Arc<str>>,
    /// Numbers of the records in it.
    pub(super) records: Vec<u32>,
}

/// What the world does with a request: how it answers, and after how long.
pub(super) type World = Box<dyn FnMut(&Attempt) -> (Outcome, Duration)>;

struct Flight {
    lane: LaneId,
    job: Job,
    token: Option<Arc<str>>,
    /// Further batches of the same slot.
    backlog: Vec<Job>,
    outcome: Outcome,
    ends: Instant,
}

/// One simulated exporter.
pub(super) struct Simulation {
    pub(super) accounts: Arc<Accounts>,
    lanes: Lanes,
    backoff: Backoff,
    retry: RetryConfig,
    slots: usize,
    batch_bytes: usize,
    start: Instant,
    now: Instant,
    flights: Vec<Flight>,
    world: World,
    /// Every request that was sent.
    pub(super) attempts: Vec<(Attempt, Outcome)>,
}

/// A protobuf request whose records have their number as body.
pub(super) fn request(records: impl IntoIterator<Item = u32>) -> Bytes {
    let mut scope = Vec::new();
    for number in records {
        let (mut value, mut record) = (Vec::new(), Vec::new());
        put_len_field(&mut value, 1, number.to_string().as_bytes());
        put_len_field(&mut record, 5, &value);
        put_len_field(&mut scope, 2, &record);
    }
    let (mut block, mut out) = (Vec::new(), Vec::new());
    put_len_field(&mut block, 2, &scope);
    put_varint(&mut out, 10);
    put_varint(&mut out, block.len() as u64);
    out.extend(block);
    out.into()
}

/// The numbers of the records in a body.
fn numbers(body: &[u8]) -> Vec<u32> {
    let mut index = LogIndex::default();
    index.read(body).expect("a valid request");
    let number = |i| index.record(body, i).body()?.as_str()?.parse().ok();
    (0..index.records.len()).map(|i| number(i).expect("a numbered record")).collect()
}

impl Simulation {
    pub(super) fn new(retry: RetryConfig, slots: usize, batch_bytes: usize, seed: u64, world: World) -> Self {
        let start = Instant::now();
        let limits = LaneLimits { batch_bytes, batch_timeout: Duration::from_millis(200), slots };
        Simulation {
            accounts: Accounts::new(usize::MAX),
            lanes: Lanes::new(limits),
            backoff: Backoff::new(&retry, seed),
            retry,
            slots,
            batch_bytes,
            start,
            now: start,
            flights: Vec::new(),
            world,
            attempts: Vec::new(),
        }
    }

    /// Gives a token fewer slots than there are.
    pub(super) fn with_lane_slots(mut self, slots: usize) -> Self {
        let batch_timeout = Duration::from_millis(200);
        self.lanes = Lanes::new(LaneLimits { batch_bytes: self.batch_bytes, batch_timeout, slots });
        self
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(super) fn submit(&mut self, token: Option<&str>, records: std::ops::Range<u32>) {
        let count = u64::from(records.end - records.start);
        let body = request(records);
        let charge = body.len() + REQUEST_OVERHEAD_BYTES;
        assert!(self.accounts.reserve(charge));
        let claim = self.accounts.accept(charge, charge, count);
        self.lanes.push(token.map(Arc::from), Item { body, claim, arrived: self.now }, self.now);
    }

    /// Runs until `until` after the start.
    pub(super) fn run_until(&mut self, until: Duration) {
        let until = self.start + until;
        loop {
            self.fill();
            let alarm = self.lanes.next_alarm().filter(|_| self.flights.len() < self.slots);
            let next = self.flights.iter().map(|flight| flight.ends).chain(alarm).min();
            match next {
                Some(next) if next <= until => self.now = self.now.max(next),
                _ => break,
            }
            while let Some(i) = self.flights.iter().position(|flight| flight.ends <= self.now) {
                let flight = self.flights.swap_remove(i);
                self.land(flight);
            }
        }
        self.now = self.now.max(until);
    }

    /// Runs until nothing waits any more. Hundreds of faults with waits of up to 30 s take hours of simulated time; a day is
    /// an endless loop.
    pub(super) fn run(&mut self) {
        while self.accounts.stats().waiting > 0 {
            assert!(self.elapsed() < Duration::from_secs(24 * 3600), "still waiting: {:?}", self.accounts.stats());
            let next = self.elapsed() + Duration::from_secs(1);
            self.run_until(next);
        }
    }

    pub(super) fn flush(&mut self) {
        self.lanes.flush(self.now);
    }

    fn fill(&mut self) {
        while self.flights.len() < self.slots {
            let Some((lane, token, work)) = self.lanes.take(self.now) else { break };
            let successes = self.accounts.successes();
            let mut jobs: Vec<Job> = match work {
                Work::Again(job) => vec![job],
                Work::Fresh(items) => batches(items, self.batch_bytes.min(self.accounts.body_limit()))
                    .into_iter()
                    .map(|(body, claim)| Job::new(Part::new(body, claim, successes)))
                    .collect(),
            };
            jobs.reverse();
            if let Some(job) = jobs.pop() {
                self.take_off(lane, job, token, jobs);
            }
        }
    }

    fn take_off(&mut self, lane: LaneId, job: Job, token: Option<Arc<str>>, backlog: Vec<Job>) {
        let Some(part) = job.current() else { return };
        let bytes = part.body.len();
        let attempt = Attempt { at: self.elapsed(), bytes, token: token.clone(), records: numbers(&part.body.whole()) };
        assert_eq!(attempt.records.len() as u64, part.claim.records());
        assert!(!attempt.records.is_empty(), "never an empty envelope");
        let (outcome, latency) = (self.world)(&attempt);
        self.attempts.push((attempt, outcome.clone()));
        self.flights.push(Flight { lane, job, token, backlog, outcome, ends: self.now + latency });
    }

    /// As `Slot::carry` in the dispatcher.
    fn land(&mut self, flight: Flight) {
        let Flight { lane, mut job, token, mut backlog, outcome, .. } = flight;
        let max_elapsed = self.retry.max_elapsed_time.0;
        let rules = Rules {
            accounts: &self.accounts,
            backoff: &self.backoff,
            retry: self.retry.enabled,
            max_elapsed: (!max_elapsed.is_zero()).then_some(max_elapsed),
        };
        let delivered = matches!(outcome, Outcome::Delivered { .. });
        let (step, _) = job.advance(outcome, self.now, &rules);
        if delivered {
            self.lanes.succeeded(lane, self.now);
        }
        let next = self.lanes.after(lane, job, step, self.now, |failures| self.backoff.wait(failures));
        match next.or_else(|| backlog.pop()) {
            Some(job) => self.take_off(lane, job, token, backlog),
            None => self.lanes.finished(lane, self.now),
        }
    }

    /// Numbers of the records that were acknowledged, sorted.
    pub(super) fn delivered(&self) -> Vec<u32> {
        let ok = self.attempts.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Delivered { .. }));
        let mut numbers: Vec<u32> = ok.flat_map(|(attempt, _)| attempt.records.iter().copied()).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// A world that answers at once.
pub(super) fn world(mut answer: impl FnMut(&Attempt) -> Outcome + 'static) -> World {
    Box::new(move |attempt| (answer(attempt), Duration::from_millis(20)))
}

/// Shared with a world, to look into it from outside.
pub(super) fn shared<T>(value: T) -> Arc<Mutex<T>> {
    Arc::new(Mutex::new(value))
}
