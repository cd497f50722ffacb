//! `docs/configuration.md` and `config/reference.yaml` are written from the types, so they cannot lag behind.
//!
//! `UPDATE_DOCS=1 cargo test --test all config` writes both.

use std::fmt::Write;

use lipservice::config::load_text;
use serde_json::Value;

use super::files::same_as_file;
use super::schema::{Section, Setting, sections};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/reference.yaml");

/// What stands in `config/reference.yaml` where there is no default, or where the default says too little.
const EXAMPLES: &[(&str, &str)] = &[
    ("processors.sampler.patterns.file", "/var/lib/lipservice/patterns.json"),
    ("receivers.otlp.protocols.grpc.tls.cert_file", "/etc/lipservice/tls/server.crt"),
    ("receivers.otlp.protocols.grpc.tls.key_file", "/etc/lipservice/tls/server.key"),
    ("receivers.otlp.protocols.grpc.tls.client_ca_file", "/etc/lipservice/tls/clients.crt"),
    ("receivers.otlp.protocols.grpc.auth.authenticator", "bearertokenauth"),
    ("receivers.otlp.protocols.http.tls.cert_file", "/etc/lipservice/tls/server.crt"),
    ("receivers.otlp.protocols.http.tls.key_file", "/etc/lipservice/tls/server.key"),
    ("receivers.otlp.protocols.http.tls.client_ca_file", "/etc/lipservice/tls/clients.crt"),
    ("receivers.otlp.protocols.http.auth.authenticator", "bearertokenauth"),
    ("receivers.otlp.protocols.http.cors.allowed_origins", "[\"https://app.example.com\", \"https://*.example.org\"]"),
    ("receivers.otlp.protocols.http.cors.allowed_headers", "[x-request-id]"),
    ("receivers.otlp.protocols.http.cors.max_age", "7200"),
    ("processors.memory_limiter.limit_mib", "512"),
    ("processors.memory_limiter.spike_limit_mib", "128"),
    ("processors.memory_limiter.spike_limit_percentage", "10"),
    ("processors.sampler.policies", "[./policies]"),
    ("exporters.posthog.token", "${env:POSTHOG_TOKEN}"),
    ("exporters.posthog.token_file", "null"),
    ("exporters.posthog.tls.ca_file", "/etc/lipservice/tls/ca.crt"),
    ("exporters.posthog.tls.cert_file", "/etc/lipservice/tls/client.crt"),
    ("exporters.posthog.tls.key_file", "/etc/lipservice/tls/client.key"),
    ("exporters.otlp_http.endpoint", "http://collector:4318"),
    ("exporters.otlp_http.logs_endpoint", "http://collector:4318/v1/logs"),
    ("exporters.otlp_http.traces_endpoint", "http://collector:4318/v1/traces"),
    ("exporters.otlp_http.metrics_endpoint", "http://collector:4318/v1/metrics"),
    ("exporters.otlp_http.token_file", "/etc/lipservice/collector-token"),
    ("exporters.otlp_http.headers", "{x-api-key: \"${env:COLLECTOR_KEY}\"}"),
    ("exporters.otlp_http.tls.ca_file", "/etc/lipservice/tls/ca.crt"),
    ("exporters.otlp_http.tls.cert_file", "/etc/lipservice/tls/client.crt"),
    ("exporters.otlp_http.tls.key_file", "/etc/lipservice/tls/client.key"),
    ("exporters.file.path", "/var/lib/lipservice/logs.jsonl"),
    ("exporters.file.max_size", "100MiB"),
    ("extensions.bearertokenauth.token", "${env:GATEWAY_TOKEN}"),
    ("extensions.bearertokenauth.tokens", "[\"${env:GATEWAY_TOKEN_OLD}\"]"),
    ("extensions.bearertokenauth.filename", "/etc/lipservice/tokens"),
    ("llm.chain", "[main, none]"),
    ("llm.prompts", "./prompts"),
    ("anomalies.state_file", "/var/lib/lipservice/rates"),
    ("llm.state_file", "/var/lib/lipservice/llm.json"),
    ("llm.providers.<name>.base_url", "https://api.openai.com/v1"),
    ("llm.providers.<name>.model", "gpt-4.1-mini"),
    ("llm.providers.<name>.api_key", "${env:OPENAI_API_KEY}"),
    ("llm.providers.<name>.api_key_file", "null"),
    ("llm.providers.<name>.ca_file", "/etc/lipservice/tls/ca.crt"),
    ("llm.providers.<name>.temperature", "0.0"),
    ("posthog.project", "12345"),
    ("posthog.api_key", "${env:POSTHOG_PERSONAL_API_KEY}"),
    ("posthog.api_key_file", "null"),
    ("posthog.ca_file", "/etc/lipservice/tls/ca.crt"),
    ("posthog.reconcile.exporter", "posthog"),
    ("api.tls.cert_file", "/etc/lipservice/tls/server.crt"),
    ("api.tls.key_file", "/etc/lipservice/tls/server.key"),
    ("api.tls.client_ca_file", "/etc/lipservice/tls/clients.crt"),
    ("store.url", "sqlite:/var/lib/lipservice/lipservice.db"),
    ("cache.url", "redis://:${env:REDIS_PASSWORD}@redis:6379/0"),
    ("cache.ca_file", "/etc/lipservice/tls/ca.crt"),
    ("generator.budget", "20%"),
    ("generator.service_budgets", "{shop: 10%}"),
    ("control_plane.endpoint", "http://control-plane:8000"),
    ("control_plane.token", "${env:LIPSERVICE_TOKEN}"),
    ("control_plane.ca_file", "/etc/lipservice/tls/ca.crt"),
    ("service.extensions", "[health_check, bearertokenauth]"),
    ("service.pipelines.logs.receivers", "[otlp]"),
    ("service.pipelines.logs.processors", "[memory_limiter, sampler]"),
    ("service.pipelines.logs.exporters", "[posthog, otlp_http, debug, file]"),
    ("service.pipelines.traces.receivers", "[otlp]"),
    ("service.pipelines.traces.processors", "[]"),
    ("service.pipelines.traces.exporters", "[otlp_http]"),
];

