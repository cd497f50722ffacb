//! PostHog, read back: rows of its Logs product over its public APIs, as OTLP requests on disk.
//!
//! Purpose: history for `analyze` and `generate`, and a place to look records up.
//! Promises: every request counts against one budget per [`Client`] and its clones; each row of the fetched span is
//! handed over exactly once, also after a crash; memory is bounded by a few pages; a fault says whose it is and what to do.
//! Never: writes to PostHog, follows redirects, or lets a text from PostHog into a query unescaped.

mod answer;
mod budget;
mod checkpoint;
mod client;
pub mod config;
mod draw;
mod fault;
mod fetch;
mod hogql;
mod look;
mod otlp;
mod query;
mod reconcile;
mod retry;
mod row;
mod run;
mod slice;
mod spool;
mod strata;

pub use answer::Table;
pub use budget::Budget;
pub use checkpoint::{CHECKPOINT_FILE, Checkpoint, Identity, Phase, SPOOL_FILE};
pub use client::{Client, Counts, Notice, SystemTimer, Timer};
pub use config::{ReadApi, ReadConfig, ReconcileConfig};
pub use fault::{Fault, FaultKind};
pub use fetch::{Fetch, FetchError, History, Parts, Progress, Stage};
pub use hogql::{Refresh, literal, moment, utc};
pub use look::{Marked, count_received, holds};
pub use query::{LogsPage, LogsQuery, Order};
pub use reconcile::{Comparison, MAX_WAITING, Span, Spans, Verdict, compare};
pub use retry::RetryPolicy;
pub use row::Row;
pub use spool::{Spool, SpoolError, SpoolReader};
pub use strata::{Strata, Stretches};
