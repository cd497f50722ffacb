//! What an answer means: delivered, try again, cut in two, or give up.
//!
//! Purpose: one pure function from status and headers to an [`Outcome`], so that the rules are a table.
//! Promises: total: every status has a meaning; Retry-After is read as seconds or as an HTTP date and bounded.
//! Never: reads a body, looks at a clock (the time is an argument), or sends.
//!
//! Source: OTLP 1.11, "OTLP/HTTP Response" (429, 502, 503 and 504 are retryable); PostHog's ingestion answers 500 both
//! for a passing fault and for a body it can never take, so there 500 is a suspicion and not a verdict.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, StatusCode, header};

use super::accounts::FailReason;
use crate::clock::UnixNanos;

/// Whose rules apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// OTLP/HTTP as specified.
    Otlp,
    /// OTLP/HTTP as PostHog answers it.
    PostHog,
}

/// What to do after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, but for `rejected` records that must not be sent again.
    Delivered {
        /// Records the destination says it rejected.
        rejected: u64,
        /// Bytes that went over the wire.
        wire_bytes: usize,
    },
    /// A failure that may pass: send the same again.
    Transient {
        /// The destination's own wish (Retry-After), unbounded.
        after: Option<Duration>,
        /// For the log.
        why: String,
    },
    /// A failure that either passes or never does: try again a few times, then cut in two.
    Suspect {
        /// For the log.
        why: String,
    },
    /// The destination will never take this body, but may take its parts.
    Cut {
        /// What a single record fails as.
        reason: FailReason,
        /// For the log.
        why: String,
    },
    /// The destination will never take these records.
    Refused {
        /// What they fail as.
        reason: FailReason,
        /// For the log: whose fault and which setting.
        why: String,
    },
}

impl Outcome {
    /// A transient failure without a wish.
    pub(super) fn transient(why: impl Into<String>) -> Self {
        Outcome::Transient { after: None, why: why.into() }
    }
    /// Acknowledged in full.
    pub(super) fn delivered(wire_bytes: usize) -> Self {
        Outcome::Delivered { rejected: 0, wire_bytes }
    }
}

/// Maps an answer to what follows from it. `now` serves HTTP dates in Retry-After.
///
/// 402 is PostHog's and others' word for a used-up quota. It does not pass within minutes, and to wait for it would fill
/// the queue and push back on every client; so it fails (counted as `quota`) unless the destination names a time.
pub fn classify(status: StatusCode, headers: &HeaderMap, preset: Preset, now: UnixNanos) -> Outcome {
    let after = retry_after(headers, now);
    let why = format!("the destination answered {status}");
    match status.as_u16() {
        200..=299 => Outcome::delivered(0),
        429 | 502 | 503 | 504 => Outcome::Transient { after, why },
        402 if after.is_some() => Outcome::Transient { after, why },
        402 => Outcome::Refused {
            reason: FailReason::Quota,
            why: format!("{why}: its quota is used up; raise the limit there, or lower the sampling rates"),
        },
        408 if preset == Preset::PostHog => Outcome::Transient { after, why },
        500 if preset == Preset::PostHog => Outcome::Suspect { why },
        // What a proxy in front of PostHog says when it cannot reach it.
        520..=530 if preset == Preset::PostHog => Outcome::Transient { after, why },
        400 => Outcome::Cut { reason: FailReason::Rejected, why },
        413 => Outcome::Cut { reason: FailReason::TooLarge, why: format!("{why}: lower batch.max_size") },
        401 | 403 => Outcome::Refused {
            reason: FailReason::Unauthorized,
            why: format!("{why}: check the exporter's token or headers, or the token the clients send"),
        },
        300..=399 => {
            let location = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("nowhere");
            let location: String = location.chars().filter(|c| !c.is_control()).take(200).collect();
            Outcome::Refused {
                reason: FailReason::Rejected,
                why: format!("{why} and points to {location}: redirects are not followed, set that address"),
            }
        }
        404 | 405 => Outcome::Refused {
            reason: FailReason::Rejected,
            why: format!("{why}: nothing takes logs at this address; check the exporter's endpoint or host"),
        },
        500 => Outcome::Refused { reason: FailReason::Destination500, why },
        _ => Outcome::Refused { reason: FailReason::Rejected, why },
    }
}

