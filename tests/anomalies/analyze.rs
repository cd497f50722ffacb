//! `lipservice analyze` as a program.

use std::process::{Command, Output};

use super::random::Random;

/// Ten hours of a shop: steady requests, a spike of slow queries, a heartbeat that stops, an error that is new.
fn log() -> String {
    let mut random = Random::new(11);
    let mut lines = String::new();
    for minute in 0..600u64 {
        let mut write = |mean: f64, text: &str| {
            for _ in 0..random.poisson(mean) {
                let (hour, minute, second) = (minute / 60, minute % 60, random.below(60));
                let number = random.next() % 100_000;
                let text = text.replace('#', &number.to_string());
                lines.push_str(&format!("2026-11-22T{hour:02}:{minute:02}:{second:02}Z {text}\n"));
            }
        };
        write(8.0, "INFO GET /api/orders/# took # ms");
        write(if (300..320).contains(&minute) { 30.0 } else { 2.0 }, "WARN slow query took # ms");
        write(if (450..500).contains(&minute) { 0.0 } else { 6.0 }, "INFO heartbeat of worker #");
        write(if minute >= 550 { 4.0 } else { 0.0 }, "ERROR <script>alert('#')</script>\u{1b}[31m \u{202e}refused");
    }
    lines
}

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_lipservice")).arg("analyze").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_log_is_shown_as_table_json_and_page() {
    let dir = tempfile::tempdir().unwrap();
    let (input, page) = (dir.path().join("shop.log"), dir.path().join("shop.html"));
    std::fs::write(&input, log()).unwrap();
    let input = input.to_str().unwrap();

    let json = run(&["--input", input, "--format", "json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let lines = log().lines().count() as u64;
    assert_eq!((json["messages"].as_u64(), json["timed"].as_u64()), (Some(lines), Some(lines)));
    assert_eq!(json["patterns"].as_array().unwrap().len(), 4, "{:#}", json["patterns"]);
    let sum: u64 =
        json["patterns"].as_array().unwrap().iter().map(|pattern| pattern["messages"].as_u64().unwrap()).sum();
    assert_eq!(sum, lines);
    for pattern in json["patterns"].as_array().unwrap() {
        let series: u64 = pattern["series"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(Some(series), pattern["messages"].as_u64());
    }
    let found: Vec<(&str, &str)> = json["anomalies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|anomaly| (anomaly["kind"].as_str().unwrap(), anomaly["subject"].as_str().unwrap()))
        .collect();
    for (kind, subject) in [("spike", "slow query"), ("silence", "heartbeat"), ("new_pattern", "refused")] {
        assert!(found.iter().any(|(k, s)| *k == kind && s.contains(subject)), "{kind} {subject}: {found:?}");
    }
    assert!(found.len() <= 6, "{found:?}");

    let table = String::from_utf8(run(&["--input", input]).stdout).unwrap();
    assert!(table.contains("slow query") && table.contains("spike"), "{table}");
    assert!(!table.contains(['\u{1b}', '\u{202e}']), "a terminal would take this for a command: {table:?}");

    assert!(run(&["--input", input, "--format", "html", "--output", page.to_str().unwrap()]).stdout.is_empty());
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("&lt;script&gt;") && page.contains("<svg"));
    assert!(!page.contains("<script") && !page.contains(['\u{1b}', '\u{202e}']), "log text must stay text");
    for outside in ["http://", "https://", "src=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for tag in ["section", "table", "tr", "td", "details", "svg", "div", "code", "ul", "dl"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn csv_otlp_and_logs_without_times_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("input");
    let otlp = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1795384254000000000","severityNumber":17,"body":{"stringValue":"a 1"}}]}]}]}"#;
    for (text, arguments, messages, timed, severity) in [
        ("id,body\n1,\"2026-11-22 10:00:00 ERROR x, 1\"\n", vec!["--body-column", "body"], 1, 1, "error"),
        (otlp, vec![], 1, 1, "error"),
        ("no time here\n\nnor here\n", vec![], 3, 0, "info"),
        ("", vec![], 0, 0, ""),
    ] {
        std::fs::write(&path, text).unwrap();
        for format in ["json", "html", "table"] {
            let all = [&["--input", path.to_str().unwrap(), "--format", format][..], &arguments].concat();
            let output = run(&all).stdout;
            if format == "json" {
                let json: serde_json::Value = serde_json::from_slice(&output).unwrap();
                assert_eq!(
                    (json["messages"].as_u64(), json["timed"].as_u64()),
                    (Some(messages), Some(timed)),
                    "{text}"
                );
                assert_eq!(json["severities"][0]["severity"].as_str().unwrap_or(""), severity, "{text}");
            }
        }
    }
}
