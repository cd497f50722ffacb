//! One round of scoring: patterns in, a worth for each out, whatever the model does.
//!
//! Purpose: ties context, providers, answers, bounds, cache and spending together. The caller runs it once a cycle.
//! Promises: always returns one worth per pattern, in order; no request but the one under way; within `round_timeout`,
//! the caps and `max_requests_per_round`; a model that fails, lies or is hijacked moves worths within `bounds` only, and
//! lowers none below statistics, or below what it has, unless a second request with other company confirms it.
//! Never: sets a rate; shows a model a text that `suspicion` finds suspicious.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::answer::Vote;
use super::bounds::{settle, unanswered};
use super::cache::{LlmState, Opinion};
use super::config::LlmConfig;
use super::context::{Line, choose, is_suspicious, line};
use super::facts::{Category, PatternFacts, WhyStatistics, Worth, WorthOrigin};
use super::interview::{Interview, Stop, apart, in_batches};
use super::journal::Journal;
use super::prompt::Prompts;
use super::provider::transport::Timer;
use super::provider::{FaultKind, Provider};
use super::spend::Caps;
use super::status::{LlmMetrics, LlmStatus};
use crate::clock::UnixNanos;

/// A provider is not asked again for this long after a failure that does not pass by itself.
const LONG_PAUSE: Duration = Duration::from_secs(15 * 60);
/// And this long after one that does.
const SHORT_PAUSE: Duration = Duration::from_secs(60);

/// A vote and whose it is.
struct Ballot {
    vote: Vote,
    provider: usize,
    /// No other pattern can have had a say in it, or a second request agrees.
    is_confirmed: bool,
}

/// What became of the patterns of a round that were asked for.
#[derive(Default)]
struct Votes {
    ballots: HashMap<usize, Ballot>,
    unconfirmed: Vec<usize>,
    stop: Option<Stop>,
}

/// Scores patterns by a chain of providers.
pub struct Scorer {
    config: LlmConfig,
    providers: Vec<Box<dyn Provider>>,
    paused_until: Vec<UnixNanos>,
    prompts: Prompts,
    timer: Arc<dyn Timer>,
    state: LlmState,
    state_file: Option<PathBuf>,
    journal: Journal,
    metrics: Arc<LlmMetrics>,
}

impl Scorer {
    /// A scorer that asks `providers` in order. Answers and spending begin with `state`.
    pub fn new(
        config: &LlmConfig,
        providers: Vec<Box<dyn Provider>>,
        prompts: Prompts,
        timer: Arc<dyn Timer>,
        state: LlmState,
    ) -> Scorer {
        Scorer {
            config: config.clone(),
            paused_until: vec![0; providers.len()],
            metrics: Arc::new(LlmMetrics::new(!providers.is_empty())),
            providers,
            prompts,
            timer,
            state,
            state_file: None,
            journal: Journal::default(),
        }
    }

    /// Keeps the state in a file from now on, and goes on from what a process that died in a round had spent.
    pub fn keep_in(&mut self, file: PathBuf) {
        self.journal = Journal::beside(&file);
        if let Some(spend) = self.journal.read().filter(|spend| spend.day >= self.state.spend.day) {
            self.state.spend = spend;
        }
        self.state_file = Some(file);
    }

    /// The store's books have so many dollars of what was spent.
    pub fn booked(&mut self, dollars: f64) {
        let unbooked = &mut self.state.spend.unbooked_dollars;
        *unbooked = (*unbooked - dollars).max(0.0);
        self.save();
    }

    fn save(&self) {
        let Some(file) = &self.state_file else { return };
        match self.state.save(file) {
            Ok(()) => self.journal.clear(),
            Err(error) => self.metrics.note(&error.to_string()),
        }
    }

    /// Answers and spending, for the store.
    pub fn state(&self) -> &LlmState {
        &self.state
    }

    /// Hash of the prompts.
    pub fn prompt(&self) -> &str {
        self.prompts.version()
    }

