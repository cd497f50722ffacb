//! An exporter's numbers under the Collector's names, and ours where it has none.
//!
//! Purpose: show the books of `accounts` to whoever scrapes.
//! Promises: reads one consistent state of the books a scrape.
//! Never: counts anything itself.

use super::Exporter;
use super::accounts::FailReason;
use super::forwarder::{ForwardKind, ForwardResult, Forwarder};
use crate::telemetry::{MetricSink, MetricSource};

impl MetricSource for Exporter {
    fn collect(&self, out: &mut dyn MetricSink) {
        let stats = self.stats();
        let name = [("exporter", self.name())];
        for (metric, help, value) in [
            ("otelcol_exporter_sent_log_records", "Records the destination acknowledged", stats.sent),
            ("otelcol_exporter_send_failed_log_records", "Records given up", stats.failed.total()),
            (
                "otelcol_exporter_enqueue_failed_log_records",
                "Records turned away by a full queue; their senders were told to retry",
                stats.enqueue_failed,
            ),
            ("lipservice_exporter_accepted_records", "Records taken into the queue", stats.accepted),
            (
                "lipservice_exporter_refused_requests",
                "Requests a full queue had no room for",
                stats.refused_reservations,
            ),
            (
                "lipservice_exporter_sent_bytes",
                "Bytes of acknowledged bodies before compression: what PostHog bills",
                stats.sent_bytes,
            ),
            ("lipservice_exporter_sent_wire_bytes", "Bytes of acknowledged bodies on the wire", stats.sent_wire_bytes),
            ("lipservice_exporter_retries", "Batches sent again after a failure that may pass", stats.retries),
            (
                "lipservice_exporter_bisections",
                "Bodies cut in two to find what the destination refuses",
                stats.bisections,
            ),
            (
                "lipservice_exporter_invariant_violations",
                "Times the books did not add up; anything but 0 is a defect",
                stats.invariant_violations,
            ),
        ] {
            out.counter(metric, help, &name, value);
        }
        for (outcome, value) in
            [("ok", stats.requests_ok), ("transient", stats.requests_transient), ("refused", stats.requests_refused)]
        {
            let labels = [name[0], ("outcome", outcome)];
            out.counter("lipservice_exporter_requests", "Requests by how they ended", &labels, value);
        }
        for reason in FailReason::ALL {
            let labels = [name[0], ("reason", reason.label())];
            let value = stats.failed.count(reason);
            out.counter("lipservice_exporter_failed_records", "Records given up, by reason", &labels, value);
        }
        out.gauge(
            "otelcol_exporter_queue_size",
            "Bytes queued, in flight or waiting for a retry",
            &name,
            stats.queue_bytes as f64,
        );
        out.gauge(
            "otelcol_exporter_queue_capacity",
            "Bound of the queue in bytes",
            &name,
            stats.queue_capacity_bytes as f64,
        );
        out.gauge(
            "lipservice_exporter_waiting_records",
            "Records not yet sent or given up",
            &name,
            stats.waiting as f64,
        );
    }
}

impl MetricSource for Forwarder {
    fn collect(&self, out: &mut dyn MetricSink) {
        for kind in [ForwardKind::Traces, ForwardKind::Metrics] {
            for result in ForwardResult::ALL {
                let labels = [("exporter", self.name()), ("signal", kind.label()), ("outcome", result.label())];
                let value = self.count(kind, result);
                out.counter("lipservice_forwarder_requests", "Forwarded requests by how they ended", &labels, value);
            }
        }
        let name = [("exporter", self.name())];
        out.gauge(
            "lipservice_forwarder_bytes",
            "Bytes of requests being forwarded",
            &name,
            self.bytes_in_flight() as f64,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::OtlpHttpConfig;
    use super::*;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl MetricSink for Seen {
        fn counter(&mut self, name: &'static str, _: &'static str, labels: &[(&'static str, &str)], value: u64) {
            self.0.push(format!("{name}{labels:?} {value}"));
        }
        fn gauge(&mut self, name: &'static str, _: &'static str, labels: &[(&'static str, &str)], value: f64) {
            self.0.push(format!("{name}{labels:?} {value}"));
        }
    }

    #[tokio::test]
    async fn the_collectors_names_are_there() {
        let config = OtlpHttpConfig { endpoint: "http://localhost:1".into(), ..OtlpHttpConfig::default() };
        let config = super::super::config::ExporterConfig::OtlpHttp(config);
        let exporter = Exporter::start("otlp_http/a", &config, crate::clock::Clock::System, 1).unwrap();
        exporter.note_enqueue_failed(7);
        let mut seen = Seen::default();
        exporter.collect(&mut seen);
        for expected in [
            "otelcol_exporter_sent_log_records[(\"exporter\", \"otlp_http/a\")] 0",
            "otelcol_exporter_send_failed_log_records[(\"exporter\", \"otlp_http/a\")] 0",
            "otelcol_exporter_enqueue_failed_log_records[(\"exporter\", \"otlp_http/a\")] 7",
            "otelcol_exporter_queue_size[(\"exporter\", \"otlp_http/a\")] 0",
            "otelcol_exporter_queue_capacity[(\"exporter\", \"otlp_http/a\")] 67108864",
            "lipservice_exporter_failed_records[(\"exporter\", \"otlp_http/a\"), (\"reason\", \"shutdown\")] 0",
        ] {
            assert!(seen.0.iter().any(|line| line == expected), "{expected} in {:#?}", seen.0);
        }
    }
}
