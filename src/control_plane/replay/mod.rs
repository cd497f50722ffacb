//! What a policy would have done to recorded traffic, by running the gateway's own pipeline over it.
//!
//! Purpose: judge a policy before it is published: what would be kept, what lost, what it costs, how good counts stay.
//! Promises: the same pipeline, windows and sampler as the gateway; time comes from the records and randomness from a
//! seed, so the same input gives the same answer; memory is bounded and what finds no room is counted.
//! Never: sends anything, reads a clock, or decides whether a policy is good: `report` names checks, callers act.
//!
//! `walk` reads requests, `profile` counts what came in, `delivery` what would go out, `traces` which traces break,
//! `watch` which anomalies stay visible, `engine` drives the pipeline, `sample` plays recent records for all of the
//! traffic, `report` compares.

mod delivery;
mod engine;
mod profile;
mod report;
mod sample;
mod sink;
mod traces;
mod walk;
mod watch;

pub use delivery::{Delivered, Delivery};
pub use engine::{Outcome, Replay, ReplayError, Settings, Tap};
pub use profile::{CellProfile, Coverage, OVERFLOW, Profile, Profiler, ServiceProfile};
pub use report::{Checks, Report, Row, Side, Totals, Vanished};
pub use sample::{Script, settings_for};
pub use traces::TraceCounts;
pub use walk::{Services, Walker};
pub use watch::{AnomalyCounts, MissedAnomaly, Watch};
