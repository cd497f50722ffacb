//! Patterns that are known and gateways that share, over HTTP.

use std::time::Duration;

use lipservice::control_plane::store::{Batch, Retention, StatsRow, Timestamp};
use lipservice::data_plane::signature::VERSION;
use lipservice::data_plane::window::known::fingerprint;
use serde_json::{Value, json};

use super::Server;

fn row(service: &str, severity: &str, pattern: &str) -> Value {
    json!({ "service": service, "severity": severity, "pattern": pattern, "at": "2026-01-01T00:00:00Z", "records": 1,
        "bytes": 1, "kept": 1, "kept_bytes": 1 })
}

async fn report(server: &Server, id: &str, rows: &[Value]) {
    let answer = server.send("POST", "/v1/stats", &json!({ "batches": [{ "id": id, "rows": rows }] })).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn items(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn named(service: &str, severity: &str, pattern: &str) -> String {
    format!("{:016x}", fingerprint(service, severity, pattern))
}

#[tokio::test]
async fn the_known_are_read_once_and_then_what_is_new() {
    let server = Server::start().await;
    let empty = server.get("/v1/patterns/known").await.body;
    let nothing = json!({ "signature_version": VERSION, "from_start": true, "items": [], "next": null, "more": false });
    assert_eq!(empty, nothing);
    // As gateways name them, also where the store had to cut and replace.
    let long = "é".repeat(300);
    let names =
        [("shop", "info", "p0"), ("shop", "warn", "p0"), ("a\0b", "info", "p0"), (&long, "info", ""), ("z", "", "q")];
    for (n, (service, severity, pattern)) in names.iter().enumerate() {
        report(&server, &format!("b{n}"), &[row(service, severity, pattern), row("shop", "info", "p0")]).await;
    }
    let wanted: Vec<String> =
        names.iter().map(|(service, severity, pattern)| named(service, severity, pattern)).collect();
    let mut found = Vec::new();
    let mut path = "/v1/patterns/known?limit=2".to_owned();
    let last = loop {
        let page = server.get(&path).await.body;
        assert_eq!(page["from_start"], found.is_empty());
        found.extend(items(&page));
        let next = page["next"].as_str().unwrap().to_owned();
        if page["more"] == false {
            break next;
        }
        path = format!("/v1/patterns/known?limit=2&cursor={next}");
    };
    assert_eq!(found, wanted, "in the order of first reports");
    let later = format!("/v1/patterns/known?cursor={last}");
    let page = server.get(&later).await.body;
    assert_eq!((items(&page), &page["from_start"], &page["next"]), (vec![], &json!(false), &json!(last)));
    report(&server, "more", &[row("shop", "info", "p1"), row("z", "", "q")]).await;
    let page = server.get(&later).await.body;
    assert_eq!((items(&page), &page["from_start"]), (vec![named("shop", "info", "p1")], &json!(false)));
    for wrong in ["cursor=made-up", "limit=0", "limit=10001", "unknown=1"] {
        assert_eq!(server.get(&format!("/v1/patterns/known?{wrong}")).await.status, 400, "{wrong}");
    }
    // A cursor of a store that is another begins again.
    let other = Server::start().await;
    // First without a pattern of that number, then with another one.
    for n in 0..8 {
        report(&other, &format!("b{n}"), &[row("other", "info", &format!("x{n}"))]).await;
        let page = other.get(&later).await.body;
        let all: Vec<_> = (0..=n).map(|n| named("other", "info", &format!("x{n}"))).collect();
        assert_eq!((items(&page), &page["from_start"]), (all, &json!(true)));
    }
    server.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn what_retention_forgot_is_not_known() {
    let server = Server::start().await;
    let batch = |id: &str, pattern: &str, at: Timestamp| {
        let named = |text: &str| text.to_owned();
        let row = StatsRow {
            service: named("shop"),
            severity: named("info"),
            pattern: named(pattern),
            at,
            records: 1,
            ..StatsRow::default()
        };
        Batch { id: named(id), rows: vec![row], sent_bytes: None }
    };
    server
        .store
        .ingest(&[batch("a", "old", server.store.now()), batch("b", "new", server.store.now())], &[])
        .await
        .unwrap();
    let page = server.get("/v1/patterns/known").await.body;
    assert_eq!(items(&page).len(), 2);
    let retention = Retention::from(&Default::default());
    server.clock.advance(retention.coarse + Duration::from_secs(7200));
    server.store.ingest(&[batch("c", "new", server.store.now())], &[]).await.unwrap();
    assert_eq!(server.store.roll_up(&retention).await.unwrap().patterns, 1);
    let page = server.get("/v1/patterns/known").await.body;
    assert_eq!(items(&page), [named("shop", "info", "new")]);
    server.stop().await;
}

/// What a replica hears: how many share, and its place.
async fn says(server: &Server, id: &str, report_seconds: u32) -> (Value, Value) {
    let replica = json!({ "id": id, "kind": "gateway", "version": "0.1.0", "policy_hash": "h", "report_seconds": report_seconds });
    let answer = server.send("POST", "/v1/stats", &json!({ "replica": replica, "batches": [] })).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    (answer.body["gateways"].clone(), answer.body["place"].clone())
}

#[tokio::test]
async fn gateways_that_share_hear_how_many_they_are_and_which() {
    let server = Server::start().await;
    let heard = |gateways: u32, place: u32| (json!(gateways), json!(place));
    assert_eq!(says(&server, "b", 10).await, heard(1, 0));
    assert_eq!(says(&server, "c", 10).await, heard(2, 1));
    assert_eq!(says(&server, "a", 10).await, heard(3, 0));
    // Places follow the ids, not the order they came in.
    assert_eq!(says(&server, "b", 10).await, heard(3, 1));
    assert_eq!(says(&server, "sdk", 0).await, (Value::Null, Value::Null), "one that does not share");
    assert_eq!(says(&server, "c", 10).await, heard(3, 2));
    // One that ends says so.
    assert_eq!(says(&server, "a", 0).await, (Value::Null, Value::Null));
    assert_eq!(says(&server, "c", 10).await, heard(2, 1));
    // One that is silent is one of them until it has missed three reports.
    for _ in 0..5 {
        server.clock.advance(Duration::from_secs(12));
        assert_eq!(says(&server, "c", 10).await, heard(2, 1));
    }
    server.clock.advance(Duration::from_secs(12));
    assert_eq!(says(&server, "c", 10).await, heard(1, 0));
    // One that reports rarely is waited for longer.
    assert_eq!(says(&server, "d", 120).await, heard(2, 1));
    for _ in 0..30 {
        server.clock.advance(Duration::from_secs(12));
        assert_eq!(says(&server, "c", 10).await, heard(2, 0));
    }
    server.clock.advance(Duration::from_secs(31));
    assert_eq!(says(&server, "c", 10).await, heard(1, 0));
    server.stop().await;
}
