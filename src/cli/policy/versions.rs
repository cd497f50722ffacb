//! `lipservice policy get`, `diff`, `history`, `activate` and `rollback`.
//!
//! Purpose: look at a control plane's versions, and put one in force.
//! Promises: text from elsewhere cannot move the terminal.
//! Never: writes a version; `apply` does.

use std::path::PathBuf;
use std::process::ExitCode;

use http::Method;
use serde_json::{Value, json};

use super::apply::sign;
use super::documents::{read, set_of};
use crate::cli::printable;
use crate::cli::server::{ServerArgs, block_on};
use crate::control_plane::api::diff::{Change, diff as compare};

/// Which policies of which control plane.
#[derive(Debug, clap::Args)]
struct SetArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// A service; all services when left out.
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
}

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub(super) struct GetArgs {
    #[command(flatten)]
    set: SetArgs,
    /// A version's number; the newest when left out.
    #[arg(long, value_name = "NUMBER")]
    number: Option<i64>,
    /// List the policies of all services instead.
    #[arg(long, conflicts_with_all = ["service", "number"])]
    list: bool,
}

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    #[command(flatten)]
    set: SetArgs,
    /// The earlier version; the one in force when left out.
    #[arg(long, value_name = "NUMBER")]
    from: Option<i64>,
    /// The later version; the newest when left out.
    #[arg(long, value_name = "NUMBER", conflicts_with = "file")]
    to: Option<i64>,
    /// A file in place of the later version.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Arguments of `history`.
#[derive(Debug, clap::Args)]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    set: SetArgs,
    /// Entries at most.
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// Arguments of `activate`.
#[derive(Debug, clap::Args)]
pub(super) struct ActivateArgs {
    #[command(flatten)]
    set: SetArgs,
    /// The version's number.
    number: i64,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    set: SetArgs,
    /// A version's number; the one in force before the active one when left out.
    #[arg(long, value_name = "NUMBER")]
    to: Option<i64>,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    reason: String,
}

/// A value as one cell of a line.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Prints a document, or the list of sets.
pub(super) fn get(args: GetArgs) -> anyhow::Result<ExitCode> {
    let client = args.set.server.client()?;
    let set = set_of(args.set.service.as_deref());
    block_on(async {
        if args.list {
            println!("{:<40} {:>7} {:>7}  POLICIES", "SET", "ACTIVE", "NEWEST");
            let page: Value = client.get(&["policies"], &[("limit", "1000")]).await?;
            for item in page["items"].as_array().into_iter().flatten() {
                let newest = &item["newest"];
                let columns = [&item["set"], &item["active"], &newest["number"], &newest["policies"]].map(text);
                println!("{:<40} {:>7} {:>7}  {}", columns[0], columns[1], columns[2], columns[3]);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let document = match args.number {
            Some(number) => {
                let version: Value = client.get(&["policies", &set, "versions", &number.to_string()], &[]).await?;
                version["document"].clone()
            }
            None => client.get::<Value>(&["policies", &set], &[]).await?["newest"]["document"].clone(),
        };
        print!("{}", serde_saphyr::to_string(&document)?);
        Ok(ExitCode::SUCCESS)
    })
}

/// Prints what differs. Exit status 1 when anything does, as `diff` has it.
pub(super) fn diff(args: DiffArgs) -> anyhow::Result<ExitCode> {
    let client = args.set.server.client()?;
    let set = set_of(args.set.service.as_deref());
    let file = match &args.file {
        Some(file) if file.is_dir() => {
            anyhow::bail!("{} is a directory; apply --dry-run compares those", file.display())
        }
        Some(file) => read(file, args.set.service.as_deref())?.pop(),
        None => None,
    };
    let found: Value = block_on(async {
        let mut query: Vec<(&str, String)> = Vec::new();
        query.extend(args.from.map(|number| ("from", number.to_string())));
        query.extend(args.to.map(|number| ("to", number.to_string())));
        let query: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let Some(wanted) = file else { return Ok(client.get(&["policies", &set, "diff"], &query).await?) };
        let read: Value = client.get(&["policies", &set], &[]).await?;
        let number = args.from.or(read["active"].as_i64());
        let before = match number {
            Some(number) => client.get(&["policies", &set, "versions", &number.to_string()], &[]).await?,
            None => json!({}),
        };
        Ok(serde_json::to_value(compare(number, &before["document"], None, &wanted.document))?)
    })?;
    let differences = found["policies"].as_array().map_or(&[][..], Vec::as_slice);
    for difference in differences {
        let change = match difference["change"].as_str() {
            Some("added") => Change::Added,
            Some("removed") => Change::Removed,
            _ => Change::Changed,
        };
        println!("{} {}", sign(change), text(&difference["id"]));
        for (mark, side) in [('-', &difference["before"]), ('+', &difference["after"])] {
            if !side.is_null() {
                for line in serde_saphyr::to_string(side)?.lines() {
                    println!("    {mark} {}", printable(line));
                }
            }
        }
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints activations, the latest first.
pub(super) fn history(args: HistoryArgs) -> anyhow::Result<ExitCode> {
    let client = args.set.server.client()?;
    let set = set_of(args.set.service.as_deref());
    let limit = args.limit.to_string();
    let page: Value = block_on(async { Ok(client.get(&["policies", &set, "history"], &[("limit", &limit)]).await?) })?;
    for entry in page["items"].as_array().into_iter().flatten() {
        let columns = [&entry["at"], &entry["action"], &entry["number"], &entry["actor"], &entry["reason"]].map(text);
        println!("{:<32} {:<10} {:>6}  {:<20} {}", columns[0], columns[1], columns[2], columns[3], columns[4]);
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts a version in force.
pub(super) fn activate(args: ActivateArgs) -> anyhow::Result<ExitCode> {
    change(args.set, "activate", json!({ "version": args.number, "reason": args.reason }))
}

/// Puts an earlier version in force again.
pub(super) fn roll_back(args: RollbackArgs) -> anyhow::Result<ExitCode> {
    change(args.set, "rollback", json!({ "version": args.to, "reason": args.reason }))
}

fn change(args: SetArgs, action: &str, body: Value) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let set = set_of(args.service.as_deref());
    let done: Value = block_on(async { Ok(client.send(Method::POST, &["policies", &set, action], &body).await?) })?;
    let how = if done["changed"] == true { "is in force now" } else { "was in force already" };
    println!("{}: version {} {how}", text(&done["set"]), text(&done["active"]));
    Ok(ExitCode::SUCCESS)
}