    /// Numbers for `/metrics`, and the status for the API; shared, and valid while rounds go on.
    pub fn metrics(&self) -> Arc<LlmMetrics> {
        Arc::clone(&self.metrics)
    }

    /// How the last round went.
    pub fn status(&self) -> LlmStatus {
        self.metrics.status()
    }

    /// Scores patterns. Without a working provider every worth is statistical or cached; it never fails.
    pub async fn score(&mut self, patterns: &[PatternFacts]) -> Vec<Worth> {
        let started = self.timer.now();
        self.state.spend.roll(started);
        self.metrics.begin(started);
        if self.providers.is_empty() {
            let why = Some(WhyStatistics::NoModel);
            let worths: Vec<Worth> = patterns.iter().map(|facts| self.worth(facts, why)).collect();
            self.metrics.end(&worths, 0, &self.state.spend, None);
            return worths;
        }
        let mut lines = Vec::new();
        let mut suspicious = vec![false; patterns.len()];
        for (index, facts) in patterns.iter().enumerate() {
            if is_suspicious(facts) {
                suspicious[index] = true;
                self.state.opinions.remove(&facts.id);
            } else {
                let opinion = self.state.opinions.get(&facts.id);
                lines.push(line(index, facts, opinion, self.prompts.version(), &self.config.redact));
            }
        }
        let by_index: HashMap<usize, &Line> = lines.iter().map(|line| (line.index, line)).collect();
        let chosen = choose(patterns, &lines, &self.state.opinions, &self.config.limits, started);
        let asked: Vec<&Line> = chosen.iter().filter_map(|index| by_index.get(index).copied()).collect();
        let votes = self.ask(patterns, &asked, started).await;
        self.remember(patterns, &by_index, &votes);

        let why = |index: usize| {
            if suspicious[index] {
                WhyStatistics::Suspicious
            } else if votes.unconfirmed.contains(&index) {
                WhyStatistics::Unconfirmed
            } else if !chosen.contains(&index) {
                WhyStatistics::Waiting
            } else {
                match votes.stop {
                    Some(Stop::Capped) => WhyStatistics::Capped,
                    Some(Stop::OutOfTime | Stop::OutOfRequests) => WhyStatistics::Waiting,
                    None => WhyStatistics::Unanswered,
                }
            }
        };
        let worth = |(index, facts): (usize, &PatternFacts)| {
            let heard = self.state.opinions.get(&facts.id).is_some();
            self.worth(facts, if heard { None } else { Some(why(index)) })
        };
        let worths: Vec<Worth> = patterns.iter().enumerate().map(worth).collect();
        self.metrics.end(&worths, asked.len(), &self.state.spend, votes.stop);
        self.save();
        worths
    }

