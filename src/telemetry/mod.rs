//! What the gateway says about itself: metrics, health, its own logs.
//!
//! Purpose: let every part report numbers without knowing how they are shown.
//! Promises: numbers are read when asked for, never pushed; own logs are rate-limited and never enter the pipeline.
//! Never: knows a part by name; parts implement [`MetricSource`].

pub mod config;
pub mod memory_limiter;
pub mod metrics;
pub mod own_logs;
pub mod process;
pub mod server;

/// A part that has numbers to show.
pub trait MetricSource: Send + Sync {
    /// Writes the present values. Called once a scrape; may take locks, must not block on input or output.
    fn collect(&self, out: &mut dyn MetricSink);
}

/// Where a part writes its numbers. Names are complete Prometheus names.
pub trait MetricSink {
    /// A number that only grows while the process lives.
    fn counter(&mut self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], value: u64);
    /// A number that goes up and down.
    fn gauge(&mut self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)], value: f64);
}

/// Who can list anomalies.
pub trait AnomalySource: Send + Sync {
    /// Up to `limit` anomalies that go on, the most surprising first, and as many that ended lately, as JSON:
    /// `{"ongoing":[…],"ended":[…]}`; docs/anomalies.md has the fields.
    fn anomalies_json(&self, limit: usize) -> String;
}

/// Who can list patterns by volume, for `lipservice top`.
pub trait PatternSource: Send + Sync {
    /// The `limit` largest patterns of the running and the last finished window as JSON:
    /// `{"window_seconds":10,"totals":{"received","kept","dropped","refused","bytes_in","bytes_kept"},"patterns":[{"service",
    /// "severity","pattern","signature","template","records","bytes","kept","dropped","records_per_second","reason"}]}`.
    fn patterns_json(&self, limit: usize) -> String;
}
