//! Judges detectors by a simulation.
//!
//! Purpose: recall per kind of incident and band of base rate, delay, false alarms per service-day.
//! An alarm is true when an incident of its service covers it: the same pattern, or the whole service on either side.
//! Everything else is false, even if the simulated world did something odd there.

use std::collections::BTreeMap;
use std::sync::Arc;

use lipservice::control_plane::analysis::anomaly::{AnomalyConfig, Detector, Event, Kind};
use lipservice::control_plane::analysis::frequency::{Frame, Row};
use lipservice::data_plane::pattern::PatternId;
use lipservice::data_plane::window::{Band, Service};

use super::oracle::{Knows, Oracle};
use super::plain::Plain;
use super::simulator::{Count, DAY, Incident, Plan, Simulation, Truth};

pub const WINDOW_SECONDS: f64 = 10.0;
/// 2026-01-05, a Monday: weeks of the simulation are weeks of the calendar.
const START: u64 = 1_767_571_200_000_000_000;
/// Windows after an incident in which an alarm is still about it.
const GRACE: u64 = 18;
/// Lower bounds of the bands of base rates, in records per window.
pub const BANDS: [f64; 6] = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0];

/// Lower bounds of the bands of variation beyond Poisson's law (standard deviation over mean).
pub const VARIATIONS: [f64; 4] = [0.0, 0.15, 0.25, 0.35];

/// An alarm of any detector.
#[derive(Clone, Debug)]
pub struct Alarm {
    pub kind: Kind,
    pub service: usize,
    pub pattern: Option<u64>,
    pub window: u64,
}

/// Of incidents of one kind or band.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recall {
    pub incidents: usize,
    /// Noticed within two windows.
    pub soon: usize,
    /// Noticed before they ended.
    pub at_all: usize,
}

/// What one detector did.
#[derive(Clone, Debug, Default)]
pub struct Score {
    pub alarms: usize,
    /// From the end of the quiet days on.
    pub false_alarms: Vec<Alarm>,
    /// Alarms of the quiet days, when there were deploys but no incidents.
    pub early_alarms: usize,
    pub service_days: f64,
    pub services: usize,
    /// Spikes of steady patterns by band of base rate.
    pub by_band: [Recall; BANDS.len()],
    /// Spikes of bursty patterns.
    pub bursty: Recall,
    /// Spikes of steady patterns with at least 10 records per window, by variation (bounds in [`VARIATIONS`]).
    pub by_variation: [Recall; VARIATIONS.len()],
    pub by_incident: BTreeMap<Incident, Recall>,
}

impl Recall {
    fn add(&mut self, other: &Recall) {
        self.incidents += other.incidents;
        self.soon += other.soon;
        self.at_all += other.at_all;
    }
}

impl Score {
    /// Of several simulations together.
    pub fn of_all<'a>(scores: impl IntoIterator<Item = &'a Score>) -> Score {
        let mut all = Score::default();
        for score in scores {
            all.alarms += score.alarms;
            all.false_alarms.extend(score.false_alarms.iter().cloned());
            all.early_alarms += score.early_alarms;
            all.service_days += score.service_days;
            all.services += score.services;
            std::iter::zip(&mut all.by_band, &score.by_band).for_each(|(sum, part)| sum.add(part));
            std::iter::zip(&mut all.by_variation, &score.by_variation).for_each(|(sum, part)| sum.add(part));
            all.bursty.add(&score.bursty);
            score.by_incident.iter().for_each(|(kind, part)| all.by_incident.entry(*kind).or_default().add(part));
        }
        all
    }

    pub fn false_per_service_day(&self) -> f64 {
        self.false_alarms.len() as f64 / self.service_days
    }

    pub fn precision(&self) -> f64 {
        1.0 - self.false_alarms.len() as f64 / self.alarms.max(1) as f64
    }

    /// Recall of spikes within two windows, of steady patterns with at least `base` records per window.
    pub fn recall_from(&self, base: f64) -> f64 {
        let bands = BANDS.iter().zip(&self.by_band).filter(|(low, _)| **low >= base);
        let (soon, all) = bands.fold((0, 0), |sum, (_, r)| (sum.0 + r.soon, sum.1 + r.incidents));
        soon as f64 / all.max(1) as f64
    }
}

/// A simulation that was judged.
pub struct Judged {
    /// Of the detector and the plain tests, in that order.
    pub scores: Vec<Score>,
    oracles: Vec<Oracle>,
    truths: Vec<Truth>,
    plan: Plan,
}

