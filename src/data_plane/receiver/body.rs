//! Reading a request's body.
//!
//! Purpose: the frames of a body as one contiguous buffer; a body that comes in one frame is not copied.
//! Promises: what is held is reserved first; a body that does not come in time ends the request.
//! Never: reads past what its caller expects, or keeps a body nobody wants in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::Refusal;
use super::buffer::{Buffer, BufferPool, InFlight, Reservation};
use super::status::Fault;

/// How long the rest of a refused request is read and thrown away, so that the client gets to see the answer.
const DISCARD_TIME: Duration = Duration::from_secs(10);

/// A body as it comes in.
pub(super) struct Reader {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
    timeout: Duration,
    started: bool,
}

impl Reader {
    /// A body that is to come by `deadline`. `timeout` is what that was made of, for whom it is refused.
    pub(super) fn new(body: Incoming, deadline: Instant, timeout: Duration) -> Self {
        Reader { body, deadline: Box::pin(tokio::time::sleep_until(deadline)), timeout, started: false }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// `TooSlow` after the time, `Gone` when the connection or stream broke.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        self.started = true;
        loop {
            tokio::select! {
                biased;
                frame = self.body.frame() => match frame {
                    None => return Ok(None),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => return Ok(Some(data)),
                        Err(_trailers) => {}
                    },
                    Some(Err(error)) => return Err(Fault::Gone(format!("the request broke off: {error}"))),
                },
                () = &mut self.deadline => {
                    let seconds = self.timeout.as_secs_f64();
                    return Err(Fault::TooSlow(format!("the request body did not arrive within `read_timeout` ({seconds} s)")));
                }
            }
        }
    }

    /// Reads the rest and throws it away, for a bounded time. A client that waits for `100 Continue` sends no rest.
    pub(super) async fn discard(mut self, waits_for_continue: bool) {
        use hyper::body::Body as _;
        if self.body.is_end_stream() || waits_for_continue && !self.started {
            return;
        }
        let rest = async { while let Some(Ok(_)) = self.body.frame().await {} };
        // Too late or done: either way the body is dropped now.
        let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
    }
}

/// Pieces put together.
pub(super) struct Assembly {
    first: Bytes,
    rest: Option<Buffer>,
    pool: Arc<BufferPool>,
    held: Reservation,
}

impl Assembly {
    /// Nothing yet.
    pub(super) fn new(pool: &Arc<BufferPool>, in_flight: &Arc<InFlight>) -> Self {
        Assembly { first: Bytes::new(), rest: None, pool: Arc::clone(pool), held: Reservation::new(in_flight) }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.rest.as_ref().map_or(self.first.len(), Buffer::len)
    }

    /// Adds a piece; `expected` is what the whole may come to, a hint.
    ///
    /// # Errors
    /// When memory for it cannot be reserved.
    pub(super) fn push(&mut self, data: Bytes, expected: usize) -> Result<(), Refusal> {
        self.held.grow_to((self.len() + data.len()) as u64)?;
        if self.rest.is_none() && self.first.is_empty() {
            self.first = data;
            return Ok(());
        }
        let rest = self.rest.get_or_insert_with(|| {
            let mut buffer = self.pool.take(expected);
            buffer.extend(&self.first, expected);
            buffer
        });
        rest.extend(&data, expected);
        Ok(())
    }

    /// The first `N` bytes, once they are there.
    pub(super) fn head<const N: usize>(&self) -> Option<&[u8; N]> {
        self.rest.as_ref().map_or(self.first.as_ref(), AsRef::as_ref).first_chunk()
    }

    /// The whole, and the reservation it stands on.
    pub(super) fn finish(self) -> (Bytes, Reservation) {
        (self.rest.map_or(self.first, Buffer::freeze), self.held)
    }
}
