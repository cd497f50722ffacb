//! `lipservice analyze`: what a log file holds, how often, and what was unusual.
//!
//! Purpose: patterns, clusters, frequencies over time and anomalies of a file, as a table, JSON or a page of HTML.
//! Promises: memory is bounded by signatures and twelve bytes per timed message; hostile text is made harmless before it
//! reaches a terminal or a page; a closed pipe ends it quietly.
//! Never: writes anything but what it was asked for.

mod chart;
mod html;
mod table;
mod time;

use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use super::history::HistoryArgs;
use super::input;
use super::patterns::{is_closed_pipe, progress_bar};
use super::send::severity;
use super::simulate::prices;
use super::visible::visible;
use crate::clock::Clock;
use crate::control_plane::analysis::report::{Collector, Message, Report};
use crate::data_plane::window::Band;
use time::Times;

/// Bytes of the input from which the format of its times is found out.
const HEAD_BYTES: u64 = 64 << 10;

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For a terminal.
    Table,
    /// Everything, for programs.
    Json,
    /// One page with charts that needs nothing else.
    Html,
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The log: lines, CSV (with --body-column) or OTLP JSON. `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Read FILE as CSV with a header and take the messages from this column.
    #[arg(long, value_name = "NAME")]
    body_column: Option<String>,
    /// How to show it.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prices as YAML or JSON, to show what patterns cost; PostHog's published ones with --from posthog.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
    /// From PostHog: only this service. Repeatable.
    #[arg(long, value_name = "NAME", requires = "from")]
    service: Vec<String>,
    /// Configuration whose `posthog:` section applies.
    #[arg(long, value_name = "FILE", requires = "from")]
    config: Option<PathBuf>,
    #[command(flatten)]
    history: HistoryArgs,
}

/// Runs it.
///
/// # Errors
/// When the input cannot be read or is not what it was said to be, or the output cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (mut report, title) = match &args.input {
        Some(path) => (of_file(path, args.body_column.as_deref())?, file_name(path)),
        None => (of_history(&args)?, "PostHog".into()),
    };
    if args.prices.is_some() || args.history.from.is_some() {
        report.price(&prices(args.prices.as_deref())?);
    }
    let written = match &args.output {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
            write(&report, args.format, &title, BufWriter::new(file))
        }
        None => write(&report, args.format, &title, BufWriter::new(io::stdout().lock())),
    };
    match written {
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        written => written.map(|()| ExitCode::SUCCESS),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "log".into(), |name| name.to_string_lossy().into_owned())
}

fn of_file(path: &Path, column: Option<&str>) -> anyhow::Result<Report> {
    let (file, length) = input::open(path)?;
    let bar = progress_bar(length);
    let report = analyze(bar.wrap_read(file), column).with_context(|| format!("reading {}", path.display()));
    bar.finish_and_clear();
    report
}

/// Fetches and analyses what PostHog holds.
fn of_history(args: &Args) -> anyhow::Result<Report> {
    let fetched = args.history.fetch(args.config.as_ref(), &args.service, true)?;
    eprintln!("lipservice: {}", fetched.summary().replace('\n', "\nlipservice: "));
    let requests = fetched.history.requests().context("reading what was fetched")?;
    let mut collector = Collector::new();
    input::for_each_record(requests.map(|request| request.map_err(anyhow::Error::from)), &mut |message| {
        collect(&mut collector, &message, None);
        Ok(())
    })?;
    let mut report = collector.finish();
    if let Some(sample) = fetched.history.sample {
        report.extrapolate(sample);
    }
    Ok(report)
}

fn collect(collector: &mut Collector, message: &input::Message<'_>, times: Option<&mut Times>) {
    let (band, time) = message.stated.unwrap_or_else(|| {
        let guessed = severity::guess(message.text).number;
        (Band::of(u8::try_from(guessed).unwrap_or(0), b""), times.and_then(|times| times.read(message.text)))
    });
    let input::Message { signature, template, text, bytes, .. } = *message;
    collector.add(&Message { signature, template, text, band, time, bytes });
}

fn write(report: &Report, format: Format, title: &str, mut out: impl Write) -> anyhow::Result<()> {
    match format {
        Format::Table => table::write(report, &mut out)?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, report)?;
            writeln!(out)?;
        }
        Format::Html => out.write_all(html::page(report, title).as_bytes())?,
    }
    out.flush()?;
    Ok(())
}

fn analyze(mut input: impl Read, column: Option<&str>) -> anyhow::Result<Report> {
    let mut head = Vec::new();
    (&mut input).take(HEAD_BYTES).read_to_end(&mut head).context("reading the input")?;
    let [year, ..] = time::civil(Clock::System.now());
    let mut times = first_times(&head, column, year)?;
    let mut collector = Collector::new();
    let whole = BufReader::with_capacity(1 << 16, io::Cursor::new(head).chain(input));
    input::for_each(whole, column, &mut |message| {
        collect(&mut collector, &message, Some(&mut times));
        Ok(())
    })?;
    Ok(collector.finish())
}

/// The format of times, from the messages at the head of the input.
fn first_times(head: &[u8], column: Option<&str>, year: i64) -> anyhow::Result<Times> {
    let mut first: Vec<Vec<u8>> = Vec::new();
    let enough = || anyhow::Error::from(io::Error::from(ErrorKind::Interrupted));
    // What is wrong with the head will be said when the whole is read; a head cut within a record is no fault.
    let _ = input::for_each(head, column, &mut |message| {
        first.push(message.text[..message.text.len().min(200)].to_vec());
        if first.len() < 300 { Ok(()) } else { Err(enough()) }
    });
    Ok(Times::detect(first.iter().map(Vec::as_slice), year))
}

/// One line of at most `max_chars` characters without any that a terminal or a page takes for more than text.
fn clean(text: &str, max_chars: usize) -> String {
    let mut out: String = text.chars().take(max_chars).filter_map(visible).collect();
    if text.chars().nth(max_chars).is_some() {
        out.push('…');
    }
    out
}
