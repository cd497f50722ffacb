//! `lipservice … --from posthog` as processes.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use lipservice::control_plane::posthog::{Checkpoint, SPOOL_FILE, SpoolReader};
use serde_json::Value;

use super::bill::{billed, config_text};
use super::{day, history, posthog, row, stored};
use crate::support::fake_posthog::{Drift, FakePostHog, PROJECT, READER, ReadFaults, Row};

/// Longer than any test needs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A configuration without waits, and a place for files.
struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    fn new(posthog: &FakePostHog, sampler: &str) -> Desk {
        let desk = Desk { directory: tempfile::tempdir().unwrap() };
        std::fs::write(desk.path("key"), format!("{READER}\n")).unwrap();
        let text = format!(
            "{}posthog: {{host: '{}', project: {PROJECT}, api_key_file: '{}', requests_per_minute: 1000000, \
             requests_per_hour: 1000000, max_attempts: 50, initial_interval: 1ms, max_interval: 2ms}}\n",
            config_text(sampler, "http://127.0.0.1:9"),
            posthog.url(),
            desk.path("key").display(),
        );
        std::fs::write(desk.path("config.yaml"), text).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
        command.current_dir(self.directory.path()).args(arguments).args(["--from", "posthog"]);
        command.env_remove("POSTHOG_HOST").env_remove("POSTHOG_PROJECT_ID").env_remove("POSTHOG_PERSONAL_API_KEY");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).args(["--config", "config.yaml"]).spawn().unwrap()
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let child = self.spawn(arguments);
        tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap()
    }
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn spooled(directory: &Path) -> Vec<String> {
    let found = Checkpoint::load(directory).unwrap().unwrap();
    let mut reader = SpoolReader::open(&directory.join(SPOOL_FILE), found.spool_bytes).unwrap();
    let mut all = Vec::new();
    while let Some(ids) = reader.next_page().unwrap() {
        all.extend(ids.iter().map(|(id, _)| id.clone()));
    }
    all.sort_unstable();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_under_faults_every_row_is_analysed_once() {
    let rows = day(60_000);
    let posthog =
        posthog(rows.iter().enumerate().filter(|(at, _)| at % 499 != 0).map(|(_, row)| row.clone()).collect()).await;
    let late = rows.iter().step_by(499).cloned().enumerate();
    let late: VecDeque<(u64, Row)> = late.map(|(at, row)| (at as u64 / 5 + 3, row)).collect();
    posthog.read_side(|read| {
        read.late = late;
        read.faults = ReadFaults {
            seed: 11,
            busy: 0.05,
            retry_after: Some("0".into()),
            fail: 0.05,
            reset: 0.05,
            duplicate: 0.1,
            slow: 0.05,
            slow_by: Duration::from_millis(5),
        };
    });
    let desk = Desk::new(&posthog, "");
    let arguments = ["analyze", "--posthog-api", "logs", "--checkpoint", "kept", "--format", "json"];
    for stop_at in [20, 45, 70] {
        let mut child = desk.spawn(&arguments);
        let reached = posthog.wait_until(|posthog| posthog.read_side(|read| read.requests) >= stop_at);
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "killed before it was done");
    }
    let report = json(&desk.run(&arguments).await);
    assert_eq!(report["messages"], 60_000);
    assert_eq!(spooled(&desk.path("kept")), stored(&posthog));
    let severities: u64 =
        report["severities"].as_array().unwrap().iter().map(|s| s["messages"].as_u64().unwrap()).sum();
    assert_eq!(severities, 60_000);
    assert!(report["costs"]["month"].is_number() && report["patterns"][0]["month"].is_number(), "{}", report["costs"]);
    // Once fetched, it is not fetched again.
    let requests = posthog.read_side(|read| read.requests);
    assert_eq!(json(&desk.run(&arguments).await)["messages"], 60_000);
    assert_eq!(posthog.read_side(|read| read.requests), requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_says_so_and_its_intervals_hold_the_truth() {
    let mut rows = day(30_000);
    rows.extend((0..3_000).map(|i| row(1_000_000_000 * (10 + i), "mail", "mail sent to a customer")));
    let posthog = posthog(rows).await;
    let desk = Desk::new(&posthog, "");
    let output = desk.run(&["analyze", "--max-rows", "8000", "--format", "json"]).await;
    let report = json(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("a sample: ") && said.contains("may not be seen at all"), "{said}");
    assert_eq!(report["sample"]["population"], 33_000);
    let patterns = report["patterns"].as_array().unwrap();
    let mail = patterns.iter().find(|pattern| pattern["template"].as_str().unwrap().contains("mail sent")).unwrap();
    let bound = |name: &str| mail["estimate"][name].as_f64().unwrap();
    assert!(bound("low") <= 3_000.0 && bound("high") >= 3_000.0, "{}", mail["estimate"]);
    for format in ["table", "html"] {
        let output = desk.run(&["analyze", "--max-rows", "8000", "--format", format]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("a sample: ") && text.contains("95 %"), "{format}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_policy_comes_from_a_history_and_the_gateway_saves_what_it_promised() {
    // 2025-06-01T18:00:00Z: where windows begin and end is the same in every run.
    let rows = history::rows(5, 12_000, 1_748_800_800_000_000_000);
    let posthog = posthog(rows.clone()).await;
    // A floor of one record a pattern and minute would be most of so small a history.
    let sampler = "window: {interval: 2h, idle_timeout: 48h}";
    let desk = Desk::new(&posthog, sampler);
    let wanted =
        ["generate", "--budget", "40%", "--json", "--output", "policy.yaml", "--until", "2025-06-01T18:00:00Z"];
    let output = desk.run(&wanted).await;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("12000 rows of "), "{text}");
    let end = text.rfind("\n}").unwrap() + 2;
    let found: Value = serde_json::from_str(&text[text.find('{').unwrap()..end]).unwrap();
    assert_eq!(found["passed"], true);
    let bytes = |side: &str| found["total"][side]["bytes"].as_f64().unwrap();
    let predicted = 1.0 - (bytes("kept") + bytes("summaries")) / bytes("received");
    let all = billed(&rows, sampler).await.unwrap() as f64;
    let policy = format!("{sampler}, policies: ['{}']", desk.path("policy.yaml").display());
    let measured = 1.0 - billed(&rows, &policy).await.unwrap() as f64 / all;
    assert!(measured > 0.3 && (predicted / measured - 1.0).abs() < 0.05, "predicted {predicted}, measured {measured}");
}

/// What `generate --json` found, and all it said.
fn found(output: &Output) -> (Value, String) {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let end = text.rfind("\n}").unwrap() + 2;
    (serde_json::from_str(&text[text.find("{\n").unwrap()..end]).unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_from_stretches_knows_the_night_and_saves_what_it_promised() {
    const HOUR: u64 = 3_600_000_000_000;
    let end = 1_748_800_800_000_000_000;
    let mut rows = history::rows(5, 24_000, end);
    // A job of one hour of the morning, and one of a single minute.
    let job = |ago: u64, service: &str, body: String| Row {
        time_unix_nano: end - ago,
        observed_time_unix_nano: end - ago,
        ..row(0, service, &body)
    };
    rows.extend(
        (0..3_000).map(|i| job(12 * HOUR - i * HOUR / 3_000, "search", format!("nightly index of shard {i} rebuilt"))),
    );
    rows.extend(
        (0..60).map(|i| job(10 * HOUR - i * 1_000_000_000, "pay", format!("ledger {i} was closed for the day"))),
    );
    rows.sort_by_key(|row| (row.time_unix_nano, row.id));
    let posthog = posthog(rows.clone()).await;
    // A floor of one record a pattern and window would be most of so small a history.
    let sampler = "floor_records: 0, window: {interval: 60s, idle_timeout: 48h}";
    let desk = Desk::new(&posthog, sampler);
    // A month costs something from the first byte on.
    std::fs::write(desk.path("prices.yaml"), "free_gb: 0\ntiers: [{per_gb: 0.25}]\n").unwrap();
    let wanted =
        ["generate", "--budget", "40%", "--json", "--until", "2025-06-01T18:00:00Z", "--prices", "prices.yaml"];
    let run = async |more: &[&str]| found(&desk.run(&[&wanted[..], more].concat()).await);
    let (whole, _) = run(&["--output", "whole.yaml"]).await;
    let (parts, said) = run(&["--output", "parts.yaml", "--max-rows", "12000"]).await;
    for part in [
        " stretches of 12m are read, one of every ",
        " of 27060 rows; days and months are told for all of them in proportion. A pattern that ran only in between is not \
         known: it gets no rule, and the gateway keeps it whole. Anomalies are not judged over gaps",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let records = parts["total"]["received"]["records"].as_u64().unwrap();
    assert!((8_000..=12_000).contains(&records) && parts["passed"] == true, "{records}: {said}");
    // What was not looked at does not read as passed.
    let judged = |report: &Value, part: &str| {
        let all = report["findings"].as_array().unwrap().clone();
        let found = all.iter().find(|finding| finding["check"].as_str().unwrap().contains(part)).unwrap().clone();
        (found["is_judged"].as_bool().unwrap(), found["detail"].as_str().unwrap().to_owned())
    };
    assert!(judged(&whole, "anomalies").0 && judged(&parts, "budget").0);
    let (is_judged, detail) = judged(&parts, "anomalies");
    assert!(!is_judged && detail.starts_with("not judged: "), "{detail}");
    let text = std::fs::read_to_string(desk.path("parts.yaml")).unwrap();
    assert!(text.contains("nightly index of shard"), "the morning has a rule, although it is not the latest");
    assert!(!text.contains("was closed for the day"), "what was not read has none");
    // Money is that of the whole.
    let month = |report: &Value, name: &str| report["total"][name].as_f64().unwrap();
    for name in ["month_before", "month_after"] {
        let (part, all) = (month(&parts, name), month(&whole, name));
        assert!(all > 0.01 && (part / all - 1.0).abs() < 0.03, "{name}: {part} of {all}");
    }
    let bytes = |side: &str| parts["total"][side]["bytes"].as_f64().unwrap();
    let predicted = 1.0 - (bytes("kept") + bytes("summaries")) / bytes("received");
    let all = billed(&rows, sampler).await.unwrap() as f64;
    let policy = format!("{sampler}, policies: ['{}']", desk.path("parts.yaml").display());
    let measured = 1.0 - billed(&rows, &policy).await.unwrap() as f64 / all;
    assert!(measured > 0.3 && (predicted / measured - 1.0).abs() < 0.05, "predicted {predicted}, measured {measured}");
    // The same stretches for `simulate`, which says what it did not judge.
    let arguments = ["simulate", "--policy", "parts.yaml", "--until", "2025-06-01T18:00:00Z", "--max-rows", "12000"];
    let output = desk.run(&arguments).await;
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && table.contains("note     anomalies are not judged"), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_no_logs_behind_but_where_they_were_asked_for() {
    for signal in ["-INT", "-TERM"] {
        let posthog = posthog(day(30_000)).await;
        posthog.read_side(|read| {
            read.faults = ReadFaults { slow: 1.0, slow_by: Duration::from_millis(5), ..ReadFaults::default() };
        });
        let desk = Desk::new(&posthog, "");
        let temporary = desk.path("temporary");
        std::fs::create_dir(&temporary).unwrap();
        for more in [&[][..], &["--checkpoint", "kept"]] {
            let arguments = [&["analyze", "--posthog-api", "logs", "--config", "config.yaml"], more].concat();
            let mut command = desk.command(&arguments);
            let before = posthog.read_side(|read| read.requests);
            let child = command.env("TMPDIR", &temporary).spawn().unwrap();
            let reached = posthog.wait_until(|posthog| posthog.read_side(|read| read.requests) >= before + 10);
            tokio::time::timeout(PATIENCE, reached).await.unwrap();
            assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
            let output = tokio::task::spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(130), "{said}");
            assert!(said.contains("lipservice: interrupted"), "{said}");
            assert_eq!(said.contains("stays in kept, and the same command goes on"), !more.is_empty(), "{said}");
            assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "logs are left behind");
            assert_eq!(desk.path("kept").exists(), !more.is_empty());
        }
    }
}

#[test]
fn help_keeps_the_arguments_apart_and_nothing_to_read_is_said() {
    for command in ["simulate", "generate", "analyze"] {
        let run = |arguments: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_lipservice")).arg(command).args(arguments).output().unwrap();
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
        };
        let help = run(&["--help"]);
        let (own, reading) = help.split_once("\nReading PostHog:\n").unwrap();
        for argument in ["--from", "--since", "--until", "--max-rows", "--checkpoint", "--posthog-api"] {
            assert!(reading.contains(&format!(" {argument} <")) && !own.contains(&format!(" {argument} <")), "{help}");
        }
        for argument in ["--input", "--config", "--help"] {
            assert!(own.contains(&format!(" {argument}")) && !reading.contains(&format!(" {argument} <")), "{help}");
        }
        let more = if command == "generate" { &["--budget", "10%"][..] } else { &[] };
        let said = run(more);
        assert!(said.contains("name a file with --input, or read PostHog with --from posthog"), "{said}");
    }
}

#[test]
fn a_history_is_its_seed_count_and_end() {
    let end = 1_748_800_800_000_000_000;
    let rows = history::rows(5, 500, end);
    assert_eq!(rows, history::rows(5, 500, end));
    let ids = |rows: &[Row]| rows.iter().map(|row| row.id).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids(&rows).len(), 500);
    assert!(ids(&rows).is_disjoint(&ids(&history::rows(6, 500, end))));
    let moved = history::rows(5, 500, end + 1_000_000_000);
    assert!(rows.iter().zip(&moved).all(|(a, b)| a.id == b.id && a.time_unix_nano + 1_000_000_000 == b.time_unix_nano));
    assert!(rows.iter().all(|row| (end - 86_400_000_000_000..end).contains(&row.time_unix_nano)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_ended_earlier_is_read_up_to_its_end() {
    let end = 1_748_800_800_000_000_000;
    let mut rows = history::rows(7, 2_000, end);
    // Neither what is before the span nor what came after it.
    for time in [end - 90_000_000_000_000, end, end + 1_000_000_000] {
        rows.push(Row { id: Row::new_id(), time_unix_nano: time, ..rows[0].clone() });
    }
    let posthog = posthog(rows).await;
    let desk = Desk::new(&posthog, "");
    for api in ["logs", "hogql"] {
        let run = async |until: &str| {
            desk.run(&["analyze", "--format", "json", "--posthog-api", api, "--until", until, "--checkpoint", api])
                .await
        };
        let output = run("2025-06-01T18:00:00Z").await;
        assert_eq!(json(&output)["messages"], 2_000, "{api}: {}", String::from_utf8_lossy(&output.stderr));
        let other = String::from_utf8_lossy(&run("2025-06-01T17:00:00Z").await.stderr).into_owned();
        assert!(other.contains("holds another history") && other.contains("--until"), "{other}");
        let wrong = String::from_utf8_lossy(&run("yesterday").await.stderr).into_owned();
        assert!(wrong.contains("write a time with its offset"), "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_one_sentence_on_standard_error() {
    let posthog = posthog(day(20)).await;
    let desk = Desk::new(&posthog, "");
    let key = format!("{}\n", READER);
    std::fs::write(desk.path("key"), &key).unwrap();
    let run = |more: &'static [&'static str], key: Option<&'static str>| {
        let mut command = desk.command(&[&["analyze"], more].concat());
        if let Some(key) = key {
            command.env("POSTHOG_PERSONAL_API_KEY", key);
        }
        command.env("POSTHOG_HOST", posthog.url()).env("POSTHOG_PROJECT_ID", "1");
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    for (more, key, expected) in [
        (&[][..], None, "lipservice: posthog.api_key is missing: make a personal API key"),
        (&[], Some("phx_no"), "does not know this personal API key"),
        (&["--posthog-project", "9"], Some(READER), "lipservice: PostHog has no project 9 for this key"),
        (
            &["--posthog-host", "http://nowhere.invalid"],
            Some(READER),
            "lipservice: cannot reach http://nowhere.invalid (",
        ),
        (&["--posthog-key-file", "none"], None, "lipservice: posthog.api_key_file: none: "),
        (&["--input", "x"], Some(READER), "cannot be used with"),
    ] {
        let output = run(more, key).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{more:?}: {said}");
        assert!(!said.contains(READER), "{said}");
    }
    posthog.read_side(|read| read.drift = Drift::Without("body"));
    let output = run(&[], Some(READER)).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    assert!(said.contains("no column body"), "{said}");
}
