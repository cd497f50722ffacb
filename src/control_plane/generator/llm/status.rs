//! How scoring goes, for people and for `/metrics`.
//!
//! Purpose: counters over the process's life, and a status that says why worth is what it is.
//! Promises: labels come from the configuration and from enums, never from a log or a model; errors in the status are
//! harmless and bounded.
//! Never: decides anything.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::Serialize;

use super::answer::Discarded;
use super::facts::{WhyStatistics, Worth, WorthOrigin};
use super::interview::Stop;
use super::provider::Fault;
use super::spend::{Spend, Tokens};
use crate::clock::UnixNanos;
use crate::telemetry::{MetricSink, MetricSource};

/// In a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LlmHealth {
    /// No provider is configured.
    #[default]
    Off,
    /// Everything asked was answered, or nothing had to be asked.
    Ok,
    /// Some of what was asked has no answer.
    Degraded,
    /// The day's caps are reached.
    Capped,
    /// Nothing was answered.
    Down,
}

impl LlmHealth {
    const ALL: [(LlmHealth, &'static str); 5] = [
        (LlmHealth::Off, "off"),
        (LlmHealth::Ok, "ok"),
        (LlmHealth::Degraded, "degraded"),
        (LlmHealth::Capped, "capped"),
        (LlmHealth::Down, "down"),
    ];
}

/// How the last round went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LlmStatus {
    /// In a word.
    pub health: LlmHealth,
    /// Why, for people.
    pub why: String,
    /// When the last round began.
    pub round_at: UnixNanos,
    /// Patterns of the last round.
    pub patterns: usize,
    /// Of them, put before a model.
    pub asked: usize,
    /// Of them, with a worth by a model's answer, present or earlier.
    pub by_model: usize,
    /// Of them, with a worth by statistics, and why.
    pub by_statistics: BTreeMap<&'static str, usize>,
    /// The latest failure of each provider, in the last round or before: name, words, time.
    pub faults: BTreeMap<String, LlmFault>,
    /// The day's spending.
    pub spend: Spend,
}

/// A provider's latest failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LlmFault {
    /// Kind, as in metrics.
    pub kind: &'static str,
    /// Harmless words.
    pub why: String,
    /// When.
    pub at: UnixNanos,
}

#[derive(Default)]
struct Numbers {
    status: LlmStatus,
    is_on: bool,
    answered: u64,
    requests: BTreeMap<(String, &'static str), u64>,
    tokens: Tokens,
    dollars: f64,
    discarded: BTreeMap<&'static str, u64>,
    rounds: u64,
}

/// Numbers of one scorer.
#[derive(Default)]
pub struct LlmMetrics {
    numbers: Mutex<Numbers>,
}

impl LlmMetrics {
    /// No numbers yet. `is_on` when there is a provider.
    pub fn new(is_on: bool) -> Self {
        let health = if is_on { LlmHealth::Ok } else { LlmHealth::Off };
        let why = if is_on { "no round yet" } else { "no provider is configured" };
        let status = LlmStatus { health, why: why.to_owned(), ..LlmStatus::default() };
        LlmMetrics { numbers: Mutex::new(Numbers { status, is_on, ..Numbers::default() }) }
    }

    /// How the last round went.
    pub fn status(&self) -> LlmStatus {
        self.numbers.lock().status.clone()
    }

    pub(super) fn begin(&self, now: UnixNanos) {
        let mut numbers = self.numbers.lock();
        numbers.status.round_at = now;
        numbers.answered = 0;
        numbers.rounds += 1;
    }

    pub(super) fn request(&self, provider: &str, outcome: &'static str) {
        let mut numbers = self.numbers.lock();
        numbers.answered += u64::from(outcome == "ok");
        *numbers.requests.entry((provider.to_owned(), outcome)).or_default() += 1;
    }

    pub(super) fn fault(&self, provider: &str, fault: &Fault, at: UnixNanos) {
        let fault = LlmFault { kind: fault.kind.label(), why: fault.why.clone(), at };
        self.numbers.lock().status.faults.insert(provider.to_owned(), fault);
    }

    pub(super) fn tokens(&self, tokens: Tokens, dollars: f64) {
        let mut numbers = self.numbers.lock();
        numbers.tokens.input = numbers.tokens.input.saturating_add(tokens.input);
        numbers.tokens.output = numbers.tokens.output.saturating_add(tokens.output);
        numbers.dollars += dollars;
    }

