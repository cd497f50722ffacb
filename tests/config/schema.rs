//! The settings as the types describe them: keys, types, defaults, meaning.

use lipservice::config::ServiceConfig;
use lipservice::control_plane::analysis::anomaly::config::AnomalyConfig;
use lipservice::control_plane::api::config::ApiConfig;
use lipservice::control_plane::cache::config::CacheConfig;
use lipservice::control_plane::config::FollowConfig;
use lipservice::control_plane::generator::config::GeneratorConfig;
use lipservice::control_plane::generator::llm::LlmConfig;
use lipservice::control_plane::posthog::ReadConfig;
use lipservice::control_plane::rollout::RolloutConfig;
use lipservice::control_plane::store::config::StoreConfig;
use lipservice::data_plane::exporter::config::{DebugConfig, FileConfig, OtlpHttpConfig, PostHogConfig};
use lipservice::data_plane::receiver::config::{BearerTokenAuthConfig, OtlpReceiverConfig};
use lipservice::data_plane::sampler::config::SamplerConfig;
use lipservice::telemetry::config::{HealthCheckConfig, MemoryLimiterConfig};
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

/// One component type, or `service`.
pub struct Section {
    /// YAML path, such as `exporters.posthog`.
    pub path: &'static str,
    /// The doc comment of its struct.
    pub meaning: String,
    /// Its keys in the order of the struct; a key with keys below it comes before them.
    pub settings: Vec<Setting>,
}

/// One key.
pub struct Setting {
    /// Path below the section; `<name>` stands for a key of one's own.
    pub key: String,
    /// For people.
    pub kind: String,
    /// As JSON; nothing when it is off or required.
    pub default: Option<Value>,
    /// Its doc comment.
    pub meaning: String,
    /// Whether it has keys below it.
    pub is_section: bool,
}

/// Every section.
pub fn sections() -> Vec<Section> {
    vec![
        section::<OtlpReceiverConfig>("receivers.otlp"),
        section::<MemoryLimiterConfig>("processors.memory_limiter"),
        section::<SamplerConfig>("processors.sampler"),
        section::<PostHogConfig>("exporters.posthog"),
        section::<OtlpHttpConfig>("exporters.otlp_http"),
        section::<DebugConfig>("exporters.debug"),
        section::<FileConfig>("exporters.file"),
        section::<HealthCheckConfig>("extensions.health_check"),
        section::<BearerTokenAuthConfig>("extensions.bearertokenauth"),
        section::<AnomalyConfig>("anomalies"),
        section::<LlmConfig>("llm"),
        section::<ReadConfig>("posthog"),
        section::<ApiConfig>("api"),
        section::<StoreConfig>("store"),
        section::<CacheConfig>("cache"),
        section::<GeneratorConfig>("generator"),
        section::<RolloutConfig>("rollout"),
        section::<FollowConfig>("control_plane"),
        section::<ServiceConfig>("service"),
    ]
}

fn section<T: JsonSchema>(path: &'static str) -> Section {
    let schema = serde_json::to_value(schema_for!(T)).unwrap();
    let mut settings = Vec::new();
    collect(&schema, &schema, &Value::Null, "", &mut settings);
    // The comment begins with the section's name in backticks, which the path says already.
    let meaning = one_line(&schema);
    let meaning = meaning.split_once("` ").map_or("", |(_, meaning)| meaning).to_owned();
    Section { path, meaning, settings }
}

/// `defaults` are those the struct around gives to this one; they win over its own.
fn collect(root: &Value, object: &Value, defaults: &Value, prefix: &str, settings: &mut Vec<Setting>) {
    for (name, property) in object["properties"].as_object().into_iter().flatten() {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let target = resolve(root, property);
        let below = resolve(root, &target["additionalProperties"]);
        let is_section = target["properties"].is_object();
        let default = defaults.get(name).or_else(|| property.get("default")).unwrap_or(&Value::Null);
        let shown = Some(default.clone()).filter(|default| !default.is_null() && *default != "" && !is_section);
        settings.push(Setting {
            key: key.clone(),
            kind: kind(root, property),
            default: shown,
            meaning: one_line(property),
            is_section: is_section || below["properties"].is_object(),
        });
        collect(root, target, default, &key, settings);
        collect(root, below, &Value::Null, &format!("{key}.<name>"), settings);
    }
}

/// Follows a reference, and an option to what it may hold.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/$defs/");
        return resolve(root, &root["$defs"][name]);
    }
    let options = schema["anyOf"].as_array().into_iter().flatten();
    options.into_iter().find(|option| option["type"] != "null").map_or(schema, |option| resolve(root, option))
}

fn kind(root: &Value, schema: &Value) -> String {
    let reference = [Some(schema), schema["anyOf"].get(0)]
        .into_iter()
        .flatten()
        .find_map(|schema| schema["$ref"].as_str())
        .map(|reference| reference.trim_start_matches("#/$defs/"));
    if let Some(unit @ ("size" | "duration" | "secret" | "url")) = reference {
        return unit.to_owned();
    }
    let target = resolve(root, schema);
    let variants: Vec<String> = target["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|variant| &variant["const"])
        .chain(target["enum"].as_array().into_iter().flatten())
        .filter_map(|name| Some(format!("`{}`", name.as_str()?)))
        .collect();
    if !variants.is_empty() {
        return variants.join(", ");
    }
    let plain = match &target["type"] {
        Value::Array(types) => types.iter().find(|kind| *kind != "null").and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match plain {
        Some("object") if target["properties"].is_object() => "section".into(),
        Some("object") => format!("map of {}", kind(root, &target["additionalProperties"])),
        Some("array") => format!("list of {}", kind(root, &target["items"])),
        Some("integer") => "whole number".into(),
        Some("boolean") => "true or false".into(),
        Some("string") => "text".into(),
        Some(other) => other.to_owned(),
        None => panic!("no type: {schema}"),
    }
}

fn one_line(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}
