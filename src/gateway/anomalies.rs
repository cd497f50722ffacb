//! The anomaly detector at work: looks at the windows on a timer, logs what it finds, boosts what is anomalous.
//!
//! Purpose: join the window table, the detector and the sampler's boosts; show anomalies as metrics and JSON.
//! Promises: what a reload changes takes effect with the next window, what was learned stays; labels are bounded.
//! Never: judges; see `control_plane::analysis::anomaly`.

use std::collections::{BTreeMap, HashSet};

use parking_lot::Mutex;
use serde_json::json;

use crate::control_plane::analysis::anomaly::{Anomaly, AnomalyConfig, BoostPlan, Detector, Event, Kind, Losses};
use crate::control_plane::analysis::frequency::Frames;
use crate::control_plane::analysis::frequency::frame::Step;
use crate::data_plane::pattern::PatternId;
use crate::data_plane::pipeline::Pipeline;
use crate::data_plane::policy::threshold_of;
use crate::data_plane::sampler::Boosts;
use crate::data_plane::window::Snapshot;
use crate::telemetry::{AnomalySource, MetricSink, MetricSource};

/// Services with a metric of their own: those with the most anomalies.
const METRIC_SERVICES: usize = 50;

/// Frames after the publication of patterns in which batches may still have been counted by those before.
const SETTLING_FRAMES: u32 = 3;

/// The detector and what it needs.
pub(super) struct Anomalies {
    state: Mutex<State>,
}

struct State {
    config: AnomalyConfig,
    frames: Frames,
    detector: Detector,
    plan: BoostPlan,
    boosted: usize,
    /// Version of the catalogue that patterns go by, and how many frames may still count by the one before.
    catalogue: u64,
    settling: u32,
}

impl Anomalies {
    pub(super) fn new(config: &AnomalyConfig) -> Self {
        let state = State {
            config: config.clone(),
            frames: Frames::new(),
            detector: Detector::new(config.clone()),
            plan: BoostPlan::new(),
            boosted: 0,
            catalogue: 0,
            settling: 0,
        };
        Anomalies { state: Mutex::new(state) }
    }

    /// Goes over to other settings, at a reload.
    pub(super) fn configure(&self, config: &AnomalyConfig) {
        let mut state = self.state.lock();
        state.config = config.clone();
        state.detector.configure(config.clone());
    }

    /// Patterns that are anomalous now, by service.
    pub(super) fn ongoing(&self) -> HashSet<(String, PatternId)> {
        let state = self.state.lock();
        let named = state
            .detector
            .ongoing()
            .filter_map(|anomaly| Some((anomaly.service.to_string(), anomaly.pattern.as_deref()?.parse().ok()?)));
        named.collect()
    }

    /// Looks at the windows as they stand and publishes the boosts that follow.
    pub(super) fn step(&self, pipeline: &Pipeline, snapshot: &Snapshot) {
        let mut state = self.state.lock();
        if !state.config.enabled {
            pipeline.set_boosts(Boosts::new());
            return;
        }
        let State { config, frames, detector, plan, boosted, catalogue, settling } = &mut *state;
        let policy = pipeline.policy();
        let published = policy.catalogue();
        let heir = |template: &str| published.find(template).map(|pattern| pattern.id);
        if published.version() != *catalogue {
            (*catalogue, *settling) = (published.version(), SETTLING_FRAMES);
            detector.regroup(&heir, snapshot.at);
        }
        match frames.step(snapshot) {
            None => return,
            Some(Step::Gap) => detector.interrupt(snapshot.at),
            Some(Step::Frame(mut frame)) => {
                if *settling > 0 {
                    *settling -= 1;
                    frame.rows.iter_mut().for_each(|row| row.pattern = heir(row.template).or(row.pattern));
                }
                detector.observe(&frame).iter().for_each(log);
            }
        }
        let mut boosts = Boosts::new();
        for boost in plan.step(detector, &config.boost, snapshot.window_seconds, snapshot.at) {
            if let Some(service) = pipeline.table.index_of(&boost.service) {
                boosts.set(service, boost.pattern, threshold_of(boost.percentage));
            }
        }
        *boosted = boosts.len();
        if boosts != *pipeline.boosts() {
            pipeline.set_boosts(boosts);
        }
    }
}

