//! Learning patterns while records flow.
//!
//! Purpose: every interval, take the templates that were seen, mine, publish with the policies, keep the result in a file.
//! Promises: the hot path never waits for it; a file that cannot be read or written is reported and does no more harm; a
//! restart with the file has the same ids from the first record on.
//! Never: decides what is kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::policies::Policies;
use crate::clock::{Clock, UnixNanos};
use crate::control_plane::analysis::mining::{self, Miner, Totals};
use crate::data_plane::pattern::config::PatternsConfig;
use crate::data_plane::pipeline::Pipeline;
use crate::data_plane::signature;
use crate::shutdown::Shutdown;
use crate::telemetry::{MetricSink, MetricSource};

/// The miner of a gateway.
pub(super) struct Learner {
    state: Mutex<State>,
    /// A copy, so that a scrape does not wait for mining.
    totals: Mutex<Totals>,
    runs: AtomicU64,
    nanos: AtomicU64,
    file_failures: AtomicU64,
}

struct State {
    config: PatternsConfig,
    miner: Miner,
    /// Version of the catalogue that was written to the file last.
    kept: Option<(u64, u64)>,
}

impl Learner {
    /// A miner that knows what its file holds.
    pub(super) fn new(config: &PatternsConfig) -> Self {
        let learner = Learner {
            state: Mutex::new(State { config: config.clone(), miner: Miner::new(config.max_signatures), kept: None }),
            totals: Mutex::default(),
            runs: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            file_failures: AtomicU64::new(0),
        };
        learner.load();
        learner
    }

    fn load(&self) {
        let mut state = self.state.lock();
        let State { config, miner, .. } = &mut *state;
        let Some(path) = config.file.as_ref().filter(|_| config.enabled) else { return };
        match mining::load(Path::new(path), signature::VERSION, miner) {
            Ok(found) => tracing::info!(file = path, found, "patterns read"),
            Err(error) => {
                self.file_failures.fetch_add(1, Ordering::Relaxed);
                tracing::error!(file = path, %error, "the file of patterns cannot be used");
            }
        }
    }

    /// Takes other settings. A change of `max_signatures` or `file` takes effect at the next start.
    pub(super) fn configure(&self, config: &PatternsConfig) {
        let mut state = self.state.lock();
        state.config.enabled = config.enabled;
        state.config.interval = config.interval;
    }

    /// Mines what waits and publishes the result if it differs from what is in force. Blocks as long as it takes.
    pub(super) fn learn(&self, policies: &Policies, pipeline: &Pipeline, now: UnixNanos) {
        let mut state = self.state.lock();
        pipeline.sightings.set_most(if state.config.enabled { state.config.max_signatures } else { 0 });
        if !state.config.enabled {
            policies.publish(Vec::new(), pipeline, now);
            return;
        }
        let start = Instant::now();
        for (_, template) in pipeline.sightings.take() {
            state.miner.insert(&template);
        }
        let catalogue = state.miner.mine();
        let totals = state.miner.totals();
        *self.totals.lock() = totals;
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        policies.publish(catalogue.patterns().to_vec(), pipeline, now);
        let version = (catalogue.version(), totals.signatures + totals.evicted);
        if let Some(path) = state.config.file.clone().filter(|_| state.kept != Some(version)) {
            match mining::save(Path::new(&path), signature::VERSION, &state.miner, &catalogue) {
                Ok(()) => state.kept = Some(version),
                Err(error) => {
                    self.file_failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(file = path, %error, "the file of patterns cannot be written");
                }
            }
        }
    }

    /// Learns every interval, and once more at the signal.
    pub(super) async fn run(
        self: Arc<Self>,
        policies: Arc<Policies>,
        pipeline: Arc<Pipeline>,
        clock: Clock,
        stop: Shutdown,
    ) {
        let interval = self.state.lock().config.interval.0;
        loop {
            let is_over = tokio::select! {
                () = stop.triggered() => true,
                () = tokio::time::sleep(interval) => false,
            };
            let (learner, policies, pipeline, clock) =
                (Arc::clone(&self), Arc::clone(&policies), Arc::clone(&pipeline), clock.clone());
            let learnt = tokio::task::spawn_blocking(move || learner.learn(&policies, &pipeline, clock.now())).await;
            if let Err(error) = learnt {
                tracing::error!(%error, "mining patterns ended early");
            }
            if is_over {
                return;
            }
        }
    }
}

impl MetricSource for Learner {
    fn collect(&self, out: &mut dyn MetricSink) {
        let totals = *self.totals.lock();
        let help = "Distinct templates of signatures that the miner holds.";
        out.gauge("lipservice_mining_signatures", help, &[], totals.signatures as f64);
        let help = "Templates of signatures that belong to a pattern with others.";
        out.gauge("lipservice_mining_merged_signatures", help, &[], totals.merged as f64);
        let help = "Learned patterns whose templates cannot be written and are not published.";
        out.gauge("lipservice_mining_unwritable_patterns", help, &[], totals.unwritable as f64);
        for (name, help, value) in [
            ("lipservice_mining_groups", "Candidate groups mined.", totals.groups_mined),
            ("lipservice_mining_evictions", "Templates forgotten beyond max_signatures.", totals.evicted),
            ("lipservice_mining_refused", "Templates too long to be mined.", totals.refused),
            ("lipservice_mining_runs", "Times patterns were mined.", self.runs.load(Ordering::Relaxed)),
            (
                "lipservice_mining_file_failures",
                "Times the file of patterns could not be read or written.",
                self.file_failures.load(Ordering::Relaxed),
            ),
        ] {
            out.counter(name, help, &[], value);
        }
        let seconds = self.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        out.gauge("lipservice_mining_seconds", "Time spent on mining since the start.", &[], seconds);
    }
}
