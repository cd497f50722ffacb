//! A batch through the stages: view → signature → window → policy → sampler → splice → exporters.
//!
//! Purpose: the one place where the stages meet; takes whole requests from receivers and hands what is kept to every
//! destination.
//! Promises: room is reserved in every queue before anything is decided, so a request is taken whole or refused whole
//! with no effect; settings, policy and destinations are loaded once per batch and swapped atomically; every record is
//! booked.
//! Never: blocks, waits, reads the network, or reaches into a stage's insides.

mod batch;
pub mod explain;
mod report;
mod scratch;
mod summaries;
mod take;
pub mod tap;
pub mod trial;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::data_plane::exporter::Outgoing;
use crate::data_plane::ledger::{Arm, Ledger, Tally};
use crate::data_plane::pattern::Sightings;
use crate::data_plane::policy::{CompiledPolicy, Fleet, threshold_of};
use crate::data_plane::receiver::{Consumer, Received, Refusal, Reply, Signal, Transport};
use crate::data_plane::reservoir::Reservoir;
use crate::data_plane::sampler::config::{ProtectSeverity, SamplerConfig};
use crate::data_plane::sampler::{Boosts, Settings};
use crate::data_plane::window::{Band, PatternTable};

use scratch::Scratch;
use tap::Tap;
use trial::Trial;

/// How long a client is asked to wait when a queue is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Scratch buffers kept for reuse; more requests at once allocate their own.
const MAX_IDLE_SCRATCH: usize = 16;

/// Where kept records go.
pub trait Destination: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;
    /// Room for about `bytes` bytes, or `None` when it is full now.
    fn try_reserve(&self, bytes: usize) -> Option<Box<dyn Room>>;
    /// Notes that a request of so many records was refused because this destination was full.
    fn note_refused(&self, records: u64);
    /// Bytes of bodies it took so far, before compression, which is what is billed; 0 if it is not billed by the byte.
    fn sent_bytes(&self) -> u64 {
        0
    }
}

/// Room in a destination's queue. Dropping it gives the room back.
pub trait Room: Send {
    /// Puts a request into the room; never refused.
    fn submit(self: Box<Self>, outgoing: Outgoing);
}

/// Where traces and metrics go.
pub trait Forward: Send + Sync {
    /// Sends the request on untouched and waits for the answer.
    fn forward(&self, signal: Signal, request: Received) -> Reply;
}

/// Says whether memory is short; the reason, for the client.
pub trait Overload: Send + Sync {
    /// `Some(why)` while requests must be refused.
    fn check(&self) -> Option<String>;
}

/// What can be replaced while the gateway runs.
pub struct Wiring {
    /// Every destination gets every kept record.
    pub destinations: Vec<Arc<dyn Destination>>,
    /// For traces and metrics.
    pub forward: Arc<dyn Forward>,
    /// Memory limit, if any.
    pub overload: Option<Arc<dyn Overload>>,
    /// The decision's settings.
    pub settings: Settings,
    /// Lowest protected severity band.
    pub protect_from: Option<Band>,
    /// Whether summaries are made.
    pub summaries: bool,
}

/// The decision's settings from the configuration.
pub fn settings_of(config: &SamplerConfig) -> (Settings, Option<Band>) {
    let settings = Settings {
        novelty_records: u64::from(config.novelty_records),
        floor_records: u64::from(config.floor_records),
        default_threshold: threshold_of(config.default_percentage),
    };
    let protect_from = match config.protect_severity {
        ProtectSeverity::Warn => Some(Band::Warn),
        ProtectSeverity::Error => Some(Band::Error),
        ProtectSeverity::Fatal => Some(Band::Fatal),
        ProtectSeverity::None => None,
    };
    (settings, protect_from)
}

/// The data plane's middle. One per gateway, shared by all receivers.
pub struct Pipeline {
    clock: Clock,
    /// Patterns and their windows.
    pub table: PatternTable,
    /// Templates on their way to the miner.
    pub sightings: Sightings,
    /// Single decisions on their way to people who watch.
    pub tap: Tap,
    /// The books.
    pub ledger: Ledger,
    reservoir: OnceLock<Arc<Reservoir>>,
    policy: ArcSwap<CompiledPolicy>,
    trial: ArcSwapOption<Trial>,
    boosts: ArcSwap<Boosts>,
    /// A [`Fleet`] as a number.
    fleet: AtomicU64,
    wiring: ArcSwap<Wiring>,
    draining: AtomicBool,
    idle_scratch: Mutex<Vec<Scratch>>,
}

impl Pipeline {
    /// A pipeline over an empty table.
    pub fn new(clock: Clock, table: PatternTable, policy: CompiledPolicy, wiring: Wiring) -> Self {
        Pipeline {
            clock,
            table,
            sightings: Sightings::default(),
            tap: Tap::default(),
            ledger: Ledger::default(),
            reservoir: OnceLock::new(),
            policy: ArcSwap::from_pointee(policy),
            trial: ArcSwapOption::empty(),
            boosts: ArcSwap::default(),
            fleet: AtomicU64::new(Fleet::ALONE.to_bits()),
            wiring: ArcSwap::from_pointee(wiring),
            draining: AtomicBool::new(false),
            idle_scratch: Mutex::default(),
        }
    }

