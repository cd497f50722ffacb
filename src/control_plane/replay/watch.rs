//! Would somebody who sees only what goes out notice what was unusual?
//!
//! Purpose: the gateway's detector twice: over what came in, and over what kept records and summaries tell of it.
//! Promises: both sides count by the same windows; what summaries report is spread over the windows they name by the weights
//! kept there, so that counts are exact over each summary; memory is bounded by two summary intervals of windows.
//! Never: boosts, as a running gateway would: what is found missed here is missed at worst.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::HashMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::walk::Services;
use crate::clock::UnixNanos;
use crate::control_plane::analysis::anomaly::{Anomaly, AnomalyConfig, Detector, End, Event};
use crate::control_plane::analysis::frequency::{Frame, Row};
use crate::data_plane::window::{PatternKey, Service};

/// Anomalies remembered on each side.
const MAX_REMEMBERED: usize = 10_000;
/// Windows without a record that are played to the detectors in a row; a longer pause is a gap.
const MAX_EMPTY: u64 = 100;

/// An anomaly that would be missed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct MissedAnomaly {
    /// `new_pattern`, `spike`, …
    pub kind: &'static str,
    /// Service.
    pub service: String,
    /// Its pattern; null when it concerns the whole service.
    pub pattern: Option<String>,
    /// Its template; empty when it concerns the whole service.
    pub template: String,
    /// Records per window that were expected.
    pub expected: f64,
    /// Records per window that came in.
    pub seen: f64,
}

/// Anomalies on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct AnomalyCounts {
    /// Found in what came in.
    pub received: u64,
    /// Of these, not found in what would go out.
    pub missed: u64,
    /// Found in what would go out alone.
    pub invented: u64,
    /// The most surprising of the missed.
    pub examples: Vec<MissedAnomaly>,
}

impl AnomalyCounts {
    /// With the templates of patterns, which the detectors were not told.
    pub(super) fn named(mut self, template: &dyn Fn(&str, &str) -> String) -> Self {
        for missed in &mut self.examples {
            missed.template = missed.pattern.as_ref().map_or(String::new(), |id| template(&missed.service, id));
        }
        self
    }
}

/// Missed anomalies named.
const MAX_NAMED: usize = 20;

/// What kept records tell of one pattern in one window.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Records kept, then those that summaries add.
    records: f64,
    /// Σ (weight − 1): how many others the kept ones stand for.
    excess: f64,
}

/// What a summary reports.
#[derive(Clone, Copy, Debug)]
struct Reported {
    key: PatternKey,
    first: u64,
    last: u64,
    records: f64,
}

/// Both sides.
#[derive(Debug)]
pub struct Watch {
    window_ns: u64,
    /// How long a window stays open: what is dropped in it is reported later.
    open_ns: u64,
    next: u64,
    received: BTreeMap<u64, HashMap<PatternKey, u64>>,
    sent: BTreeMap<u64, HashMap<PatternKey, Told>>,
    reported: Vec<Reported>,
    names: Vec<Arc<Service>>,
    sides: [Side; 2],
}

#[derive(Debug)]
struct Side {
    detector: Detector,
    found: Vec<Anomaly>,
}

impl Side {
    fn observe(&mut self, frame: &Frame<'_>) {
        for event in self.detector.observe(frame) {
            // What ends tells more than what started: it replaces it below.
            if let Event::Ended(anomaly) = event
                && anomaly.end != Some(End::Grouped)
                && self.found.len() < MAX_REMEMBERED
            {
                self.found.push(anomaly);
            }
        }
    }

    fn finish(mut self) -> Vec<Anomaly> {
        self.found.extend(self.detector.ongoing().take(MAX_REMEMBERED).cloned());
        self.found
    }
}

impl Watch {
    /// Nothing seen yet; windows and summary intervals of these lengths in nanoseconds.
    pub fn new(config: &AnomalyConfig, window_ns: u64, interval_ns: u64) -> Watch {
        let side = || Side { detector: Detector::new(config.clone()), found: Vec::new() };
        let window_ns = window_ns.max(1);
        Watch {
            window_ns,
            open_ns: 2 * interval_ns.max(window_ns),
            next: 0,
            received: BTreeMap::new(),
            sent: BTreeMap::new(),
            reported: Vec::new(),
            names: Vec::new(),
            sides: [side(), side()],
        }
    }

    /// The window of a record; records without a time, or older than every open window, count where there is room.
    fn window(&self, time: UnixNanos, now: UnixNanos) -> u64 {
        let latest = now / self.window_ns;
        let window = if time == 0 { latest } else { (time / self.window_ns).min(latest) };
        window.max(self.next)
    }

    /// Notes a record that came in.
    pub fn seen(&mut self, key: PatternKey, time: UnixNanos, now: UnixNanos) {
        let window = self.window(time, now);
        *self.received.entry(window).or_default().entry(key).or_default() += 1;
    }

    /// Notes a record that would go out with a weight.
    pub fn kept(&mut self, key: PatternKey, time: UnixNanos, now: UnixNanos, weight: f64) {
        let window = self.window(time, now);
        let told = self.sent.entry(window).or_default().entry(key).or_default();
        told.records += 1.0;
        told.excess += (weight - 1.0).max(0.0);
    }

