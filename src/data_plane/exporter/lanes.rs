//! Who is served next: queued requests and batches in retry, by token.
//!
//! Purpose: a lane per token, so that tokens are never mixed; taken round-robin, so that none starves the others.
//! Promises: a lane exists only while it has work; a batch is taken when it is full, old enough or everything is to be
//! flushed; what waits for a retry waits in its lane and holds no slot; while a destination fails, new requests gather
//! into full batches and only one of them a pause is risked.
//! Never: sends, sleeps or reads a clock: time is an argument, and [`Lanes::next_alarm`] says when to come back.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::accounts::Claim;
use super::job::{Job, Step};

/// The token of a lane; `None` where the destination's own configuration says who we are.
pub(super) type Token = Option<Arc<str>>;
/// Names a lane for as long as it has work.
pub(super) type LaneId = u64;

/// A queued request.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) body: Bytes,
    pub(super) claim: Claim,
    pub(super) arrived: Instant,
}

/// What a slot gets to do.
#[derive(Debug)]
pub(super) enum Work {
    /// Requests to send as one batch.
    Fresh(Vec<Item>),
    /// A batch that has been put off.
    Again(Job),
}

/// Settings of the lanes.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneLimits {
    /// Largest batch, before compression.
    pub(super) batch_bytes: usize,
    /// Oldest request that waits for company.
    pub(super) batch_timeout: Duration,
    /// Slots one lane may hold.
    pub(super) slots: usize,
}

#[derive(Debug)]
struct Lane {
    token: Token,
    items: VecDeque<Item>,
    item_bytes: usize,
    put_off: BTreeMap<(Instant, u64), Job>,
    in_flight: usize,
    /// New batches that failed in a row.
    failures: u32,
    /// No new batch before; batches in retry keep their own time.
    paused_until: Option<Instant>,
    /// Nothing at all before: the destination asked for it.
    hold_until: Option<Instant>,
    in_ring: bool,
    alarm: Option<Instant>,
}

/// All lanes of one exporter.
#[derive(Debug)]
pub(super) struct Lanes {
    limits: LaneLimits,
    lanes: HashMap<LaneId, Lane, ahash::RandomState>,
    by_token: HashMap<Token, LaneId, ahash::RandomState>,
    ring: VecDeque<LaneId>,
    alarms: BTreeSet<(Instant, LaneId)>,
    next_id: u64,
    flushing: bool,
    closed: bool,
}

impl Lanes {
    pub(super) fn new(limits: LaneLimits) -> Self {
        Lanes {
            limits,
            lanes: HashMap::default(),
            by_token: HashMap::default(),
            ring: VecDeque::new(),
            alarms: BTreeSet::new(),
            next_id: 0,
            flushing: false,
            closed: false,
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn lane_of(&mut self, token: Token) -> LaneId {
        if let Some(id) = self.by_token.get(&token) {
            return *id;
        }
        let id = self.id();
        self.by_token.insert(token.clone(), id);
        self.lanes.insert(
            id,
            Lane {
                token,
                items: VecDeque::new(),
                item_bytes: 0,
                put_off: BTreeMap::new(),
                in_flight: 0,
                failures: 0,
                paused_until: None,
                hold_until: None,
                in_ring: false,
                alarm: None,
            },
        );
        id
    }

    /// Queues a request. `true` when the dispatcher should look: the first of its lane, or one that fills a batch.
    pub(super) fn push(&mut self, token: Token, item: Item, now: Instant) -> bool {
        if self.closed {
            // The claim settles itself.
            drop(item);
            return false;
        }
        let id = self.lane_of(token);
        let Some(lane) = self.lanes.get_mut(&id) else { return true };
        let was_full = lane.item_bytes >= self.limits.batch_bytes;
        let was_empty = lane.items.is_empty();
        lane.item_bytes += item.body.len();
        lane.items.push_back(item);
        let is_full = lane.item_bytes >= self.limits.batch_bytes;
        let look = was_empty || (is_full && !was_full);
        if look {
            self.refresh(id, now);
        }
        look
    }

    /// Something to do now, from the lane whose turn it is. The slot is held until [`Lanes::finished`].
    pub(super) fn take(&mut self, now: Instant) -> Option<(LaneId, Token, Work)> {
        while let Some(&(at, id)) = self.alarms.first() {
            if at > now {
                break;
            }
            self.alarms.pop_first();
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.alarm = None;
            }
            self.refresh(id, now);
        }
        while let Some(id) = self.ring.pop_front() {
            let (limits, flushing) = (self.limits, self.flushing);
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.in_ring = false;
            let taken = lane.take(now, &limits, flushing).map(|work| (id, lane.token.clone(), work));
            lane.in_flight += usize::from(taken.is_some());
            self.refresh(id, now);
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// When [`Lanes::take`] may have something though nothing else happened.
    pub(super) fn next_alarm(&self) -> Option<Instant> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Takes note of a batch's last answer while its slot is still held; gives the batch back when its next part is to
    /// be sent now. `pause` maps failures in a row to the pause of new batches.
    pub(super) fn after(
        &mut self,
        id: LaneId,
        mut job: Job,
        step: Step,
        now: Instant,
        pause: impl FnOnce(u32) -> Duration,
    ) -> Option<Job> {
        let (due, ordered, outage) = match step {
            Step::Again => return Some(job),
            Step::Done => return None,
            Step::Wait { due, ordered, outage } => (due, ordered, outage),
        };
        let seq = self.id();
        let lane = self.lanes.get_mut(&id)?;
        if ordered {
            lane.hold_until = Some(lane.hold_until.map_or(due, |at| at.max(due)));
        }
        // Batches in retry keep their own time; only a new one tells whether others should be risked.
        if outage && !std::mem::replace(&mut job.was_put_off, true) {
            lane.failures = lane.failures.saturating_add(1);
            lane.paused_until = Some(now + pause(lane.failures));
        }
        lane.put_off.insert((due, seq), job);
        None
    }

    /// The destination acknowledged a request of this lane: no more pause.
    pub(super) fn succeeded(&mut self, id: LaneId, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.failures = 0;
            if lane.paused_until.take().is_some() {
                self.refresh(id, now);
            }
        }
    }

    /// Gives a slot back.
    pub(super) fn finished(&mut self, id: LaneId, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.in_flight = lane.in_flight.saturating_sub(1);
            self.refresh(id, now);
        }
    }

    /// From here on nothing waits for company, pauses end, and batches in retry are due, but for ordered waits.
    pub(super) fn flush(&mut self, now: Instant) {
        self.flushing = true;
        let ids: Vec<LaneId> = self.lanes.keys().copied().collect();
        for id in ids {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.paused_until = None;
                let jobs = std::mem::take(&mut lane.put_off);
                lane.put_off = jobs.into_iter().map(|((due, seq), job)| ((due.min(now), seq), job)).collect();
            }
            self.refresh(id, now);
        }
    }

