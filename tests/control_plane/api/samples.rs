//! Samples of gateways over HTTP: counted once, added up, aged out, bounded.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lipservice::control_plane::samples::Heard;
use lipservice::control_plane::store::Scope;
use lipservice::data_plane::reservoir::Reservoir;
use lipservice::data_plane::reservoir::config::ReservoirConfig;
use lipservice::data_plane::window::PatternTable;
use lipservice::data_plane::window::config::WindowConfig;
use lipservice::telemetry::metrics::Sources;
use lipservice::units::{ByteSize, Period};
use serde_json::{Value, json};

use super::super::store::START;
use super::{Server, answer};
use crate::support::otlp;

const WINDOW_NS: u64 = 10_000_000_000;
/// The last finished window.
const LAST: u64 = START / WINDOW_NS - 1;

/// An API whose loop hears of gateways.
async fn hearing(config: ReservoirConfig) -> (Server, Arc<Reservoir>, Arc<Heard>) {
    let server = Server::start().await;
    let reservoir = Arc::new(Reservoir::new(&config, WINDOW_NS));
    let heard = Heard::new(Arc::clone(&reservoir), server.clock.clone());
    server.api.set_samples(Arc::clone(&heard) as _);
    (server, reservoir, heard)
}

fn row(service: &str, records: &[&str], windows: &[(u64, u64)]) -> Value {
    let record = |text: &&str| STANDARD.encode(otlp::request_of(service, vec![otlp::record(9, text)]));
    let window = |(window, n): &(u64, u64)| json!({ "window": window, "records": n, "bytes": n * 100 });
    json!({ "service": service, "severity": "info", "pattern": "00000000000000aa", "first_seen_ns": START,
            "records": records.iter().map(record).collect::<Vec<_>>(),
            "windows": windows.iter().map(window).collect::<Vec<_>>() })
}

fn report(id: &str, replica: &str, rows: &[Value]) -> Value {
    json!({ "id": id, "replica": replica, "window_ns": WINDOW_NS, "rows": rows })
}

fn state(received: u64, kept: u64) -> Value {
    let name = ["alpha", "beta", "gamma", "delta"][(received / 10 % 4) as usize];
    json!({ "received_records": received, "received_bytes": received * 100, "kept_records": kept,
            "kept_bytes": kept * 100, "anomalous": [{ "service": "web", "pattern": "00000000000000aa" }],
            "patterns": [{ "template": format!("step <*> of {name}") }] })
}

#[tokio::test]
async fn gateways_add_up_each_report_once() {
    let (server, reservoir, heard) = hearing(ReservoirConfig::default()).await;
    let first = report("1", "a", &[row("web", &["x 1", "x 2"], &[(LAST - 1, 30), (LAST, 10)])]);
    for (added, known) in [(true, false), (false, true)] {
        let found = server.send("POST", "/v1/samples", &first).await;
        assert_eq!((found.status, found.body), (200, json!({ "added": added, "known": known })));
    }
    let second = report("2", "b", &[row("web", &["x 3"], &[(LAST, 5)]), row("shop", &[], &[(LAST, 7)])]);
    assert_eq!(server.send("POST", "/v1/samples", &second).await.body, json!({ "added": true, "known": false }));
    let sample = reservoir.sample();
    assert_eq!(sample.records(), 30 + 10 + 5 + 7);
    let web = sample.strata.iter().find(|stratum| &*stratum.service == "web").unwrap();
    let windows: Vec<_> = web.windows.iter().map(|count| (count.window, count.records, count.bytes)).collect();
    assert_eq!((windows, web.records.len()), (vec![(LAST - 1, 30, 3000), (LAST, 15, 1500)], 3));
    // What gateways say of themselves: sums only grow, from what was first heard on.
    for (n, (replica, received, kept)) in
        [("a", 100, 100), ("b", 50, 20), ("a", 130, 110), ("b", 10, 5)].iter().enumerate()
    {
        let mut said = report(&format!("s{n}"), replica, &[]);
        said["state"] = state(*received, *kept);
        assert_eq!(server.send("POST", "/v1/samples", &said).await.status, 200);
    }
    // Neither had said anything before its first state: that much came since it was heard.
    let (received, kept) = heard.volume();
    assert_eq!((received.records, kept.records), (130 + 50, 110 + 20));
    assert_eq!(heard.anomalous().len(), 1);
    let templates: Vec<_> = heard.catalogue().patterns().iter().map(|found| found.template.to_string()).collect();
    assert_eq!(templates, ["step <*> of beta"], "those of both, each once");
    // One falls silent: its word goes, its counts stay until they are old.
    server.clock.advance(Duration::from_secs(301));
    assert_eq!((heard.anomalous().len(), heard.catalogue().patterns().len()), (0, 0));
    assert_eq!((heard.volume(), reservoir.sample().records()), ((received, kept), 52));
    let table = PatternTable::new(&WindowConfig::default());
    server.clock.advance(Duration::from_secs(700));
    reservoir.count(&table.snapshot(server.clock.now(), usize::MAX));
    assert_eq!(reservoir.sample().records(), 0, "aged out");
    server.stop().await;
}

