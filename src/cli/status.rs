//! `lipservice status`: what runs, which policies it enforces, and how the loop that writes them stands.
//!
//! Promises: exit status 0 only when the control plane answers; text from elsewhere cannot move the terminal.
//! Never: changes anything.

use std::process::ExitCode;

use serde_json::Value;

use super::printable;
use super::server::{ServerArgs, block_on};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
///
/// # Errors
/// When the control plane does not answer, or refuses.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = args.server.client()?;
    let (status, generator): (Value, Option<Value>) = block_on(async {
        let status = client.get(&["status"], &[]).await?;
        // Not every process has a loop.
        Ok((status, client.get(&["generator"], &[]).await.ok()))
    })?;
    let text = |value: &Value| printable(value.as_str().unwrap_or("-"));
    let hash = text(&status["policy_hash"]);
    println!(
        "control plane {}  store {}  policies {}",
        text(&status["version"]),
        text(&status["store"]),
        status["policies"]
    );
    println!("in force      {hash}");
    if let Some(generator) = generator {
        println!("{}", loop_line(&generator["generator"]));
    }
    let replicas = status["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    println!("{:<38} {:<14} {:<10} {:<32} ENFORCES", "REPLICA", "KIND", "VERSION", "LAST SEEN");
    for replica in replicas {
        let state = if text(&replica["policy_hash"]) == hash { "what is in force" } else { "other policies" };
        let columns = [&replica["id"], &replica["kind"], &replica["version"], &replica["last_seen"]].map(text);
        let [id, kind, version, last_seen] = columns;
        println!("{id:<38} {kind:<14} {version:<10} {last_seen:<32} {state}");
    }
    Ok(ExitCode::SUCCESS)
}

/// How the loop stands: its last run and why, and the language model.
fn loop_line(generator: &Value) -> String {
    let text = |value: &Value| printable(value.as_str().unwrap_or("-"));
    let (last, llm) = (&generator["last"], &generator["llm"]);
    let mut out = format!("loop          {}: {}", text(&last["state"]), text(&last["why"]));
    out += &format!("\nmodel         {}: {}", text(&llm["health"]), text(&llm["why"]));
    for (name, fault) in llm["faults"].as_object().into_iter().flatten() {
        out += &format!("\n              {}: {} ({})", printable(name), text(&fault["why"]), text(&fault["kind"]));
    }
    out
}
