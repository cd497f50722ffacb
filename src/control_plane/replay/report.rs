//! What came in against what would go out.
//!
//! Purpose: one report for people (`cli`), programs (JSON) and the review of a candidate.
//! Promises: rows are sorted, largest first, so that the same replay prints the same report; what must be 0 is in
//! `checks`, with the patterns it concerns.
//! Never: judges what is not in `checks`.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::delivery::Delivered;
use super::engine::Outcome;
use super::profile::CellProfile;
use super::traces::TraceCounts;
use super::watch::AnomalyCounts;
use crate::control_plane::insights::{MONTH_DAYS, Prices};
use crate::data_plane::policy::Origin;
use crate::data_plane::window::{Band, PatternKey};

/// Patterns named in a check at most.
const MAX_NAMED: usize = 20;

/// Records and bytes on one side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Side {
    /// Records.
    pub records: u64,
    /// Bytes as billed: records with their share of the blocks around them.
    pub bytes: f64,
}

impl Side {
    fn add(&mut self, other: Side) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// A service, a severity, or everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Totals {
    /// Came in.
    pub received: Side,
    /// Would be kept.
    pub kept: Side,
    /// Summary records.
    pub summaries: Side,
    /// Cost a month of what came in, at this rate.
    pub month_before: f64,
    /// Cost a month of what would go out.
    pub month_after: f64,
}

/// One pattern of one service and severity.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = SimulatedPattern)]
pub struct Row {
    /// Service.
    pub service: String,
    /// Severity band.
    pub severity: &'static str,
    /// Pattern.
    pub pattern: String,
    /// Masked template.
    pub template: String,
    /// Counts and cost.
    #[serde(flatten)]
    pub totals: Totals,
    /// Count estimated from the weights of kept records alone.
    pub weighted: f64,
    /// Standard error of that estimate, relative to the true count.
    pub standard_error: f64,
    /// Count from kept records and summaries.
    pub counted: u64,
}

/// A pattern of which nothing would be kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Vanished {
    /// Service.
    pub service: String,
    /// Severity band.
    pub severity: &'static str,
    /// Pattern.
    pub pattern: String,
    /// Masked template.
    pub template: String,
    /// Records it had.
    pub records: u64,
}

/// What must be 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Checks {
    /// Patterns without a kept record that no human policy ordered dropped.
    pub vanished_patterns: u64,
    /// ERROR and FATAL records that would be dropped.
    pub error_records_lost: u64,
    /// Records missing between what was kept, what summaries report and what came in.
    pub unaccounted_records: u64,
    /// The first of the patterns concerned.
    pub examples: Vec<Vanished>,
}

impl Checks {
    /// Whether everything that must be 0 is.
    pub fn pass(&self) -> bool {
        self.vanished_patterns == 0 && self.error_records_lost == 0 && self.unaccounted_records == 0
    }
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = SimulationReport)]
pub struct Report {
    /// From the first record to the last; of a history read in parts, how long so much traffic takes to come in.
    pub seconds: f64,
    /// Whether parts of a history were read, with gaps between them. Anomalies are not judged then.
    pub is_in_parts: bool,
    /// Everything.
    pub total: Totals,
    /// By service.
    pub services: BTreeMap<String, Totals>,
    /// By severity band.
    pub severities: BTreeMap<&'static str, Totals>,
    /// By pattern, most bytes received first.
    pub patterns: Vec<Row>,
    /// Patterns dropped whole because a human policy says `keep: none`.
    pub ordered_dropped: u64,
    /// Traces.
    pub traces: TraceCounts,
    /// Which anomalies would stay visible; null when nothing was watched.
    pub anomalies: Option<AnomalyCounts>,
    /// Must be 0.
    pub checks: Checks,
}

impl Report {
    /// Compares.
    pub fn of(outcome: &Outcome, prices: &Prices) -> Report {
        let profile = &outcome.profile;
        let shares = Shares::of(outcome);
        let mut report = Report {
            seconds: profile.seconds(),
            is_in_parts: profile.coverage.is_some(),
            total: Totals::default(),
            services: BTreeMap::new(),
            severities: BTreeMap::new(),
            patterns: Vec::with_capacity(profile.cells.len()),
            ordered_dropped: 0,
            traces: outcome.traces,
            anomalies: outcome
                .anomalies
                .clone()
                .map(|counts| counts.named(&|service, pattern| template_of(outcome, service, pattern))),
            checks: Checks::default(),
        };
        let nothing = Delivered::default();
        for (key, cell) in &profile.cells {
            let delivered = outcome.delivery.cells.get(key).unwrap_or(&nothing);
            let row = row(outcome, *key, cell, delivered, &shares);
            report.check(&row, key.band, delivered, outcome);
            report.total.add(&row.totals);
            report.services.entry(row.service.clone()).or_default().add(&row.totals);
            report.severities.entry(row.severity).or_default().add(&row.totals);
            report.patterns.push(row);
        }
        report.patterns.sort_by(|a, b| {
            let order = b.totals.received.bytes.total_cmp(&a.totals.received.bytes);
            order.then_with(|| (&a.service, &a.pattern, a.severity).cmp(&(&b.service, &b.pattern, b.severity)))
        });
        report.checks.examples.sort_by(|a, b| (b.records, &a.pattern).cmp(&(a.records, &b.pattern)));
        report.checks.examples.truncate(MAX_NAMED);
        report.price(prices);
        report
    }

