//! From a client to PostHog and into the metrics.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use prost::Message;
use tokio::time::timeout;

use super::{PATIENCE, Setup, policies};
use crate::support::otlp::{record, request_of, traced};

const NOISE: &str =
    "policies: [{id: noise, name: noise, log: {match: [{log_field: body, contains: noise}], keep: none}}]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_arrive_with_their_token_and_summaries_follow() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::start(&policies(dir.path(), NOISE), "").await;
    let mut records: Vec<_> = (0..10).map(|_| record(9, "some noise")).collect();
    records.push(record(17, "noise, but an error"));
    records.push(traced(9, "signal", 7));
    assert_eq!(setup.post(request_of("web", records)).await, 200);
    let arrived = setup.posthog.wait_until(|fake| fake.row_count() == 2);
    timeout(PATIENCE, arrived).await.unwrap();
    let report = setup.gateway.shutdown(PATIENCE).await;
    assert!(report.balance(), "{report}");
    let rows = setup.posthog.rows();
    let mut bodies: Vec<_> = rows.iter().map(|row| row.body.as_str()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["10 records dropped: some noise", "noise, but an error", "signal"]);
    assert!(rows.iter().all(|row| row.token == "phc_test" && row.service_name == "web"), "{rows:?}");
    assert_eq!(report.exporters[0].stats.sent, 3);
    assert_eq!(setup.posthog.billed_bytes(), report.exporters[0].stats.sent_bytes, "bytes as they are billed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_and_http_clients_share_one_gateway() {
    let setup = Setup::start("", "").await;
    let endpoint = format!("http://{}", setup.gateway.grpc_addrs()[0]);
    let mut client = LogsServiceClient::connect(endpoint).await.unwrap();
    for i in 0..20 {
        let body = request_of("grpc", vec![record(9, &format!("request {i}"))]);
        let mut request = tonic::Request::new(ExportLogsServiceRequest::decode(body.as_slice()).unwrap());
        request.metadata_mut().insert("authorization", "Bearer phc_test".parse().unwrap());
        client.export(request).await.unwrap();
        assert_eq!(setup.post(request_of("http", vec![record(9, "a"), record(13, "b")])).await, 200);
    }
    let report = setup.gateway.shutdown(PATIENCE).await;
    assert!(report.balance(), "{report}");
    assert_eq!(setup.posthog.row_count(), 60);
    let grouped = setup.posthog.requests().len();
    assert!(grouped < 40, "{grouped} requests for 40 small ones");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_is_on_the_pages() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::start(&policies(dir.path(), NOISE), "").await;
    let health = format!("http://{}/health/ready", setup.gateway.health_addr().unwrap());
    assert_eq!(setup.client.get(health).send().await.unwrap().status(), 200);
    setup.post(request_of("web", vec![record(9, "some noise"), record(9, "signal")])).await;
    let base = format!("http://{}", setup.gateway.metrics_addr().unwrap());
    let metrics = setup.client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    for line in [
        "otelcol_receiver_accepted_log_records{transport=\"http\"} 2",
        "otelcol_processor_incoming_items{processor=\"sampler\"} 2",
        "lipservice_sampler_log_records{decision=\"dropped\",reason=\"policy_none\"} 1",
        "lipservice_sampler_log_records{decision=\"kept\",reason=\"novelty\"} 1",
        "lipservice_policy_log_records{policy=\"noise\",decision=\"dropped\",reason=\"policy_none\"} 1",
        "lipservice_policy_hits{policy=\"noise\"} 1",
        "lipservice_conservation_violations 0",
        "otelcol_exporter_queue_capacity{exporter=\"posthog\"}",
        "lipservice_pattern_log_records{service=\"web\",severity=\"info\"",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let patterns = setup.client.get(format!("{base}/patterns?limit=1")).send().await.unwrap();
    let patterns: serde_json::Value = serde_json::from_slice(&patterns.bytes().await.unwrap()).unwrap();
    assert_eq!(patterns["totals"]["received"], 2);
    assert_eq!(patterns["patterns"].as_array().unwrap().len(), 1);
    assert_eq!(patterns["patterns"][0]["template"], "some noise");
    setup.gateway.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traces_are_refused_with_what_to_configure() {
    let setup = Setup::start("", "").await;
    let url = format!("http://{}/v1/traces", setup.gateway.http_addrs()[0]);
    let answer = setup.client.post(url).header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert!(answer.text().await.unwrap().contains("service.pipelines.traces"));
    setup.gateway.shutdown(PATIENCE).await;
}
