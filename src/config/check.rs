//! The meaning of each component's own settings.
//!
//! Purpose: refuse what would fail or surprise later: addresses, URLs, limits of zero, percentages out of range.
//! Promises: reports every fault; pure, but for [`check_files`], which looks whether named files can be read.
//! Never: resolves names or connects. What concerns several components together is in `whole`.

use std::path::Path;

use super::Config;
use super::build::{Components, Extension, Processor};
use super::error::{Problem, suggest};
use super::node::{Node, join};
use crate::control_plane::analysis::anomaly::config::AnomalyConfig;
use crate::data_plane::exporter::config::{
    BatchConfig, ClientTlsConfig, ExporterConfig, FileConfig, OtlpHttpConfig, PostHogConfig, QueueConfig, RetryConfig,
};
use crate::data_plane::receiver::config::{BearerTokenAuthConfig, OtlpReceiverConfig, TlsConfig};
use crate::data_plane::sampler::config::SamplerConfig;
use crate::telemetry::config::MemoryLimiterConfig;
use crate::units::{ByteSize, Period, Secret};

pub use super::control::control;
pub use super::whole::{literal_secrets, whole};

/// How a secret prints.
const REDACTED: &str = "[redacted]";

/// Collects the errors below one path.
pub struct Checker<'a> {
    path: String,
    errors: &'a mut Vec<Problem>,
}

impl<'a> Checker<'a> {
    /// Errors below `path` go to `errors`.
    pub fn new(path: impl Into<String>, errors: &'a mut Vec<Problem>) -> Self {
        Checker { path: path.into(), errors }
    }

    pub(super) fn below(&mut self, key: &str) -> Checker<'_> {
        Checker { path: join(&self.path, key), errors: &mut *self.errors }
    }

    pub(super) fn error(&mut self, key: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let path = if key.is_empty() { self.path.clone() } else { join(&self.path, key) };
        self.errors.push(Problem::new(path, problem, hint));
    }

    pub(super) fn require(&mut self, holds: bool, key: &str, problem: &str, hint: &str) {
        if !holds {
            self.error(key, problem, hint);
        }
    }

    pub(super) fn positive(&mut self, key: &str, value: u64) {
        self.require(value > 0, key, "zero", "give at least 1");
    }

    pub(super) fn size(&mut self, key: &str, value: ByteSize) {
        self.require(value.0 > 0, key, "zero bytes", "give a size such as 4MiB");
    }

    pub(super) fn period(&mut self, key: &str, value: Period) {
        self.require(!value.0.is_zero(), key, "no time at all", "give a duration such as 10s");
    }

    /// A key that authenticates: from the environment or a file, from one of the two, and in no message.
    pub(super) fn api_key(&mut self, node: Option<&Node>, key: Option<&Secret>, file: Option<&String>) {
        let is_literal = node.is_some_and(|node| node.substituted.is_none());
        // What `print-config` wrote may be checked again.
        if is_literal && key.is_some_and(|key| key.expose() != REDACTED) {
            self.error("api_key", "a key written into the file", "write ${env:NAME}, or use api_key_file");
        }
        let is_one = key.is_none() || file.is_none();
        self.require(is_one, "api_key_file", "a second key", "give one of the two");
    }

    /// Waits between tries, below `key`.
    pub(super) fn waits(&mut self, key: &str, initial: Period, max: Period) {
        self.period(&join(key, "initial_interval"), initial);
        let hint = "give at least initial_interval";
        self.require(max >= initial, &join(key, "max_interval"), "shorter than initial_interval", hint);
    }

    /// `host:port`.
    pub fn address(&mut self, key: &str, text: &str) {
        if let Err((problem, hint)) = parse_address(text) {
            self.error(key, problem, hint);
        }
    }

    pub(super) fn http_url(&mut self, key: &str, text: &str) {
        match url::Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
            _ => self.error(key, "not an http or https URL", "write http://host:port or https://host"),
        }
    }
}

