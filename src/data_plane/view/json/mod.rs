//! OTLP JSON at the edges: read into protobuf bytes, written from them.
//!
//! Purpose: clients that speak JSON get the same path as the rest; text outputs show what was forwarded.
//! Promises: everything the OTLP JSON mapping allows is read: hexadecimal ids in either case, 64-bit integers as text or
//! number, enumerations as integers or names, lowerCamelCase and snake_case, unknown fields, `null` and `{}` wherever a
//! message may stand. One pass, no tree in memory; nesting is bounded; nothing panics on any input.
//! Never: knows what a field means; the tables in `schema` say what there is. The caller bounds the size.

mod decode;
mod encode;
mod scalar;
mod schema;
mod schema_metrics;
mod schema_traces;

use super::ViewError;

/// Deepest nesting of JSON objects and arrays that is read. Whatever is read nests less deeply than the 100 messages at
/// which protobuf decoders give up.
pub const MAX_JSON_DEPTH: usize = 127;

/// Deepest nesting of messages that is written, the limit of common protobuf decoders.
pub const MAX_MESSAGE_DEPTH: usize = 100;

/// Why bytes are not an OTLP JSON request. The sender's fault; never retry unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid OTLP JSON request: at byte {offset}{}{path}, {what}", if .path.is_empty() { "" } else { ", in " })]
pub struct JsonError {
    /// Offset into the request body, in bytes, at or shortly behind the fault.
    pub offset: usize,
    /// The field, such as `resourceLogs[0].scopeLogs[0].logRecords[3].traceId`; empty at the top.
    pub path: String,
    /// What is wrong there, in one line of bounded length.
    pub what: String,
}

/// Reads an `ExportLogsServiceRequest` or `LogsData` in JSON; returns it as protobuf.
///
/// # Errors
/// The first place where the text is not JSON or not of this message.
pub fn decode(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    decode::decode(&schema::LOGS, json)
}

/// Reads one logs request per line, as the `file` exporter writes them; returns all of them as one protobuf request.
/// Blank lines are skipped.
///
/// # Errors
/// As [`decode`].
pub fn decode_lines(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    decode::decode_lines(&schema::LOGS, json)
}

/// Reads an `ExportTraceServiceRequest` or `TracesData` in JSON; returns it as protobuf.
///
/// # Errors
/// As [`decode`].
pub fn decode_traces(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    decode::decode(&schema_traces::TRACES, json)
}

/// Reads an `ExportMetricsServiceRequest` or `MetricsData` in JSON; returns it as protobuf.
///
/// # Errors
/// As [`decode`].
pub fn decode_metrics(json: &[u8]) -> Result<Vec<u8>, JsonError> {
    decode::decode(&schema_metrics::METRICS, json)
}

/// Appends an `ExportLogsServiceRequest` to `out` as OTLP JSON, in one line: lowerCamelCase, hexadecimal ids, 64-bit
/// integers as text, zero values left out, unknown fields left out, broken UTF-8 replaced.
///
/// # Errors
/// The first place where the bytes are not this message; `out` is then as it was.
pub fn encode(request: &[u8], out: &mut Vec<u8>) -> Result<(), ViewError> {
    encode::encode(&schema::LOGS, request, out)
}

/// Appends an `ExportTraceServiceRequest` to `out` as OTLP JSON; see [`encode`].
///
/// # Errors
/// As [`encode`].
pub fn encode_traces(request: &[u8], out: &mut Vec<u8>) -> Result<(), ViewError> {
    encode::encode(&schema_traces::TRACES, request, out)
}

/// Appends an `ExportMetricsServiceRequest` to `out` as OTLP JSON; see [`encode`].
///
/// # Errors
/// As [`encode`].
pub fn encode_metrics(request: &[u8], out: &mut Vec<u8>) -> Result<(), ViewError> {
    encode::encode(&schema_metrics::METRICS, request, out)
}
