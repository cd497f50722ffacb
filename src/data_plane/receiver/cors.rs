//! Cross-origin requests from browsers.
//!
//! Purpose: answer preflights and mark answers, so that pages of the configured origins can send logs.
//! Promises: an origin that is not configured gets no CORS header at all; answers that differ by origin say `Vary`.
//! Never: refuses a request for its origin (browsers do that), allows credentials, or echoes unchecked input.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::config::CorsConfig;

/// Request headers every exporter needs.
const DEFAULT_HEADERS: &str = "Content-Type, Content-Encoding, Authorization";
/// Answer headers that scripts may read.
const EXPOSED_HEADERS: &str = "Retry-After";

/// The `cors:` section, ready to use.
#[derive(Debug)]
pub(super) struct Cors {
    origins: Vec<String>,
    allowed_headers: HeaderValue,
    any_header: bool,
    max_age: Option<HeaderValue>,
}

impl Cors {
    /// Checks and prepares the section.
    ///
    /// # Errors
    /// Text that cannot be a header.
    pub(super) fn new(config: &CorsConfig) -> Result<Self, String> {
        let mut list = DEFAULT_HEADERS.to_owned();
        for name in config.allowed_headers.iter().filter(|name| *name != "*") {
            HeaderName::try_from(name).map_err(|_| format!("allowed_headers: {name:?} is not a header name"))?;
            list.push_str(", ");
            list.push_str(name);
        }
        Ok(Cors {
            origins: config.allowed_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
            allowed_headers: HeaderValue::try_from(list).map_err(|_| "allowed_headers: not header text".to_owned())?,
            any_header: config.allowed_headers.iter().any(|name| name == "*"),
            max_age: (config.max_age > 0).then(|| HeaderValue::from(config.max_age)),
        })
    }

    fn allows(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        let origin = origin.to_ascii_lowercase();
        self.origins.iter().any(|pattern| matches(pattern, &origin))
    }

    /// Marks the answer to a request with these headers.
    pub(super) fn mark(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = request.get(header::ORIGIN).filter(|origin| self.allows(origin)) {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
        }
    }

    /// Whether an OPTIONS request with these headers is a preflight.
    pub(super) fn is_preflight(request: &HeaderMap) -> bool {
        request.contains_key(header::ORIGIN) && request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Fills the answer to a preflight.
    pub(super) fn preflight(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        answer.append(
            header::VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        let Some(origin) = request.get(header::ORIGIN).filter(|origin| self.allows(origin)) else { return };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        let wanted = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|_| self.any_header);
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(&self.allowed_headers).clone());
        if let Some(age) = &self.max_age {
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, age.clone());
        }
    }
}

/// Whether the whole text matches a pattern in which each `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = tail.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_patterns() {
        for (pattern, origin, expected) in [
            ("*", "https://a.example", true),
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://a.example.evil", false),
            ("https://*.example", "https://a.b.example", true),
            ("https://*.example", "https://.example", true),
            ("https://*.example", "http://a.example", false),
            ("https://*.example", "https://a.example.evil", false),
            ("http://localhost:*", "http://localhost:3000", true),
            ("https://*-pr.*.example", "https://x-pr.y.example", true),
            ("https://*-pr.*.example", "https://x.y.example", false),
            ("ab*ba", "aba", false),
            ("", "https://a.example", false),
        ] {
            assert_eq!(matches(pattern, origin), expected, "{pattern} {origin}");
        }
    }
}
