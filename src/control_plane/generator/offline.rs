//! From recorded traffic to a reviewed policy, once.
//!
//! Purpose: patterns → worth → solver → document → replay, and again until the replay meets the budget. In two steps,
//! [`Draft::begin`] and [`Draft::propose`], so that somebody slow may say between them what patterns are worth.
//! Promises: what is returned as passed has been replayed as it stands, text and all; a budget that cannot be met says
//! what stands in the way; the number of replays is bounded; the same traffic and settings give the same document.
//! Never: publishes, or trusts the plan where a replay can tell.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::budget::Budget;
use super::candidates::{Candidate, Fixed, candidates};
use super::document::{self, Explained, Rule, explain};
use super::llm::{PatternFacts, WhyStatistics, Worth};
use super::plan::{Allowed, Plan, Share, Standing, Terms, plan};
use super::review::{BUDGET_CHECK, BUDGET_SLACK, Case, Finding, passes, review};
use super::solver::Binding;
use super::worth::statistical;
use crate::clock::UnixNanos;
use crate::control_plane::analysis::mining::Miner;
use crate::control_plane::insights::Prices;
use crate::control_plane::replay::{Outcome, Report, Settings};
use crate::data_plane::pattern::Catalogue;
use crate::data_plane::policy::{CompiledPolicy, Document};

/// Templates that are mined.
const MAX_MINED: usize = 200_000;
/// Replays that look for the budget at most.
const MAX_REPLAYS: usize = 5;
/// A pattern whose first record lies in this last share of the traffic counts as new.
const LATE_SHARE: f64 = 0.25;
/// A replay this close below its budget is good enough.
const GOOD_ENOUGH: f64 = 0.97;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Order {
    /// For everything.
    pub budget: Option<Budget>,
    /// For single services.
    pub service_budgets: Vec<(String, Budget)>,
    /// Prices, for budgets in money and for what is saved.
    pub prices: Prices,
    /// Lowest rate of a rule.
    pub least_rate: f64,
    /// With a document before: a rate may fall to this share of the one before at most.
    pub most_step: f64,
    /// Rules at most; the patterns that would save least keep everything.
    pub max_rules: usize,
    /// When the rules end.
    pub expires_at: UnixNanos,
    /// Now, to compile with.
    pub now: UnixNanos,
    /// The generated document before, if any.
    pub previous: Option<Value>,
    /// Policies of people.
    pub human: Vec<Document>,
}

/// A policy and what speaks for and against it.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The document.
    pub document: Value,
    /// The document as YAML, as it was reviewed.
    pub text: String,
    /// Its rules, read back.
    pub rules: Vec<Explained>,
    /// The review.
    pub findings: Vec<Finding>,
    /// The replay.
    pub report: Report,
    /// What is sent whatever the rates.
    pub standing: Standing,
    /// Bytes allowed.
    pub allowed: Allowed,
    /// Whether the limits can be met at all.
    pub is_feasible: bool,
    /// Replays made.
    pub replays: usize,
}

impl Proposal {
    /// Whether it may be published.
    pub fn passes(&self) -> bool {
        passes(&self.findings)
    }

    /// Whether it passes, or fails for a budget alone that nothing could meet now: it is then as close as can be.
    pub fn is_best(&self) -> bool {
        let mut failed = self.findings.iter().filter(|finding| !finding.ok);
        failed.all(|finding| finding.check == BUDGET_CHECK && !self.is_feasible)
    }
}

/// Runs a policy over the traffic; the second set holds the human policies alone.
pub type Replayer<'a, E> = dyn FnMut(CompiledPolicy, CompiledPolicy) -> Result<Outcome, E> + 'a;

/// What is known of a pattern beyond its counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Not seen before.
    pub is_new: bool,
    /// Named by the anomaly detection.
    pub is_anomalous: bool,
}

/// Makes a proposal with the worth that statistics give. `settings` are those that `replay` runs with.
///
/// # Errors
/// Those of `replay`.
pub fn propose<E>(order: &Order, settings: &Settings, replay: &mut Replayer<'_, E>) -> Result<Proposal, E> {
    let draft = Draft::begin(order.clone(), settings, None, replay)?;
    let facts = draft.facts(&|_| Flags::default());
    draft.propose(&statistics_alone(&facts), replay)
}

/// The worth of patterns when there is no model.
pub fn statistics_alone(facts: &[PatternFacts]) -> Vec<Worth> {
    facts.iter().map(|facts| Worth::by_statistics(facts, WhyStatistics::NoModel)).collect()
}

