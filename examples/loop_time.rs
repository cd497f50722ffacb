//! How long a run of the loop takes over many patterns, without a model.
//!
//! Purpose: the row of docs/benchmarks.md: `cargo run --release --example loop_time -- 5000 40%`.
//! Promises: the loop of the gateway itself, with a store in memory; traffic is made up and the same every time.
//! Never: measures the network.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lipservice::clock::Clock;
use lipservice::control_plane::controller::{Controller, Parts, RunState, Traffic};
use lipservice::control_plane::generator::config::{GeneratorConfig, Publish};
use lipservice::control_plane::generator::llm::{LlmConfig, scorer};
use lipservice::control_plane::insights::Prices;
use lipservice::control_plane::mirror::Mirror;
use lipservice::control_plane::replay::Settings;
use lipservice::control_plane::rollout::RolloutConfig;
use lipservice::control_plane::store::Store;
use lipservice::control_plane::store::config::StoreConfig;
use lipservice::control_plane::validate::Limits;
use lipservice::data_plane::ledger::Tally;
use lipservice::data_plane::pattern::{Catalogue, PatternId};
use lipservice::data_plane::pipeline::{Pipeline, Wiring, settings_of};
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use lipservice::data_plane::receiver::{Consumer, Received, Refusal, Reply, Signal, Transport};
use lipservice::data_plane::reservoir::{Reservoir, Sample};
use lipservice::data_plane::view::encode::{
    Header, RESOURCE_ATTRIBUTE, RecordBuilder, resource_logs, string_attribute,
};
use lipservice::data_plane::window::PatternTable;
use lipservice::units::SecretUrl;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// 2026-01-01.
const START: u64 = 1_767_225_600_000_000_000;
/// Windows of ten seconds: fifteen minutes.
const WINDOWS: usize = 90;

struct Flow {
    pipeline: Arc<Pipeline>,
    reservoir: Arc<Reservoir>,
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
        Vec::new()
    }
    fn anomalous(&self) -> HashSet<(String, PatternId)> {
        HashSet::new()
    }
    fn volume(&self) -> (Tally, Tally) {
        let totals = self.pipeline.ledger.totals();
        (totals.received, totals.kept)
    }
}

/// Traces and metrics do not occur here.
struct NoForward;

impl lipservice::data_plane::pipeline::Forward for NoForward {
    fn forward(&self, _: Signal, _: Received) -> Reply {
        Box::pin(async { Err(Refusal::Unsupported("logs only".into())) })
    }
}

/// A word without digits, so that each number is a pattern of its own.
fn word(mut number: usize) -> String {
    let mut word = String::from("step");
    while number > 0 {
        word.push(char::from(b'a' + (number % 16) as u8));
        number /= 16;
    }
    word
}

/// Records of Zipf-distributed patterns of ten services.
fn feed(pipeline: &Pipeline, patterns: usize, records: usize, rng: &mut SmallRng) -> anyhow::Result<()> {
    let mut by_service: Vec<Vec<Vec<u8>>> = vec![Vec::new(); 10];
    for _ in 0..records {
        let rank = ((patterns as f64).powf(rng.random::<f64>()) as usize).min(patterns - 1);
        let severity = if rank.is_multiple_of(97) { 17 } else { 9 };
        let body = format!("{} of order {} took {} ms", word(rank), rng.random::<u32>(), rank);
        let mut record = RecordBuilder::default();
        record.severity_number(severity).body(body.as_bytes()).string("http.route", b"/cart");
        by_service[rank % 10].push(record.message().to_vec());
    }
    for (service, records) in by_service.iter().enumerate() {
        let (mut resource, mut out) = (Vec::new(), Vec::new());
        string_attribute(&mut resource, RESOURCE_ATTRIBUTE, "service.name", format!("service-{service}").as_bytes());
        let header = Header { message: &resource, ..Header::default() };
        resource_logs(&mut out, header, Header::default(), records.iter().map(Vec::as_slice));
        let request = Received { body: out.into(), token: None, transport: Transport::Http };
        pipeline.consume_logs(request).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let patterns: usize = std::env::args().nth(1).map_or(Ok(5_000), |text| text.parse())?;
    let budget = std::env::args().nth(2).unwrap_or_else(|| "40%".into());
    let clock = Clock::manual(START);
    let settings = Settings::default();
    let (decision, protect_from) = settings_of(&settings.sampler);
    let wiring = Wiring {
        destinations: Vec::new(),
        forward: Arc::new(NoForward),
        overload: None,
        settings: decision,
        protect_from,
        summaries: false,
    };
    let table = PatternTable::new(&settings.sampler.window);
    let pipeline = Arc::new(Pipeline::new(clock.clone(), table, CompiledPolicy::default(), wiring));
    let config = GeneratorConfig {
        budget: Some(budget.parse().map_err(|error| anyhow::anyhow!("{error}"))?),
        publish: Publish::Live,
        max_rules: 10_000,
        ..GeneratorConfig::default()
    };
    let reservoir = Arc::new(Reservoir::new(&config.reservoir, 10_000_000_000));
    pipeline.keep_in(Arc::clone(&reservoir));
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..WINDOWS {
        feed(&pipeline, patterns, 20_000, &mut rng)?;
        clock.advance(Duration::from_secs(10));
        reservoir.count(&pipeline.table.snapshot(clock.now(), usize::MAX));
    }
    let sample = reservoir.sample();
    let held: usize = sample.strata.iter().map(|stratum| stratum.records.len()).sum();
    println!("{} patterns, {held} records held, for {} records", sample.strata.len(), sample.records());
    let url = SecretUrl::new("sqlite::memory:");
    let store = Store::open(&StoreConfig { url: Some(url), ..StoreConfig::default() }, clock.clone()).await?;
    let controller = Controller::new(Parts {
        config,
        mirror: Mirror::new(store.clone()).await?,
        store: store.clone(),
        traffic: Arc::new(Flow { pipeline, reservoir }),
        leads: Box::new(|| true),
        tell: Box::new(|_| {}),
        scorer: scorer(&LlmConfig::default())?,
        settings,
        limits: Limits { max_bytes: 64 << 20, protect_from },
        prices: Prices::default(),
        rollout: RolloutConfig::default(),
    });
    for _ in 0..3 {
        controller.want();
        let start = Instant::now();
        let ended = controller.turn().await?;
        let last = controller.status().json()["last"].clone();
        let detail = &last["detail"];
        println!(
            "{:.2} s: {ended:?}, {} rules, {} replays of {} records",
            start.elapsed().as_secs_f64(),
            detail["rules"],
            detail["replays"],
            detail["sample"]["played_records"],
        );
        if ended == Some(RunState::Refused) {
            println!("{}", serde_json::to_string_pretty(&last)?);
        }
        clock.advance(Duration::from_secs(1));
    }
    Ok(())
}
