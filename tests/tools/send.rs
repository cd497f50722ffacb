//! `lipservice send` as people run it: the built program against servers in this process.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::sink::{Answer, Sink};

const LOG: &str = "ERROR first\n\nlevel=warn second\nthird\n2026-11-22T21:50:54Z fourth\nfifth";

fn send(endpoint: &str, more: &[&str]) -> Command {
    let mut command = send_without_service(endpoint);
    command.args(["--service", "shop"]).args(more);
    command
}

fn send_without_service(endpoint: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
    command.args(["send", "--file", "-", "--endpoint", endpoint, "--batch", "2"]);
    for name in
        ["OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT", "LIPSERVICE_SEND_TOKEN", "http_proxy", "HTTP_PROXY"]
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn output(mut command: Command, input: impl AsRef<[u8]>) -> Output {
    let input = input.as_ref().to_vec();
    let run = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // The program may stop reading early; that is for the test to judge by its output.
        let _ = child.stdin.take().unwrap().write_all(&input);
        child.wait_with_output().unwrap()
    });
    tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().unwrap()
}

fn records(requests: &[ExportLogsServiceRequest]) -> Vec<&LogRecord> {
    let scopes = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|logs| &logs.scope_logs);
    scopes.flat_map(|scope| &scope.log_records).collect()
}

fn bodies(requests: &[ExportLogsServiceRequest]) -> Vec<&str> {
    let values = records(requests).into_iter().map(|record| record.body.as_ref().unwrap().value.as_ref().unwrap());
    values.map(text).collect()
}

fn text(value: &Value) -> &str {
    match value {
        Value::StringValue(text) => text,
        other => panic!("{other:?} is not a string"),
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn every_protocol_and_compression_delivers_every_line() {
    for protocol in ["http/protobuf", "http/json", "grpc"] {
        for compression in ["gzip", "none"] {
            let case = format!("{protocol} {compression}");
            let sink = Sink::start(vec![]).await;
            let endpoint = if protocol == "grpc" { sink.grpc_url() } else { sink.http_url() };
            let options = [
                "--protocol",
                protocol,
                "--compression",
                compression,
                "--token",
                "phc_x",
                "--parse-time",
                "--attr",
                "team=a b",
                "--header",
                "x-extra=1",
            ];
            let output = output(send(&endpoint, &options), LOG).await;
            assert!(output.status.success(), "{case}: {}", stderr(&output));
            assert!(
                stdout(&output).starts_with("sent 5, refused 0, retried 0 of 3 requests"),
                "{case}: {}",
                stdout(&output)
            );
            assert!(!stderr(&output).contains('\u{1b}'), "no progress bar without a terminal");

            let got = sink.seen();
            assert!(got.iter().all(|seen| seen.authorization == "Bearer phc_x" && seen.extra == "1"), "{case}");
            assert!(got.iter().all(|seen| seen.gzip == (compression == "gzip")), "{case}");
            let requests: Vec<_> = got.into_iter().map(|seen| seen.request).collect();
            let lines: Vec<_> = LOG.lines().filter(|line| !line.is_empty()).collect();
            assert_eq!(bodies(&requests), lines, "{case}");
            let severities: Vec<_> = records(&requests).iter().map(|record| record.severity_number).collect();
            assert_eq!(severities, [17, 13, 9, 9, 9], "{case}");
            assert_eq!(records(&requests)[3].time_unix_nano, 1_795_384_254_000_000_000, "{case}");
            let resource = requests[0].resource_logs[0].resource.as_ref().unwrap();
            let resource: Vec<_> = resource
                .attributes
                .iter()
                .map(|pair| (pair.key.as_str(), text(pair.value.as_ref().unwrap().value.as_ref().unwrap())))
                .collect();
            assert_eq!(resource, [("service.name", "shop"), ("team", "a b")], "{case}");
        }
    }
}

#[tokio::test]
async fn retryable_answers_are_retried() {
    for protocol in ["http/protobuf", "grpc"] {
        let sink = Sink::start(vec![Answer::TryAgainNow, Answer::Take, Answer::TryAgainNow, Answer::TryAgainNow]).await;
        let endpoint = if protocol == "grpc" { sink.grpc_url() } else { sink.http_url() };
        let output = output(send(&endpoint, &["--protocol", protocol]), LOG).await;
        assert!(output.status.success(), "{protocol}: {}", stderr(&output));
        assert!(stdout(&output).starts_with("sent 5, refused 0, retried 3 of 6 requests"), "{}", stdout(&output));
        assert_eq!(sink.seen().len(), 3, "{protocol}: what was refused is not counted as seen");
    }
}

#[tokio::test]
async fn a_refused_batch_is_reported_and_the_rest_is_sent() {
    for protocol in ["http/protobuf", "grpc"] {
        let sink = Sink::start(vec![Answer::Take, Answer::Malformed]).await;
        let endpoint = if protocol == "grpc" { sink.grpc_url() } else { sink.http_url() };
        let output = output(send(&endpoint, &["--protocol", protocol]), LOG).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stdout(&output).starts_with("sent 3, refused 2, retried 0 of 3 requests"), "{}", stdout(&output));
        assert!(stderr(&output).contains("malformed on purpose"), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn a_wrong_token_stops_at_once() {
    for protocol in ["http/protobuf", "grpc"] {
        let sink = Sink::start(vec![Answer::WrongToken]).await;
        let endpoint = if protocol == "grpc" { sink.grpc_url() } else { sink.http_url() };
        let output = output(send(&endpoint, &["--protocol", protocol]), LOG).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stdout(&output).starts_with("sent 0, refused 2, retried 0 of 1 requests"), "{}", stdout(&output));
        assert!(stderr(&output).contains("stopped at line 2"), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn a_partial_success_counts_what_was_rejected() {
    for protocol in ["http/protobuf", "grpc"] {
        let sink = Sink::start(vec![Answer::Partial(1)]).await;
        let endpoint = if protocol == "grpc" { sink.grpc_url() } else { sink.http_url() };
        let output = output(send(&endpoint, &["--protocol", protocol]), LOG).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(stdout(&output).starts_with("sent 4, refused 1, retried 0 of 3 requests"), "{}", stdout(&output));
        assert!(stderr(&output).contains("too old"), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn giving_up_ends_the_run() {
    let sink = Sink::start(vec![Answer::TryAgainNow]).await;
    let output = output(send(&sink.http_url(), &["--retry-for", "0"]), LOG).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("gave up after 1 tries"), "{}", stderr(&output));
}

#[tokio::test]
async fn otlp_json_lines_are_sent_as_they_are() {
    let sink = Sink::start(vec![]).await;
    let line = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"own"}}]},"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"},"severityNumber":"17","traceId":"0102030405060708090a0b0c0d0e0f10"}]}]}]}"#;
    let output = output(send(&sink.http_url(), &[]), &format!("{line}\nnonsense\n{line}\n")).await;
    assert_eq!(output.status.code(), Some(1), "one line cannot be read");
    assert!(stdout(&output).starts_with("sent 2, refused 0"), "{}", stdout(&output));
    assert!(stderr(&output).contains("1 of 3 lines are not OTLP JSON; line 2"), "{}", stderr(&output));
    let requests: Vec<_> = sink.seen().into_iter().map(|seen| seen.request).collect();
    let record = records(&requests)[0];
    assert_eq!((record.severity_number, record.trace_id[0], record.trace_id.len()), (17, 1, 16));
    let resource = requests[0].resource_logs[0].resource.as_ref().unwrap();
    assert_eq!(text(resource.attributes[0].value.as_ref().unwrap().value.as_ref().unwrap()), "own");
}

