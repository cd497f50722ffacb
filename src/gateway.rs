//! The one place that wires everything: configuration in, running gateway out.
//!
//! Purpose: bind receivers early, start exporters, pipeline, timers and telemetry, accept last; reload parts that
//! changed without losing state; stop in order and drain.
//! Promises: a failed start leaves nothing running; a failed reload leaves the running configuration as it was; windows,
//! books, rate limits and queued records survive a reload; after a shutdown every record is accounted for in the report.
//! Never: decides what is kept.

mod adapters;
mod anomalies;
mod control;
mod feed;
mod generator;
mod patterns;
mod policies;
mod reconcile;
mod reload;
mod report;
mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Config;
use crate::control_plane::api::ServeError;
use crate::control_plane::cache::CacheError;
use crate::control_plane::client::ClientError;
use crate::control_plane::generator::llm::LlmError;
use crate::control_plane::store::StoreError;
use crate::data_plane::exporter::config::ExporterConfig;
use crate::data_plane::exporter::{Exporter, ExporterError};
use crate::data_plane::pipeline::{Pipeline, Wiring, settings_of};
use crate::data_plane::receiver::config::{BearerTokenAuthConfig, OtlpReceiverConfig};
use crate::data_plane::receiver::{Authenticators, Bound, OtlpReceiver, ReceiverError, ReceiverStats};
use crate::data_plane::reservoir::Reservoir;
use crate::data_plane::sampler::config::SamplerConfig;
use crate::data_plane::window::PatternTable;
use crate::reread::Renewable;
use crate::shutdown::Shutdown;
use crate::telemetry::memory_limiter::{self, MemoryLimiter};
use crate::telemetry::metrics::Sources;
use crate::telemetry::server::{self, Health, HealthReporter};
use crate::telemetry::{MetricSource, PatternSource};

use adapters::{Forwarders, Limit};
use anomalies::Anomalies;
use control::Control;
use patterns::Learner;
use policies::Policies;
use reconcile::Reconciliation;
pub use report::{ExporterReport, Report};

/// How often a summary that finds no room at shutdown is tried again.
const SUMMARY_RETRY: Duration = Duration::from_millis(20);

/// What a gateway needs beside its configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where time comes from.
    pub clock: Clock,
}

