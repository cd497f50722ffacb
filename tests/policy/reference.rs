//! Transforms on decoded structs: the plain way, to hold ours against.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_json::Value;

/// A record and its block, decoded.
pub struct Decoded<'a> {
    pub record: &'a mut LogRecord,
    pub resource: &'a mut Option<Resource>,
    pub scope: &'a mut Option<InstrumentationScope>,
}

fn string(text: &str) -> AnyValue {
    AnyValue { value: Some(Kind::StringValue(text.to_owned())) }
}

/// Whether a value counts as there.
fn set(value: &Option<AnyValue>) -> bool {
    value.as_ref().is_some_and(|value| value.value.is_some())
}

/// Runs one operation of a document.
pub fn run(kind: &str, operation: &Value, decoded: &mut Decoded<'_>) {
    let prefix = if kind == "rename" { "from_" } else { "" };
    let get = |name: &str| operation.get(format!("{prefix}{name}"));
    if let Some(field) = get("log_field") {
        return run_on_field(kind, operation, field.as_str().unwrap(), decoded.record);
    }
    let (name, path) = ["log_attribute", "resource_attribute", "scope_attribute"]
        .iter()
        .find_map(|name| Some((*name, get(name)?)))
        .unwrap();
    let path: Vec<&str> = path.as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
    match name {
        "log_attribute" => drop(run_on_list(kind, operation, &path, &mut decoded.record.attributes)),
        "resource_attribute" => {
            let mut resource = decoded.resource.clone().unwrap_or_default();
            if run_on_list(kind, operation, &path, &mut resource.attributes) {
                *decoded.resource = Some(resource);
            }
        }
        _ => {
            let mut scope = decoded.scope.clone().unwrap_or_default();
            if run_on_list(kind, operation, &path, &mut scope.attributes) {
                *decoded.scope = Some(scope);
            }
        }
    }
}

/// Whether the list changed.
fn run_on_list(kind: &str, operation: &Value, path: &[&str], list: &mut Vec<KeyValue>) -> bool {
    let before = list.clone();
    if kind == "add" {
        add(path, operation["value"].as_str().unwrap(), operation["upsert"].as_bool().unwrap(), list);
    } else if let Some((key, list)) = parent(path, list) {
        run_on_entry(kind, operation, key, list);
    }
    *list != before
}

fn parent<'p, 'l>(path: &[&'p str], list: &'l mut Vec<KeyValue>) -> Option<(&'p str, &'l mut Vec<KeyValue>)> {
    let (first, rest) = path.split_first()?;
    if rest.is_empty() {
        return Some((first, list));
    }
    let entry = list.iter_mut().find(|entry| entry.key == *first)?;
    match entry.value.as_mut()?.value.as_mut()? {
        Kind::KvlistValue(inner) => parent(rest, &mut inner.values),
        _ => None,
    }
}

fn run_on_entry(kind: &str, operation: &Value, key: &str, list: &mut Vec<KeyValue>) {
    let Some(at) = list.iter().position(|entry| entry.key == key) else { return };
    match kind {
        "remove" => drop(list.remove(at)),
        "redact" => {
            if set(&list[at].value)
                && let Some(masked) = mask(operation, list[at].value.as_ref())
            {
                list[at].value = Some(string(&masked));
            }
        }
        _ => {
            let to = operation["to"].as_str().unwrap();
            let taken = list.iter().any(|entry| entry.key == to && set(&entry.value));
            if to == key || !set(&list[at].value) || taken && !operation["upsert"].as_bool().unwrap() {
                return;
            }
            let mut entry = list.remove(at);
            to.clone_into(&mut entry.key);
            list.retain(|entry| entry.key != to);
            list.push(entry);
        }
    }
}

/// What a redaction makes of a value.
fn mask(operation: &Value, value: Option<&AnyValue>) -> Option<String> {
    if operation.get("regex").is_none() {
        return Some(operation["replacement"].as_str().unwrap().to_owned());
    }
    match value.and_then(|value| value.value.as_ref()) {
        Some(Kind::StringValue(text)) => mask_text(text),
        _ => None,
    }
}

/// `[a1]+` becomes `<…>`.
fn mask_text(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        if matches!(c, 'a' | '1') != inside {
            out.push(if inside { '>' } else { '<' });
            inside = !inside;
        }
        out.push(c);
    }
    out.push_str(if inside { ">" } else { "" });
    text.contains(['a', '1']).then_some(out)
}

fn add(path: &[&str], value: &str, upsert: bool, list: &mut Vec<KeyValue>) {
    let (first, rest) = path.split_first().unwrap();
    let at = list.iter().position(|entry| entry.key == *first);
    let present = at.filter(|&at| set(&list[at].value));
    let value = if rest.is_empty() {
        if present.is_some() && !upsert {
            return;
        }
        string(value)
    } else {
        let mut inner = match present.map(|at| list[at].value.clone().unwrap().value.unwrap()) {
            None => KeyValueList::default(),
            Some(Kind::KvlistValue(inner)) => inner,
            Some(_) => return,
        };
        add(rest, value, upsert, &mut inner.values);
        AnyValue { value: Some(Kind::KvlistValue(inner)) }
    };
    match at {
        Some(at) => list[at].value = Some(value),
        None => list.push(KeyValue { key: (*first).to_owned(), value: Some(value), ..KeyValue::default() }),
    }
}

fn run_on_field(kind: &str, operation: &Value, field: &str, record: &mut LogRecord) {
    let current = match field {
        "body" => record.body.clone().filter(|body| body.value.is_some()),
        "severity_text" => Some(string(&record.severity_text)),
        _ => Some(string(&record.event_name)),
    };
    let current = current.filter(|value| value.value != Some(Kind::StringValue(String::new())));
    let put = |record: &mut LogRecord, value: Option<AnyValue>| match (field, value) {
        ("body", value) => record.body = value,
        (field, value) => {
            let text = match value.and_then(|value| value.value) {
                Some(Kind::StringValue(text)) => text,
                _ => String::new(),
            };
            *(if field == "severity_text" { &mut record.severity_text } else { &mut record.event_name }) = text;
        }
    };
    match kind {
        "remove" => put(record, None),
        "redact" => {
            if current.is_some()
                && let Some(masked) = mask(operation, current.as_ref())
            {
                put(record, Some(string(&masked)));
            }
        }
        "rename" => {
            let (Some(current), to) = (current, operation["to"].as_str().unwrap()) else { return };
            let at = record.attributes.iter().position(|entry| entry.key == to);
            match at {
                Some(at) if set(&record.attributes[at].value) && !operation["upsert"].as_bool().unwrap() => return,
                Some(at) => record.attributes[at].value = Some(current),
                None => {
                    record.attributes.push(KeyValue { key: to.to_owned(), value: Some(current), ..KeyValue::default() })
                }
            }
            put(record, None);
        }
        _ => {
            if current.is_none() || operation["upsert"].as_bool().unwrap() {
                put(record, Some(string(operation["value"].as_str().unwrap())));
            }
        }
    }
}
