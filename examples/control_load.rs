//! The control plane under load: how fast it answers, and what a DaemonSet of agents costs it.
//!
//! Purpose: the figures of docs/benchmarks.md: `GET /v1/policies/active` at 2,000 requests a second, every read address at
//! a low rate, and 1,000 agents that follow and report.
//! Promises: an open loop: a request is due at its time whatever the ones before it do, and its latency counts from when
//! it was due (no coordinated omission); the server is a process of its own with one worker thread, whose CPU time and
//! memory are read from the system; loopback only.
//! Run: `cargo run --release --example control_load -- [rate] [seconds] [agents]`

#![expect(clippy::unwrap_used, clippy::panic, reason = "a tool for the bench fails as tests do")]

#[path = "../tests/support/fleet.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod fleet;
#[path = "../tests/support/servers.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod servers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fleet::{Fleet, Habits};
use hdrhistogram::Histogram;
use lipservice::config;
use lipservice::gateway::{Gateway, Options};
use serde_json::{Value, json};

/// Connections of the open loop: each must answer in `CONNECTIONS / rate` to keep up.
const CONNECTIONS: usize = 32;
/// The bars of the issue.
const BAR_P50_MICROS: u64 = 1_000;
const BAR_P99_MICROS: u64 = 10_000;
/// Every read address, at this rate and for so long.
const READ_RATE: f64 = 20.0;
const READ_SECONDS: f64 = 5.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, store] = &arguments[..]
        && role == "serve"
    {
        return serve(store);
    }
    let number = |index: usize, default: f64| arguments.get(index).and_then(|n| n.parse().ok()).unwrap_or(default);
    let (rate, seconds, agents) = (number(0, 2_000.0), number(1, 20.0), number(2, 1_000.0) as usize);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let home = tempfile::tempdir().unwrap();
    let postgres = servers::postgres();
    let mut stores = vec![("SQLite", format!("sqlite:{}", home.path().join("store.db").display()))];
    if let Some(server) = &postgres {
        stores.push(("PostgreSQL", runtime.block_on(servers::database(server))));
    }
    let mut is_within = true;
    for (engine, store) in &stores {
        let server = Server::start(store);
        prepare(&server);
        is_within &= active(engine, &server, rate, seconds);
        reads(engine, &server);
    }
    for (engine, store) in &stores {
        runtime.block_on(daemon_set(engine, store, agents));
    }
    if !is_within {
        eprintln!("the bar is missed: p50 {BAR_P50_MICROS} µs, p99 {BAR_P99_MICROS} µs");
        std::process::exit(1);
    }
}

/// The control plane in this process, until standard input ends.
fn serve(store: &str) {
    let yaml = format!(
        "role: control_plane\napi: {{endpoint: '127.0.0.1:0', requests_per_second: 1000000}}\nstore: {{url: '{store}'}}\n\
         service: {{telemetry: {{metrics: {{address: '127.0.0.1:0'}}}}}}\n"
    );
    let config = config::load_text(&yaml, "control_load", &|_| None).unwrap_or_else(|errors| panic!("{errors}")).config;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let gateway = runtime.block_on(Gateway::start(config, Options::default())).unwrap();
    println!("{}", gateway.api_addr().unwrap());
    let _ = std::io::stdin().read(&mut [0]);
    runtime.block_on(gateway.shutdown(Duration::from_secs(5)));
}

/// The control plane as a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(store: &str) -> Server {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let command = command.args(["serve", store]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Server { child, address: line.trim().parse().unwrap() }
    }

    /// CPU time so far, of all threads, in seconds.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // User and system time, in ticks of 10 ms.
        [11, 12].map(|field| fields[field].parse::<f64>().unwrap()).iter().sum::<f64>() / 100.0
    }

    /// Memory resident now, in MB.
    fn resident_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
    }

    /// One request on a connection of its own.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut connection = Connection::open(self.address);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let head = "content-type: application/json\r\n";
        let answer = connection.ask(&request(method, path, head, &body));
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn request(method: &str, path: &str, head: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{head}content-length: {length}\r\n\r\n{body}").into_bytes()
}

