//! `lipservice policy explain`: every rule of a document and why it is there.
//!
//! Purpose: the reasons that a generated policy carries, for people.
//! Promises: one rule after the other, what saves most first; log text is bounded and without control characters.
//! Never: judges a rule.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::simulate::shown;
use crate::control_plane::generator::document::{Explained, explain};
use crate::control_plane::insights::percent_text;
use crate::data_plane::policy::MAX_DOCUMENT_BYTES;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policy file (YAML or JSON).
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Show only rules whose id, service or template contains this text.
    #[arg(long, value_name = "TEXT")]
    about: Option<String>,
}

/// Runs it.
///
/// # Errors
/// When the file cannot be read or is no document.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let place = || format!("reading {}", args.policy.display());
    let mut text = String::new();
    let file = std::fs::File::open(&args.policy).with_context(place)?;
    file.take(MAX_DOCUMENT_BYTES as u64 + 1).read_to_string(&mut text).with_context(place)?;
    if text.len() > MAX_DOCUMENT_BYTES {
        bail!("{} is larger than {MAX_DOCUMENT_BYTES} bytes", args.policy.display());
    }
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).with_context(place)?;
    let mut rules: Vec<Explained> = documents.iter().flat_map(explain).collect();
    if let Some(about) = &args.about {
        rules.retain(|rule| {
            let service = rule.pattern.as_ref().map_or("", |(service, _)| service);
            [rule.id.as_str(), &rule.template, service].iter().any(|text| text.contains(about))
        });
    }
    // Stable: rules without a saving stay in the order of the file.
    rules.sort_by(|a, b| b.saves_a_month.total_cmp(&a.saves_a_month));
    let mut out = String::new();
    for rule in &rules {
        out += &paragraph(rule);
    }
    out += &format!("{} rules\n", rules.len());
    // A reader that left early (`| head`) is no error.
    let _ = std::io::stdout().write_all(out.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn paragraph(rule: &Explained) -> String {
    // The document has every digit: thresholds that are short in bytes are long in decimals.
    let keep = match rule.rate {
        Some(rate) if rule.is_generated => percent_text(rate),
        _ if rule.keep.is_empty() => "says nothing about keeping".to_owned(),
        _ => rule.keep.clone(),
    };
    let who = if rule.is_generated { "generated" } else { "human" };
    let mut out = format!("{}  {}  {who}\n", shown(&rule.id, 80), shown(&keep, 40));
    if !rule.template.is_empty() {
        out += &format!("  {}\n", shown(&rule.template, 300));
    }
    if !rule.description.is_empty() {
        out += &format!("  {}\n", shown(&rule.description, 600));
    }
    out + "\n"
}
