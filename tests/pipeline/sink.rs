//! A destination that remembers what it was given, and can be full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lipservice::data_plane::exporter::Outgoing;
use lipservice::data_plane::pipeline::{Destination, Forward, Room};
use lipservice::data_plane::receiver::{Received, Refusal, Reply, Signal};
use parking_lot::Mutex;

/// The destination.
#[derive(Default)]
pub struct Sink {
    taken: Arc<Mutex<Vec<Outgoing>>>,
    full: AtomicBool,
}

impl Sink {
    /// Says no from now on, or no longer.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }
    /// Takes what has arrived.
    pub fn take(&self) -> Vec<Outgoing> {
        std::mem::take(&mut self.taken.lock())
    }
}

struct Place(Arc<Mutex<Vec<Outgoing>>>);

impl Room for Place {
    fn submit(self: Box<Self>, outgoing: Outgoing) {
        self.0.lock().push(outgoing);
    }
}

impl Destination for Sink {
    fn name(&self) -> &str {
        "sink"
    }
    fn note_refused(&self, _: u64) {}
    fn try_reserve(&self, _: usize) -> Option<Box<dyn Room>> {
        (!self.full.load(Ordering::SeqCst)).then(|| Box::new(Place(Arc::clone(&self.taken))) as Box<dyn Room>)
    }
}

/// Forwards nothing.
pub struct NoForward;

impl Forward for NoForward {
    fn forward(&self, _: Signal, _: Received) -> Reply {
        Box::pin(async { Err(Refusal::Unsupported("not here".into())) })
    }
}
