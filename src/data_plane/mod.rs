//! The way of a record: receiver → view → signature → window → policy → sampler → exporter.
//!
//! Purpose: everything that touches records as they pass.
//! Promises: received = kept + dropped(policy, pattern, reason) + refused, and kept = sent + failed + waiting, always.
//! Never: knows the control plane or the command line. The direction of names between its folders is in
//! ARCHITECTURE.md and held by `tests/tidy.rs`.

pub mod exporter;
pub mod ledger;
pub mod pattern;
pub mod pipeline;
pub mod policy;
pub mod receiver;
pub mod reservoir;
pub mod sampler;
pub mod signature;
pub mod view;
pub mod window;
