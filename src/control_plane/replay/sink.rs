//! The destination of a replay: what the pipeline would send, gathered into the bodies an exporter would send.
//!
//! Purpose: bytes as the destination bills them: the length of each decompressed request body, shared blocks included.
//! Promises: bodies are grouped and cut as the exporter does (`view::regroup`), by size and by age in replay time.
//! Never: refuses anything.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::UnixNanos;
use crate::data_plane::exporter::Outgoing;
use crate::data_plane::pipeline::{Destination, Forward, Room};
use crate::data_plane::receiver::{Received, Refusal, Reply, Signal};
use crate::data_plane::view::regroup;

/// Takes what the pipeline keeps.
#[derive(Debug, Default)]
pub(super) struct Sink {
    taken: Arc<Mutex<Vec<Bytes>>>,
}

impl Sink {
    /// What arrived since the last call.
    pub(super) fn take(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.taken.lock())
    }
}

struct Place(Arc<Mutex<Vec<Bytes>>>);

impl Room for Place {
    fn submit(self: Box<Self>, outgoing: Outgoing) {
        self.0.lock().push(outgoing.body);
    }
}

impl Destination for Sink {
    fn name(&self) -> &str {
        "replay"
    }
    fn note_refused(&self, _: u64) {}
    fn try_reserve(&self, _: usize) -> Option<Box<dyn Room>> {
        Some(Box::new(Place(Arc::clone(&self.taken))))
    }
}

/// Other signals do not occur in a replay.
pub(super) struct NoForward;

impl Forward for NoForward {
    fn forward(&self, _: Signal, _: Received) -> Reply {
        Box::pin(async { Err(Refusal::Unsupported("a replay reads logs only".into())) })
    }
}

/// Gathers requests into bodies.
#[derive(Debug)]
pub(super) struct Batches {
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    oldest: UnixNanos,
    most_bytes: usize,
    most_age: Duration,
}

impl Batches {
    pub(super) fn new(most_bytes: usize, most_age: Duration) -> Self {
        Batches { waiting: Vec::new(), waiting_bytes: 0, oldest: 0, most_bytes: most_bytes.max(1), most_age }
    }

    /// Adds a request that came at `now`; `emit` gets the bodies that are full or old enough.
    pub(super) fn add(&mut self, body: Bytes, now: UnixNanos, emit: impl FnMut(Vec<u8>)) {
        if self.waiting.is_empty() {
            self.oldest = now;
        }
        self.waiting_bytes += body.len();
        self.waiting.push(body);
        let age = now.saturating_sub(self.oldest);
        if self.waiting_bytes >= self.most_bytes || u128::from(age) >= self.most_age.as_nanos() {
            self.flush(emit);
        }
    }

    /// Emits what waits.
    pub(super) fn flush(&mut self, mut emit: impl FnMut(Vec<u8>)) {
        let requests: Vec<&[u8]> = self.waiting.iter().map(|body| &body[..]).collect();
        regroup(&requests, self.most_bytes, |body, _| emit(body));
        self.waiting.clear();
        self.waiting_bytes = 0;
    }
}
