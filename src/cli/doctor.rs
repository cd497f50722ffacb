//! `lipservice doctor`: does the configured way to PostHog work, to the end?
//!
//! Purpose: check configuration, names, certificates, tokens, the read API, and send one marked record and look for it.
//! Promises: every check is one line that says what to do; exit status 0 only when none failed; what is not checked is said;
//! no secret is printed; each wait is bounded.
//! Never: starts the gateway, or sends a record of the user's.

mod findings;
mod network;
mod record;
mod token;

use std::process::ExitCode;
use std::sync::Arc;

use reqwest::Url;

use super::config_args::ConfigArgs;
use super::server::block_on;
use crate::config::{Config, check_files};
use crate::control_plane::posthog::{Client, Marked, ReadApi, ReadConfig, SystemTimer, holds};
use crate::data_plane::exporter::config::{ClientTlsConfig, ExporterConfig};
use crate::data_plane::exporter::logs_url;
use crate::reread;
use crate::units::{Period, Secret};
use findings::{Findings, Status};

/// Tries of one request to the read API: a person waits.
const ATTEMPTS: u32 = 3;
/// Time limit of one request to the read API.
const TIMEOUT: Period = Period::secs(20);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// How long to look for the record that was sent.
    #[arg(long, value_name = "PERIOD", default_value = "60s")]
    wait: Period,
    /// Send nothing.
    #[arg(long)]
    no_record: bool,
    /// File with a project token to send with, for exporters that pass on the token of each client.
    #[arg(long, value_name = "FILE")]
    token_file: Option<std::path::PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// How the findings are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table for people.
    Table,
    /// For programs.
    Json,
}

/// Prints the findings.
///
/// # Errors
/// A token file that cannot be read. What the checks find is the output and the exit status.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    let client_token = match &args.token_file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
            Some(text.lines().next().unwrap_or_default().trim().to_owned())
        }
        None => None,
    };
    if let Some(mut config) = configuration(&args.config, &mut findings) {
        add_environment(&mut config.posthog);
        read_token_files(&mut config);
        hide_secrets(&config, client_token.as_deref(), &mut findings);
        let doctor = Doctor { config: &config, args: &args, client_token: client_token.as_deref() };
        block_on(async {
            doctor.examine(&mut findings).await;
            Ok(())
        })?;
    }
    match args.format {
        Format::Table => print!("{}", findings.table()),
        Format::Json => println!("{:#}", findings.json()),
    }
    Ok(if findings.count(Status::Fail) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn configuration(args: &ConfigArgs, findings: &mut Findings) -> Option<Config> {
    let files: Vec<String> = args.files.iter().map(|file| file.display().to_string()).collect();
    let (name, subject) = ("configuration", files.join(", "));
    let loaded = match args.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            errors.0.iter().for_each(|error| findings.add(name, &subject, Status::Fail, error.to_string()));
            return None;
        }
    };
    let problems = check_files(&loaded.config);
    problems.iter().for_each(|problem| findings.add(name, &subject, Status::Fail, problem.to_string()));
    loaded.warnings.iter().for_each(|warning| findings.add(name, &subject, Status::Warn, warning.to_string()));
    if problems.is_empty() {
        findings.add(name, &subject, Status::Ok, "can be used");
    }
    Some(loaded.config)
}

/// As `--from posthog` does: what the file leaves out may stand in the environment.
fn add_environment(reading: &mut ReadConfig) {
    if reading.api_key.is_none() && reading.api_key_file.is_none() {
        let key = std::env::var("POSTHOG_PERSONAL_API_KEY").ok().filter(|key| !key.trim().is_empty());
        reading.api_key = key.map(Secret::new);
    }
    if reading.project.is_none() {
        reading.project = std::env::var("POSTHOG_PROJECT_ID").ok().and_then(|text| text.trim().parse().ok());
    }
    reading.max_attempts = reading.max_attempts.min(ATTEMPTS);
    reading.timeout = reading.timeout.min(TIMEOUT);
}

/// A file's token stands for one that is written down. One that cannot be read was found with the configuration.
fn read_token_files(config: &mut Config) {
    for (_, exporter) in &mut config.logs_exporters {
        if let ExporterConfig::PostHog(config) = exporter
            && let Some(bytes) = config.token_file.as_ref().and_then(|file| reread::read(file).ok())
        {
            config.token = Some(Secret::new(String::from_utf8_lossy(&bytes).trim()));
        }
    }
}

fn hide_secrets(config: &Config, client_token: Option<&str>, findings: &mut Findings) {
    client_token.iter().for_each(|token| findings.hide(token));
    config.posthog.api_key.iter().for_each(|key| findings.hide(key.expose()));
    for (_, exporter) in &config.logs_exporters {
        match exporter {
            ExporterConfig::PostHog(config) => config.token.iter().for_each(|token| findings.hide(token.expose())),
            ExporterConfig::OtlpHttp(config) => {
                config.headers.values().for_each(|value| findings.hide(value.expose()));
            }
            ExporterConfig::Debug(_) | ExporterConfig::File(_) => {}
        }
    }
}

