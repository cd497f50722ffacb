//! `lipservice policy rollout start`, `status`, `approve` and `abort`.
//!
//! Purpose: put a version in force step by step, watched against what was predicted of it.
//! Promises: text from elsewhere cannot move the terminal; the exit status of `status` says whether the rollout ended
//! well or goes on (0) or was rolled back (1).
//! Never: takes a step by itself.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::documents::set_of;
use super::versions::text;
use crate::cli::server::{ServerArgs, block_on};

/// Arguments.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Roll a version out.
    Start(StartArgs),
    /// Print how far the latest rollout is, and what was seen.
    Status(StatusArgs),
    /// Let a rollout that waits go on.
    Approve(SetArgs),
    /// Stop a rollout and go back to the version before.
    Abort(SetArgs),
}

/// Which policies of which control plane.
#[derive(Debug, clap::Args)]
struct SetArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// A service; all services when left out.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

#[derive(Debug, clap::Args)]
struct StartArgs {
    #[command(flatten)]
    set: SetArgs,
    /// The version's number; it must not be in force.
    number: i64,
    /// How far it goes: only counted; counted, then growing shares of the traffic, then in force; or in force at once.
    #[arg(long, value_enum, default_value_t = Mode::Canary)]
    mode: Mode,
    /// Wait until someone approves.
    #[arg(long)]
    manual: bool,
    /// Share of the bytes that is expected to be kept, as LOW-HIGH in percent, such as 15-25.
    #[arg(long, value_name = "LOW-HIGH", value_parser = percentages)]
    kept: Option<(f64, f64)>,
    /// A prediction as JSON, such as the control loop makes; see docs/rollout.md.
    #[arg(long, value_name = "FILE", conflicts_with = "kept")]
    prediction: Option<PathBuf>,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    #[command(flatten)]
    set: SetArgs,
    /// Print the API's answer.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Shadow,
    Canary,
    Live,
}

fn percentages(text: &str) -> Result<(f64, f64), String> {
    let wrong = || format!("{text:?} is not LOW-HIGH in percent, such as 15-25");
    let (low, high) = text.split_once('-').ok_or_else(wrong)?;
    let number = |text: &str| text.trim().trim_end_matches('%').parse::<f64>().map_err(|_| wrong());
    let (low, high) = (number(low)?, number(high)?);
    let fits = (0.0..=100.0).contains(&low) && (low..=100.0).contains(&high);
    fits.then_some((low, high)).ok_or_else(wrong)
}

/// Runs it.
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Start(args) => start(&args),
        Command::Status(args) => status(&args),
        Command::Approve(set) => order(&set, "approve"),
        Command::Abort(set) => order(&set, "abort"),
    }
}

fn start(args: &StartArgs) -> anyhow::Result<ExitCode> {
    let prediction: Value = match (&args.prediction, args.kept) {
        (Some(path), _) => serde_json::from_slice(&super::read(path)?)?,
        (None, Some((low, high))) => json!({ "kept": { "low": low / 100.0, "high": high / 100.0 } }),
        (None, None) => json!({}),
    };
    let mode = match args.mode {
        Mode::Shadow => "shadow",
        Mode::Canary => "canary",
        Mode::Live => "live",
    };
    let body = json!({ "version": args.number, "mode": mode, "manual": args.manual, "prediction": prediction,
                       "reason": args.reason });
    let (client, set) = (args.set.server.client()?, set_of(args.set.service.as_deref()));
    let done = block_on(async { Ok(client.send(Method::POST, &["policies", &set, "rollout"], &body).await?) })?;
    print(&done);
    Ok(ExitCode::SUCCESS)
}

fn order(args: &SetArgs, order: &str) -> anyhow::Result<ExitCode> {
    let (client, set) = (args.server.client()?, set_of(args.service.as_deref()));
    let path = ["policies", &set, "rollout", order];
    let done = block_on(async { Ok(client.send(Method::POST, &path, &json!({})).await?) })?;
    print(&done);
    Ok(ExitCode::SUCCESS)
}

fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let (client, set) = (args.set.server.client()?, set_of(args.set.service.as_deref()));
    let found: Value = block_on(async { Ok(client.get(&["policies", &set, "rollout"], &[]).await?) })?;
    if args.json {
        println!("{found:#}");
    } else {
        print(&found);
    }
    Ok(if found["phase"] == "rolled_back" { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(status: &Value) {
    let rollout = &status["rollout"];
    let (plan, state) = (&rollout["plan"], &rollout["state"]);
    let (version, parent) = (text(&plan["candidate"]), text(&plan["parent"]));
    println!("{}: rollout {} of version {version}, from version {parent}", text(&status["set"]), text(&rollout["id"]));
    let stages = plan["stages"].as_array().map_or(0, Vec::len);
    let stage = state["stage"].as_u64().unwrap_or(0) + 1;
    let (phase, share) = (text(&status["phase"]), text(&status["percentage"]));
    println!("  {phase}, stage {stage} of {stages}, {share} % of the traffic, since {}", text(&state["entered_at"]));
    if !status["why"].is_null() {
        println!("  because {}", text(&status["why"]));
    }
    let kept = &plan["prediction"]["kept"];
    if let (Some(low), Some(high)) = (kept["low"].as_f64(), kept["high"].as_f64()) {
        println!("  predicted: {:.1} to {:.1} % of the bytes are kept", 100.0 * low, 100.0 * high);
    }
    println!("  {:<10} {:>12} {:>14} {:>8} {:>12}", "", "RECORDS", "BYTES", "KEPT", "ERRORS LOST");
    for name in ["baseline", "candidate"] {
        let arm = &status[name];
        let bytes = arm["bytes"].as_u64().unwrap_or(0);
        let kept = arm["kept_bytes"].as_u64().unwrap_or(0);
        let share = if bytes == 0 { "-".to_owned() } else { format!("{:.1} %", 100.0 * kept as f64 / bytes as f64) };
        let (records, lost) = (text(&arm["records"]), text(&arm["errors_lost"]));
        println!("  {name:<10} {records:>12} {bytes:>14} {share:>8} {lost:>12}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_read() {
        assert_eq!(percentages("15-25"), Ok((15.0, 25.0)));
        assert_eq!(percentages("0.5% - 2%"), Ok((0.5, 2.0)));
        for bad in ["", "15", "25-15", "-1-5", "5-101", "a-b"] {
            assert!(percentages(bad).is_err(), "{bad}");
        }
    }
}
