//! Report what was dropped, and forget patterns that paused.
//!
//! Purpose: the periodic work on the pattern table, as calls with time passed in; the gateway owns the timer.
//! Promises: what finds no room in a queue stays accounted for and goes with a later summary; a pattern is forgotten
//! only once everything it lost was reported.
//! Never: waits.

use bytes::Bytes;

use super::{Pipeline, Wiring};
use crate::data_plane::exporter::Outgoing;
use crate::data_plane::sampler::summary::{self, Entry, SummaryRequest};

impl Pipeline {
    /// Sends one summary record for each pattern and cause that lost records since the last call. Returns how many
    /// records were handed to the destinations.
    pub fn summarise(&self) -> u64 {
        let wiring = self.wiring.load();
        let mut entries = Vec::new();
        self.table.for_each(|cell| {
            for suppressed in cell.take_suppressed() {
                entries.push(Entry { cell: std::sync::Arc::clone(cell), suppressed });
            }
        });
        if !wiring.summaries {
            return 0;
        }
        let requests = summary::requests(entries, self.clock.now());
        requests.into_iter().map(|request| self.send_summary(&wiring, request)).sum()
    }

    fn send_summary(&self, wiring: &Wiring, request: SummaryRequest) -> u64 {
        let mut rooms = Vec::with_capacity(wiring.destinations.len());
        for destination in &wiring.destinations {
            let Some(room) = destination.try_reserve(request.body.len()) else {
                for entry in request.entries {
                    entry.cell.restore_suppressed([entry.suppressed]);
                }
                return 0;
            };
            rooms.push(room);
        }
        self.ledger.summarise(request.records, request.body.len() as u64);
        let outgoing = Outgoing { body: Bytes::from(request.body), records: request.records, token: request.token };
        super::submit(rooms, outgoing);
        request.records
    }

    /// Whether any pattern still has losses that no summary reported.
    pub fn has_unreported(&self) -> bool {
        if !self.wiring.load().summaries {
            return false;
        }
        let mut unreported = false;
        self.table.for_each(|cell| unreported |= cell.has_suppressed());
        unreported
    }

    /// Forgets patterns that paused long enough. Returns how many.
    pub fn evict_idle(&self) -> usize {
        self.table.evict_idle(self.clock.now())
    }
}
