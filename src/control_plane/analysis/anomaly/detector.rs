//! All services under watch.
//!
//! Purpose: snapshots in, events out; what goes on can be listed at any time.
//! Promises: pure (time comes with the snapshot); patterns and services are bounded and what found no room is counted;
//! after a gap or a jump of the clock nothing is tested until there is a new frame.
//! Never: keeps records, or acts on what it finds.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::about::Moment;
use super::book::Book;
use super::config::AnomalyConfig;
use super::counts::Counts;
use super::event::{Anomaly, End, Event, Kind};
use super::service::ServiceWatch;
use super::state::{Kept, KeptRef, StateError, stand_in};
use crate::clock::UnixNanos;
use crate::control_plane::analysis::frequency::kept::count;
use crate::control_plane::analysis::frequency::{Frame, Pattern};
use crate::data_plane::window::Service;

/// How full the table of patterns may be before those that pause are forgotten early, in percent.
const CROWDED_PERCENT: usize = 90;
/// How long a pattern must have paused to be forgotten from a crowded table, in seconds.
const CROWDED_PAUSE: f64 = 3600.0;
/// Frames between two looks for patterns to forget.
const SWEEP_FRAMES: u64 = 30;

/// What was turned away or forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Losses {
    /// Records of patterns and services without room.
    #[serde(deserialize_with = "count")]
    pub unwatched_records: u64,
    /// Patterns forgotten.
    #[serde(deserialize_with = "count")]
    pub evicted_patterns: u64,
    /// Times the counts started over: the first snapshot, a gap, a clock that went back.
    #[serde(deserialize_with = "count")]
    pub gaps: u64,
}

/// The detector.
#[derive(Debug)]
pub struct Detector {
    config: AnomalyConfig,
    services: HashMap<Arc<Service>, ServiceWatch, ahash::RandomState>,
    book: Book,
    patterns: usize,
    last: Option<UnixNanos>,
    frames: u64,
    losses: Losses,
    /// Services of a file that were not seen since: their tokens are known by digest alone.
    stand_ins: usize,
}

impl Detector {
    /// Knows nothing yet.
    pub fn new(config: AnomalyConfig) -> Self {
        let book = Book::new(config.max_ended);
        let services = HashMap::default();
        Detector { config, services, book, patterns: 0, last: None, frames: 0, losses: Losses::default(), stand_ins: 0 }
    }

    /// What it knows, as bytes, with windows of this length.
    ///
    /// # Errors
    /// When it does not fit.
    pub fn save(&self, window_seconds: f64) -> Result<Vec<u8>, StateError> {
        let Detector { services, book, last, frames, losses, .. } = self;
        let services = services.values().collect();
        super::state::encode(&KeptRef { window_seconds, services, book, last: *last, frames: *frames, losses: *losses })
    }

    /// Knows what [`Detector::save`] wrote. What does not fit within the settings is left out.
    ///
    /// # Errors
    /// When the bytes are damaged, or of another form or length of windows.
    pub fn restore(config: AnomalyConfig, window_seconds: f64, bytes: &[u8]) -> Result<Detector, StateError> {
        let kept: Kept = super::state::decode(bytes, window_seconds)?;
        let mut detector =
            Detector { last: kept.last, frames: kept.frames, losses: kept.losses, ..Detector::new(config) };
        let at = kept.last.unwrap_or(0);
        for mut watch in kept.services.into_iter().take(detector.config.max_services) {
            let room = detector.config.max_patterns.saturating_sub(detector.patterns);
            let mut left = room;
            watch.patterns.retain(|_, _| {
                let stays = left > 0;
                left = left.saturating_sub(1);
                stays
            });
            detector.patterns += watch.patterns.len();
            detector.stand_ins += usize::from(watch.service.token.is_some());
            detector.services.insert(Arc::clone(&watch.service), watch);
        }
        detector.book = kept.book;
        let known = detector.services.values().flat_map(ServiceWatch::open_numbers).collect();
        detector.book.keep_only(&known, at);
        detector.book.limit(detector.config.max_ended);
        Ok(detector)
    }

    /// Gives a service that was known by its token's digest its place.
    fn recognise(&mut self, service: &Arc<Service>) {
        if self.stand_ins == 0 || service.token.is_none() || self.services.contains_key(service) {
            return;
        }
        if let Some(mut watch) = self.services.remove(&stand_in(service)) {
            watch.service = Arc::clone(service);
            self.services.insert(Arc::clone(service), watch);
            self.stand_ins -= 1;
        }
    }