    /// Hands some records of each pattern to `reservoir` from now on; to be said once, before the first record.
    pub fn keep_in(&self, reservoir: Arc<Reservoir>) {
        let _first_stays = self.reservoir.set(reservoir);
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<CompiledPolicy> {
        self.policy.load_full()
    }

    /// Puts another policy in force, from the next batch on.
    pub fn set_policy(&self, policy: CompiledPolicy) {
        self.policy.store(Arc::new(policy));
    }

    /// The boosts in force.
    pub fn boosts(&self) -> Arc<Boosts> {
        self.boosts.load_full()
    }

    /// Puts other boosts in force, from the next batch on.
    pub fn set_boosts(&self, boosts: Boosts) {
        self.boosts.store(Arc::new(boosts));
    }

    /// Who shares rate limits with this gateway.
    pub fn fleet(&self) -> Fleet {
        Fleet::from_bits(self.fleet.load(Ordering::Relaxed))
    }

    /// Shares rate limits with others, from the next batch on.
    pub fn set_fleet(&self, fleet: Fleet) {
        self.fleet.store(fleet.to_bits(), Ordering::Relaxed);
    }

    /// Replaces destinations and settings, from the next batch on. Windows, books and limits stay.
    pub fn rewire(&self, wiring: Wiring) {
        self.wiring.store(Arc::new(wiring));
    }

    /// Bytes of bodies that the destination which took most has taken.
    pub fn sent_bytes(&self) -> u64 {
        self.wiring.load().destinations.iter().map(|destination| destination.sent_bytes()).max().unwrap_or(0)
    }

    /// Draws the randomness of records without a trace id from `seed`, as long as one thread at a time uses the
    /// pipeline: for replays, which must come out the same twice.
    pub fn seed_randomness(&self, seed: u64) {
        let mut idle = self.idle_scratch.lock();
        idle.clear();
        idle.push(Scratch::seeded(seed));
    }

    /// Refuses requests from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    fn take(&self, scratch: &mut Scratch, request: Received) -> Result<(), Refusal> {
        let malformed = |error: crate::data_plane::view::ViewError| {
            self.ledger.refuse_unread(Signal::Logs, request.transport);
            Refusal::Malformed(error.to_string())
        };
        scratch.read(&request.body).map_err(malformed)?;
        if scratch.is_empty() {
            return Ok(());
        }
        let wiring = self.wiring.load();
        let rooms = self.reserve(&wiring, &request.body, scratch.index.records.len() as u64).inspect_err(|_| {
            self.ledger.refuse(scratch.tally(), request.transport);
        })?;
        let policy = self.policy.load();
        let boosts = self.boosts.load();
        let trial = self.trial.load();
        let trial = trial.as_deref();
        let outgoing = batch::decide(self, &wiring, (&policy, trial, &boosts), scratch, &request);
        scratch.entry.request_bytes = request.body.len() as u64;
        scratch.entry.forwarded_bytes = outgoing.as_ref().map_or(0, |outgoing| outgoing.body.len() as u64);
        self.ledger.book(&scratch.entry, request.transport, |arm, index| {
            let set = trial.filter(|_| arm == Arm::Candidate).map_or(&**policy, |trial| &trial.policy);
            set.policy(index).id.clone()
        });
        if let Some(outgoing) = outgoing {
            submit(rooms, outgoing);
        }
        Ok(())
    }

    /// Room in every destination, or a refusal that says which is full.
    fn reserve(&self, wiring: &Wiring, body: &Bytes, records: u64) -> Result<Vec<Box<dyn Room>>, Refusal> {
        let busy = |message: String| Refusal::Busy { message, retry_after: RETRY_AFTER };
        if self.draining.load(Ordering::Acquire) {
            return Err(busy("the gateway is shutting down; send again to its successor".into()));
        }
        if let Some(why) = wiring.overload.as_ref().and_then(|overload| overload.check()) {
            return Err(busy(why));
        }
        let mut rooms = Vec::with_capacity(wiring.destinations.len());
        for destination in &wiring.destinations {
            let Some(room) = destination.try_reserve(body.len()) else {
                destination.note_refused(records);
                let name = destination.name();
                return Err(busy(format!(
                    "the queue of exporter {name:?} is full (exporters: {name}: sending_queue: max_size); nothing of this \
                     request was taken, send it again"
                )));
            };
            rooms.push(room);
        }
        Ok(rooms)
    }

    fn scratch(&self) -> Scratch {
        self.idle_scratch.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, mut scratch: Scratch) {
        scratch.shrink();
        let mut idle = self.idle_scratch.lock();
        if idle.len() < MAX_IDLE_SCRATCH {
            idle.push(scratch);
        }
    }
}

fn submit(rooms: Vec<Box<dyn Room>>, outgoing: Outgoing) {
    for room in rooms {
        room.submit(outgoing.clone());
    }
}

impl Consumer for Pipeline {
    fn consume_logs(&self, request: Received) -> Result<(), Refusal> {
        let mut scratch = self.scratch();
        let taken = self.take(&mut scratch, request);
        self.give_back(scratch);
        taken
    }

    fn forward(&self, signal: Signal, request: Received) -> Reply {
        self.wiring.load().forward.forward(signal, request)
    }

    fn refused(&self, signal: Signal, transport: Transport) {
        self.ledger.refuse_unread(signal, transport);
    }
}

impl Scratch {
    fn tally(&self) -> Tally {
        let bytes = self.index.records.iter().map(|record| record.field.len() as u64).sum();
        Tally { records: self.index.records.len() as u64, bytes }
    }
}
