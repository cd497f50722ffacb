//! What came between two snapshots.
//!
//! Purpose: the difference of two [`Snapshot`]s as counts per (service, severity band, pattern), and how many windows
//! lie between them.
//! Promises: a counter that fell (the pattern was forgotten and came again) counts from zero; a gap, a clock that went
//! back, or the first snapshot give no counts, only a new point to start from.
//! Never: judges.

use std::collections::HashMap;
use std::sync::Arc;

use crate::clock::UnixNanos;
use crate::data_plane::window::{Band, Service, Snapshot};

/// What identifies a pattern within a service. The overflow entry of the windows has none and counts for its service only.
pub type Pattern = crate::data_plane::pattern::PatternId;

/// Records of one (service, band, pattern) in a frame.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Whose records.
    pub service: &'a Arc<Service>,
    /// Severity band.
    pub band: Band,
    /// Pattern; `None` for patterns beyond the windows' bound.
    pub pattern: Option<Pattern>,
    /// Its template, for people.
    pub template: &'a str,
    /// Records.
    pub records: u64,
}

/// Everything that came between two moments.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The later moment.
    pub at: UnixNanos,
    /// Windows between them, about 1.
    pub windows: f64,
    /// Length of a window in seconds.
    pub window_seconds: f64,
    /// Counts; what is absent had none.
    pub rows: Vec<Row<'a>>,
}

/// What became of a snapshot.
#[derive(Debug)]
pub enum Step<'a> {
    /// Counts since the one before.
    Frame(Frame<'a>),
    /// The one before is missing, too old or later: counting starts again here.
    Gap,
}

/// Frames of fewer windows than this are put off to the next snapshot.
const SHORTEST_WINDOWS: f64 = 0.5;
/// Frames of more windows than this are a gap.
const LONGEST_WINDOWS: f64 = 3.0;

type Key = (Arc<Service>, Band, Option<Pattern>);

/// The totals of the last snapshot.
#[derive(Debug, Default)]
pub struct Frames {
    last: Option<UnixNanos>,
    totals: HashMap<Key, u64, ahash::RandomState>,
}

impl Frames {
    /// No snapshot yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next snapshot; `None` when it comes too soon after the last to be a frame (nothing is lost by that).
    pub fn step<'a>(&mut self, snapshot: &'a Snapshot) -> Option<Step<'a>> {
        let window_ns = snapshot.window_seconds * 1e9;
        let windows = match self.last {
            Some(last) if snapshot.at >= last => (snapshot.at - last) as f64 / window_ns,
            _ => f64::INFINITY,
        };
        if windows < SHORTEST_WINDOWS {
            return None;
        }
        let mut totals = HashMap::with_capacity_and_hasher(snapshot.rows.len(), ahash::RandomState::default());
        let mut rows = Vec::with_capacity(snapshot.rows.len());
        for row in &snapshot.rows {
            let key = (Arc::clone(&row.service), row.band, row.pattern);
            let before = self.totals.get(&key).copied().unwrap_or(0);
            // A total that fell belongs to a pattern that was forgotten and came again.
            let records = row.total.records.checked_sub(before).unwrap_or(row.total.records);
            let (service, band, pattern) = (&row.service, row.band, row.pattern);
            rows.push(Row { service, band, pattern, template: &row.template, records });
            totals.insert(key, row.total.records);
        }
        (self.totals, self.last) = (totals, Some(snapshot.at));
        if windows > LONGEST_WINDOWS {
            return Some(Step::Gap);
        }
        let window_seconds = snapshot.window_seconds;
        Some(Step::Frame(Frame { at: snapshot.at, windows, window_seconds, rows }))
    }
}
