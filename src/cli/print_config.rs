//! `lipservice print-config`: what takes effect, defaults filled in, secrets hidden.

use std::process::ExitCode;

use super::config_args::ConfigArgs;
use crate::config::render;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Prints YAML.
///
/// # Errors
/// Those of the configuration.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let loaded = args.config.load()?;
    print!("{}", render(&loaded.config));
    Ok(ExitCode::SUCCESS)
}
