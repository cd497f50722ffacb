//! The OTLP receiver over real sockets, before a recording consumer.

mod access;
mod bad_input;
mod direct;
mod gone;
mod grpc;
mod http;
mod limits;
mod raw;
mod renewal;
mod shutdown;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::data_plane::receiver::config::{GrpcConfig, HttpConfig, OtlpReceiverConfig};
use lipservice::data_plane::receiver::{
    Authenticators, Consumer, OtlpReceiver, Received, ReceiverStats, Refusal, Reply, Signal, Transport,
};
use lipservice::reread::Renewable;
use lipservice::shutdown::Shutdown;
use lipservice::telemetry::{MetricSink, MetricSource};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// No step of a test may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for `step`, within reason.
async fn soon<F: Future>(step: F) -> F::Output {
    tokio::time::timeout(PATIENCE, step).await.expect("the step took too long")
}

/// Remembers what it was given; refuses as told.
#[derive(Default)]
struct Recorder {
    logs: Mutex<Vec<Received>>,
    forwarded: Mutex<Vec<(Signal, Received)>>,
    refused: Mutex<Vec<(Signal, Transport)>>,
    refuse_logs: Mutex<Option<Refusal>>,
    refuse_others: Mutex<Option<Refusal>>,
    /// A forwarded request waits for this when set, and tells when it has begun.
    gate: Mutex<Option<Arc<Notify>>>,
    begun: Arc<Notify>,
}

impl Consumer for Recorder {
    fn consume_logs(&self, request: Received) -> Result<(), Refusal> {
        match self.refuse_logs.lock().clone() {
            Some(refusal) => Err(refusal),
            None => {
                self.logs.lock().push(request);
                Ok(())
            }
        }
    }

    fn forward(&self, signal: Signal, request: Received) -> Reply {
        self.forwarded.lock().push((signal, request));
        let (gate, begun, refusal) =
            (self.gate.lock().clone(), Arc::clone(&self.begun), self.refuse_others.lock().clone());
        Box::pin(async move {
            begun.notify_one();
            if let Some(gate) = gate {
                gate.notified().await;
            }
            refusal.map_or(Ok(()), Err)
        })
    }

    fn refused(&self, signal: Signal, transport: Transport) {
        self.refused.lock().push((signal, transport));
    }
}

/// A receiver that serves.
struct Running {
    grpc: SocketAddr,
    http: SocketAddr,
    recorder: Arc<Recorder>,
    stats: Arc<ReceiverStats>,
    files: Vec<Arc<dyn Renewable>>,
    shutdown: Shutdown,
    served: JoinHandle<()>,
}

/// Both protocols on free ports, otherwise as by default.
fn config() -> OtlpReceiverConfig {
    let endpoint = || "127.0.0.1:0".to_owned();
    let mut config = OtlpReceiverConfig::default();
    config.protocols.grpc = Some(GrpcConfig { endpoint: endpoint(), ..GrpcConfig::default() });
    config.protocols.http = Some(HttpConfig { endpoint: endpoint(), ..HttpConfig::default() });
    config
}

fn start_with(config: &OtlpReceiverConfig, auth: Authenticators) -> Running {
    start_draining(config, auth, PATIENCE)
}

/// Starts with a bound for the drain on shutdown.
fn start_draining(config: &OtlpReceiverConfig, auth: Authenticators, drain: Duration) -> Running {
    start_by(&Clock::System, config, auth, drain)
}

fn start_by(clock: &Clock, config: &OtlpReceiverConfig, auth: Authenticators, drain: Duration) -> Running {
    let bound = OtlpReceiver::bind("otlp", config, auth, clock).expect("binds");
    let recorder = Arc::new(Recorder::default());
    let shutdown = Shutdown::new();
    let (grpc, http) = (bound.grpc_addr().expect("grpc"), bound.http_addr().expect("http"));
    let (stats, files) = (bound.stats(), bound.files());
    let serving = bound.serve(Arc::clone(&recorder) as Arc<dyn Consumer>, shutdown.clone(), drain);
    let served = tokio::spawn(async move { serving.await.expect("serves") });
    Running { grpc, http, recorder, stats, files, shutdown, served }
}

fn start() -> Running {
    start_with(&config(), Authenticators::default())
}

/// Waits until something holds, giving way to other tasks meanwhile.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never came: {what}"));
}

impl Running {
    /// The value of one of its counters or gauges, summed over the series that have all these label values.
    fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        struct Sum<'a>(f64, &'a str, &'a [&'a str]);
        impl Sum<'_> {
            fn add(&mut self, name: &str, labels: &[(&'static str, &str)], value: f64) {
                let has = |wanted: &&str| labels.iter().any(|(_, value)| value == wanted);
                if name == self.1 && self.2.iter().all(has) {
                    self.0 += value;
                }
            }
        }
        impl MetricSink for Sum<'_> {
            fn counter(&mut self, name: &'static str, _: &'static str, labels: &[(&'static str, &str)], value: u64) {
                self.add(name, labels, value as f64);
            }
            fn gauge(&mut self, name: &'static str, _: &'static str, labels: &[(&'static str, &str)], value: f64) {
                self.add(name, labels, value);
            }
        }
        let mut sum = Sum(0.0, name, labels);
        self.stats.collect(&mut sum);
        self.files.iter().for_each(|files| files.collect(&mut sum));
        sum.0
    }

    /// Stops and waits; hands out what was recorded.
    async fn stop(self) -> Arc<Recorder> {
        self.shutdown.trigger();
        soon(self.served).await.expect("no panic");
        assert_eq!(self.stats.in_flight_bytes(), 0, "all reservations given back");
        assert_eq!(self.stats.connections(), 0, "all connections ended");
        self.recorder
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }
}
