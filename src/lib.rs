//! LipService: a streaming log sampler in the style of the OpenTelemetry Collector.
//!
//! Applications point their OTLP exporter at it; it computes a pattern signature and per-window rates for every log
//! record, keeps or drops it under a sampling policy, forwards what it keeps and accounts for what it dropped.
//! ARCHITECTURE.md is the map.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control_plane;
pub mod data_plane;
pub mod gateway;
pub mod listen;
pub mod reread;
pub mod shutdown;
pub mod telemetry;
pub mod units;
