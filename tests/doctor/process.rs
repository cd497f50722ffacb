//! What it finds, what it says, how it ends, and what it never prints.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::fake_posthog::{Drift, FakePostHog, Key, Mode, PROJECT, READER};

const TOKEN: &str = "phc_0123456789abcdef";

/// A directory with a configuration.
struct Desk {
    directory: tempfile::TempDir,
}

/// What a run came to.
struct Found {
    is_success: bool,
    json: Value,
    text: String,
}

impl Found {
    /// Status and sentence of the check about this subject.
    fn get(&self, check: &str, subject: &str) -> (&str, &str) {
        let all = self.json["checks"].as_array().unwrap();
        let is_it = |finding: &&Value| finding["check"] == check && finding["subject"] == subject;
        let finding = all.iter().find(is_it).unwrap_or_else(|| panic!("{check} {subject} in {}", self.text));
        (finding["status"].as_str().unwrap(), finding["says"].as_str().unwrap())
    }
    fn has(&self, check: &str) -> bool {
        self.json["checks"].as_array().unwrap().iter().any(|finding| finding["check"] == check)
    }
}

impl Desk {
    fn new(exporters: &str, reading: &str) -> Desk {
        let desk = Desk { directory: tempfile::tempdir().unwrap() };
        let names: Vec<&str> = exporters.lines().filter_map(|line| line.split(':').next()).collect();
        let exporters: String = exporters.lines().map(|line| format!("  {line}\n")).collect();
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}\nexporters:\n{exporters}\
             service:\n  pipelines: {{logs: {{receivers: [otlp], exporters: [{}]}}}}\n{reading}\n",
            names.join(", ")
        );
        std::fs::write(desk.path("config.yaml"), text).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn run_in(&self, format: &str, more: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
        command.current_dir(self.directory.path()).args(["doctor", "--config", "config.yaml", "--format", format]);
        if !more.contains(&"--wait") {
            command.args(["--wait", "50ms"]);
        }
        command.args(more).env("READ_KEY", READER).env("PROJECT_TOKEN", TOKEN);
        for name in ["POSTHOG_PERSONAL_API_KEY", "POSTHOG_PROJECT_ID", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name).env_remove(name.to_lowercase());
        }
        command.stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.is_empty(), "{said}");
        for secret in [TOKEN, READER] {
            assert!(!text.contains(secret), "{text}");
        }
        (output.status.success(), text)
    }

    async fn run(&self, more: &[&str]) -> Found {
        let (is_success, text) = self.run_in("json", more).await;
        let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        assert_eq!(json["ok"], is_success, "{text}");
        Found { is_success, json, text }
    }
}

fn exporter(posthog: &FakePostHog) -> String {
    format!("posthog: {{host: '{}', token: '${{env:PROJECT_TOKEN}}'}}", posthog.url())
}

