//! Every anomaly that goes on, those that ended lately, and how many there were.
//!
//! Purpose: one place where anomalies are opened, updated and ended, so that each is told exactly once.
//! Promises: numbers are never reused; ended ones are bounded; started = ongoing + ended, by kind.
//! Never: decides.

use std::collections::{BTreeMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::event::{Anomaly, End, Event, Kind};
use crate::clock::UnixNanos;
use crate::control_plane::analysis::frequency::kept::count;

/// The book.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Book {
    #[serde(deserialize_with = "count")]
    next: u64,
    ongoing: BTreeMap<u64, Anomaly>,
    ended: VecDeque<Anomaly>,
    #[serde(skip)]
    max_ended: usize,
    #[serde(deserialize_with = "counts")]
    started: [u64; Kind::ALL.len()],
    #[serde(skip)]
    events: Vec<Event>,
}

fn counts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<[u64; Kind::ALL.len()], D::Error> {
    let found = <[u64; Kind::ALL.len()]>::deserialize(from)?;
    // Far from their type's end, so that they can go on growing.
    Ok(found.map(|count| count.min(u64::MAX / 4)))
}

impl Book {
    /// An empty book that lists up to `max_ended` anomalies that are over.
    pub fn new(max_ended: usize) -> Self {
        Book { max_ended, ..Book::default() }
    }

    /// Lists up to so many anomalies that are over.
    pub fn limit(&mut self, max_ended: usize) {
        self.max_ended = max_ended;
        self.ended.truncate(max_ended);
    }

    /// Opens an anomaly; the number it goes by from now on.
    pub fn start(&mut self, anomaly: Anomaly) -> u64 {
        self.next += 1;
        self.started[anomaly.kind as usize] += 1;
        self.events.push(Event::Started(anomaly.clone()));
        self.ongoing.insert(self.next, anomaly);
        self.next
    }

    /// Changes an anomaly that goes on.
    pub fn update(&mut self, number: u64, change: impl FnOnce(&mut Anomaly)) {
        if let Some(anomaly) = self.ongoing.get_mut(&number) {
            change(anomaly);
        }
    }

    /// Ends an anomaly.
    pub fn end(&mut self, number: u64, at: UnixNanos, end: End) {
        let Some(mut anomaly) = self.ongoing.remove(&number) else { return };
        anomaly.ended = Some(at);
        anomaly.end = Some(end);
        self.events.push(Event::Ended(anomaly.clone()));
        self.ended.push_front(anomaly);
        self.ended.truncate(self.max_ended);
    }

    /// Ends what no watch knows of, after a restart.
    pub fn keep_only(&mut self, known: &HashSet<u64>, at: UnixNanos) {
        let gone: Vec<u64> = self.ongoing.keys().filter(|number| !known.contains(number)).copied().collect();
        gone.into_iter().for_each(|number| self.end(number, at, End::Lost));
        self.next = self.next.max(self.ongoing.keys().next_back().copied().unwrap_or(0).min(u64::MAX / 4));
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Anomalies that go on, by number.
    pub fn ongoing(&self) -> impl Iterator<Item = (u64, &Anomaly)> {
        self.ongoing.iter().map(|(number, anomaly)| (*number, anomaly))
    }

    /// Anomalies that ended, the latest first.
    pub fn ended(&self) -> impl Iterator<Item = &Anomaly> {
        self.ended.iter()
    }

    /// How many of a kind were started in all.
    pub fn started(&self, kind: Kind) -> u64 {
        self.started[kind as usize]
    }
}
