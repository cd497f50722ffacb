//! Why there is no answer, and what follows from it.
//!
//! Purpose: one pure function from a status, headers and body to a [`Fault`], so that the rules are a table.
//! Promises: total; the words of a provider are bounded and made harmless, and credentials in them are blanked.
//! Never: retries, waits or reads a clock (the time is an argument).
//!
//! Source: the error pages of OpenAI, Anthropic and Ollama, and the llama.cpp server's README, as of November 2026.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, header};
use serde_json::Value;

use super::super::config::RedactConfig;
use super::super::quote::quote_name;
use crate::clock::UnixNanos;

const MAX_WHY_CHARS: usize = 200;

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// The key is missing, wrong or not allowed to.
    Unauthorized,
    /// Paid quota or credit is used up: does not pass by itself.
    Quota,
    /// No such model or address.
    NotFound,
    /// The provider does not accept the request.
    BadRequest,
    /// Too many requests for now.
    RateLimited,
    /// The provider failed.
    Server,
    /// No connection, or one that broke.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The model declined.
    Refused,
    /// The answer was cut at its limit.
    Truncated,
    /// The prompt does not fit the model.
    ContextOverflow,
    /// Something came, but not an answer.
    Garbage,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 12] = [
        FaultKind::Unauthorized,
        FaultKind::Quota,
        FaultKind::NotFound,
        FaultKind::BadRequest,
        FaultKind::RateLimited,
        FaultKind::Server,
        FaultKind::Unreachable,
        FaultKind::Timeout,
        FaultKind::Refused,
        FaultKind::Truncated,
        FaultKind::ContextOverflow,
        FaultKind::Garbage,
    ];

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        match self {
            FaultKind::Unauthorized => "unauthorized",
            FaultKind::Quota => "quota",
            FaultKind::NotFound => "not_found",
            FaultKind::BadRequest => "bad_request",
            FaultKind::RateLimited => "rate_limited",
            FaultKind::Server => "server",
            FaultKind::Unreachable => "unreachable",
            FaultKind::Timeout => "timeout",
            FaultKind::Refused => "refused",
            FaultKind::Truncated => "truncated",
            FaultKind::ContextOverflow => "context_overflow",
            FaultKind::Garbage => "garbage",
        }
    }

    /// Whether the same request may succeed a moment later, at no cost for the failed one.
    pub fn is_free_to_retry(self) -> bool {
        matches!(self, FaultKind::RateLimited | FaultKind::Server | FaultKind::Unreachable)
    }

    /// Whether a smaller request may succeed where this one failed.
    pub fn asks_for_less(self) -> bool {
        use FaultKind::{ContextOverflow, Garbage, Refused, Timeout, Truncated};
        matches!(self, Refused | Truncated | ContextOverflow | Garbage | Timeout)
    }
}

/// A failure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", kind.label())]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// For people, harmless.
    pub why: String,
    /// When the provider wants to hear from us again.
    pub after: Option<Duration>,
}

impl Fault {
    /// A fault in our or the provider's words; those are made harmless.
    pub fn new(kind: FaultKind, why: &str) -> Fault {
        Fault { kind, why: quote_name(why, &RedactConfig::default(), MAX_WHY_CHARS), after: None }
    }
}

/// What a provider says about an error: type and code, then the message.
fn words(body: &[u8]) -> (String, String) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return (String::new(), String::from_utf8_lossy(&body[..body.len().min(1024)]).into_owned());
    };
    let error = value.get("error").unwrap_or(&value);
    let text = |key: &str| error[key].as_str().unwrap_or_default();
    let message = error.as_str().or_else(|| error["message"].as_str()).or_else(|| value["detail"].as_str());
    (format!("{} {}", text("type"), text("code")), message.unwrap_or_default().to_owned())
}

/// The fault of an answer that is not 200.
pub fn of_status(status: u16, headers: &HeaderMap, body: &[u8], now: UnixNanos) -> Fault {
    let (code, message) = words(body);
    let lower = message.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| lower.contains(phrase));
    let out_of_money = code.contains("insufficient_quota")
        || code.contains("billing")
        || says(&["credit balance", "spend limit", "usage limits", "exceeded your current quota"]);
    let too_long = code.contains("context_length_exceeded")
        || code.contains("exceed_context_size")
        || says(&["context length", "context window", "context size", "prompt is too long", "maximum context"]);
    let kind = match status {
        402 => FaultKind::Quota,
        400 | 403 | 429 if out_of_money => FaultKind::Quota,
        400 | 413 | 422 if too_long || status == 413 => FaultKind::ContextOverflow,
        401 | 403 => FaultKind::Unauthorized,
        404 | 405 => FaultKind::NotFound,
        429 => FaultKind::RateLimited,
        500 if too_long => FaultKind::ContextOverflow,
        408 | 409 | 500.. => FaultKind::Server,
        _ => FaultKind::BadRequest,
    };
    let mut fault = Fault::new(kind, &format!("HTTP {status}: {message}"));
    fault.after = retry_after(headers, now);
    fault
}

