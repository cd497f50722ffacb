//! `lipservice policy`: check policies, apply them to an OTLP JSON document, and manage those of a control plane.
//!
//! Purpose: try policies without a gateway; the commands that talk to a control plane are in `versions` and `apply`.
//! Promises: a policy with an error is reported and left out, the others apply; output files are written only when all
//! went well.
//! Never: protects by severity, samples by default or writes summaries; the gateway's sampler does.

mod apply;
mod documents;
mod explain;
mod rollout;
mod versions;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};

use crate::clock::Clock;
use crate::data_plane::policy::{CompiledPolicy, RANDOMNESS_BITS, load};
use crate::data_plane::view::json;

/// Largest input document, in bytes.
const MAX_INPUT_BYTES: u64 = 1 << 30;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Apply policies to an OTLP JSON document; write what is kept, and hits and misses by policy.
    Eval(EvalArgs),
    /// Check policy files; print every error at once.
    Check(CheckArgs),
    /// Check policy files as a control plane does: stricter than check, contradictions included.
    Lint(apply::LintArgs),
    /// Bring a control plane's policies to what files say; print the plan first.
    Apply(apply::ApplyArgs),
    /// Print policies of a control plane as YAML, or list them.
    Get(versions::GetArgs),
    /// Print what differs between two versions, or between a file and what is in force.
    Diff(versions::DiffArgs),
    /// Print what was put in force when, by whom and why.
    History(versions::HistoryArgs),
    /// Put a version in force.
    Activate(versions::ActivateArgs),
    /// Put an earlier version in force again.
    Rollback(versions::RollbackArgs),
    /// Put a version in force step by step, and back by itself when it does not do what was predicted.
    Rollout(rollout::Args),
    /// Say of every rule why it is there.
    Explain(explain::Args),
}

#[derive(Debug, clap::Args)]
struct EvalArgs {
    /// A policy file (YAML or JSON) or a directory of them; may be given several times.
    #[arg(long, required = true, value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// The OTLP JSON document to apply them to.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where to write what is kept, as OTLP JSON; standard output when left out.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where to write hits, misses and errors by policy, as JSON.
    #[arg(long, value_name = "FILE")]
    stats: Option<PathBuf>,
    /// What the document holds.
    #[arg(long, value_enum, default_value_t = Signal::Log)]
    signal: Signal,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Policy files (YAML or JSON) or directories of them.
    #[arg(required = true, value_name = "PATH")]
    policies: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Signal {
    Log,
    Metric,
    Trace,
}

/// Runs it.
///
/// # Errors
/// When a file cannot be read, parsed or written, or the signal is not logs.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Eval(args) => eval(&args),
        Command::Check(args) => check(&args),
        Command::Lint(args) => apply::lint(&args),
        Command::Apply(args) => apply::apply(args),
        Command::Get(args) => versions::get(args),
        Command::Diff(args) => versions::diff(args),
        Command::History(args) => versions::history(args),
        Command::Activate(args) => versions::activate(args),
        Command::Rollback(args) => versions::roll_back(args),
        Command::Rollout(args) => rollout::run(args),
        Command::Explain(args) => explain::run(&args),
    }
}

fn compile(paths: &[PathBuf]) -> anyhow::Result<CompiledPolicy> {
    let documents = load(paths).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\nlipservice: "))
    })?;
    Ok(CompiledPolicy::compile(&documents, Clock::System.now(), None))
}

fn eval(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    if !matches!(args.signal, Signal::Log) {
        bail!("only log policies can be applied: use --signal log");
    }
    let policies = compile(&args.policies)?;
    for problem in policies.problems() {
        eprintln!("lipservice: warning: {problem}");
    }
    let input = read(&args.input)?;
    let request =
        json::decode(&input).with_context(|| format!("{} is not an OTLP JSON logs document", args.input.display()))?;
    let random = || rand::random::<u64>() >> (u64::BITS - RANDOMNESS_BITS);
    // One reading of the clock, so that a run does not fall into two rate-limit windows.
    let kept = policies.apply_to_request(&request, Clock::System.now(), random)?;
    let mut output = Vec::new();
    json::encode(&kept, &mut output).context("writing what is kept as JSON")?;
    output.push(b'\n');
    match &args.output {
        Some(path) => write(path, &output)?,
        None => std::io::Write::write_all(&mut std::io::stdout().lock(), &output)?,
    }
    if let Some(path) = &args.stats {
        write(path, stats_json(&policies).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let policies = compile(&args.policies)?;
    for problem in policies.problems() {
        for message in &problem.messages {
            match problem.policy_id.as_str() {
                "" => println!("{}: {message}", problem.source),
                id => println!("{}: policy {id}: {message}", problem.source),
            }
        }
    }
    println!("{} log policies in force, {} with errors", policies.len(), policies.problems().len());
    Ok(if policies.problems().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `{"policies":[{"policy_id","hits","misses","errors"}]}`, without what is empty.
fn stats_json(policies: &CompiledPolicy) -> String {
    let fired = policies.stats().into_iter().filter(|s| s.hits > 0 || s.misses > 0 || !s.errors.is_empty());
    let entries: Vec<serde_json::Value> = fired
        .map(|stats| {
            let mut entry = serde_json::json!({ "policy_id": stats.id, "hits": stats.hits });
            if stats.misses > 0 {
                entry["misses"] = stats.misses.into();
            }
            if !stats.errors.is_empty() {
                entry["errors"] = stats.errors.into();
            }
            entry
        })
        .collect();
    format!("{:#}\n", serde_json::json!({ "policies": entries }))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
    file.take(MAX_INPUT_BYTES + 1).read_to_end(&mut bytes).with_context(|| format!("reading {}", path.display()))?;
    if bytes.len() as u64 > MAX_INPUT_BYTES {
        bail!("{} is larger than {MAX_INPUT_BYTES} bytes; split it", path.display());
    }
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    std::fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))
}
