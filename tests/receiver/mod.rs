//! The OTLP receiver over real sockets, before a recording consumer.

mod grpc;
mod http;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lipservice::data_plane::receiver::config::{GrpcConfig, HttpConfig, OtlpReceiverConfig};
use lipservice::data_plane::receiver::{
    Authenticators, Consumer, OtlpReceiver, Received, ReceiverStats, Refusal, Reply, Signal, Transport,
};
use lipservice::shutdown::Shutdown;
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
    let bound = OtlpReceiver::bind("otlp", config, auth).expect("binds");
    let recorder = Arc::new(Recorder::default());
    let shutdown = Shutdown::new();
    let (grpc, http) = (bound.grpc_addr().expect("grpc"), bound.http_addr().expect("http"));
    let stats = bound.stats();
    let serving = bound.serve(Arc::clone(&recorder) as Arc<dyn Consumer>, shutdown.clone(), PATIENCE);
    let served = tokio::spawn(async move { serving.await.expect("serves") });
    Running { grpc, http, recorder, stats, shutdown, served }
}

fn start() -> Running {
    start_with(&config(), Authenticators::default())
}

impl Running {
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
