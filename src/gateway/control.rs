//! The control plane beside the data plane: served here, or followed elsewhere.
//!
//! Purpose: start what the role asks for; bring policies in force to the pipeline and its counts to the store.
//! Promises: the policies in force apply before a record is taken; at the end the last counts are reported before the
//! store closes; a control plane that is away stops nothing.
//! Never: decides what is in force.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::task::JoinHandle;

use super::StartError;
use super::anomalies::Anomalies;
use super::generator::{Watched, controller};
use super::policies::Policies;
use super::upstream::{Receiver, Upstream};
use crate::clock::Clock;
use crate::config::Config;
use crate::control_plane::api::{Api, Bound, Event, Parts};
use crate::control_plane::cache::Cache;
use crate::control_plane::client::Client;
use crate::control_plane::config::{ControlConfig, Role, SamplesConfig};
use crate::control_plane::follow::Follower;
use crate::control_plane::lead::Leader;
use crate::control_plane::mirror::Mirror;
use crate::control_plane::rollout::{Stepped, offer};
use crate::control_plane::samples::{Heard, Limits, Teller};
use crate::control_plane::store::{Retention, Store, Timestamp};
use crate::data_plane::pipeline::Pipeline;
use crate::data_plane::policy::Document;
use crate::data_plane::reservoir::Reservoir;
use crate::reread::Renewable;
use crate::shutdown::Shutdown;
use crate::telemetry::MetricSource;

/// How long the last part of a sample may take.
const LAST_SAMPLE: Duration = Duration::from_secs(2);

/// How often decisions are sampled for those who listen to events, and how many at once: 20 a second.
const TAP_INTERVAL: Duration = Duration::from_millis(250);
const TAPPED_AT_ONCE: usize = 5;

/// What runs.
pub(super) struct Control {
    api_addr: Option<SocketAddr>,
    sources: Vec<Arc<dyn MetricSource>>,
    /// The API's certificate.
    files: Option<Arc<dyn Renewable>>,
    /// Ends following and reporting.
    feeding: Shutdown,
    feeders: Vec<JoinHandle<()>>,
    /// Ends serving.
    serving: Shutdown,
    servers: Vec<JoinHandle<()>>,
    store: Option<Store>,
}

/// The data plane's parts that the control plane touches.
#[derive(Clone)]
pub(super) struct Plane {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) policies: Arc<Policies>,
    pub(super) anomalies: Arc<Anomalies>,
    reservoir: Option<Arc<Reservoir>>,
    pub(super) clock: Clock,
}

impl Control {
    /// Starts what the configuration asks for.
    pub(super) async fn start(
        config: &Config,
        (pipeline, policies): (&Arc<Pipeline>, &Arc<Policies>),
        (anomalies, reservoir): (&Arc<Anomalies>, Option<&Arc<Reservoir>>),
        clock: &Clock,
    ) -> Result<Control, StartError> {
        let mut control = Control {
            api_addr: None,
            sources: Vec::new(),
            files: None,
            feeding: Shutdown::new(),
            feeders: Vec::new(),
            serving: Shutdown::new(),
            servers: Vec::new(),
            store: None,
        };
        let plane = Plane {
            pipeline: Arc::clone(pipeline),
            policies: Arc::clone(policies),
            anomalies: Arc::clone(anomalies),
            reservoir: reservoir.cloned(),
            clock: clock.clone(),
        };
        match config.control.role {
            Role::Gateway => control.follow(&config.control, plane).await?,
            Role::All if config.control.api.is_none() => {}
            Role::All | Role::ControlPlane => control.serve(config, plane).await?,
        }
        Ok(control)
    }

    /// Where the API listens.
    pub(super) fn api_addr(&self) -> Option<SocketAddr> {
        self.api_addr
    }

