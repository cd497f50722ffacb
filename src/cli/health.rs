//! `lipservice health`: one question, one exit status.
//!
//! Purpose: the health check of a container whose image has no shell and no curl.
//! Promises: exit status 0 only for an answer of 200 within [`LIMIT`]; prints nothing then.
//! Never: follows a redirect or a proxy; sends a token.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::server::block_on;

/// How long the answer may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to ask.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:13133/health/ready")]
    url: String,
}

/// Runs it.
///
/// # Errors
/// When there is no answer, or another one.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(LIMIT);
    let asked = block_on(async { Ok(client.build()?.get(&args.url).send().await?.status()) });
    let status = asked.with_context(|| format!("{} does not answer", args.url))?;
    anyhow::ensure!(status == reqwest::StatusCode::OK, "{} answers {status}", args.url);
    Ok(ExitCode::SUCCESS)
}
