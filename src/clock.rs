//! Time as an argument.
//!
//! Purpose: every decision takes `UnixNanos`; tests own the clock.
//! Promises: a `Clock` can be cloned and read from any thread.
//! Never: sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds since the Unix epoch, as OTLP counts time.
pub type UnixNanos = u64;

/// Where "now" comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's wall clock.
    #[default]
    System,
    /// Set by a test.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands still at `now` until it is moved.
    pub fn manual(now: UnixNanos) -> Self {
        Clock::Manual(Arc::new(AtomicU64::new(now)))
    }

    /// The current time; 0 should the machine's clock stand before 1970.
    pub fn now(&self) -> UnixNanos {
        match self {
            Clock::System => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64),
            Clock::Manual(now) => now.load(Ordering::Acquire),
        }
    }

    /// Moves a manual clock forward; the system clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Clock::Manual(now) = self {
            now.fetch_add(by.as_nanos() as u64, Ordering::AcqRel);
        }
    }
}
