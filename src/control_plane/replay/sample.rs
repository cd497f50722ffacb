//! A replay of a sample, told in the counts of the traffic it was taken from.
//!
//! Purpose: turn a [`Sample`] into requests that a [`super::Replay`] takes, as many records as are affordable, and bring
//! its outcome back to the traffic's own numbers.
//! Promises: every pattern held is in it; what came in is told exactly; what would go out is an estimate without bias:
//! records that the floor keeps count by windows, all others by how many each of them stands for; the same sample, settings
//! and catalogue give the same requests.
//! Never: decides. Not told: whole traces (each copy has a trace of its own), and rate limits of people, which keep too much
//! of a thinned stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::HashMap;
use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};

use super::delivery::Delivered;
use super::engine::{Outcome, Replay, ReplayError, Settings};
use super::profile::{CellProfile, OVERFLOW};
use super::walk::{Services, Walker};
use crate::clock::UnixNanos;
use crate::data_plane::ledger::Tally;
use crate::data_plane::pattern::{Catalogue, PatternId};
use crate::data_plane::policy::CompiledPolicy;
use crate::data_plane::reservoir::Sample;
use crate::data_plane::view::encode::{Header, resource_logs};
use crate::data_plane::window::{Band, PatternKey};
use crate::units::Period;

/// Windows and records beyond the floor that every pattern has in a replay, where it had as many.
const LEAST_WINDOWS: usize = 4;
const LEAST_BEYOND: u64 = 2;
/// Extra records for which a pattern gets another window.
const PER_WINDOW: u64 = 8;
/// Parts of a window at most.
const MOST_SLOTS: u64 = 1_000;
/// Records of one request.
const MAX_RECORDS: usize = 512;
/// Bytes of a trace id that are random enough for a decision: its last seven.
const RANDOM_BYTES: std::ops::Range<usize> = 9..16;

/// Which pattern: service, severity band, pattern as the catalogue has it.
type Key = (Arc<str>, Band, PatternId);

/// Counts by service and severity band.
type Bands = BTreeMap<(Arc<str>, Band), Tally>;

/// A record, with what stands around it.
#[derive(Clone, Debug)]
struct Piece {
    block: usize,
    message: Bytes,
    trace_id_at: Option<usize>,
    bytes: u64,
}

/// What came in, or what is played of it.
#[derive(Clone, Copy, Debug, Default)]
struct Volume {
    records: u64,
    bytes: u64,
    /// Of the records, those that a floor would keep.
    floor: u64,
    windows: u64,
    intervals: u64,
}

#[derive(Debug, Default)]
struct Part {
    pieces: Vec<Piece>,
    /// Records and bytes by window.
    counts: BTreeMap<u64, (u64, u64)>,
    first_seen: UnixNanos,
    came: Volume,
    pairs: f64,
    played: Volume,
}

/// Requests made of a sample.
#[derive(Debug)]
pub struct Script {
    requests: Vec<(UnixNanos, Bytes)>,
    parts: HashMap<Key, Part>,
    /// Patterns without a record to play, by service and band.
    beyond: BTreeMap<(Arc<str>, Band), Tally>,
    span: (UnixNanos, UnixNanos),
    window_ns: u64,
    thinning: f64,
}

/// The lengths that counts go by.
#[derive(Clone, Copy)]
struct Lengths {
    floor: u64,
    window_ns: u64,
    interval_ns: u64,
    /// How long a batch of an exporter waits.
    batch_ns: u64,
}

/// The settings for replays of samples: the patterns of a running gateway are not new.
pub fn settings_for(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.sampler.novelty_records = 0;
    settings
}