fn reading(posthog: &FakePostHog, more: &str) -> String {
    format!(
        "posthog: {{host: '{}', project: {PROJECT}, api_key: '${{env:READ_KEY}}', max_attempts: 1{more}}}",
        posthog.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_by_either_api() {
    for api in ["hogql", "logs"] {
        let posthog = FakePostHog::start().await.unwrap();
        let desk = Desk::new(&exporter(&posthog), &reading(&posthog, &format!(", api: {api}")));
        let found = desk.run(&[]).await;
        assert!(found.is_success, "{}", found.text);
        let all = found.json["checks"].as_array().unwrap();
        assert!(all.iter().all(|finding| finding["status"] == "ok"), "{}", found.text);
        assert_eq!(all.len(), 10, "{}", found.text);
        assert!(found.get("record found", "exporters.posthog").1.starts_with("PostHog stored it; found after "));
        let rows = posthog.rows();
        assert_eq!(rows.len(), 1, "one marked record");
        assert_eq!(rows[0].service_name, "lipservice-doctor");
        let requests = posthog.requests();
        let sent = requests.iter().find(|request| request.records == 1).unwrap();
        assert_eq!(sent.encoding, "gzip", "sent as the exporter sends");
        let (is_success, table) = desk.run_in("table", &["--no-record"]).await;
        assert!(is_success && table.ends_with("\n8 ok, 0 to look at, 0 failed\n"), "{table}");
        assert_eq!(posthog.row_count(), 1, "and none with --no-record");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_in_a_file_is_judged_and_sent_with() {
    let posthog = FakePostHog::start().await.unwrap();
    let exporter = format!("posthog: {{host: '{}', token_file: token}}", posthog.url());
    let desk = Desk::new(&exporter, &reading(&posthog, ""));
    std::fs::write(desk.path("token"), format!("{TOKEN}\n")).unwrap();
    let found = desk.run(&[]).await;
    assert!(found.is_success, "{}", found.text);
    assert_eq!(found.get("token", "exporters.posthog.token_file").0, "ok");
    assert_eq!(posthog.rows()[0].token, TOKEN);
    std::fs::write(desk.path("token"), READER).unwrap();
    let found = desk.run(&[]).await;
    assert_eq!(found.get("token", "exporters.posthog.token_file").0, "fail", "{}", found.text);
    std::fs::remove_file(desk.path("token")).unwrap();
    let found = desk.run(&[]).await;
    let (status, says) = found.get("configuration", "config.yaml");
    assert!(status == "fail" && says.contains("exporters.posthog.token_file: cannot read token"), "{}", found.text);
    assert!(!found.has("token") && !found.has("record sent"), "{}", found.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_acknowledged_and_dropped_are_missed() {
    let posthog = FakePostHog::start().await.unwrap();
    posthog.set_mode(Mode::AcceptAndDrop);
    for api in ["hogql", "logs"] {
        let desk = Desk::new(&exporter(&posthog), &reading(&posthog, &format!(", api: {api}")));
        let found = desk.run(&[]).await;
        assert!(!found.is_success);
        assert_eq!(found.get("record sent", "exporters.posthog").0, "ok");
        let (status, says) = found.get("record found", "exporters.posthog");
        assert_eq!(status, "fail");
        for part in ["drops records silently", "exporters.posthog.token", "quota", "--wait"] {
            assert!(says.contains(part), "{part} in {says}");
        }
        assert!(posthog.read_side(|read| read.requests) >= 3, "looked for more than once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_comes_late_is_found() {
    let posthog = FakePostHog::start().await.unwrap();
    let desk = Desk::new(&exporter(&posthog), &reading(&posthog, ""));
    let run = desk.run(&["--wait", "60s"]);
    let held_back = async {
        posthog.wait_until(|posthog| posthog.row_count() == 1).await;
        let rows = posthog.take_rows();
        posthog.wait_until(|posthog| posthog.read_side(|read| read.requests) >= 3).await;
        posthog.add_rows(rows);
        std::future::pending::<()>().await;
    };
    let found = tokio::select! {
        found = run => found,
        () = held_back => unreachable!(),
    };
    assert!(found.is_success, "{}", found.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_it_says_what_is_not_checked() {
    let posthog = FakePostHog::start().await.unwrap();
    let desk = Desk::new(&exporter(&posthog), "");
    let found = desk.run(&[]).await;
    assert!(found.is_success, "{}", found.text);
    let (status, says) = found.get("read API", "posthog");
    assert!(status == "warn" && says.contains("posthog.project") && says.contains("phx_"), "{says}");
    let (status, says) = found.get("record found", "exporters.posthog");
    assert!(status == "warn" && says.starts_with("not checked"), "{says}");
    assert_eq!(posthog.row_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_scopes_projects_and_failures_of_the_read_side() {
    let posthog = FakePostHog::start().await.unwrap();
    let desk = |more: &str| Desk::new(&exporter(&posthog), &reading(&posthog, more));
    let refused = |found: &Found, status: &str, part: &str| {
        let (was, says) = found.get("read API", "posthog");
        assert!(was == status && says.contains(part), "{says}");
        assert_eq!(found.get("record found", "exporters.posthog").0, "warn");
        assert_eq!(found.is_success, status == "warn");
    };
    posthog.read_side(|read| read.keys.clear());
    refused(&desk("").run(&[]).await, "fail", "does not know this personal API key");
    posthog.read_side(|read| {
        read.keys.push(Key { text: READER.into(), scopes: vec!["logs:read".into()], projects: Vec::new() });
    });
    refused(&desk("").run(&[]).await, "fail", "lacks the scope query:read");
    assert!(desk(", api: logs").run(&[]).await.is_success);
    posthog.read_side(|read| read.projects = vec![77]);
    refused(&desk(", api: logs").run(&[]).await, "fail", "has no project 1 for this key");
    posthog.read_side(|read| {
        read.projects = vec![PROJECT];
        read.faults.fail = 1.0;
    });
    refused(&desk(", api: logs").run(&[]).await, "warn", "not checked: PostHog fails (HTTP 500");
    posthog.read_side(|read| {
        read.faults.fail = 0.0;
        read.drift = Drift::Html;
    });
    refused(&desk(", api: logs").run(&[]).await, "fail", "the address that people open in a browser");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_swapped_or_torn() {
    let posthog = FakePostHog::start().await.unwrap();
    let with = |token: &str| format!("posthog: {{host: '{}', token: '{token}'}}", posthog.url());
    for (token, status, part) in [
        ("${env:READ_KEY}", "fail", "is a personal API key (phx_...)"),
        ("phc_with space", "fail", "copy it again"),
        ("something", "warn", "does not begin with phc_"),
    ] {
        let found = Desk::new(&with(token), "").run(&[]).await;
        let (was, says) = found.get("token", "exporters.posthog.token");
        assert!(was == status && says.contains(part), "{says}");
        assert_eq!(found.has("record sent"), status == "warn", "{}", found.text);
    }
    let swapped = "posthog: {project: 1, api_key: '${env:PROJECT_TOKEN}'}";
    let found = Desk::new(&exporter(&posthog), swapped).run(&[]).await;
    let (status, says) = found.get("configuration", "config.yaml");
    assert!(status == "fail" && says.contains("posthog.api_key") && says.contains("phx_"), "{says}");
    // Where each client's own token is passed on.
    let desk = Desk::new(&format!("posthog: {{host: '{}'}}", posthog.url()), &reading(&posthog, ""));
    let found = desk.run(&[]).await;
    let (status, says) = found.get("token", "exporters.posthog");
    assert!(status == "warn" && says.contains("--token-file") && found.is_success, "{says}");
    std::fs::write(desk.path("token"), format!("{TOKEN}\n")).unwrap();
    let found = desk.run(&["--token-file", "token"]).await;
    assert_eq!(found.get("record found", "exporters.posthog").0, "ok");
    assert_eq!(posthog.rows().last().unwrap().token, TOKEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_ports_and_regions() {
    let posthog = FakePostHog::start().await.unwrap();
    // Reserved never to exist (RFC 6761).
    let lost = "posthog: {host: 'https://nowhere.invalid', token: '${env:PROJECT_TOKEN}'}";
    let found = Desk::new(lost, "posthog: {host: 'http://nowhere.invalid', project: 1, api_key: '${env:READ_KEY}'}");
    let found = found.run(&[]).await;
    for subject in ["exporters.posthog", "posthog.host"] {
        let (status, says) = found.get("dns", subject);
        assert!(status == "fail" && says.contains("nowhere.invalid cannot be resolved"), "{says}");
    }
    assert!(!found.has("record sent") && !found.is_success);
    let speaks_plain = format!("otlp_http: {{endpoint: '{}'}}", posthog.url().replace("http:", "https:"));
    let found = Desk::new(&speaks_plain, "").run(&[]).await;
    let (status, says) = found.get("connection", "exporters.otlp_http");
    assert!(status == "fail" && says.contains("check that it is https: there"), "{says}");
    let desk = Desk::new(&exporter(&posthog), "");
    posthog.go_down().await;
    let found = desk.run(&[]).await;
    let (status, says) = found.get("connection", "exporters.posthog");
    assert!(status == "fail" && says.contains("check the port"), "{says}");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_destinations_and_refusals() {
    let posthog = FakePostHog::start().await.unwrap();
    let both = format!(
        "otlp_http: {{endpoint: '{}', headers: {{authorization: 'Bearer ${{env:PROJECT_TOKEN}}'}}}}\ndebug: {{}}",
        posthog.url()
    );
    for (mode, status, part) in [
        (Mode::Ok, "ok", "acknowledged one marked record"),
        (Mode::Status(402, None), "fail", "quota is used up"),
        (Mode::Status(401, None), "fail", "check the exporter's token or headers"),
        (Mode::Status(503, None), "fail", "would try again"),
        (Mode::Status(302, None), "fail", "redirects are not followed"),
    ] {
        posthog.set_mode(mode);
        let found = Desk::new(&both, "").run(&[]).await;
        let (was, says) = found.get("record sent", "exporters.otlp_http");
        assert!(was == status && says.contains(part), "{says}");
        assert_eq!(found.is_success, status == "ok", "{}", found.text);
        assert_eq!(found.get("destination", "exporters.debug").0, "ok");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_a_configuration_is_a_line() {
    let desk = Desk::new("posthog: {host: mars}", "nonsense: 1");
    let found = desk.run(&[]).await;
    assert!(!found.is_success);
    let all = found.json["checks"].as_array().unwrap();
    assert!(all.len() >= 2 && all.iter().all(|finding| finding["status"] == "fail"), "{}", found.text);
}
