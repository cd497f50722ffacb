//! Databases that die, come back, fill up or refuse to be written.

use std::process::Command;

use lipservice::clock::Clock;
use serde_json::{Value, json};

use super::api::{Server, answer, config};
use super::store::{at, document, sqlite_file};
use crate::support::servers;

fn put(keep: &str) -> Value {
    json!({ "document": document(keep), "activate": true })
}

fn report(id: &str) -> Value {
    let row = json!({ "service": "shop", "severity": "info", "pattern": "p", "at": "2026-01-01T00:00:00Z", "records": 1,
        "bytes": 10, "kept": 1, "kept_bytes": 10 });
    json!({ "batches": [{ "id": id, "rows": [row] }] })
}

/// What must hold while the store cannot be written: the policies in force are served, changes are refused as passing.
async fn serves_but_does_not_change(server: &Server, keep: &str) {
    let active = server.get("/v1/policies/active").await;
    assert_eq!((active.status, &active.body["policies"][0]["log"]["keep"]), (200, &json!(keep)));
    let refused = server.send("PUT", "/v1/policies/global", &put("99%")).await;
    assert_eq!((refused.status, &refused.body["type"]), (503, &json!("urn:lipservice:problem:unavailable")));
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(server.send("POST", "/v1/stats", &report("while away")).await.status, 503);
}

#[tokio::test]
async fn postgres_dies_and_comes_back() {
    let Some(mut postgres) = tokio::task::spawn_blocking(servers::postgres).await.unwrap() else { return };
    let url = servers::database(&postgres).await;
    let server = Server::over(&at(url), config(), Clock::System).await;
    assert_eq!(server.send("PUT", "/v1/policies/global", &put("1%")).await.status, 200);
    assert_eq!(server.send("POST", "/v1/stats", &report("1")).await.status, 200);
    let mut leader = server.store.try_lead().await.unwrap().unwrap();

    let mut postgres = tokio::task::spawn_blocking(move || {
        postgres.crash();
        postgres
    })
    .await
    .unwrap();
    serves_but_does_not_change(&server, "1%").await;
    assert_eq!(answer(server.request("GET", "/health/ready")).await.status, 503);
    assert!(!leader.is_held().await, "a leader without a database");

    let _postgres = tokio::task::spawn_blocking(move || {
        postgres.resume();
        postgres
    })
    .await
    .unwrap();
    // The server takes connections a moment after its port opens.
    while answer(server.request("GET", "/health/ready")).await.status != 200 {}
    assert_eq!(server.send("PUT", "/v1/policies/global", &put("2%")).await.status, 200);
    // What was acknowledged is there, once; what was not can be sent again.
    for (id, added) in [("1", 0), ("while away", 1)] {
        assert_eq!(server.send("POST", "/v1/stats", &report(id)).await.body["added"], added, "{id}");
    }
    let versions = server.get("/v1/policies/global/versions").await.body;
    assert_eq!(versions["items"].as_array().unwrap().len(), 2, "{versions}");
    assert!(server.store.try_lead().await.unwrap().is_some());
    server.stop().await;
}

#[tokio::test]
async fn a_read_only_file_serves_what_is_in_it() {
    let (file, directory) = sqlite_file();
    let server = Server::over(&file, config(), Clock::System).await;
    server.send("PUT", "/v1/policies/global", &put("1%")).await;
    server.stop().await;
    let url = format!("sqlite:{}?mode=ro", directory.path().join("store.db").display());
    let server = Server::over(&at(url), config(), Clock::System).await;
    serves_but_does_not_change(&server, "1%").await;
    server.stop().await;
}

/// A file system of one MiB, if this machine lets us have one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(directory.path()).output();
        mount.is_ok_and(|output| output.status.success()).then_some(SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_costs_changes_and_nothing_else() {
    let Some(disk) = SmallDisk::new() else {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "SKIPPED: a full disk: no file system can be mounted here");
        return;
    };
    let url = format!("sqlite:{}", disk.0.path().join("store.db").display());
    let server = Server::over(&at(url), config(), Clock::System).await;
    server.send("PUT", "/v1/policies/global", &put("1%")).await;
    let filler = disk.0.path().join("filler");
    // As large as the disk lets it be.
    let _ = std::fs::write(&filler, vec![0u8; 2 << 20]);
    serves_but_does_not_change(&server, "1%").await;
    std::fs::remove_file(&filler).unwrap();
    let written = server.send("PUT", "/v1/policies/global", &put("2%")).await;
    assert_eq!((written.status, &written.body["version"]["number"]), (200, &json!(2)), "{}", written.body);
    assert_eq!(server.send("POST", "/v1/stats", &report("while away")).await.body["added"], 1);
    server.stop().await;
}
