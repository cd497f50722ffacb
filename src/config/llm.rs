//! The meaning of `llm:`.
//!
//! Purpose: refuse what would fail or surprise at the first round of scoring; warn about what costs or shows too much.
//! Promises: as `check`; a key that stands in the file itself is an error, and its text is in no message.
//! Never: connects, or looks at a model.

use super::check::Checker;
use super::error::{Problem, Warning, suggest};
use super::node::{Node, join};
use crate::control_plane::generator::llm::config::{LlmConfig, LlmProviderConfig, LlmProviderType, NONE};

/// More would be a list of labels, not a chain.
const MAX_PROVIDERS: usize = 8;

/// Checks the section.
pub fn check(config: &LlmConfig, root: &Node, errors: &mut Vec<Problem>) {
    let mut check = Checker::new("llm", errors);
    if config.providers.len() > MAX_PROVIDERS {
        check.error("providers", format!("more than {MAX_PROVIDERS}"), "one or two are usual");
    }
    for (index, name) in config.chain.iter().enumerate() {
        let key = format!("chain[{index}]");
        if name == NONE && index + 1 < config.chain.len() {
            check.error(&key, "none is not the last", "what stands behind it is never asked");
        } else if name != NONE && !config.providers.contains_key(name) {
            let hint = match config.providers.is_empty() {
                true => "define it under llm.providers".to_owned(),
                false => suggest(name, config.providers.keys().map(String::as_str)),
            };
            check.error(&key, format!("no provider is called {name:?}"), hint);
        } else if config.chain[..index].contains(name) {
            check.error(&key, format!("{name:?} is listed twice"), "it is not asked again after it failed");
        }
    }
    for (name, settings) in &config.providers {
        let key = root.find(&format!("llm.providers.{name}.api_key"));
        provider(&mut check.below(&join("providers", name)), name, settings, key);
    }
    let limits = &config.limits;
    check.positive("limits.max_patterns_per_round", limits.max_patterns_per_round as u64);
    check.positive("limits.max_requests_per_round", limits.max_requests_per_round as u64);
    check.positive("limits.batch_size", limits.batch_size as u64);
    check.positive("limits.max_answers", limits.max_answers as u64);
    check.period("limits.round_timeout", limits.round_timeout);
    check.require(
        limits.max_request_tokens >= 500,
        "limits.max_request_tokens",
        "less than one pattern may need",
        "give at least 500",
    );
    let cap = limits.max_cost_per_day;
    check.require(
        cap.is_finite() && cap >= 0.0,
        "limits.max_cost_per_day",
        "not an amount",
        "give US dollars, such as 5",
    );
    let bounds = &config.bounds;
    for (key, points) in [
        ("bounds.max_step", bounds.max_step),
        ("bounds.max_below_statistics", bounds.max_below_statistics),
        ("bounds.max_above_statistics", bounds.max_above_statistics),
        ("bounds.error_floor", bounds.error_floor),
    ] {
        check.require((0.0..=10.0).contains(&points), key, "not within 0 to 10", "worth is counted from 0 to 10");
    }
}

fn provider(check: &mut Checker<'_>, name: &str, config: &LlmProviderConfig, key: Option<&Node>) {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if name == NONE || name.is_empty() || name.len() > 64 || !is_plain {
        check.error("", "not a name for a provider", "letters, digits, - and _, at most 64; none is taken");
    }
    check.require(!config.model.trim().is_empty(), "model", "missing", "name the model as the provider does");
    if let Some(url) = &config.base_url {
        check.http_url("base_url", url);
    }
    check.api_key(key, config.api_key.as_ref(), config.api_key_file.as_ref());
    let key = config.api_key.as_ref().map(|key| key.expose());
    check.require(key != Some(""), "api_key", "empty", "set the variable, or remove the key");
    let needs_key = config.base_url.is_none() && config.kind != LlmProviderType::Ollama;
    if needs_key && key.is_none() && config.api_key_file.is_none() {
        check.error("api_key", "missing", "the vendor asks for one: write ${env:NAME}, or use api_key_file");
    }
    check.period("timeout", config.timeout);
    check.positive("max_attempts", config.max_attempts.into());
    check.waits("", config.initial_interval, config.max_interval);
    check.positive("max_output_tokens", config.max_output_tokens);
    check.require(config.context_tokens >= 2048, "context_tokens", "too few for one request", "give at least 2048");
    let temperature = config.temperature.unwrap_or(0.0);
    check.require((0.0..=2.0).contains(&temperature), "temperature", "not within 0 to 2", "leave it out if in doubt");
    for (key, price) in [("input_price", config.input_price), ("output_price", config.output_price)] {
        check.require(price.is_finite() && price >= 0.0, key, "not a price", "US dollars for a million tokens");
    }
}

/// What is legal but unwise.
pub fn advise(config: &LlmConfig, warnings: &mut Vec<Warning>) {
    for name in config.chain.iter().filter(|name| *name != NONE) {
        let Some(settings) = config.providers.get(name) else { continue };
        let path = format!("llm.providers.{name}");
        let is_vendor = settings.base_url.is_none() && settings.kind != LlmProviderType::Ollama;
        if is_vendor && settings.input_price == 0.0 && settings.output_price == 0.0 {
            let hint = "set input_price and output_price; limits.max_tokens_per_day holds in any case";
            warnings.push(Problem::new(
                join(&path, "input_price"),
                "without prices max_cost_per_day counts nothing",
                hint,
            ));
        }
        let has_key = settings.api_key.is_some() || settings.api_key_file.is_some();
        let url = settings.base_url.as_deref().and_then(|url| url::Url::parse(url).ok());
        let is_plain = url.as_ref().is_some_and(|url| url.scheme() == "http" && !is_local(url));
        if is_plain && has_key {
            let problem = "the key travels in plain text";
            warnings.push(Problem::new(join(&path, "base_url"), problem, "use https, or a host on this machine"));
        }
    }
}

fn is_local(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Files and directories that the section names, by YAML path. The state file may be missing.
pub fn files(config: &LlmConfig) -> Vec<(String, Option<&String>)> {
    let mut files = vec![("llm.prompts".to_owned(), config.prompts.as_ref())];
    for (name, settings) in &config.providers {
        files.push((format!("llm.providers.{name}.api_key_file"), settings.api_key_file.as_ref()));
        files.push((format!("llm.providers.{name}.ca_file"), settings.ca_file.as_ref()));
    }
    files
}
