//! Transforms on bytes agree with the same transforms on decoded structs, and leave everything else as it was.

use lipservice::data_plane::view::wire::put_len_field;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::reference::{self, Decoded};
use super::{generate, valid};

/// The order in which the kinds of operations run.
const KINDS: [&str; 4] = ["remove", "redact", "rename", "add"];

fn everything() -> serde_json::Value {
    json!([{"log_attribute": "no such attribute", "exists": false}])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn bytes_are_rewritten_as_structs_would_be(
        request in generate::request(),
        operations in vec(generate::operation(), 1..5),
    ) {
        let transform = generate::transform(operations);
        let policies = valid(json!([{"id": "p", "name": "p", "log": {"match": everything(), "transform": transform}}]));
        let found = policies.apply_to_request(&request.encode_to_vec(), 0, || 0).unwrap();
        let mut expected = request;
        for resource_logs in &mut expected.resource_logs {
            for scope_logs in &mut resource_logs.scope_logs {
                for record in &mut scope_logs.log_records {
                    let (resource, scope) = (&mut resource_logs.resource, &mut scope_logs.scope);
                    let mut decoded = Decoded { record, resource, scope };
                    for kind in KINDS {
                        for operation in transform[kind].as_array().into_iter().flatten() {
                            reference::run(kind, operation, &mut decoded);
                        }
                    }
                }
            }
        }
        prop_assert_eq!(ExportLogsServiceRequest::decode(found.as_slice()).unwrap(), expected);
    }

    #[test]
    fn operations_that_find_nothing_leave_every_byte(request in generate::request()) {
        let transform = json!({
            "remove": [{"log_attribute": "x"}, {"resource_attribute": ["a", "x"]}, {"scope_attribute": "x"}],
            "redact": [{"log_attribute": "x"}, {"log_field": "body", "regex": "no such text", "replacement": "?"}],
            "rename": [{"from_log_attribute": "x", "to": "a", "upsert": true}],
        });
        let policies = valid(json!([{"id": "p", "name": "p", "log": {"match": everything(), "transform": transform}}]));
        let bytes = request.encode_to_vec();
        prop_assert_eq!(policies.apply_to_request(&bytes, 0, || 0).unwrap(), bytes);
    }
}

/// A field number that no message of OTLP has.
const UNKNOWN: u32 = 1000;

#[test]
fn unknown_fields_survive_byte_for_byte_in_their_place() {
    let with = |fields: &[(u32, &[u8])]| {
        let mut message = Vec::new();
        for (field, payload) in fields {
            put_len_field(&mut message, *field, payload);
        }
        message
    };
    let attribute = |key: &str, value: &[u8]| {
        with(&[
            (UNKNOWN, b"in front"),
            (1, key.as_bytes()),
            (UNKNOWN, b"between"),
            (2, &with(&[(1, value)])),
            (UNKNOWN, b"behind"),
        ])
    };
    let message = |secret: &[u8]| {
        let record = with(&[
            (UNKNOWN, b"record"),
            (6, &attribute("a", b"kept")),
            (6, &attribute("secret", secret)),
            (UNKNOWN + 1, b"between"),
            (5, &with(&[(1, b"text")])),
            (UNKNOWN, b"end"),
        ]);
        let scope_logs = with(&[(2, &record), (UNKNOWN, b"scope")]);
        with(&[(1, &with(&[(2, &scope_logs), (UNKNOWN, b"resource")])), (UNKNOWN, b"request")])
    };
    let transform = json!({"redact": [{"log_attribute": "secret", "replacement": "***"}]});
    let policies = valid(json!([{"id": "p", "name": "p", "log": {"match": everything(), "transform": transform}}]));
    let found = policies.apply_to_request(&message(b"hunter2"), 0, || 0).unwrap();
    assert_eq!(found, message(b"***"));
}

#[test]
fn a_redaction_leaves_no_copy_behind() {
    // Two values in one attribute and two bodies: protobuf lets the last one win, others might read the first.
    let secret = |out: &mut Vec<u8>, field| put_len_field(out, field, b"\x0a\x07hunter2");
    let mut attribute = b"\x0a\x01a".to_vec();
    secret(&mut attribute, 2);
    secret(&mut attribute, 2);
    let mut record = Vec::new();
    put_len_field(&mut record, 6, &attribute);
    put_len_field(&mut record, 6, &attribute);
    secret(&mut record, 5);
    secret(&mut record, 5);
    let mut request = record;
    for field in [2, 2, 1] {
        let inner = std::mem::take(&mut request);
        put_len_field(&mut request, field, &inner);
    }
    let transform = json!({"redact": [{"log_attribute": "a"}, {"log_field": "body"}]});
    let policies = valid(json!([{"id": "p", "name": "p", "log": {"match": everything(), "transform": transform}}]));
    let found = policies.apply_to_request(&request, 0, || 0).unwrap();
    assert!(!found.windows(7).any(|window| window == b"hunter2"), "{}", String::from_utf8_lossy(&found));
    ExportLogsServiceRequest::decode(found.as_slice()).unwrap();
}
