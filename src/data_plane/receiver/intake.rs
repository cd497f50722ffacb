//! What both protocols share: a port, its connections, and the way from a body to the consumer.
//!
//! Purpose: inflate, transcode and consume a whole body in one place for gRPC and HTTP.
//! Promises: large bodies do not stall other connections of the same thread; every request that does not reach the
//! consumer is reported to it as refused, exactly once.
//! Never: speaks a protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::auth::{Door, Shown, TokenCell, scheme};
use super::buffer::{BufferPool, InFlight, Reservation, Slots};
use super::cors::Cors;
use super::inflate::{Encoding, Limit, inflate, size_hint};
use super::stats::{PortStats, add};
use super::status::Fault;
use super::{Consumer, Received, Refusal, Reply, Signal, Transport};
use crate::clock::Clock;
use crate::data_plane::view::json;

/// Bodies that come to more than this (tens of milliseconds of work) leave the connection's thread to others meanwhile.
const LARGE_BODY_BYTES: usize = 8 << 20;

/// One protocol as served.
pub(super) struct Port {
    pub(super) transport: Transport,
    pub(super) limit: Limit,
    pub(super) slots: Arc<Slots>,
    pub(super) tokens: Option<Arc<Door>>,
    pub(super) cors: Option<Cors>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) pool: Arc<BufferPool>,
    pub(super) stats: Arc<PortStats>,
    pub(super) read_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) clock: Clock,
}

/// One connection.
pub(super) struct Connection {
    pub(super) port: Arc<Port>,
    pub(super) consumer: Arc<dyn Consumer>,
    /// For work that should not stay on the connection's thread.
    main: Handle,
    token: TokenCell,
    running: AtomicUsize,
    quiet_since: Mutex<Instant>,
    /// Of a body that was begun to be read elsewhere.
    body_deadline: Mutex<Option<Instant>>,
}

/// A request that runs on a connection; ends when dropped.
pub(super) struct Running(Arc<Connection>);

impl Drop for Running {
    fn drop(&mut self) {
        // The time first: a connection without requests then never looks quieter than it is.
        *self.0.quiet_since.lock() = Instant::now();
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A body on its way to the consumer.
pub(super) struct Taken {
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
    pub(super) is_json: bool,
    pub(super) token: Option<Arc<str>>,
    pub(super) body: Bytes,
    pub(super) held: Reservation,
}

impl Connection {
    /// A new one, quiet since now.
    pub(super) fn new(port: Arc<Port>, consumer: Arc<dyn Consumer>, main: Handle) -> Arc<Self> {
        Arc::new(Connection {
            port,
            consumer,
            main,
            token: TokenCell::default(),
            running: AtomicUsize::new(0),
            quiet_since: Mutex::new(Instant::now()),
            body_deadline: Mutex::default(),
        })
    }

    /// Notes that a request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(Arc::clone(self))
    }

    /// Since when no request has been running; `None` while one is.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        (self.running.load(Ordering::Acquire) == 0).then(|| *self.quiet_since.lock())
    }

    /// By when the body that begins now must have come.
    pub(super) fn body_deadline(&self) -> Instant {
        self.body_deadline.lock().take().unwrap_or_else(|| Instant::now() + self.port.read_timeout)
    }

    /// The same for the next one that begins, part of which has been read before.
    pub(super) fn set_body_deadline(&self, deadline: Instant) {
        *self.body_deadline.lock() = Some(deadline);
    }

    /// Lets a request in by its tokens; returns the one to pass on.
    pub(super) fn admit(&self, headers: &http::HeaderMap, query: Option<&str>) -> Result<Option<Arc<str>>, Refusal> {
        let tokens = self.port.tokens.as_ref().map(|door| door.current());
        let tokens = tokens.as_deref();
        let shown = Shown::read(headers, query, scheme(tokens))?;
        Ok(self.token.intern(shown.admit(tokens)?))
    }

    /// Brings a whole body to the consumer and waits for its answer.
    pub(super) async fn deliver(self: &Arc<Self>, taken: Taken, deadline: Option<Duration>) -> Result<(), Fault> {
        let size = size_hint(taken.encoding, &taken.body, self.port.limit).max(taken.body.len());
        add(&self.port.stats.body_bytes, taken.body.len() as u64);
        let forwarded = if size > LARGE_BODY_BYTES {
            let connection = Arc::clone(self);
            let working = self.main.spawn_blocking(move || connection.consume(taken));
            working
                .await
                .map_err(|error| Fault::from(Refusal::Failed(format!("the work on a request broke: {error}"))))?
        } else {
            self.consume(taken)
        }?;
        let Some((reply, _held)) = forwarded else { return Ok(()) };
        // On the main runtime, which the pooled connections of clients outlive.
        let reply = AbortOnDropHandle::new(self.main.spawn(reply));
        let broke = |error| Refusal::Failed(format!("forwarding broke: {error}"));
        match deadline {
            None => Ok(reply.await.map_err(broke)??),
            Some(deadline) => match tokio::time::timeout(deadline, reply).await {
                Ok(answer) => Ok(answer.map_err(broke)??),
                Err(_) => Err(Fault::Deadline("the destination did not answer within the request's deadline".into())),
            },
        }
    }

    /// Inflates a body and hands it on; what is forwarded answers later, and its bytes stay reserved until then.
    fn consume(&self, taken: Taken) -> Result<Option<(Reply, Reservation)>, Fault> {
        let (signal, transport) = (taken.signal, self.port.transport);
        let (request, held) = self.plain(taken).inspect_err(|_| self.consumer.refused(signal, transport))?;
        match signal {
            Signal::Logs => self.consumer.consume_logs(request).map(|()| None).map_err(Fault::from),
            _ => Ok(Some((self.consumer.forward(signal, request), held))),
        }
    }

    /// The request in plain protobuf.
    fn plain(&self, taken: Taken) -> Result<(Received, Reservation), Fault> {
        let Taken { signal, encoding, is_json, token, mut body, mut held } = taken;
        let port = &self.port;
        if encoding != Encoding::Identity {
            let mut out = port.pool.take(size_hint(encoding, &body, port.limit));
            inflate(encoding, &body, port.limit, &mut held, &mut out)?;
            body = out.freeze();
            add(&port.stats.inflated_bytes, body.len() as u64);
        }
        if is_json {
            body = transcode(signal, &body)?;
            if body.len() > port.limit.bytes {
                return Err(port.limit.exceeded("as protobuf").into());
            }
        }
        Ok((Received { body, token, transport: port.transport }, held))
    }
}

/// OTLP JSON to protobuf, which is of about the same size at most.
fn transcode(signal: Signal, json: &[u8]) -> Result<Bytes, Fault> {
    let decoded = match signal {
        Signal::Logs => json::decode(json),
        Signal::Traces => json::decode_traces(json),
        Signal::Metrics => json::decode_metrics(json),
    };
    Ok(Bytes::from(decoded.map_err(|error| Refusal::Malformed(error.to_string()))?))
}
