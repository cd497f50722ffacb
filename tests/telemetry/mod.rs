//! The telemetry servers over real sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lipservice::shutdown::Shutdown;
use lipservice::telemetry::metrics::Sources;
use lipservice::telemetry::server::{Health, health, serve_health, serve_metrics};
use lipservice::telemetry::{MetricSink, MetricSource, PatternSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Nothing here takes long; a hang is a failure and not a wait.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.unwrap()
}

async fn request(address: SocketAddr, request: &str) -> (u16, String, String) {
    soon(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.take(1 << 20).read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    })
    .await
}

struct Part;

impl MetricSource for Part {
    fn collect(&self, out: &mut dyn MetricSink) {
        out.counter("otelcol_receiver_accepted_log_records", "Records.", &[("receiver", "otlp")], 7);
        out.counter("lipservice_dropped_records", "Dropped.", &[("pattern", "C:\\\\x \"q\"\n<*>")], 1);
        out.gauge("otelcol_exporter_queue_size", "Bytes.", &[], 1.5);
    }
}

impl PatternSource for Part {
    fn patterns_json(&self, limit: usize) -> String {
        format!("{{\"limit\":{limit}}}")
    }
}

#[tokio::test]
async fn metrics_and_patterns() {
    let (listener, address) = listener().await;
    let (sources, stop) = (Sources::new(), Shutdown::new());
    let server = tokio::spawn(serve_metrics(listener, sources.clone(), stop.clone()));

    assert_eq!(request(address, "GET /patterns").await.0, 503);
    sources.replace(vec![Arc::new(Part)], Some(Arc::new(Part)));
    for (line, code, body) in [
        ("GET /patterns", 200, "{\"limit\":50}"),
        ("GET /patterns?x=1&limit=7", 200, "{\"limit\":7}"),
        ("GET /patterns?limit=0", 400, "{\"error\":\"limit must be a number from 1 to 1000\"}"),
        ("GET /patterns?limit=1e9", 400, "{\"error\":\"limit must be a number from 1 to 1000\"}"),
        ("GET /metric", 404, "{\"error\":\"served here: /metrics, /patterns and /anomalies\"}"),
        ("POST /metrics", 405, "{\"error\":\"only GET and HEAD are served here\"}"),
        ("HEAD /metrics", 200, ""),
    ] {
        let (found_code, _, found_body) = request(address, line).await;
        assert_eq!((found_code, found_body.as_str()), (code, body), "{line}");
    }
    let (code, head, body) = request(address, "GET /metrics").await;
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let series = parse_exposition(&body);
    assert_eq!(series["otelcol_receiver_accepted_log_records{receiver=\"otlp\"}"], 7.0);
    assert_eq!(series["lipservice_dropped_records{pattern=\"C:\\\\\\\\x \\\"q\\\"\\n<*>\"}"], 1.0);
    assert!(series["process_resident_memory_bytes"] > 1e6);

    stop.trigger();
    soon(server).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn health_follows_the_reporter() {
    let (listener, address) = listener().await;
    let (reporter, state) = health();
    let stop = Shutdown::new();
    let server = tokio::spawn(serve_health(listener, state, stop.clone()));
    for (health, code, status) in [
        (Health::Starting, 503, "starting"),
        (Health::Ready, 200, "ready"),
        (Health::Unavailable("the queue is \"full\"".into()), 503, "unavailable"),
        (Health::Draining, 503, "draining"),
    ] {
        reporter.send_replace(health.clone());
        let (found, _, body) = request(address, "GET /health/ready").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((found, body["status"].as_str().unwrap()), (code, status));
        assert!(body["uptime_seconds"].is_u64() && body["version"].is_string());
        if let Health::Unavailable(reason) = health {
            assert_eq!(body["reason"].as_str(), Some(reason.as_str()));
        }
        for path in ["/", "/health/live"] {
            assert_eq!(request(address, &format!("GET {path}")).await.0, 200);
        }
    }
    // The reporter is gone: the last word stands, and the server goes on.
    drop(reporter);
    assert_eq!(request(address, "GET /health/ready").await.0, 503);
    stop.trigger();
    soon(server).await.unwrap();
}

#[tokio::test]
async fn an_open_connection_does_not_hold_the_end_up() {
    let (listener, address) = listener().await;
    let stop = Shutdown::new();
    let server = tokio::spawn(serve_metrics(listener, Sources::new(), stop.clone()));
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    assert_eq!(request(address, "GET /metrics").await.0, 200);
    stop.trigger();
    soon(server).await.unwrap();
}

/// Reads the text exposition format strictly: HELP and TYPE before a family's series, each family once and in one
/// piece, valid names and escapes, no series twice. Returns the values by series as written.
fn parse_exposition(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let (mut families, mut series) = (BTreeSet::new(), BTreeMap::new());
    let mut current = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty(), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{kind}");
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            current = name.to_owned();
            continue;
        }
        let (id, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = id.find('{').map_or((id, ""), |at| id.split_at(at));
        assert_eq!(name, current);
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
        check_labels(labels);
        assert!(series.insert(id.to_owned(), value.parse().unwrap()).is_none(), "{id} comes twice");
    }
    series
}

fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let mut rest = labels.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            assert!(!escaped || ['\\', '"', 'n'].contains(&c), "{value}");
            escaped = c == '\\' && !escaped;
            ends
        });
        let after = &value[end.unwrap() + 1..];
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}
