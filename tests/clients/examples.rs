//! The set-ups of `examples/`: their configuration and policies as they are, their applications against the gateway.

use std::path::PathBuf;

use lipservice::config::{Loaded, check_files, load};
use lipservice::data_plane::policy::{self, CompiledPolicy};
use lipservice::gateway::{Gateway, Options, Report};

use super::program::{Program, Protocol, repository};
use super::{LIMIT, TOKEN};
use crate::support::fake_posthog::{FakePostHog, Row};

fn folder(name: &str) -> PathBuf {
    repository().join("examples").join(name)
}

/// The configuration of an example, with the variables that a user would set.
fn loaded(name: &str, posthog: &str) -> Loaded {
    let env = |variable: &str| match variable {
        "LIPSERVICE_POLICIES" => Some(folder(name).join("policies").display().to_string()),
        "POSTHOG_HOST" => Some(posthog.to_owned()),
        "POSTHOG_TOKEN" => Some("phc_example".to_owned()),
        "LIPSERVICE_CLIENT_TOKEN" => Some(TOKEN.to_owned()),
        port if port.ends_with("_PORT") => Some("0".to_owned()),
        _ => None,
    };
    load(&[folder(name).join("lipservice.yaml")], &[], &env).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn configurations_and_policies_are_valid() {
    for name in ["sidecar", "gateway"] {
        let loaded = loaded(name, "us");
        assert_eq!(check_files(&loaded.config), [], "{name}");
        let documents = policy::load(&loaded.config.sampler.unwrap().policies).unwrap();
        let compiled = CompiledPolicy::compile(&documents, 0, None);
        assert_eq!(compiled.problems(), [], "{name}");
        assert_eq!(compiled.len(), 2, "{name}");
    }
}

/// Runs an application of an example; returns what reached PostHog and the books.
async fn run(name: &str, program: Program) -> (Vec<Row>, Report) {
    let posthog = FakePostHog::start().await.unwrap();
    let mut config = loaded(name, &posthog.url()).config;
    // Its limit is of a process, and here all tests are one: it would refuse for what others hold.
    config.memory_limiter = None;
    let gateway = Gateway::start(config, Options::default()).await.unwrap();
    let loopback = |mut address: std::net::SocketAddr| {
        address.set_ip([127, 0, 0, 1].into());
        address
    };
    let (grpc, http) = (loopback(gateway.grpc_addrs()[0]), loopback(gateway.http_addrs()[0]));
    tokio::time::timeout(LIMIT, program.run(grpc, http)).await.expect("the application takes too long");
    let report = tokio::time::timeout(LIMIT, gateway.shutdown(LIMIT)).await.expect("draining takes too long");
    assert!(report.balance(), "{report}");
    let totals = &report.totals;
    assert_eq!(posthog.row_count() as u64, totals.kept.records + totals.summaries.records, "{report}");
    (posthog.rows(), report)
}

fn count(rows: &[Row], test: impl Fn(&Row) -> bool) -> usize {
    rows.iter().filter(|row| !row.attributes.contains_key("lip.summary") && test(row)).count()
}

async fn sidecar(program: Program) {
    if program.is_missing() {
        return;
    }
    let (rows, report) = run("sidecar", program).await;
    assert_eq!(report.totals.received.records, 301);
    assert_eq!(count(&rows, |row| row.body.contains("healthz")), 0);
    assert_eq!(count(&rows, |row| row.body.starts_with("GET /cart/")), 100);
    assert_eq!(count(&rows, |row| row.severity_number >= 17), 1);
    let debug = count(&rows, |row| row.body.starts_with("cache hit"));
    assert!((1..60).contains(&debug), "{debug} of 100 at 10 %");
    let summed: u64 = rows.iter().filter_map(|row| row.attributes.get("lip.records")?.parse::<u64>().ok()).sum();
    assert_eq!(summed, report.totals.dropped.records);
    assert!(rows.iter().all(|row| row.service_name == "shop" && row.token == "phc_example"));
}

#[tokio::test]
async fn sidecar_with_python() {
    sidecar(Program::python(Protocol::Grpc).script("examples/sidecar/python/app.py")).await;
}

#[tokio::test]
async fn sidecar_with_node() {
    sidecar(Program::node(Protocol::Grpc).script("examples/sidecar/node/app.js")).await;
}

#[tokio::test]
async fn gateway_with_python() {
    let program = Program::python(Protocol::HttpProtobuf).script("examples/gateway/python/app.py");
    if program.is_missing() {
        return;
    }
    let (rows, report) = run("gateway", program).await;
    assert_eq!((rows.len(), report.totals.dropped.records), (100, 0), "payments are protected");
    assert!(rows.iter().all(|row| row.token == "phc_example"));
}

#[tokio::test]
async fn gateway_with_node() {
    let program = Program::node(Protocol::HttpJson).script("examples/gateway/node/app.js");
    if program.is_missing() {
        return;
    }
    let (rows, report) = run("gateway", program).await;
    assert_eq!(report.totals.received.records, 101);
    let requests = count(&rows, |row| row.body.starts_with("GET /cart/"));
    assert!((1..50).contains(&requests), "{requests} of 100 at 5 %");
    assert_eq!(count(&rows, |row| row.body.contains("unreachable")), 1);
}