impl Script {
    /// Makes requests of about `most_records` records. `settings` as from [`settings_for`].
    pub fn new(sample: &Sample, catalogue: &Arc<Catalogue>, settings: &Settings, most_records: u64) -> Script {
        let lengths = Lengths {
            floor: u64::from(settings.sampler.floor_records),
            window_ns: sample.window_ns.max(1),
            interval_ns: (settings.sampler.summary.interval.0.as_nanos() as u64).max(1),
            batch_ns: (settings.batch.timeout.0.as_nanos() as u64).max(1),
        };
        let mut blocks = Blocks::default();
        let (mut parts, beyond) = read(sample, catalogue, &mut blocks);
        parts.values_mut().for_each(|part| part.measure(lengths));
        let played = allot(&mut parts, lengths, most_records);
        let windows: BTreeSet<u64> = parts.values().flat_map(|part| part.counts.keys().copied()).collect();
        let first = windows.first().map_or(0, |window| window * lengths.window_ns);
        let last = windows.last().map_or(0, |window| (window + 1) * lengths.window_ns - 1);
        let came: u64 = parts.values().map(|part| part.came.records).sum();
        let records: u64 = played.values().flatten().map(|(_, records)| records).sum();
        let thinning = came.max(1) as f64 / records.max(1) as f64;
        let slots = slots(lengths, thinning);
        let requests = write(&mut parts, &played, &blocks, (lengths, slots), settings.seed);
        let parts = parts.into_iter().collect();
        Script { requests, parts, beyond, span: (first, last), window_ns: lengths.window_ns, thinning }
    }

    /// Records that are played.
    pub fn records(&self) -> u64 {
        self.parts.values().map(|part| part.played.records).sum()
    }

    /// Runs a policy over it, as [`Replay::new`], and tells the outcome in the traffic's own counts.
    ///
    /// # Errors
    /// Those of the replay.
    pub fn play(
        &self,
        settings: &Settings,
        policy: CompiledPolicy,
        human: CompiledPolicy,
    ) -> Result<Outcome, ReplayError> {
        let mut settings = settings.clone();
        // As many records in a body as the traffic would have had.
        settings.batch.timeout = Period(settings.batch.timeout.0.mul_f64(self.thinning.clamp(1.0, 1e6)));
        let mut replay = Replay::new(&settings, policy, human);
        for (at, request) in &self.requests {
            replay.feed_at(request.clone(), *at)?;
        }
        let mut outcome = replay.finish()?;
        self.scale(&mut outcome);
        Ok(outcome)
    }
}

/// Resource and scope blocks, each once.
#[derive(Default)]
struct Blocks {
    numbers: HashMap<[Bytes; 4], usize>,
    list: Vec<[Bytes; 4]>,
}

impl Blocks {
    fn number(&mut self, block: [Bytes; 4]) -> usize {
        let next = self.list.len();
        *self.numbers.entry(block).or_insert_with_key(|block| {
            self.list.push(block.clone());
            next
        })
    }
}

/// Finds the patterns of a sample's records, and joins what the catalogue joins.
fn read(sample: &Sample, catalogue: &Arc<Catalogue>, blocks: &mut Blocks) -> (BTreeMap<Key, Part>, Bands) {
    let mut parts: BTreeMap<Key, Part> = BTreeMap::new();
    let mut beyond: Bands = BTreeMap::new();
    let mut walker = Walker::new(Arc::clone(catalogue));
    let mut services = Services::new(usize::MAX);
    for stratum in &sample.strata {
        let mut found: Option<(Key, Vec<Piece>)> = None;
        for request in &stratum.records {
            let Some((key, piece)) = piece(request, &mut walker, &mut services, blocks) else { continue };
            let is_own = key.0 == stratum.service && key.1 == stratum.band && stratum.pattern.is_some();
            match &mut found {
                None if is_own => found = Some((key, vec![piece])),
                Some((known, pieces)) if *known == key => pieces.push(piece),
                _ => {}
            }
        }
        let Some((key, pieces)) = found else {
            let tally = beyond.entry((Arc::clone(&stratum.service), stratum.band)).or_default();
            for count in &stratum.windows {
                tally.records += count.records;
                tally.bytes += count.bytes;
            }
            continue;
        };
        let part = parts.entry(key).or_default();
        part.pieces.extend(pieces);
        part.first_seen =
            if part.first_seen == 0 { stratum.first_seen } else { part.first_seen.min(stratum.first_seen) };
        for count in &stratum.windows {
            let sum = part.counts.entry(count.window).or_default();
            sum.0 += count.records;
            sum.1 += count.bytes;
        }
    }
    (parts, beyond)
}

