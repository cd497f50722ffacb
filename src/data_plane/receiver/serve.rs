//! Listeners and connections: bind early, serve late, stop in order.
//!
//! Purpose: accept connections within bounds, spread them over threads and run hyper on them.
//! Promises: an address or file that does not serve is known before anything starts; on shutdown no connection is
//! accepted any more, running requests finish, clients are told to go (GOAWAY, `Connection: close`), and what has not
//! ended within the drain time is cut and counted.
//! Never: looks into requests.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::Authenticators;
use super::buffer::{BufferPool, InFlight, Slots};
use super::config::{AuthRef, OtlpReceiverConfig, TlsConfig};
use super::cors::Cors;
use super::inflate::Limit;
use super::intake::{Connection, Port};
use super::stats::{PortStats, ReceiverStats, add};
use super::tls::{ServerTls, server_tls};
use super::wire::{Counted, Wire};
use super::workers::Workers;
use super::{Consumer, ReceiverError, Transport, direct, grpc, http};
use crate::clock::Clock;
use crate::reread::Renewable;
use crate::shutdown::Shutdown;
use crate::units::ByteSize;

/// A frame as large as HTTP/2 senders may fill; most of a gRPC receive is the copying of small frames.
const MAX_FRAME_BYTES: u32 = 1 << 20;
/// What a sender may have under way on one stream, and on a connection. Larger ones cost memory and gain nothing.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// Headers of one request.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// hyper's read and write buffer on HTTP/1. Larger ones leave the processor's cache.
const MAX_HTTP1_BUFFER_BYTES: usize = 400 << 10;
/// A TLS handshake has to be over by then.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// After being told to go, a connection without requests is cut.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// Wait after a failed accept, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The receiver's beginning: [`OtlpReceiver::bind`].
#[derive(Debug)]
pub struct OtlpReceiver;

impl OtlpReceiver {
    /// Checks the settings, reads the files and binds the addresses; nothing is accepted before [`Bound::serve`].
    /// `name` is the receiver's key in the configuration, such as `otlp`.
    ///
    /// # Errors
    /// The first setting that does not serve, by name.
    pub fn bind(
        name: &str,
        config: &OtlpReceiverConfig,
        auth: Authenticators,
        clock: &Clock,
    ) -> Result<Bound, ReceiverError> {
        let in_flight = InFlight::new(config.max_in_flight);
        let shared = Shared {
            path: format!("receivers.{name}.protocols"),
            auth,
            clock: clock.clone(),
            pool: Arc::default(),
            stats: Arc::new(ReceiverStats::new(name, &in_flight)),
            in_flight,
            read_timeout: config.read_timeout.0,
            idle_timeout: config.idle_timeout.0,
        };
        let grpc = config.protocols.grpc.as_ref().map(|grpc| {
            let kind = Kind { transport: Transport::Grpc, key: "grpc", limit_setting: "max_recv_msg_size" };
            let common = Settings {
                endpoint: &grpc.endpoint,
                limit: grpc.max_recv_msg_size,
                max_requests: grpc.max_concurrent_requests,
                tls: grpc.tls.as_ref(),
                auth: grpc.auth.as_ref(),
            };
            shared.listener(&kind, &common, None)
        });
        let http = config.protocols.http.as_ref().map(|http| {
            let kind = Kind { transport: Transport::Http, key: "http", limit_setting: "max_request_body_size" };
            let common = Settings {
                endpoint: &http.endpoint,
                limit: http.max_request_body_size,
                max_requests: http.max_concurrent_requests,
                tls: http.tls.as_ref(),
                auth: http.auth.as_ref(),
            };
            let setting = format!("{}.http.cors", shared.path);
            let cors = http.cors.as_ref().map(Cors::new).transpose();
            let cors = cors.map_err(|what| ReceiverError::Setting { setting, what })?;
            shared.listener(&kind, &common, cors)
        });
        let (grpc, http) = (grpc.transpose()?, http.transpose()?);
        if grpc.is_none() && http.is_none() {
            return Err(ReceiverError::NoProtocol(name.to_owned()));
        }
        let tls = [&grpc, &http].into_iter().flatten().filter_map(|listener| listener.tls.clone());
        let files = shared.auth.files().chain(tls.map(|tls| tls as Arc<dyn Renewable>)).collect();
        let (max_connections, threads) = (config.max_connections, config.threads);
        Ok(Bound { grpc, http, stats: shared.stats, files, max_connections, threads })
    }
}