    /// Numbers to show.
    pub(super) fn sources(&self) -> impl Iterator<Item = Arc<dyn MetricSource>> + '_ {
        self.sources.iter().cloned()
    }

    /// What is renewed with its files.
    pub(super) fn files(&self) -> Option<&Arc<dyn Renewable>> {
        self.files.as_ref()
    }

    async fn serve(&mut self, config: &Config, plane: Plane) -> Result<(), StartError> {
        let control = &config.control;
        let api_config = control.api.clone().unwrap_or_default();
        let store = Store::open(&control.store, plane.clock.clone()).await?;
        let cache = Cache::new(&control.cache)?;
        let mirror = Mirror::with_cache(store.clone(), cache.clone()).await?;
        let bound = Bound::new(&api_config, mirror.tokens().exist(), &plane.clock)?;
        (self.api_addr, self.files) = (Some(bound.address()), bound.files());
        let sampler = config.sampler.clone().unwrap_or_default();
        let local = Arc::clone(&plane.policies);
        let leader = Arc::new(Leader::default());
        let parts = Parts {
            config: api_config,
            store: store.clone(),
            mirror: Arc::clone(&mirror),
            sampler,
            local: Arc::new(move || local.local()),
            rollout: control.rollout.clone(),
            driver: Arc::clone(&leader.driver),
        };
        let (api, writing) = Api::new(parts, self.serving.clone());
        let retention = Retention::from(&control.store.retention);
        let teller = Arc::clone(&api);
        let tell = Box::new(move |stepped: Stepped| teller.events().stepped(&stepped));
        let leading = Arc::clone(&leader).run(store.clone(), retention, tell, self.serving.clone());
        self.sources = vec![Arc::clone(&mirror) as _, Arc::clone(&api) as _, Arc::clone(&leader) as _];
        if let Some((generator, mut watched)) = control.generator.as_ref().zip(plane.watched()) {
            let heard = Heard::new(Arc::clone(&watched.reservoir), plane.clock.clone());
            api.set_samples(Arc::clone(&heard) as _);
            self.sources.push(Arc::clone(&heard) as _);
            watched.heard = Some(heard);
            if control.role == Role::ControlPlane {
                // Nothing flows here; what gateways handed over is rewritten by the policies in force, as it is there.
                publish_from(&mirror, &plane);
                let changes = follow_here(Arc::clone(&mirror), plane.clone(), self.feeding.clone());
                self.feeders.push(tokio::spawn(changes));
            }
            let controller = controller(config, generator, watched, (&store, &mirror, &api, &leader))?;
            self.sources.push(Arc::clone(controller.status()) as _);
            self.feeders.push(tokio::spawn(controller.run(self.feeding.clone())));
        }
        if control.role == Role::All {
            publish_from(&mirror, &plane);
            let changes = follow_here(Arc::clone(&mirror), plane.clone(), self.feeding.clone());
            self.feeders.push(tokio::spawn(changes));
            let tapping = tap(Arc::clone(&api), Arc::clone(&plane.pipeline), self.feeding.clone());
            self.feeders.push(tokio::spawn(tapping));
            let upstream = Upstream::new(Receiver::Here(Arc::clone(&api)), &control.follow, plane);
            upstream.begin().await;
            self.sources.push(Arc::clone(upstream.known()) as _);
            self.feeders.push(tokio::spawn(upstream.run(self.feeding.clone())));
        }
        if let Some(cache) = cache {
            self.sources.push(Arc::clone(&cache) as _);
            self.servers.push(tokio::spawn(cache.run(self.serving.clone())));
        }
        tracing::info!(address = %bound.address(), "serving the API");
        self.servers.push(tokio::spawn(writing));
        self.servers.push(tokio::spawn(leading));
        self.servers.push(tokio::spawn(mirror.follow(self.serving.clone())));
        self.servers.push(tokio::spawn(bound.serve(api, self.serving.clone())));
        self.store = Some(store);
        Ok(())
    }

    async fn follow(&mut self, control: &ControlConfig, plane: Plane) -> Result<(), StartError> {
        let settings = &control.follow;
        let client = Client::new(&settings.endpoint, settings.token.clone(), settings.ca_file.as_deref())?;
        let follower = Follower::new(client, &settings.state_file);
        let last = follower.last_good();
        let known = last.as_ref().map(|last| last.hash.clone());
        match last {
            Some(last) => plane.publish(&last.hash, &last.body),
            None => {
                tracing::warn!("no policies from an earlier run; until the control plane answers, files alone apply")
            }
        }
        self.sources = vec![Arc::clone(&follower) as _];
        let own = plane.clone();
        let publish = move |fetched: crate::control_plane::client::Fetched| own.publish(&fetched.hash, &fetched.body);
        self.feeders.push(tokio::spawn(Arc::clone(&follower).run(known, publish, self.feeding.clone())));
        if let Some((samples, watched)) = settings.samples.as_ref().zip(plane.watched()) {
            let handing = hand_over(Arc::clone(&follower), watched, samples.clone(), self.feeding.clone());
            self.feeders.push(tokio::spawn(handing));
        }
        let upstream = Upstream::new(Receiver::There(follower), settings, plane);
        upstream.begin().await;
        self.sources.push(Arc::clone(upstream.known()) as _);
        self.feeders.push(tokio::spawn(upstream.run(self.feeding.clone())));
        Ok(())
    }

    /// Reports what is left and ends everything.
    pub(super) async fn shutdown(self) {
        self.feeding.trigger();
        for task in self.feeders {
            let _ = task.await;
        }
        self.serving.trigger();
        for task in self.servers {
            let _ = task.await;
        }
        if let Some(store) = self.store {
            store.close().await;
        }
    }
}