    /// Notes a summary of records dropped between two times.
    pub fn summarised(&mut self, key: PatternKey, (first, last): (UnixNanos, UnixNanos), now: UnixNanos, records: u64) {
        let (first, last) = (self.window(first, now), self.window(last, now));
        self.reported.push(Reported { key, first, last: last.max(first), records: records as f64 });
    }

    /// Closes what is old enough.
    pub fn advance(&mut self, now: UnixNanos, services: &Services) {
        let until = now.saturating_sub(self.open_ns) / self.window_ns;
        if until > self.next {
            self.close(until, services);
        }
    }

    /// Plays all windows before `until` to both detectors.
    fn close(&mut self, until: u64, services: &Services) {
        while self.names.len() < services.len() {
            let name = services.name(self.names.len() as u32);
            self.names.push(Arc::new(Service { name: (*name).into(), token: None }));
        }
        // A window stays open for two intervals: all that was kept beside what a summary reports has come by then.
        let ready: Vec<Reported> = self.reported.extract_if(.., |reported| reported.first < until).collect();
        ready.into_iter().for_each(|reported| self.spread(reported));
        let first = self.received.keys().chain(self.sent.keys()).min().copied().unwrap_or(until);
        let mut window = if self.next == 0 { first } else { self.next };
        if first.saturating_sub(window) > MAX_EMPTY {
            let at = first * self.window_ns;
            self.sides.iter_mut().for_each(|side| side.detector.interrupt(at));
            window = first;
        }
        while window < until {
            let received = self.received.remove(&window).unwrap_or_default();
            let sent = self.sent.remove(&window).unwrap_or_default();
            let names = &self.names;
            let frame = |rows| Frame {
                at: (window + 1) * self.window_ns,
                windows: 1.0,
                window_seconds: self.window_ns as f64 / 1e9,
                rows,
            };
            let row = |key: &PatternKey, records: u64| {
                let service = names.get(key.service as usize)?;
                Some(Row { service, band: key.band, pattern: Some(key.pattern), template: "", records })
            };
            let rows = received.iter().filter_map(|(key, records)| row(key, *records)).collect();
            self.sides[0].observe(&frame(rows));
            let rows = sent.iter().filter_map(|(key, told)| row(key, told.records.round() as u64)).collect();
            self.sides[1].observe(&frame(rows));
            window += 1;
            if self.received.is_empty() && self.sent.is_empty() && until - window > MAX_EMPTY {
                break;
            }
        }
        self.next = until;
    }

    /// Adds what a summary reports to the windows it covers: where kept records stand for others, in proportion; else
    /// evenly.
    fn spread(&mut self, reported: Reported) {
        let Reported { key, first, last, records } = reported;
        // What is closed stays closed.
        let first = first.max(self.next);
        let last = last.clamp(first, first + self.open_ns / self.window_ns);
        let excess = |sent: &BTreeMap<u64, HashMap<PatternKey, Told>>, window: u64| {
            sent.get(&window).and_then(|counts| counts.get(&key)).map_or(0.0, |told| told.excess)
        };
        let all: f64 = (first..=last).map(|window| excess(&self.sent, window)).sum();
        for window in first..=last {
            let share = match all > 0.0 {
                true => excess(&self.sent, window) / all,
                false => 1.0 / (last - first + 1) as f64,
            };
            if share > 0.0 {
                self.sent.entry(window).or_default().entry(key).or_default().records += share * records;
            }
        }
    }

    /// Closes everything and compares.
    pub fn finish(mut self, services: &Services) -> AnomalyCounts {
        let last = self.received.keys().chain(self.sent.keys()).max().copied();
        if let Some(last) = last {
            // What summaries reach into is closed with the rest.
            for reported in &mut self.reported {
                (reported.first, reported.last) = (reported.first.min(last), reported.last.min(last));
            }
            self.close(last + 1, services);
        }
        let slack = self.open_ns;
        let [received, sent] = self.sides.map(Side::finish);
        let mut missed: Vec<&Anomaly> =
            received.iter().filter(|anomaly| !sent.iter().any(|other| is_same(anomaly, other, slack))).collect();
        let invented = sent.iter().filter(|anomaly| !received.iter().any(|other| is_same(anomaly, other, slack)));
        missed.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| (a.since, &a.id).cmp(&(b.since, &b.id))));
        AnomalyCounts {
            received: received.len() as u64,
            missed: missed.len() as u64,
            invented: invented.count() as u64,
            examples: missed.iter().take(MAX_NAMED).map(|anomaly| example(anomaly)).collect(),
        }
    }
}

/// Whether two anomalies are one: the same thing at about the same time.
fn is_same(a: &Anomaly, b: &Anomaly, slack_ns: u64) -> bool {
    let end = |anomaly: &Anomaly| anomaly.ended.unwrap_or(UnixNanos::MAX).saturating_add(slack_ns);
    (a.kind, &a.service, &a.pattern) == (b.kind, &b.service, &b.pattern)
        && a.since.saturating_sub(slack_ns) <= end(b)
        && b.since.saturating_sub(slack_ns) <= end(a)
}

fn example(anomaly: &Anomaly) -> MissedAnomaly {
    MissedAnomaly {
        kind: anomaly.kind.as_str(),
        service: anomaly.service.clone(),
        pattern: anomaly.pattern.clone(),
        template: String::new(),
        expected: anomaly.expected,
        seen: anomaly.seen,
    }
}