/// What differs between the protocols by nature,
struct Kind {
    transport: Transport,
    key: &'static str,
    limit_setting: &'static str,
}

/// and by configuration.
struct Settings<'a> {
    endpoint: &'a str,
    limit: ByteSize,
    max_requests: usize,
    tls: Option<&'a TlsConfig>,
    auth: Option<&'a AuthRef>,
}

/// What both have in common.
struct Shared {
    path: String,
    auth: Authenticators,
    clock: Clock,
    pool: Arc<BufferPool>,
    stats: Arc<ReceiverStats>,
    in_flight: Arc<InFlight>,
    read_timeout: Duration,
    idle_timeout: Duration,
}

impl Shared {
    fn listener(&self, kind: &Kind, common: &Settings<'_>, cors: Option<Cors>) -> Result<Listener, ReceiverError> {
        let path = format!("{}.{}", self.path, kind.key);
        let tokens = common.auth.map(|auth| self.auth.get(&auth.authenticator, format!("{path}.auth.authenticator")));
        let tls = common.tls.map(|tls| server_tls(tls, &format!("{path}.tls"), &self.clock)).transpose()?;
        let refused = |source| ReceiverError::Listen {
            setting: format!("{path}.endpoint"),
            address: common.endpoint.to_owned(),
            source,
        };
        let socket = TcpListener::bind(common.endpoint).map_err(refused)?;
        socket.set_nonblocking(true).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        let slots = Slots::new(common.max_requests);
        self.stats.watch_slots(kind.transport, &slots);
        let port = Port {
            transport: kind.transport,
            limit: Limit { bytes: common.limit.as_usize(), setting: kind.limit_setting },
            slots,
            tokens: tokens.transpose()?,
            cors,
            in_flight: Arc::clone(&self.in_flight),
            pool: Arc::clone(&self.pool),
            stats: Arc::clone(self.stats.port(kind.transport)),
            read_timeout: self.read_timeout,
            idle_timeout: self.idle_timeout,
            clock: self.clock.clone(),
        };
        let max_streams = u32::try_from(common.max_requests).unwrap_or(u32::MAX).max(1);
        Ok(Listener { socket, address, tls, port: Arc::new(port), http: Arc::new(builder(max_streams)) })
    }
}

fn builder(max_streams: u32) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .max_frame_size(MAX_FRAME_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_concurrent_streams(max_streams);
    // A client that has sent all may close its half and wait for the answer.
    builder.http1().half_close(true).max_buf_size(MAX_HTTP1_BUFFER_BYTES);
    builder
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
    port: Arc<Port>,
    http: Arc<auto::Builder<TokioExecutor>>,
}

/// A receiver with its addresses, not yet serving.
pub struct Bound {
    grpc: Option<Listener>,
    http: Option<Listener>,
    stats: Arc<ReceiverStats>,
    files: Vec<Arc<dyn Renewable>>,
    max_connections: usize,
    threads: usize,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bound")
            .field("grpc", &self.grpc_addr())
            .field("http", &self.http_addr())
            .finish_non_exhaustive()
    }
}

