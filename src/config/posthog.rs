//! The meaning of `posthog:`, reading back.
//!
//! Purpose: refuse what would fail at the first request.
//! Promises: as `check`; a key that stands in the file itself is an error, and its text is in no message.
//! Never: connects. Project and key may be missing here: commands can be given them too.

use super::check::Checker;
use super::error::Problem;
use super::node::Node;
use crate::control_plane::posthog::config::ReadConfig;

/// How a secret prints; what `print-config` wrote may be checked again.
const REDACTED: &str = "[redacted]";
/// More would not be a limit, and each request of an hour is remembered.
const MAX_REQUESTS: u32 = 1_000_000;

/// Checks the section.
pub fn check(config: &ReadConfig, root: &Node, errors: &mut Vec<Problem>) {
    let mut check = Checker::new("posthog", errors);
    if !matches!(config.host.as_str(), "us" | "eu") {
        check.http_url("host", &config.host);
    }
    let key = config.api_key.as_ref().map(|key| key.expose());
    let is_literal = root.find("posthog.api_key").is_some_and(|node| node.substituted.is_none());
    if is_literal && key.is_some_and(|key| key != REDACTED) {
        check.error("api_key", "a key written into the file", "write ${env:NAME}, or use api_key_file");
    }
    check.require(
        !key.is_some_and(|key| key.starts_with("phc_")),
        "api_key",
        "a project token, which can only send",
        "give a personal API key (phx_...)",
    );
    check.require(
        key.is_none() || config.api_key_file.is_none(),
        "api_key_file",
        "a second key",
        "give one of the two",
    );
    for (key, limit) in
        [("requests_per_minute", config.requests_per_minute), ("requests_per_hour", config.requests_per_hour)]
    {
        check.positive(key, limit.into());
        check.require(limit <= MAX_REQUESTS, key, "over a million", "PostHog allows 240 a minute and 1,200 an hour");
    }
    check.period("timeout", config.timeout);
    check.positive("max_attempts", config.max_attempts.into());
    check.period("initial_interval", config.initial_interval);
    check.require(
        config.max_interval >= config.initial_interval,
        "max_interval",
        "shorter than initial_interval",
        "give at least initial_interval",
    );
}

/// Files that the section names, by YAML path.
pub fn files(config: &ReadConfig) -> Vec<(String, Option<&String>)> {
    vec![
        ("posthog.api_key_file".to_owned(), config.api_key_file.as_ref()),
        ("posthog.ca_file".to_owned(), config.ca_file.as_ref()),
    ]
}
