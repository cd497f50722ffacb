//! All integration tests in one binary: linking is the slow part of a test build.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test that is how to fail")]

mod anomalies;
mod clients;
mod config;
mod control_plane;
mod controller;
mod docs;
mod doctor;
mod exporter;
mod gateway;
mod generate;
mod json;
mod llm;
mod notebooks;
mod patterns;
mod pipeline;
mod policy;
mod posthog;
mod receiver;
mod replay;
mod rollout;
mod signature;
mod support;
mod telemetry;
mod tidy;
mod tools;
mod view;
