//! `lipservice top`: the patterns of a running gateway by volume, live.
//!
//! Purpose: show at a glance what fills the bill, what is kept of it, and what is not usual now.
//! Promises: asks the gateway once per interval; a lost connection is shown and retried, the last numbers stay; without
//! a terminal, or with `--once`, prints one table and ends.
//! Never: changes anything in the gateway; lets log text reach the terminal unfiltered.

mod anomalies;
mod model;
mod render;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::watch;
use url::Url;

use self::anomalies::{Anomalies, MAX_SHOWN};
use self::model::{MAX_ROWS, Screen, Snapshot};
use crate::units::Period;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The gateway's telemetry address (`service: telemetry: metrics: address`).
    #[arg(long, short, value_name = "URL", default_value = "http://127.0.0.1:8888")]
    endpoint: Url,
    /// Rows to ask for.
    #[arg(long, default_value = "100", value_parser = clap::value_parser!(u16).range(1..=MAX_ROWS as i64))]
    limit: u16,
    /// Time between two requests.
    #[arg(long, default_value = "1s")]
    interval: Period,
    /// Print one table as plain text and end.
    #[arg(long)]
    once: bool,
}

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a key is answered.
const KEY_WAIT: Duration = Duration::from_millis(100);
/// `MAX_ROWS` rows of long templates stay well below.
const ANSWER_LIMIT_BYTES: usize = 16 << 20;

/// Shows the table.
///
/// # Errors
/// When the terminal cannot be used, or with `--once` when the gateway does not answer.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    // Already installed is as good: there is only one provider in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let client = reqwest::Client::builder().timeout(TIMEOUT).build().context("cannot set up the HTTP client")?;
    let url = url_of(&args.endpoint, "patterns", args.limit.into());
    let beside = url_of(&args.endpoint, "anomalies", MAX_SHOWN);
    if args.once || !std::io::stdout().is_terminal() {
        let snapshot = runtime.block_on(fetch(&client, &url, &beside)).map_err(|problem| {
            anyhow::anyhow!("{url}: {problem}; is the gateway running, and is this its metrics address?")
        })?;
        // A reader that left early (`| head`) is no error.
        let _ = std::io::stdout().write_all(render::plain(&snapshot).as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    let (sender, answers) = watch::channel(None);
    let interval = args.interval.0.max(KEY_WAIT);
    runtime.spawn(async move {
        loop {
            let answer = fetch(&client, &url, &beside).await;
            if sender.send(Some(answer)).is_err() {
                return;
            }
            tokio::time::sleep(interval).await;
        }
    });
    let mut terminal = ratatui::try_init().context("cannot use this terminal; try --once")?;
    let result = live(&mut terminal, Screen::new(args.endpoint.as_str()), answers);
    ratatui::restore();
    runtime.shutdown_background();
    result.map(|()| ExitCode::SUCCESS)
}

fn url_of(endpoint: &Url, list: &str, limit: usize) -> Url {
    let mut url = endpoint.clone();
    let path = format!("{}/{list}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_query(Some(&format!("limit={limit}")));
    url
}

type Fetched = Result<Snapshot, String>;

/// The patterns, with the anomalies of a gateway that has them.
async fn fetch(client: &reqwest::Client, url: &Url, beside: &Url) -> Fetched {
    let mut snapshot = Snapshot::parse(&ask(client, url).await?)?;
    snapshot.anomalies = ask(client, beside).await.ok().and_then(|body| Anomalies::parse(&body));
    Ok(snapshot)
}

async fn ask(client: &reqwest::Client, url: &Url) -> Result<Vec<u8>, String> {
    let shown = |error: reqwest::Error| {
        let error = error.without_url();
        let cause = std::iter::successors(std::error::Error::source(&error), |cause| cause.source()).last();
        cause.map_or_else(|| error.to_string(), ToString::to_string)
    };
    let mut response = client.get(url.clone()).send().await.map_err(shown)?;
    if !response.status().is_success() {
        return Err(format!("the gateway answered {}", response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(shown)? {
        if body.len() + chunk.len() > ANSWER_LIMIT_BYTES {
            return Err(format!("the answer is larger than {ANSWER_LIMIT_BYTES} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn live(
    terminal: &mut ratatui::DefaultTerminal,
    mut screen: Screen,
    mut answers: watch::Receiver<Option<Fetched>>,
) -> anyhow::Result<()> {
    let mut changed = true;
    loop {
        if answers.has_changed().unwrap_or(false)
            && let Some(answer) = answers.borrow_and_update().clone()
        {
            screen.update(answer);
            changed = true;
        }
        if changed {
            terminal.draw(|frame| render::draw(frame, &screen))?;
        }
        changed = event::poll(KEY_WAIT)?;
        if !changed {
            continue;
        }
        if let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
            if interrupt || screen.key(key.code) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_to_the_endpoint() {
        for (endpoint, url) in [
            ("http://127.0.0.1:8888", "http://127.0.0.1:8888/patterns?limit=7"),
            ("https://h/gateway/", "https://h/gateway/patterns?limit=7"),
        ] {
            assert_eq!(url_of(&endpoint.parse().unwrap(), "patterns", 7).as_str(), url);
        }
    }
}