/// Host and port of a listening address.
///
/// # Errors
/// A problem and a hint.
pub fn parse_address(text: &str) -> Result<(&str, u16), (String, String)> {
    if text.contains("://") {
        return Err(("a URL where host:port is expected".into(), "remove the scheme, as in 127.0.0.1:4317".into()));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(("not host:port".into(), "write an address such as 127.0.0.1:4317".into()));
    };
    let Ok(port) = port.parse::<u16>() else {
        return Err(("the port is not a number from 0 to 65535".into(), "write host:port".into()));
    };
    let plain = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match plain {
        Some(inner) if inner.parse::<std::net::Ipv6Addr>().is_ok() => Ok((inner, port)),
        Some(_) => Err(("not an IPv6 address between [ and ]".into(), "write [::1]:4317".into())),
        None if host.is_empty() => Err((
            "no host before the port".into(),
            "write 127.0.0.1 for this machine or 0.0.0.0 for all addresses".into(),
        )),
        None if host.contains(':') => Err(("an IPv6 address without brackets".into(), "write [::1]:4317".into())),
        None if host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) => Ok((host, port)),
        None => Err(("not host:port".into(), "write an address such as 127.0.0.1:4317".into())),
    }
}

/// Checks every component that could be read.
pub fn components(components: &Components, errors: &mut Vec<Problem>) {
    for component in &components.receivers {
        if let Some(config) = &component.config {
            receiver(Checker::new(&component.path, errors), config);
        }
    }
    for component in &components.processors {
        match &component.config {
            Some(Processor::MemoryLimiter(config)) => memory_limiter(Checker::new(&component.path, errors), config),
            Some(Processor::Sampler(config)) => sampler(Checker::new(&component.path, errors), config),
            None => {}
        }
    }
    for component in &components.exporters {
        let check = Checker::new(&component.path, errors);
        match &component.config {
            Some(ExporterConfig::PostHog(config)) => posthog(check, config),
            Some(ExporterConfig::OtlpHttp(config)) => otlp_http(check, config),
            Some(ExporterConfig::File(config)) => file(check, config),
            Some(ExporterConfig::Debug(_)) | None => {}
        }
    }
    for component in &components.extensions {
        let mut check = Checker::new(&component.path, errors);
        match &component.config {
            Some(Extension::HealthCheck(config)) => check.address("endpoint", &config.endpoint),
            Some(Extension::BearerTokenAuth(config)) => bearer_token_auth(check, config),
            None => {}
        }
    }
}

fn receiver(mut check: Checker<'_>, config: &OtlpReceiverConfig) {
    let (grpc, http) = (&config.protocols.grpc, &config.protocols.http);
    if grpc.is_none() && http.is_none() {
        check.error("protocols", "no protocol", "name grpc:, http: or both; a key alone takes every default");
    }
    check.size("max_in_flight", config.max_in_flight);
    check.positive("max_connections", config.max_connections as u64);
    check.period("idle_timeout", config.idle_timeout);
    check.period("read_timeout", config.read_timeout);
    let mut largest = ByteSize(0);
    if let Some(config) = grpc {
        let mut check = check.below("protocols.grpc");
        check.address("endpoint", &config.endpoint);
        check.size("max_recv_msg_size", config.max_recv_msg_size);
        check.positive("max_concurrent_requests", config.max_concurrent_requests as u64);
        server_tls(&mut check, config.tls.as_ref());
        largest = largest.max(config.max_recv_msg_size);
    }
    if let Some(config) = http {
        let mut check = check.below("protocols.http");
        check.address("endpoint", &config.endpoint);
        check.size("max_request_body_size", config.max_request_body_size);
        check.positive("max_concurrent_requests", config.max_concurrent_requests as u64);
        server_tls(&mut check, config.tls.as_ref());
        if let Some(cors) = &config.cors {
            check.require(
                !cors.allowed_origins.is_empty(),
                "cors.allowed_origins",
                "no origin may send",
                "list origins such as https://app.example.com, or remove cors",
            );
        }
        largest = largest.max(config.max_request_body_size);
    }
    if config.max_in_flight < largest {
        let problem = format!("{} is less than one request may have ({largest})", config.max_in_flight);
        check.error("max_in_flight", problem, "raise it, or lower the limits of the protocols");
    }
}