fn mine(outcome: &Outcome) -> Catalogue {
    let mut templates: Vec<&str> = outcome.profile.cells.values().map(|cell| &*cell.template).collect();
    templates.sort_unstable();
    templates.dedup();
    let mut miner = Miner::new(MAX_MINED);
    for template in templates {
        miner.insert(template);
    }
    miner.mine()
}

/// The patterns alone, as a document.
fn published(catalogue: &Catalogue) -> Document {
    Document::from_value("patterns", serde_json::json!({ "patterns": document::patterns(catalogue) }))
}

impl Order {
    /// The human policies, with a generated document beside them or alone.
    fn compile(&self, generated: &[Document]) -> CompiledPolicy {
        let mut documents = self.human.clone();
        documents.extend_from_slice(generated);
        CompiledPolicy::compile(&documents, self.now, None)
    }
}

/// Traffic that was looked at, before anybody said what its patterns are worth.
pub struct Draft {
    order: Order,
    catalogue: Catalogue,
    /// The catalogue is in force without the document.
    is_published: bool,
    candidates: Vec<Candidate>,
    fixed: Vec<Fixed>,
    before: Option<HashMap<(String, u64), f64>>,
    present: HashMap<(String, u64), f64>,
    terms: Terms,
    shared: Vec<f64>,
    services: Vec<String>,
    seconds: f64,
    /// From the first record to the last, gaps included.
    span_seconds: f64,
    money_per_byte: f64,
    allowed: Allowed,
}

/// The search for rates whose replay meets the budget.
struct Search<'a> {
    draft: &'a Draft,
    worths: &'a [Worth],
}

impl Draft {
    /// Looks at the traffic. `catalogue` is what is published already; without one patterns are mined. `settings` are those that `replay` runs
    /// with.
    ///
    /// # Errors
    /// Those of `replay`.
    pub fn begin<E>(
        order: Order,
        settings: &Settings,
        catalogue: Option<&Catalogue>,
        replay: &mut Replayer<'_, E>,
    ) -> Result<Draft, E> {
        let is_published = catalogue.is_some();
        let (base, catalogue) = match catalogue {
            Some(catalogue) => {
                let published = [published(catalogue)];
                (replay(order.compile(&published), order.compile(&published))?, catalogue.clone())
            }
            None => {
                let first = replay(order.compile(&[]), order.compile(&[]))?;
                let catalogue = mine(&first);
                let published = [published(&catalogue)];
                match catalogue.is_empty() {
                    true => (first, catalogue),
                    false => (replay(order.compile(&published), order.compile(&published))?, catalogue),
                }
            }
        };
        Ok(Draft { is_published, ..Draft::of(order, settings, &base, catalogue) })
    }

    fn of(order: Order, settings: &Settings, base: &Outcome, catalogue: Catalogue) -> Draft {
        let (candidates, fixed) = candidates(&base.profile, base.protect_from);
        let report = Report::of(base, &order.prices);
        let received = &report.total.received;
        let services: Vec<String> = base.profile.services.iter().map(|service| service.name.to_string()).collect();
        let shared = services.iter().zip(&base.profile.services).map(|(name, service)| {
            let billed = report.services.get(name).map_or(0.0, |totals| totals.received.bytes);
            ((billed - service.seen.bytes as f64) / service.seen.records.max(1) as f64).max(0.0)
        });
        let money_per_byte = report.total.month_before / received.bytes.max(1.0);
        let earlier = order.previous.as_ref().map(explain);
        let by_pattern = |value: fn(&Explained) -> Option<f64>| -> HashMap<(String, u64), f64> {
            let rules = earlier.iter().flatten();
            rules.filter_map(|rule| rule.pattern.clone().zip(value(rule))).collect()
        };
        Draft {
            catalogue,
            is_published: false,
            candidates,
            fixed,
            before: earlier.as_ref().map(|_| by_pattern(|rule| rule.rate)),
            present: by_pattern(|rule| rule.worth),
            terms: Terms {
                floor_records: f64::from(settings.sampler.floor_records),
                novelty_records: f64::from(settings.sampler.novelty_records),
                summaries: settings.sampler.summary.enabled,
                least_rate: order.least_rate,
                most_step: order.most_step,
            },
            shared: shared.collect(),
            seconds: report.seconds,
            span_seconds: base.profile.span_seconds(),
            money_per_byte,
            allowed: allowed(&order, &report, &services, money_per_byte),
            services,
            order,
        }
    }

