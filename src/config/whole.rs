//! What concerns several components together: references to authenticators, addresses used twice, sizes that do not
//! fit each other, and what is legal but unwise.
//!
//! Promises: as `check`. Never: repeats what `check` says about one component.

use super::Config;
use super::check::parse_address;
use super::error::{Problem, Warning, suggest};
use super::node::{Node, join};
use crate::data_plane::exporter::config::{ExporterConfig, OtlpHttpConfig};
use crate::data_plane::receiver::config::{AuthRef, OtlpReceiverConfig};
use crate::units::ByteSize;

/// PostHog answers 413 above this many bytes.
const POSTHOG_MAX_BODY: ByteSize = ByteSize::mib(2);

/// Checks a composed configuration.
pub fn whole(config: &Config, errors: &mut Vec<Problem>, warnings: &mut Vec<Warning>) {
    authenticators(config, errors);
    addresses(config, errors);
    signals(config, errors);
    telemetry(config, errors);
    errors.extend(super::posthog::compared(config).err());
    exposed(config, warnings);
    sizes(config, warnings);
}

/// One listening protocol of a receiver.
struct Listener<'a> {
    path: String,
    endpoint: &'a str,
    auth: Option<&'a AuthRef>,
    tls: bool,
    max_request: ByteSize,
}

fn listeners<'a>(id: &str, receiver: &'a OtlpReceiverConfig) -> Vec<Listener<'a>> {
    let grpc = receiver.protocols.grpc.iter().map(|grpc| Listener {
        path: format!("receivers.{id}.protocols.grpc"),
        endpoint: &grpc.endpoint,
        auth: grpc.auth.as_ref(),
        tls: grpc.tls.is_some(),
        max_request: grpc.max_recv_msg_size,
    });
    let http = receiver.protocols.http.iter().map(|http| Listener {
        path: format!("receivers.{id}.protocols.http"),
        endpoint: &http.endpoint,
        auth: http.auth.as_ref(),
        tls: http.tls.is_some(),
        max_request: http.max_request_body_size,
    });
    grpc.chain(http).collect()
}

fn all_listeners(config: &Config) -> impl Iterator<Item = Listener<'_>> {
    config.receivers.iter().flat_map(|(id, receiver)| listeners(id, receiver))
}

fn authenticators(config: &Config, errors: &mut Vec<Problem>) {
    for listener in all_listeners(config) {
        let Some(auth) = listener.auth else { continue };
        if !config.authenticators.contains_key(&auth.authenticator) {
            let known = config.authenticators.keys().map(String::as_str);
            let hint = match config.authenticators.is_empty() {
                true => "define bearertokenauth under extensions: and list it in service.extensions".to_owned(),
                false => suggest(&auth.authenticator, known),
            };
            let problem = format!("{:?} is no authenticator listed in service.extensions", auth.authenticator);
            errors.push(Problem::new(join(&listener.path, "auth.authenticator"), problem, hint));
        }
    }
}

fn addresses(config: &Config, errors: &mut Vec<Problem>) {
    let mut seen: Vec<(String, String)> = Vec::new();
    let receivers =
        all_listeners(config).map(|listener| (join(&listener.path, "endpoint"), listener.endpoint.to_owned()));
    let health =
        config.health.iter().map(|health| ("extensions.health_check.endpoint".to_owned(), health.endpoint.clone()));
    let metrics = config.telemetry.metrics.address.iter();
    let metrics = metrics.map(|address| ("service.telemetry.metrics.address".to_owned(), address.clone()));
    let api = config.control.api.iter().map(|api| ("api.endpoint".to_owned(), api.endpoint.clone()));
    for (path, address) in receivers.chain(health).chain(metrics).chain(api) {
        let picks_its_own_port = parse_address(&address).is_ok_and(|(_, port)| port == 0);
        match seen.iter().find(|(_, taken)| *taken == address) {
            Some((by, _)) if !picks_its_own_port => {
                errors.push(Problem::new(path, format!("{address} is used twice"), format!("{by} listens there too")));
            }
            _ => seen.push((path, address)),
        }
    }
}

/// Each signal needs somewhere to go.
fn signals(config: &Config, errors: &mut Vec<Problem>) {
    let mut missing = |id: &str, exporter: &OtlpHttpConfig, own: &Option<String>, signal: &str| {
        if exporter.endpoint.is_empty() && own.is_none() {
            let problem = format!("no endpoint for {signal}, though a {signal} pipeline uses it");
            errors.push(Problem::new(format!("exporters.{id}"), problem, format!("set endpoint or {signal}_endpoint")));
        }
    };
    for (id, exporter) in &config.logs_exporters {
        if let ExporterConfig::OtlpHttp(exporter) = exporter {
            missing(id, exporter, &exporter.logs_endpoint, "logs");
        }
    }
    if let Some((id, exporter)) = &config.traces {
        missing(id, exporter, &exporter.traces_endpoint, "traces");
    }
    if let Some((id, exporter)) = &config.metrics {
        missing(id, exporter, &exporter.metrics_endpoint, "metrics");
    }
}

