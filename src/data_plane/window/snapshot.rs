//! The windows as values, for metrics, `lipservice top` and the control plane.
//!
//! Promises: a snapshot is a copy; rows are sorted by bytes, largest first.
//! Never: holds a lock after it is made.

use std::sync::Arc;

use super::band::Band;
use super::cell::{Counts, State};
use super::table::{PatternTable, Service};
use crate::clock::UnixNanos;
use crate::data_plane::pattern::PatternId;
use crate::data_plane::signature::Signature;

/// One pattern at one moment.
#[derive(Clone, Debug)]
pub struct PatternRow {
    /// Whose records.
    pub service: Arc<Service>,
    /// Severity band.
    pub band: Band,
    /// Pattern; `None` for the overflow entry.
    pub pattern: Option<PatternId>,
    /// Signature of the first record; a learned pattern has several. `None` for the overflow entry.
    pub signature: Option<Signature>,
    /// The pattern's template.
    pub template: Box<str>,
    /// One body.
    pub example: Box<str>,
    /// The running window.
    pub current: Counts,
    /// The last finished window.
    pub last: Counts,
    /// Since it was first seen.
    pub total: Counts,
    /// Arrival of the first record.
    pub first_seen: UnixNanos,
    /// Arrival of the last record.
    pub last_seen: UnixNanos,
}

/// Every pattern at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub at: UnixNanos,
    /// Length of a window in seconds.
    pub window_seconds: f64,
    /// Patterns, most bytes in all first.
    pub rows: Vec<PatternRow>,
}

impl PatternTable {
    /// The table as it stands at `now`, cut to the `limit` patterns with the most bytes.
    pub fn snapshot(&self, now: UnixNanos, limit: usize) -> Snapshot {
        let window = self.window_at(now);
        let mut cells = Vec::with_capacity(self.len() + 8);
        self.for_each(|cell| cells.push((cell.read(window), Arc::clone(cell))));
        cells.sort_by(|(a, x), (b, y)| (b.total.bytes, x.pattern).cmp(&(a.total.bytes, y.pattern)));
        cells.truncate(limit);
        let rows = cells.into_iter().map(|(state, cell)| row(&state, &cell)).collect();
        Snapshot { at: now, window_seconds: self.window_seconds(), rows }
    }
}

fn row(state: &State, cell: &super::cell::Cell) -> PatternRow {
    PatternRow {
        service: Arc::clone(&cell.service),
        band: cell.band,
        pattern: cell.pattern,
        signature: cell.signature,
        template: cell.template.clone(),
        example: cell.example.clone(),
        current: state.current,
        last: state.last,
        total: state.total,
        first_seen: state.first_seen,
        last_seen: state.last_seen,
    }
}
