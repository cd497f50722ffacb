//! `--from posthog`: logs that PostHog holds, as input.
//!
//! Purpose: the arguments, the fetch with its progress bar, and what was read, for `analyze`, `simulate` and `generate`.
//! Promises: with `--checkpoint` a fetch that was stopped goes on, and one that is done is not repeated; without it nothing is
//! left behind, also after Ctrl-C. What is a sample, or was read in parts, is said.
//! Never: sends anything to be stored; shows the key.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::UnixNanos;
use crate::config;
use crate::control_plane::insights::Sample;
use crate::control_plane::posthog::{
    Client, Fetch, History, Parts, Progress, ReadApi, ReadConfig, Stage, SystemTimer, utc,
};
use crate::data_plane::policy::parse_timestamp;
use crate::units::{Period, Secret};

/// Steps of the progress bar.
const STEPS: u64 = 1_000;

/// Where logs come from, if not from a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Origin {
    /// PostHog's Logs, read back over its API (docs/posthog.md).
    Posthog,
}

/// Above these arguments in `--help`. Of each argument, because a heading of all would also stand above those that follow.
const HEADING: &str = "Reading PostHog";

/// Arguments of commands that can read PostHog.
#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    /// Read logs from there instead of a file.
    #[arg(long, help_heading = HEADING, value_enum, conflicts_with = "input")]
    pub from: Option<Origin>,
    /// How far back.
    #[arg(long, help_heading = HEADING, value_name = "PERIOD", default_value = "24h")]
    since: Period,
    /// From when back, such as 2026-11-22T18:00:00Z; now when left out.
    #[arg(long, help_heading = HEADING, value_name = "TIME", value_parser = time)]
    until: Option<UnixNanos>,
    /// Rows at most. Of a larger history `analyze` draws rows from all of the time, the others read stretches spread over it.
    #[arg(long, help_heading = HEADING, value_name = "N", default_value = "2000000", value_parser = clap::value_parser!(u64).range(1..))]
    max_rows: u64,
    /// Keep what was fetched in this directory: a fetch that was stopped goes on, one that is done is not repeated.
    #[arg(long, help_heading = HEADING, value_name = "DIR")]
    checkpoint: Option<PathBuf>,
    /// us, eu, or the URL of your own PostHog.
    #[arg(long, help_heading = HEADING, value_name = "HOST", env = "POSTHOG_HOST")]
    posthog_host: Option<String>,
    /// Number of the project.
    #[arg(long, help_heading = HEADING, value_name = "N", env = "POSTHOG_PROJECT_ID")]
    posthog_project: Option<u64>,
    /// File with the personal API key; else the variable POSTHOG_PERSONAL_API_KEY is read.
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    posthog_key_file: Option<String>,
    /// Which API.
    #[arg(long, help_heading = HEADING, value_enum)]
    posthog_api: Option<ReadApi>,
}

fn time(text: &str) -> Result<UnixNanos, String> {
    parse_timestamp(text).ok_or_else(|| "write a time with its offset, such as 2026-11-22T18:00:00Z".into())
}

/// A history, with its directory.
pub struct Fetched {
    /// What was read.
    pub history: History,
    /// Removed with this value, unless it was named.
    _directory: Option<tempfile::TempDir>,
}

impl HistoryArgs {
    /// Settings: those of the file's `posthog:`, then arguments, then the environment for the key.
    fn settings(&self, file: Option<&PathBuf>) -> anyhow::Result<ReadConfig> {
        let mut settings = match file {
            Some(path) => {
                let loaded = config::load_sections(path, &|name| std::env::var(name).ok());
                loaded.map_err(|errors| anyhow::anyhow!("{errors}"))?.config.posthog
            }
            None => ReadConfig::default(),
        };
        if let Some(host) = &self.posthog_host {
            settings.host.clone_from(host);
        }
        settings.project = self.posthog_project.or(settings.project);
        settings.api = self.posthog_api.unwrap_or(settings.api);
        if let Some(path) = &self.posthog_key_file {
            (settings.api_key, settings.api_key_file) = (None, Some(path.clone()));
        } else if settings.api_key.is_none() && settings.api_key_file.is_none() {
            settings.api_key = std::env::var("POSTHOG_PERSONAL_API_KEY").ok().map(Secret::new);
        }
        Ok(settings)
    }

