//! From window snapshots to reports of what is new since the last one.
//!
//! Purpose: counts in a window only grow; a report is what they grew by.
//! Promises: every count is in exactly one report; a report that was not acknowledged is made again, the same, under
//! the same id; while the control plane is away counts wait in the windows, not in a queue.
//! Never: sends.

use std::collections::HashMap;
use std::sync::Arc;

use super::api::{TrialReport, TrialRow};
use super::store::{Batch, MAX_BATCH_ROWS, StatsRow, Timestamp};
use crate::data_plane::ledger::Arm;
use crate::data_plane::pipeline::trial::{ArmCounts, TrialCounts};
use crate::data_plane::window::{Band, Counts, Service, Snapshot};

/// Service under a token, severity, pattern.
type Key = (Arc<Service>, Band, String);

/// What a policy on trial did, and the one in force beside it, since the trial began here.
pub fn trial_report(counts: &TrialCounts) -> TrialReport {
    let row = |service: &str, arm: Arm, counts: &ArmCounts| {
        let (kept, dropped) = (counts.total(true), counts.total(false));
        let [lost, seen] = counts.anomalous;
        TrialRow {
            service: service.to_owned(),
            arm: arm.as_str().to_owned(),
            records: kept.records + dropped.records,
            bytes: kept.bytes + dropped.bytes,
            kept: kept.records,
            kept_bytes: kept.bytes,
            errors_lost: counts.errors_lost,
            anomalous: lost.records + seen.records,
            anomalous_kept: seen.records,
        }
    };
    let services = counts.services.iter();
    let rows = services.flat_map(|(service, arms)| Arm::ALL.map(|arm| row(service, arm, &arms[arm as usize])));
    let rows = rows.filter(|row| row.records > 0).collect();
    TrialReport { rollout: counts.id.rollout, stage: counts.id.stage, rows }
}

/// Makes reports.
#[derive(Debug, Default)]
pub struct Reporter {
    told: HashMap<Key, Counts>,
    waiting: Vec<Batch>,
}

impl Reporter {
    /// What to send now: what was not acknowledged, else what is new in `snapshot`. Nothing when nothing is.
    pub fn take(&mut self, snapshot: &Snapshot) -> Vec<Batch> {
        if self.waiting.is_empty() {
            self.waiting = self.fresh(snapshot);
        }
        self.waiting.clone()
    }

    /// The last report has arrived.
    pub fn acknowledge(&mut self) {
        self.waiting.clear();
    }

    fn fresh(&mut self, snapshot: &Snapshot) -> Vec<Batch> {
        let mut told = HashMap::with_capacity(snapshot.rows.len());
        let mut rows = Vec::new();
        for row in &snapshot.rows {
            let pattern = row.pattern.map(|pattern| pattern.to_string()).unwrap_or_default();
            let key = (Arc::clone(&row.service), row.band, pattern.clone());
            let now = row.total;
            // A pattern that was forgotten and came again starts from zero.
            let before = self.told.get(&key).filter(|told| told.records <= now.records).copied().unwrap_or_default();
            told.insert(key, now);
            if before.records == now.records {
                continue;
            }
            rows.push(StatsRow {
                service: row.service.name.to_string(),
                severity: row.band.as_str().to_owned(),
                pattern,
                template: row.template.to_string(),
                example: row.example.to_string(),
                at: Timestamp::of(snapshot.at),
                records: now.records - before.records,
                bytes: now.bytes.saturating_sub(before.bytes),
                kept: now.kept.saturating_sub(before.kept),
                kept_bytes: now.kept_bytes.saturating_sub(before.kept_bytes),
            });
        }
        self.told = told;
        rows.sort_by(|a, b| (&a.service, &a.severity, &a.pattern).cmp(&(&b.service, &b.severity, &b.pattern)));
        let id = || uuid::Uuid::now_v7().to_string();
        rows.chunks(MAX_BATCH_ROWS / 10).map(|rows| Batch { id: id(), rows: rows.to_vec() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::signature::Signature;
    use crate::data_plane::window::config::WindowConfig;
    use crate::data_plane::window::{PatternKey, PatternTable};

    fn record(table: &PatternTable, token: Option<&str>, signature: u64, keep: bool) {
        let service = table.service(b"shop", token.map(Into::into).as_ref());
        let signature = Signature(signature);
        let key = PatternKey { service, band: Band::Info, pattern: signature.into() };
        let cell = table.cell(key, signature, || ("t".into(), "e".into()));
        cell.record(0, 1, 10, |_| (keep, None, ())).unwrap();
    }

    #[test]
    fn every_count_is_in_one_report() {
        let table = PatternTable::new(&WindowConfig::default());
        let mut reporter = Reporter::default();
        let counts = |batches: &[Batch]| -> Vec<(u64, u64, u64)> {
            let rows = batches.iter().flat_map(|batch| &batch.rows);
            rows.map(|row| (row.records, row.bytes, row.kept)).collect()
        };
        assert_eq!(reporter.take(&table.snapshot(0, 99)), []);
        record(&table, None, 1, true);
        record(&table, Some("phc"), 1, false);
        let first = reporter.take(&table.snapshot(0, 99));
        let mut found = counts(&first);
        found.sort_unstable();
        assert_eq!(found, [(1, 10, 0), (1, 10, 1)]);
        // Not acknowledged: the same again, though more has come.
        record(&table, None, 2, true);
        assert_eq!(reporter.take(&table.snapshot(0, 99)), first);
        reporter.acknowledge();
        record(&table, None, 1, true);
        let second = reporter.take(&table.snapshot(0, 99));
        assert_eq!(counts(&second), [(1, 10, 1), (1, 10, 1)]);
        assert_ne!(second[0].id, first[0].id);
        reporter.acknowledge();
        assert_eq!(reporter.take(&table.snapshot(0, 99)), []);
        // A pattern that was evicted starts again.
        let table = PatternTable::new(&WindowConfig::default());
        record(&table, None, 1, true);
        assert_eq!(counts(&reporter.take(&table.snapshot(0, 99))), [(1, 10, 1)]);
    }
}