    /// The patterns that may be sampled.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The patterns that may be sampled, for someone who says what they are worth.
    pub fn facts(&self, flags: &dyn Fn(&Candidate) -> Flags) -> Vec<PatternFacts> {
        let facts = |candidate: &Candidate| {
            let Flags { is_new, is_anomalous } = flags(candidate);
            let statistics = statistical(&candidate.evidence);
            PatternFacts {
                id: document::rule_id(&candidate.service_name, candidate.pattern.0),
                service: candidate.service_name.to_string(),
                template: candidate.template.clone(),
                examples: vec![candidate.example.clone()],
                attribute_keys: candidate.keys.iter().map(ToString::to_string).collect(),
                severity: candidate.evidence.band,
                records: candidate.free.records,
                bytes: candidate.free.bytes,
                is_new,
                is_anomalous,
                statistical: statistics.score,
                statistical_reason: statistics.reason,
                present: self.present.get(&(candidate.service_name.to_string(), candidate.pattern.0)).copied(),
            }
        };
        self.candidates.iter().map(facts).collect()
    }

    /// Whether a pattern was seen first in the last part of the traffic.
    pub fn is_late(&self, candidate: &Candidate) -> bool {
        let end = self.candidates.iter().map(|candidate| candidate.last).max().unwrap_or(0);
        candidate.first > end.saturating_sub((self.span_seconds * LATE_SHARE * 1e9) as u64)
    }

    /// The patterns that rules name.
    fn named(&self, rules: &[Rule<'_>]) -> Catalogue {
        let named: HashSet<_> = rules.iter().map(|rule| rule.candidate.pattern).collect();
        let patterns = self.catalogue.patterns().iter().filter(|pattern| named.contains(&pattern.id));
        Catalogue::new(patterns.cloned().collect())
    }

    /// Solves, writes and reviews, with one worth for each of [`Draft::facts`], in their order.
    ///
    /// # Errors
    /// Those of `replay`.
    pub fn propose<E>(&self, worths: &[Worth], replay: &mut Replayer<'_, E>) -> Result<Proposal, E> {
        Search { draft: self, worths }.run(replay)
    }
}

impl Search<'_> {
    fn run<E>(&self, replay: &mut Replayer<'_, E>) -> Result<Proposal, E> {
        let mut target = self.draft.allowed.clone();
        let mut best = self.attempt(&target, replay)?;
        let (mut fit, mut next) = self.next_target(&target, &best.report);
        let mut replays = 1;
        while !fit && best.is_feasible && replays < MAX_REPLAYS {
            target = next;
            let proposal = self.attempt(&target, replay)?;
            replays += 1;
            (fit, next) = self.next_target(&target, &proposal.report);
            if proposal.score() > best.score() {
                best = proposal;
            }
        }
        Ok(Proposal { replays, ..best })
    }

    /// Plans for `target`, writes the document and replays it.
    fn attempt<E>(&self, target: &Allowed, replay: &mut Replayer<'_, E>) -> Result<Proposal, E> {
        let plan = self.plan(target);
        let is_feasible = !self.plan(&self.draft.allowed).binding.iter().any(Binding::is_broken);
        let document = self.document(&plan.shares);
        // What is reviewed is the text that will be written, read back.
        let text = document::to_yaml(&document).unwrap_or_default();
        let written = Document::parse("generated", text.as_bytes()).unwrap_or_default();
        let patterns = published(&self.draft.catalogue);
        let mut beside = written.clone();
        beside.extend(self.draft.is_published.then(|| patterns.clone()));
        let human = self.draft.order.compile(&[patterns]);
        let outcome = replay(self.draft.order.compile(&beside), human)?;
        let report = Report::of(&outcome, &self.draft.order.prices);
        let compiled = CompiledPolicy::compile(&written, self.draft.order.now, None);
        Ok(self.proposal((document, text), &compiled, plan.standing, report, is_feasible))
    }

    fn plan(&self, allowed: &Allowed) -> Plan {
        let before = self.draft.before.as_ref().map_or(Vec::new(), |before| {
            let key = |c: &Candidate| (c.service_name.to_string(), c.pattern.0);
            self.draft.candidates.iter().map(|c| before.get(&key(c)).copied().unwrap_or(1.0)).collect()
        });
        plan(
            &self.draft.candidates,
            &self.draft.fixed,
            self.worths,
            &before,
            &self.draft.terms,
            allowed,
            &self.draft.shared,
        )
    }

