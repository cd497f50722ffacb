//! The short way of plain requests over HTTP/1.1: the body from the socket into the buffer that is walked.
//!
//! Purpose: spare the copy that puts a body together from the frames of a general server, a sixth of the work by HTTP.
//! Promises: serves POSTs of logs that are in order; all else, from the first byte of its head, is left to hyper with the
//! connection, so that every refusal of a head or a body is made in one place; memory follows what has come.
//! Never: goes back to the short way on a connection that was left, or holds a body without an account, except what is on
//! its way to hyper, which refuses it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use bytes::buf::Chain;
use bytes::{Buf, Bytes};
use http::Response;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::Signal;
use super::answer::Answer;
use super::buffer::{Buffer, Reservation};
use super::head::{Head, Plain};
use super::http::{Admitted, reply, signal_of};
use super::intake::Connection;
use super::wire::Wire;
use crate::shutdown::Shutdown;

/// Room for a head and the beginning of its body, and for a small request as a whole.
const HEAD_BYTES: usize = 8 << 10;
/// A head that has not come in so many pieces is left to hyper, which looks at each piece once.
const MAX_HEAD_READS: usize = 8;

/// A connection that was left, with what had been read of the request that is to be served otherwise.
pub(super) type Left = Replayed;

/// Serves a connection's plain requests. `None` when it has ended, else what is left.
pub(super) async fn requests(wire: Wire, state: &Arc<Connection>, shutdown: &Shutdown) -> Option<Left> {
    let mut direct = Direct { wire, state, shutdown, read: Box::new([0; HEAD_BYTES]), filled: 0 };
    loop {
        let step = match direct.head().await {
            Step::Go(plain) => direct.request(*plain).await,
            Step::Leave(bytes) => Step::Leave(bytes),
            Step::End => Step::End,
        };
        match step {
            Step::Go(()) => {}
            Step::Leave(bytes) => return Some(Replayed { bytes, wire: direct.wire }),
            Step::End => {
                // In order where the client still listens.
                let _ = direct.wire.shutdown().await;
                return None;
            }
        }
    }
}

/// What comes next.
enum Step<T> {
    Go(T),
    /// The request, whose bytes so far these are, is not for here.
    Leave(Chain<Bytes, Bytes>),
    End,
}

struct Direct<'a> {
    wire: Wire,
    state: &'a Arc<Connection>,
    shutdown: &'a Shutdown,
    /// The head of a request and what came with it.
    read: Box<[u8; HEAD_BYTES]>,
    filled: usize,
}

impl Direct<'_> {
    /// Waits for the next head.
    async fn head(&mut self) -> Step<Box<Plain>> {
        for _ in 0..MAX_HEAD_READS {
            match Head::read(&self.read[..self.filled]) {
                Head::Plain(plain) => return Step::Go(plain),
                Head::Other => return self.leave(),
                Head::Partial => {}
            }
            let read = tokio::select! {
                biased;
                read = self.wire.read(&mut self.read[self.filled..]) => read,
                () = self.shutdown.triggered() => return Step::End,
            };
            match read {
                // No room is no end.
                Ok(0) if self.filled == HEAD_BYTES => break,
                Ok(0) => return Step::End,
                Ok(size) => self.filled += size,
                Err(error) => {
                    tracing::debug!(%error, "a connection broke");
                    return Step::End;
                }
            }
        }
        self.leave()
    }

    /// Leaves a request of which nothing but the first bytes was read.
    fn leave<T>(&self) -> Step<T> {
        Step::Leave(Bytes::copy_from_slice(&self.read[..self.filled]).chain(Bytes::new()))
    }

    /// Serves one request.
    async fn request(&mut self, plain: Plain) -> Step<()> {
        let Plain { parts, head_bytes, body_bytes } = plain;
        let state = self.state;
        let running = state.begin();
        let admitted = Admitted::of(state, &parts, Some(body_bytes as u64));
        let (Some(Signal::Logs), Ok(admitted)) = (signal_of(parts.uri.path()), admitted) else { return self.leave() };
        let deadline = Instant::now() + state.port.read_timeout;
        let mut body = state.port.pool.take(body_bytes);
        let reading = self.body(head_bytes, body_bytes, &mut body);
        let Ok(Some(held)) = tokio::time::timeout_at(deadline, reading).await else {
            state.set_body_deadline(deadline);
            let head = Bytes::copy_from_slice(&self.read[..head_bytes]);
            return Step::Leave(head.chain(body.freeze()));
        };
        let end = (head_bytes + body_bytes).min(self.filled);
        self.read.copy_within(end..self.filled, 0);
        self.filled -= end;
        let whole = admitted.take(Signal::Logs, body.freeze(), held);
        let (format, slot) = (whole.format, whole.slot);
        let served = state.deliver(whole.body, None).await;
        let answer = reply(&state.port, &parts.headers, Some(Signal::Logs), format, &served);
        drop((slot, running));
        let last = self.shutdown.is_triggered();
        let answer = encode(answer, last, state.port.clock.now());
        if let Err(error) = self.answer(&answer).await {
            tracing::debug!(%error, "a connection broke");
            return Step::End;
        }
        if last { Step::End } else { Step::Go(()) }
    }

    /// Reads a body; what it takes of the account. `None` if it does not come or may not be held.
    async fn body(&mut self, head_bytes: usize, body_bytes: usize, body: &mut Buffer) -> Option<Reservation> {
        let mut held = Reservation::new(&self.state.port.in_flight);
        let begun = &self.read[head_bytes..self.filled.min(head_bytes + body_bytes)];
        body.extend(begun, body_bytes);
        held.grow_to(body.len() as u64).ok()?;
        while body.len() < body_bytes {
            let size = self.wire.read(body.room(body_bytes)).await.ok().filter(|size| *size > 0)?;
            body.advance(size);
            held.grow_to(body.len() as u64).ok()?;
        }
        Some(held)
    }

    async fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes).await?;
        self.wire.flush().await
    }
}

/// An answer on the wire; `last` says that no other follows.
fn encode(answer: Response<Answer>, last: bool, unix_nanos: u64) -> Vec<u8> {
    let (head, body) = answer.into_parts();
    let body = body.into_data();
    let mut out = Vec::with_capacity(256 + body.len());
    let reason = head.status.canonical_reason().unwrap_or_default();
    for part in ["HTTP/1.1 ", head.status.as_str(), " ", reason, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_nanos(unix_nanos));
    let close = if last { "connection: close\r\n" } else { "" };
    out.extend_from_slice(format!("content-length: {}\r\n{close}date: {date}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(&body);
    out
}

/// A connection some bytes of which were read before; they are read first.
pub(super) struct Replayed {
    bytes: Chain<Bytes, Bytes>,
    wire: Wire,
}

impl From<Wire> for Replayed {
    fn from(wire: Wire) -> Self {
        Replayed { bytes: Bytes::new().chain(Bytes::new()), wire }
    }
}

impl AsyncRead for Replayed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Replayed { bytes, wire } = self.get_mut();
        if !bytes.has_remaining() {
            return Pin::new(wire).poll_read(cx, buf);
        }
        let size = bytes.chunk().len().min(buf.remaining());
        buf.put_slice(&bytes.chunk()[..size]);
        bytes.advance(size);
        if !bytes.has_remaining() {
            // Lets go of their memory.
            *bytes = Bytes::new().chain(Bytes::new());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Replayed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(cx)
    }
}
