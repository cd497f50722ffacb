//! What the windows tell: levels, what is usual, what is not.
//!
//! Purpose: the control plane's reading of the data plane's counts.
//! Promises: pure functions of snapshots and time; bounded.
//! Never: publishes or enforces anything.

pub mod anomaly;
pub mod frequency;
pub mod mining;
pub mod report;
