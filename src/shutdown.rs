//! Stop in order: refuse new work, drain what was accepted, then end.
//!
//! Purpose: one signal that every task can wait for, in two steps.
//! Promises: a signal once given stays given; waiting is cancel-safe.
//! Never: ends a process or a task by force.

use tokio_util::sync::CancellationToken;

/// The stop signal, cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
}

impl Shutdown {
    /// A signal not yet given.
    pub fn new() -> Self {
        Self::default()
    }
    /// Gives the signal.
    pub fn trigger(&self) {
        self.stop.cancel();
    }
    /// Whether it was given.
    pub fn is_triggered(&self) -> bool {
        self.stop.is_cancelled()
    }
    /// Resolves once it is given.
    pub async fn triggered(&self) {
        self.stop.cancelled().await;
    }
    /// A signal that follows this one but can also be given alone.
    pub fn child(&self) -> Self {
        Shutdown { stop: self.stop.child_token() }
    }
}
