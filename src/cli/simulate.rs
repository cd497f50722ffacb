//! `lipservice simulate`: what a policy would do to recorded traffic.
//!
//! Purpose: judge a policy before it runs: records, bytes, money, exactness of counts, and what would be lost.
//! Promises: runs the gateway's own pipeline; the same input, settings and seed print the same report. Exit status 0 when
//! nothing is lost that must not be, 3 when a check fails, 1 when something cannot be read.
//! Never: sends anything; lets log text reach the terminal unfiltered.

mod table;

pub use table::shown;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::requests::{InputArgs, Traffic};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::control_plane::insights::Prices;
use crate::control_plane::replay::{Outcome, Replay, Report, Settings};
use crate::data_plane::exporter::config::ExporterConfig;
use crate::data_plane::policy::{CompiledPolicy, Document, load};

/// Exit status when a check fails.
pub const CHECK_FAILED: u8 = 3;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A policy file (YAML or JSON) or a directory of them; may be given several times.
    #[arg(long, value_name = "PATH")]
    policy: Vec<PathBuf>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    replay: ReplayArgs,
    /// How to print the report.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Patterns listed in the table.
    #[arg(long, value_name = "N", default_value = "20")]
    top: usize,
}

/// How traffic is replayed and priced.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// Gateway configuration whose settings apply: the sampler's (windows, floor, summaries), the batches of its PostHog
    /// exporter, and posthog: with --from posthog. Defaults without it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Seed of the randomness of records without a trace id.
    #[arg(long, default_value = "1")]
    pub seed: u64,
    /// Prices as YAML or JSON; PostHog's published ones without it.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Runs it.
///
/// # Errors
/// When a file cannot be read or is not what it should be.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.replay.settings()?;
    let prices = args.replay.prices()?;
    let documents = documents(&args.policy)?;
    let policy = compile(&documents);
    for problem in policy.problems() {
        eprintln!("lipservice: warning: {problem} (this policy does not apply; the others do)");
    }
    let traffic = args.input.traffic(args.replay.config.as_ref())?;
    let outcome = replay(&traffic, &settings, policy, CompiledPolicy::default())?;
    let report = Report::of(&outcome, &prices);
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        Format::Table => table::report(&report, &prices, args.top),
    };
    // A reader that left early (`| head`) is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(if report.checks.pass() { ExitCode::SUCCESS } else { ExitCode::from(CHECK_FAILED) })
}

/// Replays traffic; `settings` are those of traffic without gaps.
pub fn replay(
    traffic: &Traffic,
    settings: &Settings,
    policy: CompiledPolicy,
    human: CompiledPolicy,
) -> anyhow::Result<Outcome> {
    let settings = match traffic.coverage() {
        Some(coverage) => settings.clone().in_parts(coverage),
        None => settings.clone(),
    };
    let mut replay = Replay::new(&settings, policy, human);
    let place = || format!("reading {}", traffic.name());
    for request in traffic.requests()? {
        replay.feed(request.with_context(place)?).with_context(place)?;
    }
    replay.finish().context("reading back what the pipeline wrote")
}

/// Reads policy files.
pub fn documents(paths: &[impl AsRef<Path>]) -> anyhow::Result<Vec<Document>> {
    load(paths).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\nlipservice: "))
    })
}

/// Compiles policies as of now.
pub fn compile(documents: &[Document]) -> CompiledPolicy {
    CompiledPolicy::compile(documents, Clock::System.now(), None)
}

impl ReplayArgs {
    /// The configuration, if one was given.
    ///
    /// # Errors
    /// When it has errors.
    pub fn loaded(&self) -> anyhow::Result<Option<Config>> {
        let Some(path) = &self.config else { return Ok(None) };
        let loaded = config::load_sections(path, &|name| std::env::var(name).ok());
        Ok(Some(loaded.map_err(|errors| anyhow::anyhow!("{errors}"))?.config))
    }

    /// The settings of the replay.
    ///
    /// # Errors
    /// When the configuration has errors.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        let mut settings = Settings { seed: self.seed, ..Settings::default() };
        if let Some(config) = self.loaded()? {
            // Bodies are billed as the exporter makes them.
            if let Some(batch) = config.logs_exporters.iter().find_map(|(_, exporter)| match exporter {
                ExporterConfig::PostHog(posthog) => Some(&posthog.batch),
                _ => None,
            }) {
                settings.batch = batch.clone();
            }
            settings.sampler = config.sampler.unwrap_or_default();
        }
        settings.anomalies = Some(Default::default());
        // What a file holds is not bounded by what a gateway's memory is sized for.
        settings.sampler.window.max_patterns = settings.sampler.window.max_patterns.max(settings.max_patterns);
        Ok(settings)
    }

    /// The prices.
    ///
    /// # Errors
    /// When the file cannot be read or has unknown keys.
    pub fn prices(&self) -> anyhow::Result<Prices> {
        prices(self.prices.as_deref())
    }
}

/// The prices in a file; PostHog's published ones without it.
///
/// # Errors
/// When the file cannot be read or has unknown keys.
pub fn prices(path: Option<&Path>) -> anyhow::Result<Prices> {
    let Some(path) = path else { return Ok(Prices::default()) };
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} does not hold prices", path.display()))
}