fn piece(request: &Bytes, walker: &mut Walker, services: &mut Services, blocks: &mut Blocks) -> Option<(Key, Piece)> {
    walker.read(request).ok()?;
    let mut key = None;
    walker.each(request, services, |seen| key = Some((seen.key, seen.bytes)), |_, _| {});
    let (key, bytes) = key?;
    let span = *walker.index.records.first()?;
    let (resource, scope) = (walker.index.resource_of(request, &span), walker.index.scope_of(request, &span));
    let parts = [resource.message(), resource.schema_url(), scope.message(), scope.schema_url()];
    let record = walker.index.record(request, 0);
    let (payload, trace_id) = (record.payload(), record.trace_id());
    let at = (trace_id.len() == 16).then(|| trace_id.as_ptr() as usize - payload.as_ptr() as usize);
    let piece = Piece {
        block: blocks.number(parts.map(|part| request.slice_ref(part))),
        message: request.slice_ref(payload),
        trace_id_at: at.filter(|at| at + 16 <= payload.len()),
        bytes,
    };
    Some(((services.name(key.service), key.band, key.pattern), piece))
}

impl Part {
    fn measure(&mut self, lengths: Lengths) {
        let interval = |window: u64| window * lengths.window_ns / lengths.interval_ns;
        let intervals: BTreeSet<u64> = self.counts.keys().map(|window| interval(*window)).collect();
        self.came =
            Volume { windows: self.counts.len() as u64, intervals: intervals.len() as u64, ..Volume::default() };
        for &(records, bytes) in self.counts.values() {
            self.came.records += records;
            self.came.bytes += bytes;
            self.came.floor += records.min(lengths.floor);
            self.pairs += records as f64 * (records as f64 - 1.0).max(0.0);
        }
    }

    /// The windows that are played, spread over those with a record. Where any window holds records beyond the floor one that
    /// is played does, or nothing would tell what becomes of those.
    fn choose(&self, windows: usize, floor: u64, offset: u64) -> Vec<u64> {
        let all: Vec<u64> = self.counts.keys().copied().collect();
        let wanted = windows.clamp(1, all.len().max(1));
        if wanted >= all.len() {
            return all;
        }
        let step = all.len() as f64 / wanted as f64;
        let start = (offset % 1024) as f64 / 1024.0 * step;
        let mut chosen: Vec<u64> =
            (0..wanted).filter_map(|i| all.get((start + i as f64 * step) as usize).copied()).collect();
        let is_full = |window: &u64| self.counts.get(window).is_some_and(|count| count.0 > floor);
        if !chosen.iter().any(is_full) {
            let full: Vec<u64> = all.into_iter().filter(is_full).collect();
            chosen.extend(full.get((offset % full.len().max(1) as u64) as usize));
            chosen.sort_unstable();
        }
        chosen
    }
}

/// How many records of each window are played, by pattern.
fn allot(parts: &mut BTreeMap<Key, Part>, lengths: Lengths, most: u64) -> BTreeMap<Key, Vec<(u64, u64)>> {
    let came: u64 = parts.values().map(|part| part.came.records).sum();
    let beyond = |part: &Part| part.came.records - part.came.floor;
    let least = |part: &Part| {
        let windows = part.counts.len().min(LEAST_WINDOWS) as u64;
        windows * lengths.floor + beyond(part).min(windows * LEAST_BEYOND)
    };
    let weight = |part: &Part| beyond(part) as f64 * part.came.bytes as f64 / part.came.records.max(1) as f64;
    let spare = most.saturating_sub(parts.values().map(least).sum()) as f64;
    let weights: f64 = parts.values().map(weight).sum();
    let chosen = |(key, part): (&Key, &Part)| {
        let extra = if weights > 0.0 { (spare * weight(part) / weights) as u64 } else { 0 };
        let extra = if came <= most { u64::MAX } else { extra };
        let windows = LEAST_WINDOWS.saturating_add((extra / PER_WINDOW) as usize);
        let windows = part.choose(windows, lengths.floor, key.2.0);
        let each = LEAST_BEYOND.saturating_add(extra.div_ceil(windows.len().max(1) as u64));
        let play = |window: u64| {
            let records = part.counts.get(&window).map_or(0, |count| count.0);
            let floor = records.min(lengths.floor);
            (window, floor + (records - floor).min(each))
        };
        (key.clone(), windows.into_iter().map(play).collect())
    };
    parts.iter().map(chosen).collect()
}