impl Plane {
    /// What a loop would watch; nothing without a reservoir.
    fn watched(&self) -> Option<Watched> {
        let Plane { pipeline, policies, anomalies, reservoir, clock } = self.clone();
        reservoir.map(|reservoir| Watched { pipeline, policies, anomalies, reservoir, heard: None, clock })
    }

    /// Puts a document of the control plane in force.
    fn publish(&self, hash: &str, body: &[u8]) {
        match serde_json::from_slice(body) {
            Ok(tree) => {
                let trial = offer::received(&tree).unwrap_or_else(|error| {
                    tracing::error!(error, "a version on trial cannot be read and is not tried");
                    None
                });
                let document = Document::from_value("control plane", tree);
                self.policies.follow(hash, (document, trial), &self.pipeline, self.clock.now());
            }
            Err(error) => tracing::error!(%error, "policies of the control plane cannot be read; the last ones stay"),
        }
    }
}

fn publish_from(mirror: &Mirror, plane: &Plane) {
    let bundle = mirror.view().bundle(None);
    if plane.policies.followed_hash() != bundle.hash {
        plane.publish(&bundle.hash, &bundle.body);
    }
}

/// Brings each change of this process's store to its pipeline.
async fn follow_here(mirror: Arc<Mirror>, plane: Plane, stop: Shutdown) {
    let mut changes = mirror.subscribe();
    loop {
        // Marked seen before the look, so that a change in between is looked at again.
        changes.mark_unchanged();
        publish_from(&mirror, &plane);
        tokio::select! {
            () = stop.triggered() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Hands over what is new in the reservoir every interval, and once more at the end.
async fn hand_over(follower: Arc<Follower>, watched: Watched, settings: SamplesConfig, stop: Shutdown) {
    let limits = Limits { bytes: settings.max_size.as_usize(), records: settings.max_records };
    let mut teller = Teller::new(uuid::Uuid::now_v7().to_string(), limits);
    loop {
        let ends = tokio::select! {
            () = stop.triggered() => true,
            () = tokio::time::sleep(settings.interval.0.max(Duration::from_millis(100))) => false,
        };
        watched.tell(&mut teller);
        let sending = send_samples(&follower, &mut teller);
        if !ends {
            sending.await;
            continue;
        }
        let _ = tokio::time::timeout(LAST_SAMPLE, sending).await;
        return;
    }
}

/// Sends parts of a sample until one does not arrive.
async fn send_samples(follower: &Follower, teller: &mut Teller) {
    while let Some(report) = teller.next() {
        match follower.sample(report).await {
            Ok(answer) => follower.note_sampled(teller.acknowledge(answer)),
            Err(error) => {
                follower.note_unsampled();
                // What it does not want as it is, it will not want later either.
                match error.status() {
                    Some(StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE) => {
                        tracing::warn!(%error, "the control plane refuses a part of the sample; it is left out");
                        teller.give_up();
                    }
                    _ => tracing::debug!(%error, "a part of the sample did not arrive; it is sent again"),
                }
                return;
            }
        }
    }
}

/// Shows a sample of single decisions to those who listen to events; without them the pipeline is not asked for any.
async fn tap(api: Arc<Api>, pipeline: Arc<Pipeline>, stop: Shutdown) {
    loop {
        tokio::select! {
            () = stop.triggered() => return,
            () = tokio::time::sleep(TAP_INTERVAL) => {}
        }
        let wanted = if api.events().has_readers() { TAPPED_AT_ONCE } else { 0 };
        for tapped in pipeline.tap.take(wanted) {
            api.events().publish(Event::Decision {
                at: Timestamp::of(tapped.at),
                service: tapped.service.name.to_string(),
                severity: tapped.band.as_str().to_owned(),
                signature: tapped.signature.to_string(),
                pattern: tapped.pattern.to_string(),
                policy: tapped.policy.map(|policy| policy.to_string()),
                keep: tapped.keep,
                reason: tapped.reason.to_owned(),
            });
        }
    }
}
