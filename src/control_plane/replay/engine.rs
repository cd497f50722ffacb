//! Drives the gateway's pipeline over recorded requests.
//!
//! Purpose: time from the records, randomness from a seed, summaries and windows as the gateway makes them.
//! Promises: time never steps back; the same requests, settings and seed give the same outcome.
//! Never: sleeps, starts threads, or has a pipeline of its own.

use std::sync::Arc;

use bytes::Bytes;

use super::delivery::Delivery;
use super::profile::{Coverage, Profile, Profiler};
use super::sink::{Batches, NoForward, Sink};
use super::traces::{TraceCounts, Traces};
use super::walk::{Services, Walker};
use super::watch::{AnomalyCounts, Watch};
use crate::clock::{Clock, UnixNanos};
use crate::control_plane::analysis::anomaly::AnomalyConfig;
use crate::data_plane::exporter::config::BatchConfig;
use crate::data_plane::ledger;
use crate::data_plane::pipeline::{Destination, Pipeline, Wiring, settings_of};
use crate::data_plane::policy::CompiledPolicy;
use crate::data_plane::receiver::{Consumer, Received, Refusal, Transport};
use crate::data_plane::sampler::config::SamplerConfig;
use crate::data_plane::view::ViewError;
use crate::data_plane::window::{Band, PatternTable};
use crate::units::Period;

/// How a replay runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// As the gateway's sampler is configured; its policies are not read.
    pub sampler: SamplerConfig,
    /// As the gateway's exporter batches.
    pub batch: BatchConfig,
    /// Seed of the randomness of records without a trace id.
    pub seed: u64,
    /// Traces followed.
    pub max_traces: usize,
    /// Patterns profiled.
    pub max_patterns: usize,
    /// How the gateway watches for anomalies; nothing is watched without it, or when it is off.
    pub anomalies: Option<AnomalyConfig>,
    /// Set when the traffic has gaps in which nothing was read; see [`Settings::in_parts`].
    pub coverage: Option<Coverage>,
}

/// Longer than any history: a pattern is not forgotten for a pause in which nothing was read.
const NEVER: Period = Period::secs(100 * 365 * 86_400);

impl Settings {
    /// The same for traffic with gaps in which nothing was read. They are no silence: no anomalies are looked for, and what is
    /// known of a pattern lasts over them.
    #[must_use]
    pub fn in_parts(mut self, coverage: Coverage) -> Settings {
        self.coverage = Some(coverage);
        self.anomalies = None;
        self.sampler.window.idle_timeout = NEVER;
        self
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sampler: SamplerConfig::default(),
            batch: crate::data_plane::exporter::config::PostHogConfig::default().batch,
            seed: 1,
            max_traces: 1_000_000,
            max_patterns: 200_000,
            anomalies: None,
            coverage: None,
        }
    }
}

/// Why a replay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A request is not valid OTLP.
    #[error("{0}")]
    Malformed(#[from] ViewError),
    /// The pipeline refused a request, which a replay gives no reason for.
    #[error("the pipeline refused a request: {0:?}")]
    Refused(Refusal),
}

/// A replay under way.
pub struct Replay {
    pipeline: Pipeline,
    clock: Clock,
    sink: Arc<Sink>,
    walker: Walker,
    services: Services,
    profiler: Profiler,
    traces: Traces,
    watch: Option<Watch>,
    arriving: Batches,
    arrived_bytes: u64,
    leaving: Batches,
    delivery: Delivery,
    now: UnixNanos,
    interval_ns: u64,
    next_summary: UnixNanos,
    protect_from: Option<Band>,
    problem: Option<ViewError>,
    tap: Option<Tap>,
    coverage: Option<Coverage>,
}

/// Sees every body that would go out.
pub type Tap = Box<dyn FnMut(&[u8])>;

/// What came in and what would go out.
#[derive(Debug)]
pub struct Outcome {
    /// What came in.
    pub profile: Profile,
    /// What would go out.
    pub delivery: Delivery,
    /// Services by number, for the keys of both.
    pub services: Services,
    /// How traces fared.
    pub traces: TraceCounts,
    /// Which anomalies stay visible; `None` when nothing was watched.
    pub anomalies: Option<AnomalyCounts>,
    /// The pipeline's own books.
    pub totals: ledger::Totals,
    /// Length of the bodies that would go out if everything was kept.
    pub arrived_bytes: u64,
    /// Severity bands from here on are protected.
    pub protect_from: Option<Band>,
    /// The policies, with hits and misses.
    pub policy: Arc<CompiledPolicy>,
}

