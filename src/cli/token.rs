//! `lipservice token`: make, list and revoke tokens of the API.
//!
//! Purpose: work on the store itself, so that the first token needs no token.
//! Promises: a token is printed once, alone on standard output, so that it can go into a file or a secret.
//! Never: talks to a running server; one notices the change within a second.

use std::process::ExitCode;

use clap::Subcommand;

use super::config_args::ConfigArgs;
use super::printable;
use crate::clock::Clock;
use crate::control_plane::api::token_randomness;
use crate::control_plane::store::config::StoreConfig;
use crate::control_plane::store::{Actor, NewToken, Scope, Store, Timestamp};
use crate::units::{Period, SecretUrl};

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token and print it, this once.
    Create(CreateArgs),
    /// List tokens, without their secrets.
    List(StoreArgs),
    /// Revoke a token by its id.
    Revoke(RevokeArgs),
}

/// Which store.
#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// The configuration that names the store.
    #[command(flatten)]
    config: OptionalConfig,
    /// The store itself, such as sqlite:lipservice.db or postgres://user@host/database.
    #[arg(long, value_name = "URL", env = "LIPSERVICE_STORE", hide_env_values = true)]
    store: Option<String>,
}

#[derive(Debug, clap::Args)]
struct OptionalConfig {
    /// Configuration file (YAML) that names the store. Given several times, the files are merged.
    #[arg(long = "config", short = 'c', value_name = "FILE")]
    files: Vec<std::path::PathBuf>,
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// A name for people and for the audit log.
    #[arg(long)]
    name: String,
    /// What it allows: read, write, ingest, admin; several separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    scope: Vec<Scope>,
    /// How long it serves, such as 90days; for ever when left out.
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<Period>,
}

#[derive(Debug, clap::Args)]
struct RevokeArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// The id that `list` shows.
    id: String,
}

/// Runs it.
///
/// # Errors
/// A store that cannot be opened, or an unknown id.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match args.command {
            Command::Create(args) => create(args).await,
            Command::List(args) => list(args).await,
            Command::Revoke(args) => revoke(args).await,
        }
    })
}

impl StoreArgs {
    async fn open(self) -> anyhow::Result<Store> {
        let config = match (self.store, self.config.files) {
            (Some(url), _) => StoreConfig { url: Some(SecretUrl::new(url)), ..StoreConfig::default() },
            (None, files) if files.is_empty() => StoreConfig::default(),
            (None, files) => ConfigArgs { files, sets: Vec::new() }.load()?.config.control.store,
        };
        Ok(Store::open(&config, Clock::System).await?)
    }
}

/// Who runs the command, for the audit log.
pub(super) fn operator() -> Actor {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "operator".into());
    Actor::named(format!("{} (command line)", printable(&user)))
}

async fn create(args: CreateArgs) -> anyhow::Result<ExitCode> {
    if !(1..=100).contains(&args.name.len()) || args.name.chars().any(char::is_control) {
        anyhow::bail!("--name has 1 to 100 bytes without control characters");
    }
    let store = args.store.open().await?;
    let expires_at = args.expires_in.map(|period| store.now().after(period.0));
    let new = NewToken { name: args.name, scopes: args.scope, expires_at };
    let (token, entry) = store.create_token(&new, token_randomness(), &operator()).await?;
    store.close().await;
    eprintln!("lipservice: made token {}; it is not shown again", entry.id);
    println!("{token}");
    Ok(ExitCode::SUCCESS)
}

async fn list(args: StoreArgs) -> anyhow::Result<ExitCode> {
    let store = args.open().await?;
    let tokens = store.tokens().await?;
    store.close().await;
    println!("{:<14} {:<24} {:<26} {:<22} STATE", "ID", "NAME", "SCOPES", "MADE");
    let now = Timestamp::of(Clock::System.now());
    for token in tokens {
        let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
        let state = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {}", Timestamp::of_secs(at.secs())),
            (None, Some(at)) if at <= now => format!("expired {}", Timestamp::of_secs(at.secs())),
            (None, Some(at)) => format!("until {}", Timestamp::of_secs(at.secs())),
            (None, None) => "in use".to_owned(),
        };
        let made = Timestamp::of_secs(token.created_at.secs()).to_string();
        println!("{:<14} {:<24} {:<26} {made:<22} {state}", token.id, printable(&token.name), scopes.join(","));
    }
    Ok(ExitCode::SUCCESS)
}

async fn revoke(args: RevokeArgs) -> anyhow::Result<ExitCode> {
    let store = args.store.open().await?;
    let was_in_use = store.revoke_token(&args.id, &operator()).await?;
    store.close().await;
    let what = if was_in_use { "revoked" } else { "was revoked already" };
    println!("token {} {what}", printable(&args.id));
    Ok(ExitCode::SUCCESS)
}
