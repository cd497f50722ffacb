//! The REST API over the store: policies, statistics, explanations, events.
//!
//! Purpose: one router with its OpenAPI description, made from the same code, and what its handlers share.
//! Promises: every address under `/v1` needs a scope, and a handler cannot be reached without; every error is a problem
//! (RFC 9457); bodies, lists, waits and connections are bounded; what is asked for often is answered from memory.
//! Never: evaluates or stores by itself. `router` names the addresses, `guard` lets requests in, `serve` listens.

mod active;
mod auth;
pub mod config;
mod costs;
pub mod diff;
mod events;
mod explain;
mod extract;
mod fleet;
mod generator;
mod guard;
mod known;
mod operate;
mod page;
mod policies;
mod problem;
mod rollouts;
mod router;
mod samples;
mod serve;
mod simulate;
mod statistics;
mod strict;
mod unsigned;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

use super::mirror::Mirror;
use super::rollout::{Driver, RolloutConfig};
use super::store::{NEWS_AFTER, Replica, Store, Timestamp};
use super::validate::Limits;
use crate::data_plane::pattern::Pattern;
use crate::data_plane::pipeline::settings_of;
use crate::data_plane::policy::Document;
use crate::data_plane::sampler::Settings;
use crate::data_plane::sampler::config::SamplerConfig;
use crate::data_plane::window::Band;
use crate::shutdown::Shutdown;
use crate::telemetry::{MetricSink, MetricSource};
use config::ApiConfig;

pub use events::{Event, Events};
pub use generator::Loop;
pub use known::{KnownPage, MAX_KNOWN};
pub use operate::random as token_randomness;
pub use policies::{ActivateVersion, RollBack, WriteVersion};
pub use problem::Problem;
pub use rollouts::{RolloutStatus, StartRollout};
pub use router::{openapi, router};
pub use samples::{
    MAX_SAMPLE_ANOMALOUS, MAX_SAMPLE_PATTERNS, MAX_SAMPLE_ROWS, SamplePattern, SampleReport, SampleRow, SampleState,
    SampleWindow, Sampled, Samples,
};
pub use serve::{Bound, ServeError};
pub use statistics::{MAX_ANOMALIES, Report, TrialReport, TrialRow};

/// Clients whose rates are remembered.
const MAX_CLIENTS: usize = 100_000;
/// Replicas whose last sign of life is remembered.
const MAX_NEWS: usize = 100_000;

/// Policies and learned patterns that a gateway in this process has beside those of the store.
pub type Local = Arc<dyn Fn() -> (Vec<Document>, Vec<Pattern>) + Send + Sync>;

/// When a replica's sign of life was written, with its policies and the time between its reports.
type Said = (Timestamp, (String, u32));

fn said_of(replica: &Replica) -> (String, u32) {
    (replica.policy_hash.clone(), replica.report_seconds)
}

/// What handlers share.
pub struct Api {
    store: Store,
    mirror: Arc<Mirror>,
    events: Events,
    limits: Limits,
    sampling: (Settings, Option<Band>),
    sampler: SamplerConfig,
    local: Local,
    generator: OnceLock<Arc<dyn Loop>>,
    samples: OnceLock<Arc<dyn Samples>>,
    config: ApiConfig,
    rollout: RolloutConfig,
    driver: Arc<Driver>,
    stop: Shutdown,
    reports: mpsc::Sender<statistics::Incoming>,
    rates: DefaultKeyedRateLimiter<String>,
    news: Mutex<HashMap<String, Said>>,
    fleet: Mutex<fleet::Listed>,
    costs: costs::Cache,
    simulations: Arc<tokio::sync::Semaphore>,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    /// By the first digit of the status: 1 to 5.
    answers: [AtomicU64; 5],
    limited: AtomicU64,
    refused: AtomicU64,
}

/// What an API stands on.
pub struct Parts {
    /// Settings.
    pub config: ApiConfig,
    /// The store.
    pub store: Store,
    /// Its copy in memory.
    pub mirror: Arc<Mirror>,
    /// What decisions are made by, for explanations and simulations.
    pub sampler: SamplerConfig,
    /// Policies beside those of the store, for explanations.
    pub local: Local,
    /// How versions are rolled out.
    pub rollout: RolloutConfig,
    /// Counts their steps; the leader takes steps with the same one.
    pub driver: Arc<Driver>,
}

