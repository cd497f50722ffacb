//! Batches out: to PostHog, any OTLP/HTTP endpoint, a file or the terminal.
//!
//! Purpose: deliver what was kept, once accepted, or say that it failed; push back before accepting what does not fit.
//! Promises: accepted = sent + failed + waiting, in records, at every moment; the queue is bounded in bytes; a
//! reservation that is submitted is never refused; small requests are grouped under shared resource and scope
//! blocks, larger ones go out one after the other.
//! Never: decides what is kept, changes a record, or mixes the records of two tokens in one request.
//!
//! `accounts` keeps the books; `lanes` says who is next, `job` what an answer means for a batch, `outcome` what a status
//! means; `dispatcher` runs them; `otlp_http` and its kin are the sinks. Delivery is at least once: a connection that
//! breaks between a request and its answer leads to a retry, and so perhaps to duplicates.

pub mod config;

mod accounts;
mod backoff;
mod body;
mod compress;
mod debug;
mod dispatcher;
mod file;
mod forwarder;
mod http_client;
mod job;
mod lanes;
mod metrics;
mod otlp_http;
mod outcome;
mod probe;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulation_tests;
mod text;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::reread::Renewable;
use crate::units::Period;
use accounts::Accounts;
use backoff::Backoff;
use config::{BatchConfig, ExporterConfig, QueueConfig, RetryConfig};
use debug::Debug;
use dispatcher::Core;
use file::JsonFile;
use lanes::{Item, LaneLimits, Lanes};
use otlp_http::OtlpHttp;

pub use accounts::{ExporterStats, FailReason, Failed, REQUEST_OVERHEAD_BYTES};
pub use body::Body;
pub use dispatcher::{Delivery, Sink};
pub use forwarder::{ForwardError, ForwardKind, Forwarder};
pub use outcome::{Outcome, Preset, classify};
pub use probe::{logs_url, probe};

/// One request's worth of kept records, on its way to a destination.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// An `ExportLogsServiceRequest` in protobuf with at least one record.
    pub body: Bytes,
    /// Records in it.
    pub records: u64,
    /// The client's token, for destinations that pass it through. Records of different tokens are never mixed.
    pub token: Option<Arc<str>>,
}

/// Why an exporter cannot start. The operator's fault each time; names the setting.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExporterError {
    /// The endpoint or host is not a URL to send to.
    #[error("endpoint {url:?} cannot be used: {why}")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// A header of `headers:` is none.
    #[error("headers.{0}: not a valid HTTP header")]
    Header(String),
    /// The token holds characters no header can carry.
    #[error("token: holds characters that an HTTP header cannot carry (a line break from a file, perhaps)")]
    Token,
    /// The token is of a kind that PostHog refuses for sending.
    #[error("token: this is a personal API key (phx_…); logs are sent with the project token (phc_…)")]
    PersonalKey,
    /// A file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// Its path as configured.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The HTTP client cannot be built.
    #[error("cannot set up the HTTP client: {0} (are there CA certificates on this machine? tls.ca_file names others)")]
    Client(String),
    /// Started outside of a tokio runtime.
    #[error("an exporter needs a tokio runtime to run on")]
    NoRuntime,
}

/// How an exporter queues, batches and retries; the same for every kind of destination.
#[derive(Clone, Debug, Default)]
pub struct Delivering {
    /// Batching.
    pub batch: BatchConfig,
    /// Retries.
    pub retry_on_failure: RetryConfig,
    /// Queue.
    pub sending_queue: QueueConfig,
    /// Whether requests of different tokens are kept apart.
    pub passes_token: bool,
}

impl Delivering {
    /// As configured, towards `destination`.
    fn to(destination: &OtlpHttp, batch: &BatchConfig, retry: &RetryConfig, queue: &QueueConfig) -> Self {
        Delivering {
            batch: batch.clone(),
            retry_on_failure: retry.clone(),
            sending_queue: queue.clone(),
            passes_token: destination.passes_token(),
        }
    }

    /// For destinations on this machine: in order, and without waiting for company.
    fn local() -> Self {
        let mut delivering = Delivering::default();
        delivering.batch.timeout = Period::default();
        delivering.sending_queue.num_consumers = 1;
        delivering
    }
}

/// A running exporter. Cheap to clone; dropping the last handle gives up what still waits, so [`Exporter::drain`] first.
#[derive(Clone)]
pub struct Exporter {
    core: Arc<Core>,
    passes_token: bool,
    files: Vec<Arc<dyn Renewable>>,
    _alive: Arc<Alive>,
}

/// Stops the dispatcher when the last handle goes.
struct Alive(CancellationToken, Arc<Accounts>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.1.abandon();
        self.0.cancel();
    }
}

impl Exporter {
    /// Starts the exporter `name` on the current tokio runtime. `seed` feeds the jitter of retries.
    ///
    /// # Errors
    /// An [`ExporterError`] that names the setting to change.
    pub fn start(name: &str, config: &ExporterConfig, clock: Clock, seed: u64) -> Result<Exporter, ExporterError> {
        match config {
            ExporterConfig::PostHog(config) => {
                let destination = OtlpHttp::posthog(name, config, clock)?;
                let (batch, retry, queue) = (&config.batch, &config.retry_on_failure, &config.sending_queue);
                Exporter::start_remote(name, destination, (batch, retry, queue), seed)
            }
            ExporterConfig::OtlpHttp(config) => {
                let destination = OtlpHttp::new(name, config, clock)?;
                let (batch, retry, queue) = (&config.batch, &config.retry_on_failure, &config.sending_queue);
                Exporter::start_remote(name, destination, (batch, retry, queue), seed)
            }
            ExporterConfig::Debug(config) => {
                let destination = Debug::new(config.verbosity, std::io::stdout());
                Exporter::start_to(name, &Delivering::local(), Arc::new(destination), seed)
            }
            ExporterConfig::File(config) => {
                let destination = JsonFile::open(config)?;
                Exporter::start_to(name, &Delivering::local(), Arc::new(destination), seed)
            }
        }
    }

