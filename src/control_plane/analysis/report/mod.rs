//! A log as a whole: its patterns, how often each occurs over time, and what was unusual.
//!
//! Purpose: what `lipservice analyze` shows, as a value: collect messages, then finish.
//! Promises: a pure function of the messages; signatures, timed messages and listed rows are bounded, and what is beyond a
//! bound is counted in the report.
//! Never: reads files or clocks, or writes text for people.

mod collect;
mod money;
mod timeline;

use serde::Serialize;

use super::anomaly::Anomaly;
use crate::clock::UnixNanos;
use crate::control_plane::insights::{Estimate, Sample};

pub use collect::{Collector, Message};
pub use money::Costs;

/// Templates of signatures listed with a pattern.
pub const MAX_LISTED_SIGNATURES: usize = 8;

/// What a log holds.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Messages read.
    pub messages: u64,
    /// Their bytes, as OTLP protobuf without the blocks around them, or as text.
    pub bytes: u64,
    /// What a month of this costs, where prices were asked for and times are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub costs: Option<Costs>,
    /// Set when the messages are a sample; counts are those of the sample, estimates stand beside them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
    /// Those with a time, which is what everything over time is about.
    pub timed: u64,
    /// Distinct signatures.
    pub signatures: usize,
    /// Messages of signatures beyond the bound: counted, in no pattern.
    pub beyond: u64,
    /// Time of the first and of the last message.
    pub span: Option<Span>,
    /// Messages by severity band, and over time.
    pub severities: Vec<Severity>,
    /// Patterns, most messages first.
    pub patterns: Vec<PatternReport>,
    /// Anomalies, in the order of their start.
    pub anomalies: Vec<Anomaly>,
}

/// The time that a log covers, cut into steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    /// Start of the first step, in Unix nanoseconds.
    pub start: UnixNanos,
    /// Time of the first message.
    pub first: UnixNanos,
    /// Time of the last message.
    pub last: UnixNanos,
    /// Length of a step of the series, in seconds.
    pub step_seconds: u64,
    /// How many steps.
    pub steps: usize,
    /// Length of the windows that anomalies were looked for in, in seconds.
    pub window_seconds: u64,
}

/// Messages of a severity band.
#[derive(Clone, Debug, Serialize)]
pub struct Severity {
    /// Its name.
    pub severity: &'static str,
    /// How many.
    pub messages: u64,
    /// How many there are in all, when the messages are a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// How many in each step.
    pub series: Vec<u32>,
}

/// A pattern: a cluster of signatures that one statement of a program wrote.
#[derive(Clone, Debug, Serialize)]
pub struct PatternReport {
    /// 16 hex digits.
    pub id: String,
    /// What its messages have in common.
    pub template: String,
    /// One message.
    pub example: String,
    /// How many.
    pub messages: u64,
    /// How many there are in all, when the messages are a sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// Their bytes.
    pub bytes: u64,
    /// What a month of them costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<f64>,
    /// The severity most of them have.
    pub severity: &'static str,
    /// How many signatures belong to it.
    pub signatures: usize,
    /// Templates of some of them.
    pub members: Vec<String>,
    /// Messages in each step.
    pub series: Vec<u32>,
}
