//! OTLP/gRPC as the official client speaks it.

use std::time::Duration;

use lipservice::data_plane::receiver::{Refusal, Signal, Transport};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{Running, soon, start};

pub(super) fn logs(records: usize, body: &str) -> ExportLogsServiceRequest {
    let record =
        LogRecord { body: Some(AnyValue { value: Some(Value::StringValue(body.into())) }), ..LogRecord::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs { log_records: vec![record; records], ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        }],
    }
}

async fn channel(running: &Running) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{}", running.grpc)).unwrap();
    soon(endpoint.connect()).await.unwrap()
}

pub(super) async fn logs_client(running: &Running) -> LogsServiceClient<Channel> {
    LogsServiceClient::new(channel(running).await)
}

pub(super) async fn traces_client(running: &Running) -> TraceServiceClient<Channel> {
    TraceServiceClient::new(channel(running).await)
}

#[tokio::test]
async fn every_encoding_arrives_as_the_same_bytes() {
    let running = start();
    let channel = channel(&running).await;
    let request = logs(2000, "a line that repeats itself");
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = LogsServiceClient::new(channel.clone());
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding).accept_compressed(encoding);
        }
        let response = soon(client.export(request.clone())).await.unwrap();
        assert_eq!(response.into_inner(), ExportLogsServiceResponse::default());
    }
    drop(channel);
    let recorder = running.stop().await;
    let received = recorder.logs.lock();
    assert_eq!(received.len(), 3);
    for one in received.iter() {
        assert_eq!(one.body, request.encode_to_vec());
        assert_eq!((one.token.as_deref(), one.transport), (None, Transport::Grpc));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_arrive_whole() {
    let running = start();
    let channel = channel(&running).await;
    let request = logs(40_000, &"x".repeat(256));
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut client = LogsServiceClient::new(channel.clone());
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        soon(client.export(request.clone())).await.unwrap();
    }
    drop(channel);
    let recorder = running.stop().await;
    let expected = request.encode_to_vec();
    assert!(expected.len() > 10_000_000);
    assert_eq!(recorder.logs.lock().iter().filter(|one| one.body == expected).count(), 3);
}

#[tokio::test]
async fn refusals_become_statuses() {
    let running = start();
    let mut client = LogsServiceClient::new(channel(&running).await);
    let wait = Duration::from_millis(2500);
    let cases = [
        (Refusal::Malformed("bad ü".into()), Code::InvalidArgument, "bad ü", false),
        (Refusal::TooLarge("raise x".into()), Code::ResourceExhausted, "raise x", false),
        (Refusal::Busy { message: "100% full".into(), retry_after: wait }, Code::Unavailable, "100% full", true),
        (Refusal::Unsupported("configure".into()), Code::Unimplemented, "configure", false),
        (Refusal::Unauthenticated("no".into()), Code::Unauthenticated, "no", false),
        (Refusal::Failed("ours".into()), Code::Internal, "ours", false),
    ];
    for (refusal, code, message, retries) in cases {
        *running.recorder.refuse_logs.lock() = Some(refusal);
        let status = soon(client.export(logs(1, "x"))).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (code, message));
        assert_eq!(retry_delay(&status), retries.then_some((2, 500_000_000)), "{code:?}");
    }
    drop(client);
    let recorder = running.stop().await;
    assert!(recorder.refused.lock().is_empty(), "the consumer's own refusals are not told to it again");
}

/// Seconds and nanoseconds of the RetryInfo in the details, decoded with types of our own making.
fn retry_delay(status: &Status) -> Option<(i64, i32)> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct RpcStatus {
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Any {
        #[prost(string, tag = "1")]
        type_url: String,
        #[prost(message, optional, tag = "2")]
        value: Option<RetryInfo>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<Delay>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Delay {
        #[prost(int64, tag = "1")]
        seconds: i64,
        #[prost(int32, tag = "2")]
        nanos: i32,
    }
    let details = RpcStatus::decode(status.details()).expect("a google.rpc.Status").details;
    let info = details.into_iter().find(|any| any.type_url == "type.googleapis.com/google.rpc.RetryInfo")?;
    info.value?.retry_delay.map(|delay| (delay.seconds, delay.nanos))
}

#[tokio::test]
async fn traces_and_metrics_are_forwarded_or_refused_with_a_hint() {
    let running = start();
    let channel = channel(&running).await;
    let mut traces = TraceServiceClient::new(channel.clone());
    let mut metrics = MetricsServiceClient::new(channel.clone());
    soon(traces.export(ExportTraceServiceRequest::default())).await.unwrap();
    soon(metrics.export(ExportMetricsServiceRequest::default())).await.unwrap();
    let hint = "traces are not handled: configure `service: pipelines: traces`";
    *running.recorder.refuse_others.lock() = Some(Refusal::Unsupported(hint.into()));
    let status = soon(traces.export(ExportTraceServiceRequest::default())).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unimplemented, hint));
    drop((channel, traces, metrics));
    let recorder = running.stop().await;
    let signals: Vec<_> = recorder.forwarded.lock().iter().map(|(signal, _)| *signal).collect();
    assert_eq!(signals, [Signal::Traces, Signal::Metrics, Signal::Traces]);
}