#[tokio::test]
async fn clocks_and_window_lengths_of_gateways() {
    let config = ReservoirConfig { span: Period::secs(100), ..ReservoirConfig::default() };
    let (server, reservoir, _) = hearing(config).await;
    let windows = [(1, 1000), (LAST - 10, 100), (LAST - 9, 10), (LAST + 1_000_000, 1)];
    let sent = server.send("POST", "/v1/samples", &report("1", "a", &[row("web", &[], &windows)])).await;
    assert_eq!(sent.status, 200, "{}", sent.body);
    let found = reservoir.sample();
    let found: Vec<_> = found.strata[0].windows.iter().map(|count| (count.window, count.records)).collect();
    assert_eq!(found, [(LAST - 9, 10), (LAST, 1)], "what is too old is left out, the future is now");
    let mut minutes = report("2", "b", &[row("web", &[], &[(LAST / 6, 60)])]);
    minutes["window_ns"] = (6 * WINDOW_NS).into();
    assert_eq!(server.send("POST", "/v1/samples", &minutes).await.status, 200);
    assert_eq!(reservoir.sample().records(), 71);
    server.stop().await;
}

#[tokio::test]
async fn memory_is_bounded_and_what_goes_is_counted() {
    let config = ReservoirConfig { max_size: ByteSize::mib(1), ..ReservoirConfig::default() };
    let (server, reservoir, _) = hearing(config).await;
    let long = "word ".repeat(200);
    for n in 0..40 {
        let texts: Vec<String> = (0..16).map(|i| format!("{long} {i}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let rows: Vec<Value> = (0..10).map(|i| row(&format!("service-{n}-{i}"), &texts, &[(LAST, 1)])).collect();
        assert_eq!(server.send("POST", "/v1/samples", &report(&n.to_string(), "a", &rows)).await.status, 200);
    }
    let sample = reservoir.sample();
    assert_eq!(sample.records(), 400, "counts stay exact");
    let bytes: usize = sample.strata.iter().flat_map(|stratum| &stratum.records).map(|record| record.len()).sum();
    assert!(bytes > 1 << 17 && bytes < 1 << 20, "{bytes}");
    let held: u64 = sample.strata.iter().map(|stratum| stratum.records.len() as u64).sum();
    let sources = Sources::new();
    sources.add(reservoir);
    let metrics = sources.render();
    let value = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{metrics}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
    };
    let (taken, evicted) =
        (value("lipservice_reservoir_taken_log_records "), value("lipservice_reservoir_evicted_log_records "));
    assert_eq!((taken - evicted, taken + value("lipservice_reservoir_turned_away_log_records ")), (held, 40 * 160));
    server.stop().await;
}

#[tokio::test]
async fn what_is_refused_names_its_place_and_adds_nothing() {
    let (server, reservoir, _) = hearing(ReservoirConfig::default()).await;
    let good = row("web", &["x"], &[(LAST, 1)]);
    let with = |key: &str, value: Value| {
        let mut bad = good.clone();
        bad[key] = value;
        report("bad", "a", &[good.clone(), bad])
    };
    let mut windows = report("bad", "a", &[]);
    windows["window_ns"] = 5.into();
    let mut anomalous = report("bad", "a", std::slice::from_ref(&good));
    anomalous["state"] = state(1, 1);
    anomalous["state"]["anomalous"][0]["pattern"] = "x".into();
    for (body, place) in [
        (with("severity", "loud".into()), "rows[1].severity: "),
        (with("pattern", "zz".into()), "rows[1].pattern: "),
        (with("records", json!(["!"])), "rows[1].records[0]: not base64"),
        (with("windows", json!([{ "window": -1, "records": 1, "bytes": 1 }])), "rows[1].windows[0].window: "),
        (with("records", vec![""; 1001].into()), "rows[1].records: 1001, more than 1000"),
        (report("", "a", &[]), "id: not 1 to 128 bytes"),
        (report("x", &"r".repeat(129), &[]), "replica: not 1 to 128 bytes"),
        (windows, "window_ns: "),
        (anomalous, "state.anomalous[0].pattern: "),
    ] {
        let found = server.send("POST", "/v1/samples", &body).await;
        let detail = found.body["detail"].as_str().unwrap_or_default();
        assert!(found.status == 422 && detail.contains(place), "{place}: {}", found.body);
    }
    assert_eq!(reservoir.sample().strata.len(), 0);
    let again = server.send("POST", "/v1/samples", &report("bad", "a", &[good])).await;
    assert_eq!(again.body["added"], true, "what was refused was not taken");
    server.stop().await;
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn bodies_may_be_compressed_within_their_bound() {
    let (server, reservoir, _) = hearing(ReservoirConfig::default()).await;
    let body = report("1", "a", &[row("web", &["x"], &[(LAST, 3)])]).to_string();
    let bomb = gzip(&vec![b' '; 9 << 20]);
    assert!(bomb.len() < 1 << 20);
    for (encoding, body, status) in [
        ("gzip", gzip(body.as_bytes()), 200),
        ("identity", body.clone().into_bytes(), 200),
        ("gzip", body.into_bytes(), 400),
        ("br", b"{}".to_vec(), 415),
        ("gzip", bomb, 413),
    ] {
        let request = server.request("POST", "/v1/samples").header("content-type", "application/json");
        let found = answer(request.header("content-encoding", encoding).body(body)).await;
        assert_eq!(found.status, status, "{encoding}: {}", found.body);
    }
    assert_eq!(reservoir.sample().records(), 3);
    server.stop().await;
}

#[tokio::test]
async fn without_a_loop_or_the_right_to_nothing_is_taken() {
    let server = Server::start().await.with_token(&[Scope::Ingest]).await;
    let found = server.send("POST", "/v1/samples", &report("1", "a", &[])).await;
    assert_eq!(found.status, 404, "{}", found.body);
    server.stop().await;
    let server = Server::start().await.with_token(&[Scope::Read, Scope::Write]).await;
    assert_eq!(server.send("POST", "/v1/samples", &report("1", "a", &[])).await.status, 403);
    server.stop().await;
}
