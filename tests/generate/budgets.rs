//! Budgets as people say them: a share, bytes or money, a day or a month, for everything or for one service.
//!
//! Purpose: each way of saying the same amount leads to a policy that sends about that amount and no more.
//! Promises: bounds only; which rules come out is the solver's business.
//! Never: depends on the clock but for when rules expire.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};

const SECONDS: u64 = 300;

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    /// Five minutes of two services with a loud and a quiet pattern each, and prices without a free tier.
    fn new() -> Bench {
        let bench = Bench { directory: tempfile::tempdir().unwrap() };
        let record = |second: u64, body: String| {
            json!({ "timeUnixNano": (1_767_571_200_000_000_000 + second * 1_000_000_000).to_string(),
                "severityNumber": 9, "body": { "stringValue": body } })
        };
        let mut lines = String::new();
        for second in 0..SECONDS {
            for (service, loud) in [("shop", 6), ("search", 3)] {
                let mut records: Vec<Value> = (0..loud)
                    .map(|n| record(second, format!("GET /{service}/{second}{n} answered in {n} ms")))
                    .collect();
                records.push(record(second, format!("{service} session {second} began")));
                let name = json!({ "key": "service.name", "value": { "stringValue": service } });
                let request = json!({ "resourceLogs": [{ "resource": { "attributes": [name] },
                    "scopeLogs": [{ "logRecords": records }] }] });
                lines += &format!("{request}\n");
            }
        }
        fs::write(bench.directory.path().join("in.jsonl"), lines).unwrap();
        let prices = "{currency: \"$\", free_gb: 0, tiers: [{per_gb: 250}]}";
        fs::write(bench.directory.path().join("prices.yaml"), prices).unwrap();
        // Windows of a minute: the floor leaves room for a budget.
        let config = "processors: {sampler: {window: {interval: 60s}, summary: {interval: 300s}}}\n\
            receivers: {otlp: {protocols: {http: {}}}}\nexporters: {debug: {}}\n\
            service: {pipelines: {logs: {receivers: [otlp], processors: [sampler], exporters: [debug]}}}\n";
        fs::write(bench.directory.path().join("gateway.yaml"), config).unwrap();
        bench
    }

    fn run(&self, json: bool, budget: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
        command.current_dir(self.directory.path());
        command.args(["generate", "--input", "in.jsonl", "--prices", "prices.yaml", "--config", "gateway.yaml"]);
        command.args(["--output", "p.yaml"]).args(json.then_some("--json")).args(budget).output().unwrap()
    }

    fn found(&self, budget: &[&str]) -> Value {
        let output = self.run(true, budget);
        let text = String::from_utf8_lossy(&output.stderr);
        let end = text.rfind("\n}").unwrap_or_else(|| panic!("{text}")) + 2;
        let mut found: Value = serde_json::from_str(&text[..end]).unwrap();
        found["status"] = output.status.code().into();
        found
    }
}

fn bytes(totals: &Value) -> (f64, f64) {
    let of = |side: &str| totals[side]["bytes"].as_f64().unwrap();
    (of("received"), of("kept") + of("summaries"))
}

#[test]
fn every_way_to_say_a_budget_is_kept() {
    let bench = Bench::new();
    let whole = bench.found(&["--budget", "100%"]);
    assert_eq!(whole["status"], 0, "{whole}");
    let (received, _) = bytes(&whole["total"]);
    let (shop, _) = bytes(&whole["services"]["shop"]);
    // A span of five minutes, as of a day and of a month of 30.4375 days.
    let (a_day, a_month) = (86_400.0 / SECONDS as f64, 30.4375 * 86_400.0 / SECONDS as f64);
    // From the first record to the last it is a second less.
    let close = |sent: f64, allowed: f64, what: &str| {
        assert!(sent <= allowed * 1.01 && sent >= allowed * 0.9, "{what}: {sent} of {allowed}");
    };
    for budget in [
        "45%".to_owned(),
        format!("{:.0}B/day", 0.45 * received * a_day),
        format!("{:.0}B/month", 0.45 * received * a_month),
        format!("${}/month", 0.45 * received * a_month * 250e-9),
        format!("${}/day", 0.45 * received * a_day * 250e-9),
    ] {
        let found = bench.found(&["--budget", &budget]);
        assert_eq!(found["status"], 0, "{budget}: {found}");
        close(bytes(&found["total"]).1, 0.45 * received, &budget);
    }
    for budget in [
        "45%".to_owned(),
        format!("{:.0}B/day", 0.45 * shop * a_day),
        format!("${}/month", 0.45 * shop * a_month * 250e-9),
    ] {
        let found = bench.found(&["--service-budget", &format!("shop={budget}")]);
        assert_eq!(found["status"], 0, "{budget}: {found}");
        close(bytes(&found["services"]["shop"]).1, 0.45 * shop, &budget);
        let (received, sent) = bytes(&found["services"]["search"]);
        assert!(sent >= 0.999 * received, "nobody asked for less of search: {found}");
    }
    // Both at once: the stricter holds for each.
    let both = bench.found(&["--budget", "60%", "--service-budget", "search=40%"]);
    assert_eq!(both["status"], 0, "{both}");
    assert!(bytes(&both["total"]).1 <= 0.606 * received, "{both}");
    let (search, sent) = bytes(&both["services"]["search"]);
    assert!(sent <= 0.404 * search, "{both}");
}

#[test]
fn what_cannot_be_met_says_which_budget_and_what_stands_in_the_way() {
    let bench = Bench::new();
    for (budget, name) in [(["--budget", "0.2%"], "everything"), (["--service-budget", "search=0.2%"], "search")] {
        let found = bench.found(&budget);
        assert_eq!((&found["status"], &found["feasible"]), (&json!(3), &json!(false)), "{found}");
        let failed: Vec<&Value> =
            found["findings"].as_array().unwrap().iter().filter(|finding| finding["ok"] == false).collect();
        assert_eq!(failed.len(), 1, "{found}");
        assert!(failed[0]["detail"].as_str().unwrap().starts_with(name), "{failed:?}");
        let standing = found["standing_bytes"]["floor_and_novelty"].as_f64().unwrap();
        assert!(standing > 0.0, "{found}");
        let output = bench.run(false, &budget);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("the budget cannot be met") && text.contains("floor and novelty"), "{text}");
        assert!(text.contains(" a month  "), "what it costs in money: {text}");
    }
}
