//! `lipservice policy eval` and `check`, as a process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const POLICIES: &str = r#"
policies:
  - id: drop-debug
    name: Debug goes
    log: {match: [{log_field: severity_text, equals: DEBUG}], keep: none}
  - id: broken
    name: Broken
    log: {match: [{log_field: body, regex: "([bad"}], keep: none}
  - id: tag
    name: Tag
    log:
      match: [{resource_attribute: service.name, equals: shop}]
      transform: {add: [{log_attribute: tag, value: x}]}
  - id: silent
    name: Matches nothing
    log: {match: [{log_field: body, equals: nothing}], keep: none}
"#;

struct Run {
    directory: tempfile::TempDir,
}

impl Run {
    fn new() -> Self {
        let run = Run { directory: tempfile::tempdir().unwrap() };
        let records = json!([
            {"timeUnixNano": "5", "severityText": "DEBUG", "body": {"stringValue": "a"}},
            {"timeUnixNano": "6", "severityText": "INFO", "body": {"stringValue": "b"}},
        ]);
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
        let input = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]});
        fs::write(run.path("in.json"), input.to_string()).unwrap();
        fs::write(run.path("p.yaml"), POLICIES).unwrap();
        run
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn eval(&self, policies: &Path, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
        command.args(["policy", "eval", "--policies"]).arg(policies).arg("--input").arg(self.path("in.json"));
        command.arg("--output").arg(self.path("out.json")).arg("--stats").arg(self.path("stats.json"));
        command.args(more).output().unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn eval_writes_what_is_kept_and_the_statistics() {
    let run = Run::new();
    let output = run.eval(&run.path("p.yaml"), &["--signal", "log"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let kept = run.json("out.json");
    let records = &kept["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
    assert_eq!(records.as_array().unwrap().len(), 1);
    assert_eq!(records[0]["body"]["stringValue"], "b");
    assert_eq!(records[0]["attributes"], json!([{"key": "tag", "value": {"stringValue": "x"}}]));
    let expected = json!({"policies": [
        {"policy_id": "broken", "hits": 0, "errors": ["log: match[0]: invalid regex \"([bad\""]},
        {"policy_id": "drop-debug", "hits": 1},
        {"policy_id": "tag", "hits": 1, "misses": 1},
    ]});
    assert_eq!(run.json("stats.json"), expected);
    assert!(stderr(&output).contains("policy broken: log: match[0]"), "{}", stderr(&output));
}

#[test]
fn eval_reads_directories_and_says_what_it_cannot_read() {
    let run = Run::new();
    fs::create_dir(run.path("policies")).unwrap();
    fs::rename(run.path("p.yaml"), run.path("policies").join("p.yaml")).unwrap();
    assert!(run.eval(&run.path("policies"), &[]).status.success());
    let missing = run.eval(&run.path("nowhere"), &[]);
    assert!(!missing.status.success() && stderr(&missing).contains("nowhere"), "{}", stderr(&missing));
    let signal = run.eval(&run.path("policies"), &["--signal", "trace"]);
    assert!(!signal.status.success() && stderr(&signal).contains("--signal log"), "{}", stderr(&signal));
}

#[test]
fn eval_refuses_broken_files_and_writes_nothing() {
    let run = Run::new();
    fs::write(run.path("in.json"), "{\"resourceLogs\": 5}").unwrap();
    let output = run.eval(&run.path("p.yaml"), &[]);
    assert!(!output.status.success() && stderr(&output).contains("in.json"), "{}", stderr(&output));
    fs::write(run.path("p.yaml"), "a: [").unwrap();
    let output = run.eval(&run.path("p.yaml"), &[]);
    assert!(!output.status.success() && stderr(&output).contains("p.yaml"), "{}", stderr(&output));
    assert!(!run.path("out.json").exists() && !run.path("stats.json").exists());
}

#[test]
fn check_lists_every_error_and_fails() {
    let run = Run::new();
    let check = || {
        Command::new(env!("CARGO_BIN_EXE_lipservice"))
            .args(["policy", "check"])
            .arg(run.path("p.yaml"))
            .output()
            .unwrap()
    };
    let output = check();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("policy broken: log: match[0]: invalid regex"), "{text}");
    fs::write(run.path("p.yaml"), POLICIES.replace("([bad", "good")).unwrap();
    let output = check();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
