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
use super::job::{Job, Part, Rules};
use super::lanes::{Item, LaneId, Lanes, Token, Work};
use super::outcome::Outcome;
use super::throttle::Throttle;
use crate::data_plane::view::regroup;

/// What a delivery resolves to.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Where batches go.
pub trait Sink: Send + Sync + 'static {
    /// Sends one body with `records` records, once. Must end by itself (a time limit), and may be dropped half-way.
    fn deliver<'a>(&'a self, body: &'a Bytes, records: u64, token: Option<&'a str>) -> Delivery<'a>;

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

/// Makes bodies of at most `batch_bytes` of queued requests; one request that fits is passed on as it is.
pub(super) fn batches(items: Vec<Item>, batch_bytes: usize) -> Vec<(Bytes, Claim)> {
    let mut bodies = Vec::with_capacity(items.len());
    let mut claims = items.into_iter().map(|item| {
        bodies.push(item.body);
        item.claim
    });
    let Some(mut claim) = claims.next() else { return Vec::new() };
    claims.for_each(|other| claim.absorb(other));
    if let [body] = bodies.as_slice()
        && body.len() <= batch_bytes
    {
        return vec![(body.clone(), claim)];
    }
    let requests: Vec<&[u8]> = bodies.iter().map(|body| &body[..]).collect();
    let mut grouped: Vec<(Bytes, u64)> = Vec::new();
    regroup(&requests, batch_bytes, |body, records| grouped.push((body.into(), records)));
    let Some((last, _)) = grouped.pop() else { return Vec::new() };
    let mut batches: Vec<_> = grouped.into_iter().map(|(body, records)| (body, claim.split_off(records))).collect();
    batches.push((last, claim));
    batches
}