fn server_tls(check: &mut Checker<'_>, tls: Option<&TlsConfig>) {
    let Some(tls) = tls else { return };
    check.require(!tls.cert_file.is_empty(), "tls.cert_file", "missing", "name a PEM file, or remove tls");
    check.require(!tls.key_file.is_empty(), "tls.key_file", "missing", "name a PEM file, or remove tls");
}

fn memory_limiter(mut check: Checker<'_>, config: &MemoryLimiterConfig) {
    check.period("check_interval", config.check_interval);
    check.require(
        config.limit_mib > 0 || config.limit_percentage > 0,
        "limit_mib",
        "missing or zero",
        "give MiB of resident memory, such as 512, or a limit_percentage",
    );
    check.require(config.limit_percentage <= 100, "limit_percentage", "over 100", "give a percentage of the memory");
    if config.limit_mib > 0 && config.spike_limit_mib.is_some_and(|spike| spike >= config.limit_mib) {
        check.error("spike_limit_mib", "not less than limit_mib", "a fifth of limit_mib is usual");
    }
    let (limit, spike) = (config.limit_percentage, config.spike_limit_percentage);
    if limit > 0 && spike.is_some_and(|spike| spike >= limit) {
        check.error("spike_limit_percentage", "not less than limit_percentage", "a fifth of limit_percentage is usual");
    }
}

fn sampler(mut check: Checker<'_>, config: &SamplerConfig) {
    check.require(
        (0.0..=100.0).contains(&config.default_percentage),
        "default_percentage",
        "not a percentage",
        "give a number from 0 to 100",
    );
    for (index, policy) in config.policies.iter().enumerate() {
        check.require(!policy.is_empty(), &format!("policies[{index}]"), "empty", "name a file or a directory");
    }
    let patterns = &config.patterns;
    check.period("patterns.interval", patterns.interval);
    check.positive("patterns.max_signatures", patterns.max_signatures as u64);
    let window = &config.window;
    check.period("window.interval", window.interval);
    check.positive("window.max_patterns", window.max_patterns as u64);
    check.positive("window.max_services", window.max_services as u64);
    check.require(
        window.idle_timeout >= window.interval,
        "window.idle_timeout",
        "shorter than a window",
        "give at least window.interval",
    );
    if config.summary.enabled {
        check.period("summary.interval", config.summary.interval);
    }
}

/// Checks `anomalies:`.
pub fn anomalies(config: &AnomalyConfig, errors: &mut Vec<Problem>) {
    let mut check = Checker::new("anomalies", errors);
    let budget = config.false_alarms_per_service_day;
    check.require(
        budget > 0.0 && budget <= 1_000.0,
        "false_alarms_per_service_day",
        "not above 0 and at most 1000",
        "1 is a good start; anomalies.enabled: false turns them off",
    );
    check.require(config.min_factor >= 1.0, "min_factor", "below 1", "give at least 1, such as 2");
    check.period("accept_after", config.accept_after);
    check.period("forget_after", config.forget_after);
    check.positive("max_patterns", config.max_patterns as u64);
    check.positive("max_services", config.max_services as u64);
    check.period("state_interval", config.state_interval);
    let named = config.state_file.as_ref().is_none_or(|file| !file.is_empty());
    check.require(named, "state_file", "empty", "name a file, or leave the key out");
    let boost = &config.boost;
    let in_range = (0.0..=100.0).contains(&boost.percentage);
    check.require(in_range, "boost.percentage", "not from 0 to 100", "100 keeps everything");
    let limit = boost.max_records_per_second;
    let hint = "to keep no more than policies say, set boost.enabled: false";
    check.require(limit > 0.0, "boost.max_records_per_second", "not above 0", hint);
    check.period("boost.half_life", boost.half_life);
}