    /// Goes over to other settings; what was learned stays.
    pub fn configure(&mut self, config: AnomalyConfig) {
        self.book.limit(config.max_ended);
        self.config = config;
    }

    /// Takes in a frame; what started and what ended in it.
    pub fn observe(&mut self, frame: &Frame<'_>) -> Vec<Event> {
        let mut by_service: HashMap<&Arc<Service>, Counts<'_>, ahash::RandomState> = HashMap::default();
        for row in &frame.rows {
            let counts = by_service.entry(row.service).or_default();
            counts.add(row.band, row.pattern, row.template, row.records);
        }
        for (service, counts) in &by_service {
            self.recognise(service);
            if self.services.contains_key(*service) {
                continue;
            }
            if self.services.len() < self.config.max_services {
                self.services.insert(Arc::clone(service), ServiceWatch::new(Arc::clone(service)));
            } else {
                let records: f64 = counts.patterns.values().chain([&counts.others]).map(|count| count.records).sum();
                self.losses.unwatched_records += records as u64;
            }
        }
        let length_ns = (frame.windows * frame.window_seconds * 1e9) as u64;
        let moment = Moment {
            config: &self.config,
            at: frame.at,
            before: self.last.unwrap_or(frame.at.saturating_sub(length_ns)),
            windows: frame.windows,
            window_seconds: frame.window_seconds,
        };
        let nothing = Counts::default();
        for (service, watch) in &mut self.services {
            let counts = by_service.get(service).unwrap_or(&nothing);
            let before = watch.patterns.len();
            let mut room = self.config.max_patterns.saturating_sub(self.patterns);
            self.losses.unwatched_records += watch.step(counts, &moment, &mut room, &mut self.book) as u64;
            self.patterns += watch.patterns.len() - before;
        }
        self.last = Some(frame.at);
        self.frames += 1;
        if self.frames.is_multiple_of(SWEEP_FRAMES) {
            self.sweep(frame);
        }
        self.book.take_events()
    }

    /// Starts over after a gap: levels stay, nothing in between is judged.
    pub fn interrupt(&mut self, at: UnixNanos) {
        self.losses.gaps += 1;
        let before = self.last.replace(at).unwrap_or(at);
        self.services.values_mut().for_each(|watch| watch.interrupt(before, at));
    }

    /// Follows the miner: patterns that were published since go by other ids now.
    pub fn regroup(&mut self, heir: &dyn Fn(&str) -> Option<Pattern>, at: UnixNanos) {
        for watch in self.services.values_mut() {
            self.patterns -= watch.regroup(heir, at, &mut self.book);
        }
    }

    /// Forgets patterns that paused long, and services without patterns.
    fn sweep(&mut self, frame: &Frame<'_>) {
        let crowded = self.patterns * 100 >= self.config.max_patterns * CROWDED_PERCENT;
        let long = self.config.forget_after.0.as_secs_f64();
        let pause = if crowded { CROWDED_PAUSE.min(long) } else { long } / frame.window_seconds;
        for watch in self.services.values_mut() {
            let gone = watch.forget(pause, frame.at, &mut self.book);
            self.patterns -= gone;
            self.losses.evicted_patterns += gone as u64;
        }
        let book = &mut self.book;
        self.services.retain(|_, watch| {
            let stays = !watch.patterns.is_empty();
            if !stays {
                watch.end_all(frame.at, End::Lost, book);
            }
            stays
        });
    }

    /// The end of the last frame.
    pub fn last(&self) -> Option<UnixNanos> {
        self.last
    }

    /// Anomalies that go on, oldest first.
    pub fn ongoing(&self) -> impl Iterator<Item = &Anomaly> {
        self.book.ongoing().map(|(_, anomaly)| anomaly)
    }

    /// Anomalies that ended lately, the latest first.
    pub fn ended(&self) -> impl Iterator<Item = &Anomaly> {
        self.book.ended()
    }

    /// Anomalies started in all.
    pub fn started(&self, kind: Kind) -> u64 {
        self.book.started(kind)
    }

    /// Patterns and services watched.
    pub fn watched(&self) -> (usize, usize) {
        (self.patterns, self.services.len())
    }

    /// What was turned away or forgotten.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// Patterns that are anomalous by themselves (not with their whole service), with their records per second.
    pub fn anomalous(&self) -> impl Iterator<Item = (&Arc<Service>, Pattern, f64)> {
        self.services
            .iter()
            .flat_map(|(service, watch)| watch.anomalous().map(move |(pattern, rate)| (service, pattern, rate)))
    }
}
