//! The control plane: what looks at the data plane's numbers and says what should change.
//!
//! Purpose: analysis of patterns and rates. ARCHITECTURE.md shows how the parts meet.
//! Promises: uses the data plane through `window::Snapshot` and hands back what it swaps in atomically.
//! Never: stands in the way of a record.

pub mod analysis;
pub mod generator;
pub mod insights;
pub mod replay;
