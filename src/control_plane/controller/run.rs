//! One run: sample → worth → rates → review → version → in force.
//!
//! Purpose: join the parts, each of which is tested alone, and say at every exit how it ended and why.
//! Promises: what computes does so beside the runtime's threads; a version carries its reason, and the run its report,
//! model, prompt and cost; a policy that fails its review is stored and not published.
//! Never: panics with a part that does.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::decide::Trigger;
use super::{Controller, RunState};
use crate::clock::UnixNanos;
use crate::control_plane::bundle::bundle;
use crate::control_plane::generator::candidates::Candidate;
use crate::control_plane::generator::document::rule_id;
use crate::control_plane::generator::llm::{Scorer, WhyStatistics, Worth, WorthOrigin};
use crate::control_plane::generator::offline::{Draft, Flags, Order, Proposal};
use crate::control_plane::replay::{ReplayError, Script};
use crate::control_plane::store::{Actor, BookAccount, GENERATED, NewVersion, StoreError, Timestamp, VersionOrigin};
use crate::control_plane::validate::check;
use crate::data_plane::pattern::PatternId;
use crate::data_plane::policy::Document;

/// Rows of each kind in a run's report.
const MAX_TOLD: usize = 20;
/// Longest reason of a version, in bytes.
const MAX_REASON_BYTES: usize = 2_000;

