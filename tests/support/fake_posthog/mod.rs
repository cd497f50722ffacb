//! A stand-in for PostHog's Logs: ingestion and what is read back, in process, on a loopback port.
//!
//! It is a MODEL, written from PostHog's public source and documentation as of September 2026 and never compared with
//! PostHog Cloud: `POST /i/v1/logs` and `/v1/logs`; a token is checked by its shape only (401); bodies of at most 2 MiB
//! before and after decompression (413); identity, gzip, deflate and zstd; protobuf, then JSON, then JSON lines,
//! whatever Content-Type says; one record with a time beyond i64 rejects the whole request (400); 200 carries `{}`;
//! billed is the length of the decompressed body. What is not modelled: brotli, drop rules, quotas by themselves, and
//! the exact size at which the message broker behind it refuses (a mode stands in for that).
//!
//! Rows are read back through `read` (both query APIs), with HogQL by `sql`.
//!
//! It serves tests, the demo and `cargo run --example fake_posthog`. Its faults are switched at run time.

mod page;
mod parse;
mod read;
mod rows;
mod sql;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

pub use read::{Drift, Key, PROJECT, READER, ReadFaults, ReadSide};
pub use rows::Row;

/// PostHog's default limit, before and after decompression.
pub const BODY_LIMIT_BYTES: usize = 2 << 20;

/// How requests are answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Mode {
    /// As PostHog does when all is well.
    #[default]
    Ok,
    /// This status, with Retry-After if given; nothing is stored.
    Status(u16, Option<String>),
    /// 500 when the decompressed body is longer: the broker's message limit.
    Fail500Over(usize),
    /// 500 when a record's body contains this text.
    Fail500On(String),
    /// 400 when a record's body contains this text.
    Fail400On(String),
    /// 200, and every record is dropped later: a wrong token or a used-up quota.
    AcceptAndDrop,
    /// 200 with a partial success in protobuf that rejects this many records (which other OTLP servers do). All are
    /// stored but the first ones.
    RejectSome(i64),
    /// No answer until [`FakePostHog::release`].
    Hold,
    /// The connection breaks before anything is stored.
    ResetBefore,
    /// The connection breaks after the records were stored: the sender cannot know.
    ResetAfter,
    /// The records are stored and the connection breaks in the middle of the 200's body.
    ResetInAnswer,
}

/// A request as it was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// 0 when the connection was broken instead.
    pub status: u16,
    /// Path of the request.
    pub path: String,
    /// Token it was sent with.
    pub token: String,
    /// Body on the wire.
    pub wire_bytes: usize,
    /// Body after decompression; 0 when it was not decompressed.
    pub bytes: usize,
    /// Records in it; 0 when it was not decoded.
    pub records: usize,
    /// Content-Encoding, empty when none.
    pub encoding: String,
    /// User-Agent.
    pub user_agent: String,
}

#[derive(Default)]
struct State {
    mode: Mode,
    script: VecDeque<Mode>,
    rows: Vec<Row>,
    seen: Vec<Seen>,
    billed_bytes: u64,
    connections: u64,
    held: usize,
    read: ReadSide,
}

struct Shared {
    state: Mutex<State>,
    /// Counts everything that happens, so that tests wait instead of sleeping.
    events: watch::Sender<u64>,
    /// Generation of held answers that are let go.
    released: watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
    fn tell(&self) {
        self.events.send_modify(|count| *count += 1);
    }
}

/// A running stand-in. Stops when dropped.
pub struct FakePostHog {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: Mutex<Option<JoinHandle<()>>>,
}

impl FakePostHog {
    /// Starts on a free loopback port.
    pub async fn start() -> std::io::Result<Self> {
        Self::start_on(0).await
    }

