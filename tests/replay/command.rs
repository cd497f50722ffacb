//! `lipservice simulate`, as a process.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

const DROP_ERRORS: &str = "{id: d, name: d, log: {match: [{log_field: body, contains: failed}], keep: 1%}}";
const CONFIG: &str = "
receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}
processors: {sampler: {protect_severity: none, novelty_records: 0, floor_records: 0}}
exporters: {debug: {}}
service: {pipelines: {logs: {receivers: [otlp], processors: [sampler], exporters: [debug]}}}
";

fn simulate(config: Option<&str>, more: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let lines: String = (0..600).map(|i| format!("ERROR login of user {i} failed\nINFO page {i} served\n")).collect();
    fs::write(path("in.log"), lines).unwrap();
    fs::write(path("p.yaml"), DROP_ERRORS).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
    command.args(["simulate", "--service", "shop", "--policy"]).arg(path("p.yaml"));
    command.arg("--input").arg(path("in.log")).args(more);
    if let Some(config) = config {
        fs::write(path("c.yaml"), config).unwrap();
        command.arg("--config").arg(path("c.yaml"));
    }
    command.output().unwrap()
}

#[test]
fn a_report_for_people_and_one_for_programs() {
    let table = simulate(None, &[]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table.status.code(), Some(0), "{text}\n{}", String::from_utf8_lossy(&table.stderr));
    assert!(text.contains("ok       ERROR records lost: 0") && text.contains("page <*> served"), "{text}");
    let json: Value = serde_json::from_slice(&simulate(None, &["--format", "json"]).stdout).unwrap();
    assert_eq!(json["total"]["received"]["records"], 1_200);
    assert_eq!(json["checks"]["error_records_lost"], 0);
    assert_eq!(json["patterns"].as_array().unwrap().len(), 2);
}

#[test]
fn a_failed_check_is_exit_status_3_and_a_broken_file_1() {
    let lost = simulate(Some(CONFIG), &[]);
    let text = String::from_utf8(lost.stdout).unwrap();
    assert_eq!(lost.status.code(), Some(3), "{text}{}", String::from_utf8_lossy(&lost.stderr));
    assert!(text.contains("FAILED   ERROR records lost: "), "{text}");
    let unread = simulate(None, &["--input-format", "otlp-json"]);
    assert_eq!(unread.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unread.stderr).contains("line 1"), "{unread:?}");
}
