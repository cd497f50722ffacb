//! The loop: triggers, runs, failures, and the whole of it behind a gateway.

mod failure;
mod gateway;
mod gateways;
mod runs;
mod sample;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lipservice::clock::Clock;
use lipservice::control_plane::controller::{Controller, Parts, RunState, Traffic};
use lipservice::control_plane::generator::config::{GeneratorConfig, Publish};
use lipservice::control_plane::generator::llm::config::{LlmConfig, LlmProviderType};
use lipservice::control_plane::generator::llm::prompt::Prompts;
use lipservice::control_plane::generator::llm::provider::transport::Timer;
use lipservice::control_plane::generator::llm::provider::{BoxFuture, HttpProvider, Provider};
use lipservice::control_plane::generator::llm::{LlmState, Scorer};
use lipservice::control_plane::insights::Prices;
use lipservice::control_plane::mirror::Mirror;
use lipservice::control_plane::replay::Settings;
use lipservice::control_plane::rollout::RolloutConfig;
use lipservice::control_plane::store::Store;
use lipservice::control_plane::validate::Limits;
use lipservice::data_plane::ledger::Tally;
use lipservice::data_plane::pattern::{Catalogue, PatternId};
use lipservice::data_plane::pipeline::{Destination, Pipeline, Wiring, settings_of};
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use lipservice::data_plane::receiver::{Consumer, Received, Transport};
use lipservice::data_plane::reservoir::{Reservoir, Sample};
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::data_plane::window::PatternTable;
use lipservice::units::Period;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use crate::control_plane::store::at;
use crate::llm::settings;
use crate::pipeline::sink::{NoForward, Sink};
use crate::support::fake_llm::{FakeLlm, Mind};
use crate::support::otlp;

/// 2026-01-01, at the start of a window.
const START: u64 = 1_767_225_600_000_000_000;

/// Every wait is over at once, and the clock shows that it was.
struct Hasty(Clock);

impl Timer for Hasty {
    fn now(&self) -> u64 {
        self.0.now()
    }
    fn sleep(&self, wait: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move { self.0.advance(wait) })
    }
}

/// A pipeline as the loop sees it.
struct Flow {
    pipeline: Arc<Pipeline>,
    reservoir: Arc<Reservoir>,
    people: Vec<Document>,
}

impl Traffic for Flow {
    fn sample(&self) -> Sample {
        self.reservoir.sample()
    }
    fn counts(&self) -> Sample {
        self.reservoir.counts()
    }
    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(self.pipeline.policy().catalogue())
    }
    fn policies(&self) -> Vec<Document> {
        self.people.clone()
    }
    fn anomalous(&self) -> HashSet<(String, PatternId)> {
        HashSet::new()
    }
    fn volume(&self) -> (Tally, Tally) {
        let totals = self.pipeline.ledger.totals();
        (totals.received, totals.kept)
    }
}

/// What a stage differs in.
struct Wanted {
    generator: GeneratorConfig,
    sampler: SamplerConfig,
    llm: Option<(LlmProviderType, Mind)>,
    people: &'static str,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { generator: generator(), sampler: SamplerConfig::default(), llm: None, people: "" }
    }
}

fn generator() -> GeneratorConfig {
    GeneratorConfig {
        budget: Some("40%".parse().unwrap()),
        publish: Publish::Live,
        interval: Period::secs(600),
        expires_in: Period::secs(3600),
        warm_up: Period::secs(60),
        replay_records: 2_000,
        ..GeneratorConfig::default()
    }
}

/// A pipeline with a loop beside it, in time of its own.
struct Stage {
    clock: Clock,
    sink: Arc<Sink>,
    flow: Arc<Flow>,
    store: Store,
    mirror: Arc<Mirror>,
    controller: Arc<Controller>,
    fake: Option<Arc<FakeLlm>>,
    second: u64,
}

impl Stage {
    async fn new(wanted: Wanted) -> Stage {
        let clock = Clock::manual(START);
        let store = Store::open(&at("sqlite::memory:"), clock.clone()).await.unwrap();
        Stage::over(wanted, store, clock).await
    }

