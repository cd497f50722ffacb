//! Starts a client program with the standard environment variables of the OTLP exporters.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TOKEN;

/// `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
    HttpJson,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Language {
    Python,
    Node,
}

/// A run of a client program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    language: Language,
    /// Relative to the repository.
    script: &'static str,
    protocol: Protocol,
    gzip: bool,
    token_in_url: bool,
    /// Whether it sends a span and a metric too.
    pub all_signals: bool,
}

impl Program {
    pub const fn python(protocol: Protocol) -> Self {
        Program::new(Language::Python, "tests/clients/python/send.py", protocol)
    }

    pub const fn node(protocol: Protocol) -> Self {
        Program::new(Language::Node, "tests/clients/node/send.mjs", protocol)
    }

    const fn new(language: Language, script: &'static str, protocol: Protocol) -> Self {
        Program { language, script, protocol, gzip: false, token_in_url: false, all_signals: false }
    }

    /// Another program of the same language, in the same environment.
    pub const fn script(self, script: &'static str) -> Self {
        Program { script, ..self }
    }

    /// Compresses its requests.
    pub const fn gzip(self) -> Self {
        Program { gzip: true, ..self }
    }

    /// Sends the token as `?token=` instead of in a header.
    pub const fn token_in_url(self) -> Self {
        Program { token_in_url: true, ..self }
    }

    /// Sends a span and a metric too.
    pub const fn all_signals(self) -> Self {
        Program { all_signals: true, ..self }
    }

    /// Whether its language or packages are not installed. Says so past the test's captured output; fails where a skip
    /// is not allowed.
    pub fn is_missing(&self) -> bool {
        let is_missing = match self.language {
            Language::Python => !self.interpreter().exists(),
            Language::Node => {
                !repository().join("tests/clients/node/node_modules/.installed").exists()
                    || Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err()
            }
        };
        say_missing(is_missing, &format!("the {:?} client", self.language))
    }

    /// The same of another program in the Python environment.
    pub fn python_is_missing(program: &Path) -> bool {
        say_missing(!program.exists(), &program.file_name().unwrap_or_default().to_string_lossy())
    }

    /// Runs it to its end against a gateway; returns the last line of its standard output.
    pub async fn run(self, grpc: SocketAddr, http: SocketAddr) -> String {
        let mut command = self.command(grpc, http);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{self:?}: {}\n{out}\n{err}", output.status);
        out.lines().last().unwrap_or_default().to_owned()
    }

    fn interpreter(&self) -> PathBuf {
        match self.language {
            Language::Python => repository().join("tests/clients/python/.venv/bin/python"),
            Language::Node => "node".into(),
        }
    }

    /// What the programs of the client tests send; the examples take no argument.
    fn argument(&self) -> Option<PathBuf> {
        self.script.starts_with("tests/").then(|| repository().join("tests/clients/records.json"))
    }

    fn command(&self, grpc: SocketAddr, http: SocketAddr) -> Command {
        let mut command = Command::new(self.interpreter());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
            command.env_remove(name);
        }
        let (protocol, address) = match self.protocol {
            Protocol::Grpc => ("grpc", grpc),
            Protocol::HttpProtobuf => ("http/protobuf", http),
            Protocol::HttpJson => ("http/json", http),
        };
        command
            .arg(repository().join(self.script))
            .args(self.argument())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
            // Beyond loopback nothing is asked, whatever proxy this machine has.
            .env("NO_PROXY", "127.0.0.1")
            .env("no_proxy", "127.0.0.1");
        if self.gzip {
            command.env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        }
        if self.token_in_url {
            command.env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", format!("http://{address}/v1/logs?token={TOKEN}"));
        } else {
            command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{TOKEN}"));
        }
        if self.all_signals {
            command.arg("--all-signals");
        }
        // For scripts elsewhere than beside the packages.
        command.env("NODE_PATH", repository().join("tests/clients/node/node_modules")).stdin(Stdio::null());
        command
    }
}

fn say_missing(is_missing: bool, what: &str) -> bool {
    if is_missing {
        let what = format!("{what} is not installed: run tests/clients/install.sh");
        assert!(std::env::var_os("LIPSERVICE_REQUIRE_CLIENTS").is_none(), "{what}");
        let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
    }
    is_missing
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
