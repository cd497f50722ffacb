//! Generated requests with few names, so that policies meet them; generated policies, right and wrong.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Kind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[ab1]{1,3}", "\\PC{0,8}"]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        4 => text().prop_map(|text| Some(Kind::StringValue(text))),
        1 => any::<bool>().prop_map(|flag| Some(Kind::BoolValue(flag))),
        2 => (-2..3i64).prop_map(|number| Some(Kind::IntValue(number))),
        1 => (-2.0..3.0f64).prop_map(|number| Some(Kind::DoubleValue(number))),
        1 => vec(any::<u8>(), 0..4).prop_map(|bytes| Some(Kind::BytesValue(bytes))),
        1 => Just(None),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        attributes_of(inner).prop_map(|values| AnyValue { value: Some(Kind::KvlistValue(KeyValueList { values })) })
    })
}

/// Attributes of different names: protobuf allows a name twice, OTLP does not.
fn attributes_of(value: impl Strategy<Value = AnyValue>) -> impl Strategy<Value = Vec<KeyValue>> {
    vec(("[abcm]", option::weighted(0.95, value)), 0..4).prop_map(|entries| {
        let mut seen = std::collections::BTreeSet::new();
        let entries = entries.into_iter().filter(|(key, _)| seen.insert(key.clone()));
        entries.map(|(key, value)| KeyValue { key, value, ..KeyValue::default() }).collect()
    })
}

fn record() -> impl Strategy<Value = LogRecord> {
    let texts = (text(), text(), 0..25i32);
    let ids = (prop_oneof![Just(0usize), Just(16)], any::<[u8; 16]>(), prop_oneof![Just(0usize), Just(8)]);
    (texts, option::of(value()), attributes_of(value()), ids, any::<(u64, u32)>()).prop_map(
        |((severity_text, event_name, severity_number), body, attributes, (trace, id, span), (time, flags))| {
            LogRecord {
                time_unix_nano: time,
                severity_number,
                severity_text,
                event_name,
                body,
                attributes,
                flags,
                trace_id: id[..trace].to_vec(),
                span_id: id[..span].to_vec(),
                ..LogRecord::default()
            }
        },
    )
}

/// A request of a few blocks.
pub fn request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope =
        (option::of(attributes_of(value())), vec(record(), 0..4)).prop_map(|(attributes, log_records)| ScopeLogs {
            scope: attributes.map(|attributes| InstrumentationScope { attributes, ..InstrumentationScope::default() }),
            log_records,
            ..ScopeLogs::default()
        });
    let resource =
        (option::of(attributes_of(value())), vec(scope, 0..3)).prop_map(|(attributes, scope_logs)| ResourceLogs {
            resource: attributes.map(|attributes| Resource { attributes, ..Resource::default() }),
            scope_logs,
            ..ResourceLogs::default()
        });
    vec(resource, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

/// One selector of a field that exists, as name and value.
pub fn selector() -> impl Strategy<Value = (&'static str, Value)> {
    let path = prop_oneof![3 => vec("[abcm]", 1..2), 1 => vec("[abcm]", 2..4)].prop_map(|path| json!(path));
    prop_oneof![
        3 => path.clone().prop_map(|path| ("log_attribute", path)),
        1 => path.clone().prop_map(|path| ("resource_attribute", path)),
        1 => path.prop_map(|path| ("scope_attribute", path)),
        2 => prop::sample::select(vec!["body", "severity_text", "event_name", "trace_id", "span_id"])
            .prop_map(|field| ("log_field", json!(field))),
    ]
}

fn matcher() -> impl Strategy<Value = Value> {
    let literal = "[ab1]{0,2}";
    let test = prop_oneof![
        literal.prop_map(|text| ("contains", json!(text))),
        literal.prop_map(|text| ("starts_with", json!(text))),
        literal.prop_map(|text| ("ends_with", json!(text))),
        "[ab1.*]{0,1}[ab1]".prop_map(|text| ("regex", json!(text.trim_start_matches('*')))),
        any::<bool>().prop_map(|exists| ("exists", json!(exists))),
        (-2..3i64).prop_map(|number| ("gte", json!(number))),
        (-2..3i64).prop_map(|number| ("equals", json!(number))),
    ];
    (selector(), test, any::<(bool, bool)>()).prop_map(|((field, path), (test, literal), (negate, fold))| {
        json!({field: path, test: literal, "negate": negate, "case_insensitive": fold})
    })
}

/// A set of policies that compile.
pub fn policies() -> impl Strategy<Value = Value> {
    let keep = prop::sample::select(vec!["all", "none", "50%", "0%", "1/s", "3/5s", "2/m", ""]);
    let origin = prop::sample::select(vec!["human", "generated"]);
    let policy = (vec(matcher(), 1..3), keep, origin, prop::bool::weighted(0.1), vec(operation(), 0..3));
    vec(policy, 0..5).prop_map(|policies| {
        let policies = policies.into_iter().enumerate().map(|(i, (matchers, keep, origin, protect, operations))| {
            let keep = if protect { "" } else { keep };
            json!({"id": format!("p{i}"), "name": "n", "protect": protect, "origin": origin,
                "log": {"match": matchers, "keep": keep, "transform": transform(operations)}})
        });
        policies.collect()
    })
}

/// Operations by kind, in the form of a document.
pub fn transform(operations: Vec<(&'static str, Value)>) -> Value {
    let mut transform = json!({});
    for (kind, operation) in operations {
        match transform[kind].as_array_mut() {
            Some(list) => list.push(operation),
            None => transform[kind] = json!([operation]),
        }
    }
    transform
}

/// One operation on fields that are no identifiers, by kind.
pub fn operation() -> impl Strategy<Value = (&'static str, Value)> {
    let changeable = selector()
        .prop_filter("identifiers take no text", |(_, path)| path.as_str().is_none_or(|field| !field.ends_with("_id")));
    (changeable, "[abcm]", text(), any::<bool>(), 0..5).prop_map(|((field, path), name, text, upsert, kind)| match kind
    {
        0 => ("remove", json!({field: path})),
        1 => ("redact", json!({field: path, "replacement": text})),
        2 => ("redact", json!({field: path, "regex": "[a1]+", "replacement": "<$0>"})),
        3 => ("rename", json!({format!("from_{field}"): path, "to": name, "upsert": upsert})),
        _ => ("add", json!({field: path, "value": text, "upsert": upsert})),
    })
}
