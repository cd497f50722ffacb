//! The published shape of requests: required fields, types, nothing unknown, headers, and what OpenAI's strict mode asks
//! of a schema. Written as checks by hand, so that each says what is wrong.

use http::HeaderMap;
use lipservice::control_plane::generator::llm::config::LlmProviderType;
use serde_json::Value;

/// A field: its name, whether it is required, what it must be.
type Field = (&'static str, bool, fn(&Value) -> bool);

const OPENAI: &[Field] = &[
    ("model", true, Value::is_string),
    ("messages", true, |value| are_messages(value, &["system", "developer", "user", "assistant"])),
    ("response_format", false, Value::is_object),
    ("max_completion_tokens", false, is_positive),
    ("max_tokens", false, is_positive),
    ("temperature", false, |value| value.as_f64().is_some_and(|number| (0.0..=2.0).contains(&number))),
];
const OLLAMA: &[Field] = &[
    ("model", true, Value::is_string),
    ("messages", true, |value| are_messages(value, &["system", "user", "assistant", "tool"])),
    ("stream", false, |value| *value == Value::Bool(false)),
    ("format", false, Value::is_object),
    ("options", false, |value| fields("options", value, OLLAMA_OPTIONS).is_ok()),
];
const OLLAMA_OPTIONS: &[Field] = &[
    ("temperature", false, Value::is_number),
    ("num_ctx", true, is_positive),
    ("num_predict", true, is_positive),
    ("seed", false, Value::is_i64),
];
const ANTHROPIC: &[Field] = &[
    ("model", true, Value::is_string),
    ("max_tokens", true, is_positive),
    ("messages", true, |value| are_messages(value, &["user", "assistant"])),
    ("system", false, Value::is_string),
    ("tools", false, |value| value.as_array().is_some_and(|tools| !tools.is_empty())),
    ("tool_choice", false, Value::is_object),
    ("temperature", false, |value| value.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number))),
];

fn is_positive(value: &Value) -> bool {
    value.as_u64().is_some_and(|number| number > 0)
}

fn are_messages(value: &Value, roles: &[&str]) -> bool {
    let message = |message: &Value| {
        fields("message", message, &[("role", true, Value::is_string), ("content", true, Value::is_string)]).is_ok()
            && message["role"].as_str().is_some_and(|role| roles.contains(&role))
            && message["content"].as_str().is_some_and(|text| !text.is_empty())
    };
    value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(message))
}

fn fields(what: &str, value: &Value, known: &[Field]) -> Result<(), String> {
    let object = value.as_object().ok_or_else(|| format!("{what} is not an object"))?;
    for (name, required, holds) in known {
        match object.get(*name) {
            None if *required => return Err(format!("{what}.{name} is missing")),
            Some(value) if !holds(value) => return Err(format!("{what}.{name} is not as published: {value}")),
            _ => {}
        }
    }
    match object.keys().find(|name| known.iter().all(|(known, ..)| known != name)) {
        Some(name) => Err(format!("{what}.{name} is unknown")),
        None => Ok(()),
    }
}

/// Holds a request against the API.
pub fn check(kind: LlmProviderType, path: &str, headers: &HeaderMap, body: &Value) -> Result<(), String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if header("content-type") != "application/json" {
        return Err(format!("content-type is {:?}", header("content-type")));
    }
    let expected = match kind {
        LlmProviderType::OpenAi => "/v1/chat/completions",
        LlmProviderType::Ollama => "/api/chat",
        LlmProviderType::Anthropic => "/v1/messages",
    };
    if path != expected {
        return Err(format!("no such path: {path}"));
    }
    match kind {
        LlmProviderType::OpenAi => {
            fields("request", body, OPENAI)?;
            if body.get("max_tokens").is_some() && body.get("max_completion_tokens").is_some() {
                return Err("max_tokens and max_completion_tokens are both set".into());
            }
            openai_format(&body["response_format"])
        }
        LlmProviderType::Ollama => fields("request", body, OLLAMA),
        LlmProviderType::Anthropic => {
            if header("anthropic-version") != "2023-06-01" {
                return Err("anthropic-version is missing".into());
            }
            fields("request", body, ANTHROPIC)?;
            let tool = &body["tools"][0];
            fields(
                "tool",
                tool,
                &[
                    ("name", true, |name| name.as_str().is_some_and(|name| is_name(name, 128))),
                    ("description", false, Value::is_string),
                    ("input_schema", true, |schema| schema["type"] == "object"),
                ],
            )?;
            let choice = &body["tool_choice"];
            fields("tool_choice", choice, &[("type", true, |kind| kind == "tool"), ("name", true, Value::is_string)])?;
            if choice["name"] != tool["name"] { Err("tool_choice names no tool".into()) } else { Ok(()) }
        }
    }
}

fn is_name(name: &str, max: usize) -> bool {
    (1..=max).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
}

fn openai_format(format: &Value) -> Result<(), String> {
    fields(
        "response_format",
        format,
        &[("type", true, |kind| kind == "json_schema"), ("json_schema", true, Value::is_object)],
    )?;
    let named = &format["json_schema"];
    fields(
        "json_schema",
        named,
        &[
            ("name", true, |name| name.as_str().is_some_and(|name| is_name(name, 64))),
            ("description", false, Value::is_string),
            ("strict", true, |strict| *strict == Value::Bool(true)),
            ("schema", true, |schema| schema["type"] == "object" && schema.get("anyOf").is_none()),
        ],
    )?;
    strict("schema", &named["schema"], 1)
}

/// OpenAI's rules for strict schemas: every object closed, every property required, few keywords, five levels.
fn strict(path: &str, schema: &Value, depth: usize) -> Result<(), String> {
    const KEYWORDS: [&str; 8] =
        ["type", "properties", "required", "additionalProperties", "items", "enum", "description", "anyOf"];
    let object = schema.as_object().ok_or_else(|| format!("{path} is no schema"))?;
    if let Some(keyword) = object.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
        return Err(format!("{path}: strict mode does not take {keyword}"));
    }
    if depth > 5 {
        return Err(format!("{path}: nested too deep"));
    }
    match schema["type"].as_str() {
        Some("object") => {
            if schema["additionalProperties"] != Value::Bool(false) {
                return Err(format!("{path}: additionalProperties must be false"));
            }
            let properties = schema["properties"].as_object().ok_or_else(|| format!("{path}: no properties"))?;
            let required: Vec<&str> =
                schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if properties.len() > 100 || required.len() != properties.len() {
                return Err(format!("{path}: {} properties, {} required", properties.len(), required.len()));
            }
            for (name, property) in properties {
                if !required.contains(&name.as_str()) {
                    return Err(format!("{path}.{name} is not required"));
                }
                strict(&format!("{path}.{name}"), property, depth + 1)?;
            }
            Ok(())
        }
        Some("array") => strict(&format!("{path}[]"), &schema["items"], depth + 1),
        Some("string" | "integer" | "number" | "boolean" | "null") => Ok(()),
        _ => Err(format!("{path}: no type")),
    }
}

/// The key a request carries.
pub fn key(kind: LlmProviderType, headers: &HeaderMap) -> String {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    match kind {
        LlmProviderType::Anthropic => header("x-api-key"),
        _ => header("authorization").trim_start_matches("Bearer ").to_owned(),
    }
}

/// The schema a request carries.
pub fn schema(kind: LlmProviderType, body: &Value) -> &Value {
    match kind {
        LlmProviderType::OpenAi => &body["response_format"]["json_schema"]["schema"],
        LlmProviderType::Ollama => &body["format"],
        LlmProviderType::Anthropic => &body["tools"][0]["input_schema"],
    }
}
