//! Rollouts over HTTP and by the command.

use std::process::Command;
use std::time::Duration;

use lipservice::control_plane::rollout::Driver;
use serde_json::{Value, json};

use crate::control_plane::api::Server;
use crate::control_plane::store::document;

const SET: &str = "/v1/policies/service:shop";

/// A server with version 1 in force and version 2 written.
async fn server() -> Server {
    let server = Server::start().await;
    for (keep, activate) in [("all", true), ("10%", false)] {
        let body = json!({ "document": document(keep), "activate": activate });
        assert_eq!(server.send("PUT", SET, &body).await.status, 200);
    }
    server
}

async fn active(server: &Server) -> Value {
    server.get(SET).await.body["active"].clone()
}

fn report(rollout: i64, stage: u32, kept: u64) -> Value {
    json!({
        "replica": { "id": "g1", "kind": "gateway", "version": "1", "policy_hash": "h" },
        "batches": [],
        "trial": { "rollout": rollout, "stage": stage, "rows": [
            { "service": "shop", "arm": "candidate", "records": 5000, "bytes": 50_000, "kept": kept / 10,
              "kept_bytes": kept, "errors_lost": 0, "anomalous": 0, "anomalous_kept": 0 },
            { "service": "shop", "arm": "baseline", "records": 5000, "bytes": 50_000, "kept": 5000,
              "kept_bytes": 50_000, "errors_lost": 0, "anomalous": 0, "anomalous_kept": 0 },
        ] },
    })
}

#[tokio::test]
async fn start_look_approve_and_abort() {
    let server = server().await;
    let path = &format!("{SET}/rollout");
    assert_eq!(server.get(path).await.status, 404);
    let wanted = json!({ "version": 2, "manual": true, "reason": "cheaper", "prediction": { "kept": { "low": 0.08, "high": 0.12 } } });
    let started = server.send("POST", path, &wanted).await;
    assert_eq!(
        (started.status, &started.body["phase"], &started.body["percentage"]),
        (201, &json!("waiting"), &json!(0.0))
    );
    assert_eq!(server.send("POST", path, &wanted).await.status, 409);
    for bad in [
        json!({}),
        json!({ "version": 2, "mode": "half" }),
        json!({ "version": 2, "prediction": { "kept": { "low": 1 } } }),
        json!({ "version": 2, "share": 5 }),
    ] {
        assert!([400, 422].contains(&server.send("POST", path, &bad).await.status), "{bad}");
    }
    // While it waits, gateways see nothing of it.
    let bundle = server.get("/v1/policies/active").await.body;
    assert_eq!(bundle.get("extension_configs"), None);
    let approved = server.send("POST", &format!("{path}/approve"), &json!({})).await;
    assert_eq!((approved.status, &approved.body["phase"]), (200, &json!("shadow")), "{approved:?}");
    assert_eq!(server.send("POST", &format!("{path}/approve"), &json!({})).await.status, 409);
    let changed = server.get("/v1/policies/active").await.body;
    let offer = &changed["extension_configs"]["lipservice.rollout"];
    assert_eq!((&offer["mode"], &offer["policies"][0]["log"]["keep"]), (&json!("shadow"), &json!("10%")));
    assert_eq!((&changed["policies"], &offer["replaces"]), (&bundle["policies"], &json!(["shop/p"])));
    assert_ne!(changed["hash"], bundle["hash"]);
    // What gateways tell is shown.
    let id = approved.body["rollout"]["id"].as_i64().unwrap();
    assert_eq!(server.send("POST", "/v1/stats", &report(id, 0, 5_000)).await.status, 200);
    let status = server.get(path).await.body;
    assert_eq!(
        (&status["candidate"]["kept_bytes"], &status["baseline"]["kept_bytes"]),
        (&json!(5_000), &json!(50_000))
    );
    let mut odd = report(id, 0, 5_000);
    odd["trial"]["rows"][0]["arm"] = "third".into();
    assert_eq!(server.send("POST", "/v1/stats", &odd).await.status, 422);
    let aborted = server.send("POST", &format!("{path}/abort"), &json!({})).await;
    assert_eq!((&aborted.body["phase"], &aborted.body["why"]), (&json!("rolled_back"), &json!("stopped by anonymous")));
    assert_eq!(active(&server).await, 1);
    assert_eq!(server.get("/v1/policies/active").await.body, bundle);
    let audit = server.get("/v1/audit").await.body;
    let actions: Vec<&str> =
        audit["items"].as_array().unwrap().iter().filter_map(|entry| entry["action"].as_str()).collect();
    assert_eq!(actions[..3], ["rollout.rolled_back", "rollout.shadow", "rollout.start"]);
    server.stop().await;
}

#[tokio::test]
async fn steps_are_events() {
    let server = server().await;
    let mut events = server.request("GET", "/v1/events").send().await.unwrap();
    let path = &format!("{SET}/rollout");
    let started = server.send("POST", path, &json!({ "version": 2, "mode": "live" })).await;
    assert_eq!((&started.body["phase"], active(&server).await), (&json!("live"), json!(2)));
    server.send("POST", &format!("{path}/abort"), &json!({})).await;
    assert_eq!(active(&server).await, 1);
    let mut text = String::new();
    while text.matches("event: ").count() < 4 {
        text += std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap();
    }
    let names: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["rollout", "version", "rollout", "version"], "{text}");
    assert!(text.contains("\"phase\":\"rolled_back\"") && text.contains("\"why\":\"stopped by anonymous\""), "{text}");
    drop(events);
    server.stop().await;
}

/// Status and standard output.
async fn run(server: &Server, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
    command.env_remove("LIPSERVICE_TOKEN").env("NO_PROXY", "127.0.0.1");
    command.args(["policy", "rollout"]).args(arguments).args(["--server", &server.url(""), "--service", "shop"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

#[tokio::test]
async fn the_command_does_the_same() {
    let server = server().await;
    let (code, text) = run(&server, &["status"]).await;
    assert!(code != 0 && text.contains("nothing was rolled out"), "{text}");
    let (code, text) = run(&server, &["start", "2", "--manual", "--kept", "8-12", "--reason", "cheaper"]).await;
    assert!(
        code == 0 && text.contains("of version 2, from version 1") && text.contains("waiting, stage 1 of 5"),
        "{text}"
    );
    let (code, text) = run(&server, &["approve"]).await;
    assert!(code == 0 && text.contains("shadow") && text.contains("8.0 to 12.0 %"), "{text}");
    let driver = Driver::default();
    assert_eq!(server.send("POST", "/v1/stats", &report(1, 0, 25_000)).await.status, 200);
    server.clock.advance(Duration::from_secs(10));
    assert!(driver.turn(&server.store).await.unwrap().is_some());
    let (code, text) = run(&server, &["status"]).await;
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("because 50.0 % of the bytes are kept, predicted were 8.0 to 12.0 %"), "{text}");
    assert!(text.contains("candidate          5000          50000   50.0 %"), "{text}");
    let (code, text) = run(&server, &["abort"]).await;
    assert!(code != 0 && text.contains("rolled_back"), "{text}");
    server.stop().await;
}