    async fn over(wanted: Wanted, store: Store, clock: Clock) -> Stage {
        let Wanted { generator, sampler, llm, people } = wanted;
        let sink = Arc::new(Sink::default());
        let people = Document::parse("people.yaml", people.as_bytes()).unwrap();
        let (decision, protect_from) = settings_of(&sampler);
        let wiring = Wiring {
            destinations: vec![Arc::clone(&sink) as Arc<dyn Destination>],
            forward: Arc::new(NoForward),
            overload: None,
            settings: decision,
            protect_from,
            summaries: true,
        };
        let policy = CompiledPolicy::compile(&people, clock.now(), None);
        let pipeline = Arc::new(Pipeline::new(clock.clone(), PatternTable::new(&sampler.window), policy, wiring));
        let reservoir = Arc::new(Reservoir::new(&generator.reservoir, sampler.window.interval.0.as_nanos() as u64));
        pipeline.keep_in(Arc::clone(&reservoir));
        pipeline.seed_randomness(3);
        let timer = Arc::new(Hasty(clock.clone()));
        let fake = llm.map(|(kind, mind)| FakeLlm::new(kind, mind, timer.clone()));
        let providers = fake.iter().map(|fake| {
            let provider = HttpProvider::new("main", &settings(fake.kind()), fake.clone(), timer.clone(), 7);
            Box::new(provider) as Box<dyn Provider>
        });
        let mut config = LlmConfig::default();
        config.limits.batch_size = 4;
        let scorer = Scorer::new(&config, providers.collect(), Prompts::default(), timer.clone(), LlmState::default());
        let mirror = Mirror::new(store.clone()).await.unwrap();
        let flow = Arc::new(Flow { pipeline, reservoir, people });
        let controller = Controller::new(Parts {
            config: generator,
            store: store.clone(),
            mirror: Arc::clone(&mirror),
            traffic: Arc::clone(&flow) as _,
            leads: Box::new(|| true),
            tell: Box::new(|_| {}),
            scorer,
            settings: Settings { sampler, ..Settings::default() },
            limits: Limits { max_bytes: 4 << 20, protect_from },
            prices: Prices::default(),
            rollout: RolloutConfig::default(),
        });
        Stage { clock, sink, flow, store, mirror, controller, fake, second: 0 }
    }

    /// Lets traffic flow; each window is counted, each minute summarised.
    fn pass(&mut self, seconds: u64, records: impl Fn(u64) -> Vec<(&'static str, LogRecord)>) {
        for _ in 0..seconds {
            let now = self.second;
            for (service, record) in records(now) {
                let body = Bytes::from(otlp::request_of(service, vec![record]));
                self.flow.pipeline.consume_logs(Received { body, token: None, transport: Transport::Http }).unwrap();
            }
            self.clock.advance(Duration::from_secs(1));
            self.second += 1;
            if self.second.is_multiple_of(10) {
                let snapshot = self.flow.pipeline.table.snapshot(self.clock.now(), usize::MAX);
                self.flow.reservoir.count(&snapshot);
            }
            if self.second.is_multiple_of(60) {
                self.flow.pipeline.summarise();
            }
        }
    }

    /// Looks once; a policy that goes into force reaches the pipeline, as in a gateway.
    async fn turn(&self) -> Option<RunState> {
        let ended = self.controller.turn().await.unwrap();
        self.mirror.refresh().await.unwrap();
        self.apply();
        ended
    }

    fn apply(&self) {
        let tree = serde_json::from_slice(&self.mirror.view().bundle(None).body).unwrap();
        let mut documents = self.flow.people.clone();
        documents.push(Document::from_value("control plane", tree));
        let before = self.flow.pipeline.policy();
        self.flow.pipeline.set_policy(CompiledPolicy::compile(&documents, self.clock.now(), Some(&before)));
    }

    /// What has arrived since the last call: bytes of requests and records with their services.
    fn arrived(&self) -> (u64, Vec<(String, LogRecord)>) {
        let taken = self.sink.take();
        let bytes = taken.iter().map(|outgoing| outgoing.body.len() as u64).sum();
        (bytes, taken.iter().flat_map(|outgoing| otlp::records_in(&outgoing.body)).collect())
    }
}

/// A second of a shop: a flood, heartbeats, orders, and now and then a retry and an error.
fn shop(second: u64) -> Vec<(&'static str, LogRecord)> {
    let mut records = Vec::new();
    for i in 0..8 {
        let text = format!("GET /cart/{second}{i} answered 200 in {i} ms to a client of the shop");
        records.push(("web", otlp::record(9, &text)));
    }
    records.push(("web", otlp::record(9, &format!("heartbeat {second} of the web tier"))));
    records.push(("checkout", otlp::record(9, &format!("order {second} placed"))));
    if second % 30 == 7 {
        records.push(("checkout", otlp::record(13, &format!("payment retry {second} of 5"))));
    }
    if second % 50 == 9 {
        records.push(("checkout", otlp::record(17, &format!("payment {second} declined by the bank"))));
    }
    records
}
