//! A realistic request: about 600 bytes a record, of which 137 are the body; 10 attributes, 8 resource attributes, a trace
//! id in 70 % of the records.

use std::fmt::Write;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub fn string_attribute(key: &str, text: &str) -> KeyValue {
    attribute(key, Value::StringValue(text.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// An encoded request with `records` records.
pub fn generate(records: usize) -> Vec<u8> {
    let mut rng = SmallRng::seed_from_u64(7);
    let scopes = ["shop.checkout", "shop.http", "shop.db", "shop.cache"];
    let share = records / scopes.len();
    let scope_logs = scopes.map(|name| ScopeLogs {
        scope: Some(InstrumentationScope { name: name.to_owned(), version: "1.4.2".to_owned(), ..Default::default() }),
        log_records: (0..share).map(|_| record(&mut rng)).collect(),
        ..ScopeLogs::default()
    });
    let resource_logs = vec![ResourceLogs {
        resource: Some(resource()),
        scope_logs: scope_logs.to_vec(),
        schema_url: "https://opentelemetry.io/schemas/1.37.0".to_owned(),
    }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn resource() -> Resource {
    let attributes = [
        ("service.name", "checkout"),
        ("service.version", "2025.11.3-7f3c2a1"),
        ("deployment.environment.name", "production"),
        ("host.name", "ip-10-3-41-7.eu-central-1.compute.internal"),
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.name", "checkout-6d5b9c7f44-x2x7k"),
        ("telemetry.sdk.language", "python"),
        ("telemetry.sdk.version", "1.39.0"),
    ];
    let attributes = attributes.map(|(key, text)| string_attribute(key, text)).to_vec();
    Resource { attributes, ..Resource::default() }
}

fn record(rng: &mut SmallRng) -> LogRecord {
    let time = 1_763_000_000_000_000_000 + rng.random_range(0..60_000_000_000u64);
    let has_trace = rng.random_bool(0.7);
    let mut trace_id = vec![0; if has_trace { 16 } else { 0 }];
    let mut span_id = vec![0; trace_id.len() / 2];
    rng.fill(&mut trace_id[..]);
    rng.fill(&mut span_id[..]);
    let (severity_number, severity_text) =
        [(9, "INFO"), (9, "INFO"), (5, "DEBUG"), (13, "WARN"), (17, "ERROR")][rng.random_range(0..5)];
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time + 40_000,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body(rng))) }),
        attributes: attributes(rng),
        flags: u32::from(has_trace),
        trace_id,
        span_id,
        ..LogRecord::default()
    }
}

fn attributes(rng: &mut SmallRng) -> Vec<KeyValue> {
    let method = ["GET", "POST", "PUT"][rng.random_range(0..3)];
    vec![
        string_attribute("http.request.method", method),
        string_attribute("url.path", &format!("/api/v2/orders/{}", rng.random_range(1..1_000_000))),
        attribute("http.response.status_code", Value::IntValue(200 + rng.random_range(0..4) * 100)),
        string_attribute("user.id", &format!("u-{:08x}", rng.random::<u32>())),
        string_attribute("session.id", &uuid(rng)),
        string_attribute("code.function.name", "shop.checkout.place_order"),
        string_attribute("code.file.path", "/srv/app/shop/checkout.py"),
        attribute("code.line.number", Value::IntValue(rng.random_range(1..900))),
        attribute("duration_ms", Value::DoubleValue(rng.random_range(0.1..900.0))),
        string_attribute("thread.name", "ThreadPoolExecutor-0_3"),
    ]
}

fn uuid(rng: &mut SmallRng) -> String {
    let (a, b): (u64, u64) = rng.random();
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", a >> 32, a >> 16 & 0xffff, a & 0xffff, b >> 48, b & 0xffff_ffff_ffff)
}

/// Message bodies, 137 bytes in the mean.
pub fn bodies(count: usize) -> Vec<String> {
    let mut rng = SmallRng::seed_from_u64(7);
    (0..count).map(|_| body(&mut rng)).collect()
}

fn body(rng: &mut SmallRng) -> String {
    let (n, m) = (rng.random_range(1..100_000), rng.random_range(1..1000));
    let id = uuid(rng);
    let mut text = match rng.random_range(0..8) {
        0 => format!(
            "Order {id} placed by user u-{n:08x} in {m} ms: 3 items, total 129.{m} EUR, payment authorised by provider"
        ),
        1 => format!(
            "GET /api/v2/orders/{n} HTTP/1.1 status=200 duration={m}ms bytes={n} remote=10.3.{}.{}:{n}",
            m % 256,
            n % 256
        ),
        2 => format!(
            "Connection to postgres://db-{}.internal:5432/shop lost after {m} s, retrying in 250 ms (attempt {})",
            m % 9,
            n % 5
        ),
        3 => format!(
            "cache miss for key cart:{id}, loading from the database; pool size 10, in use {}, waiting 0",
            m % 10
        ),
        4 => format!(
            "Failed to reserve stock for sku SKU-{n}: only {} left in warehouse fra-{}, customer will be notified",
            m % 7,
            m % 3
        ),
        5 => format!(
            "[worker-{}] job {id} finished in {m}.{n} seconds, 0 errors, next run at 2025-11-17T12:{:02}:00Z",
            m % 16,
            m % 60
        ),
        6 => format!("Received message from queue orders.created partition={} offset={n} key={id} size={m}", m % 32),
        _ => format!("Unhandled exception in /srv/app/shop/checkout.py line {m}: KeyError 'sku', request id {id}"),
    };
    if m % 2 == 0 {
        let _ = write!(text, ", and the caller was told to try again later with the same idempotency key");
    }
    text
}

/// The lines of the Loghub sets, if they are there.
pub fn loghub_lines() -> Vec<String> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/loghub");
    let mut files: Vec<_> =
        std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok).map(|f| f.path()).collect();
    files.sort();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "csv"));
    let texts = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    texts.flat_map(|text| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect()
}