impl Api {
    /// An API, and the task that writes reports; it ends with the signal.
    pub fn new(parts: Parts, stop: Shutdown) -> (Arc<Api>, impl Future<Output = ()> + Send) {
        let Parts { config, store, mirror, sampler, local, rollout, driver } = parts;
        let sampling = settings_of(&sampler);
        let (reports, queue) = statistics::queue();
        let rate = NonZeroU32::new(config.requests_per_second).unwrap_or(NonZeroU32::MIN);
        let limits = Limits { max_bytes: config.max_policy_size.as_usize(), protect_from: sampling.1 };
        let api = Arc::new(Api {
            store,
            mirror,
            events: Events::default(),
            limits,
            sampling,
            sampler,
            local,
            generator: OnceLock::new(),
            samples: OnceLock::new(),
            config,
            rollout,
            driver,
            stop: stop.clone(),
            reports,
            rates: RateLimiter::keyed(Quota::per_second(rate)),
            news: Mutex::default(),
            fleet: Mutex::default(),
            costs: costs::Cache::default(),
            simulations: simulate::room(),
            counters: Counters::default(),
        });
        let writing = statistics::write(Arc::clone(&api), queue, stop);
        (api, writing)
    }

    /// Shows the loop that runs in this process; to be said once.
    pub fn set_generator(&self, generator: Arc<dyn Loop>) {
        let _first_stays = self.generator.set(generator);
    }

    /// Takes samples of gateways from now on; to be said once.
    pub fn set_samples(&self, samples: Arc<dyn Samples>) {
        let _first_stays = self.samples.set(samples);
    }

    /// What happens, for those who want to tell or hear.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Tells everyone that other policies are in force for a service. Whoever looked at the store first, the change is told once:
    /// by who made it.
    async fn changed(&self, service: &str) {
        if let Err(error) = self.mirror.refresh().await {
            tracing::warn!(%error, "a change is stored, and is in force as soon as the store answers");
            return;
        }
        let view = self.mirror.view();
        let active = view.active.iter().find(|entry| entry.version.service == service);
        let number = active.map(|entry| entry.version.number);
        self.events.publish(Event::Version { service: service.to_owned(), number });
    }

    /// Everything in force here.
    fn documents(&self) -> (Vec<Document>, Vec<Pattern>) {
        let bundle = self.mirror.view().bundle(None);
        let (mut documents, learned) = (self.local)();
        match serde_json::from_slice(&bundle.body) {
            Ok(tree) => documents.push(Document::from_value("active policies", tree)),
            Err(error) => tracing::error!(%error, "the policies in force cannot be read"),
        }
        (documents, learned)
    }

    /// Whether a sign of life is worth writing.
    fn is_news(&self, replica: &Replica) -> bool {
        let now = self.store.now();
        let mut news = self.news.lock();
        if news.len() >= MAX_NEWS {
            news.clear();
        }
        match news.get(&replica.id) {
            Some((at, said)) if at.after(NEWS_AFTER) > now && *said == said_of(replica) => false,
            _ => {
                news.insert(replica.id.clone(), (now, said_of(replica)));
                true
            }
        }
    }

    /// Forgets signs of life that could not be written.
    fn forget_news(&self, replicas: &[Replica]) {
        let mut news = self.news.lock();
        for replica in replicas {
            news.remove(&replica.id);
        }
    }
}

impl MetricSource for Api {
    fn collect(&self, out: &mut dyn MetricSink) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (class, counter) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(&self.counters.answers) {
            let help = "Answers of the API by class of status.";
            out.counter("lipservice_api_requests", help, &[("status", class)], load(counter));
        }
        let help = "Requests refused for their rate.";
        out.counter("lipservice_api_rate_limited", help, &[], load(&self.counters.limited));
        let help = "Requests without a valid token.";
        out.counter("lipservice_api_unauthenticated", help, &[], load(&self.counters.refused));
        let help = "Events that slow readers lost.";
        out.counter("lipservice_api_lagged_events", help, &[], self.events.lagged());
    }
}
