//! Where policies live, have a history, and reach every gateway and SDK.
//!
//! Purpose: analysis of patterns, the store, the API over it, and the way from an activated version to a gateway's
//! compiled policy.
//! Promises: uses the data plane, is never used by it; the planes meet in `CompiledPolicy`, `sampler::Boosts`, `policy::Fleet`,
//! `trial::Trial`, `window::KnownPatterns`, `window::Snapshot`, `trial::TrialCounts` and `reservoir::Sample` alone.
//! Never: touches a record on its way.

pub mod analysis;
pub mod api;
pub mod bundle;
pub mod cache;
pub mod client;
pub mod config;
pub mod controller;
pub mod follow;
pub mod generator;
pub mod insights;
pub mod known;
pub mod lead;
pub mod mirror;
pub mod posthog;
pub mod replay;
pub mod report;
pub mod rollout;
pub mod samples;
pub mod store;
pub mod validate;