    /// Fetches. `file` is a configuration whose `posthog:` applies.
    ///
    /// # Errors
    /// One sentence that says what to do.
    pub fn fetch(&self, file: Option<&PathBuf>, services: &[String], is_sample: bool) -> anyhow::Result<Fetched> {
        if self.from.is_none() {
            anyhow::bail!("there is nothing to read: name a file with --input, or read PostHog with --from posthog");
        }
        let settings = self.settings(file)?;
        let (directory, kept) = match &self.checkpoint {
            Some(directory) => (directory.clone(), None),
            None => {
                let temporary = tempfile::tempdir().context("making a directory for the logs")?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        on_signal(&directory, self.checkpoint.is_some()).context("signals cannot be caught")?;
        let fetch = Fetch {
            directory,
            api: settings.api,
            since: self.since.0.max(Duration::from_secs(1)),
            until: self.until,
            services: services.to_vec(),
            max_rows: self.max_rows,
            is_sample,
            overlap: settings.overlap.0,
        };
        let bar = bar();
        let waiting = bar.clone();
        let notice = move |wait: Duration, why: &str| {
            if wait >= Duration::from_secs(2) {
                waiting.set_message(format!("waiting {} s: {why}", wait.as_secs()));
            }
        };
        let client = Client::new(&settings, Arc::new(SystemTimer))?.with_notice(Arc::new(notice));
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let fetched = runtime.block_on(fetch.run(&client, &mut |progress| show(&bar, progress)));
        bar.finish_and_clear();
        let history = fetched.map_err(|error| match &self.checkpoint {
            Some(directory) => anyhow::anyhow!("{error} (what was read stays in {})", directory.display()),
            None => anyhow::Error::from(error),
        })?;
        Ok(Fetched { history, _directory: kept })
    }
}

/// Ends the process with status 130 on Ctrl-C or SIGTERM, from now on. Destructors do not run then, so the logs in a directory
/// that is not kept are removed here.
fn on_signal(directory: &Path, is_kept: bool) -> std::io::Result<()> {
    let directory = directory.to_owned();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        if is_kept {
            let kept = directory.display();
            eprintln!(
                "\nlipservice: interrupted; what was read stays in {kept}, and the same command goes on from there"
            );
        } else {
            // What is being written meanwhile may come in between.
            let _ = (0..100).find(|_| std::fs::remove_dir_all(&directory).is_ok());
            eprintln!("\nlipservice: interrupted");
        }
        std::process::exit(130);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(STEPS);
    bar.enable_steady_tick(Duration::from_millis(250));
    match ProgressStyle::with_template("{bar:24} {percent:>3} % {msg} ETA {eta}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, progress: &Progress) {
    let share = match (progress.stage, progress.expected) {
        (Stage::Rows, Some(expected)) if expected > 0 => progress.rows as f64 / expected as f64,
        (Stage::Rows, _) => progress.share,
        (Stage::Count, _) => 0.0,
        (Stage::Late, _) => 1.0,
    };
    bar.set_position((share.clamp(0.0, 1.0) * STEPS as f64) as u64);
    let what = match progress.stage {
        Stage::Count => "counting".to_owned(),
        Stage::Rows => format!("{} rows", HumanCount(progress.rows)),
        Stage::Late => format!("{} rows, looking for late ones", HumanCount(progress.rows)),
    };
    bar.set_message(format!("{what}, {} requests", progress.counts.requests));
}

impl Fetched {
    /// What was read, in a sentence or two.
    pub fn summary(&self) -> String {
        let History { rows, late, since, until, parts, sample, is_resumed, counts, .. } = &self.history;
        let mut out = format!(
            "{rows} rows of {} to {} UTC from PostHog, {} requests ({} repeated)",
            utc(*since),
            utc(*until),
            counts.requests,
            counts.repeated,
        );
        if *late > 0 {
            out += &format!(", {late} of them arrived meanwhile");
        }
        if *is_resumed {
            out += "; continued from an earlier start";
        }
        if let Some(parts) = parts {
            out += &format!("\n{}", in_parts(parts));
        }
        if let Some(sample) = sample {
            out += &format!("\n{}", sampled(sample));
        }
        out
    }
}

/// What stretches can say and what they cannot.
fn in_parts(parts: &Parts) -> String {
    let Parts { stretches, population, rows, .. } = parts;
    let period = |seconds: u64| humantime::format_duration(Duration::from_secs(seconds));
    format!(
        "more than --max-rows: {} stretches of {} are read, one of every {}, {rows} of {population} rows; days and months are \
         told for all of them in proportion. A pattern that ran only in between is not known: it gets no rule, and the \
         gateway keeps it whole. Anomalies are not judged over gaps",
        stretches.spans.len(),
        period(stretches.seconds),
        period(stretches.period_seconds),
    )
}

/// What a sample can say and what it cannot.
pub fn sampled(sample: &Sample) -> String {
    format!(
        "a sample: {} of {} rows, drawn from every step of time in proportion, every row with a chance of {:.2} %. Estimates stand with their 95 % \
         interval; a pattern of fewer than {} rows may not be seen at all",
        sample.rows,
        sample.population,
        100.0 * sample.rate,
        sample.may_miss_below(),
    )
}
