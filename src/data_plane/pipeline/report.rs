//! The pipeline's numbers: metrics, and patterns by volume as JSON.
//!
//! Promises: the number of label values is bounded (the largest patterns only); the rest is visible in totals.
//! Never: runs on the hot path; it is asked.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::Pipeline;
use crate::data_plane::window::PatternRow;
use crate::telemetry::{MetricSink, MetricSource, PatternSource};

/// Patterns with metrics of their own: the largest by bytes.
const METRIC_PATTERNS: usize = 50;
/// Most patterns in one JSON answer.
const MAX_LISTED_PATTERNS: usize = 1_000;

impl PatternSource for Pipeline {
    fn patterns_json(&self, limit: usize) -> String {
        let snapshot = self.table.snapshot(self.clock.now(), limit.min(MAX_LISTED_PATTERNS));
        let totals = self.ledger.totals();
        let patterns: Vec<_> = snapshot.rows.iter().map(|row| pattern(row, snapshot.window_seconds)).collect();
        json!({
            "window_seconds": snapshot.window_seconds,
            "totals": {
                "received": totals.received.records,
                "kept": totals.kept.records,
                "dropped": totals.dropped.records,
                "refused": totals.refused.records,
                "summaries": totals.summaries.records,
                "bytes_in": totals.request_bytes,
                "bytes_kept": totals.forwarded_bytes,
                "patterns": self.table.len(),
            },
            "patterns": patterns,
        })
        .to_string()
    }
}

fn pattern(row: &PatternRow, window_seconds: f64) -> serde_json::Value {
    json!({
        "service": &*row.service.name,
        "severity": row.band.as_str(),
        "pattern": row.pattern.map(|pattern| pattern.to_string()),
        "signature": row.signature.map(|signature| signature.to_string()),
        "template": &*row.template,
        "example": &*row.example,
        "records": row.total.records,
        "bytes": row.total.bytes,
        "kept": row.total.kept,
        "dropped": row.total.dropped(),
        "records_per_second": row.last.records as f64 / window_seconds,
        "window": { "records": row.current.records, "kept": row.current.kept },
        "first_seen_unix_nano": row.first_seen.to_string(),
        "last_seen_unix_nano": row.last_seen.to_string(),
    })
}

impl MetricSource for Pipeline {
    fn collect(&self, out: &mut dyn MetricSink) {
        self.ledger.collect(out);
        self.collect_trial(out);
        let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        out.gauge("lipservice_window_patterns", "Patterns tracked.", &[], self.table.len() as f64);
        for (name, help, counter) in [
            (
                "lipservice_window_overflow_log_records",
                "Log records of patterns beyond max_patterns.",
                &self.table.overflow_records,
            ),
            ("lipservice_window_evicted_patterns", "Patterns forgotten.", &self.table.evicted_patterns),
            (
                "lipservice_window_overflow_services",
                "Requests of services beyond max_services.",
                &self.table.overflow_services,
            ),
            (
                "lipservice_window_known_patterns",
                "Patterns that came here first and were known to the control plane.",
                &self.table.known_patterns,
            ),
        ] {
            out.counter(name, help, &[], load(counter));
        }
        self.collect_patterns(out);
        self.collect_policies(out);
        let snapshot = self.table.snapshot(self.clock.now(), METRIC_PATTERNS);
        for row in &snapshot.rows {
            let pattern = row.pattern.map_or_else(|| "_overflow".to_owned(), |pattern| pattern.to_string());
            for (decision, records, bytes) in [
                ("kept", row.total.kept, row.total.kept_bytes),
                ("dropped", row.total.dropped(), row.total.dropped_bytes()),
            ] {
                let labels = [
                    ("service", &*row.service.name),
                    ("severity", row.band.as_str()),
                    ("pattern", &pattern),
                    ("decision", decision),
                ];
                let help = "Log records of the largest patterns.";
                out.counter("lipservice_pattern_log_records", help, &labels, records);
                out.counter("lipservice_pattern_log_bytes", "Bytes of the largest patterns.", &labels, bytes);
            }
        }
    }
}

impl Pipeline {
    fn collect_patterns(&self, out: &mut dyn MetricSink) {
        let published = self.policy().catalogue().patterns().len();
        out.gauge("lipservice_patterns_published", "Patterns with a published template.", &[], published as f64);
        let help = "Signatures that left a full cache and are resolved again when they come back.";
        out.counter("lipservice_pattern_cache_evictions", help, &[], self.sightings.evicted());
        let help = "Templates that found no room on their way to the miner; they are offered again.";
        out.counter("lipservice_pattern_sightings_turned_away", help, &[], self.sightings.turned_away());
    }

    fn collect_policies(&self, out: &mut dyn MetricSink) {
        let help = "Gateways that share the rate limits of policies, this one among them.";
        out.gauge("lipservice_policy_fleet_gateways", help, &[], f64::from(self.fleet().gateways()));
        for stats in self.policy().stats() {
            let labels = [("policy", &*stats.id)];
            let help = "Records a policy matched and whose outcome was in its sense.";
            out.counter("lipservice_policy_hits", help, &labels, stats.hits);
            let help = "Records a policy matched but a more restrictive one dropped.";
            out.counter("lipservice_policy_misses", help, &labels, stats.misses);
            let help = "Whether a policy failed to compile (1) and is skipped.";
            out.gauge("lipservice_policy_broken", help, &labels, f64::from(u8::from(!stats.errors.is_empty())));
        }
    }
}
