//! A [`Config`] as YAML: what takes effect, defaults filled in, secrets hidden.
//!
//! Promises: what is printed loads again into the same configuration, but for the secrets.
//! Never: prints components that are not in use.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Config;
use super::service::{PipelineConfig, ServiceConfig};
use crate::control_plane::config::Role;
use crate::control_plane::generator::llm::config::LlmConfig;
use crate::control_plane::posthog::config::ReadConfig;
use crate::data_plane::exporter::config::ExporterConfig;

/// As YAML.
pub fn render(config: &Config) -> String {
    let tree = tree(config);
    serde_saphyr::to_string(&tree).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
}

fn tree(config: &Config) -> Value {
    let mut receivers = Map::new();
    for (id, receiver) in &config.receivers {
        receivers.insert(id.clone(), value(receiver));
    }
    let mut processors = Map::new();
    if let Some(memory_limiter) = &config.memory_limiter {
        processors.insert("memory_limiter".into(), value(memory_limiter));
    }
    if let Some(sampler) = &config.sampler {
        processors.insert("sampler".into(), value(sampler));
    }
    let mut exporters = Map::new();
    for (id, exporter) in &config.logs_exporters {
        let settings = match exporter {
            ExporterConfig::PostHog(config) => value(config),
            ExporterConfig::OtlpHttp(config) => value(config),
            ExporterConfig::Debug(config) => value(config),
            ExporterConfig::File(config) => value(config),
        };
        exporters.insert(id.clone(), settings);
    }
    for (id, exporter) in config.traces.iter().chain(&config.metrics) {
        exporters.insert(id.clone(), value(exporter));
    }
    let mut extensions = Map::new();
    if let Some(health) = &config.health {
        extensions.insert("health_check".into(), value(health));
    }
    for (id, authenticator) in &config.authenticators {
        extensions.insert(id.clone(), value(authenticator));
    }
    let service = ServiceConfig {
        extensions: extensions.keys().cloned().collect(),
        pipelines: pipelines(config, &processors),
        telemetry: config.telemetry.clone(),
        shutdown_timeout: config.shutdown_timeout,
    };
    let sections = [("processors", processors), ("exporters", exporters), ("extensions", extensions)];
    let mut tree = Map::new();
    tree.insert("receivers".into(), Value::Object(receivers));
    for (name, section) in sections {
        if !section.is_empty() {
            tree.insert(name.into(), Value::Object(section));
        }
    }
    tree.insert("anomalies".into(), value(&config.anomalies));
    if config.llm != LlmConfig::default() {
        tree.insert("llm".into(), value(&config.llm));
    }
    if config.posthog != ReadConfig::default() {
        tree.insert("posthog".into(), value(&config.posthog));
    }
    tree.insert("service".into(), value(&service));
    control(config, &mut tree);
    Value::Object(tree)
}

/// The control plane's sections, where there is anything to say.
fn control(config: &Config, tree: &mut Map<String, Value>) {
    let control = &config.control;
    if control.role != Role::All {
        tree.insert("role".into(), value(&control.role));
    }
    if let Some(api) = &control.api {
        tree.insert("api".into(), value(api));
    }
    if control.api.is_some() || control.role == Role::ControlPlane {
        tree.insert("store".into(), value(&control.store));
        tree.insert("rollout".into(), value(&control.rollout));
        tree.insert("cache".into(), value(&control.cache));
    }
    if let Some(generator) = &control.generator {
        tree.insert("generator".into(), value(generator));
    }
    if control.role == Role::Gateway {
        tree.insert("control_plane".into(), value(&control.follow));
    }
}

fn pipelines(config: &Config, processors: &Map<String, Value>) -> BTreeMap<String, PipelineConfig> {
    let receivers: Vec<String> = config.receivers.iter().map(|(id, _)| id.clone()).collect();
    let logs = PipelineConfig {
        receivers: receivers.clone(),
        processors: processors.keys().cloned().collect(),
        exporters: config.logs_exporters.iter().map(|(id, _)| id.clone()).collect(),
    };
    let mut pipelines = BTreeMap::from([("logs".to_owned(), logs)]);
    for (signal, exporter) in [("traces", &config.traces), ("metrics", &config.metrics)] {
        if let Some((id, _)) = exporter {
            let pipeline =
                PipelineConfig { receivers: receivers.clone(), processors: Vec::new(), exporters: vec![id.clone()] };
            pipelines.insert(signal.to_owned(), pipeline);
        }
    }
    pipelines
}

/// Settings hold nothing that JSON cannot; should that change, the fault is shown in place of the section.
fn value(settings: &impl Serialize) -> Value {
    serde_json::to_value(settings).unwrap_or_else(|error| json!(format!("cannot be printed: {error}")))
}
