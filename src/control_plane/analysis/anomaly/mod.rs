//! What is not usual: new patterns, spikes, silence, a shift of severities.
//!
//! Purpose: hold every frame against its prediction and tell when a change starts and ends, with evidence.
//! Promises: false alarms stay within a budget per service and day (docs/anomalies.md says how that was measured); a
//! lasting change becomes normal after a known time; every table is bounded.
//! Never: touches a record. The sampler's boost follows from what is listed here.

mod about;
pub mod book;
pub mod boost;
pub mod config;
mod counts;
pub mod detector;
pub mod event;
pub mod limits;
pub mod novelty;
pub mod pattern;
pub mod quiet;
mod service;
pub mod state;
pub mod watch;

pub use boost::{Boost, BoostPlan};
pub use config::AnomalyConfig;
pub use detector::{Detector, Losses};
pub use event::{Anomaly, End, Event, Kind};
pub use state::StateError;
