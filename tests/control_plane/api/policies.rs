//! Policies over HTTP: create, update, activate, roll back, deactivate, look at.

use serde_json::{Value, json};

use super::Server;
use crate::control_plane::store::document;

fn write(keep: &str, activate: bool) -> Value {
    json!({ "document": document(keep), "reason": format!("keep {keep}"), "activate": activate })
}

#[tokio::test]
async fn the_life_of_a_policy() {
    let server = Server::start().await;
    let mut first = write("1%", false);
    first["service"] = "shop".into();
    let created = server.send("POST", "/v1/policies", &first).await;
    assert_eq!((created.status, &created.body["version"]["number"]), (201, &json!(1)), "{created:?}");
    assert_eq!((&created.body["created"], &created.body["active"]), (&json!(true), &json!(false)));
    assert_eq!(created.body["version"]["author"], "anonymous");
    assert_eq!(server.send("POST", "/v1/policies", &first).await.status, 409);

    let set = "/v1/policies/service:shop";
    let second = server.send("PUT", set, &write("2%", true)).await;
    assert_eq!(
        (second.status, &second.body["version"]["number"], &second.body["active"]),
        (200, &json!(2), &json!(true))
    );
    let again = server.send("PUT", set, &write("2%", true)).await;
    assert_eq!((&again.body["version"]["number"], &again.body["created"]), (&json!(2), &json!(false)));
    let mut stale = write("3%", false);
    stale["parent"] = 1.into();
    assert_eq!(server.send("PUT", set, &stale).await.status, 409);

    let read = server.get(set).await.body;
    assert_eq!((&read["active"], &read["newest"]["document"]), (&json!(2), &document("2%")));
    assert_eq!(server.get(&format!("{set}/versions/1")).await.body["document"], document("1%"));
    let versions = server.get(&format!("{set}/versions?limit=1")).await.body;
    assert_eq!((&versions["items"][0]["number"], versions["items"][0].get("document")), (&json!(2), None));
    let next = versions["next"].as_str().unwrap();
    let versions = server.get(&format!("{set}/versions?limit=1&cursor={next}")).await.body;
    assert_eq!((&versions["items"][0]["number"], &versions["next"]), (&json!(1), &Value::Null));

    let diff = server.get(&format!("{set}/diff?from=1&to=2")).await.body;
    assert_eq!((&diff["policies"][0]["id"], &diff["policies"][0]["change"]), (&json!("p"), &json!("changed")));
    assert_eq!(diff["policies"][0]["before"]["log"]["keep"], "1%");

    let back = server.send("POST", &format!("{set}/rollback"), &json!({})).await;
    assert_eq!(back.status, 404, "only one version was ever in force");
    let activated = server.send("POST", &format!("{set}/activate"), &json!({ "version": 1 })).await.body;
    assert_eq!(activated, json!({ "set": "service:shop", "active": 1, "changed": true }));
    let back = server.send("POST", &format!("{set}/rollback"), &json!({ "reason": "worse" })).await.body;
    assert_eq!((&back["active"], &back["changed"]), (&json!(2), &json!(true)));
    let gone = server.request("DELETE", set).send().await.unwrap();
    assert_eq!(gone.json::<Value>().await.unwrap()["active"], Value::Null);
    let history = server.get(&format!("{set}/history")).await.body;
    let history: Vec<_> = history["items"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(history, ["deactivate", "rollback", "activate", "activate"]);
    let list = server.get("/v1/policies").await.body;
    assert_eq!((&list["items"][0]["set"], &list["items"][0]["active"]), (&json!("service:shop"), &Value::Null));
    let audit = server.get("/v1/audit").await.body;
    assert_eq!(audit["items"].as_array().unwrap().len(), 6, "{audit}");
    server.stop().await;
}

#[tokio::test]
async fn a_refused_document_changes_nothing() {
    let server = Server::start().await;
    server.send("PUT", "/v1/policies/global", &write("5%", true)).await;
    let tag = |answer: &super::Answer| answer.headers["etag"].clone();
    let before = tag(&server.get("/v1/policies/active").await);
    let policy = |change: fn(&mut Value)| {
        let mut document = document("1%");
        change(&mut document["policies"][0]);
        document
    };
    let large = json!({ "policies": [{ "id": "p", "name": "x".repeat(5 << 20) }] });
    let protected = json!({ "policies": [
        { "id": "a", "name": "A", "protect": true, "log": { "match": [{ "log_field": "body", "contains": "x" }] } },
        document("none")["policies"][0],
    ] });
    for (name, document, path, reason) in [
        (
            "does not compile",
            policy(|p| p["log"]["match"][0] = json!({ "log_field": "body", "regex": "([" })),
            "policies[0].log.match[0]",
            "invalid regex",
        ),
        ("unknown field", policy(|p| p["enable"] = true.into()), "policies[0]", "unknown field"),
        ("contradicts a protection", protected, "policies[1].log.keep", "contradicts a protection"),
        ("too large", large, "", "more than the limit"),
        ("no document", json!("text"), "", "expected policies"),
    ] {
        let body = json!({ "document": document, "activate": true });
        let answer = server.send("PUT", "/v1/policies/global", &body).await;
        assert_eq!(answer.status, 422, "{name}: {}", answer.body);
        assert_eq!(answer.body["type"], "urn:lipservice:problem:invalid-policy", "{name}");
        let error = &answer.body["errors"][0];
        assert_eq!(error["path"], path, "{name}: {error}");
        assert!(error["reason"].as_str().unwrap().contains(reason), "{name}: {error}");
        let checked = server.send("POST", "/v1/policies/validate", &json!({ "document": document })).await;
        assert_eq!((checked.status, &checked.body["valid"]), (200, &json!(false)), "{name}");
        assert_eq!(&checked.body["errors"][0], error, "{name}");
    }
    let after = server.get("/v1/policies/active").await;
    assert_eq!((tag(&after), &after.body["policies"][0]["log"]["keep"]), (before, &json!("5%")));
    assert_eq!(server.get("/v1/policies/global/versions").await.body["items"].as_array().unwrap().len(), 1);
    let valid = server.send("POST", "/v1/policies/validate", &json!({ "document": document("7%") })).await.body;
    assert_eq!(valid, json!({ "valid": true, "policies": 1, "errors": [] }));
    server.stop().await;
}

#[tokio::test]
async fn records_are_explained() {
    let server = Server::start().await;
    let policies = json!({ "policies": [
        { "id": "half", "name": "Half", "log": { "match": [{ "log_field": "body", "contains": "ping" }], "keep": "50%" } },
        { "id": "pay", "name": "Pay", "protect": true, "log": { "match": [{ "log_field": "body", "contains": "pay" }] } },
    ] });
    server.send("PUT", "/v1/policies/global", &json!({ "document": policies, "activate": true })).await;
    let ask = async |body: Value| server.send("POST", "/v1/explain", &body).await;
    for (name, body, reason, matched) in [
        ("a percentage", json!({ "text": "ping 7 ok" }), "policy_percentage", json!(["half"])),
        ("a protection", json!({ "text": "ping pay 9" }), "protect", json!(["half", "pay"])),
        ("severity", json!({ "text": "ping", "severity": "ERROR" }), "severity", json!(["half"])),
        ("nothing", json!({ "text": "other", "service": "shop" }), "default", json!([])),
        ("new", json!({ "text": "other", "new_pattern": true }), "novelty", json!([])),
        (
            "OTLP",
            json!({ "record": { "body": { "stringValue": "ping" }, "severityNumber": 17 } }),
            "severity",
            json!(["half"]),
        ),
        ("another document", json!({ "text": "x", "document": document("none") }), "policy_none", json!(["p"])),
    ] {
        let answer = ask(body).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.body);
        assert_eq!(answer.body["reason"], reason, "{name}: {}", answer.body);
        let ids: Vec<_> =
            answer.body["policies"].as_array().unwrap().iter().map(|policy| policy["id"].clone()).collect();
        assert_eq!(Value::Array(ids), matched, "{name}");
        assert_eq!(answer.body["signature"].as_str().unwrap().len(), 16, "{name}");
    }
    let answer = ask(json!({ "text": "ping 7 ok" })).await.body;
    assert_eq!((&answer["probability"], &answer["template"]), (&json!(0.5), &json!("ping <*> ok")), "{answer}");
    for body in [json!({}), json!({ "text": "a", "record": {} }), json!({ "record": { "body": 5 } })] {
        assert_eq!(ask(body.clone()).await.status, 422, "{body}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_description_is_complete_and_the_docs_load_nothing_from_elsewhere() {
    let server = Server::start().await;
    let api = server.http.get(server.url("/openapi.json")).send().await.unwrap().json::<Value>().await.unwrap();
    assert!(api["openapi"].as_str().unwrap().starts_with("3.1"), "{}", api["openapi"]);
    let operations = api["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values());
    let operations: Vec<_> = operations.collect();
    assert!(operations.len() > 25, "{}", operations.len());
    for operation in operations {
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{operation}");
        assert!(operation["responses"]["422"]["content"]["application/problem+json"].is_object(), "{operation}");
    }
    let page = server.http.get(server.url("/docs/")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("swagger-ui") && !page.contains("https://") && !page.contains("//cdn"), "{page}");
    assert_eq!(server.http.get(server.url("/docs/swagger-ui-bundle.js")).send().await.unwrap().status(), 200);
    server.stop().await;
}
