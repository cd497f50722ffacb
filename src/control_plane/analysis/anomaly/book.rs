//! Every anomaly that goes on, those that ended lately, and how many there were.
//!
//! Purpose: one place where anomalies are opened, updated and ended, so that each is told exactly once.
//! Promises: numbers are never reused; ended ones are bounded; started = ongoing + ended, by kind.
//! Never: decides.

use std::collections::{BTreeMap, VecDeque};

use super::event::{Anomaly, End, Event, Kind};
use crate::clock::UnixNanos;

/// The book.
#[derive(Debug, Default)]
pub struct Book {
    next: u64,
    ongoing: BTreeMap<u64, Anomaly>,
    ended: VecDeque<Anomaly>,
    max_ended: usize,
    started: [u64; Kind::ALL.len()],
    events: Vec<Event>,
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
