//! What a client is told: the one table from a fault to HTTP and gRPC codes.
//!
//! Purpose: OTLP's status codes, retry hints and error bodies for both protocols, in one place.
//! Promises: a fault that should be retried carries when (Retry-After, RetryInfo), one that should not never does; error
//! bodies are `google.rpc.Status` in the request's own format.
//! Never: decides whether something is a fault.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use prost::Message as _;

use super::Refusal;

/// Why a request was not served: the consumer's refusal, or what the receiver itself found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Said by the consumer, or in its words.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Not well-formed gRPC.
    #[error("{0}")]
    Framing(String),
    /// A compression this receiver does not know.
    #[error("{0}")]
    Encoding(String),
    /// A content type this receiver does not know.
    #[error("{0}")]
    MediaType(String),
    /// No such path or method.
    #[error("{0}")]
    NotFound(String),
    /// Not POST.
    #[error("{0}")]
    Method(String),
    /// The body did not come in time.
    #[error("{0}")]
    TooSlow(String),
    /// The client's own deadline passed.
    #[error("{0}")]
    Deadline(String),
    /// The client went away, or broke the connection, in the middle of its request.
    #[error("{0}")]
    Gone(String),
}

/// How a request ended; a label of metrics and a row of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    Malformed,
    TooLarge,
    Busy,
    Unsupported,
    Unauthenticated,
    Failed,
    Framing,
    Encoding,
    MediaType,
    NotFound,
    Method,
    TooSlow,
    Deadline,
    Gone,
}

/// The codes of an outcome: HTTP status, gRPC code and the latter's name.
pub(super) struct Row(pub(super) Outcome, pub(super) u16, pub(super) u8, pub(super) &'static str);

/// Every outcome once, in the order of the enum.
pub(super) const TABLE: [Row; 15] = [
    Row(Outcome::Ok, 200, 0, "OK"),
    Row(Outcome::Malformed, 400, 3, "INVALID_ARGUMENT"),
    Row(Outcome::TooLarge, 413, 8, "RESOURCE_EXHAUSTED"),
    Row(Outcome::Busy, 503, 14, "UNAVAILABLE"),
    Row(Outcome::Unsupported, 404, 12, "UNIMPLEMENTED"),
    Row(Outcome::Unauthenticated, 401, 16, "UNAUTHENTICATED"),
    Row(Outcome::Failed, 500, 13, "INTERNAL"),
    Row(Outcome::Framing, 400, 13, "INTERNAL"),
    Row(Outcome::Encoding, 415, 12, "UNIMPLEMENTED"),
    Row(Outcome::MediaType, 415, 12, "UNIMPLEMENTED"),
    Row(Outcome::NotFound, 404, 12, "UNIMPLEMENTED"),
    Row(Outcome::Method, 405, 12, "UNIMPLEMENTED"),
    Row(Outcome::TooSlow, 408, 4, "DEADLINE_EXCEEDED"),
    Row(Outcome::Deadline, 504, 4, "DEADLINE_EXCEEDED"),
    Row(Outcome::Gone, 400, 1, "CANCELLED"),
];

impl Outcome {
    /// Its codes.
    pub(super) fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The `reason` label of metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Malformed => "malformed",
            Outcome::TooLarge => "too_large",
            Outcome::Busy => "busy",
            Outcome::Unsupported => "unsupported_signal",
            Outcome::Unauthenticated => "unauthenticated",
            Outcome::Failed => "failed",
            Outcome::Framing => "framing",
            Outcome::Encoding => "encoding",
            Outcome::MediaType => "media_type",
            Outcome::NotFound => "not_found",
            Outcome::Method => "method",
            Outcome::TooSlow => "too_slow",
            Outcome::Deadline => "deadline",
            Outcome::Gone => "gone",
        }
    }
}