fn posthog(mut check: Checker<'_>, config: &PostHogConfig) {
    if !matches!(config.host.as_str(), "us" | "eu") {
        if config.host.contains("://") {
            check.http_url("host", &config.host);
        } else {
            let hint = suggest(&config.host, ["us", "eu"]);
            check.error("host", "neither us, eu nor a URL", format!("{hint}; a self-hosted one is https://host"));
        }
    }
    if config.token.as_ref().is_some_and(|token| token.expose().trim().is_empty()) {
        check.error("token", "empty", "give the project token, or remove the key to pass the clients' tokens through");
    }
    if config.token.is_some() && config.token_file.is_some() {
        check.error("token_file", "given beside token", "keep one of the two");
    }
    check.period("timeout", config.timeout);
    client_tls(&mut check.below("tls"), &config.tls);
    delivery(&mut check, &config.batch, &config.retry_on_failure, &config.sending_queue);
}

fn otlp_http(mut check: Checker<'_>, config: &OtlpHttpConfig) {
    let signals = [
        ("logs_endpoint", &config.logs_endpoint),
        ("traces_endpoint", &config.traces_endpoint),
        ("metrics_endpoint", &config.metrics_endpoint),
    ];
    if !config.endpoint.is_empty() {
        check.http_url("endpoint", &config.endpoint);
    } else if signals.iter().all(|(_, endpoint)| endpoint.is_none()) {
        check.error("endpoint", "missing", "give the base URL, such as http://collector:4318");
    }
    for (key, endpoint) in signals {
        if let Some(endpoint) = endpoint {
            check.http_url(key, endpoint);
        }
    }
    for (name, value) in &config.headers {
        let key = join("headers", name);
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            check.error(&key, "not a header name", "letters, digits and - only");
        }
        if http::HeaderValue::from_str(value.expose()).is_err() {
            check.error(&key, "a value that no header can have", "printable ASCII in one line");
        }
        if config.token_file.is_some() && name.eq_ignore_ascii_case("authorization") {
            check.error("token_file", "given beside headers.Authorization", "keep one of the two");
        }
    }
    if config.token_file.is_some() && config.pass_token {
        check.error("token_file", "given beside pass_token", "keep one of the two");
    }
    check.period("timeout", config.timeout);
    client_tls(&mut check.below("tls"), &config.tls);
    delivery(&mut check, &config.batch, &config.retry_on_failure, &config.sending_queue);
}

fn client_tls(check: &mut Checker<'_>, tls: &ClientTlsConfig) {
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => check.error("key_file", "missing", "a cert_file needs its key_file"),
        (None, Some(_)) => check.error("cert_file", "missing", "a key_file needs its cert_file"),
        _ => {}
    }
}

fn delivery(check: &mut Checker<'_>, batch: &BatchConfig, retry: &RetryConfig, queue: &QueueConfig) {
    check.size("batch.max_size", batch.max_size);
    check.positive("sending_queue.num_consumers", queue.num_consumers as u64);
    check.size("sending_queue.max_size", queue.max_size);
    if queue.max_size < batch.max_size {
        let problem = format!("{} is less than batch.max_size ({})", queue.max_size, batch.max_size);
        check.error("sending_queue.max_size", problem, "raise it: not one batch would fit");
    }
    if retry.enabled {
        check.waits("retry_on_failure", retry.initial_interval, retry.max_interval);
    }
}

fn file(mut check: Checker<'_>, config: &FileConfig) {
    check.require(!config.path.is_empty(), "path", "missing", "name the file to append to");
}

