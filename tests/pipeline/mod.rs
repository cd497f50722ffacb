//! The pipeline from request bytes to destinations, without a network.

mod boost;
mod cardinality;
mod conservation;
mod patterns;
mod sampling;
pub mod sink;
mod summaries;
mod trial;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lipservice::clock::Clock;
use lipservice::data_plane::exporter::Outgoing;
use lipservice::data_plane::pipeline::{Destination, Pipeline, Wiring, settings_of};
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use lipservice::data_plane::receiver::{Consumer, Received, Refusal, Transport};
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::data_plane::window::PatternTable;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use crate::support::otlp;
use sink::{NoForward, Sink};

/// 2026-01-01, at the start of a window.
const START: u64 = 1_767_225_600_000_000_000;

/// A pipeline with one sink and a clock of its own.
struct Bench {
    pipeline: Pipeline,
    sink: Arc<Sink>,
    clock: Clock,
}

impl Bench {
    fn new(config: &SamplerConfig, policies: &str) -> Self {
        let clock = Clock::manual(START);
        let sink = Arc::new(Sink::default());
        let table = PatternTable::new(&config.window);
        let wiring = wiring(config, &sink);
        let pipeline = Pipeline::new(clock.clone(), table, compile(policies), wiring);
        Bench { pipeline, sink, clock }
    }

    fn send(&self, body: Vec<u8>) -> Result<(), Refusal> {
        self.send_as(body, None)
    }

    fn send_as(&self, body: Vec<u8>, token: Option<&str>) -> Result<(), Refusal> {
        let token = token.map(Into::into);
        let answer =
            self.pipeline.consume_logs(Received { body: Bytes::from(body), token, transport: Transport::Http });
        assert!(self.pipeline.ledger.totals().balance(), "{:?}", self.pipeline.ledger.totals());
        answer
    }

    /// Sends records of one service and returns what arrives.
    fn pass(&self, service: &str, records: Vec<LogRecord>) -> Vec<LogRecord> {
        self.send(otlp::request_of(service, records)).unwrap();
        self.arrived().into_iter().map(|(_, record)| record).collect()
    }

    fn arrived(&self) -> Vec<(String, LogRecord)> {
        self.sink.take().iter().flat_map(records_of).collect()
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn records_of(outgoing: &Outgoing) -> Vec<(String, LogRecord)> {
    let records = otlp::records_in(&outgoing.body);
    assert_eq!(records.len() as u64, outgoing.records, "the count that travels with a request");
    records
}

fn wiring(config: &SamplerConfig, sink: &Arc<Sink>) -> Wiring {
    let (settings, protect_from) = settings_of(config);
    Wiring {
        destinations: vec![Arc::clone(sink) as Arc<dyn Destination>],
        forward: Arc::new(NoForward),
        overload: None,
        settings,
        protect_from,
        summaries: config.summary.enabled,
    }
}

fn compile(policies: &str) -> CompiledPolicy {
    let documents = Document::parse("test.yaml", policies.as_bytes()).unwrap();
    let policy = CompiledPolicy::compile(&documents, START, None);
    assert!(policy.problems().is_empty(), "{:?}", policy.problems());
    policy
}

/// Neither novelty nor floor: only policies decide.
fn plain() -> SamplerConfig {
    SamplerConfig { novelty_records: 0, floor_records: 0, ..SamplerConfig::default() }
}
