//! The meaning of `posthog:`, reading back.
//!
//! Purpose: refuse what would fail at the first request.
//! Promises: as `check`; a key that stands in the file itself is an error, and its text is in no message.
//! Never: connects. Project and key may be missing here: commands can be given them too.

use super::check::Checker;
use super::error::Problem;
use super::node::Node;
use crate::control_plane::posthog::config::ReadConfig;
use crate::data_plane::exporter::config::ExporterConfig;

/// More would not be a limit, and each request of an hour is remembered.
const MAX_REQUESTS: u32 = 1_000_000;

/// Checks the section.
pub fn check(config: &ReadConfig, root: &Node, errors: &mut Vec<Problem>) {
    let mut check = Checker::new("posthog", errors);
    if !matches!(config.host.as_str(), "us" | "eu") {
        check.http_url("host", &config.host);
    }
    check.api_key(root.find("posthog.api_key"), config.api_key.as_ref(), config.api_key_file.as_ref());
    let key = config.api_key.as_ref().map(|key| key.expose());
    check.require(
        !key.is_some_and(|key| key.starts_with("phc_")),
        "api_key",
        "a project token, which can only send",
        "give a personal API key (phx_...)",
    );
    for (key, limit) in
        [("requests_per_minute", config.requests_per_minute), ("requests_per_hour", config.requests_per_hour)]
    {
        check.positive(key, limit.into());
        check.require(limit <= MAX_REQUESTS, key, "over a million", "PostHog allows 240 a minute and 1,200 an hour");
    }
    check.period("timeout", config.timeout);
    check.positive("max_attempts", config.max_attempts.into());
    check.waits("", config.initial_interval, config.max_interval);
    reconcile(config, &mut check);
}

fn reconcile(config: &ReadConfig, check: &mut Checker<'_>) {
    let settings = &config.reconcile;
    let has_key = config.api_key.is_some() || config.api_key_file.is_some();
    check.require(
        !settings.enabled || (has_key && config.project.is_some()),
        "reconcile.enabled",
        "without a project and a key to read with",
        "set posthog.project and posthog.api_key",
    );
    check.period("reconcile.interval", settings.interval);
    check.require(
        (0.0..=1.0).contains(&settings.tolerance),
        "reconcile.tolerance",
        "not a share",
        "give a number from 0 to 1, such as 0.05",
    );
}

/// The exporter that is compared, if any: the one named, else the only `posthog` one.
///
/// # Errors
/// There is none, or several and none is named.
pub fn compared(config: &super::Config) -> Result<Option<&str>, Problem> {
    let settings = &config.posthog.reconcile;
    if !settings.enabled {
        return Ok(None);
    }
    let path = "posthog.reconcile.exporter";
    let mut ids = config.logs_exporters.iter().filter(|(id, exporter)| match &settings.exporter {
        Some(wanted) => id == wanted,
        None => matches!(exporter, ExporterConfig::PostHog(_)),
    });
    match (ids.next(), ids.next()) {
        (Some((id, _)), None) => Ok(Some(id.as_str())),
        (Some(_), Some(_)) => Err(Problem::new(path, "several posthog exporters", "name the one to compare")),
        (None, _) => Err(Problem::new(path, "no such exporter", "name one of the logs pipeline")),
    }
}

/// Files that the section names, by YAML path.
pub fn files(config: &ReadConfig) -> Vec<(String, Option<&String>)> {
    vec![
        ("posthog.api_key_file".to_owned(), config.api_key_file.as_ref()),
        ("posthog.ca_file".to_owned(), config.ca_file.as_ref()),
    ]
}
