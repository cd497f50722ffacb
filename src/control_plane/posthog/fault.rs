//! What can go wrong with PostHog, each in one sentence that says what to do.
//!
//! Purpose: a person reads whose fault it is; the client reads whether to try again.
//! Promises: PostHog's words are quoted at most 200 characters long and without control characters; no key is in a fault.
//! Never: retries, or logs.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, header};
use serde_json::Value;

use crate::clock::UnixNanos;

/// As much as is quoted of PostHog's words.
const MAX_QUOTED_CHARS: usize = 200;

/// What kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Our settings, found before anything was sent.
    Setting,
    /// The key is not known there.
    Key,
    /// The key may not do this.
    Scope,
    /// No such project, or not for this key.
    Project,
    /// No connection.
    Unreachable,
    /// Something answers that is not PostHog's API.
    NotPostHog,
    /// The answer is not of the form that we read.
    Schema,
    /// PostHog refuses the query.
    Refused,
    /// Too much for one query, for PostHog or for us.
    TooHeavy,
    /// Too many requests.
    Busy,
    /// PostHog fails.
    Server,
    /// The connection broke, or the answer took too long.
    Broken,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 12] = [
        FaultKind::Setting,
        FaultKind::Key,
        FaultKind::Scope,
        FaultKind::Project,
        FaultKind::Unreachable,
        FaultKind::NotPostHog,
        FaultKind::Schema,
        FaultKind::Refused,
        FaultKind::TooHeavy,
        FaultKind::Busy,
        FaultKind::Server,
        FaultKind::Broken,
    ];

    /// Whether a person has to change something; the others may pass.
    pub fn is_ours(self) -> bool {
        matches!(
            self,
            FaultKind::Setting
                | FaultKind::Key
                | FaultKind::Scope
                | FaultKind::Project
                | FaultKind::NotPostHog
                | FaultKind::Refused
        )
    }
}

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What the sentence is about: a scope, a project, a host, or PostHog's own words.
    pub detail: String,
    /// When PostHog wants to hear from us again.
    pub after: Option<Duration>,
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let detail = &self.detail;
        match self.kind {
            FaultKind::Setting => f.write_str(detail),
            FaultKind::Key => write!(
                f,
                "PostHog at {detail} does not know this personal API key: make one there under Settings > Personal API \
                 keys (it begins with phx_), and check that posthog.host is the region of the project"
            ),
            FaultKind::Scope => write!(
                f,
                "the personal API key lacks the scope {detail}: add it under Settings > Personal API keys in PostHog"
            ),
            FaultKind::Project => write!(
                f,
                "PostHog has no project {detail} for this key: take the number from the project's address \
                 (/project/<number>), and check under Settings > Personal API keys that the key may read it"
            ),
            FaultKind::Unreachable => write!(
                f,
                "cannot reach {detail}; check posthog.host (us, eu, or the URL of your own PostHog), DNS and proxy"
            ),
            FaultKind::NotPostHog => write!(
                f,
                "{detail}, which is not how PostHog's API answers: posthog.host must be the address that people open \
                 in a browser, not the one that logs are sent to"
            ),
            FaultKind::Schema => write!(
                f,
                "PostHog's answer is not of the form this version reads ({detail}): its API may have changed; update \
                 lipservice, or report this sentence"
            ),
            FaultKind::Refused => write!(f, "PostHog refuses the query: {detail}"),
            FaultKind::TooHeavy => write!(
                f,
                "one query is too much for PostHog ({detail}): ask for less with --service or a shorter --since"
            ),
            FaultKind::Busy => write!(
                f,
                "PostHog is asked too often ({detail}): lower posthog.requests_per_minute or requests_per_hour, or \
                 try again in an hour; other programs that use the same key count too"
            ),
            FaultKind::Server => write!(f, "PostHog fails ({detail}): try again later"),
            FaultKind::Broken => {
                write!(f, "the connection to PostHog breaks ({detail}): try again, or raise posthog.timeout")
            }
        }
    }
}

impl Fault {
    /// A fault about `detail`, which may be PostHog's words.
    pub fn new(kind: FaultKind, detail: impl AsRef<str>) -> Fault {
        Fault { kind, detail: quoted(detail.as_ref()), after: None }
    }

    /// The fault of an answer that is not a success, from `base` about `project`.
    pub fn of_status(answer: &Refusal<'_>, base: &str, project: &str, now: UnixNanos) -> Fault {
        let Refusal { status, headers, body } = *answer;
        let words = Words::of(body);
        let said = match words.detail.is_empty() {
            true => format!("HTTP {status}"),
            false => format!("HTTP {status}: {}", words.detail),
        };
        let scope = words.detail.strip_prefix("API key missing required scope ").map(|name| name.trim_matches('\''));
        let is_api = words.is_api;
        let lower = words.detail.to_lowercase();
        let kind = match status {
            401 => return Fault::new(FaultKind::Key, base),
            403 if scope.is_some() => return Fault::new(FaultKind::Scope, scope.unwrap_or_default()),
            403 if is_api && (lower.contains("project") || lower.contains("organization")) => {
                return Fault::new(FaultKind::Project, project);
            }
            404 if is_api => return Fault::new(FaultKind::Project, project),
            403 if is_api => FaultKind::Refused,
            429 => FaultKind::Busy,
            // PostHog's own: the query would take or took too long, needs too much memory, is too long.
            504 | 512 | 513 => FaultKind::TooHeavy,
            400 if lower.contains("memory limit") || lower.contains("timed out") || lower.contains("bytes to read") => {
                FaultKind::TooHeavy
            }
            408 | 500.. => FaultKind::Server,
            _ if is_api => FaultKind::Refused,
            _ => return Fault::new(FaultKind::NotPostHog, format!("{base} answers HTTP {status}")),
        };
        let detail = if kind == FaultKind::Refused { &words.detail } else { &said };
        Fault { after: retry_after(headers, now), ..Fault::new(kind, detail) }
    }
}

/// An answer that is not a success.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Body, or its beginning.
    pub body: &'a [u8],
}

/// What PostHog's errors say: `{"type", "code", "detail", "attr"}`.
struct Words {
    detail: String,
    is_api: bool,
}

impl Words {
    fn of(body: &[u8]) -> Words {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let detail = text("detail").or_else(|| text("error"));
        Words { is_api: detail.is_some(), detail: quoted(&detail.unwrap_or_default()) }
    }
}

/// `Retry-After` as seconds or a date; else the seconds in "Expected available in 12 seconds." are not looked for.
fn retry_after(headers: &HeaderMap, now: UnixNanos) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(UNIX_EPOCH + Duration::from_nanos(now)).unwrap_or(Duration::ZERO))
}

/// Others' words, short and harmless.
fn quoted(text: &str) -> String {
    let plain = text.chars().filter(|c| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    });
    plain.take(MAX_QUOTED_CHARS).collect()
}
