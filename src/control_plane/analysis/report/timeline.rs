//! Messages over time: series to draw, and anomalies in windows that fit the length of the log.
//!
//! Promises: at most [`MAX_STEPS`] steps and [`MAX_WINDOWS`] windows, whatever the log's length; messages out of order count
//! where they belong.
//! Never: keeps anything.

use std::sync::Arc;
use std::time::Duration;

use super::{PatternReport, Severity, Span};
use crate::clock::UnixNanos;
use crate::control_plane::analysis::anomaly::{Anomaly, AnomalyConfig, Detector};
use crate::control_plane::analysis::frequency::{Frame, Row};
use crate::data_plane::pattern::PatternId;
use crate::data_plane::window::{Band, Service};
use crate::units::Period;

/// Steps of a series at most.
const MAX_STEPS: u64 = 120;
/// Windows at most.
const MAX_WINDOWS: u64 = 600;
/// Windows that a log must fill before anything in it can be unusual.
const LEAST_WINDOWS: u64 = 60;
/// Lengths of steps and windows, in seconds.
const LENGTHS: [u64; 18] =
    [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 604_800, 2_592_000, 31_536_000];
const SECOND: u64 = 1_000_000_000;

/// A message with a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sighting {
    pub time: UnixNanos,
    pub known: u32,
    pub band: Band,
}

/// The shortest length that covers `seconds` in at most `most` pieces.
fn length_for(seconds: u64, most: u64) -> u64 {
    LENGTHS.into_iter().find(|length| seconds / length < most).unwrap_or(seconds / most + 1)
}

/// The span of sorted sightings; `None` without any.
pub(super) fn span_of(sightings: &[Sighting]) -> Option<Span> {
    let (first, last) = (sightings.first()?.time, sightings.last()?.time);
    let seconds = (last - first) / SECOND;
    let step_seconds = length_for(seconds + 1, MAX_STEPS);
    let start = first - first % (step_seconds * SECOND);
    let steps = ((last - start) / (step_seconds * SECOND) + 1) as usize;
    let window_seconds = length_for(seconds + 1, MAX_WINDOWS);
    Some(Span { start, first, last, step_seconds, steps, window_seconds })
}

/// Fills in the series of patterns and severities.
pub(super) fn series(
    span: &Span,
    sightings: &[Sighting],
    group_of: &[u32],
    patterns: &mut [PatternReport],
    severities: &mut [Severity],
) {
    let all = patterns.iter_mut().map(|pattern| &mut pattern.series);
    for series in all.chain(severities.iter_mut().map(|severity| &mut severity.series)) {
        series.resize(span.steps, 0);
    }
    for sighting in sightings {
        let step = ((sighting.time - span.start) / (span.step_seconds * SECOND)) as usize;
        patterns[group_of[sighting.known as usize] as usize].series[step] += 1;
        severities[sighting.band as usize].series[step] += 1;
    }
}

/// What the detector of the gateway says when the log is played to it.
pub(super) fn anomalies(
    span: &Span,
    sightings: &[Sighting],
    group_of: &[u32],
    patterns: &[PatternReport],
) -> Vec<Anomaly> {
    let length = span.window_seconds * SECOND;
    let windows = (span.last - span.first) / length + 1;
    if windows < LEAST_WINDOWS {
        return Vec::new();
    }
    let seconds = |windows: u64| Period(Duration::from_secs(windows * span.window_seconds));
    let config = AnomalyConfig {
        // A pattern can fall silent after two fifths of the log.
        warm_up: seconds(windows / 30),
        accept_after: seconds(windows / 4),
        forget_after: seconds(windows + 1),
        max_ended: MAX_WINDOWS as usize,
        ..AnomalyConfig::default()
    };
    let mut detector = Detector::new(config);
    let service = Arc::new(Service { name: "".into(), token: None });
    let start = span.first - span.first % length;
    let mut left = sightings;
    for window in 0..=(span.last - start) / length {
        let end = start + (window + 1) * length;
        let (now, later) = left.split_at(left.partition_point(|sighting| sighting.time < end));
        left = later;
        let mut counts: std::collections::BTreeMap<(u32, Band), u64> = std::collections::BTreeMap::new();
        for sighting in now {
            *counts.entry((group_of[sighting.known as usize], sighting.band)).or_default() += 1;
        }
        let row = |((pattern, band), records): (&(u32, Band), &u64)| Row {
            service: &service,
            band: *band,
            pattern: Some(PatternId(u64::from(*pattern))),
            template: &patterns[*pattern as usize].template,
            records: *records,
        };
        let rows = counts.iter().map(row).collect();
        detector.observe(&Frame { at: end, windows: 1.0, window_seconds: span.window_seconds as f64, rows });
    }
    let mut found: Vec<Anomaly> = detector.ongoing().chain(detector.ended()).cloned().collect();
    for anomaly in &mut found {
        // The detector knew the patterns by their place in the list.
        let place = anomaly.pattern.as_ref().and_then(|place| usize::from_str_radix(place, 16).ok());
        anomaly.pattern = place.and_then(|place| patterns.get(place)).map(|pattern| pattern.id.clone());
        anomaly.id = Anomaly::id_of("", anomaly.kind, anomaly.pattern.as_deref(), anomaly.since);
    }
    found.sort_by(|a, b| (a.since, &a.id).cmp(&(b.since, &b.id)));
    found
}