/// Retry-After as a wait from `now`; a date in the past is a wait of zero, nonsense is none.
fn retry_after(headers: &HeaderMap, now: UnixNanos) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let now = UNIX_EPOCH.checked_add(Duration::from_nanos(now))?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixNanos = 1_700_000_000_000_000_000;

    fn kind(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Delivered { .. } => "delivered".into(),
            Outcome::Transient { after: Some(after), .. } => format!("transient after {}s", after.as_secs()),
            Outcome::Transient { .. } => "transient".into(),
            Outcome::Suspect { .. } => "suspect".into(),
            Outcome::Cut { reason, .. } => format!("cut {}", reason.label()),
            Outcome::Refused { reason, .. } => format!("refused {}", reason.label()),
        }
    }

    #[test]
    fn every_status_has_a_meaning() {
        #[rustfmt::skip]
        let table = [
            // status, otlp_http, posthog
            (200, "delivered", "delivered"),
            (202, "delivered", "delivered"),
            (204, "delivered", "delivered"),
            (301, "refused rejected", "refused rejected"),
            (307, "refused rejected", "refused rejected"),
            (400, "cut rejected", "cut rejected"),
            (401, "refused unauthorized", "refused unauthorized"),
            (402, "refused quota", "refused quota"),
            (403, "refused unauthorized", "refused unauthorized"),
            (404, "refused rejected", "refused rejected"),
            (405, "refused rejected", "refused rejected"),
            (408, "refused rejected", "transient"),
            (413, "cut too_large", "cut too_large"),
            (415, "refused rejected", "refused rejected"),
            (422, "refused rejected", "refused rejected"),
            (429, "transient", "transient"),
            (500, "refused destination_500", "suspect"),
            (501, "refused rejected", "refused rejected"),
            (502, "transient", "transient"),
            (503, "transient", "transient"),
            (504, "transient", "transient"),
            (505, "refused rejected", "refused rejected"),
            (522, "refused rejected", "transient"),
        ];
        for (status, otlp, posthog) in table {
            let code = StatusCode::from_u16(status).unwrap();
            for (preset, expected) in [(Preset::Otlp, otlp), (Preset::PostHog, posthog)] {
                let outcome = classify(code, &HeaderMap::new(), preset, NOW);
                assert_eq!(kind(&outcome), expected, "{status} under {preset:?}");
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_nanos(NOW) + Duration::from_secs(90));
        let past = httpdate::fmt_http_date(UNIX_EPOCH);
        for (text, expected) in [
            ("7", "transient after 7s"),
            (" 120 ", "transient after 120s"),
            ("99999999999999999999999", "transient after 18446744073709551615s"),
            (date.as_str(), "transient after 90s"),
            (past.as_str(), "transient after 0s"),
            ("soon", "transient"),
            ("-1", "transient"),
            ("", "transient"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
                assert_eq!(kind(&classify(status, &headers, Preset::Otlp, NOW)), expected, "{text:?}");
            }
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "60".parse().unwrap());
        let quota = classify(StatusCode::PAYMENT_REQUIRED, &headers, Preset::PostHog, NOW);
        assert_eq!(kind(&quota), "transient after 60s");
    }

    #[test]
    fn a_refusal_says_what_to_set() {
        let mut headers = HeaderMap::new();
        headers.insert(header::LOCATION, "https://elsewhere.example/v1/logs".parse().unwrap());
        for (status, word) in [(301, "https://elsewhere.example"), (401, "token"), (404, "endpoint"), (413, "max_size")]
        {
            let outcome = classify(StatusCode::from_u16(status).unwrap(), &headers, Preset::PostHog, NOW);
            let (Outcome::Refused { why, .. } | Outcome::Cut { why, .. }) = outcome else { panic!("{outcome:?}") };
            assert!(why.contains(word), "{why}");
        }
    }
}
