//! `lipservice patterns` as a program.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::evaluate::sets;

fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lipservice"))
        .arg("patterns")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn ids(arguments: &[&str], input: &[u8]) -> Vec<String> {
    let output = run(arguments, input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

const LOG: &str = "guest ann signed in from 10.0.0.1\nguest bob signed in from 10.0.0.2\nguest eve signed in from 10.0.0.3\n\
                   guest joe signed in from 10.0.0.4\nstarted in 5 ms\n";

#[test]
fn assignments_are_one_id_a_message_in_order() {
    let mined = ids(&["--input", "-", "--format", "assignments"], LOG.as_bytes());
    assert_eq!(mined.len(), 5);
    assert!(mined[..4].iter().all(|id| *id == mined[0]) && mined[4] != mined[0], "{mined:?}");
    assert!(mined.iter().all(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())));
    let ingest = ids(&["--input", "-", "--format", "assignments", "--stage", "ingest"], LOG.as_bytes());
    assert_eq!(ingest[4], mined[4], "a message alone keeps its signature's number");
    assert_eq!(ingest.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
}

#[test]
fn a_csv_and_otlp_json_give_the_ids_of_plain_lines() {
    let plain = ids(&["--input", "-", "--format", "assignments"], LOG.as_bytes());
    let csv: String = LOG.lines().map(|line| format!("1,\"{line}\",x\r\n")).collect();
    let csv = format!("id,body,rest\r\n{csv}");
    assert_eq!(ids(&["--input", "-", "--format", "assignments", "--body-column", "body"], csv.as_bytes()), plain);
    let records: Vec<_> = LOG.lines().map(|line| serde_json::json!({"body": {"stringValue": line}})).collect();
    let request = |records: &[serde_json::Value]| {
        serde_json::json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).to_string()
    };
    let otlp = format!("{}\n{}\n", request(&records[..2]), request(&records[2..]));
    assert_eq!(ids(&["--input", "-", "--format", "assignments"], otlp.as_bytes()), plain);
}

#[test]
fn a_table_and_json_show_the_same_patterns() {
    let table = String::from_utf8(run(&["--input", "-"], LOG.as_bytes()).stdout).unwrap();
    assert!(table.contains("guest <*> signed in from <*>") && table.contains("5 messages, 2 patterns"), "{table}");
    let json = run(&["--input", "-", "--format", "json"], LOG.as_bytes()).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((json["messages"].as_u64(), json["patterns"][0]["messages"].as_u64()), (Some(5), Some(4)));
    assert!(table.contains(json["patterns"][0]["id"].as_str().unwrap()));
    let hostile = run(&["--input", "-"], b"\x1b[2J a\xc2\x9bb \xe2\x80\xae x\n").stdout;
    let hostile = String::from_utf8(hostile).unwrap();
    assert!(hostile.chars().all(|c| !c.is_control() || c == '\n') && !hostile.contains('\u{202e}'), "{hostile:?}");
}

#[test]
fn bad_input_is_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().to_str().unwrap();
    for (arguments, input, says) in [
        (vec!["--input", "/nowhere/x.log"], &b""[..], "opening /nowhere/x.log"),
        (vec!["--input", directory], b"", "is a directory"),
        (vec!["--input", "-", "--body-column", "body"], b"a,b\n1,2\n", "no column \"body\""),
        (vec!["--input", "-"], b"{\"resourceLogs\": [\n", "line 1 is no OTLP JSON"),
    ] {
        let output = run(&arguments, input);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(says), "{error}");
        assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    }
}

#[test]
fn a_closed_pipe_is_quiet() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_lipservice"))
        .args(["patterns", "--input", "-", "--format", "assignments", "--stage", "ingest"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let _ = child.stdin.take().unwrap().write_all("some line\n".repeat(20_000).as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Two processes, the same messages in another order: the same ids, message by message.
#[test]
fn two_processes_agree_on_every_id() {
    for set in &sets("two_processes_agree_on_every_id") {
        let arguments = ["--input", "-", "--format", "assignments"];
        let one = ids(&arguments, (set.lines.join("\n") + "\n").as_bytes());
        // A fixed shuffle: steps of a number that has no common factor with the length.
        let n = set.lines.len();
        let step = (1..n).rev().find(|step| gcd(*step, n) == 1 && *step < n / 2).unwrap_or(1);
        let order: Vec<usize> = (0..n).map(|i| i * step % n).collect();
        let shuffled: String = order.iter().map(|i| set.lines[*i].clone() + "\n").collect();
        let other = ids(&arguments, shuffled.as_bytes());
        assert_eq!(one.len(), n);
        for (place, i) in order.iter().enumerate() {
            assert_eq!(one[*i], other[place], "{}: line {i}", set.name);
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