    /// Starts on this loopback port.
    pub async fn start_on(port: u16) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            events: watch::Sender::new(0),
            released: watch::Sender::new(0),
        });
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], port)))?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Ok(FakePostHog { shared, address, server: Mutex::new(Some(server)) })
    }

    /// Base URL, for `host:` or `endpoint:`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers all requests from now on in this way.
    pub fn set_mode(&self, mode: Mode) {
        self.shared.state().mode = mode;
    }

    /// Answers the next requests in these ways, one each; then the mode applies again.
    pub fn script(&self, modes: impl IntoIterator<Item = Mode>) {
        self.shared.state().script.extend(modes);
    }

    /// Lets every held answer go (as if the mode had been `Ok`).
    pub fn release(&self) {
        self.shared.released.send_modify(|generation| *generation += 1);
    }

    /// Breaks all connections and refuses new ones.
    pub async fn go_down(&self) {
        let server = self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(server) = server {
            server.abort();
            let _ = server.await;
        }
    }

    /// Listens again, on the same port.
    pub async fn come_up(&self) -> std::io::Result<()> {
        self.go_down().await;
        let server = tokio::spawn(serve(listen(self.address)?, Arc::clone(&self.shared)));
        *self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(server);
        Ok(())
    }

    /// Every row stored.
    pub fn rows(&self) -> Vec<Row> {
        self.shared.state().rows.clone()
    }

    /// Number of rows stored.
    pub fn row_count(&self) -> usize {
        self.shared.state().rows.len()
    }

    /// Takes the rows out, for long demos. What was billed and seen stays.
    pub fn take_rows(&self) -> Vec<Row> {
        std::mem::take(&mut self.shared.state().rows)
    }

    /// Puts rows there as if they had been received before.
    pub fn add_rows(&self, rows: impl IntoIterator<Item = Row>) {
        self.shared.state().rows.extend(rows);
    }

    /// Looks at or changes the read side: keys, projects, limits, faults, late rows.
    pub fn read_side<T>(&self, change: impl FnOnce(&mut ReadSide) -> T) -> T {
        change(&mut self.shared.state().read)
    }

    /// Decompressed bytes of all accepted requests.
    pub fn billed_bytes(&self) -> u64 {
        self.shared.state().billed_bytes
    }

    /// Every request, in the order of the answers.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.state().seen.clone()
    }

    /// Connections accepted.
    pub fn connections(&self) -> u64 {
        self.shared.state().connections
    }

    /// Answers held at this moment.
    pub fn held(&self) -> usize {
        self.shared.state().held
    }

    /// Waits until `condition` holds; looks whenever something happened. Wrap it in a timeout.
    pub async fn wait_until(&self, condition: impl Fn(&FakePostHog) -> bool) {
        let mut events = self.shared.events.subscribe();
        while !condition(self) {
            if events.changed().await.is_err() {
                break;
            }
        }
    }
}

impl Drop for FakePostHog {
    fn drop(&mut self) {
        let server = self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(server) = server {
            server.abort();
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        shared.state().connections += 1;
        shared.tell();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&shared)));
            // A broken connection is what some modes are for.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Counts an answer that is held, also when its client goes away.
struct Held<'a>(&'a Shared);

impl<'a> Held<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.state().held += 1;
        shared.tell();
        Held(shared)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.state().held -= 1;
    }
}

/// The connection is to be broken without an answer.
#[derive(Debug)]
struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is broken on purpose")
    }
}

impl std::error::Error for Reset {}

type Answer = Response<BoxBody<Bytes, Reset>>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Answer, Reset> {
    let mut seen = Seen {
        status: 0,
        path: request.uri().path().to_owned(),
        token: token_of(&request),
        wire_bytes: 0,
        bytes: 0,
        records: 0,
        encoding: header_of(&request, header::CONTENT_ENCODING),
        user_agent: header_of(&request, header::USER_AGENT),
    };
    if seen.path.starts_with("/api/") {
        let answered = read::answer(request, &shared).await;
        shared.tell();
        return answered;
    }
    let released = shared.released.subscribe();
    let answered = take(request, &mut seen, &shared, released).await;
    seen.status = answered.as_ref().map_or(0, |answer| answer.status().as_u16());
    shared.state().seen.push(seen);
    shared.tell();
    answered
}

async fn take(
    request: Request<Incoming>,
    seen: &mut Seen,
    shared: &Shared,
    mut released: watch::Receiver<u64>,
) -> Result<Answer, Reset> {
    if request.method() != hyper::Method::POST || !matches!(seen.path.as_str(), "/i/v1/logs" | "/v1/logs") {
        return Ok(plain(404, "not found"));
    }
    if seen.token.is_empty() || seen.token.len() > 64 || seen.token.starts_with("phx_") {
        return Ok(plain(401, "invalid token"));
    }
    let Ok(wire) = Limited::new(request.into_body(), BODY_LIMIT_BYTES).collect().await else {
        return Ok(plain(413, "body too large"));
    };
    let wire = wire.to_bytes();
    seen.wire_bytes = wire.len();
    let body = match inflate(&wire, &seen.encoding) {
        Ok(body) if body.len() > BODY_LIMIT_BYTES => return Ok(plain(413, "body too large after decompression")),
        Ok(body) => body,
        Err(error) => return Ok(plain(400, &format!("cannot decompress: {error}"))),
    };
    seen.bytes = body.len();
    let Some(rows) = rows::decode(&body, &seen.token, now_nanos()) else {
        return Ok(plain(400, "not OTLP logs in protobuf, JSON or JSON lines"));
    };
    seen.records = rows.len();
    if rows.iter().any(|row| i64::try_from(row.sent_time_unix_nano).is_err()) {
        return Ok(plain(400, "a timestamp is out of range"));
    }
    let mode = {
        let mut state = shared.state();
        state.script.pop_front().unwrap_or_else(|| state.mode.clone())
    };
    if mode == Mode::Hold {
        let _held = Held::begin(shared);
        let _ = released.changed().await;
    }
    settle(mode, rows, body.len(), shared)
}

