//! The commands as processes: what they print, how they end, what signals do.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use super::MARKER;

const CONFIG: &str =
    "receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}, http: {endpoint: '127.0.0.1:0'}}}}
exporters: {file: {path: 'OUT'}}
service:
  telemetry: {logs: {level: LEVEL, format: json}, metrics: {address: '127.0.0.1:0'}}
  pipelines: {logs: {receivers: [otlp], exporters: [file]}}
";

fn lipservice(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lipservice"));
    command.args(arguments).env("SECRET", MARKER).env_remove("RUST_LOG");
    command
}

fn write(directory: &Path, level: &str) -> String {
    let path = directory.join("gateway.yaml");
    let out = directory.join("out.jsonl");
    let text = CONFIG.replace("OUT", &out.display().to_string()).replace("LEVEL", level);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn text(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn validate_and_print_config() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "info");
    let output = lipservice(&["validate", "--config", &file]).output().unwrap();
    assert_eq!((output.status.code(), text(&output)), (Some(0), ("OK\n".into(), String::new())));

    let sets = ["--set", "exporters.file.pth=x", "--set", "service.shutdown_timeout=5"];
    let output = lipservice(&["validate", "--config", &file]).args(sets).output().unwrap();
    let expected = "exporters.file.pth: unknown key (did you mean \"path\"?) at --set\n\
        service.shutdown_timeout: 5 lacks a unit: write a duration such as 5s at --set\n";
    assert_eq!((output.status.code(), text(&output)), (Some(1), (String::new(), expected.into())));

    let secret = "exporters.posthog.token=${env:SECRET}";
    let posthog = "service.pipelines.logs.exporters=[posthog]";
    let output = lipservice(&["print-config", "--config", &file, "--set", secret, "--set", posthog]).output().unwrap();
    let (printed, errors) = text(&output);
    assert!(output.status.success() && printed.contains("token: \"[redacted]\""), "{printed}{errors}");
    assert!(!printed.contains(MARKER) && !errors.contains(MARKER));
}

#[test]
fn validate_looks_at_files_and_policies() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "info");
    let policies = directory.path().join("policies.yaml");
    let sampler = format!("processors.sampler={{policies: ['{}']}}", policies.display());
    let uses = "service.pipelines.logs.processors=[sampler]";
    let validate = || lipservice(&["validate", "--config", &file, "--set", &sampler, "--set", uses]).output().unwrap();

    let output = validate();
    let (_, errors) = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.starts_with("processors.sampler.policies[0]: cannot read "), "{errors}");

    let broken = "policies:\n- id: a\n  name: a\n  log: {match: [{log_field: body, regex: '(['}], keep: none}\n";
    std::fs::write(&policies, broken).unwrap();
    let output = validate();
    let (printed, errors) = text(&output);
    assert_eq!((output.status.code(), printed.as_str()), (Some(0), "OK\n"), "{errors}");
    assert!(errors.contains("policy a: log: match[0]: invalid regex"), "{errors}");
}

/// A gateway process; ended when the test is over, however it ends.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(file: &str) -> Running {
        Running::of(&mut lipservice(&["run", "--config", file]))
    }

    fn of(command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(1000);
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Running { child, lines }
    }

    /// The lines up to the first that contains `text`.
    fn wait_for(&self, text: &str) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut seen: Vec<String> = Vec::new();
        while !seen.last().is_some_and(|line| line.contains(text)) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => seen.push(line),
                Err(error) => panic!("{text:?} did not come ({error}): {seen:#?}"),
            }
        }
        seen
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

#[test]
fn signals_reload_and_stop() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "info");
    let mut gateway = Running::start(&file);
    gateway.wait_for("\"started\"");

    write(directory.path(), "debug");
    gateway.signal("HUP");
    gateway.wait_for("configuration reloaded");

    // A broken file changes nothing, and each of its errors is logged.
    write(directory.path(), "loud}, nonsense: {a: b");
    gateway.signal("HUP");
    let lines = gateway.wait_for("the running configuration is kept").concat();
    assert!(lines.contains("service.telemetry.logs.level: \\\"loud\\\" is not a known value"), "{lines}");
    assert!(lines.contains("service.telemetry.nonsense: unknown key"), "{lines}");

    gateway.signal("TERM");
    let lines = gateway.wait_for("\"stopped\"").concat();
    assert!(lines.contains("\"signal\":\"SIGTERM\"") && lines.contains("\"balance\":true"), "{lines}");
    assert!(gateway.child.wait().unwrap().success());
}

/// What the gateway logs about itself, at its chattiest, goes to standard error and never becomes traffic, also where the
/// environment says where an SDK should export to.
#[test]
fn own_logs_never_enter_the_pipeline() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "debug");
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listening.set_nonblocking(true).unwrap();
    let collector = format!("http://{}", listening.local_addr().unwrap());
    let mut command = lipservice(&["run", "--config", &file]);
    let command = command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector).env("OTEL_LOGS_EXPORTER", "otlp");
    let mut gateway = Running::of(command);
    gateway.wait_for("\"started\"");
    // Warnings and errors among them.
    write(directory.path(), "loud");
    gateway.signal("HUP");
    gateway.wait_for("the running configuration is kept");
    gateway.signal("TERM");
    let stopped = gateway.wait_for("\"stopped\"").pop().unwrap();
    assert!(gateway.child.wait().unwrap().success());
    assert!(stopped.contains("received 0 = kept 0 + dropped 0 + refused 0"), "{stopped}");
    let written = std::fs::read_to_string(directory.path().join("out.jsonl")).unwrap_or_default();
    assert_eq!(written, "", "own logs were exported");
    assert!(listening.accept().is_err(), "something was sent to where an SDK would send");
}

#[test]
fn a_gateway_that_cannot_start_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "info");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let set = format!("service.telemetry.metrics.address={}", taken.local_addr().unwrap());
    let output = lipservice(&["run", "--config", &file, "--set", &set]).output().unwrap();
    let (_, errors) = text(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("service.telemetry.metrics.address: cannot listen on"), "{errors}");

    let output = lipservice(&["run", "--config", "/nowhere.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).1.contains("/nowhere.yaml: cannot open the file"), "{output:?}");
}