fn telemetry(config: &Config, errors: &mut Vec<Problem>) {
    if let Some(address) = &config.telemetry.metrics.address
        && let Err((problem, hint)) = parse_address(address)
    {
        errors.push(Problem::new("service.telemetry.metrics.address", problem, hint));
    }
    let sampling = &config.telemetry.logs.sampling;
    let path = "service.telemetry.logs.sampling";
    if sampling.enabled && sampling.initial == 0 {
        errors.push(Problem::new(join(path, "initial"), "zero", "give at least 1; the level is what turns lines off"));
    }
    if sampling.enabled && sampling.tick.0.is_zero() {
        errors.push(Problem::new(join(path, "tick"), "no time at all", "give a duration such as 10s"));
    }
}

/// Reachable from outside without a lock.
fn exposed(config: &Config, warnings: &mut Vec<Warning>) {
    for listener in all_listeners(config) {
        let Ok((host, _)) = parse_address(listener.endpoint) else { continue };
        let loopback =
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if !loopback && !listener.tls && listener.auth.is_none() {
            let problem = format!("{} takes logs from anybody who can reach it, in plain text", listener.endpoint);
            let hint = "set tls or auth, or listen on 127.0.0.1";
            warnings.push(Problem::new(join(&listener.path, "endpoint"), problem, hint));
        }
    }
}

fn sizes(config: &Config, warnings: &mut Vec<Warning>) {
    let largest = all_listeners(config).map(|listener| listener.max_request).max().unwrap_or_default();
    for (id, exporter) in &config.logs_exporters {
        let (queue, batch) = match exporter {
            ExporterConfig::PostHog(config) => (config.sending_queue.max_size, Some(config.batch.max_size)),
            ExporterConfig::OtlpHttp(config) => (config.sending_queue.max_size, None),
            ExporterConfig::Debug(_) | ExporterConfig::File(_) => continue,
        };
        if queue < largest {
            let problem = format!("{queue} is less than the largest request a receiver takes ({largest})");
            let hint = "such a request could never be queued: raise it, or lower the receiver's limit";
            warnings.push(Problem::new(format!("exporters.{id}.sending_queue.max_size"), problem, hint));
        }
        if batch.is_some_and(|batch| batch > POSTHOG_MAX_BODY) {
            let problem = format!("PostHog refuses bodies over {POSTHOG_MAX_BODY}");
            let hint = "each batch would have to be split and sent again: lower it";
            warnings.push(Problem::new(format!("exporters.{id}.batch.max_size"), problem, hint));
        }
    }
}

/// Secrets written into the file itself.
pub fn literal_secrets(config: &Config, root: &Node) -> Vec<Warning> {
    let mut paths = Vec::new();
    for (id, exporter) in &config.logs_exporters {
        let settings = match exporter {
            ExporterConfig::PostHog(config) => serde_json::to_value(config),
            ExporterConfig::OtlpHttp(config) => serde_json::to_value(config),
            ExporterConfig::Debug(_) | ExporterConfig::File(_) => continue,
        };
        secret_paths(&format!("exporters.{id}"), &settings.unwrap_or_default(), &mut paths);
    }
    for (id, exporter) in config.traces.iter().chain(&config.metrics) {
        secret_paths(&format!("exporters.{id}"), &serde_json::to_value(exporter).unwrap_or_default(), &mut paths);
    }
    for (id, authenticator) in &config.authenticators {
        secret_paths(&format!("extensions.{id}"), &serde_json::to_value(authenticator).unwrap_or_default(), &mut paths);
    }
    if config.control.follow.token.is_some() {
        paths.push("control_plane.token".to_owned());
    }
    paths.dedup();
    let literal = |path: &String| root.find(path).is_some_and(|node| node.substituted.is_none());
    let warning = |path| Problem::new(path, "a secret written into the file", "write ${env:NAME} or ${file:/path}");
    paths.into_iter().filter(literal).map(warning).collect()
}

/// Every secret prints as this text, and only secrets do.
fn secret_paths(path: &str, settings: &serde_json::Value, paths: &mut Vec<String>) {
    match settings {
        serde_json::Value::String(text) if text == "[redacted]" => paths.push(path.to_owned()),
        serde_json::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                secret_paths(&format!("{path}[{index}]"), item, paths);
            }
        }
        serde_json::Value::Object(entries) => {
            for (key, value) in entries {
                secret_paths(&join(path, key), value, paths);
            }
        }
        _ => {}
    }
}
