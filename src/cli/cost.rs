//! `lipservice cost`: what logs cost, where it goes, and what could cost less.
//!
//! Purpose: the bill of a control plane's statistics, or of recorded traffic, in the same words.
//! Promises: with `--input` nothing is asked of anybody; the same input prints the same figures; no control character of a
//! log reaches the terminal.
//! Never: applies a proposal.

mod offline;
mod table;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args as _, FromArgMatches as _};
use serde_json::{Value, json};

use super::requests::{InputArgs, Traffic};
use super::server::{ServerArgs, block_on};
use super::simulate::ReplayArgs;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Recorded traffic instead of a control plane: lines of text, CSV (with --body-column), OTLP JSON or protobuf.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Read FILE as CSV with a header and take the messages from this column.
    #[arg(long, value_name = "NAME", requires = "input")]
    body_column: Option<String>,
    /// With --input: `service.name` of lines of text.
    #[arg(long, value_name = "NAME", requires = "input")]
    service: Option<String>,
    /// With --input: records per second of lines that do not begin with a time.
    #[arg(long, value_name = "N", requires = "input", value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    records_per_second: Option<u32>,
    #[command(flatten)]
    replay: ReplayArgs,
    /// With --input: policies that the traffic would have been sampled by. Repeatable.
    #[arg(long, value_name = "PATH", requires = "input")]
    policy: Vec<PathBuf>,
    /// How to print it.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Services and patterns listed.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(..=1000))]
    top: u16,
    /// Recommendations listed.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u16).range(..=1000))]
    recommendations: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Runs it.
///
/// # Errors
/// When a file cannot be read, or the control plane does not answer.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (costs, proposals) = match &args.input {
        Some(input) => {
            offline::costs(&args.traffic(input)?, &args.replay, &args.policy, (args.top, args.recommendations))?
        }
        None => ask(&args)?,
    };
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&json!({ "costs": costs, "recommendations": proposals }))? + "\n",
        Format::Table => table::page(&costs, &proposals, usize::from(args.top)),
    };
    // A reader that left early (`| head`) is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// The file as the other commands read it, with their defaults.
    fn traffic(&self, input: &Path) -> anyhow::Result<Traffic> {
        let mut given: Vec<OsString> = vec!["--input".into(), input.into()];
        given.extend(self.body_column.iter().flat_map(|name| ["--body-column".into(), name.into()]));
        given.extend(self.service.iter().flat_map(|name| ["--service".into(), name.into()]));
        given
            .extend(self.records_per_second.iter().flat_map(|n| ["--records-per-second".into(), n.to_string().into()]));
        let command = InputArgs::augment_args(clap::Command::new("cost").no_binary_name(true));
        InputArgs::from_arg_matches(&command.try_get_matches_from(given)?)?.traffic(None)
    }
}

fn ask(args: &Args) -> anyhow::Result<(Value, Value)> {
    let client = args.server.client()?;
    let (top, limit) = (args.top.to_string(), args.recommendations.to_string());
    block_on(async {
        let costs: Value = client.get(&["costs"], &[("top", &top)]).await?;
        let found: Value = client.get(&["recommendations"], &[("limit", &limit)]).await?;
        Ok((costs, found["items"].clone()))
    })
}
