//! Whatever is sent, the answer is a problem of the client's, and never a fault of ours.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::{Server, answer};

#[tokio::test]
async fn requests_that_cannot_be_read() {
    let server = Server::start().await;
    let json_type = "application/json";
    let cases: [(&str, &str, &str, &str, u16); 18] = [
        ("GET", "/v1/nothing", "", json_type, 404),
        ("GET", "/nothing", "", json_type, 404),
        ("PATCH", "/v1/policies", "{}", json_type, 405),
        ("POST", "/v1/policies", "{}", "text/plain", 415),
        ("POST", "/v1/policies", "{", json_type, 400),
        ("POST", "/v1/policies", "\u{feff}{}", json_type, 400),
        ("POST", "/v1/policies", "{\"document\": 5, \"extra\": 1}", json_type, 422),
        ("POST", "/v1/policies", "[]", json_type, 422),
        ("PUT", "/v1/policies/shop", "{\"document\": {}}", json_type, 404),
        ("PUT", "/v1/policies/service:", "{\"document\": {}}", json_type, 400),
        ("GET", "/v1/policies/global/versions/one", "", json_type, 400),
        ("GET", "/v1/policies?limit=many", "", json_type, 400),
        ("GET", "/v1/policies?cursor=made-up", "", json_type, 400),
        ("GET", "/v1/policies?unknown=1", "", json_type, 400),
        ("GET", "/v1/patterns?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "", json_type, 400),
        ("GET", "/v1/policies/service:%00", "", json_type, 400),
        ("GET", "/v1/patterns/known?cursor=made-up", "", json_type, 400),
        ("POST", "/v1/patterns/known", "{}", json_type, 405),
    ];
    for (method, path, body, kind, status) in cases {
        let request = server.request(method, path).header("content-type", kind).body(body);
        let found = answer(request).await;
        assert_eq!(found.status, status, "{method} {path} {body}: {}", found.body);
    }
    server.stop().await;
}

/// Bodies that serde alone would take, or that other readers of the description send.
#[tokio::test]
async fn what_is_beyond_the_description_is_refused_and_its_place_named() {
    let server = Server::start().await;
    let row = |records: &str| {
        let fields = r#""service": "s", "severity": "info", "pattern": "p", "at": "2026-01-01T00:00:00Z""#;
        let counts = format!(r#""records": {records}, "bytes": 1, "kept": 1, "kept_bytes": 1"#);
        format!(r#"{{"batches": [{{"id": "a{records}", "rows": [{{{fields}, {counts}}}]}}]}}"#)
    };
    let (largest, too_large) = (row("18446744073709551615"), row("18446744073709551616"));
    let cases = [
        ("/v1/stats", largest.as_str(), 200, ""),
        ("/v1/stats", too_large.as_str(), 422, "batches[0].rows[0].records: "),
        ("/v1/stats", "[null, []]", 422, "expected"),
        ("/v1/stats", r#"{"batches": [["a", []]]}"#, 422, "batches[0]: "),
        ("/v1/stats", r#"{"batches": [], "replica": ["a", "b", "c", "d"]}"#, 422, "replica: "),
        ("/v1/simulate", r#"{"requests": [{}, null]}"#, 422, "requests[1]: not an object"),
        ("/v1/simulate", r#"{"requests": [[]]}"#, 422, "requests[0]: not an object"),
        ("/v1/policies/global/rollback", "[]", 422, "expected"),
        ("/v1/policies/validate", r#"{"document": {}, "origin": {"human": null}}"#, 422, "origin: "),
        ("/v1/tokens", r#"{"name": "a", "scopes": [{"read": null}]}"#, 422, "scopes[0]: "),
    ];
    for (path, body, status, place) in cases {
        let request = server.request("POST", path).header("content-type", "application/json").body(body.to_owned());
        let found = answer(request).await;
        assert_eq!(found.status, status, "{path} {body}: {}", found.body);
        let detail = found.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(place), "{path} {body}: {detail}");
    }
    let described = server.get("/openapi.json").await.body;
    let fields = &described["components"]["schemas"]["StatsRow"]["properties"];
    assert_eq!((&fields["records"]["format"], &fields["records"]["maximum"]), (&json!("uint64"), &json!(u64::MAX)));
    server.stop().await;
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "document",
        "policies",
        "id",
        "name",
        "log",
        "match",
        "keep",
        "regex",
        "log_field",
        "protect",
        "batches",
        "rows",
        "service",
        "records",
        "at",
        "text",
        "record",
        "version",
        "expires_at",
        "reason",
        "body",
        "parent",
        "activate",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["body", "50%", "none", "([", "2026-01-01T00:00:00Z", "\0", "human"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((names.clone(), inner), 0..7)
                .prop_map(|fields| Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

#[tokio::test]
async fn made_up_json_is_never_a_fault_of_ours() {
    let server = Server::start().await;
    let mut runner = TestRunner::deterministic();
    let doors = [
        ("POST", "/v1/policies"),
        ("PUT", "/v1/policies/global"),
        ("POST", "/v1/policies/validate"),
        ("POST", "/v1/policies/global/activate"),
        ("POST", "/v1/policies/global/rollback"),
        ("POST", "/v1/stats"),
        ("POST", "/v1/explain"),
        ("POST", "/v1/tokens"),
    ];
    for round in 0..100 {
        let body = any_json().new_tree(&mut runner).unwrap().current();
        let body = if round % 2 == 0 { body } else { json!({ "document": body, "text": "x", "batches": [] }) };
        for (method, path) in doors {
            if path == "/v1/tokens" && body["scopes"].is_array() {
                continue;
            }
            let found = server.send(method, path, &body).await;
            assert!(found.status < 500, "{method} {path} {body}: {}", found.body);
        }
    }
    server.stop().await;
}
