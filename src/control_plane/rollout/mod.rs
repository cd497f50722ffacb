//! From a reviewed version to one that is in force, step by step, and back when it does not do what was predicted.
//!
//! Purpose: put a version in force by mode (`shadow`, `canary`, `live`), watch it at each stage, and go back to the
//! version before by itself.
//! Promises: a version comes in force only after every stage before has passed; whatever goes wrong ends with the parent
//! in force; each step is applied once, in the transaction that writes it down.
//! Never: judges a version that no traffic has met: without data it waits, then goes back.
//!
//! `plan` holds what was agreed on and where it stands, `prediction` what is expected, `step` decides (pure), `offer` is
//! what gateways get, `drive` applies steps to the store.

pub mod config;
pub mod drive;
pub mod offer;
mod plan;
mod prediction;
mod step;

pub use config::RolloutConfig;
pub use drive::{Driver, Rollout, Start, Stepped, start};
pub use offer::Offer;
pub use plan::{Kind, Mode, Phase, Plan, Stage, State, Why};
pub use prediction::{Interval, Prediction};
pub use step::{Action, Arms, Command, Observation, Turned, begin, order, step};
