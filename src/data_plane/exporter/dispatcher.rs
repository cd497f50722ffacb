//! Runs the lanes: gives free slots to whoever is next, carries batches to the destination and back.
//!
//! Purpose: the one task that owns an exporter's requests in flight.
//! Promises: at most `num_consumers` requests in flight; sleeps until told or until the next alarm, never polls; when it
//! ends, whatever was left has been settled in the books.
//! Never: decides what an answer means (`job`) or who is next (`lanes`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accounts::{Accounts, Claim};
use super::backoff::Backoff;
use super::body::Body;
use super::job::{Job, Part, Rules};
use super::lanes::{Item, LaneId, Lanes, Token, Work};
use super::outcome::Outcome;
use super::throttle::Throttle;
use crate::data_plane::view::regroup;

/// Requests smaller than this on average are grouped under shared blocks. A resource takes some 400 bytes: below this, to
/// repeat it costs more than one byte in a hundred, which is billed; above, grouping costs more than it saves.
const GROUPED_BYTES: usize = 32 << 10;

/// What a delivery resolves to.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Where batches go.
pub trait Sink: Send + Sync + 'static {
    /// Sends one body with `records` records, once. Must end by itself (a time limit), and may be dropped half-way.
    fn deliver<'a>(&'a self, body: &'a Body, records: u64, token: Option<&'a str>) -> Delivery<'a>;

    /// Called once nothing more will be delivered.
    fn close(&self) {}
}

/// What the handle, the dispatcher and the requests in flight share.
pub(super) struct Core {
    pub(super) name: String,
    pub(super) accounts: Arc<Accounts>,
    pub(super) lanes: Mutex<Lanes>,
    pub(super) wake: Notify,
    pub(super) cancel: CancellationToken,
    /// Cancelled by the dispatcher when it has ended.
    pub(super) ended: CancellationToken,
    pub(super) destination: Arc<dyn Sink>,
    pub(super) backoff: Backoff,
    pub(super) retry: bool,
    pub(super) max_elapsed: Option<Duration>,
    pub(super) batch_bytes: usize,
    pub(super) slots: usize,
    pub(super) log: Throttle,
}

/// Serves the lanes until cancelled.
pub(super) async fn dispatch(core: Arc<Core>) {
    let _ended = core.ended.clone().drop_guard();
    let mut tasks = JoinSet::new();
    loop {
        let mut alarm = None;
        while tasks.len() < core.slots {
            let mut lanes = core.lanes.lock();
            let Some((lane, token, work)) = lanes.take(Instant::now()) else {
                alarm = lanes.next_alarm();
                break;
            };
            drop(lanes);
            let slot = Slot { core: Arc::clone(&core), lane };
            tasks.spawn(async move { slot.work(token, work).await });
        }
        tokio::select! {
            biased;
            () = core.cancel.cancelled() => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            () = core.wake.notified() => {}
            () = sleep_until(alarm), if alarm.is_some() => {}
        }
    }
    tasks.shutdown().await;
    core.lanes.lock().close();
    core.destination.close();
}

async fn sleep_until(alarm: Option<Instant>) {
    if let Some(at) = alarm {
        tokio::time::sleep_until(at).await;
    }
}

/// A request in flight; gives its place back however it ends.
struct Slot {
    core: Arc<Core>,
    lane: LaneId,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.core.lanes.lock().finished(self.lane, Instant::now());
    }
}

impl Slot {
    async fn work(self, token: Token, work: Work) {
        match work {
            Work::Again(job) => {
                self.core.accounts.note(|stats| stats.retries += 1);
                self.carry(token, job).await;
            }
            Work::Fresh(items) => {
                let successes = self.core.accounts.successes();
                for (body, claim) in batches(items, self.core.batch_bytes.min(self.core.accounts.body_limit())) {
                    self.carry(token.clone(), Job::new(Part::new(body, claim, successes))).await;
                }
            }
        }
    }

