//! Batches out: to PostHog, any OTLP/HTTP endpoint, a file or the terminal.
//!
//! Purpose: deliver what was kept, once accepted, or say that it failed; push back before accepting what does not fit.
//! Promises: accepted = sent + failed + waiting, in records, at every moment; the queue is bounded in bytes; a
//! reservation that is submitted is never refused; requests are grouped under shared resource and scope blocks.
//! Never: decides what is kept, changes a record, or mixes the records of two tokens in one request.

pub mod config;

use std::sync::Arc;

use bytes::Bytes;

/// One request's worth of kept records, on its way to a destination.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// An `ExportLogsServiceRequest` in protobuf with at least one record.
    pub body: Bytes,
    /// Records in it.
    pub records: u64,
    /// The client's token, for destinations that pass it through. Records of different tokens are never mixed.
    pub token: Option<Arc<str>>,
}
