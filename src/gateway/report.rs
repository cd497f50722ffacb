//! What became of every record, at the end or at any moment.
//!
//! Promises: built from the books alone; says itself whether they balance.
//! Never: rounds or estimates.

use std::fmt;

use crate::data_plane::exporter::{Exporter, ExporterStats};
use crate::data_plane::ledger::Totals;

/// One exporter's books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterReport {
    /// Its component id.
    pub name: String,
    /// Its numbers.
    pub stats: ExporterStats,
}

impl ExporterReport {
    /// The numbers of this moment.
    pub(super) fn of(exporter: &Exporter) -> Self {
        ExporterReport { name: exporter.name().to_owned(), stats: exporter.stats() }
    }
}

/// The gateway's books.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Up to the exporters.
    pub totals: Totals,
    /// Each exporter's own, those that a reload replaced included.
    pub exporters: Vec<ExporterReport>,
}

impl Report {
    /// Whether received = kept + dropped + refused, and for every exporter accepted = sent + failed + waiting.
    pub fn balance(&self) -> bool {
        self.totals.balance()
            && self.exporters.iter().all(|exporter| {
                let stats = &exporter.stats;
                stats.invariant_violations == 0 && stats.accepted == stats.sent + stats.failed.total() + stats.waiting
            })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        write!(
            f,
            "received {} = kept {} + dropped {} + refused {}; summaries {}",
            totals.received.records,
            totals.kept.records,
            totals.dropped.records,
            totals.refused.records,
            totals.summaries.records
        )?;
        for ExporterReport { name, stats } in &self.exporters {
            let failed = stats.failed.total();
            write!(f, "; {name}: sent {}, failed {failed}, waiting {}", stats.sent, stats.waiting)?;
        }
        f.write_str(if self.balance() { "" } else { "; THE BOOKS DO NOT BALANCE, please report this" })
    }
}