impl Fault {
    /// The row of the table it belongs to.
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Fault::Refused(Refusal::Malformed(_)) => Outcome::Malformed,
            Fault::Refused(Refusal::TooLarge(_)) => Outcome::TooLarge,
            Fault::Refused(Refusal::Busy { .. }) => Outcome::Busy,
            Fault::Refused(Refusal::Unsupported(_)) => Outcome::Unsupported,
            Fault::Refused(Refusal::Unauthenticated(_)) => Outcome::Unauthenticated,
            Fault::Refused(Refusal::Failed(_)) => Outcome::Failed,
            Fault::Framing(_) => Outcome::Framing,
            Fault::Encoding(_) => Outcome::Encoding,
            Fault::MediaType(_) => Outcome::MediaType,
            Fault::NotFound(_) => Outcome::NotFound,
            Fault::Method(_) => Outcome::Method,
            Fault::TooSlow(_) => Outcome::TooSlow,
            Fault::Deadline(_) => Outcome::Deadline,
            Fault::Gone(_) => Outcome::Gone,
        }
    }

    /// When to try again; none says not to.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Fault::Refused(Refusal::Busy { retry_after, .. }) => Some(*retry_after),
            _ => None,
        }
    }

    /// The `Retry-After` header: whole seconds, rounded up, at least one.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after().map(|wait| wait.as_millis().div_ceil(1000).max(1) as u64)
    }

    /// `google.rpc.Status` in protobuf, with RetryInfo where a retry makes sense.
    pub(super) fn status_protobuf(&self) -> Vec<u8> {
        let details = self.retry_after().map(|wait| Any {
            type_url: RETRY_INFO_URL.into(),
            value: RetryInfo {
                retry_delay: Some(ProtoDuration {
                    seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                    nanos: wait.subsec_nanos().cast_signed(),
                }),
            }
            .encode_to_vec(),
        });
        Status {
            code: self.outcome().row().2.into(),
            message: self.to_string(),
            details: details.into_iter().collect(),
        }
        .encode_to_vec()
    }

    /// `google.rpc.Status` in JSON.
    pub(super) fn status_json(&self) -> String {
        let mut status = serde_json::json!({ "code": self.outcome().row().2, "message": self.to_string() });
        if let Some(wait) = self.retry_after() {
            let delay = format!("{}s", wait.as_secs_f64());
            status["details"] = serde_json::json!([{ "@type": RETRY_INFO_URL, "retryDelay": delay }]);
        }
        status.to_string()
    }

    /// `grpc-status-details-bin`, for faults that carry more than code and message.
    pub(super) fn grpc_details(&self) -> Option<String> {
        self.retry_after()?;
        Some(base64::engine::general_purpose::STANDARD_NO_PAD.encode(self.status_protobuf()))
    }

    /// `grpc-message`: percent-encoded as the gRPC protocol asks, cut to a length that header tables hold.
    pub(super) fn grpc_message(&self) -> String {
        percent_encode(&self.to_string(), MAX_GRPC_MESSAGE_BYTES)
    }
}

const RETRY_INFO_URL: &str = "type.googleapis.com/google.rpc.RetryInfo";
const MAX_GRPC_MESSAGE_BYTES: usize = 1024;

/// Bytes outside 0x20..=0x7e and `%` become `%XX`; stops before `max_bytes` would be passed.
fn percent_encode(text: &str, max_bytes: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max_bytes));
    for character in text.chars() {
        let mut utf8 = [0; 4];
        let encoded = character.encode_utf8(&mut utf8);
        if out.len() + 3 * encoded.len() > max_bytes {
            break;
        }
        match character {
            ' '..='~' if character != '%' => out.push(character),
            _ => {
                for byte in encoded.bytes() {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "%{byte:02X}");
                }
            }
        }
    }
    out
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(millis: u64) -> Fault {
        Fault::Refused(Refusal::Busy { message: "full".into(), retry_after: Duration::from_millis(millis) })
    }

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "{:?}", row.0);
        }
    }

    #[test]
    fn faults_map_as_otlp_says() {
        let text = || "why".to_owned();
        let cases: [(Fault, u16, u8, bool); 14] = [
            (Refusal::Malformed(text()).into(), 400, 3, false),
            (Refusal::TooLarge(text()).into(), 413, 8, false),
            (busy(1000), 503, 14, true),
            (Refusal::Unsupported(text()).into(), 404, 12, false),
            (Refusal::Unauthenticated(text()).into(), 401, 16, false),
            (Refusal::Failed(text()).into(), 500, 13, false),
            (Fault::Framing(text()), 400, 13, false),
            (Fault::Encoding(text()), 415, 12, false),
            (Fault::MediaType(text()), 415, 12, false),
            (Fault::NotFound(text()), 404, 12, false),
            (Fault::Method(text()), 405, 12, false),
            (Fault::TooSlow(text()), 408, 4, false),
            (Fault::Deadline(text()), 504, 4, false),
            (Fault::Gone(text()), 400, 1, false),
        ];
        for (fault, http, grpc, retry) in cases {
            let row = fault.outcome().row();
            assert_eq!((row.1, row.2), (http, grpc), "{fault:?}");
            assert_eq!(fault.retry_after().is_some(), retry, "{fault:?}");
            assert_eq!(fault.grpc_details().is_some(), retry, "{fault:?}");
            let status = Status::decode(fault.status_protobuf().as_slice()).unwrap();
            assert_eq!(
                (status.code, status.message, status.details.len()),
                (grpc.into(), fault.to_string(), retry.into())
            );
        }
    }

    #[test]
    fn retry_after_rounds_up() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (30_000, 30)] {
            assert_eq!(busy(millis).retry_after_seconds(), Some(seconds), "{millis}");
        }
        assert_eq!(
            busy(1500).status_json(),
            r#"{"code":14,"message":"full","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"1.5s"}]}"#
        );
    }

    #[test]
    fn messages_are_percent_encoded_and_cut() {
        for (text, max, encoded) in [
            ("plain text", 100, "plain text"),
            ("100 %\n", 100, "100 %25%0A"),
            ("ü", 100, "%C3%BC"),
            ("ü", 5, ""),
            ("abcdef", 5, "abc"),
        ] {
            assert_eq!(percent_encode(text, max), encoded, "{text:?} {max}");
        }
    }
}