/// What the checks go by.
struct Doctor<'a> {
    config: &'a Config,
    args: &'a Args,
    client_token: Option<&'a str>,
}

impl Doctor<'_> {
    async fn examine(&self, findings: &mut Findings) {
        let reader = self.reader(findings).await;
        for (id, exporter) in &self.config.logs_exporters {
            let path = format!("exporters.{id}");
            self.exporter(findings, &path, exporter, reader.as_ref()).await;
        }
    }

    /// The read API, if it can be asked.
    async fn reader(&self, findings: &mut Findings) -> Option<Client> {
        let reading = &self.config.posthog;
        let path = "posthog";
        if reading.project.is_none() || (reading.api_key.is_none() && reading.api_key_file.is_none()) {
            let says = "not checked, and so neither is whether PostHog keeps what it acknowledges: set posthog.project, and \
                        posthog.api_key to a personal API key (phx_...)";
            findings.add("read API", path, Status::Warn, says);
            return None;
        }
        if let Some(key) = &reading.api_key {
            let (status, says) = token::personal_key(key.expose());
            findings.add("key", "posthog.api_key", status, format!("posthog.api_key {says}"));
        }
        let client = match Client::new(reading, Arc::new(SystemTimer)) {
            Ok(client) => client,
            Err(fault) => {
                findings.add("read API", path, Status::Fail, fault.to_string());
                return None;
            }
        };
        let tls = ClientTlsConfig { ca_file: reading.ca_file.clone(), ..ClientTlsConfig::default() };
        if let Ok(url) = Url::parse(client.base())
            && !network::reach(findings, "posthog.host", &url, &tls).await
        {
            return None;
        }
        let looked = holds(&client, reading.api, &record::marked()).await;
        let (status, says) = match &looked {
            Ok(_) => (Status::Ok, format!("project {} can be read", client.project())),
            Err(fault) => record::of_fault(fault),
        };
        findings.add("read API", path, status, says);
        looked.is_ok().then_some(client)
    }

    async fn exporter(&self, findings: &mut Findings, path: &str, exporter: &ExporterConfig, reader: Option<&Client>) {
        let (tls, is_posthog) = match exporter {
            ExporterConfig::PostHog(config) => (&config.tls, true),
            ExporterConfig::OtlpHttp(config) => (&config.tls, false),
            ExporterConfig::Debug(_) | ExporterConfig::File(_) => {
                findings.add("destination", path, Status::Ok, "stays on this machine");
                return;
            }
        };
        let is_token_fit = self.token(findings, path, exporter);
        let url = match logs_url(exporter) {
            Ok(Some(url)) => url,
            Ok(None) => return,
            Err(error) => return findings.add("destination", path, Status::Fail, error.to_string()),
        };
        if let Some(client) = reader.filter(|_| is_posthog) {
            region(findings, path, &url, client);
        }
        if !network::reach(findings, path, &url, tls).await || !is_token_fit || self.args.no_record {
            return;
        }
        let marked: Marked = record::marked();
        let is_sent = record::send(findings, path, exporter, self.client_token, &marked).await;
        if let Some(client) = reader.filter(|_| is_sent && is_posthog) {
            let api: ReadApi = self.config.posthog.api;
            record::find(findings, path, (client, api), &marked, self.args.wait.0).await;
        } else if is_sent && is_posthog {
            let says = "not checked, for the read API cannot be asked: PostHog answers 200 to a wrong token and over quota too";
            findings.add("record found", path, Status::Warn, says);
        }
    }

    /// The shape of the exporter's token. Returns whether a record may be sent with it.
    fn token(&self, findings: &mut Findings, path: &str, exporter: &ExporterConfig) -> bool {
        let ExporterConfig::PostHog(config) = exporter else { return true };
        let (subject, token) = match (&config.token, self.client_token) {
            (Some(token), _) if config.token_file.is_some() => (format!("{path}.token_file"), token.expose()),
            (Some(token), _) => (format!("{path}.token"), token.expose()),
            (None, _) if config.token_file.is_some() => return false,
            (None, Some(token)) => ("--token-file".to_owned(), token),
            (None, None) => {
                let says = "not checked: each client's own token is passed on; give one with --token-file to send a record with";
                findings.add("token", path, Status::Warn, says);
                return false;
            }
        };
        let (status, says) = token::project_token(&subject, token);
        findings.add("token", &subject, status, says);
        status != Status::Fail
    }
}

/// PostHog's regions know nothing of each other.
fn region(findings: &mut Findings, path: &str, url: &Url, client: &Client) {
    let region = |host: &str| host.strip_suffix(".posthog.com").map(|name| name.trim_end_matches(".i").to_owned());
    let reads = Url::parse(client.base()).ok().and_then(|url| region(url.host_str()?));
    let sends = url.host_str().and_then(region);
    if let (Some(sends), Some(reads)) = (sends, reads)
        && sends != reads
    {
        let says = format!(
            "records go to {sends} and are looked for in {reads}: set {path}.host and posthog.host to the region of the project"
        );
        findings.add("region", path, Status::Fail, says);
    }
}
