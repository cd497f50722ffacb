//! `lipservice policy lint` and `apply`: files are the truth, a control plane follows.
//!
//! Purpose: GitOps: check all, print a plan, then carry it out.
//! Promises: nothing is written when any file has an error; applying twice changes nothing the second time; without
//! `--prune` nothing is taken out of force.
//! Never: asks; a plan alone is `--dry-run`.

use std::path::PathBuf;
use std::process::ExitCode;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::documents::{Wanted, read};
use crate::cli::printable;
use crate::cli::server::{ServerArgs, block_on};
use crate::control_plane::api::diff::{Change, PolicyDiff, diff};
use crate::control_plane::client::Client;

/// Arguments of `lint`.
#[derive(Debug, clap::Args)]
pub(super) struct LintArgs {
    /// Policy files, or directories of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// A policy file, or a directory: global.yaml for all services, NAME.yaml for the service NAME.
    #[arg(long, short = 'f', value_name = "PATH")]
    file: PathBuf,
    /// The service a file is for; all services when left out.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    reason: String,
    /// Print the plan and stop.
    #[arg(long)]
    dry_run: bool,
    /// Take policies out of force that the directory does not have.
    #[arg(long)]
    prune: bool,
}

/// Checks files.
pub(super) fn lint(args: &LintArgs) -> anyhow::Result<ExitCode> {
    let (mut sets, mut policies, mut broken) = (0, 0, false);
    for path in &args.paths {
        match read(path, None) {
            Ok(wanted) => {
                sets += wanted.len();
                policies += wanted.iter().map(|wanted| count(&wanted.document)).sum::<usize>();
            }
            Err(error) => {
                println!("{}", lines(&format!("{error:#}")));
                broken = true;
            }
        }
    }
    println!("{policies} policies in {sets} files without errors");
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Lines of text from elsewhere.
fn lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

fn count(document: &Value) -> usize {
    document["policies"].as_array().map_or(0, Vec::len)
}

/// What is to be done about one set.
enum Step {
    Nothing,
    Write { wanted: Wanted, parent: i64, differences: Vec<PolicyDiff> },
    TakeOut,
}

/// Brings a control plane to what files say.
pub(super) fn apply(args: ApplyArgs) -> anyhow::Result<ExitCode> {
    let all = read(&args.file, args.service.as_deref())?;
    if args.prune && !args.file.is_dir() {
        anyhow::bail!("--prune goes with a directory");
    }
    let client = args.server.client()?;
    block_on(async {
        let plan = plan(&client, all, args.prune).await?;
        for (set, step) in &plan {
            show(set, step);
        }
        let changes = plan.iter().filter(|(_, step)| !matches!(step, Step::Nothing)).count();
        if args.dry_run || changes == 0 {
            println!("{changes} to change{}", if args.dry_run { "; nothing was (--dry-run)" } else { "" });
            return Ok(ExitCode::SUCCESS);
        }
        for (set, step) in plan {
            carry_out(&client, &set, step, &args.reason).await?;
        }
        println!("{changes} changed");
        Ok(ExitCode::SUCCESS)
    })
}

async fn plan(client: &Client, all: Vec<Wanted>, prune: bool) -> anyhow::Result<Vec<(String, Step)>> {
    let mut plan = Vec::new();
    let names: Vec<String> = all.iter().map(|wanted| wanted.set.clone()).collect();
    for wanted in all {
        let (parent, in_force) = state(client, &wanted.set).await?;
        let step = match in_force.as_ref() == Some(&wanted.document) {
            true => Step::Nothing,
            false => {
                let before = in_force.unwrap_or_default();
                let differences = diff(None, &before, None, &wanted.document).policies;
                Step::Write { wanted, parent, differences }
            }
        };
        plan.push((names[plan.len()].clone(), step));
    }
    if prune {
        for set in sets_in_force(client).await? {
            if !names.contains(&set) {
                plan.push((set, Step::TakeOut));
            }
        }
    }
    Ok(plan)
}

/// The newest version's number (0 for none) and the document in force.
async fn state(client: &Client, set: &str) -> anyhow::Result<(i64, Option<Value>)> {
    let found: Value = match client.get(&["policies", set], &[]).await {
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => return Ok((0, None)),
        found => found?,
    };
    let newest = found["newest"]["number"].as_i64().unwrap_or(0);
    let document = match found["active"].as_i64() {
        None => None,
        Some(active) if active == newest => Some(found["newest"]["document"].clone()),
        Some(active) => {
            let version: Value = client.get(&["policies", set, "versions", &active.to_string()], &[]).await?;
            Some(version["document"].clone())
        }
    };
    Ok((newest, document))
}

async fn sets_in_force(client: &Client) -> anyhow::Result<Vec<String>> {
    let (mut sets, mut cursor) = (Vec::new(), String::new());
    loop {
        let page: Value = client.get(&["policies"], &[("limit", "1000"), ("cursor", &cursor)]).await?;
        for item in page["items"].as_array().into_iter().flatten().filter(|item| !item["active"].is_null()) {
            sets.push(item["set"].as_str().unwrap_or_default().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return Ok(sets),
        }
    }
}

fn show(set: &str, step: &Step) {
    let set = printable(set);
    match step {
        Step::Nothing => println!("= {set}"),
        Step::TakeOut => println!("- {set}: taken out of force"),
        Step::Write { wanted, differences, .. } => {
            println!("~ {set}: from {}", printable(&wanted.file.display().to_string()));
            for difference in differences {
                println!("    {} {}", sign(difference.change), printable(&difference.id));
            }
        }
    }
}

/// How a change is marked.
pub(super) fn sign(change: Change) -> char {
    match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed => '~',
    }
}

async fn carry_out(client: &Client, set: &str, step: Step, reason: &str) -> anyhow::Result<()> {
    match step {
        Step::Nothing => {}
        Step::TakeOut => {
            let _done: Value = client.send(Method::DELETE, &["policies", set], &json!({})).await?;
        }
        Step::Write { wanted, parent, .. } => {
            let body = json!({ "document": wanted.document, "reason": reason, "parent": parent, "activate": true });
            let _written: Value = client.send(Method::PUT, &["policies", set], &body).await?;
        }
    }
    Ok(())
}