fn bearer_token_auth(mut check: Checker<'_>, config: &BearerTokenAuthConfig) {
    if config.token.is_none() && config.tokens.is_empty() && config.filename.is_none() {
        check.error("", "no token", "give token, tokens or filename");
    }
    check.require(!config.scheme.trim().is_empty(), "scheme", "empty", "Bearer is usual");
    let empty = |secret: &crate::units::Secret| secret.expose().trim().is_empty();
    check.require(!config.token.as_ref().is_some_and(empty), "token", "empty", "an empty token would let everybody in");
    for (index, token) in config.tokens.iter().enumerate() {
        let key = format!("tokens[{index}]");
        check.require(!empty(token), &key, "empty", "an empty token would let everybody in");
    }
}

/// Looks whether the files and directories that the configuration names can be read.
pub fn check_files(config: &Config) -> Vec<Problem> {
    let mut files: Vec<(String, Option<&String>)> = super::llm::files(&config.llm);
    files.extend(super::posthog::files(&config.posthog));
    let mut add = |path: String, file| files.push((path, file));
    for (id, receiver) in &config.receivers {
        let grpc = receiver.protocols.grpc.as_ref().and_then(|grpc| grpc.tls.as_ref());
        let http = receiver.protocols.http.as_ref().and_then(|http| http.tls.as_ref());
        for (protocol, tls) in [("grpc", grpc), ("http", http)] {
            let Some(tls) = tls else { continue };
            let path = format!("receivers.{id}.protocols.{protocol}.tls");
            add(join(&path, "cert_file"), Some(&tls.cert_file));
            add(join(&path, "key_file"), Some(&tls.key_file));
            add(join(&path, "client_ca_file"), tls.client_ca_file.as_ref());
        }
    }
    if let Some(tls) = config.control.api.as_ref().and_then(|api| api.tls.as_ref()) {
        add("api.tls.cert_file".into(), Some(&tls.cert_file));
        add("api.tls.key_file".into(), Some(&tls.key_file));
        add("api.tls.client_ca_file".into(), tls.client_ca_file.as_ref());
    }
    add("control_plane.ca_file".into(), config.control.follow.ca_file.as_ref());
    for (id, authenticator) in &config.authenticators {
        add(format!("extensions.{id}.filename"), authenticator.filename.as_ref());
    }
    let logs = config.logs_exporters.iter().filter_map(|(id, exporter)| match exporter {
        ExporterConfig::OtlpHttp(config) => Some((id, &config.tls, &config.token_file)),
        ExporterConfig::PostHog(config) => Some((id, &config.tls, &config.token_file)),
        _ => None,
    });
    let forwarded = config.traces.iter().chain(&config.metrics);
    let forwarded = forwarded.map(|(id, config)| (id, &config.tls, &config.token_file));
    for (id, tls, token_file) in logs.chain(forwarded) {
        add(format!("exporters.{id}.token_file"), token_file.as_ref());
        let path = format!("exporters.{id}.tls");
        add(join(&path, "ca_file"), tls.ca_file.as_ref());
        add(join(&path, "cert_file"), tls.cert_file.as_ref());
        add(join(&path, "key_file"), tls.key_file.as_ref());
    }
    for (index, policy) in config.sampler.iter().flat_map(|sampler| sampler.policies.iter().enumerate()) {
        add(format!("processors.sampler.policies[{index}]"), Some(policy));
    }
    let mut problems: Vec<Problem> =
        files.into_iter().filter_map(|(path, file)| unreadable(&path, Path::new(file?))).collect();
    problems.dedup();
    problems
}

fn unreadable(path: &str, file: &Path) -> Option<Problem> {
    let found = if file.is_dir() { std::fs::read_dir(file).map(drop) } else { std::fs::File::open(file).map(drop) };
    let error = found.err()?;
    let hint = "a path that is not absolute starts at the working directory";
    Some(Problem::new(path, format!("cannot read {}: {error}", file.display()), hint))
}
