//! Hostile documents and hostile records: errors or no match, never a panic.

use lipservice::data_plane::policy::{CompiledPolicy, Document};
use lipservice::data_plane::view::LogIndex;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};

use super::generate;

/// Every name of the format, in the wrong places too.
const NAMES: &[&str] = &[
    "policies",
    "id",
    "name",
    "enabled",
    "log",
    "metric",
    "trace",
    "match",
    "keep",
    "transform",
    "sample_key",
    "extensions",
    "protect",
    "expires_at",
    "origin",
    "log_field",
    "logAttribute",
    "resource_attribute",
    "scope_attribute",
    "signature",
    "path",
    "exact",
    "regex",
    "exists",
    "starts_with",
    "ends_with",
    "contains",
    "equals",
    "gt",
    "lte",
    "negate",
    "case_insensitive",
    "int_value",
    "hex_value",
    "bytes_value",
    "remove",
    "redact",
    "rename",
    "add",
    "to",
    "value",
    "upsert",
    "replacement",
    "from_log_field",
    "other",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "all",
    "none",
    "50%",
    "1/s",
    "999999999999999999999/s",
    "1/99999999999999999999s",
    "é%",
    "1/é",
    "body",
    "LOG_FIELD_TRACE_ID",
    "([",
    "(?P<n>a)\\1",
    "[[:",
    "\\Q",
    "\\x{",
    "\\p{",
    "a{1000}{1000}{1000}",
    "$",
    "${",
    "$$",
    "${n}$99",
    "2026-01-01T00:00:00Z",
    "9999-99-99T99:99:99+99:99",
    "é026-01-01T00:00:00+01:00",
    "00000000000000aa",
    "human",
];

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(TEXTS).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 60, 6, |inner| {
        prop_oneof![
            1 => vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => btree_map(prop::sample::select(NAMES).prop_map(str::to_owned), inner, 0..7)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn sample_request() -> Vec<u8> {
    let attributes = json!([{"key": "a", "value": {"stringValue": "b"}}]);
    let record = json!({"body": {"stringValue": "a"}, "severityText": "a", "attributes": attributes,
        "traceId": "4bf92f3577b34da6a3ce929d0e0e4736"});
    super::request_of(&json!({"record": record}))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_tree_is_read_or_refused(tree in tree()) {
        let documents = [Document::from_value("hostile", tree)];
        let policies = CompiledPolicy::compile(&documents, 0, None);
        policies.apply_to_request(&sample_request(), 0, || 0).unwrap();
        for problem in policies.problems() {
            prop_assert!(!problem.messages.is_empty());
        }
    }

    #[test]
    fn any_target_is_read_or_refused(target in tree()) {
        let documents = [Document::from_value("hostile", json!([{"id": "p", "name": "p", "log": target}]))];
        let policies = CompiledPolicy::compile(&documents, 0, None);
        prop_assert_eq!(policies.len() + policies.problems().len(), 1);
        policies.apply_to_request(&sample_request(), 0, || 0).unwrap();
    }

    #[test]
    fn any_text_is_read_or_refused(text in prop_oneof![
        "\\PC{0,40}",
        "[\\[\\]{}:,&*!|>'\"#%@`\n -]{0,40}",
        tree().prop_map(|tree| tree.to_string()),
    ], cut in 0..200usize) {
        let cut = (0..=cut.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        for text in [&text[..], &text[..cut]] {
            if let Ok(documents) = Document::parse("hostile", text.as_bytes()) {
                CompiledPolicy::compile(&documents, 0, None);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..60)) {
        if let Ok(documents) = Document::parse("hostile", &bytes) {
            CompiledPolicy::compile(&documents, 0, None);
        }
    }

    #[test]
    fn what_is_kept_is_a_request_and_every_match_is_counted(
        request in generate::request(),
        tree in generate::policies(),
        randomness in 0..1u64 << 56,
    ) {
        let policies = super::valid(tree);
        let records = |request: &ExportLogsServiceRequest| -> usize {
            request.resource_logs.iter().flat_map(|r| &r.scope_logs).map(|s| s.log_records.len()).sum()
        };
        let kept = policies.apply_to_request(&request.encode_to_vec(), 0, || randomness).unwrap();
        let kept = ExportLogsServiceRequest::decode(kept.as_slice()).unwrap();
        prop_assert!(records(&kept) <= records(&request));
        let dropped = (records(&request) - records(&kept)) as u64;
        let stats = policies.stats();
        // Each dropped record is a hit of exactly one policy.
        prop_assert!(stats.iter().map(|s| s.hits).sum::<u64>() >= dropped);
        for stats in &stats {
            prop_assert!(stats.hits + stats.misses <= records(&request) as u64);
        }
        if policies.is_empty() {
            prop_assert_eq!(kept, request);
        }
    }

    #[test]
    fn damaged_requests_are_evaluated_or_refused(
        request in generate::request(),
        tree in generate::policies(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = request.encode_to_vec();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let is_valid = LogIndex::default().read(&bytes).is_ok();
        let applied = super::valid(tree).apply_to_request(&bytes, 0, || 0);
        prop_assert_eq!(applied.is_ok(), is_valid);
        if let Ok(applied) = applied {
            prop_assert!(LogIndex::default().read(&applied).is_ok());
        }
    }
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let deep_json = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_yaml = (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>();
    let laughs = (1..40).fold("a0: &a0 [x, x, x]\n".to_owned(), |text, i| {
        let before = i - 1;
        format!("{text}a{i}: &a{i} [*a{before}, *a{before}, *a{before}]\n")
    });
    for text in [deep_json, deep_yaml, laughs] {
        assert!(Document::parse("hostile", text.as_bytes()).is_err());
    }
}
