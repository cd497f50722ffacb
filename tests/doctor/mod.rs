//! Whether PostHog keeps what it acknowledges: `lipservice doctor` as a process, and the gateway's comparison.

mod process;
mod reconcile;