impl Replay {
    /// A replay of `policy`. `human` holds the human policies among it, compiled apart, to tell what is not the
    /// generator's to decide.
    pub fn new(settings: &Settings, policy: CompiledPolicy, human: CompiledPolicy) -> Self {
        let clock = Clock::manual(0);
        let sink = Arc::new(Sink::default());
        let (decision, protect_from) = settings_of(&settings.sampler);
        let wiring = Wiring {
            destinations: vec![Arc::clone(&sink) as Arc<dyn Destination>],
            forward: Arc::new(NoForward),
            overload: None,
            settings: decision,
            protect_from,
            summaries: settings.sampler.summary.enabled,
        };
        let catalogue = Arc::clone(policy.catalogue());
        let table = PatternTable::new(&settings.sampler.window);
        let pipeline = Pipeline::new(clock.clone(), table, policy, wiring);
        pipeline.seed_randomness(settings.seed);
        let interval_ns = (settings.sampler.summary.interval.0.as_nanos() as u64).max(1);
        let window_ns = settings.sampler.window.interval.0.as_nanos() as u64;
        let watched = settings.anomalies.as_ref().filter(|config| config.enabled);
        let batches = || Batches::new(settings.batch.max_size.as_usize(), settings.batch.timeout.0);
        Replay {
            pipeline,
            clock,
            sink,
            walker: Walker::new(Arc::clone(&catalogue)),
            services: Services::new(settings.sampler.window.max_services),
            profiler: Profiler::new(window_ns, interval_ns, settings.max_patterns, human),
            traces: Traces::new(settings.max_traces),
            watch: watched.map(|config| Watch::new(config, window_ns, interval_ns)),
            arriving: batches(),
            arrived_bytes: 0,
            leaving: batches(),
            delivery: Delivery::new(catalogue),
            now: 0,
            interval_ns,
            next_summary: 0,
            protect_from,
            problem: None,
            tap: None,
            coverage: settings.coverage,
        }
    }

    /// Shows every body that would go out to `tap`.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Takes one request, as it would have arrived at the time of its latest record.
    ///
    /// # Errors
    /// When it is not a valid request. The replay can go on with the next one.
    pub fn feed(&mut self, body: Bytes) -> Result<(), ReplayError> {
        self.take(body, None)
    }

    /// Takes one request as if it had arrived at `now`, whatever its records say.
    ///
    /// # Errors
    /// As [`Replay::feed`].
    pub fn feed_at(&mut self, body: Bytes, now: UnixNanos) -> Result<(), ReplayError> {
        self.take(body, Some(now))
    }

    fn take(&mut self, body: Bytes, now: Option<UnixNanos>) -> Result<(), ReplayError> {
        self.walker.read(&body)?;
        if self.walker.index.records.is_empty() {
            return Ok(());
        }
        self.advance(now.unwrap_or(self.walker.latest()));
        let traces = &mut self.traces;
        self.walker.index.records.iter().for_each(|record| traces.seen(record.trace_id.of(&body)));
        self.profiler.add(&self.walker, &body, &mut self.services, self.watch.as_mut(), self.now);
        let arrived = &mut self.arrived_bytes;
        self.arriving.add(body.clone(), self.now, |whole| *arrived += whole.len() as u64);
        let request = Received { body, token: None, transport: Transport::Http };
        self.pipeline.consume_logs(request).map_err(ReplayError::Refused)?;
        self.collect();
        Ok(())
    }

    /// Moves time on; summaries fall due as in the gateway, once however long the pause.
    fn advance(&mut self, latest: UnixNanos) {
        if latest <= self.now {
            return;
        }
        if self.now == 0 {
            self.next_summary = latest - latest % self.interval_ns + self.interval_ns;
        }
        if latest >= self.next_summary && self.now != 0 {
            // Just before the record that shows that the interval is over.
            self.summarise();
            self.next_summary = latest - latest % self.interval_ns + self.interval_ns;
        }
        self.clock.advance(std::time::Duration::from_nanos(latest - self.now));
        self.now = latest;
        if let Some(watch) = &mut self.watch {
            watch.advance(latest, &self.services);
        }
    }

    fn summarise(&mut self) {
        self.pipeline.summarise();
        self.pipeline.evict_idle();
        self.collect();
    }

    fn collect(&mut self) {
        let Replay { sink, leaving, delivery, services, traces, watch, problem, now, tap, .. } = self;
        for body in sink.take() {
            leaving.add(body, *now, |whole| {
                tap.iter_mut().for_each(|tap| tap(&whole));
                let watch = watch.as_mut().map(|watch| (watch, *now));
                note(problem, delivery.add(&whole, services, traces, watch));
            });
        }
    }

    /// Ends the replay: the last summaries and batches go out.
    ///
    /// # Errors
    /// When the pipeline wrote something that is not valid, which is a defect.
    pub fn finish(mut self) -> Result<Outcome, ReplayError> {
        self.summarise();
        let Replay { leaving, delivery, services, traces, watch, problem, now, tap, .. } = &mut self;
        leaving.flush(|whole| {
            tap.iter_mut().for_each(|tap| tap(&whole));
            let watch = watch.as_mut().map(|watch| (watch, *now));
            note(problem, delivery.add(&whole, services, traces, watch));
        });
        let arrived = &mut self.arrived_bytes;
        self.arriving.flush(|whole| *arrived += whole.len() as u64);
        if let Some(problem) = self.problem {
            return Err(problem.into());
        }
        let anomalies = self.watch.map(|watch| watch.finish(&self.services));
        Ok(Outcome {
            profile: Profile { coverage: self.coverage, ..self.profiler.finish(&self.services) },
            delivery: self.delivery,
            services: self.services,
            traces: self.traces.counts(),
            anomalies,
            totals: self.pipeline.ledger.totals(),
            arrived_bytes: self.arrived_bytes,
            protect_from: self.protect_from,
            policy: self.pipeline.policy(),
        })
    }
}

fn note(problem: &mut Option<ViewError>, result: Result<(), ViewError>) {
    if let Err(error) = result {
        problem.get_or_insert(error);
    }
}