#[test]
fn the_document_is_up_to_date() {
    same_as_file(DOCUMENT, &document());
}

#[test]
fn the_reference_file_is_up_to_date_and_loads() {
    let text = reference();
    same_as_file(REFERENCE, &text);
    let loaded = load_text(&text, "reference.yaml", &|name| Some(format!("value of {name}")));
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.warnings, []);
}

#[test]
fn every_setting_has_a_meaning() {
    for section in sections() {
        let without: Vec<&String> =
            section.settings.iter().filter(|setting| setting.meaning.is_empty()).map(|setting| &setting.key).collect();
        assert!(without.is_empty(), "{}: {without:?}", section.path);
    }
}

fn document() -> String {
    let mut text = include_str!("configuration.head.md").to_owned();
    for Section { path, meaning, settings } in sections() {
        let _ = write!(text, "\n## {path}\n\n{meaning}");
        text.push_str(if meaning.is_empty() { "" } else { "\n\n" });
        text.push_str("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
        for Setting { key, kind, default, meaning, .. } in settings {
            let default = default.map_or_else(|| "–".to_owned(), |default| format!("`{}`", inline(&default)));
            let _ = writeln!(text, "| `{key}` | {kind} | {default} | {} |", meaning.replace('|', "\\|"));
        }
    }
    text
}

/// A JSON value on one line of YAML.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".into(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number
            .as_f64()
            .filter(|real| real.fract() == 0.0)
            .map_or_else(|| number.to_string(), |whole| format!("{whole:.0}")),
        other => other.to_string(),
    }
}

fn reference() -> String {
    let mut text =
        "# Every setting there is, with its default where it has one. Written from the code by the tests; do not\n\
        # edit. A configuration needs a fraction of this: see minimal.yaml. Tables: docs/configuration.md.\n\
        # What this process does: all, gateway (follows control_plane) or control_plane (serves api, takes no records).\n\
        role: all\n"
            .to_owned();
    let mut open: Vec<&str> = Vec::new();
    for section in sections() {
        let parts: Vec<&str> = section.path.split('.').collect();
        for (depth, part) in parts.iter().enumerate() {
            if open.get(depth) != Some(part) {
                open.truncate(depth);
                open.push(part);
                if depth + 1 == parts.len() && !section.meaning.is_empty() {
                    comment(&mut text, depth, &section.meaning);
                }
                let _ = writeln!(text, "{}{part}:", "  ".repeat(depth));
            }
        }
        settings(&mut text, &section, "", parts.len());
    }
    text
}

/// Writes the settings directly below `prefix`, and those below them.
fn settings(text: &mut String, section: &Section, prefix: &str, depth: usize) {
    for setting in &section.settings {
        let Some(name) = setting.key.strip_prefix(prefix).filter(|name| !name.contains('.')) else { continue };
        let path = format!("{}.{}", section.path, setting.key);
        comment(text, depth, &setting.meaning);
        let indent = "  ".repeat(depth);
        if setting.key == "providers" {
            // A map of one's own names: one entry stands for all.
            let _ = writeln!(text, "{indent}providers:\n{indent}  main:");
            settings(text, section, "providers.<name>.", depth + 2);
        } else if setting.key == "pipelines" {
            let _ = writeln!(text, "{indent}pipelines:");
            pipelines(text, section, depth + 1);
        } else if setting.is_section {
            let _ = writeln!(text, "{indent}{name}:");
            settings(text, section, &format!("{}.", setting.key), depth + 1);
        } else {
            let _ = writeln!(text, "{indent}{name}: {}", value(&path, setting.default.as_ref()));
        }
    }
}

fn pipelines(text: &mut String, section: &Section, depth: usize) {
    for name in ["logs", "traces"] {
        let _ = writeln!(text, "{}{name}:", "  ".repeat(depth));
        for setting in &section.settings {
            let Some(key) = setting.key.strip_prefix("pipelines.<name>.") else { continue };
            if name == "logs" {
                comment(text, depth + 1, &setting.meaning);
            }
            let path = format!("service.pipelines.{name}.{key}");
            let _ = writeln!(text, "{}{key}: {}", "  ".repeat(depth + 1), value(&path, None));
        }
    }
}

fn value(path: &str, default: Option<&Value>) -> String {
    match (EXAMPLES.iter().find(|(example, _)| *example == path), default) {
        (Some((_, example)), _) => (*example).to_owned(),
        (None, Some(default)) => inline(default),
        (None, None) => panic!("{path} has no default: give an example in tests/config/reference.rs"),
    }
}

fn comment(text: &mut String, depth: usize, meaning: &str) {
    let indent = "  ".repeat(depth);
    let mut line = format!("{indent}#");
    for word in meaning.split(' ') {
        if line.chars().count() + 1 + word.chars().count() > 110 {
            let _ = writeln!(text, "{line}");
            line = format!("{indent}#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}