/// Parts of a window, so that a batch of the replay holds as many records as one of the traffic.
fn slots(lengths: Lengths, thinning: f64) -> u64 {
    let batch_ns = lengths.batch_ns as f64 * thinning.max(1.0);
    ((lengths.window_ns as f64 / batch_ns) as u64).clamp(1, MOST_SLOTS)
}

/// Writes the requests, window by window.
fn write(
    parts: &mut BTreeMap<Key, Part>,
    played: &BTreeMap<Key, Vec<(u64, u64)>>,
    blocks: &Blocks,
    (lengths, slots): (Lengths, u64),
    seed: u64,
) -> Vec<(UnixNanos, Bytes)> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut by_slot: BTreeMap<(u64, u64), BTreeMap<usize, Vec<Bytes>>> = BTreeMap::new();
    for (key, windows) in played {
        let Some(part) = parts.get_mut(key) else { continue };
        let mut next = 0;
        let mut intervals = BTreeSet::new();
        for &(window, records) in windows {
            for i in 0..records {
                let slot = (key.2.0 % slots + i * slots / records) % slots;
                let piece = &part.pieces[next % part.pieces.len()];
                next += 1;
                part.played.bytes += piece.bytes;
                let copy = copy(piece, &mut rng);
                by_slot.entry((window, slot)).or_default().entry(piece.block).or_default().push(copy);
            }
            part.played.records += records;
            part.played.floor += records.min(lengths.floor);
            intervals.insert(window * lengths.window_ns / lengths.interval_ns);
        }
        part.played.windows = windows.len() as u64;
        part.played.intervals = intervals.len() as u64;
    }
    let mut requests = Vec::new();
    for ((window, slot), by_block) in by_slot {
        let at = window * lengths.window_ns + slot * (lengths.window_ns / slots);
        let bodies = by_block.iter().flat_map(|(block, copies)| bodies(&blocks.list[*block], copies));
        requests.extend(bodies.map(|body| (at, body)));
    }
    requests
}

/// A copy is a record of its own: with a trace id of its own, if it has one, so that copies are not all decided alike.
fn copy(piece: &Piece, rng: &mut SmallRng) -> Bytes {
    let Some(at) = piece.trace_id_at else { return piece.message.clone() };
    let mut message = piece.message.to_vec();
    let random = rng.next_u64().to_be_bytes();
    if let Some(id) = message.get_mut(at..at + 16) {
        id[RANDOM_BYTES].copy_from_slice(&random[1..]);
    }
    message.into()
}

fn bodies<'a>(block: &'a [Bytes; 4], copies: &'a [Bytes]) -> impl Iterator<Item = Bytes> + 'a {
    copies.chunks(MAX_RECORDS).map(|chunk| {
        let mut out = Vec::new();
        let resource = Header { message: &block[0], schema_url: &block[1] };
        let scope = Header { message: &block[2], schema_url: &block[3] };
        resource_logs(&mut out, resource, scope, chunk.iter().map(|copy| &copy[..]));
        out.into()
    })
}

fn ratio(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}

fn times(count: u64, factor: f64) -> u64 {
    (count as f64 * factor).round() as u64
}

impl Part {
    fn scale_cell(&self, cell: &mut CellProfile, last: UnixNanos) {
        let (records, bytes) =
            (ratio(self.came.records, self.played.records), ratio(self.came.bytes, self.played.bytes));
        cell.seen = Tally { records: self.came.records, bytes: self.came.bytes };
        cell.decided.records = times(cell.decided.records, records).min(cell.seen.records);
        cell.decided.bytes = times(cell.decided.bytes, bytes).min(cell.seen.bytes);
        cell.decided_kept *= records;
        (cell.windows, cell.intervals, cell.pairs) = (self.came.windows, self.came.intervals, self.pairs);
        (cell.first, cell.last) = (self.first_seen, last);
    }

