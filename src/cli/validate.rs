//! `lipservice validate`: is this configuration fit to run?
//!
//! Purpose: find before a rollout what `run` would refuse, and what is unwise.
//! Promises: all errors at once on standard error; `OK` on standard output and exit status 0 only without errors.
//! Never: starts anything or opens a socket.

use std::process::ExitCode;

use super::config_args::ConfigArgs;
use crate::clock::Clock;
use crate::config::check_files;
use crate::data_plane::policy::{self, CompiledPolicy};
use crate::data_plane::sampler::config::SamplerConfig;

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
    let mut problems: Vec<String> = check_files(&loaded.config).iter().map(ToString::to_string).collect();
    if let (Some(sampler), true) = (&loaded.config.sampler, problems.is_empty()) {
        problems.extend(check_policies(sampler));
    }
    if !problems.is_empty() {
        problems.iter().for_each(|problem| eprintln!("{problem}"));
        return Ok(ExitCode::FAILURE);
    }
    println!("OK");
    Ok(ExitCode::SUCCESS)
}

/// Files that cannot be read are errors: the gateway would not start. A policy that does not compile is a warning: the
/// others apply.
fn check_policies(sampler: &SamplerConfig) -> Vec<String> {
    let documents = match policy::load(&sampler.policies) {
        Ok(documents) => documents,
        Err(errors) => {
            return errors.iter().map(|error| format!("processors.sampler.policies: {error}")).collect();
        }
    };
    let compiled = CompiledPolicy::compile(&documents, Clock::System.now(), None);
    for problem in compiled.problems() {
        eprintln!("warning: {problem} (this policy would not apply; the others would)");
    }
    Vec::new()
}
