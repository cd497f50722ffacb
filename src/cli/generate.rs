//! `lipservice generate`: a sampling policy from recorded traffic and a budget.
//!
//! Purpose: patterns, worth, rates, document, review; once, without a gateway.
//! Promises: the policy is written only when it passed its review; else the report says why and the exit status is 3. The
//! same input and arguments write the same policy but for the time it expires and, with a model, for what it answers.
//! Never: sends a log anywhere unless `--llm` names who may score masked templates; overwrites a file with a policy that
//! failed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::requests::InputArgs;
use super::simulate::{CHECK_FAILED, ReplayArgs, documents, replay, shown};
use crate::clock::Clock;
use crate::control_plane::config::Role;
use crate::control_plane::generator::budget::Budget;
use crate::control_plane::generator::llm::config::NONE;
use crate::control_plane::generator::llm::{self, LlmConfig, LlmStatus, Scorer};
use crate::control_plane::generator::offline::{Draft, Flags, Order, Proposal, statistics_alone};
use crate::control_plane::insights::{bytes_text, money_text, percent_text};
use crate::control_plane::store::{BookAccount, Store};
use crate::units::Period;

/// Largest previous policy that is read, in bytes.
const MAX_PREVIOUS_BYTES: u64 = 64 << 20;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    input: InputArgs,
    /// What may be sent of everything: a share (20%), bytes (50GB/day) or money ($200/month).
    #[arg(long, value_name = "BUDGET", required_unless_present = "service_budget")]
    budget: Option<Budget>,
    /// What may be sent of one service, such as shop=10%. Repeatable.
    #[arg(long, value_name = "SERVICE=BUDGET", value_parser = service_budget)]
    service_budget: Vec<(String, Budget)>,
    /// Where to write the policy; standard output when left out.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Who scores what patterns are worth: names of `llm: providers` in --config, asked in this order, or none.
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = NONE)]
    llm: Vec<String>,
    /// Policies of people, which the generated one works around. Repeatable.
    #[arg(long, value_name = "PATH")]
    policy: Vec<PathBuf>,
    /// The generated policy before: no rate falls below a quarter of its own there (see --most-step).
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// Share of the rate before that a rate may fall to; 0 for no bound.
    #[arg(long, value_name = "SHARE", default_value = "0.25", value_parser = share)]
    most_step: f64,
    /// Lowest rate of a pattern, as a share.
    #[arg(long, value_name = "SHARE", default_value = "0.0001", value_parser = share)]
    least_rate: f64,
    /// Rules at most; the patterns that would save least keep everything.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u16).range(1..))]
    max_rules: u16,
    /// How long the policy holds, should nobody renew it.
    #[arg(long, value_name = "PERIOD", default_value = "7d")]
    expires_in: Period,
    #[command(flatten)]
    replay: ReplayArgs,
    /// Print what was found as JSON instead of text.
    #[arg(long)]
    json: bool,
}

fn service_budget(text: &str) -> Result<(String, Budget), String> {
    let (service, budget) = text.split_once('=').ok_or("write SERVICE=BUDGET, such as shop=10%")?;
    Ok((service.to_owned(), budget.parse()?))
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("{text:?} is not a share from 0 to 1"))
}

