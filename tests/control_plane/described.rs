//! The running API against its own `/openapi.json`, by schemathesis: generated requests, valid and not, alone and in chains.
//!
//! No answer may be a 5xx or differ from the description, and nothing that the description forbids may be accepted.
//! `tests/clients/install.sh` installs what it needs; without it the test skips loudly, or fails where that is not allowed.

use std::process::Command;

use lipservice::clock::Clock;
use lipservice::control_plane::api::config::ApiConfig;
use lipservice::control_plane::store::Scope;

use super::api::{Server, config};
use super::store::sqlite_file;
use crate::clients::{Program, repository};

/// The same seed makes the same requests.
const SEED: &str = "7";
/// Generated requests of each kind and address.
const EXAMPLES: &str = "8";

/// A body that is too large is refused, too.
const SETTINGS: &str =
    "[checks.negative_data_rejection]\nexpected-statuses = [400, 401, 403, 404, 405, 409, 413, 415, 422]\n";

/// What is left out, and why: `/v1/events` never ends. Whether a document is a policy, whether a time lies in the past, and
/// that a record is given either as text or whole, no schema can say, so valid data may be refused.
const LEFT_OUT: [&str; 4] = ["--exclude-path", "/v1/events", "--exclude-checks", "positive_data_acceptance"];

#[tokio::test]
async fn the_api_does_what_it_says() {
    let schemathesis = repository().join("tests/clients/python/.venv/bin/schemathesis");
    if Program::python_is_missing(&schemathesis) {
        return;
    }
    let (store, _directory) = sqlite_file();
    let settings = ApiConfig { requests_per_second: 1_000_000, ..config() };
    let server = Server::over(&store, settings, Clock::System).await.with_token(&[Scope::Admin]).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("schemathesis.toml"), SETTINGS).unwrap();
    let mut command = Command::new(schemathesis);
    command.args(["run", &server.url("/openapi.json"), "--seed", SEED, "--max-examples", EXAMPLES]);
    command.args(["--header", &format!("Authorization: Bearer {}", server.token.as_deref().unwrap())]);
    command.args(["--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure", "--no-color"]);
    command.args(["--request-timeout", "30", "--warnings", "off"]).args(LEFT_OUT);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command.current_dir(home.path());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let summary: Vec<&str> =
        text.lines().filter(|line| line.contains("generated") || line.contains("Tested:")).collect();
    eprintln!("{}", summary.join("; "));
    // Were the token revoked on the way, every answer after it would have been a 401, which says little.
    assert_eq!(server.get("/v1/audit").await.status, 200);
    server.stop().await;
}