struct Answer {
    status: u16,
    body: Vec<u8>,
}

/// A connection that stays open; blocking, because a thread's sleep is exact to a tenth of a millisecond and a runtime's
/// timer only to one.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, buffer: vec![0; 64 << 10] }
    }

    fn ask(&mut self, request: &[u8]) -> Answer {
        self.stream.write_all(request).unwrap();
        let mut got = Vec::new();
        loop {
            let read = self.stream.read(&mut self.buffer).unwrap();
            assert!(read > 0, "the server closed the connection");
            got.extend_from_slice(&self.buffer[..read]);
            let Some(end) = got.windows(4).position(|part| part == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&got[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if got.len() >= end + 4 + length {
                let status = head[9..12].parse().unwrap();
                return Answer { status, body: got[end + 4..end + 4 + length].to_vec() };
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "an open loop waits for the time a request is due")]
/// Sends `request` at `rate` for `seconds`; latencies in microseconds from when each was due.
fn open_loop(address: SocketAddr, request: &[u8], status: u16, rate: f64, seconds: f64) -> Histogram<u64> {
    let start = Instant::now() + Duration::from_millis(100);
    let total = (rate * seconds) as usize;
    let connections = CONNECTIONS.min(total.max(1));
    let send = |own: usize| {
        let mut latencies = Histogram::<u64>::new(3).unwrap();
        let mut connection = Connection::open(address);
        for n in (own..total).step_by(connections) {
            let due = start + Duration::from_secs_f64(n as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = connection.ask(request);
            assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
            latencies.record(due.elapsed().as_micros() as u64).unwrap();
        }
        latencies
    };
    std::thread::scope(|scope| {
        let sending: Vec<_> = (0..connections).map(|own| scope.spawn(move || send(own))).collect();
        let mut all = Histogram::<u64>::new(3).unwrap();
        sending.into_iter().for_each(|thread| all.add(thread.join().unwrap()).unwrap());
        all
    })
}

fn row(engine: &str, what: &str, rate: f64, latencies: &Histogram<u64>, cpu: f64) {
    let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|q| latencies.value_at_quantile(q) as f64 / 1000.0);
    let (most, count) = (latencies.max() as f64 / 1000.0, latencies.len());
    println!(
        "| {engine} | {what} | {rate:.0} | {count} | {p50:.2} | {p90:.2} | {p99:.2} | {p999:.2} | {most:.1} | {cpu:.0} % |"
    );
}

/// Policies of a hundred services, and some statistics.
fn prepare(server: &Server) {
    for n in 0..100 {
        let document = json!({ "policies": [{ "id": "p", "name": "P", "log": {
            "match": [{ "log_field": "body", "contains": "ping" }], "keep": format!("{n}%") } }] });
        let body = json!({ "document": document, "activate": true });
        server.ask("PUT", &format!("/v1/policies/service:s{n}"), &body);
    }
    for batch in 0..20 {
        let row = |n: usize| {
            json!({ "service": format!("s{}", n % 100), "severity": "info", "pattern": format!("{n:x}"),
            "template": "order <*> placed", "at": "2026-01-01T00:00:00Z", "records": n, "bytes": n * 100, "kept": n / 2,
            "kept_bytes": n * 50 })
        };
        let rows: Vec<Value> = (0..1000).map(|n| row(batch * 1000 + n)).collect();
        server.ask("POST", "/v1/stats", &json!({ "batches": [{ "id": batch.to_string(), "rows": rows }] }));
    }
}

/// `GET /v1/policies/active`: not changed, whole, and past the copy in memory. Whether the first two keep to the bar.
fn active(engine: &str, server: &Server, rate: f64, seconds: f64) -> bool {
    println!("\n| store | request | a second | requests | p50 ms | p90 | p99 | p99.9 | most | server CPU |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let path = "/v1/policies/active?service=s7";
    let hash = server.ask("GET", path, &Value::Null)["hash"].as_str().unwrap().to_owned();
    let known = format!("if-none-match: \"{hash}\"\r\n");
    let mut is_within = true;
    for (what, head, status, rate, has_bar) in [
        ("active, not changed (304)", known.as_str(), 304, rate, true),
        ("active, whole (200)", "", 200, rate, true),
        ("active, no-cache: asks the store", "cache-control: no-cache\r\n", 200, rate, true),
    ] {
        let (before, started) = (server.cpu_seconds(), Instant::now());
        let latencies = open_loop(server.address, &request("GET", path, head, ""), status, rate, seconds);
        let cpu = 100.0 * (server.cpu_seconds() - before) / started.elapsed().as_secs_f64();
        row(engine, what, rate, &latencies, cpu);
        let quick = latencies.value_at_quantile(0.5) <= BAR_P50_MICROS;
        is_within &= !has_bar || (quick && latencies.value_at_quantile(0.99) <= BAR_P99_MICROS);
    }
    is_within
}

/// Every address that only reads, at a low rate.
fn reads(engine: &str, server: &Server) {
    let from = "from=2025-12-31T00:00:00Z&to=2026-01-02T00:00:00Z";
    for path in [
        "/v1/policies".to_owned(),
        "/v1/policies/service:s7".to_owned(),
        "/v1/policies/service:s7/versions".to_owned(),
        "/v1/policies/service:s7/history".to_owned(),
        format!("/v1/patterns?{from}"),
        format!("/v1/stats?{from}"),
        "/v1/services".to_owned(),
        "/v1/anomalies".to_owned(),
        "/v1/status".to_owned(),
        "/v1/audit".to_owned(),
        "/v1/tokens".to_owned(),
        "/openapi.json".to_owned(),
        "/health/ready".to_owned(),
    ] {
        let (before, started) = (server.cpu_seconds(), Instant::now());
        let latencies = open_loop(server.address, &request("GET", &path, "", ""), 200, READ_RATE, READ_SECONDS);
        let cpu = 100.0 * (server.cpu_seconds() - before) / started.elapsed().as_secs_f64();
        row(engine, path.split('?').next().unwrap_or_default(), READ_RATE, &latencies, cpu);
    }
}

/// Agents that follow and report every 10 s, with an activation now and then.
async fn daemon_set(engine: &str, store: &str, agents: usize) {
    let server = Server::start(store);
    let habits = Habits { agents, every: Duration::from_secs(10), patterns: 50, reports: u64::MAX };
    let mut fleet = Fleet::start(server.address, None, habits);
    // All are connected once they enforce what is there.
    let hash =
        |server: &Server| server.ask("GET", "/v1/policies/active", &Value::Null)["hash"].as_str().unwrap().to_owned();
    fleet.enforce(&hash(&server), Instant::now()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (cpu, started) = (server.cpu_seconds(), Instant::now());
    let reports = fleet.done.reports.load(Ordering::Relaxed);
    let mut last = Vec::new();
    for turn in 0..5 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        let document = json!({ "policies": [{ "id": "p", "name": "P", "log": {
            "match": [{ "log_field": "body", "contains": "pong" }], "keep": format!("{turn}%") } }] });
        let since = Instant::now();
        server.ask("PUT", "/v1/policies/global", &json!({ "document": document, "activate": true }));
        let wanted = hash(&server);
        let delays = fleet.enforce(&wanted, since).await;
        last.push((delays[delays.len() / 2], delays[delays.len() - 1]));
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = 100.0 * (server.cpu_seconds() - cpu) / elapsed;
    let a_second = (fleet.done.reports.load(Ordering::Relaxed) - reports) as f64 / elapsed;
    let failures = fleet.done.failures.load(Ordering::Relaxed);
    println!(
        "\n{engine}, {agents} agents: {a_second:.0} reports/s of 50 rows, {failures} failed; server CPU {cpu:.0} %, {:.0} MB",
        server.resident_mb()
    );
    if let Some(why) = fleet.done.first_failure.get() {
        println!("  the first failure: {why}");
    }
    for (half, all) in last {
        println!("  activated: half of the agents enforce it after {half:.1?}, the last after {all:.1?}");
    }
    fleet.stop().await;
}