    /// Drops everything that waits and whatever still comes; the claims settle themselves.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.lanes.clear();
        self.by_token.clear();
        self.ring.clear();
        self.alarms.clear();
    }

    /// Puts a lane where it belongs: in the ring when it has something to do, behind an alarm when it will have, away
    /// when it has nothing.
    fn refresh(&mut self, id: LaneId, now: Instant) {
        let (limits, flushing) = (self.limits, self.flushing);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some(at) = lane.alarm.take() {
            self.alarms.remove(&(at, id));
        }
        if lane.is_empty() {
            if let Some(lane) = self.lanes.remove(&id) {
                self.by_token.remove(&lane.token);
            }
            return;
        }
        if lane.in_ring {
            return;
        }
        match lane.attention(&limits, flushing) {
            Some(at) if at <= now => {
                lane.in_ring = true;
                self.ring.push_back(id);
            }
            Some(at) => {
                lane.alarm = Some(at);
                self.alarms.insert((at, id));
            }
            None => {}
        }
    }
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.items.is_empty() && self.put_off.is_empty() && self.in_flight == 0
    }

    /// When new requests may leave, holds aside.
    fn fresh_at(&self, limits: &LaneLimits, flushing: bool) -> Option<Instant> {
        let oldest = self.items.front()?.arrived;
        let full = flushing || self.item_bytes >= limits.batch_bytes;
        let ripe = if full { oldest } else { oldest + limits.batch_timeout };
        Some(self.paused_until.map_or(ripe, |pause| pause.max(ripe)))
    }

    /// When this lane has something to do; `None` when it has nothing or no slot.
    fn attention(&self, limits: &LaneLimits, flushing: bool) -> Option<Instant> {
        if self.in_flight >= limits.slots {
            return None;
        }
        let again = self.put_off.keys().next().map(|(due, _)| *due);
        let at = match (again, self.fresh_at(limits, flushing)) {
            (Some(again), Some(fresh)) => again.min(fresh),
            (again, fresh) => again.or(fresh)?,
        };
        Some(self.hold_until.map_or(at, |hold| hold.max(at)))
    }

    fn take(&mut self, now: Instant, limits: &LaneLimits, flushing: bool) -> Option<Work> {
        if self.in_flight >= limits.slots || self.hold_until.is_some_and(|hold| hold > now) {
            return None;
        }
        self.hold_until = None;
        if let Some(entry) = self.put_off.first_entry()
            && entry.key().0 <= now
        {
            return Some(Work::Again(entry.remove()));
        }
        if self.fresh_at(limits, flushing)? > now {
            return None;
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(item) = self.items.front() {
            if !taken.is_empty() && bytes + item.body.len() > limits.batch_bytes {
                break;
            }
            bytes += item.body.len();
            taken.extend(self.items.pop_front());
        }
        self.item_bytes = self.item_bytes.saturating_sub(bytes);
        Some(Work::Fresh(taken))
    }
}