impl Bound {
    /// Where gRPC listens.
    pub fn grpc_addr(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|listener| listener.address)
    }

    /// Where HTTP listens.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|listener| listener.address)
    }

    /// The receiver's own numbers.
    pub fn stats(&self) -> Arc<ReceiverStats> {
        Arc::clone(&self.stats)
    }

    /// What it made of files: certificates and tokens.
    pub fn files(&self) -> Vec<Arc<dyn Renewable>> {
        self.files.clone()
    }

    /// Serves until the signal, then drains for at most `drain_timeout`. Resolves when every connection has ended.
    ///
    /// # Errors
    /// A listener that cannot be handed to the runtime, before anything is accepted.
    pub async fn serve(
        self,
        consumer: Arc<dyn Consumer>,
        shutdown: Shutdown,
        drain_timeout: Duration,
    ) -> Result<(), ReceiverError> {
        let workers = Workers::start(self.threads).map_err(ReceiverError::Threads)?;
        let shared = Arc::new(Serving {
            consumer,
            workers,
            main: Handle::current(),
            shutdown,
            cut: CancellationToken::new(),
            tasks: TaskTracker::new(),
            connections: AtomicUsize::new(0),
            max_connections: self.max_connections,
        });
        let mut listening = Vec::with_capacity(2);
        for listener in [self.grpc, self.http].into_iter().flatten() {
            let address = listener.address.to_string();
            let socket = tokio::net::TcpListener::from_std(listener.socket)
                .map_err(|source| ReceiverError::Listen { setting: "endpoint".into(), address, source })?;
            let served = Served { tls: listener.tls, port: listener.port, http: listener.http };
            listening.push(accept(socket, Arc::new(served), Arc::clone(&shared)));
        }
        for accepting in listening {
            shared.tasks.spawn(accepting);
        }
        shared.shutdown.triggered().await;
        shared.tasks.close();
        if tokio::time::timeout(drain_timeout, shared.tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = shared.connections.load(Ordering::Relaxed),
                "connections did not end within the drain time and are cut"
            );
            shared.cut.cancel();
            shared.tasks.wait().await;
        }
        Ok(())
    }
}

/// A protocol being served.
struct Served {
    tls: Option<Arc<ServerTls>>,
    port: Arc<Port>,
    http: Arc<auto::Builder<TokioExecutor>>,
}

/// What all connections share.
struct Serving {
    consumer: Arc<dyn Consumer>,
    /// Where connections live.
    workers: Workers,
    /// Where everything else does.
    main: Handle,
    shutdown: Shutdown,
    cut: CancellationToken,
    tasks: TaskTracker,
    connections: AtomicUsize,
    max_connections: usize,
}

async fn accept(socket: tokio::net::TcpListener, served: Arc<Served>, serving: Arc<Serving>) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = serving.shutdown.triggered() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let stats = &served.port.stats;
                if serving.connections.fetch_add(1, Ordering::AcqRel) >= serving.max_connections {
                    serving.connections.fetch_sub(1, Ordering::AcqRel);
                    add(&stats.connections_refused, 1);
                    tracing::warn!(max_connections = serving.max_connections, "too many connections; one is closed");
                    continue;
                }
                add(&stats.connections_total, 1);
                stats.connections.fetch_add(1, Ordering::Relaxed);
                let open = Open(Arc::clone(stats), Arc::clone(&serving));
                hand_over(stream, Arc::clone(&served), open);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Gives a connection to a thread of its own kind.
fn hand_over(stream: TcpStream, served: Arc<Served>, open: Open) {
    let serving = Arc::clone(&open.1);
    // Neither fails on a socket that was just accepted.
    let (Some(place), Ok(stream)) = (serving.workers.place(), stream.into_std()) else { return };
    let handle = place.handle.clone();
    let living = async move {
        let _place = place;
        match TcpStream::from_std(stream) {
            Ok(stream) => connection(stream, &served, &open).await,
            Err(error) => tracing::warn!(%error, "a connection cannot be watched"),
        }
    };
    serving.tasks.spawn_on(living, &handle);
}