/// Runs it.
///
/// # Errors
/// When a file cannot be read or written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = args.replay.settings()?;
    let order = args.order()?;
    let scorer = args.scorer()?;
    let traffic = args.input.traffic(args.replay.config.as_ref())?;
    let mut run = |policy, human| replay(&traffic, &settings, policy, human);
    let draft = Draft::begin(order.clone(), &settings, None, &mut run)?;
    let facts = draft.facts(&|candidate| Flags { is_new: draft.is_late(candidate), is_anomalous: false });
    let (worths, status) = match scorer {
        None => (statistics_alone(&facts), None),
        Some(mut scorer) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let worths = runtime.block_on(scorer.score(&facts));
            let dollars = scorer.state().spend.unbooked_dollars;
            match runtime.block_on(args.book(dollars)) {
                Ok(booked) => scorer.booked(booked),
                Err(error) => eprintln!(
                    "lipservice: what the model cost (${dollars:.6}) is not in the books of the store: {error:#}"
                ),
            }
            (worths, Some(scorer.status()))
        }
    };
    let proposal = draft.propose(&worths, &mut run)?;
    let passed = proposal.passes();
    let text = match args.json {
        true => as_json(&proposal, passed, status.as_ref())?,
        false => explanation(&proposal, &order, status.as_ref()),
    };
    // The policy may go to standard output: what is found goes to standard error.
    let _ = std::io::stderr().write_all(text.as_bytes());
    if !passed {
        eprintln!("lipservice: the policy did not pass its review and was not written");
        return Ok(ExitCode::from(CHECK_FAILED));
    }
    match &args.output {
        Some(path) => std::fs::write(path, &proposal.text).with_context(|| format!("writing {}", path.display()))?,
        None => std::io::stdout().write_all(proposal.text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// Who scores; `None` for statistics alone.
    fn scorer(&self) -> anyhow::Result<Option<Scorer>> {
        if self.llm.iter().all(|name| name == NONE) {
            return Ok(None);
        }
        let Some(config) = self.replay.loaded()? else {
            bail!(
                "--llm {}: name the providers in a configuration (llm: providers) and give it by --config",
                self.llm.join(",")
            );
        };
        for name in self.llm.iter().filter(|name| *name != NONE) {
            if !config.llm.providers.contains_key(name) {
                let known: Vec<&str> = config.llm.providers.keys().map(String::as_str).collect();
                bail!("--llm {name}: not one of llm.providers ({})", known.join(", "));
            }
        }
        // Fails only when a provider is installed already, and then TLS works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let chain = LlmConfig { chain: self.llm.clone(), ..config.llm };
        Ok(Some(llm::scorer(&chain)?))
    }

    /// Adds what a model cost to the books that `lipservice cost` reads, where the configuration names a control plane of this
    /// machine and its store is there. None is made for it. Returns what was added; the rest waits for whoever keeps books.
    async fn book(&self, dollars: f64) -> anyhow::Result<f64> {
        let Some(config) = self.replay.loaded()? else { return Ok(0.0) };
        let control = &config.control;
        let keeps_books = control.api.is_some() || control.role == Role::ControlPlane;
        let is_there = control.store.file().is_none_or(|file| Path::new(file).exists());
        let microdollars = (1e6 * dollars).floor();
        if !keeps_books || !is_there || microdollars < 1.0 {
            return Ok(0.0);
        }
        let store = Store::open(&control.store, Clock::System).await?;
        let booked = store.book(BookAccount::LlmMicrodollars, microdollars as u64).await;
        store.close().await;
        booked?;
        Ok(microdollars / 1e6)
    }

    fn order(&self) -> anyhow::Result<Order> {
        let now = Clock::System.now();
        Ok(Order {
            budget: self.budget,
            service_budgets: self.service_budget.clone(),
            prices: self.replay.prices()?,
            least_rate: self.least_rate,
            most_step: self.most_step,
            max_rules: usize::from(self.max_rules),
            expires_at: now.saturating_add(self.expires_in.0.max(Duration::from_secs(1)).as_nanos() as u64),
            now,
            previous: self.previous()?,
            human: documents(&self.policy)?,
        })
    }

    fn previous(&self) -> anyhow::Result<Option<Value>> {
        let Some(path) = &self.previous else { return Ok(None) };
        let context = || format!("reading {}", path.display());
        if std::fs::metadata(path).with_context(context)?.len() > MAX_PREVIOUS_BYTES {
            bail!("{} is larger than {MAX_PREVIOUS_BYTES} bytes", path.display());
        }
        let text = std::fs::read_to_string(path).with_context(context)?;
        serde_saphyr::from_str(&text).map(Some).with_context(|| format!("{} is no policy document", path.display()))
    }
}

fn as_json(proposal: &Proposal, passed: bool, llm: Option<&LlmStatus>) -> anyhow::Result<String> {
    let value = serde_json::json!({
        "passed": passed,
        "feasible": proposal.is_feasible,
        "replays": proposal.replays,
        "findings": proposal.findings,
        "standing_bytes": proposal.standing,
        "allowed_bytes": proposal.allowed.total,
        "rules": proposal.rules.len(),
        "total": proposal.report.total,
        "services": proposal.report.services,
        "checks": proposal.report.checks,
        "llm": llm,
    });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn explanation(proposal: &Proposal, order: &Order, llm: Option<&LlmStatus>) -> String {
    let total = &proposal.report.total;
    let sent = total.kept.bytes + total.summaries.bytes;
    let mut out = format!(
        "{} rules after {} replays\nbilled   {} -> {} ({:.1} %)\na month  {} -> {}\n",
        proposal.rules.len(),
        proposal.replays,
        bytes_text(total.received.bytes),
        bytes_text(sent),
        100.0 * proposal.report.kept_share(),
        order.prices.text(total.month_before),
        order.prices.text(total.month_after),
    );
    out += &llm.map_or_else(String::new, scoring);
    for finding in &proposal.findings {
        let mark = match (finding.ok, finding.is_judged) {
            (false, _) => "FAILED",
            (true, true) => "ok",
            (true, false) => "note",
        };
        out += &format!("{mark:8} {}: {}\n", finding.check, shown(&finding.detail, 400));
    }
    if !proposal.is_feasible {
        out += &infeasible(proposal, &order.prices.currency);
    }
    for rule in proposal.rules.iter().take(10) {
        out += &format!(
            "{:>9}  {}\n           {}\n",
            rule.rate.map_or_else(|| rule.keep.clone(), percent_text),
            shown(&rule.template, 100),
            shown(&rule.description, 300)
        );
    }
    if proposal.rules.len() > 10 {
        out += &format!("and {} more; `lipservice policy explain` lists all\n", proposal.rules.len() - 10);
    }
    out
}

/// How asking a model went.
fn scoring(status: &LlmStatus) -> String {
    let spend = &status.spend;
    let mut out = format!(
        "scored   {} of {} patterns by a model, {} asked; {}; {} tokens and ${:.4} today\n",
        status.by_model,
        status.patterns,
        status.asked,
        shown(&status.why, 200),
        spend.input_tokens + spend.output_tokens,
        spend.dollars
    );
    for (name, fault) in &status.faults {
        out += &format!("         {name}: {} ({})\n", shown(&fault.why, 200), fault.kind);
    }
    out
}

/// What stands in the way of the budget, and what it takes.
fn infeasible(proposal: &Proposal, currency: &str) -> String {
    let standing = &proposal.standing;
    let received = proposal.report.total.received.bytes.max(1.0);
    let mut parts = [
        ("protected severities (sampler: protect_severity)", standing.protected),
        ("human policies that keep", standing.human),
        ("floor and novelty (sampler: floor_records, window interval)", standing.floor_and_novelty),
        ("summaries (sampler: summary interval)", standing.summaries),
        ("lowest rates (--least-rate, --most-step with --previous)", standing.least_rates),
        ("patterns beyond the bounds", standing.beyond_bounds),
    ];
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut out = String::from("the budget cannot be met; sent whatever the rates:\n");
    let a_byte = proposal.report.total.month_before / received;
    for (name, bytes) in parts.into_iter().filter(|(_, bytes)| *bytes > 0.0) {
        let (share, money) = (100.0 * bytes / received, money_text(currency, bytes * a_byte));
        out += &format!("  {:>9}  {share:>5.1} % of all bytes  {money:>8} a month  {name}\n", bytes_text(bytes));
    }
    out
}
