//! `GET /v1/policies/active`: tags, open polls, events.

use std::sync::Arc;
use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::store::Store;
use serde_json::{Value, json};

use super::super::store::{actor, at, document, new_version, sqlite_file};
use super::{Server, answer, config};
use crate::gateway::PATIENCE;

async fn put(server: &Server, set: &str, keep: &str) {
    let body = json!({ "document": document(keep), "activate": true });
    assert_eq!(server.send("PUT", &format!("/v1/policies/{set}"), &body).await.status, 200);
}

fn tag(answer: &super::Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

fn ids(answer: &super::Answer) -> Vec<&str> {
    answer.body["policies"].as_array().unwrap().iter().map(|policy| policy["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn tags_say_what_has_changed() {
    let server = Server::start().await;
    let empty = server.get("/v1/policies/active").await;
    assert_eq!((empty.status, ids(&empty)), (200, vec![]));
    put(&server, "global", "1%").await;
    put(&server, "service:shop", "2%").await;
    let all = server.get("/v1/policies/active").await;
    assert_eq!(ids(&all), ["p", "shop/p"]);
    assert_ne!(tag(&all), tag(&empty));
    assert_eq!(format!("\"{}\"", all.body["hash"].as_str().unwrap()), tag(&all));
    let shop = server.get("/v1/policies/active?service=shop").await;
    let other = server.get("/v1/policies/active?service=other").await;
    assert_eq!((ids(&shop), ids(&other)), (vec!["p", "shop/p"], vec!["p"]));
    for known in [tag(&other), format!("W/{}", tag(&other)), format!("\"x\", {}", tag(&other)), "*".into()] {
        let asked = server.request("GET", "/v1/policies/active?service=other").header("if-none-match", &known);
        let asked = answer(asked).await;
        assert_eq!((asked.status, tag(&asked)), (304, tag(&other)), "{known}");
    }
    // A change of one service is none for the others.
    put(&server, "service:shop", "3%").await;
    assert_eq!(tag(&server.get("/v1/policies/active?service=other").await), tag(&other));
    assert_ne!(tag(&server.get("/v1/policies/active?service=shop").await), tag(&shop));
    server.stop().await;
}

#[tokio::test]
async fn an_open_poll_ends_with_the_change_it_waits_for() {
    let server = Server::start().await;
    put(&server, "global", "1%").await;
    let known = tag(&server.get("/v1/policies/active?service=shop").await);
    let poll = |wait: u32| {
        let path = format!("/v1/policies/active?service=shop&wait={wait}");
        let request = server.request("GET", &path).header("if-none-match", &known);
        tokio::spawn(async move { tokio::time::timeout(PATIENCE, answer(request)).await.unwrap() })
    };
    let polls: Vec<_> = (0..20).map(|_| poll(60)).collect();
    // What concerns another service ends nothing: the poll below would be 304 before its time.
    put(&server, "service:other", "9%").await;
    assert_eq!(poll(1).await.unwrap().status, 304);
    assert!(polls.iter().all(|poll| !poll.is_finished()));
    put(&server, "service:shop", "2%").await;
    for poll in polls {
        let answer = poll.await.unwrap();
        assert_eq!((answer.status, ids(&answer)), (200, vec!["p", "shop/p"]));
    }
    // Those that wait at the end are answered.
    let known = tag(&server.get("/v1/policies/active?service=shop").await);
    let request = server.request("GET", "/v1/policies/active?service=shop&wait=60").header("if-none-match", &known);
    let waiting = tokio::spawn(answer(request));
    server.get("/v1/services").await;
    server.stop().await;
    // Either it was answered, or its connection had not been accepted yet.
    if let Ok(answer) = waiting.await {
        assert_eq!(answer.status, 304);
    }
}

#[tokio::test]
async fn a_change_of_another_process_is_noticed() {
    let (file, _directory) = sqlite_file();
    let server = Server::over(&file, config(), Clock::System).await;
    let known = tag(&server.get("/v1/policies/active").await);
    let request = server.request("GET", "/v1/policies/active?wait=60").header("if-none-match", &known);
    let poll = tokio::spawn(answer(request));
    let other = Store::open(&file, Clock::System).await.unwrap();
    other.create_version(&new_version("", "1%"), &actor()).await.unwrap();
    other.activate("", 1, "", &actor()).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, poll).await.unwrap().unwrap();
    assert_eq!((answer.status, ids(&answer)), (200, vec!["p"]));
    server.stop().await;
}

#[tokio::test]
async fn what_expires_ends_open_polls_too() {
    let server = Server::over(&at("sqlite::memory:"), config(), Clock::manual(super::START)).await;
    let body = json!({ "document": document("1%"), "activate": true, "expires_at": "2026-01-01T00:10:00Z" });
    server.send("PUT", "/v1/policies/global", &body).await;
    let active = server.get("/v1/policies/active").await;
    assert_eq!(active.body["policies"][0]["expires_at"], "2026-01-01T00:10:00Z");
    let request = server.request("GET", "/v1/policies/active?wait=60").header("if-none-match", tag(&active));
    let poll = tokio::spawn(answer(request));
    server.clock.advance(Duration::from_secs(600));
    let ended = tokio::time::timeout(PATIENCE, poll).await.unwrap().unwrap();
    assert_eq!((ended.status, ids(&ended)), (200, vec![]));
    server.stop().await;
}

#[tokio::test]
async fn events_tell_of_versions_and_decisions() {
    let server = Server::start().await;
    let mut events = server.http.get(server.url("/v1/events")).send().await.unwrap();
    assert_eq!(events.headers()["content-type"], "text/event-stream");
    put(&server, "service:shop", "1%").await;
    let row = json!({ "service": "shop", "severity": "info", "pattern": "p", "at": "2026-01-01T00:00:00Z",
        "records": 9, "bytes": 90, "kept": 2, "kept_bytes": 20 });
    server.send("POST", "/v1/stats", &json!({ "batches": [{ "id": "1", "rows": [row] }] })).await;
    let mut text = String::new();
    let read = async {
        while !text.contains("\"dropped\":7") {
            text.push_str(std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    let data: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(data[0], json!({ "event": "version", "service": "shop", "number": 1 }), "{text}");
    assert_eq!((&data[1]["event"], &data[1]["kept"]), (&json!("decisions"), &json!(2)), "{text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_version_is_told_once_whoever_sees_it_first() {
    const VERSIONS: u64 = 50;
    let server = Server::start().await;
    let mut events = server.http.get(server.url("/v1/events")).send().await.unwrap();
    // Others look at the store all the time, and may be the first to see a change.
    let mirror = Arc::clone(&server.mirror);
    let looking = tokio::spawn(async move {
        loop {
            mirror.refresh().await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for number in 1..=VERSIONS {
        put(&server, "service:shop", &format!("{number}%")).await;
        // Stored, but not put in force: nothing to tell.
        let stored = json!({ "document": document("100%") });
        server.send("PUT", "/v1/policies/service:idle", &stored).await;
    }
    put(&server, "service:end", "1%").await;
    looking.abort();
    let mut text = String::new();
    let read = async {
        while !text.contains("\"end\"") {
            text.push_str(std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap();
    let told = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let told: Vec<Value> = told.map(|data| serde_json::from_str(data).unwrap()).collect();
    let (last, told) = told.split_last().unwrap();
    assert_eq!(last["service"], "end");
    let expected: Vec<Value> =
        (1..=VERSIONS).map(|number| json!({ "event": "version", "service": "shop", "number": number })).collect();
    assert_eq!(told, expected);
    server.stop().await;
}