    pub(super) fn discarded(&self, discarded: Discarded) {
        let mut numbers = self.numbers.lock();
        for (reason, count) in discarded.by_reason() {
            *numbers.discarded.entry(reason).or_default() += count;
        }
    }

    pub(super) fn note(&self, text: &str) {
        let mut numbers = self.numbers.lock();
        numbers.status.why = format!("{}; {text}", numbers.status.why);
    }

    pub(super) fn end(&self, worths: &[Worth], asked: usize, spend: &Spend, stop: Option<Stop>) {
        let mut numbers = self.numbers.lock();
        let mut by_statistics: BTreeMap<&'static str, usize> = BTreeMap::new();
        for worth in worths {
            if let WorthOrigin::Statistics(why) = &worth.origin {
                *by_statistics.entry(why.label()).or_default() += 1;
            }
        }
        let count = |why: WhyStatistics| by_statistics.get(why.label()).copied().unwrap_or(0);
        let open = count(WhyStatistics::Unanswered) + count(WhyStatistics::Unconfirmed);
        let (health, why) = match stop {
            _ if !numbers.is_on => (LlmHealth::Off, "no provider is configured".to_owned()),
            Some(Stop::Capped) => (LlmHealth::Capped, "the day's tokens or money are spent".to_owned()),
            _ if asked > 0 && numbers.answered == 0 => {
                (LlmHealth::Down, "no provider answered: worth is by statistics and earlier answers".to_owned())
            }
            Some(Stop::OutOfTime) => (LlmHealth::Degraded, "the round ran out of time; the rest comes next".to_owned()),
            Some(Stop::OutOfRequests) => {
                (LlmHealth::Degraded, "the round ran out of requests; the rest comes next".to_owned())
            }
            None if open > 0 => (LlmHealth::Degraded, format!("{open} patterns have no usable answer")),
            None => (LlmHealth::Ok, "everything asked was answered".to_owned()),
        };
        let by_model = worths.len() - by_statistics.values().sum::<usize>();
        let status = &mut numbers.status;
        (status.health, status.why) = (health, why);
        (status.patterns, status.asked, status.by_model) = (worths.len(), asked, by_model);
        status.by_statistics = by_statistics;
        status.spend = spend.clone();
    }
}

impl MetricSource for LlmMetrics {
    fn collect(&self, out: &mut dyn MetricSink) {
        let numbers = self.numbers.lock();
        let status = &numbers.status;
        for (health, name) in LlmHealth::ALL {
            let help = "1 for how scoring by a language model stands.";
            out.gauge("lipservice_llm_health", help, &[("health", name)], f64::from(health == status.health));
        }
        out.counter("lipservice_llm_rounds", "Rounds of scoring.", &[], numbers.rounds);
        for ((provider, outcome), count) in &numbers.requests {
            let labels = [("provider", provider.as_str()), ("outcome", *outcome)];
            out.counter("lipservice_llm_requests", "Requests to language models by outcome.", &labels, *count);
        }
        for (kind, count) in [("input", numbers.tokens.input), ("output", numbers.tokens.output)] {
            out.counter(
                "lipservice_llm_tokens",
                "Tokens booked, where unknown the worst case.",
                &[("kind", kind)],
                count,
            );
        }
        let micros = (numbers.dollars * 1e6) as u64;
        out.counter("lipservice_llm_cost_microdollars", "Money booked, in millionths of a US dollar.", &[], micros);
        let help = "US dollars booked in the present UTC day.";
        out.gauge("lipservice_llm_cost_today_dollars", help, &[], status.spend.dollars);
        for (reason, count) in &numbers.discarded {
            let help = "Entries of answers that counted for nothing.";
            out.counter("lipservice_llm_discarded_scores", help, &[("reason", reason)], *count);
        }
        let help = "Patterns of the last round by where their worth comes from.";
        out.gauge("lipservice_llm_patterns", help, &[("origin", "model")], status.by_model as f64);
        for why in WhyStatistics::ALL {
            let count = status.by_statistics.get(why.label()).copied().unwrap_or(0);
            out.gauge("lipservice_llm_patterns", help, &[("origin", why.label())], count as f64);
        }
    }
}