/// How a run ended.
pub(super) struct Ended {
    pub state: RunState,
    pub version: Option<i64>,
    pub why: String,
    pub detail: Value,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("the replay: {0}")]
    Replay(#[from] ReplayError),
    #[error("the store: {0}")]
    Store(#[from] StoreError),
    #[error("a part of the run ended early: {0}")]
    Ended(#[from] tokio::task::JoinError),
    #[error("the policy cannot be stored: {0}")]
    Invalid(String),
}

/// What was made of the traffic, before anybody said what patterns are worth.
struct Looked {
    draft: Draft,
    script: Script,
    came: u64,
    /// Rules by id of all patterns in the sample, those included that no rule can be about.
    seen: HashSet<String>,
}

/// What scoring cost and who did it.
struct Scored {
    worths: Vec<Worth>,
    detail: Value,
}

impl Controller {
    pub(super) async fn cycle(&self, trigger: Trigger, now: UnixNanos, actor: &Actor) -> Ended {
        match self.try_cycle(trigger, now, actor).await {
            Ok(ended) => ended,
            Err(error) => Ended { state: RunState::Failed, version: None, why: error.to_string(), detail: json!({}) },
        }
    }

    async fn try_cycle(&self, trigger: Trigger, now: UnixNanos, actor: &Actor) -> Result<Ended, RunError> {
        let looked = self.look(now).await?;
        let last_run = self.memory.lock().last_run;
        let anomalous = self.traffic.anomalous();
        let flags = |candidate: &Candidate| flags(candidate, last_run, &anomalous);
        let facts = looked.draft.facts(&flags);
        let scored = self.score(&facts).await;
        let Looked { draft, script, came, seen } = looked;
        let (settings, worths) = (self.settings.clone(), scored.worths.clone());
        let solved = tokio::task::spawn_blocking(move || {
            let mut play = |policy, human| script.play(&settings, policy, human);
            draft.propose(&worths, &mut play).map(|proposal| (proposal, script.records()))
        });
        let (proposal, played) = solved.await??;
        let mut known = seen;
        for worth in scored.worths.iter().filter(|worth| is_waiting(worth)) {
            known.remove(&worth.id);
        }
        let mut detail = report(&proposal);
        detail["llm"] = scored.detail;
        detail["sample"] = json!({ "records": came, "played_records": played, "patterns": facts.len() });
        let is_fit = proposal.is_best();
        let reason = reason(&proposal, trigger, &scored.worths, &actor.request_id);
        let version = self.keep(&proposal, &reason, now, actor).await?;
        let state = match is_fit {
            false => RunState::Refused,
            true => self.publish(version, &reason, &proposal.report, actor).await?,
        };
        let mut memory = self.memory.lock();
        memory.known = Some(known);
        if state == RunState::Published {
            let total = &proposal.report.total;
            memory.promised = Some(total.kept.bytes / total.received.bytes.max(1.0));
            memory.volume_then = self.traffic.volume();
        }
        drop(memory);
        Ok(Ended { state, version: Some(version), why: reason, detail })
    }

    /// Makes a script of the sample and plays it once.
    async fn look(&self, now: UnixNanos) -> Result<Looked, RunError> {
        let order = self.order(now);
        let (traffic, settings) = (Arc::clone(&self.traffic), self.settings.clone());
        let most = self.config.replay_records;
        let looked = tokio::task::spawn_blocking(move || {
            let (sample, catalogue) = (traffic.sample(), traffic.catalogue());
            let script = Script::new(&sample, &catalogue, &settings, most);
            let mut play = |policy, human| script.play(&settings, policy, human);
            let draft = Draft::begin(order, &settings, Some(&catalogue), &mut play)?;
            let ids = sample.strata.iter().filter_map(|of| Some(rule_id(&of.service, of.pattern?.0)));
            Ok::<_, ReplayError>(Looked { draft, script, came: sample.records(), seen: ids.collect() })
        });
        Ok(looked.await??)
    }

    fn order(&self, now: UnixNanos) -> Order {
        let view = self.mirror.view();
        let (own, people): (Vec<_>, Vec<_>) =
            view.active.iter().cloned().partition(|active| active.version.service == GENERATED);
        let mut human = self.traffic.policies();
        match serde_json::from_slice(&bundle(&people, None, None).body) {
            Ok(tree) => human.push(Document::from_value("policies in force", tree)),
            Err(error) => tracing::error!(%error, "the policies in force cannot be read"),
        }
        let config = &self.config;
        Order {
            budget: config.budget,
            service_budgets: config.service_budgets.iter().map(|(name, budget)| (name.clone(), *budget)).collect(),
            prices: self.prices.clone(),
            least_rate: config.least_rate,
            most_step: config.most_step,
            max_rules: config.max_rules,
            expires_at: now.saturating_add(config.expires_in.0.as_nanos() as u64),
            now,
            previous: own.first().map(|active| active.version.document.clone()),
            human,
        }
    }

    async fn score(&self, facts: &[crate::control_plane::generator::llm::PatternFacts]) -> Scored {
        let mut scorer = self.scorer.lock().await;
        let before = scorer.state().spend.clone();
        let worths = scorer.score(facts).await;
        let after = &scorer.state().spend;
        let dollars = after.dollars_since(&before);
        let models: BTreeSet<&str> = worths
            .iter()
            .filter_map(|worth| match &worth.origin {
                WorthOrigin::Model { model, .. } => Some(model.as_str()),
                WorthOrigin::Statistics(_) => None,
            })
            .collect();
        let status = scorer.status();
        let detail = json!({
            "models": models,
            "prompt": scorer.prompt(),
            "dollars": dollars,
            "tokens": after.tokens_since(&before),
            "health": status.health,
            "why": status.why,
            "asked": status.asked,
            "by_model": status.by_model,
            "by_statistics": status.by_statistics,
            "faults": status.faults,
        });
        self.book(&mut scorer).await;
        Scored { worths, detail }
    }

    /// Writes what a model cost into the store's books, also in a run that a crash ended. What the store does not take now
    /// goes with the next run's.
    async fn book(&self, scorer: &mut Scorer) {
        let whole = (1e6 * scorer.state().spend.unbooked_dollars).floor();
        if whole < 1.0 {
            return;
        }
        match self.store.book(BookAccount::LlmMicrodollars, whole as u64).await {
            Ok(()) => scorer.booked(whole / 1e6),
            Err(error) => tracing::warn!(%error, "what the language model cost is booked with the next run"),
        }
    }

    /// Stores the policy as a version.
    async fn keep(&self, proposal: &Proposal, reason: &str, now: UnixNanos, actor: &Actor) -> Result<i64, RunError> {
        let checked = check(&proposal.document, VersionOrigin::Generated, &self.limits, &[]).map_err(|violations| {
            let lines = violations.iter().take(3).map(|violation| format!("{}: {}", violation.path, violation.reason));
            RunError::Invalid(lines.collect::<Vec<_>>().join("; ") + " (generator.max_rules, api.max_policy_size)")
        })?;
        let expires_at = now.saturating_add(self.config.expires_in.0.as_nanos() as u64);
        let new = NewVersion {
            service: GENERATED.to_owned(),
            document: checked.document,
            policies: checked.policies,
            origin: VersionOrigin::Generated,
            reason: reason.to_owned(),
            expires_at: Some(Timestamp::of(expires_at)),
            parent: None,
        };
        Ok(self.store.create_version(&new, actor).await?.0.number)
    }
}

fn flags(candidate: &Candidate, last_run: Option<UnixNanos>, anomalous: &HashSet<(String, PatternId)>) -> Flags {
    Flags {
        is_new: last_run.is_some_and(|last| candidate.first > last),
        is_anomalous: anomalous.contains(&(candidate.service_name.to_string(), candidate.pattern)),
    }
}

/// Whether a pattern's turn before a model is yet to come.
fn is_waiting(worth: &Worth) -> bool {
    worth.origin == WorthOrigin::Statistics(WhyStatistics::Waiting)
}

/// The review, the totals, and the largest of what is told by pattern.
fn report(proposal: &Proposal) -> Value {
    let report = &proposal.report;
    json!({
        "rules": proposal.rules.len(),
        "feasible": proposal.is_feasible,
        "replays": proposal.replays,
        "findings": proposal.findings,
        "standing_bytes": proposal.standing,
        "allowed_bytes": proposal.allowed.total,
        "seconds": report.seconds,
        "kept_share": report.kept_share(),
        "total": report.total,
        "services": report.services.iter().take(10 * MAX_TOLD).collect::<std::collections::BTreeMap<_, _>>(),
        "severities": report.severities,
        "checks": report.checks,
        "patterns": &report.patterns[..report.patterns.len().min(MAX_TOLD)],
    })
}

/// One sentence for the version's history.
fn reason(proposal: &Proposal, trigger: Trigger, worths: &[Worth], run: &str) -> String {
    let by_model = worths.iter().filter(|worth| matches!(worth.origin, WorthOrigin::Model { .. })).count();
    let failed: Vec<String> = proposal
        .findings
        .iter()
        .filter(|finding| !finding.ok)
        .map(|finding| format!("{}: {}", finding.check, finding.detail))
        .collect();
    let review = match (failed.is_empty(), proposal.is_best()) {
        (true, _) => "passed its review".to_owned(),
        (false, true) => format!("as close to the budget as can be ({})", failed.join("; ")),
        (false, false) => format!("failed its review ({})", failed.join("; ")),
    };
    let text = format!(
        "{} rules send {:.1} % of the bytes; {review}; worth of {by_model} of {} patterns by a model; run {run} ({})",
        proposal.rules.len(),
        100.0 * proposal.report.kept_share(),
        worths.len(),
        trigger.label(),
    );
    let harmless: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=MAX_REASON_BYTES.min(harmless.len())).rev().find(|end| harmless.is_char_boundary(*end));
    harmless[..end.unwrap_or(0)].to_owned()
}
