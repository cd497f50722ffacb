//! A load generator: requests encoded beforehand, sent over a few connections.
//!
//! Purpose: make a gateway work as hard as it can while costing little itself.
//! Promises: requests are built once and sent as bytes; a request the server asks to retry is sent again after a
//! pause and counted; anything else unexpected ends the run with an error.
//! Never: measures the server; see `measure.rs`.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

use super::templates::SERVICES;
use super::traffic::Random;
use super::{encode, mix};

/// How to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Load {
    /// Address of the receiver.
    pub server: SocketAddr,
    /// How to speak.
    pub protocol: Protocol,
    /// Records to send in all, rounded up to whole requests.
    pub records: u64,
    /// Records per request.
    pub batch: usize,
    /// Compress requests.
    pub gzip: bool,
    /// Connections, each with one request in flight.
    pub connections: usize,
    /// Length every body is cut or padded to; as they come without it.
    pub body_bytes: Option<usize>,
    /// Seed of the traffic.
    pub seed: u64,
    /// Records per second over all connections; as fast as it goes without it.
    pub rate: Option<f64>,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Records taken by the server.
    pub records: u64,
    /// Requests taken.
    pub requests: u64,
    /// Requests the server asked to retry.
    pub retries: u64,
    /// Time from the first request to the last answer.
    pub elapsed: Duration,
    /// Bytes per record before compression.
    pub record_bytes: f64,
}

/// Distinct requests made beforehand: about this many records, within bounds.
const POOL_RECORDS: usize = 64 << 10;

/// Requests ready to be sent: framed for gRPC, compressed if asked for.
pub struct Pool {
    bodies: Vec<Bytes>,
    record_bytes: f64,
}

impl Pool {
    /// Makes the requests of a load.
    pub fn new(load: &Load) -> anyhow::Result<Self> {
        let mut random = Random::new(load.seed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64;
        let (mut bodies, mut bytes) = (Vec::new(), 0);
        let count = (POOL_RECORDS / load.batch.max(1)).clamp(SERVICES.len(), 1_024);
        for index in 0..count {
            let service = index % SERVICES.len();
            let mut events = mix::of_service(service, load.batch, &mut random);
            if let Some(length) = load.body_bytes {
                events.iter_mut().for_each(|event| resize(&mut event.body, length));
            }
            let records = events.into_iter().map(|event| encode::record(event, now)).collect();
            let message = encode::request(service, records).encode_to_vec();
            bytes += message.len();
            bodies.push(framed(message, load)?);
        }
        Ok(Pool { record_bytes: bytes as f64 / (count * load.batch) as f64, bodies })
    }
}

/// Bodies are ASCII, so any length is a character boundary.
fn resize(body: &mut String, length: usize) {
    body.truncate(length);
    while body.len() < length {
        let missing = length - body.len();
        body.push_str(&" and so on and on"[..missing.min(17)]);
    }
}

fn framed(message: Vec<u8>, load: &Load) -> anyhow::Result<Bytes> {
    let message = if load.gzip {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&message)?;
        encoder.finish()?
    } else {
        message
    };
    if load.protocol == Protocol::Http {
        return Ok(message.into());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(u8::from(load.gzip));
    frame.put_u32(u32::try_from(message.len())?);
    frame.put_slice(&message);
    Ok(frame.freeze())
}

struct Shared {
    load: Load,
    pool: Pool,
    next: AtomicU64,
    taken: AtomicU64,
    retries: AtomicU64,
    start: Instant,
}

/// Sends a load and waits for the last answer.
///
/// # Errors
/// When a connection cannot be made, or the server answers with anything but success or "retry".
pub async fn send(load: Load, pool: Pool) -> anyhow::Result<Sent> {
    let record_bytes = pool.record_bytes;
    let batch = load.batch as u64;
    let connections = load.connections.max(1);
    let (next, taken, retries) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let shared = Arc::new(Shared { load, pool, next, taken, retries, start: Instant::now() });
    let tasks: Vec<_> = (0..connections).map(|_| tokio::spawn(connection(Arc::clone(&shared)))).collect();
    for task in tasks {
        task.await??;
    }
    let requests = shared.taken.load(Ordering::Relaxed);
    Ok(Sent {
        records: requests * batch,
        requests,
        retries: shared.retries.load(Ordering::Relaxed),
        elapsed: shared.start.elapsed(),
        record_bytes,
    })
}

enum Sender {
    Grpc(http2::SendRequest<Full<Bytes>>),
    Http(http1::SendRequest<Full<Bytes>>),
}

impl Sender {
    async fn connect(load: &Load) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(load.server).await.with_context(|| format!("cannot reach {}", load.server))?;
        stream.set_nodelay(true)?;
        let stream = TokioIo::new(stream);
        if load.protocol == Protocol::Http {
            let (sender, connection) = http1::handshake(stream).await?;
            tokio::spawn(connection);
            return Ok(Sender::Http(sender));
        }
        let builder = http2::Builder::new(TokioExecutor::new());
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Sender::Grpc(sender))
    }

    async fn post(&mut self, load: &Load, body: Bytes) -> anyhow::Result<Response<Incoming>> {
        let authority = load.server;
        let request = Request::post(match self {
            Sender::Grpc(_) => {
                format!("http://{authority}/opentelemetry.proto.collector.logs.v1.LogsService/Export")
            }
            Sender::Http(_) => "/v1/logs".to_owned(),
        });
        Ok(match self {
            Sender::Grpc(sender) => {
                let request = request.header("content-type", "application/grpc").header("te", "trailers");
                let request = if load.gzip { request.header("grpc-encoding", "gzip") } else { request };
                sender.ready().await?;
                sender.send_request(request.body(Full::new(body))?).await?
            }
            Sender::Http(sender) => {
                let request = request.header("host", authority.to_string());
                let request = request.header("content-type", "application/x-protobuf");
                let request = if load.gzip { request.header("content-encoding", "gzip") } else { request };
                sender.ready().await?;
                sender.send_request(request.body(Full::new(body))?).await?
            }
        })
    }
}

/// gRPC's UNAVAILABLE and RESOURCE_EXHAUSTED, HTTP's 429 and 503.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

async fn connection(shared: Arc<Shared>) -> anyhow::Result<()> {
    let load = &shared.load;
    let requests = load.records.div_ceil(load.batch as u64);
    let mut sender = Sender::connect(load).await?;
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= requests {
            return Ok(());
        }
        if let Some(rate) = load.rate {
            let due = Duration::from_secs_f64((number * load.batch as u64) as f64 / rate);
            tokio::time::sleep(due.saturating_sub(shared.start.elapsed())).await;
        }
        let body = &shared.pool.bodies[(number % shared.pool.bodies.len() as u64) as usize];
        while !taken(sender.post(load, body.clone()).await?).await? {
            shared.retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        shared.taken.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether a request was taken; false means to try again.
async fn taken(response: Response<Incoming>) -> anyhow::Result<bool> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?;
    let code =
        |headers: &HeaderMap| headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let grpc = body.trailers().and_then(code).or_else(|| code(&parts.headers));
    match (parts.status.as_u16(), grpc.as_deref()) {
        (200, None | Some("0")) => Ok(true),
        (429 | 503, _) | (200, Some("8" | "14")) => Ok(false),
        (status, grpc) => {
            let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
            bail!("the server answered {status}, grpc-status {grpc:?}: {text}")
        }
    }
}
