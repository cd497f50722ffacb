//! Keep or drop, and say why.
//!
//! Purpose: the decision on a record, the arithmetic of consistent sampling, and the records that account for what was
//! dropped.
//! Promises: pure functions; time and randomness are arguments; the reasons are one enum for everyone.
//! Never: counts, forwards, or knows where records go.

pub mod boost;
pub mod config;
pub mod decision;
pub mod share;
pub mod summary;
pub mod threshold;

pub use boost::Boosts;
pub use decision::{Decision, Facts, Reason, Settings, decide};
pub use share::Share;
pub use threshold::{Incoming, ThresholdText};
