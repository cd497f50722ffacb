//! The notebooks of `examples/notebooks/` run, and what they find is sane.
//!
//! Each is executed by `execute.py` against the stand-in for PostHog and a gateway, both as processes of this build; the
//! checks on their figures, and on what is committed, are there. `install.sh` installs the Python packages. Without them the
//! tests skip loudly. So they do without the stand-in, which only a test run of all targets builds, unless
//! LIPSERVICE_REQUIRE_CLIENTS is set (as `make test` does).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/notebooks")
}

/// The stand-in's program: `examples/` beside the `deps/` that this test is in.
fn stand_in() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().join("examples/fake_posthog")
}

/// Whether `path` is missing; says so past the test's captured output.
fn is_missing(path: &Path, what: &str) -> bool {
    let is_missing = !path.exists();
    if is_missing {
        let _ = writeln!(std::io::stderr(), "SKIPPED: the notebooks: {what}");
    }
    is_missing
}

/// Executes the notebook of a number on a copy; its figures and what is committed hold.
fn executes(number: &str) {
    let python = folder().join(".venv/bin/python");
    if is_missing(&folder().join(".venv/installed"), "no Python packages: run examples/notebooks/install.sh") {
        return;
    }
    if is_missing(&stand_in(), "no stand-in for PostHog: cargo build --example fake_posthog") {
        assert!(std::env::var_os("LIPSERVICE_REQUIRE_CLIENTS").is_none(), "the stand-in is not built");
        return;
    }
    let output = Command::new(python)
        .arg(folder().join("execute.py"))
        .arg(number)
        .env("LIPSERVICE", env!("CARGO_BIN_EXE_lipservice"))
        .env("FAKE_POSTHOG", stand_in())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn volume_and_cost() {
    executes("1");
}

#[test]
fn what_a_budget_buys() {
    executes("2");
}

#[test]
fn before_and_after() {
    executes("3");
}

#[test]
fn an_anomaly() {
    executes("4");
}
