//! `lipservice patterns`: the patterns of a log file.
//!
//! Purpose: show what grouping makes of a log: the pattern of every message, or all patterns with their counts.
//! Promises: memory is bounded by the number of distinct signatures, not by the length of the input; the same messages in
//! any order get the same ids; a closed pipe ends it quietly.
//! Never: writes anything but what it was asked for.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, IsTerminal, Read, Seek, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::input::{self, Message};
use super::visible::visible;
use crate::control_plane::analysis::mining::Miner;
use crate::data_plane::pattern::{Catalogue, PatternId};
use crate::data_plane::signature::Signature;

/// Distinct signatures that are mined; further ones are patterns of their own.
const MAX_SIGNATURES: usize = 200_000;
/// Longest template and example shown in a table, in characters.
const SHOWN_CHARS: usize = 160;

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One pattern id for each message, in order.
    Assignments,
    /// All patterns, most messages first.
    Table,
    /// The same as JSON.
    Json,
}

/// When the pattern is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// As assigned at first sight: the signature.
    Ingest,
    /// After mining all signatures of the input.
    Mined,
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The log: lines, CSV (with --body-column) or OTLP JSON. `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Read FILE as CSV with a header and take the messages from this column.
    #[arg(long, value_name = "NAME")]
    body_column: Option<String>,
    /// What to print.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Show patterns as assigned at first sight, or after mining.
    #[arg(long, value_enum, default_value = "mined")]
    stage: Stage,
}

/// Runs it.
///
/// # Errors
/// When the input cannot be read or is not what it was said to be, or standard output cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (file, length) = input::open(&args.input)?;
    let bar = progress_bar(length);
    let input = BufReader::with_capacity(1 << 16, bar.wrap_read(file));
    let result = print(&args, input, BufWriter::new(io::stdout().lock()));
    bar.finish_and_clear();
    match result {
        Err(error) if is_closed_pipe(&error) => Ok(ExitCode::SUCCESS),
        result => result.map(|()| ExitCode::SUCCESS).with_context(|| format!("reading {}", args.input.display())),
    }
}

pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}

pub(super) fn progress_bar(length: Option<u64>) -> ProgressBar {
    let template = match length {
        _ if !io::stderr().is_terminal() => return ProgressBar::hidden(),
        Some(_) => "{bar:24} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}",
        None => "{spinner} {bytes} {bytes_per_sec} {elapsed}",
    };
    let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn print(args: &Args, input: impl BufRead, mut out: impl Write) -> anyhow::Result<()> {
    let column = args.body_column.as_deref();
    match (args.format, args.stage) {
        (Format::Assignments, Stage::Ingest) => input::for_each(input, column, &mut |message| {
            writeln!(out, "{}", message.signature)?;
            Ok(())
        })?,
        (Format::Assignments, Stage::Mined) => assignments(input, column, &mut out)?,
        (format, stage) => {
            let mut census = Census::default();
            input::for_each(input, column, &mut |message| {
                census.count(&message);
                Ok(())
            })?;
            let groups = census.groups(&match stage {
                Stage::Ingest => Catalogue::default(),
                Stage::Mined => census.mine(),
            });
            match format {
                Format::Json => json(&census, &groups, &mut out)?,
                _ => table(&census, &groups, &mut out)?,
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// Two passes: the first learns and notes each message's signature in a file without a name, the second reads that.
fn assignments(input: impl BufRead, column: Option<&str>, out: &mut impl Write) -> anyhow::Result<()> {
    let mut census = Census::default();
    let mut spool = BufWriter::new(tempfile::tempfile().context("making a temporary file")?);
    input::for_each(input, column, &mut |message| {
        census.count(&message);
        spool.write_all(&message.signature.0.to_le_bytes()).context("writing a temporary file")
    })?;
    let catalogue = census.mine();
    let patterns: HashMap<Signature, PatternId> = census
        .kinds
        .iter()
        .map(|(signature, kind)| (*signature, catalogue.resolve(*signature, &kind.template)))
        .collect();
    let mut file = spool.into_inner().context("writing a temporary file")?;
    file.rewind().context("reading a temporary file")?;
    let mut spooled = BufReader::new(file);
    let mut signature = [0u8; 8];
    for _ in 0..census.messages {
        spooled.read_exact(&mut signature).context("reading a temporary file")?;
        let signature = Signature(u64::from_le_bytes(signature));
        let pattern = patterns.get(&signature).copied().unwrap_or_else(|| PatternId::from(signature));
        writeln!(out, "{pattern}")?;
    }
    Ok(())
}

/// The signatures of an input.
#[derive(Default)]
struct Census {
    kinds: HashMap<Signature, KindOfMessage>,
    messages: u64,
    /// Messages of signatures beyond the bound.
    beyond: u64,
}

struct KindOfMessage {
    template: String,
    example: String,
    messages: u64,
}

/// One pattern of the input.
struct Group {
    id: PatternId,
    template: String,
    example: String,
    messages: u64,
    signatures: usize,
}

impl Census {
    fn count(&mut self, message: &Message<'_>) {
        self.messages += 1;
        if let Some(kind) = self.kinds.get_mut(&message.signature) {
            kind.messages += 1;
        } else if self.kinds.len() < MAX_SIGNATURES {
            let cut = &message.text[..message.text.len().min(4 * SHOWN_CHARS)];
            self.kinds.insert(
                message.signature,
                KindOfMessage {
                    template: String::from_utf8_lossy(message.template).into_owned(),
                    example: String::from_utf8_lossy(cut).into_owned(),
                    messages: 1,
                },
            );
        } else {
            self.beyond += 1;
        }
    }

    fn mine(&self) -> Catalogue {
        let mut miner = Miner::new(MAX_SIGNATURES);
        for kind in self.kinds.values() {
            miner.insert(&kind.template);
        }
        miner.mine()
    }

    /// The patterns, most messages first, then by id.
    fn groups(&self, catalogue: &Catalogue) -> Vec<Group> {
        let mut groups: HashMap<PatternId, Group> = HashMap::new();
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_unstable_by_key(|(signature, _)| **signature);
        for (signature, kind) in kinds {
            let found = catalogue.find(&kind.template);
            let id = found.map_or_else(|| PatternId::from(*signature), |pattern| pattern.id);
            let group = groups.entry(id).or_insert_with(|| Group {
                id,
                template: found.map_or_else(|| kind.template.clone(), |pattern| pattern.template.to_string()),
                example: kind.example.clone(),
                messages: 0,
                signatures: 0,
            });
            group.messages += kind.messages;
            group.signatures += 1;
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        groups.sort_unstable_by_key(|group| (std::cmp::Reverse(group.messages), group.id));
        groups
    }
}

/// One line that no terminal takes for a command.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).filter_map(visible).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

fn table(census: &Census, groups: &[Group], out: &mut impl Write) -> anyhow::Result<()> {
    writeln!(out, "{:16}  {:>10}  {:>6}  {:>10}  TEMPLATE", "PATTERN", "MESSAGES", "SHARE", "SIGNATURES")?;
    for group in groups {
        let share = 100.0 * group.messages as f64 / census.messages.max(1) as f64;
        let template = if group.template.is_empty() { "(empty)".to_owned() } else { shown(&group.template) };
        writeln!(out, "{}  {:>10}  {share:>5.1}%  {:>10}  {template}", group.id, group.messages, group.signatures)?;
    }
    writeln!(out, "{} messages, {} patterns, {} signatures", census.messages, groups.len(), census.kinds.len())?;
    if census.beyond > 0 {
        writeln!(out, "{} messages of signatures beyond the first {MAX_SIGNATURES} are not shown", census.beyond)?;
    }
    Ok(())
}

fn json(census: &Census, groups: &[Group], out: &mut impl Write) -> anyhow::Result<()> {
    let patterns: Vec<_> = groups
        .iter()
        .map(|group| {
            json!({
                "id": group.id.to_string(),
                "template": group.template,
                "messages": group.messages,
                "signatures": group.signatures,
                "example": shown(&group.example),
            })
        })
        .collect();
    let report = json!({
        "messages": census.messages,
        "signatures": census.kinds.len(),
        "messages_beyond_bound": census.beyond,
        "patterns": patterns,
    });
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)?;
    Ok(())
}