    /// Sends the parts of a job until it is done or has to wait.
    async fn carry(&self, token: Token, mut job: Job) {
        let core = &*self.core;
        let rules = Rules {
            accounts: &core.accounts,
            backoff: &core.backoff,
            retry: core.retry,
            max_elapsed: core.max_elapsed,
        };
        while let Some(part) = job.current() {
            let outcome = core.destination.deliver(&part.body, part.claim.records(), token.as_deref()).await;
            let delivered = matches!(outcome, Outcome::Delivered { .. });
            let now = Instant::now();
            let (step, line) = job.advance(outcome, now, &rules);
            if let Some(line) = line {
                core.log.warn(&core.name, &line, now);
            }
            let mut lanes = core.lanes.lock();
            if delivered {
                lanes.succeeded(self.lane, now);
            }
            match lanes.after(self.lane, job, step, now, |failures| core.backoff.wait(failures)) {
                Some(next) => job = next,
                None => return,
            }
        }
    }
}

/// Makes bodies of at most `batch_bytes` of queued requests. Requests that are large on average go out as they are, one
/// after the other; small ones are written anew under shared blocks.
pub(super) fn batches(items: Vec<Item>, batch_bytes: usize) -> Vec<(Body, Claim)> {
    let mut bodies: Vec<Bytes> = Vec::with_capacity(items.len());
    let mut claims = items.into_iter().map(|item| {
        bodies.push(item.body);
        item.claim
    });
    let Some(mut claim) = claims.next() else { return Vec::new() };
    claims.for_each(|other| claim.absorb(other));
    let total: usize = bodies.iter().map(Bytes::len).sum();
    if total <= batch_bytes && (bodies.len() == 1 || total / bodies.len() >= GROUPED_BYTES) {
        return vec![(Body::chain(bodies), claim)];
    }
    let requests: Vec<&[u8]> = bodies.iter().map(|body| &body[..]).collect();
    let mut grouped: Vec<(Body, u64)> = Vec::new();
    regroup(&requests, batch_bytes, |body, records| grouped.push((body.into(), records)));
    let Some((last, _)) = grouped.pop() else { return Vec::new() };
    let mut batches: Vec<_> = grouped.into_iter().map(|(body, records)| (body, claim.split_off(records))).collect();
    batches.push((last, claim));
    batches
}

#[cfg(test)]
mod tests {
    use super::super::simulation::request;
    use super::*;
    use crate::data_plane::view::LogIndex;

    fn items(accounts: &Arc<Accounts>, bodies: &[Bytes]) -> Vec<Item> {
        let item = |body: &Bytes| {
            let mut index = LogIndex::default();
            index.read(body).unwrap();
            assert!(accounts.reserve(body.len()));
            let claim = accounts.accept(body.len(), body.len(), index.records.len() as u64);
            Item { body: body.clone(), claim, arrived: Instant::now() }
        };
        bodies.iter().map(item).collect()
    }

    #[test]
    fn large_requests_go_out_in_a_row_and_small_ones_grouped() {
        let accounts = Accounts::new(usize::MAX);
        let (small, large) = (request(0..3), request(0..6000));
        assert!(large.len() >= GROUPED_BYTES);
        // (requests, limit) to (bodies, resource blocks, whether the bytes are those of the requests)
        for (bodies, limit, expected) in [
            (vec![small.clone()], 1 << 20, (1, 1, true)),
            (vec![small.clone(), small.clone()], 1 << 20, (1, 1, false)),
            (vec![large.clone(), large.clone(), small.clone()], 1 << 20, (1, 3, true)),
            (vec![large.clone(), large.clone()], 2 * large.len(), (1, 2, true)),
            (vec![large.clone(), large.clone()], 2 * large.len() - 100, (2, 2, false)),
        ] {
            let batches = batches(items(&accounts, &bodies), limit);
            let (mut resources, mut bytes) = (0, Vec::new());
            for (body, claim) in &batches {
                let whole = body.whole();
                let mut index = LogIndex::default();
                index.read(&whole).unwrap();
                assert_eq!(index.records.len() as u64, claim.records());
                assert!(body.len() <= limit);
                resources += index.resources.len();
                bytes.extend_from_slice(&whole);
            }
            assert_eq!((batches.len(), resources, bytes == bodies.concat()), expected, "{} {limit}", bodies.len());
            batches.into_iter().for_each(|(_, claim)| claim.sent(0));
        }
    }
}