    /// Goes down the chain until everything asked has a vote or everybody failed.
    async fn ask(&mut self, patterns: &[PatternFacts], asked: &[&Line], started: UnixNanos) -> Votes {
        let mut votes = Votes::default();
        let mut open: Vec<&Line> = asked.to_vec();
        let mut requests_left = self.config.limits.max_requests_per_round;
        let deadline = started.saturating_add(self.config.limits.round_timeout.0.as_nanos() as u64);
        let caps = Caps { tokens: self.config.limits.max_tokens_per_day, dollars: self.config.limits.max_cost_per_day };
        for index in 0..self.providers.len() {
            if open.is_empty() || self.paused_until[index] > self.timer.now() {
                continue;
            }
            let mut interview = Interview {
                provider: &*self.providers[index],
                prompts: &self.prompts,
                timer: &*self.timer,
                metrics: &self.metrics,
                spend: &mut self.state.spend,
                journal: &self.journal,
                requests_left: &mut requests_left,
                caps,
                deadline,
            };
            let first = interview.ask(in_batches(&open, &*self.providers[index], &self.config.limits)).await;
            let lowered: Vec<_> = first
                .votes
                .iter()
                .filter(|cast| cast.company > 1 && f64::from(cast.vote.score) < patterns[cast.index].baseline())
                .collect();
            let second = match first.has_ended() || lowered.is_empty() {
                true => None,
                false => Some(interview.ask(apart(&lowered, asked, &self.config.limits)).await),
            };
            let fault = second.as_ref().and_then(|second| second.gave_up.clone()).or_else(|| first.gave_up.clone());
            votes.stop = second.as_ref().map_or(first.stop, |second| second.stop);
            let unconfirmed: Vec<usize> = lowered.iter().map(|cast| cast.index).collect();
            let opinions = second.map(|second| second.votes).unwrap_or_default();
            for cast in first.votes {
                let (vote, is_confirmed) = match opinions.iter().find(|other| other.index == cast.index) {
                    // Who says more is right: a text that lowers its company is in one of the two requests only.
                    Some(other) if other.vote.score > cast.vote.score => (other.vote.clone(), true),
                    Some(_) => (cast.vote, true),
                    None if unconfirmed.contains(&cast.index) => {
                        votes.unconfirmed.push(cast.index);
                        continue;
                    }
                    None => (cast.vote, cast.company == 1),
                };
                votes.ballots.insert(cast.index, Ballot { vote, provider: index, is_confirmed });
            }
            open.retain(|line| !votes.ballots.contains_key(&line.index) && !votes.unconfirmed.contains(&line.index));
            if let Some(fault) = fault {
                let pause = match fault.kind {
                    FaultKind::Unauthorized | FaultKind::Quota | FaultKind::NotFound | FaultKind::BadRequest => {
                        LONG_PAUSE
                    }
                    _ => fault.after.unwrap_or(SHORT_PAUSE).clamp(SHORT_PAUSE, LONG_PAUSE),
                };
                self.paused_until[index] = self.timer.now().saturating_add(pause.as_nanos() as u64);
            }
            if votes.stop.is_some_and(|stop| stop != Stop::Capped) {
                break;
            }
        }
        votes
    }

    fn remember(&mut self, patterns: &[PatternFacts], lines: &HashMap<usize, &Line>, votes: &Votes) {
        let now = self.timer.now();
        for (index, ballot) in &votes.ballots {
            let Some(line) = lines.get(index) else { continue };
            let provider = &self.providers[ballot.provider];
            let opinion = Opinion {
                score: ballot.vote.score,
                is_confirmed: ballot.is_confirmed,
                category: ballot.vote.category,
                reason: ballot.vote.reason.clone(),
                provider: provider.name().to_owned(),
                model: provider.model().to_owned(),
                prompt: self.prompts.version().to_owned(),
                fingerprint: line.fingerprint.clone(),
                scored_at: now,
            };
            self.state.opinions.put(&patterns[*index].id, opinion);
        }
        self.state.opinions.shrink(self.config.limits.max_answers);
    }

    /// The worth by the cached answer, or by statistics for the reason given.
    fn worth(&self, facts: &PatternFacts, why: Option<WhyStatistics>) -> Worth {
        let opinion = self.state.opinions.get(&facts.id).filter(|_| why.is_none());
        let Some(opinion) = opinion else {
            return Worth {
                id: facts.id.clone(),
                score: unanswered(facts, &self.config.bounds),
                category: Category::Other,
                reason: facts.statistical_reason.clone(),
                origin: WorthOrigin::Statistics(why.unwrap_or(WhyStatistics::Unanswered)),
            };
        };
        let vote = f64::from(opinion.score);
        // Statistics may have risen above an answer that nobody had to confirm at its time.
        let vote = if opinion.is_confirmed { vote } else { vote.max(facts.statistical_worth()) };
        Worth {
            id: facts.id.clone(),
            score: settle(vote, facts, &self.config.bounds),
            category: opinion.category,
            reason: opinion.reason.clone(),
            origin: WorthOrigin::Model { provider: opinion.provider.clone(), model: opinion.model.clone() },
        }
    }
}
