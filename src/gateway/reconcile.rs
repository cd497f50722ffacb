//! What PostHog acknowledged against what it holds, every few minutes.
//!
//! Purpose: join an exporter's counter, the read API and the comparison; log and show the result.
//! Promises: never stops for a failure of the read API: the span is compared later, the failure is counted; one request at a
//! time, within the client's budget, each comparison bounded by the interval.
//! Never: judges (see `control_plane::posthog::compare`), or touches the data plane but to read one counter.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::RunningExporter;
use crate::clock::{Clock, UnixNanos};
use crate::config::{Config, compared};
use crate::control_plane::posthog::{
    Client, Comparison, ReadConfig, Spans, SystemTimer, Verdict, compare, count_received,
};
use crate::data_plane::exporter::Exporter;
use crate::shutdown::Shutdown;
use crate::telemetry::{MetricSink, MetricSource};

/// The comparisons so far. Outlives reloads.
#[derive(Default)]
pub(super) struct Reconciliation {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_on: bool,
    spans: Spans,
    last: Option<(UnixNanos, Comparison)>,
    sent: u64,
    found: u64,
    comparisons: [u64; 3],
    failures: u64,
}

const VERDICTS: [(Verdict, &str); 3] =
    [(Verdict::Agrees, "agrees"), (Verdict::Missing, "missing"), (Verdict::Surplus, "surplus")];

impl Reconciliation {
    /// Compares until the signal.
    pub(super) async fn run(self: Arc<Self>, reading: ReadConfig, exporter: Exporter, clock: Clock, stop: Shutdown) {
        self.state.lock().is_on = true;
        let client = match Client::new(&reading, Arc::new(SystemTimer)) {
            Ok(client) => client,
            Err(fault) => {
                self.state.lock().failures += 1;
                tracing::error!(%fault, "records sent are not compared with records found (posthog.reconcile)");
                return;
            }
        };
        let every = reading.reconcile.interval.0.max(Duration::from_millis(10));
        let mut timer = tokio::time::interval_at(Instant::now() + every, every);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.state.lock().spans.read(clock.now(), exporter.stats().sent);
        loop {
            tokio::select! {
                () = stop.triggered() => return,
                _ = timer.tick() => {}
            }
            self.state.lock().spans.read(clock.now(), exporter.stats().sent);
            tokio::select! {
                () = stop.triggered() => return,
                () = self.compare_due(&client, &reading, &clock, every) => {}
            }
        }
    }

    /// Compares what is due, the oldest first, until one comparison fails.
    async fn compare_due(&self, client: &Client, reading: &ReadConfig, clock: &Clock, limit: Duration) {
        let settings = &reading.reconcile;
        loop {
            let due = self.state.lock().spans.due(clock.now(), settings.delay.0);
            let Some(span) = due else { return };
            let counting = count_received(client, span.from, span.to, settings.max_age.0);
            let why = match tokio::time::timeout(limit, counting).await {
                Ok(Ok(found)) => {
                    self.note(clock.now(), compare(span, found, settings.tolerance));
                    continue;
                }
                Ok(Err(fault)) => fault.to_string(),
                Err(_) => "no answer within posthog.reconcile.interval".to_owned(),
            };
            self.state.lock().failures += 1;
            tracing::warn!(why, "records sent could not be compared with records found; they will be later");
            return;
        }
    }

    fn note(&self, now: UnixNanos, comparison: Comparison) {
        let mut state = self.state.lock();
        let Comparison { span, found, missing_share, verdict } = comparison;
        let before = state.last.replace((now, comparison)).map(|(_, last)| last.verdict);
        state.spans.done(span);
        state.sent += span.sent;
        state.found += found;
        for (count, (kind, _)) in state.comparisons.iter_mut().zip(VERDICTS) {
            *count += u64::from(kind == verdict);
        }
        match verdict {
            Verdict::Missing => tracing::warn!(
                sent = span.sent,
                found,
                missing_share,
                "PostHog acknowledged records that it does not hold: a wrong project token, a used-up quota, or drop rules; \
                 run lipservice doctor"
            ),
            Verdict::Surplus if before != Some(Verdict::Surplus) => tracing::info!(
                sent = span.sent,
                found,
                "PostHog holds more records than this gateway sent: others write to the project too, which can hide a loss"
            ),
            Verdict::Agrees if before == Some(Verdict::Missing) => {
                tracing::info!(sent = span.sent, found, "PostHog holds what it acknowledged again");
            }
            _ => {}
        }
    }
}

/// Starts to compare, if the configuration says so.
pub(super) fn start(
    reconciliation: &Arc<Reconciliation>,
    config: &Config,
    exporters: &[RunningExporter],
    clock: &Clock,
    stop: &Shutdown,
) -> Option<JoinHandle<()>> {
    let wanted = compared(config).ok().flatten()?;
    let exporter = exporters.iter().find(|running| running.name == wanted)?.exporter.clone();
    let run = Arc::clone(reconciliation).run(config.posthog.clone(), exporter, clock.clone(), stop.clone());
    Some(tokio::spawn(run))
}

impl MetricSource for Reconciliation {
    fn collect(&self, out: &mut dyn MetricSink) {
        let state = self.state.lock();
        if !state.is_on {
            return;
        }
        for (name, help, value) in [
            ("lipservice_posthog_sent_records", "Acknowledged records of all spans compared", state.sent),
            ("lipservice_posthog_found_records", "Records that PostHog holds of the same spans", state.found),
            ("lipservice_posthog_failures", "Comparisons that failed and are made later", state.failures),
            ("lipservice_posthog_lost_spans", "Spans given up because too many waited", state.spans.lost()),
        ] {
            out.counter(name, help, &[], value);
        }
        for (count, (_, verdict)) in state.comparisons.iter().zip(VERDICTS) {
            let help = "Comparisons of records sent with records found, by verdict";
            out.counter("lipservice_posthog_comparisons", help, &[("verdict", verdict)], *count);
        }
        if let Some((at, last)) = &state.last {
            let help = "Share of the records of the last span compared that PostHog does not hold";
            out.gauge("lipservice_posthog_missing_share", help, &[], last.missing_share);
            let help = "When the last comparison was made, in Unix time";
            out.gauge("lipservice_posthog_last_comparison_seconds", help, &[], *at as f64 / 1e9);
        }
    }
}
