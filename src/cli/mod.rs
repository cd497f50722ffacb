//! The command line: one file per subcommand.
//!
//! Purpose: parse arguments and call the library; print results and errors for people.
//! Promises: errors go to standard error in one readable chain; exit status 0 only on success.
//! Never: is called by the rest of the library.

mod analyze;
mod config_args;
mod content;
mod cost;
mod csv;
mod doctor;
mod generate;
mod health;
mod history;
mod input;
mod patterns;
mod policy;
mod print_config;
mod requests;
mod run;
mod send;
mod server;
mod signature;
mod simulate;
mod status;
mod token;
mod top;
mod validate;
mod visible;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "lipservice", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the gateway.
    Run(run::Args),
    /// Print what logs cost: today, this month and at its end; where it goes, and what could cost less.
    Cost(Box<cost::Args>),
    /// Check a configuration and its policies; print every error at once.
    Validate(validate::Args),
    /// Check the whole way to PostHog and back: configuration, network, tokens, one marked record.
    Doctor(doctor::Args),
    /// Print the configuration as it takes effect, defaults filled in and secrets hidden.
    PrintConfig(print_config::Args),
    /// Show patterns, frequencies over time and anomalies of a log file.
    Analyze(Box<analyze::Args>),
    /// Show the patterns of a log file.
    Patterns(patterns::Args),
    /// Work with sampling policies.
    Policy(policy::Args),
    /// Send a log file as OTLP.
    Send(Box<send::Args>),
    /// Write a sampling policy for recorded traffic and a budget.
    Generate(Box<generate::Args>),
    /// Replay recorded traffic under a policy and report what would be kept and lost.
    Simulate(Box<simulate::Args>),
    /// Print the signature of each line of standard input.
    Signature(signature::Args),
    /// Ask a process on this machine whether it is ready: for images without a shell.
    Health(health::Args),
    /// Print what runs and which policies it enforces.
    Status(status::Args),
    /// Make, list and revoke tokens of the API.
    Token(token::Args),
    /// Watch a gateway's patterns by volume.
    Top(top::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Cost(args) => cost::run(*args),
        Command::Validate(args) => validate::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::PrintConfig(args) => print_config::run(args),
        Command::Analyze(args) => analyze::run(*args),
        Command::Patterns(args) => patterns::run(args),
        Command::Policy(args) => policy::run(args),
        Command::Send(args) => send::run(*args),
        Command::Generate(args) => generate::run(*args),
        Command::Simulate(args) => simulate::run(*args),
        Command::Signature(args) => signature::run(args),
        Command::Health(args) => health::run(args),
        Command::Status(args) => status::run(args),
        Command::Token(args) => token::run(args),
        Command::Top(args) => top::run(args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lipservice: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Text from elsewhere: what a terminal would obey, and marks that hide or reorder text, as U+FFFD.
fn printable(text: &str) -> String {
    text.chars().map(|c| if visible::visible(c) == Some(c) { c } else { '\u{fffd}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_elsewhere_neither_steers_nor_reorders_nor_hides() {
        assert_eq!(
            printable("a\u{1b}[2J\tb\u{202e}c\u{200b}d\u{feff}é日"),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}é日"
        );
    }
}