/// A connection that counts as open; ends when dropped.
struct Open(Arc<PortStats>, Arc<Serving>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
        self.1.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn connection(stream: TcpStream, served: &Served, open: &Open) {
    let Open(stats, serving) = open;
    // Small answers should not wait for more; a socket that refuses this works all the same.
    let _ = stream.set_nodelay(true);
    let counted = Counted::new(stream, Arc::clone(stats));
    let wire = match &served.tls {
        None => Wire::Plain(counted),
        Some(tls) => {
            let handshake = tokio::select! {
                handshake = tokio::time::timeout(HANDSHAKE_TIME, tls.current().accept(counted)) => handshake,
                () = serving.shutdown.triggered() => return,
            };
            match handshake {
                Ok(Ok(stream)) => Wire::Tls(Box::new(stream)),
                Ok(Err(error)) => {
                    add(&stats.handshakes_failed, 1);
                    tracing::debug!(%error, "TLS handshake failed");
                    return;
                }
                Err(_) => return add(&stats.handshakes_failed, 1),
            }
        }
    };
    let state = Connection::new(Arc::clone(&served.port), Arc::clone(&serving.consumer), serving.main.clone());
    let wire = match served.port.transport {
        Transport::Grpc => Some(wire.into()),
        Transport::Http => plain_requests(wire, served, serving, &state).await,
    };
    if let Some(wire) = wire {
        requests(wire, served, serving, &state).await;
    }
}

/// Serves a connection's plain requests until it ends or is left to hyper.
async fn plain_requests(
    wire: Wire,
    served: &Served,
    serving: &Serving,
    state: &Arc<Connection>,
) -> Option<direct::Left> {
    let stop = serving.shutdown.child();
    let running = std::pin::pin!(direct::requests(wire, state, &stop));
    let left = until_gone(running, |_| stop.trigger(), served, serving, state).await.flatten();
    add(&served.port.stats.connections_general, u64::from(left.is_some()));
    left
}

/// Runs hyper on a connection until it ends.
async fn requests(wire: direct::Left, served: &Served, serving: &Serving, state: &Arc<Connection>) {
    let transport = served.port.transport;
    let service = service_fn(|request| {
        let state = Arc::clone(state);
        async move {
            Ok::<_, std::convert::Infallible>(match transport {
                Transport::Grpc => grpc::answer(state, request).await,
                Transport::Http => http::answer(state, request).await,
            })
        }
    });
    let running = std::pin::pin!(served.http.serve_connection(TokioIo::new(wire), service));
    let ended = until_gone(running, |running| running.graceful_shutdown(), served, serving, state).await;
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Runs a connection until it ends. On shutdown, or when it is idle for too long, `tell` tells it to go; `None` when it did not go
/// then, or was cut.
async fn until_gone<F: Future>(
    mut running: Pin<&mut F>,
    tell: impl Fn(Pin<&mut F>),
    served: &Served,
    serving: &Serving,
    state: &Connection,
) -> Option<F::Output> {
    let idle_timeout = served.port.idle_timeout;
    // A head that came in pieces has begun before.
    let idle = quiet(state, state.quiet_since().unwrap_or_else(Instant::now), idle_timeout);
    tokio::pin!(idle);
    let mut leaving = false;
    loop {
        tokio::select! {
            biased;
            ended = &mut running => return Some(ended),
            () = serving.shutdown.triggered(), if !leaving => {}
            () = &mut idle => {
                if leaving {
                    return None;
                }
            }
            () = serving.cut.cancelled() => {
                add(&served.port.stats.connections_cut, 1);
                return None;
            }
        }
        leaving = true;
        tell(running.as_mut());
        idle.set(quiet(state, Instant::now(), FAREWELL_TIME.min(idle_timeout)));
    }
}

/// Resolves once no request has been running for this long, `from` then on.
async fn quiet(state: &Connection, from: Instant, patience: Duration) {
    let mut wake = from + patience;
    loop {
        tokio::time::sleep_until(wake).await;
        wake = match state.quiet_since() {
            Some(since) if since.elapsed() >= patience => return,
            Some(since) => since + patience,
            None => Instant::now() + patience,
        };
    }
}