    /// The document of the rules that drop something, most saved first.
    fn document(&self, shares: &[Share]) -> Value {
        let parts = self.draft.candidates.iter().zip(shares).zip(self.worths);
        let mut rules: Vec<Rule<'_>> = parts
            .filter(|((candidate, share), _)| share.rate < 1.0 && &*candidate.service_name != "_other")
            .map(|((candidate, share), worth)| Rule { candidate, share: *share, worth })
            .collect();
        rules.sort_by(|a, b| {
            let order = document::saved(b).total_cmp(&document::saved(a));
            order.then_with(|| {
                (a.candidate.service, a.candidate.pattern).cmp(&(b.candidate.service, b.candidate.pattern))
            })
        });
        rules.truncate(self.draft.order.max_rules);
        let terms = document::Terms {
            expires_at: self.draft.order.expires_at,
            seconds: self.draft.seconds,
            money_per_byte: self.draft.money_per_byte,
            prices: &self.draft.order.prices,
        };
        match self.draft.is_published {
            // A rule brings its own pattern along, so that it holds wherever the document goes.
            true => document::document(&rules, &terms, &self.draft.named(&rules)),
            false => document::document(&rules, &terms, &self.draft.catalogue),
        }
    }

    fn proposal(
        &self,
        (document, text): (Value, String),
        compiled: &CompiledPolicy,
        standing: Standing,
        report: Report,
        is_feasible: bool,
    ) -> Proposal {
        let rules = explain(&document);
        let known = self.draft.candidates.iter().map(|c| (c.service_name.to_string(), c.pattern.0)).collect();
        let case = Case {
            compiled,
            rules: &rules,
            before: self.draft.before.as_ref(),
            known: &known,
            report: &report,
            allowed: &self.draft.allowed,
            services: &self.draft.services,
            least_rate: self.draft.order.least_rate,
            most_step: self.draft.order.most_step,
        };
        let findings = review(&case);
        Proposal {
            rules,
            findings,
            report,
            standing,
            allowed: self.draft.allowed.clone(),
            is_feasible,
            replays: 1,
            document,
            text,
        }
    }

    /// Whether the replay is as close to the limits as can be; and limits for the solver that correct for how far it was
    /// off.
    fn next_target(&self, target: &Allowed, report: &Report) -> (bool, Allowed) {
        let sent = |totals: Option<&crate::control_plane::replay::Totals>| {
            totals.map_or(0.0, |totals| totals.kept.bytes + totals.summaries.bytes)
        };
        let mut fit = true;
        let mut correct = |target: Option<f64>, allowed: Option<f64>, sent: f64, received: f64| {
            let (target, allowed) = (target?, allowed?);
            let over = sent > allowed * (1.0 + BUDGET_SLACK / 2.0);
            let under = sent < allowed * GOOD_ENOUGH && sent < received * GOOD_ENOUGH;
            fit &= !over && !under;
            Some(if over || under { (target + allowed * 0.995 - sent).max(0.0) } else { target })
        };
        let all =
            correct(target.total, self.draft.allowed.total, sent(Some(&report.total)), report.total.received.bytes);
        let by_service = (0..self.draft.services.len()).map(|i| {
            let totals = report.services.get(&self.draft.services[i]);
            let get = |of: &Allowed| of.by_service.get(i).copied().flatten();
            // A service below its own limit may be held down by the limit for all: only too much is corrected.
            let received =
                if self.draft.allowed.total.is_some() { 0.0 } else { totals.map_or(0.0, |t| t.received.bytes) };
            correct(get(target), get(&self.draft.allowed), sent(totals), received)
        });
        let by_service = by_service.collect();
        (fit, Allowed { total: all, by_service })
    }
}

impl Proposal {
    /// Passing comes first, then the bytes that are put to use.
    fn score(&self) -> (bool, f64) {
        let sent = self.report.total.kept.bytes + self.report.total.summaries.bytes;
        let passes = self.passes();
        (passes, if passes { sent } else { -sent })
    }
}

fn allowed(order: &Order, report: &Report, services: &[String], money_per_byte: f64) -> Allowed {
    let received = report.total.received.bytes;
    let total = order.budget.map(|budget| budget.bytes(received, report.seconds, &order.prices));
    let of_service = |name: &String| {
        let budget = order.service_budgets.iter().find(|(service, _)| service == name)?.1;
        let received = report.services.get(name).map_or(0.0, |totals| totals.received.bytes);
        Some(match budget {
            // A service pays its share of the bill.
            Budget::Money(money, per) if money_per_byte > 0.0 => {
                let month = if per == super::budget::Per::Day {
                    money * crate::control_plane::insights::MONTH_DAYS
                } else {
                    money
                };
                month / money_per_byte
            }
            other => other.bytes(received, report.seconds, &order.prices),
        })
    };
    Allowed { total, by_service: services.iter().map(of_service).collect() }
}
