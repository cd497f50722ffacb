//! How well lines are grouped by kind, on labelled lines of real programs.

mod command;
pub mod evaluate;
mod mining;
mod vectors;

use std::io::Write as _;
use std::process::Command;

use evaluate::{Score, directory, evaluate, files, score, sets};
use lipservice::data_plane::signature::Signer;

fn signatures(lines: &[String]) -> Vec<u64> {
    let mut signer = Signer::default();
    lines.iter().map(|line| signer.sign_text(line.as_bytes()).0).collect()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn a_group_counts_only_when_it_is_exact() {
    let truth = strings(&["a", "a", "b", "c", ""]);
    for (ids, ga, fga) in [
        ([1, 1, 2, 3, 9], 1.0, 1.0),
        ([1, 1, 1, 3, 3], 0.25, 0.4),
        ([1, 4, 2, 3, 9], 0.5, 4.0 / 7.0),
        ([1, 2, 2, 2, 2], 0.0, 0.0),
    ] {
        let Score { ga: is_ga, fga: is_fga } = score(&truth, &ids);
        assert!((is_ga - ga).abs() < 1e-12 && (is_fga - fga).abs() < 1e-12, "{ids:?}: {is_ga} {is_fga}");
    }
}

#[test]
fn the_measures_are_those_of_the_reference_script() {
    let (Some(directory), files) = (directory(), files()) else {
        eprintln!("SKIPPED the_measures_are_those_of_the_reference_script: no ../shared/loghub");
        return;
    };
    for (set, file) in sets("the_measures_are_those_of_the_reference_script").iter().zip(files) {
        let ids = signatures(&set.lines);
        let mut predicted = tempfile::NamedTempFile::new().unwrap();
        ids.iter().for_each(|id| writeln!(predicted, "{id}").unwrap());
        let output = Command::new("python3")
            .arg(directory.join("evaluate.py"))
            .arg(file)
            .arg(predicted.path())
            .arg("--json")
            .output();
        let Ok(output) = output else {
            eprintln!("SKIPPED the_measures_are_those_of_the_reference_script: python3 does not run");
            return;
        };
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("evaluate.py prints JSON");
        let ours = score(&set.truth, &ids);
        for (name, measure) in [("GA", ours.ga), ("FGA", ours.fga)] {
            assert!((measure - said[name].as_f64().unwrap()).abs() < 1e-9, "{} {name}: {measure}, {said}", set.name);
        }
    }
}

/// What `docs/benchmarks.md` says of signatures.
#[test]
fn signatures_group_real_lines() {
    let sets = sets("signatures_group_real_lines");
    if sets.is_empty() {
        return;
    }
    let report = evaluate(&sets, signatures);
    eprintln!("{report}");
    let mean = report.mean();
    assert!(mean.ga >= 0.97 && mean.fga >= 0.93, "{report}");
}
