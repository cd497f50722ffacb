//! OTLP logs as bytes in, bytes out.
//!
//! Purpose: find the records of an `ExportLogsServiceRequest` without decoding it, read single fields on demand, and
//! write the request again with some records left out, annotated or rewritten.
//! Promises: untouched bytes come out as they came in (unknown fields and field order too); malformed input is refused
//! as a whole, never a panic, never a partial write.
//! Never: knows anything of ours (no policies, signatures, windows), decides anything, builds prost structs on the hot
//! path.
//!
//! `wire` reads the protobuf wire format; `index` finds blocks and records in one pass; `record` and `value` read fields
//! on demand; `splice` writes a request again; `regroup` joins and cuts requests; `encode` writes the little that is our
//! own.
//!
//! Leniency: UTF-8 is not checked, attribute values are not looked into, and of a record's field that is repeated against
//! the schema the last one is read (protobuf would merge two bodies). Prost refuses or merges there.

pub mod encode;
pub mod index;
pub mod json;
pub mod record;
pub mod regroup;
pub mod splice;
pub mod value;
pub mod wire;

pub use index::{LogIndex, RecordSpan, ResourceSpan, ScopeSpan, Span};
pub use record::{RecordRef, ResourceRef, ScopeRef};
pub use regroup::{halves, regroup};
pub use splice::{Action, SplicePlan};
pub use value::{AnyValueRef, Attributes, KeyValueRef};

/// Why bytes are not a valid OTLP logs request. The sender's fault; never retry unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid OTLP protobuf logs request: at byte {offset}, {what}")]
pub struct ViewError {
    /// Offset into the request body, in bytes.
    pub offset: usize,
    /// What is wrong there.
    pub what: &'static str,
}
