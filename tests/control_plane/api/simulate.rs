//! Simulations over HTTP: the command line's report, bounded, and off the threads that serve.

use serde_json::{Value, json};

use super::Server;
use crate::control_plane::store::document;

fn request(second: u64, body: &str, severity: u8) -> Value {
    json!({ "resourceLogs": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] },
        "scopeLogs": [{ "logRecords": (0..50).map(|n| json!({
            "timeUnixNano": (1_767_225_600_000_000_000u64 + second * 1_000_000_000).to_string(),
            "severityNumber": severity,
            "body": { "stringValue": format!("{body} {n}") },
        })).collect::<Vec<_>>() }],
    }] })
}

fn traffic() -> Vec<Value> {
    (0..60)
        .map(|second| {
            request(
                second,
                if second % 10 == 0 { "payment x failed" } else { "cart x seen" },
                if second % 10 == 0 { 17 } else { 9 },
            )
        })
        .collect()
}

#[tokio::test]
async fn the_report_of_the_command_line() {
    let server = Server::start().await;
    let body = json!({ "document": document("5%"), "requests": traffic() });
    let answer = server.send("POST", "/v1/simulate", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let directory = tempfile::tempdir().unwrap();
    let (input, policy) = (directory.path().join("in.jsonl"), directory.path().join("policy.json"));
    let lines: String = traffic().iter().map(|request| format!("{request}\n")).collect();
    std::fs::write(&input, lines).unwrap();
    std::fs::write(&policy, document("5%").to_string()).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lipservice"));
    command.args(["simulate", "--format", "json", "--input"]).arg(&input).arg("--policy").arg(&policy);
    let output = command.output().unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, answer.body);
    assert_eq!(answer.body["total"]["received"]["records"], 3_000);
    assert!(answer.body["total"]["kept"]["records"].as_u64().unwrap() < 700, "{}", answer.body["total"]);
    assert_eq!(answer.body["checks"]["error_records_lost"], 0);
    let one = json!({ "document": document("5%"), "requests": traffic(), "top": 1 });
    let one = server.send("POST", "/v1/simulate", &one).await.body;
    assert_eq!((one["patterns"].as_array().unwrap().len(), &one["total"]), (1, &answer.body["total"]));
    server.stop().await;
}

#[tokio::test]
async fn without_a_document_what_is_in_force_is_simulated() {
    let server = Server::start().await;
    let write = json!({ "document": document("1%"), "activate": true });
    let kept = async |server: &Server| {
        let answer = server.send("POST", "/v1/simulate", &json!({ "requests": traffic() })).await;
        answer.body["total"]["kept"]["records"].as_u64().unwrap()
    };
    assert_eq!(kept(&server).await, 3_000);
    assert_eq!(server.send("PUT", "/v1/policies/global", &write).await.status, 200);
    assert!(kept(&server).await < 500);
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = Server::start().await;
    for (body, status, says) in [
        (json!({ "document": document("700%"), "requests": traffic() }), 422, "policies[0]"),
        (json!({ "requests": [] }), 422, "requests: 1 to"),
        (json!({ "requests": [{ "resourceLogs": 7 }] }), 422, "requests[0]"),
        (json!({ "requests": [traffic()[0], "x"] }), 422, "requests[1]"),
        (json!({ "requests": traffic(), "more": 1 }), 422, "more"),
    ] {
        let answer = server.send("POST", "/v1/simulate", &body).await;
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.to_string().contains(says), "{} {says}", answer.body);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_are_told_to_come_again_and_nothing_else_waits() {
    let server = Server::start().await;
    let requests: Vec<Value> = (0..10).flat_map(|_| traffic()).collect();
    let body = json!({ "document": document("5%"), "requests": requests });
    let sending: Vec<_> =
        (0..8).map(|_| tokio::spawn(super::answer(server.request("POST", "/v1/simulate").json(&body)))).collect();
    assert_eq!(server.get("/health/live").await.status, 200);
    let mut statuses = Vec::new();
    for sending in sending {
        let answer = sending.await.unwrap();
        assert!([200, 429].contains(&answer.status), "{}", answer.body);
        assert_eq!(answer.headers.contains_key("retry-after"), answer.status == 429);
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&200), "{statuses:?}");
    // Room comes back.
    let small = json!({ "document": document("5%"), "requests": traffic() });
    assert_eq!(server.send("POST", "/v1/simulate", &small).await.status, 200);
    server.stop().await;
}
