//! Rate limits: at most N records a window.
//!
//! Purpose: count what a policy let through in the present window.
//! Promises: never more than the limit in one window, whatever the number of threads; lock-free; time is an argument.
//! Never: reads a clock, remembers more than one window.
//!
//! Windows are fixed and aligned to the Unix epoch: nothing is lost on a restart, and replicas with the same clock turn
//! the window over together. Across a boundary up to twice the limit can pass within one window's length.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::UnixNanos;

/// The state of one policy's rate limit.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: u32,
    window_nanos: u64,
    /// The window's number in the upper half, records let through in the lower.
    state: AtomicU64,
}

impl Limiter {
    /// A limiter with an empty window.
    pub fn new(limit: u32, window: Duration) -> Self {
        let window_nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1);
        Limiter { limit, window_nanos, state: AtomicU64::new(0) }
    }

    /// Whether this limits as `limit` a `window` does, so that its state can go on.
    pub fn is_same(&self, limit: u32, window: Duration) -> bool {
        self.limit == limit && u128::from(self.window_nanos) == window.as_nanos()
    }

    /// Records per second, to compare limits.
    pub fn rate(&self) -> f64 {
        f64::from(self.limit) / self.window_nanos as f64 * 1e9
    }

    /// Takes one place of the window of `now`; `None` when it is full. The token gives the place back.
    pub fn try_take(&self, now: UnixNanos) -> Option<u32> {
        let present = (now / self.window_nanos) as u32;
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (window, count) = Self::window_and_count(state, present);
            if count >= self.limit {
                return None;
            }
            let next = u64::from(window) << 32 | u64::from(count + 1);
            match self.state.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(window),
                Err(seen) => state = seen,
            }
        }
    }

    /// Gives back what [`Limiter::try_take`] took, when another limit refused the record.
    pub fn give_back(&self, window: u32) {
        let give = |state: u64| ((state >> 32) as u32 == window && state as u32 > 0).then(|| state - 1);
        // A window that has passed has no places left to give back: nothing to do.
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    /// A thread whose clock reading is a moment old still counts in the window that has begun since; a clock that was set
    /// back further starts a new window, or the limit would hold for all that time.
    fn window_and_count(state: u64, present: u32) -> (u32, u32) {
        let window = (state >> 32) as u32;
        let is_same = window == present || window == present.wrapping_add(1);
        if is_same { (window, state as u32) } else { (present, 0) }
    }
}