/// What is OTLP brings its service with it, however it is written; what is text does not.
#[tokio::test]
async fn the_kind_of_a_file_is_found_out() {
    let line = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"own"}}]},"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}},{"body":{"stringValue":"b"}},{"body":{"stringValue":"c"}}]}]}]}"#;
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(line).unwrap()).unwrap();
    let request = lipservice::data_plane::view::json::decode(line.as_bytes()).unwrap();
    let framed = [&(request.len() as u32).to_be_bytes()[..], &request].concat();
    let kinds: [(&str, Vec<u8>); 6] = [
        ("one line", line.into()),
        ("lines", format!("{line}\n{line}\n").into()),
        ("one document", pretty.clone().into()),
        ("documents", format!("{pretty}\n{pretty}\n").into()),
        ("protobuf", request),
        ("protobuf behind lengths", framed.repeat(2)),
    ];
    for (kind, input) in kinds {
        let sink = Sink::start(vec![]).await;
        let output = output(send_without_service(&sink.http_url()), &input).await;
        assert!(output.status.success(), "{kind}: {}", stderr(&output));
        let requests: Vec<_> = sink.seen().into_iter().map(|seen| seen.request).collect();
        let times = bodies(&requests).len() / 3;
        assert_eq!(bodies(&requests), ["a", "b", "c"].repeat(times), "{kind}");
        assert_eq!(times, if kind.ends_with('s') { 2 } else { 1 }, "{kind}");
        for logs in requests.iter().flat_map(|request| &request.resource_logs) {
            let service = logs.resource.as_ref().unwrap().attributes[0].value.as_ref().unwrap();
            assert_eq!(text(service.value.as_ref().unwrap()), "own", "{kind}");
        }
        assert!(requests.iter().all(|request| records(std::slice::from_ref(request)).len() <= 2), "{kind}: --batch");
    }
    let sink = Sink::start(vec![]).await;
    let output = output(send_without_service(&sink.http_url()), "a line\n").await;
    assert!(!output.status.success() && stderr(&output).contains("--service is missing"), "{}", stderr(&output));
}

#[cfg(unix)]
#[tokio::test]
async fn ctrl_c_says_what_was_sent() {
    let sink = Sink::start(vec![Answer::Take, Answer::Hang]).await;
    let mut child = send(&sink.http_url(), &[]).spawn().unwrap();
    child.stdin.take().unwrap().write_all(LOG.as_bytes()).unwrap();
    tokio::time::timeout(Duration::from_secs(60), sink.hanging()).await.unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(stderr(&output).contains("interrupted; 2 records were on their way"), "{}", stderr(&output));
    assert!(stdout(&output).starts_with("sent 2, refused 0"), "{}", stdout(&output));
}