/// Why a gateway could not start, or a configuration could not take the running one's place. The operator's fault or
/// the machine's; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A receiver.
    #[error(transparent)]
    Receiver(#[from] ReceiverError),
    /// An exporter.
    #[error("exporters.{name}: {source}")]
    Exporter {
        /// Its component id.
        name: String,
        /// What is wrong.
        source: ExporterError,
    },
    /// An address for metrics or health.
    #[error("{setting}: cannot listen on {address}: {source} (is another gateway running?)")]
    Listen {
        /// The setting's path.
        setting: &'static str,
        /// Its value.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The control plane's store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control plane's API.
    #[error(transparent)]
    Api(#[from] ServeError),
    /// The control plane's cache.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// The language model that the loop asks.
    #[error(transparent)]
    Llm(#[from] LlmError),
    /// The control plane elsewhere.
    #[error("control_plane: {0}")]
    Follow(#[from] ClientError),
}

/// Why a reload was refused.
pub type ReloadError = StartError;

/// Certificates and tokens that are renewed with their files.
type Files = Vec<Arc<dyn Renewable>>;

struct RunningReceiver {
    name: String,
    config: OtlpReceiverConfig,
    authenticators: Vec<(String, BearerTokenAuthConfig)>,
    /// gRPC's and HTTP's.
    addrs: (Option<SocketAddr>, Option<SocketAddr>),
    stats: Arc<ReceiverStats>,
    files: Files,
    stop: Shutdown,
    task: JoinHandle<Result<(), ReceiverError>>,
}

struct RunningExporter {
    name: String,
    config: ExporterConfig,
    exporter: Exporter,
}

/// A running gateway.
pub struct Gateway {
    config: Config,
    clock: Clock,
    pipeline: Arc<Pipeline>,
    policies: Arc<Policies>,
    learner: Arc<Learner>,
    anomalies: Arc<Anomalies>,
    reservoir: Option<Arc<Reservoir>>,
    reconciliation: Arc<Reconciliation>,
    control: Control,
    receivers: Vec<RunningReceiver>,
    exporters: Vec<RunningExporter>,
    retired: Vec<JoinHandle<report::ExporterReport>>,
    limiter: Arc<MemoryLimiter>,
    sources: Sources,
    health: HealthReporter,
    metrics_addr: Option<SocketAddr>,
    health_addr: Option<SocketAddr>,
    timers: Shutdown,
    background: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts everything on the current tokio runtime.
    ///
    /// # Errors
    /// An address that is taken, a file that cannot be read, a destination that cannot be used.
    pub async fn start(config: Config, options: Options) -> Result<Gateway, StartError> {
        let clock = options.clock;
        let metrics = listen("service.telemetry.metrics.address", config.telemetry.metrics.address.as_deref()).await?;
        let health_endpoint = config.health.as_ref().map(|health| health.endpoint.as_str());
        let health_listener = listen("extensions.health_check.endpoint", health_endpoint).await?;
        let bound = bind_all(&config, &clock)?;
        let exporters = start_exporters(&config.logs_exporters, &[], &clock)?;
        let forwarders = Forwarders::new(&config, &clock)?;
        let limiter = Arc::new(MemoryLimiter::new(config.memory_limiter.as_ref()));

        let sampler = sampler_of(&config);
        let policies = Arc::new(Policies::new(&sampler.policies));
        let compiled = policies.load_first(clock.now());
        let wiring = wiring(&sampler, &exporters, forwarders.clone(), &limiter);
        let table = PatternTable::new(&sampler.window);
        let pipeline = Arc::new(Pipeline::new(clock.clone(), table, compiled, wiring));

        let reservoir = generator::reservoir_of(&config);
        reservoir.iter().for_each(|reservoir| pipeline.keep_in(Arc::clone(reservoir)));

        let learner = Arc::new(Learner::new(&sampler.patterns));
        // What the file of patterns holds is in force before the first record.
        learner.learn(&policies, &pipeline, clock.now());

        let anomalies = Arc::new(Anomalies::new(&config.anomalies, pipeline.table.window_seconds()));
        let (data, watching) = ((&pipeline, &policies), (&anomalies, reservoir.as_ref()));
        let control = Control::start(&config, data, watching, &clock).await?;
        let (health, health_seen) = server::health();
        let background = Shutdown::new();
        let sources = Sources::new();
        sources.set_anomalies(Arc::clone(&anomalies) as _);
        let mut gateway = Gateway {
            config,
            clock,
            pipeline,
            policies,
            learner,
            anomalies,
            reservoir,
            reconciliation: Arc::default(),
            control,
            receivers: Vec::new(),
            exporters,
            retired: Vec::new(),
            limiter: Arc::clone(&limiter),
            sources: sources.clone(),
            health,
            metrics_addr: address_of(metrics.as_ref()),
            health_addr: address_of(health_listener.as_ref()),
            timers: background.child(),
            background: background.clone(),
            tasks: Vec::new(),
        };
        gateway.tasks.push(tokio::spawn(memory_limiter::refresh(limiter, background.clone())));
        if let Some(listener) = metrics {
            gateway.tasks.push(tokio::spawn(server::serve_metrics(listener, sources, background.clone())));
        }
        if let Some(listener) = health_listener {
            gateway.tasks.push(tokio::spawn(server::serve_health(listener, health_seen, background)));
        }
        gateway.start_timers();
        for (name, config, bound) in bound {
            gateway.serve(name, config, bound);
        }
        gateway.show(&forwarders);
        gateway.health.send_replace(Health::Ready);
        Ok(gateway)
    }

    /// Where receivers listen for gRPC, in the order of the configuration.
    pub fn grpc_addrs(&self) -> Vec<SocketAddr> {
        self.receivers.iter().filter_map(|receiver| receiver.addrs.0).collect()
    }

    /// Where receivers listen for HTTP, in the order of the configuration.
    pub fn http_addrs(&self) -> Vec<SocketAddr> {
        self.receivers.iter().filter_map(|receiver| receiver.addrs.1).collect()
    }

    /// Where the API listens, if it does.
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.control.api_addr()
    }

    /// Where `/metrics`, `/patterns` and `/anomalies` are.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// Where `/health/live` and `/health/ready` are.
    pub fn health_addr(&self) -> Option<SocketAddr> {
        self.health_addr
    }

    /// The data plane's middle: books, windows and policy.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// The metrics text of this moment, as `/metrics` serves it.
    pub fn metrics_text(&self) -> String {
        self.sources.render()
    }

    /// Reads the policy files now, without waiting for the watch to notice. Returns whether they were put in force.
    pub fn reload_policies(&self) -> bool {
        self.policies.reload(&self.pipeline, self.clock.now())
    }

    /// Mines and publishes patterns now, without waiting for the interval. Blocks as long as that takes.
    pub fn learn_patterns(&self) {
        self.learner.learn(&self.policies, &self.pipeline, self.clock.now());
    }

    /// What became of every record so far.
    pub fn report(&self) -> Report {
        let exporters = self.exporters.iter().map(|running| ExporterReport::of(&running.exporter)).collect();
        Report { totals: self.pipeline.ledger.totals(), exporters }
    }

    /// Stops taking requests, reports what was dropped, and sends what was accepted, for `timeout` at most.
    pub async fn shutdown(mut self, timeout: Duration) -> Report {
        let until = Instant::now() + timeout;
        self.health.send_replace(Health::Draining);
        for receiver in &self.receivers {
            receiver.stop.trigger();
        }
        for receiver in std::mem::take(&mut self.receivers) {
            end_receiver(receiver, until).await;
        }
        self.pipeline.drain();
        self.timers.trigger();
        self.summarise_until(until).await;
        let left = until.saturating_duration_since(Instant::now());
        let draining: Vec<_> = std::mem::take(&mut self.exporters)
            .into_iter()
            .map(|running| tokio::spawn(drain_exporter(running.exporter, left)))
            .chain(std::mem::take(&mut self.retired))
            .collect();
        let mut exporters = Vec::new();
        for task in draining {
            match task.await {
                Ok(report) => exporters.push(report),
                Err(error) => tracing::error!(%error, "an exporter's task ended early"),
            }
        }
        self.control.shutdown().await;
        self.background.trigger();
        for task in self.tasks {
            let _ = task.await;
        }
        Report { totals: self.pipeline.ledger.totals(), exporters }
    }

    async fn summarise_until(&self, until: Instant) {
        loop {
            self.pipeline.summarise();
            if !self.pipeline.has_unreported() || Instant::now() >= until {
                return;
            }
            tokio::time::sleep(SUMMARY_RETRY).await;
        }
    }

    /// Starts to serve a receiver that is bound.
    fn serve(&mut self, name: String, config: OtlpReceiverConfig, bound: Bound) {
        let stop = Shutdown::new();
        let (addrs, stats, files) = ((bound.grpc_addr(), bound.http_addr()), bound.stats(), bound.files());
        let consumer = Arc::clone(&self.pipeline);
        let drain_timeout = self.config.shutdown_timeout.0;
        let task = tokio::spawn(bound.serve(consumer, stop.clone(), drain_timeout));
        tracing::info!(receiver = name, grpc = ?addrs.0, http = ?addrs.1, "listening");
        let authenticators = authenticators_of(&self.config, &config);
        self.receivers.push(RunningReceiver { name, config, authenticators, addrs, stats, files, stop, task });
    }

    /// Starts the policy watch and the timers of summaries, anomalies and eviction.
    fn start_timers(&mut self) {
        let sampler = sampler_of(&self.config);
        let stop = self.timers.clone();
        let watch = Arc::clone(&self.policies).watch(Arc::clone(&self.pipeline), self.clock.clone(), stop.clone());
        self.tasks.push(tokio::spawn(watch));
        let (learner, policies) = (Arc::clone(&self.learner), Arc::clone(&self.policies));
        let learn = learner.run(policies, Arc::clone(&self.pipeline), self.clock.clone(), stop.clone());
        self.tasks.push(tokio::spawn(learn));
        self.tasks.extend(reconcile::start(&self.reconciliation, &self.config, &self.exporters, &self.clock, &stop));
        if sampler.summary.enabled {
            let pipeline = Arc::clone(&self.pipeline);
            let every = tick(sampler.summary.interval.0, stop.clone(), move || {
                let _records = pipeline.summarise();
            });
            self.tasks.push(tokio::spawn(every));
        }
        self.tasks.push(tokio::spawn(Arc::clone(&self.anomalies).keep(stop.clone())));
        let pipeline = Arc::clone(&self.pipeline);
        let (anomalies, clock) = (Arc::clone(&self.anomalies), self.clock.clone());
        let reservoir = self.reservoir.clone();
        let every = tick(sampler.window.interval.0, stop, move || {
            // First what is counted, then what is forgotten.
            generator::look(&pipeline, &anomalies, reservoir.as_deref(), &clock);
            let _forgotten = pipeline.evict_idle();
        });
        self.tasks.push(tokio::spawn(every));
    }

    /// Tells the metrics server what there is to show.
    fn show(&self, forwarders: &Forwarders) {
        let mut sources: Vec<Arc<dyn MetricSource>> = vec![
            Arc::clone(&self.pipeline) as _,
            Arc::clone(&self.policies) as _,
            Arc::clone(&self.learner) as _,
            Arc::clone(&self.anomalies) as _,
            Arc::clone(&self.reconciliation) as _,
        ];
        sources.extend(self.receivers.iter().map(|receiver| Arc::clone(&receiver.stats) as Arc<dyn MetricSource>));
        sources
            .extend(self.exporters.iter().map(|running| Arc::new(running.exporter.clone()) as Arc<dyn MetricSource>));
        sources.extend(forwarders.sources());
        sources.extend(self.files().chain(forwarders.files()).map(|files| files as Arc<dyn MetricSource>));
        sources.extend(self.reservoir.iter().map(|reservoir| Arc::clone(reservoir) as Arc<dyn MetricSource>));
        sources.extend(self.control.sources());
        self.sources.replace(sources, Some(Arc::clone(&self.pipeline) as Arc<dyn PatternSource>));
    }
}

/// The sampler's settings; without the processor nothing is dropped and nothing is summarised, records are counted.
fn sampler_of(config: &Config) -> SamplerConfig {
    config.sampler.clone().unwrap_or_default()
}

fn wiring(
    sampler: &SamplerConfig,
    exporters: &[RunningExporter],
    forwarders: Forwarders,
    limiter: &Arc<MemoryLimiter>,
) -> Wiring {
    let (settings, protect_from) = settings_of(sampler);
    Wiring {
        destinations: exporters.iter().map(|running| Arc::new(running.exporter.clone()) as _).collect(),
        forward: Arc::new(forwarders),
        overload: Some(Arc::new(Limit(Arc::clone(limiter)))),
        settings,
        protect_from,
        summaries: sampler.summary.enabled,
    }
}

fn bind_all(config: &Config, clock: &Clock) -> Result<Vec<(String, OtlpReceiverConfig, Bound)>, StartError> {
    let mut bound = Vec::new();
    for (name, receiver) in &config.receivers {
        bound.push((name.clone(), receiver.clone(), bind(config, name, receiver, clock)?));
    }
    Ok(bound)
}

fn bind(config: &Config, name: &str, receiver: &OtlpReceiverConfig, clock: &Clock) -> Result<Bound, StartError> {
    let used = authenticators_of(config, receiver);
    let auth = Authenticators::new(used.iter().map(|(name, auth)| (name.as_str(), auth)), clock)?;
    Ok(OtlpReceiver::bind(name, receiver, auth, clock)?)
}

/// The authenticators a receiver names.
fn authenticators_of(config: &Config, receiver: &OtlpReceiverConfig) -> Vec<(String, BearerTokenAuthConfig)> {
    let grpc = receiver.protocols.grpc.as_ref().and_then(|grpc| grpc.auth.as_ref());
    let http = receiver.protocols.http.as_ref().and_then(|http| http.auth.as_ref());
    let names = grpc.into_iter().chain(http).map(|auth| &auth.authenticator);
    names.filter_map(|name| Some((name.clone(), config.authenticators.get(name)?.clone()))).collect()
}

/// Starts the exporters of `wanted`; those of `running` with the same name and settings go on instead.
fn start_exporters(
    wanted: &[(String, ExporterConfig)],
    running: &[RunningExporter],
    clock: &Clock,
) -> Result<Vec<RunningExporter>, StartError> {
    let mut exporters = Vec::new();
    for (name, config) in wanted {
        let same = running.iter().find(|running| running.name == *name && running.config == *config);
        let exporter = match same {
            Some(running) => running.exporter.clone(),
            None => Exporter::start(name, config, clock.clone(), rand::random())
                .map_err(|source| StartError::Exporter { name: name.clone(), source })?,
        };
        exporters.push(RunningExporter { name: name.clone(), config: config.clone(), exporter });
    }
    Ok(exporters)
}

async fn listen(setting: &'static str, address: Option<&str>) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| StartError::Listen { setting, address: address.to_owned(), source };
    TcpListener::bind(address).await.map(Some).map_err(failed)
}

fn address_of(listener: Option<&TcpListener>) -> Option<SocketAddr> {
    listener.and_then(|listener| listener.local_addr().ok())
}

async fn end_receiver(receiver: RunningReceiver, until: Instant) {
    let RunningReceiver { name, mut task, .. } = receiver;
    match tokio::time::timeout_at(until, &mut task).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::error!(receiver = name, %error, "a receiver ended with an error"),
        Ok(Err(error)) => tracing::error!(receiver = name, %error, "a receiver's task ended early"),
        Err(_) => {
            tracing::warn!(receiver = name, "connections were still open at the shutdown timeout and are closed");
            task.abort();
        }
    }
}

async fn drain_exporter(exporter: Exporter, timeout: Duration) -> ExporterReport {
    let lost = exporter.drain(timeout).await;
    if lost > 0 {
        tracing::error!(
            exporter = exporter.name(),
            records = lost,
            "not delivered within the shutdown timeout (service.shutdown_timeout)"
        );
    }
    ExporterReport::of(&exporter)
}

/// Calls `work` every `interval` until the signal.
async fn tick(interval: Duration, stop: Shutdown, work: impl Fn()) {
    let interval = interval.max(Duration::from_millis(10));
    let mut timer = tokio::time::interval_at(Instant::now() + interval, interval);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.triggered() => return,
            _ = timer.tick() => work(),
        }
    }
}
