//! Anomalies over HTTP: told by gateways, asked for by people, heard as events.

use serde_json::{Value, json};

use super::Server;

fn report(id: &str, score: f64, minute: u32, ended: bool) -> Value {
    let at = format!("2025-12-31T23:{minute:02}:00Z");
    let mut anomaly = json!({ "id": id, "kind": "spike", "service": "shop", "pattern": "00ff", "subject": "GET <*>",
        "score": score, "since": "2025-12-31T23:50:00Z", "at": "2025-12-31T23:50:20Z", "updated_at": at,
        "expected": 2.0, "seen": 9.5, "windows": 2 });
    if ended {
        (anomaly["ended_at"], anomaly["end"]) = (json!(at), json!("subsided"));
    }
    let replica = json!({ "id": "g1", "kind": "gateway", "version": "0.1.0", "policy_hash": "h" });
    json!({ "replica": replica, "batches": [], "anomalies": [anomaly] })
}

/// Reads a stream of events until `done`.
pub async fn events_until(response: reqwest::Response, done: impl Fn(&str) -> bool) -> String {
    let (mut response, mut text) = (response, String::new());
    let reading = async {
        while !done(&text) {
            let chunk = response.chunk().await.unwrap().expect("the stream ended");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        text
    };
    tokio::time::timeout(crate::gateway::PATIENCE, reading).await.expect("the events do not come")
}

#[tokio::test]
async fn anomalies_are_told_listed_and_heard() {
    let server = Server::start().await;
    let stream = server.request("GET", "/v1/events").send().await.unwrap();
    for (score, minute, is_over) in [(7.0, 51, false), (7.0, 51, false), (9.0, 52, false), (9.0, 53, true)] {
        let answer = server.send("POST", "/v1/stats", &report("a", score, minute, is_over)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    server.send("POST", "/v1/stats", &report("b", 6.0, 54, false)).await;
    let heard = events_until(stream, |text| text.contains("\"id\":\"b\"") && text.ends_with("\n\n")).await;
    let changes: Vec<Value> = heard
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str::<Value>(data).unwrap())
        .map(|event| json!([event["event"], event["change"], event["id"], event["score"]]))
        .collect();
    let expected = json!([
        ["anomaly", "opened", "a", 7.0],
        ["anomaly", "went_on", "a", 9.0],
        ["anomaly", "ended", "a", 9.0],
        ["anomaly", "opened", "b", 6.0],
    ]);
    assert_eq!(json!(changes), expected, "{heard}");

    let open = server.get("/v1/anomalies?open=true").await.body;
    assert_eq!((&open["items"][0]["id"], &open["items"][0]["ended_at"]), (&json!("b"), &Value::Null));
    let over = &server.get("/v1/anomalies?open=false&kind=spike&service=shop").await.body["items"][0];
    assert_eq!(
        (&over["id"], &over["end"], &over["replica"], &over["subject"]),
        (&json!("a"), &json!("subsided"), &json!("g1"), &json!("GET <*>"))
    );
    let first = server.get("/v1/anomalies?limit=1").await.body;
    let next = first["next"].as_str().unwrap();
    let second = server.get(&format!("/v1/anomalies?limit=1&cursor={next}")).await.body;
    assert_eq!((&first["items"][0]["id"], &second["items"][0]["id"]), (&json!("a"), &json!("b")));
    assert_eq!(server.get("/v1/anomalies?since=2025-12-31T23:51:00Z").await.body["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_anomaly_is_refused() {
    let server = Server::start().await;
    let mut wrong = vec![report("", 1.0, 1, false), report(&"x".repeat(129), 1.0, 1, false)];
    for (field, value) in [("score", json!("high")), ("more", json!(1)), ("since", json!(5)), ("windows", json!(-1))] {
        let mut bad = report("a", 1.0, 1, false);
        bad["anomalies"][0][field] = value;
        wrong.push(bad);
    }
    let many = vec![report("a", 1.0, 1, false)["anomalies"][0].clone(); 1001];
    wrong.push(json!({ "batches": [], "anomalies": many }));
    for body in wrong {
        assert_eq!(server.send("POST", "/v1/stats", &body).await.status, 422, "{body}");
    }
    for query in ["open=maybe", "since=yesterday", "cursor=e30", "limit=x", "color=red"] {
        assert_eq!(server.get(&format!("/v1/anomalies?{query}")).await.status, 400, "{query}");
    }
    server.stop().await;
}
