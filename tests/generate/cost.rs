//! `lipservice cost` on a file, as a process.

use std::process::{Command, Output};

use serde_json::Value;

fn cost(more: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let input = directory.path().join("in.log");
    let mut lines = String::new();
    for second in 0..1_800 {
        let at = format!("2026-01-05T10:{:02}:{:02}Z", second / 60, second % 60);
        lines += &format!("{at} DEBUG cache entry {second} evicted\n{at} INFO GET /healthz {second} \u{1b}[31mok\n");
        lines += &format!("{at} INFO GET /healthz {second} \u{1b}[31mok\n");
        if second % 60 == 0 {
            lines += &format!("{at} ERROR payment {second} declined\n");
        }
    }
    std::fs::write(&input, lines).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
    command.args(["cost", "--service", "shop", "--input"]).arg(&input).args(more).output().unwrap()
}

#[test]
fn half_an_hour_becomes_a_month() {
    let output = cost(&["--format", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (costs, total) = (&found["costs"], &found["costs"]["total"]);
    assert_eq!((&costs["month"], &costs["is_complete"]), (&"2026-01".into(), &false.into()));
    let (bytes, end) = (&total["month_to_date"]["bytes"], &total["projection"]["expected"]["bytes"]);
    let (bytes, end) = (bytes.as_f64().unwrap(), end.as_f64().unwrap());
    // Half an hour at half past ten of the fifth: 26.56 days follow, of 48 halves each.
    assert!((end / bytes - (1.0 + 26.5625 * 48.0)).abs() < 5.0, "{bytes} {end}");
    let kinds: Vec<_> = found["recommendations"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert!(kinds.contains(&&"health_check".into()) && kinds.contains(&&"noisy_debug".into()), "{kinds:?}");
    assert_eq!(cost(&["--format", "json"]).stdout, output.stdout, "the same twice");
}

#[test]
fn the_table_is_for_people() {
    let output = cost(&["--top", "3", "--recommendations", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("2026-01: day 4.4 of 31\n"), "{text}");
    for part in ["today", "month's end", "severity", "pattern", " 1. Keep", "--format json"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains(" 2. "), "{text}");
}
