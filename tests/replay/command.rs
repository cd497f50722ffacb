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

#[test]
fn a_column_of_csv_is_replayed_like_its_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let messages: Vec<String> = (0..600).map(|i| format!("INFO page {i} served, in {} ms", i % 7)).collect();
    let rows: String = messages.iter().enumerate().map(|(i, message)| format!("{i},\"{message}\",x\n")).collect();
    fs::write(path("in.log"), messages.join("\n")).unwrap();
    fs::write(path("in.csv"), format!("id,message,more\n{rows}")).unwrap();
    let run = |command: &str, more: &[&str]| {
        let mut process = Command::new(env!("CARGO_BIN_EXE_lipservice"));
        process.arg(command).args(["--service", "shop", "--input"]).args(more).output().unwrap()
    };
    let csv = ["--body-column", "message"];
    for (command, more) in [("simulate", &["--format", "json"][..]), ("cost", &["--format", "json"])] {
        let lines = run(command, &[&[path("in.log").as_str()], more].concat());
        let column = run(command, &[&[path("in.csv").as_str()], &csv[..], more].concat());
        assert_eq!(lines.status.code(), Some(0), "{}", String::from_utf8_lossy(&lines.stderr));
        assert_eq!(String::from_utf8(column.stdout).unwrap(), String::from_utf8(lines.stdout).unwrap(), "{command}");
    }
    // The policy says when it expires: the rates are what is compared.
    let report = |input: &[&str]| {
        let output = run("generate", &[input, &["--budget", "50%", "--json"]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        let value: Value = serde_json::from_str(&text[..text.rfind("\n}").unwrap() + 2]).unwrap();
        (output.status.code(), value["total"].clone(), value["rules"].clone())
    };
    assert_eq!(report(&[&path("in.csv"), "--body-column", "message"]), report(&[&path("in.log")]));
    let missing = run("simulate", &[&path("in.csv"), "--body-column", "body"]);
    let said = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(said.contains("no column \"body\"; its columns are id, message, more"), "{said}");
}
