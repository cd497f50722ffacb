//! `lipservice validate`: is this configuration fit to run?

use std::process::ExitCode;

use super::config_args::ConfigArgs;
use crate::config::check_files;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArgs,
}

/// Prints every error to standard error, or `OK` with the warnings.
///
/// # Errors
/// None: what it finds is its output and its exit status.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let loaded = match args.config.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            errors.0.iter().for_each(|problem| eprintln!("{problem}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let missing = check_files(&loaded.config);
    if !missing.is_empty() {
        missing.iter().for_each(|problem| eprintln!("{problem}"));
        return Ok(ExitCode::FAILURE);
    }
    println!("OK");
    Ok(ExitCode::SUCCESS)
}