/// One line each; the own logs hold back what repeats.
fn log(event: &Event) {
    let anomaly = event.anomaly();
    let Anomaly { id, service, subject, score, expected, seen, .. } = anomaly;
    let (kind, pattern) = (anomaly.kind.as_str(), anomaly.pattern.as_deref().unwrap_or("-"));
    match event {
        Event::Started(_) => {
            tracing::warn!(kind, service, pattern, subject, score, expected, seen, id, "an anomaly started");
        }
        Event::Ended(_) => {
            let end = anomaly.end.map_or("", |end| end.as_str());
            tracing::info!(kind, service, pattern, end, id, "an anomaly ended");
        }
    }
}

impl AnomalySource for Anomalies {
    fn anomalies_json(&self, limit: usize) -> String {
        let state = self.state.lock();
        let (patterns, services) = state.detector.watched();
        let mut ongoing: Vec<&Anomaly> = state.detector.ongoing().collect();
        ongoing.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        let total = ongoing.len();
        ongoing.truncate(limit);
        let ended: Vec<&Anomaly> = state.detector.ended().take(limit).collect();
        json!({
            "enabled": state.config.enabled,
            "watched": { "services": services, "patterns": patterns },
            "boosted_patterns": state.boosted,
            "ongoing_total": total,
            "ongoing": ongoing,
            "ended": ended,
        })
        .to_string()
    }
}

impl MetricSource for Anomalies {
    fn collect(&self, out: &mut dyn MetricSink) {
        let state = self.state.lock();
        for kind in Kind::ALL {
            let started = state.detector.started(kind);
            let help = "Anomalies noticed, by kind.";
            out.counter("lipservice_anomalies_started", help, &[("kind", kind.as_str())], started);
        }
        let mut by_service: BTreeMap<&str, BTreeMap<Kind, usize>> = BTreeMap::new();
        for anomaly in state.detector.ongoing() {
            *by_service.entry(&anomaly.service).or_default().entry(anomaly.kind).or_default() += 1;
        }
        let mut by_service: Vec<_> = by_service.into_iter().collect();
        by_service.sort_by_key(|(service, kinds)| (std::cmp::Reverse(kinds.values().sum::<usize>()), *service));
        for (service, kinds) in by_service.into_iter().take(METRIC_SERVICES) {
            for (kind, count) in kinds {
                let labels = [("service", service), ("kind", kind.as_str())];
                out.gauge(
                    "lipservice_anomalies",
                    "Anomalies that go on, of the services with most.",
                    &labels,
                    count as f64,
                );
            }
        }
        let (patterns, services) = state.detector.watched();
        let Losses { unwatched_records, evicted_patterns, gaps } = state.detector.losses();
        for (name, help, value) in [
            ("lipservice_anomalies_watched_patterns", "Patterns whose rates are watched.", patterns),
            ("lipservice_anomalies_watched_services", "Services whose rates are watched.", services),
            ("lipservice_anomalies_boosted_patterns", "Patterns kept at a higher percentage now.", state.boosted),
        ] {
            out.gauge(name, help, &[], value as f64);
        }
        for (name, help, value) in [
            (
                "lipservice_anomalies_unwatched_log_records",
                "Log records that found no room to be watched.",
                unwatched_records,
            ),
            ("lipservice_anomalies_evicted_patterns", "Patterns no longer watched.", evicted_patterns),
            ("lipservice_anomalies_gaps", "Times the rates were looked at anew: start, gap or clock jump.", gaps),
        ] {
            out.counter(name, help, &[], value);
        }
    }
}