impl Judged {
    /// What the oracle with this index finds among patterns with at least `base` records per window, at so many false alarms.
    pub fn ceiling(&self, oracle: usize, base: f64, false_per_service_day: f64) -> Score {
        self.oracles[oracle].best(&self.truths, &self.plan, base, false_per_service_day)
    }
}

/// Runs a simulation past the detector, the plain tests and the oracles.
pub fn run(plan: Plan, config: &AnomalyConfig, mut plain: Vec<Plain>, oracles: &[Knows]) -> Judged {
    let mut simulation = Simulation::new(plan);
    let mut detector = Detector::new(config.clone());
    let mut oracles: Vec<Oracle> = oracles.iter().map(|knows| Oracle::new(*knows, plan.factor)).collect();
    let services: Vec<Arc<Service>> =
        (0..plan.services).map(|s| Arc::new(Service { name: format!("s{s}").into(), token: None })).collect();
    let mut alarms: Vec<Vec<Alarm>> = vec![Vec::new(); plain.len() + 1];
    while let Some(counts) = simulation.next() {
        let window = simulation.window();
        let rows = counts.iter().map(|count| row(count, &services)).collect();
        let at = START + (window + 1) * (WINDOW_SECONDS * 1e9) as u64;
        let frame = Frame { at, windows: 1.0, window_seconds: WINDOW_SECONDS, rows };
        for event in detector.observe(&frame) {
            if let Event::Started(anomaly) = event {
                alarms[0].push(Alarm {
                    kind: anomaly.kind,
                    service: anomaly.service[1..].parse().unwrap(),
                    pattern: anomaly.pattern.as_ref().map(|pattern| u64::from_str_radix(pattern, 16).unwrap()),
                    window,
                });
            }
        }
        for (plain, alarms) in plain.iter_mut().zip(&mut alarms[1..]) {
            plain.observe(&counts, window, alarms);
        }
        oracles.iter_mut().for_each(|oracle| oracle.observe(&simulation.known, window));
    }
    let truths = simulation.truths;
    let scores = alarms.into_iter().map(|alarms| score(alarms, &truths, &plan)).collect();
    Judged { scores, oracles, truths, plan }
}

fn row<'a>(count: &Count, services: &'a [Arc<Service>]) -> Row<'a> {
    Row {
        service: &services[count.service],
        band: Band::of(count.severity, b""),
        pattern: Some(PatternId(count.pattern)),
        template: "",
        records: count.records,
    }
}

/// Holds alarms against what happened.
pub fn score(alarms: Vec<Alarm>, truths: &[Truth], plan: &Plan) -> Score {
    let quiet = (plan.quiet_days * DAY as f64) as u64;
    let service_days = plan.services as f64 * (plan.days - plan.quiet_days);
    let (early, alarms): (Vec<Alarm>, Vec<Alarm>) = alarms.into_iter().partition(|alarm| alarm.window < quiet);
    let is_false = |alarm: &Alarm| !truths.iter().any(|truth| is_about(alarm, truth));
    let early_alarms = early.into_iter().filter(is_false).count();
    let mut score =
        Score { alarms: alarms.len(), early_alarms, service_days, services: plan.services, ..Score::default() };
    for truth in truths.iter().filter(|truth| truth.start >= quiet) {
        let hit = alarms.iter().filter(|alarm| is_about(alarm, truth) && alarm.window < truth.end);
        let first = hit.map(|alarm| alarm.window - truth.start).min();
        let recall = |recall: &mut Recall| {
            recall.incidents += 1;
            recall.soon += usize::from(first.is_some_and(|delay| delay < 2));
            recall.at_all += usize::from(first.is_some());
        };
        recall(score.by_incident.entry(truth.incident).or_default());
        if truth.incident == Incident::Spike {
            let band = BANDS.iter().rposition(|low| truth.base >= *low).unwrap();
            recall(if truth.steady { &mut score.by_band[band] } else { &mut score.bursty });
            if truth.steady && truth.base >= 10.0 {
                let band = VARIATIONS.iter().rposition(|low| truth.variation >= *low).unwrap();
                recall(&mut score.by_variation[band]);
            }
        }
    }
    score.false_alarms = alarms.into_iter().filter(is_false).collect();
    score
}

fn is_about(alarm: &Alarm, truth: &Truth) -> bool {
    alarm.service == truth.service
        && (truth.start..truth.end + GRACE).contains(&alarm.window)
        && (truth.pattern.is_none() || alarm.pattern.is_none() || alarm.pattern == truth.pattern)
}
