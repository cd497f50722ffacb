//! The official OpenTelemetry SDKs for Python and Node send through a gateway in this process.
//!
//! Every record of `records.json` must arrive as it was sent, at PostHog and at a plain OTLP server beside it, or be
//! accounted for. `install.sh` installs what the programs need; without it the tests skip loudly, or fail if
//! LIPSERVICE_REQUIRE_CLIENTS is set (as `make test` does).

mod examples;
mod program;
mod sink;

use std::collections::BTreeMap;
use std::time::Duration;

use lipservice::config::load_text;
use lipservice::data_plane::view::json;
use lipservice::gateway::{Gateway, Options, Report};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;

use crate::support::fake_posthog::FakePostHog;
use crate::support::otlp::{int_at, string_at};
use program::Protocol;
pub use program::{Program, repository};
use sink::Sink;

const LIMIT: Duration = Duration::from_secs(120);
const TOKEN: &str = "phc_client_test";

/// A gateway between the clients, a stand-in for PostHog and a plain OTLP server.
struct World {
    posthog: FakePostHog,
    sink: Sink,
    gateway: Gateway,
}

impl World {
    /// `sampler` is the sampler's section, as YAML in flow style.
    async fn start(sampler: &str) -> World {
        let posthog = FakePostHog::start().await.unwrap();
        let sink = Sink::start().await;
        let config = format!(
            r"
receivers: {{ otlp: {{ protocols: {{ grpc: {{ endpoint: 127.0.0.1:0 }}, http: {{ endpoint: 127.0.0.1:0 }} }} }} }}
processors: {{ sampler: {sampler} }}
exporters:
  posthog: {{ host: '{posthog}' }}
  otlp_http/sink: {{ endpoint: '{sink}', pass_token: true }}
service:
  telemetry: {{ metrics: {{ address: 127.0.0.1:0 }} }}
  pipelines:
    logs: {{ receivers: [otlp], processors: [sampler], exporters: [posthog, otlp_http/sink] }}
    traces: {{ receivers: [otlp], exporters: [otlp_http/sink] }}
    metrics: {{ receivers: [otlp], exporters: [otlp_http/sink] }}
",
            posthog = posthog.url(),
            sink = sink.url(),
        );
        let loaded = load_text(&config, "test", &|_| None).unwrap_or_else(|error| panic!("{error}\n{config}"));
        let gateway = Gateway::start(loaded.config, Options::default()).await.unwrap();
        World { posthog, sink, gateway }
    }

    /// Runs a program against the gateway; returns what it printed.
    async fn run(&self, program: Program) -> String {
        let (grpc, http) = (self.gateway.grpc_addrs()[0], self.gateway.http_addrs()[0]);
        tokio::time::timeout(LIMIT, program.run(grpc, http)).await.expect("the client takes too long")
    }

    /// Drains the gateway; nothing is left on the way then.
    async fn stop(self) -> (FakePostHog, Sink, Report) {
        let report = tokio::time::timeout(LIMIT, self.gateway.shutdown(LIMIT)).await.expect("draining takes too long");
        assert!(report.balance(), "{report}");
        (self.posthog, self.sink, report)
    }
}

/// A record with what it stands under, in a form that does not depend on the order of attributes.
#[derive(Clone, Debug, PartialEq)]
struct Delivered {
    resource: Vec<KeyValue>,
    scope: (String, String),
    record: LogRecord,
}

/// Every record of `requests`, with its attributes in order.
fn delivered(requests: Vec<ExportLogsServiceRequest>) -> Vec<Delivered> {
    let mut found = Vec::new();
    for block in requests.into_iter().flat_map(|request| request.resource_logs) {
        let resource = sorted(block.resource.unwrap_or_default().attributes);
        for scope_logs in block.scope_logs {
            let scope = scope_logs.scope.map(|scope| (scope.name, scope.version)).unwrap_or_default();
            for mut record in scope_logs.log_records {
                record.attributes = sorted(record.attributes);
                found.push(Delivered { resource: resource.clone(), scope: scope.clone(), record });
            }
        }
    }
    found
}

/// Records by time, which is unique in `records.json`.
fn by_time(records: Vec<Delivered>) -> BTreeMap<u64, Delivered> {
    let count = records.len();
    let found: BTreeMap<_, _> = records.into_iter().map(|found| (found.record.time_unix_nano, found)).collect();
    assert_eq!(found.len(), count, "a record arrived twice");
    found
}

fn sorted(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    for attribute in &mut attributes {
        if let Some(AnyValue { value: Some(Value::KvlistValue(list)) }) = &mut attribute.value {
            list.values = sorted(std::mem::take(&mut list.values));
        }
    }
    attributes
}

/// What the programs are told to send.
fn told() -> BTreeMap<u64, Delivered> {
    let bytes = json::decode(include_bytes!("records.json")).unwrap();
    by_time(delivered(vec![ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap()]))
}