    /// The share of billed bytes that goes out.
    pub fn kept_share(&self) -> f64 {
        (self.total.kept.bytes + self.total.summaries.bytes) / self.total.received.bytes.max(1.0)
    }

    fn check(&mut self, row: &Row, band: Band, delivered: &Delivered, outcome: &Outcome) {
        let (received, kept) = (row.totals.received.records, row.totals.kept.records);
        let human = |id: &str| {
            let policies = &outcome.policy;
            (0..policies.len() as u16).map(|i| policies.policy(i)).any(|p| *p.id == *id && p.origin == Origin::Human)
        };
        let ordered: u64 = delivered.ordered.iter().filter(|(id, _)| human(id)).map(|(_, records)| records).sum();
        let mut concerned = false;
        if kept == 0 && ordered >= received {
            self.ordered_dropped += 1;
        } else if kept == 0 {
            self.checks.vanished_patterns += 1;
            concerned = true;
        }
        if band >= Band::Error && kept + ordered < received {
            self.checks.error_records_lost += received - kept - ordered;
            concerned = true;
        }
        if delivered.summaries.records > 0 {
            self.checks.unaccounted_records += received.abs_diff(row.counted);
            concerned |= received != row.counted;
        }
        if concerned {
            self.checks.examples.push(Vanished {
                service: row.service.clone(),
                severity: row.severity,
                pattern: row.pattern.clone(),
                template: row.template.clone(),
                records: received,
            });
        }
    }

    /// Money goes by share of the bill: a free tier or a discount belongs to everyone alike.
    fn price(&mut self, prices: &Prices) {
        let months = self.seconds / (MONTH_DAYS * 86_400.0);
        let bill = |bytes: f64| prices.month(bytes / months) / bytes.max(1.0);
        let before = bill(self.total.received.bytes);
        let after = bill(self.total.kept.bytes + self.total.summaries.bytes);
        let all = self.services.values_mut().chain(self.severities.values_mut());
        for totals in all.chain(self.patterns.iter_mut().map(|row| &mut row.totals)).chain([&mut self.total]) {
            totals.month_before = totals.received.bytes * before;
            totals.month_after = (totals.kept.bytes + totals.summaries.bytes) * after;
        }
    }
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.received.add(other.received);
        self.kept.add(other.kept);
        self.summaries.add(other.summaries);
    }
}

/// Bytes of shared blocks for each record, by service, before and after.
struct Shares {
    received: Vec<f64>,
    sent: Vec<f64>,
}

impl Shares {
    fn of(outcome: &Outcome) -> Shares {
        let profile = &outcome.profile;
        // What came in is billed as if the exporter had regrouped all of it.
        let arrived: f64 = profile.services.iter().map(|service| service.shared_bytes as f64).sum();
        let billed = (outcome.arrived_bytes as f64 - profile.seen().bytes as f64).max(0.0);
        let scale = if arrived > 0.0 { billed / arrived } else { 0.0 };
        let services = 0..profile.services.len() as u32;
        let received = services.clone().map(|service| profile.shared_per_record(service) * scale).collect();
        let mut records = vec![0u64; profile.services.len()];
        for (key, delivered) in &outcome.delivery.cells {
            if let Some(records) = records.get_mut(key.service as usize) {
                *records += delivered.kept.records + delivered.summaries.records;
            }
        }
        let shared = |service: usize| outcome.delivery.shared_bytes.get(service).copied().unwrap_or(0) as f64;
        let sent = records.iter().enumerate().map(|(i, records)| shared(i) / (*records).max(1) as f64).collect();
        Shares { received, sent }
    }
}

fn row(outcome: &Outcome, key: PatternKey, cell: &CellProfile, delivered: &Delivered, shares: &Shares) -> Row {
    let service = key.service as usize;
    let share = |of: &[f64]| of.get(service).copied().unwrap_or(0.0);
    let side = |tally: crate::data_plane::ledger::Tally, share: f64| Side {
        records: tally.records,
        bytes: tally.bytes as f64 + tally.records as f64 * share,
    };
    let totals = Totals {
        received: side(cell.seen, share(&shares.received)),
        kept: side(delivered.kept, share(&shares.sent)),
        summaries: side(delivered.summaries, share(&shares.sent)),
        ..Totals::default()
    };
    Row {
        service: outcome.services.name(key.service).to_string(),
        severity: key.band.as_str(),
        pattern: key.pattern.to_string(),
        template: cell.template.to_string(),
        totals,
        weighted: delivered.weighted,
        standard_error: delivered.variance.sqrt() / cell.seen.records.max(1) as f64,
        counted: delivered.kept.records + delivered.reported,
    }
}

/// The template of a pattern of a service, whatever its severity.
fn template_of(outcome: &Outcome, service: &str, pattern: &str) -> String {
    let cells = outcome.profile.cells.iter();
    let is_it =
        |key: &PatternKey| key.pattern.to_string() == pattern && *outcome.services.name(key.service) == *service;
    cells.filter(|(key, _)| is_it(key)).map(|(_, cell)| cell.template.to_string()).min().unwrap_or_default()
}