fn settle(mode: Mode, mut rows: Vec<Row>, bytes: usize, shared: &Shared) -> Result<Answer, Reset> {
    let any = |text: &str| rows.iter().any(|row| row.body.contains(text));
    match &mode {
        Mode::Status(status, retry_after) => {
            let mut answer = plain(*status, "as configured");
            if let Some(Ok(value)) = retry_after.as_ref().map(|text| text.parse()) {
                answer.headers_mut().insert(header::RETRY_AFTER, value);
            }
            return Ok(answer);
        }
        Mode::Fail500Over(limit) if bytes > *limit => return Ok(plain(500, "message too large")),
        Mode::Fail500On(text) if any(text) => return Ok(plain(500, "broker failure")),
        Mode::Fail400On(text) if any(text) => return Ok(plain(400, "bad record")),
        Mode::ResetBefore => return Err(Reset),
        Mode::AcceptAndDrop => rows.clear(),
        Mode::RejectSome(rejected) => drop(rows.drain(..rows.len().min(*rejected as usize))),
        _ => {}
    }
    {
        let mut state = shared.state();
        state.billed_bytes += bytes as u64;
        state.rows.append(&mut rows);
    }
    match mode {
        Mode::ResetAfter => Err(Reset),
        Mode::ResetInAnswer => Ok(broken_answer()),
        Mode::RejectSome(rejected) => Ok(partial_success(rejected)),
        _ => {
            let mut answer = plain(200, "{}");
            answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            Ok(answer)
        }
    }
}

fn plain(status: u16, text: &str) -> Answer {
    whole(status, Bytes::copy_from_slice(text.as_bytes()))
}

fn whole(status: u16, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).map_err(|never: Infallible| match never {}).boxed());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::IM_A_TEAPOT);
    answer
}

fn partial_success(rejected: i64) -> Answer {
    use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
    let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: "some were bad".into() };
    let response = ExportLogsServiceResponse { partial_success: Some(partial) };
    let mut answer = whole(200, prost::Message::encode_to_vec(&response).into());
    let protobuf = header::HeaderValue::from_static("application/x-protobuf");
    answer.headers_mut().insert(header::CONTENT_TYPE, protobuf);
    answer
}

fn broken_answer() -> Answer {
    cut_off(Bytes::from_static(b"{}"))
}

/// A 200 that ends with the connection in the middle of its body.
fn cut_off(body: Bytes) -> Answer {
    let length = body.len();
    let frames = futures_util::stream::unfold(Some(body.slice(..length / 2)), |first| async move {
        match first {
            Some(first) => Some((Ok(Frame::data(first)), None)),
            None => {
                // Lets what was written so far leave before the connection breaks.
                tokio::task::yield_now().await;
                Some((Err(Reset), None))
            }
        }
    });
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(Box::pin(frames))));
    answer.headers_mut().insert(header::CONTENT_LENGTH, header::HeaderValue::from(length));
    answer
}

fn header_of(request: &Request<Incoming>, name: header::HeaderName) -> String {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn token_of(request: &Request<Incoming>) -> String {
    let authorization = header_of(request, header::AUTHORIZATION);
    if let Some(token) = authorization.strip_prefix("Bearer ") {
        return token.trim().to_owned();
    }
    let query = request.uri().query().unwrap_or_default();
    query.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap_or_default().to_owned()
}

/// Decompresses at most one byte more than the limit.
fn inflate(wire: &[u8], encoding: &str) -> std::io::Result<Vec<u8>> {
    let limit = BODY_LIMIT_BYTES as u64 + 1;
    let mut body = Vec::new();
    match encoding {
        "" | "identity" => body.extend_from_slice(wire),
        "gzip" => drop(flate2::read::MultiGzDecoder::new(wire).take(limit).read_to_end(&mut body)?),
        "deflate" => drop(flate2::read::ZlibDecoder::new(wire).take(limit).read_to_end(&mut body)?),
        "zstd" => drop(zstd::stream::read::Decoder::new(wire)?.take(limit).read_to_end(&mut body)?),
        other => return Err(std::io::Error::other(format!("encoding {other} is not modelled"))),
    }
    Ok(body)
}

fn now_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}
