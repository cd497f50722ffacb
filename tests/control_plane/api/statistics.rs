//! Statistics over HTTP.

use serde_json::{Value, json};

use super::Server;

fn row(service: &str, pattern: &str, records: u64, kept: u64) -> Value {
    json!({ "service": service, "severity": "info", "pattern": pattern, "template": format!("t {pattern}"),
        "example": "e", "at": "2026-01-01T00:00:00Z", "records": records, "bytes": records * 10, "kept": kept,
        "kept_bytes": kept * 10 })
}

#[tokio::test]
async fn reports_are_stored_once_and_asked_for() {
    let server = Server::start().await;
    let replica = json!({ "id": "g1", "kind": "gateway", "version": "0.1.0", "policy_hash": "h" });
    let rows: Vec<Value> = (0..7).map(|n| row("shop", &format!("p{n}"), 10 + n, n)).collect();
    let report = json!({ "replica": replica, "batches": [{ "id": "a", "rows": rows }] });
    for expected in [json!({ "added": 1, "repeated": 0, "rows": 7 }), json!({ "added": 0, "repeated": 1, "rows": 0 })] {
        let answer = server.send("POST", "/v1/stats", &report).await;
        assert_eq!((answer.status, answer.body), (200, expected));
    }
    let mut found = Vec::new();
    let mut path = "/v1/patterns?limit=3&sort=kept".to_owned();
    loop {
        let page = server.get(&path).await.body;
        found.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/patterns?limit=3&sort=kept&cursor={next}");
    }
    let names: Vec<_> = found.iter().map(|pattern| pattern["pattern"].as_str().unwrap()).collect();
    assert_eq!(names, ["p6", "p5", "p4", "p3", "p2", "p1", "p0"]);
    assert_eq!((&found[0]["records"], &found[0]["dropped"]), (&json!(16), &json!(10)));
    let id = found[0]["id"].as_str().unwrap();
    let one = server.get(&format!("/v1/patterns/{id}")).await.body;
    assert_eq!((&one["template"], &one["example"], &one["kept"]), (&json!("t p6"), &json!("e"), &json!(6)));
    let series = server.get(&format!("/v1/stats?pattern={id}&step=60")).await.body;
    assert_eq!(series["buckets"][0]["records"], 16, "{series}");
    let empty = server.get("/v1/patterns?service=other").await.body;
    assert_eq!(empty, json!({ "items": [], "next": null }));
    assert_eq!(server.get("/v1/services").await.body["items"][0], json!({ "name": "shop", "active": null }));
    let status = server.get("/v1/status").await.body;
    assert_eq!((&status["replicas"][0]["id"], &status["store"]), (&json!("g1"), &json!("sqlite")));
    assert_eq!(server.get("/v1/anomalies").await.body, json!({ "items": [], "next": null }));
    assert_eq!(server.get("/v1/patterns/999999").await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn reports_at_once_share_transactions_and_lose_nothing() {
    let server = Server::start().await;
    let sending: Vec<_> = (0..60)
        .map(|n| {
            // Every third report is sent twice.
            let id = format!("b{}", if n % 3 == 2 { n - 1 } else { n });
            let report = json!({ "batches": [{ "id": id, "rows": [row("shop", "p", 1, 1)] }] });
            let request = server.request("POST", "/v1/stats").json(&report);
            tokio::spawn(super::answer(request))
        })
        .collect();
    let mut added = 0;
    for sending in sending {
        let answer = sending.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        added += answer.body["added"].as_u64().unwrap();
    }
    assert_eq!(added, 40);
    assert_eq!(server.get("/v1/patterns").await.body["items"][0]["records"], 40);
    server.stop().await;
}