/// What a program says it sent, of what it was told to.
fn sent(printed: &str) -> BTreeMap<u64, Delivered> {
    let line: serde_json::Value = serde_json::from_str(printed).unwrap();
    assert_eq!(line["failed"], false, "{printed}");
    let told = told();
    let times = line["times"].as_array().unwrap().iter();
    let sent: BTreeMap<_, _> = times
        .map(|time| time.as_str().unwrap().parse().unwrap())
        .map(|time: u64| (time, told[&time].clone()))
        .collect();
    assert!(sent.len() >= told.len() - 1, "{printed}");
    sent
}

/// Every record arrives at both destinations as it was sent, traces and metrics at the second.
async fn all_arrives(program: Program) {
    if program.is_missing() {
        return;
    }
    let world = World::start("{}").await;
    let expected = sent(&world.run(program).await);
    let (posthog, sink, report) = world.stop().await;
    assert_eq!(by_time(delivered(sink.logs())), expected);
    assert_eq!(report.totals.received.records, expected.len() as u64);
    assert_eq!(report.totals.kept.records, expected.len() as u64);
    assert_eq!(posthog.row_count(), expected.len());
    for row in posthog.rows() {
        let Delivered { resource, scope, record } = &expected[&row.sent_time_unix_nano];
        assert_eq!(row.token, TOKEN);
        assert_eq!(Some(row.service_name), string_at(resource, "service.name"));
        assert_eq!(row.instrumentation_scope, scope.0);
        assert_eq!((row.severity_number, &row.severity_text), (record.severity_number, &record.severity_text));
        assert_eq!(row.event_name, record.event_name);
        if !record.trace_id.is_empty() {
            assert_eq!(row.trace_id, upper_hex(&record.trace_id));
            assert_eq!(row.span_id, upper_hex(&record.span_id));
        }
        assert_eq!(row.attributes.len(), record.attributes.len(), "{:?}", row.attributes);
    }
    if program.all_signals {
        assert_eq!((sink.span_names(), sink.metric_names()), (vec!["pay".to_owned()], vec!["payments".to_owned()]));
    }
    assert!(sink.tokens().iter().all(|token| token == &format!("Bearer {TOKEN}")), "{:?}", sink.tokens());
}

fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

const PYTHON: Program = Program::python(Protocol::HttpProtobuf);
const NODE: Program = Program::node(Protocol::HttpProtobuf);

#[tokio::test]
async fn python_over_grpc() {
    all_arrives(Program::python(Protocol::Grpc).all_signals()).await;
}

#[tokio::test]
async fn python_over_grpc_compressed() {
    all_arrives(Program::python(Protocol::Grpc).gzip()).await;
}

#[tokio::test]
async fn python_over_http() {
    all_arrives(PYTHON.all_signals()).await;
}

#[tokio::test]
async fn python_over_http_compressed_token_in_the_url() {
    all_arrives(PYTHON.gzip().token_in_url()).await;
}

#[tokio::test]
async fn node_over_grpc() {
    all_arrives(Program::node(Protocol::Grpc)).await;
}

#[tokio::test]
async fn node_over_grpc_compressed() {
    all_arrives(Program::node(Protocol::Grpc).gzip()).await;
}

#[tokio::test]
async fn node_in_protobuf_compressed_token_in_the_url() {
    all_arrives(NODE.gzip().token_in_url()).await;
}

#[tokio::test]
async fn node_in_json() {
    all_arrives(Program::node(Protocol::HttpJson).all_signals()).await;
}

#[tokio::test]
async fn node_in_json_compressed_token_in_the_url() {
    all_arrives(Program::node(Protocol::HttpJson).gzip().token_in_url()).await;
}

#[tokio::test]
async fn what_a_policy_drops_is_accounted_for() {
    for program in [PYTHON, Program::node(Protocol::HttpJson)] {
        if program.is_missing() {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let policy = "policies:\n  - id: no-debug\n    name: No debug logs\n    log:\n      match: [{ log_field: severity_text, equals: DEBUG }]\n      keep: none\n";
        let file = directory.path().join("policy.yaml");
        std::fs::write(&file, policy).unwrap();
        let world = World::start(&format!("{{ policies: ['{}'] }}", file.display())).await;
        let mut expected = sent(&world.run(program).await);
        let (posthog, sink, report) = world.stop().await;
        let all = expected.len() as u64;
        expected.retain(|_, delivered| delivered.record.severity_text != "DEBUG");
        let (summaries, others): (Vec<_>, Vec<_>) = delivered(sink.logs())
            .into_iter()
            .partition(|found| int_at(&found.record.attributes, "lip.summary").is_some());
        let summaries: Vec<LogRecord> = summaries.into_iter().map(|found| found.record).collect();
        assert_eq!(by_time(others), expected);
        let summed: i64 = summaries.iter().filter_map(|summary| int_at(&summary.attributes, "lip.records")).sum();
        assert_eq!(summed, 2, "{summaries:?}");
        assert!(
            summaries.iter().all(|summary| string_at(&summary.attributes, "lip.policy").as_deref() == Some("no-debug"))
        );
        let totals = &report.totals;
        assert_eq!((totals.received.records, totals.dropped.records), (all, 2));
        assert_eq!(posthog.row_count() as u64, totals.kept.records + totals.summaries.records);
    }
}