    fn scale_delivered(&self, delivered: &mut Delivered) {
        let (came, played) = (&self.came, &self.played);
        let by_floor = ratio(came.floor, played.floor);
        let by_rate = ratio(came.records - came.floor, played.records - played.floor);
        let kept = delivered.kept.records;
        let is_exact = kept + delivered.reported == played.records;
        let plain = (kept - delivered.sampled.min(kept)).min(played.floor) as f64;
        let estimate = plain * by_floor + (kept as f64 - plain) * by_rate;
        let records = (estimate.round() as u64).min(came.records);
        let bytes = ratio(delivered.kept.bytes, kept) * ratio(came.bytes, came.records)
            / ratio(played.bytes, played.records).max(f64::MIN_POSITIVE);
        delivered.kept = Tally { records, bytes: times(records, bytes) };
        delivered.weighted = plain * by_floor + (delivered.weighted - plain) * by_rate;
        delivered.variance *= by_rate;
        let summaries = ratio(came.intervals, played.intervals);
        delivered.summaries.records = times(delivered.summaries.records, summaries);
        delivered.summaries.bytes = times(delivered.summaries.bytes, summaries);
        let all = ratio(came.records, played.records);
        let dropped = came.records - records;
        delivered.reported = if is_exact { dropped } else { times(delivered.reported, all) };
        for (_, ordered) in &mut delivered.ordered {
            *ordered = (*ordered as f64 * all).ceil() as u64;
        }
    }
}

impl Script {
    /// Brings an outcome to the counts of the traffic.
    fn scale(&self, outcome: &mut Outcome) {
        let billed = outcome.arrived_bytes as f64 - outcome.profile.seen().bytes as f64;
        let arrived: u64 = outcome.profile.services.iter().map(|service| service.shared_bytes).sum();
        let key_of = |services: &Services, key: &PatternKey| (services.name(key.service), key.band, key.pattern);
        for (key, cell) in &mut outcome.profile.cells {
            if let Some(part) = self.parts.get(&key_of(&outcome.services, key)) {
                let last = part.counts.keys().next_back().map_or(0, |window| (window + 1) * self.window_ns - 1);
                part.scale_cell(cell, last);
            }
        }
        let count = outcome.services.len();
        let mut sent: Vec<(u64, u64)> = vec![(0, 0); count];
        for (key, delivered) in &mut outcome.delivery.cells {
            let before = delivered.kept.records + delivered.summaries.records;
            if let Some(part) = self.parts.get(&key_of(&outcome.services, key)) {
                part.scale_delivered(delivered);
            }
            if let Some(sum) = sent.get_mut(key.service as usize) {
                sum.0 += before;
                sum.1 += delivered.kept.records + delivered.summaries.records;
            }
        }
        for (shared, (before, after)) in outcome.delivery.shared_bytes.iter_mut().zip(&sent) {
            *shared = times(*shared, ratio(*after, *before));
        }
        let mut seen = vec![Tally::default(); count];
        for (key, cell) in &outcome.profile.cells {
            if let Some(sum) = seen.get_mut(key.service as usize) {
                sum.records += cell.seen.records;
                sum.bytes += cell.seen.bytes;
            }
        }
        for (service, seen) in outcome.profile.services.iter_mut().zip(&seen) {
            service.shared_bytes = times(service.shared_bytes, ratio(seen.records, service.seen.records));
            service.seen = *seen;
        }
        self.add_beyond(outcome);
        let profile = &mut outcome.profile;
        let scaled: u64 = profile.services.iter().map(|service| service.shared_bytes).sum();
        let shared = billed.max(0.0) * ratio(scaled, arrived);
        outcome.arrived_bytes = profile.seen().bytes + shared as u64;
        (profile.first, profile.last) = self.span;
    }

    /// Patterns without a record to play are kept whole, and seen to be.
    fn add_beyond(&self, outcome: &mut Outcome) {
        for ((service, band), tally) in self.beyond.iter().filter(|(_, tally)| tally.records > 0) {
            let number = outcome.services.number(service.as_bytes());
            let services = &mut outcome.profile.services;
            while services.len() <= number as usize {
                let name = outcome.services.name(services.len() as u32);
                services.push(super::profile::ServiceProfile { name, seen: Tally::default(), shared_bytes: 0 });
            }
            services[number as usize].seen.records += tally.records;
            services[number as usize].seen.bytes += tally.bytes;
            let key = PatternKey { service: number, band: *band, pattern: OVERFLOW };
            let cell = outcome.profile.cells.entry(key).or_default();
            cell.seen.records += tally.records;
            cell.seen.bytes += tally.bytes;
            let delivered = outcome.delivery.cells.entry(key).or_default();
            delivered.kept.records += tally.records;
            delivered.kept.bytes += tally.bytes;
            delivered.weighted += tally.records as f64;
        }
    }
}