    fn start_remote(
        name: &str,
        destination: OtlpHttp,
        (batch, retry, queue): (&BatchConfig, &RetryConfig, &QueueConfig),
        seed: u64,
    ) -> Result<Exporter, ExporterError> {
        let files = destination.files();
        let delivering = Delivering::to(&destination, batch, retry, queue);
        let exporter = Exporter::start_to(name, &delivering, Arc::new(destination), seed)?;
        Ok(Exporter { files, ..exporter })
    }

    /// Starts an exporter to a destination of the caller's.
    ///
    /// # Errors
    /// [`ExporterError::NoRuntime`].
    pub fn start_to(
        name: &str,
        delivering: &Delivering,
        destination: Arc<dyn Sink>,
        seed: u64,
    ) -> Result<Exporter, ExporterError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| ExporterError::NoRuntime)?;
        let slots = delivering.sending_queue.num_consumers.max(1);
        let batch_bytes = delivering.batch.max_size.as_usize().max(1);
        let limits = LaneLimits {
            batch_bytes,
            batch_timeout: delivering.batch.timeout.0,
            // One slot is always left for the tokens of others.
            slots: if delivering.passes_token { slots.saturating_sub(1).max(1) } else { slots },
        };
        let max_elapsed = delivering.retry_on_failure.max_elapsed_time.0;
        let core = Arc::new(Core {
            name: name.to_owned(),
            accounts: Accounts::new(delivering.sending_queue.max_size.as_usize()),
            lanes: Mutex::new(Lanes::new(limits)),
            wake: Notify::new(),
            cancel: CancellationToken::new(),
            ended: CancellationToken::new(),
            destination,
            backoff: Backoff::new(&delivering.retry_on_failure, seed),
            retry: delivering.retry_on_failure.enabled,
            max_elapsed: (!max_elapsed.is_zero()).then_some(max_elapsed),
            batch_bytes,
            slots,
            log: throttle::Throttle::default(),
        });
        runtime.spawn(dispatcher::dispatch(Arc::clone(&core)));
        let alive = Arc::new(Alive(core.cancel.clone(), Arc::clone(&core.accounts)));
        Ok(Exporter { core, passes_token: delivering.passes_token, files: Vec::new(), _alive: alive })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// What it made of files: certificates and tokens.
    pub fn files(&self) -> &[Arc<dyn Renewable>] {
        &self.files
    }

    /// Sets room for a request of at most `bytes` aside; `None` when the queue is full or the exporter is draining. A
    /// request larger than the whole queue is let in when the queue is empty.
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let charge = bytes.saturating_add(REQUEST_OVERHEAD_BYTES);
        let core = &self.core;
        core.accounts.reserve(charge).then(|| Reservation {
            core: Arc::clone(core),
            charge,
            passes_token: self.passes_token,
        })
    }

    /// Notes `records` records that were turned away because [`Exporter::try_reserve`] had no room, for the metrics.
    pub fn note_enqueue_failed(&self, records: u64) {
        self.core.accounts.note(|stats| stats.enqueue_failed += records);
    }

    /// The numbers at this moment.
    pub fn stats(&self) -> ExporterStats {
        self.core.accounts.stats()
    }

    /// Takes nothing more, sends what waits, and ends. Returns the records that could not be delivered within
    /// `deadline`; they count as failed, [`FailReason::Shutdown`].
    pub async fn drain(&self, deadline: Duration) -> u64 {
        let core = &self.core;
        let until = Instant::now() + deadline;
        core.accounts.close();
        core.lanes.lock().flush(Instant::now());
        core.wake.notify_one();
        let idle = async {
            loop {
                let idle = core.accounts.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if core.accounts.is_idle() {
                    break;
                }
                idle.await;
            }
        };
        let in_time = tokio::time::timeout_at(until, idle).await.is_ok();
        if !in_time {
            core.accounts.abandon();
        }
        core.cancel.cancel();
        core.ended.cancelled().await;
        core.accounts.stats().failed.count(FailReason::Shutdown)
    }
}

/// Room in a queue. Submit a request into it, or drop it to give the room back.
#[must_use = "a reservation that is dropped gives its room back"]
pub struct Reservation {
    core: Arc<Core>,
    charge: usize,
    passes_token: bool,
}

impl Reservation {
    /// Queues a request; room it does not need is given back. Never refused: should the exporter have been stopped
    /// meanwhile, the records count as failed, [`FailReason::Shutdown`].
    pub fn submit(mut self, outgoing: Outgoing) {
        let Outgoing { body, records, token } = outgoing;
        let core = &self.core;
        let charge = body.len().saturating_add(REQUEST_OVERHEAD_BYTES);
        let claim = core.accounts.accept(std::mem::take(&mut self.charge), charge, records);
        if records == 0 {
            // Never an empty envelope; the claim gives the room back.
            return;
        }
        if core.accounts.is_abandoned() || core.cancel.is_cancelled() {
            claim.fail(FailReason::Shutdown);
            return;
        }
        let now = Instant::now();
        let token = token.filter(|_| self.passes_token);
        let look = core.lanes.lock().push(token, Item { body, claim, arrived: now }, now);
        if look {
            core.wake.notify_one();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.charge > 0 {
            self.core.accounts.release(self.charge);
        }
    }
}
