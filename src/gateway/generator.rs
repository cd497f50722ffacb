//! The loop that writes policies, beside the pipeline it watches.
//!
//! Purpose: show the loop what flows here and at gateways (reservoir, books, patterns, anomalies, policy files) and start it.
//! Promises: what the loop gets to see has been rewritten by the policies in force at that moment.
//! Never: decides; see `control_plane::controller`.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::anomalies::Anomalies;
use super::policies::Policies;
use super::{Gateway, StartError, sampler_of};
use crate::clock::Clock;
use crate::config::Config;
use crate::control_plane::api::{Api, Event, Loop};
use crate::control_plane::config::Role;
use crate::control_plane::controller::{Controller, Parts, Traffic};
use crate::control_plane::generator::config::GeneratorConfig;
use crate::control_plane::generator::llm;
use crate::control_plane::lead::Leader;
use crate::control_plane::mirror::Mirror;
use crate::control_plane::replay::Settings;
use crate::control_plane::samples::{Heard, Standing, Teller};
use crate::control_plane::store::{GENERATED, Store};
use crate::control_plane::validate::Limits;
use crate::data_plane::exporter::config::ExporterConfig;
use crate::data_plane::ledger::Tally;
use crate::data_plane::pattern::{Catalogue, PatternId};
use crate::data_plane::pipeline::{Pipeline, settings_of};
use crate::data_plane::policy::{CompiledPolicy, Document};
use crate::data_plane::reservoir::{Reservoir, Sample};

/// The reservoir of a configuration, if a loop here asks for it, or one elsewhere that it is handed to.
pub(super) fn reservoir_of(config: &Config) -> Option<Arc<Reservoir>> {
    let window = sampler_of(config).window.interval.0.as_nanos() as u64;
    let control = &config.control;
    let settings = match control.role {
        Role::Gateway => &control.follow.samples.as_ref()?.reservoir,
        Role::All | Role::ControlPlane => &control.generator.as_ref()?.reservoir,
    };
    Some(Arc::new(Reservoir::new(settings, window)))
}

/// What is done with the windows at the end of each: anomalies are looked for, and the reservoir counts.
pub(super) fn look(pipeline: &Pipeline, anomalies: &Anomalies, reservoir: Option<&Reservoir>, clock: &Clock) {
    let snapshot = pipeline.table.snapshot(clock.now(), usize::MAX);
    anomalies.step(pipeline, &snapshot);
    if let Some(reservoir) = reservoir {
        reservoir.count(&snapshot);
    }
}

impl Gateway {
    /// Looks at the windows now, without waiting for the end of one.
    pub fn look_at_windows(&self) {
        look(&self.pipeline, &self.anomalies, self.reservoir.as_deref(), &self.clock);
    }
}

/// What the loop needs of the data plane.
pub(super) struct Watched {
    pub pipeline: Arc<Pipeline>,
    pub policies: Arc<Policies>,
    pub anomalies: Arc<Anomalies>,
    pub reservoir: Arc<Reservoir>,
    /// What gateways elsewhere say; their records are in the reservoir.
    pub heard: Option<Arc<Heard>>,
    pub clock: Clock,
}

impl Watched {
    /// What a gateway says of itself beside its sample.
    pub(super) fn tell(&self, teller: &mut Teller) {
        let (received, kept) = self.volume();
        let catalogue = self.catalogue();
        let anomalous = self.anomalous().into_iter().collect();
        teller.look(&self.sample(), &Standing { received, kept, anomalous, catalogue: &catalogue });
    }
}

impl Traffic for Watched {
    fn sample(&self) -> Sample {
        let mut sample = self.reservoir.sample();
        let (policy, now) = (self.pipeline.policy(), self.clock.now());
        if policy.has_transforms() {
            for stratum in &mut sample.strata {
                stratum.records = stratum.records.iter().filter_map(|record| rewritten(&policy, record, now)).collect();
            }
        }
        sample
    }

    fn counts(&self) -> Sample {
        self.reservoir.counts()
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        let own = Arc::clone(self.pipeline.policy().catalogue());
        let Some(heard) = self.heard.as_ref().map(|heard| heard.catalogue()).filter(|heard| !heard.is_empty()) else {
            return own;
        };
        match own.is_empty() {
            true => heard,
            false => Arc::new(Catalogue::new([own.patterns(), heard.patterns()].concat())),
        }
    }

    fn policies(&self) -> Vec<Document> {
        self.policies.local().0
    }

    fn anomalous(&self) -> HashSet<(String, PatternId)> {
        let mut all = self.anomalies.ongoing();
        all.extend(self.heard.iter().flat_map(|heard| heard.anomalous()));
        all
    }

    fn volume(&self) -> (Tally, Tally) {
        let totals = self.pipeline.ledger.totals();
        let (received, kept) = self.heard.as_ref().map(|heard| heard.volume()).unwrap_or_default();
        (together(totals.received, received), together(totals.kept, kept))
    }
}

fn together(a: Tally, b: Tally) -> Tally {
    Tally { records: a.records.saturating_add(b.records), bytes: a.bytes.saturating_add(b.bytes) }
}

/// A record that was taken before a policy redacted it must not be seen as it was; one that cannot be rewritten is left
/// out.
fn rewritten(policy: &CompiledPolicy, record: &Bytes, now: u64) -> Option<Bytes> {
    policy.rewrite(record, now).ok().map(Bytes::from)
}

/// The loop as the API sees it.
struct Shown(Arc<Controller>);

impl Loop for Shown {
    fn status(&self) -> Value {
        self.0.status().json()
    }
    fn want(&self) {
        self.0.want();
    }
}

/// Makes the loop that a configuration asks for and shows it to the API.
pub(super) fn controller(
    config: &Config,
    generator: &GeneratorConfig,
    watched: Watched,
    (store, mirror, api, leader): (&Store, &Arc<Mirror>, &Arc<Api>, &Arc<Leader>),
) -> Result<Arc<Controller>, StartError> {
    let sampler = sampler_of(config);
    let batch = config.logs_exporters.iter().find_map(|(_, exporter)| match exporter {
        ExporterConfig::PostHog(posthog) => Some(posthog.batch.clone()),
        ExporterConfig::OtlpHttp(otlp) => Some(otlp.batch.clone()),
        _ => None,
    });
    let mut settings = Settings { sampler, ..Settings::default() };
    settings.batch = batch.unwrap_or(settings.batch);
    let limits = Limits {
        max_bytes: config.control.api.clone().unwrap_or_default().max_policy_size.as_usize(),
        protect_from: settings_of(&settings.sampler).1,
    };
    let (leader, told) = (Arc::clone(leader), Arc::clone(api));
    let controller = Controller::new(Parts {
        config: generator.clone(),
        store: store.clone(),
        mirror: Arc::clone(mirror),
        traffic: Arc::new(watched),
        leads: Box::new(move || leader.leads()),
        tell: Box::new(move |number| {
            told.events().publish(Event::Version { service: GENERATED.to_owned(), number: Some(number) });
        }),
        scorer: llm::scorer(&config.llm)?,
        settings,
        limits,
        prices: config.control.api.clone().unwrap_or_default().prices,
        rollout: config.control.rollout.clone(),
    });
    api.set_generator(Arc::new(Shown(Arc::clone(&controller))));
    Ok(controller)
}
