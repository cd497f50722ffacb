//! The `file` exporter end to end, and forwarded signals.

use lipservice::data_plane::exporter::config::FileConfig;
use lipservice::data_plane::exporter::{ForwardError, ForwardKind, Forwarder};
use lipservice::data_plane::view::json;
use lipservice::units::ByteSize;

use super::*;

#[tokio::test]
async fn a_file_holds_every_record_in_order_once_drained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logs.jsonl");
    let config = FileConfig { path: path.to_str().unwrap().into(), ..FileConfig::default() };
    let exporter = Exporter::start("file", &ExporterConfig::File(config), Clock::System, 1).unwrap();
    (0..50).for_each(|i| submit(&exporter, i * 10..(i + 1) * 10, Some("ignored")));
    let stats = drained(&exporter).await;
    let lines = std::fs::read(&path).unwrap();
    assert_eq!((stats.sent, stats.sent_wire_bytes), (500, lines.len() as u64));
    let read = ExportLogsServiceRequest::decode(json::decode_lines(&lines).unwrap().as_slice()).unwrap();
    let records = read.resource_logs.iter().flat_map(|block| &block.scope_logs).flat_map(|scope| &scope.log_records);
    let bodies: Vec<_> = records.map(|record| record.body.clone().unwrap().value.unwrap()).collect();
    let expected: Vec<_> = (0..500).map(|i| Value::StringValue(format!("record {i}"))).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_debug_exporter_takes_and_acknowledges() {
    let config = ExporterConfig::Debug(Default::default());
    let exporter = Exporter::start("debug", &config, Clock::System, 1).unwrap();
    submit(&exporter, 0..2, None);
    assert_eq!(drained(&exporter).await.sent, 2);
}

/// The stand-in takes logs only, so it is told to take the forwarded signal at a logs path.
fn forwarder(fake: &FakePostHog) -> Forwarder {
    let mut config = otlp(fake);
    config.traces_endpoint = Some(format!("{}/v1/logs?signal=traces", fake.url()));
    Forwarder::new("otlp_http/traces", &config, Clock::System).unwrap()
}

#[tokio::test]
async fn a_forwarded_body_arrives_untouched_and_the_answer_comes_back() {
    let fake = fake().await;
    let body = request("shop", ["span".into()]);
    let forwarder = forwarder(&fake);
    assert_eq!(forwarder.forward(ForwardKind::Traces, body.clone(), None).await, Ok(()));
    assert_eq!(fake.requests()[0].bytes, body.len());
    for (mode, expected) in [
        (Mode::Status(503, Some("7".into())), "retry after 7s"),
        (Mode::Status(429, None), "retry after 5s"),
        (Mode::Status(503, Some("999999".into())), "retry after 300s"),
        (Mode::ResetBefore, "retry after 5s"),
        (Mode::Status(401, None), "unauthenticated"),
        (Mode::Status(403, None), "unauthenticated"),
        (Mode::Status(400, None), "permanent"),
        (Mode::Status(500, None), "permanent"),
        (Mode::Status(404, None), "permanent"),
        (Mode::Status(302, None), "permanent"),
    ] {
        fake.script([mode.clone()]);
        let kind = match forwarder.forward(ForwardKind::Traces, body.clone(), None).await.unwrap_err() {
            ForwardError::Retryable { retry_after, .. } => format!("retry after {}s", retry_after.as_secs()),
            ForwardError::Unauthenticated { .. } => "unauthenticated".into(),
            ForwardError::Permanent { .. } => "permanent".into(),
        };
        assert_eq!(kind, expected, "{mode:?}");
    }
    let not_there = forwarder.forward(ForwardKind::Metrics, body, None).await;
    assert!(matches!(not_there, Err(ForwardError::Permanent { message }) if message.contains("endpoint")));
}

#[tokio::test]
async fn forwarding_is_bounded_and_passes_tokens_on() {
    let fake = fake().await;
    fake.set_mode(Mode::Hold);
    let mut config = OtlpHttpConfig { pass_token: true, ..otlp(&fake) };
    config.headers.clear();
    config.traces_endpoint = Some(format!("{}/v1/logs", fake.url()));
    config.sending_queue.max_size = ByteSize(10);
    let forwarder = Forwarder::new("otlp_http", &config, Clock::System).unwrap();
    let body = request("shop", ["span".into()]);
    let first = tokio::spawn({
        let (forwarder, body) = (forwarder.clone(), body.clone());
        async move { forwarder.forward(ForwardKind::Traces, body, Some("phc_client".into())).await }
    });
    tokio::time::timeout(PATIENCE, fake.wait_until(|fake| fake.held() > 0)).await.unwrap();
    let second = forwarder.forward(ForwardKind::Traces, body, None).await;
    assert!(
        matches!(second, Err(ForwardError::Retryable { message, .. }) if message.contains("sending_queue.max_size"))
    );
    fake.release();
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(fake.requests()[0].token, "phc_client");
}