/// `retry-after-ms`, else `Retry-After` as seconds (fractions too) or a date.
fn retry_after(headers: &HeaderMap, now: UnixNanos) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let duration = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
    if let Some(wait) = number("retry-after-ms").and_then(|millis| duration(millis / 1e3)) {
        return Some(wait);
    }
    if let Some(wait) = number("retry-after").and_then(duration) {
        return Some(wait);
    }
    let date = httpdate::parse_http_date(headers.get(header::RETRY_AFTER)?.to_str().ok()?).ok()?;
    let now = UNIX_EPOCH.checked_add(Duration::from_nanos(now))?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = 1_800_000_000_000_000_000;

    #[test]
    fn every_status_has_a_meaning() {
        #[rustfmt::skip]
        let table = [
            (400, r#"{"error":{"message":"Unknown parameter","type":"invalid_request_error"}}"#, FaultKind::BadRequest),
            (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, FaultKind::ContextOverflow),
            (400, r#"{"error":{"code":400,"message":"x","type":"exceed_context_size_error"}}"#, FaultKind::ContextOverflow),
            (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens > 8 maximum"}}"#, FaultKind::ContextOverflow),
            (400, r#"{"object":"error","message":"This model's maximum context length is 8"}"#, FaultKind::ContextOverflow),
            (400, r#"{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}"#, FaultKind::Quota),
            (401, r#"{"error":{"message":"Incorrect API key"}}"#, FaultKind::Unauthorized),
            (402, "", FaultKind::Quota),
            (403, r#"{"type":"error","error":{"type":"permission_error","message":"no"}}"#, FaultKind::Unauthorized),
            (404, r#"{"error":"model 'x' not found"}"#, FaultKind::NotFound),
            (408, "", FaultKind::Server),
            (409, "", FaultKind::Server),
            (413, r#"{"type":"error","error":{"type":"request_too_large"}}"#, FaultKind::ContextOverflow),
            (422, r#"{"detail":"no such field"}"#, FaultKind::BadRequest),
            (429, r#"{"error":{"message":"Rate limit","type":"requests","code":"rate_limit_exceeded"}}"#, FaultKind::RateLimited),
            (429, r#"{"error":{"message":"x","type":"insufficient_quota","code":"insufficient_quota"}}"#, FaultKind::Quota),
            (500, "oops", FaultKind::Server),
            (500, r#"{"error":"prompt exceeds context size"}"#, FaultKind::ContextOverflow),
            (503, r#"{"error":{"message":"Loading model","type":"unavailable_error"}}"#, FaultKind::Server),
            (529, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, FaultKind::Server),
            (302, "", FaultKind::BadRequest),
            (200, "", FaultKind::BadRequest),
            (0, "\u{0}", FaultKind::BadRequest),
        ];
        for (status, body, kind) in table {
            let fault = of_status(status, &HeaderMap::new(), body.as_bytes(), NOW);
            assert_eq!((fault.kind, fault.after), (kind, None), "{status} {body}");
        }
    }

    #[test]
    fn waits_are_read_in_every_form() {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_nanos(NOW) + Duration::from_secs(90));
        for (name, value, wait) in [
            ("retry-after-ms", "1500", Some(Duration::from_millis(1500))),
            ("retry-after", "2", Some(Duration::from_secs(2))),
            ("retry-after", "0.25", Some(Duration::from_millis(250))),
            ("retry-after", date.as_str(), Some(Duration::from_secs(90))),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("retry-after", "NaN", None),
            ("retry-after-ms", "inf", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            assert_eq!(of_status(429, &headers, b"", NOW).after, wait, "{name}: {value}");
        }
    }

    #[test]
    fn a_providers_words_are_bounded_and_keep_no_secret() {
        let key = format!("{}-{}", "sk", "abcdefghijklmnopqrstuvwxyz");
        let body =
            format!(r#"{{"error":{{"message":"Incorrect API key provided: {key} \u001b[31m{}"}}}}"#, "x ".repeat(500));
        let fault = of_status(401, &HeaderMap::new(), body.as_bytes(), NOW);
        assert!(!fault.why.contains("abcdef") && !fault.why.contains('\u{1b}'), "{fault}");
        assert!(fault.why.chars().count() <= MAX_WHY_CHARS);
        assert!(fault.to_string().starts_with("unauthorized: HTTP 401: Incorrect"), "{fault}");
        let labels: std::collections::HashSet<_> = FaultKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), FaultKind::ALL.len());
    }
}
