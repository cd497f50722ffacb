//! Asking one provider about many patterns.
//!
//! Purpose: requests one after the other; smaller ones where a larger one failed; second opinions.
//! Promises: each request is checked against caps, deadline and the model's context before it is sent, and booked
//! after; a request that was cut, refused, not understood or too slow is halved, down to one pattern; after three
//! failures in a row, or one that does not pass, the provider is given up. Batches are split, never merged.
//!
//! Second opinions: [`apart`] puts a pattern that was scored low into a second request that shares no other pattern with
//! its first. A hostile text, even one that the model obeys to the letter, sits in one of the two at most, and the higher
//! of the two scores counts: so one text cannot lower another pattern. Two texts that meet a victim in both could.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::answer::{Vote, expected_tokens, read, schema};
use super::config::LlmLimitsConfig;
use super::context::{Line, batches};
use super::journal::Journal;
use super::prompt::Prompts;
use super::provider::client::worst_case;
use super::provider::transport::Timer;
use super::provider::{Fault, FaultKind, Outcome, Provider, Question};
use super::spend::{Caps, Spend};
use super::status::LlmMetrics;
use crate::clock::UnixNanos;

/// Failures in a row after which a provider is given up for the round.
const MAX_FAILURES: u32 = 3;

/// Why a round ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The day's tokens or money are spent.
    Capped,
    /// `round_timeout`.
    OutOfTime,
    /// `max_requests_per_round`.
    OutOfRequests,
}

/// A vote as it was cast.
#[derive(Clone, Debug)]
pub struct Cast {
    /// Place of the pattern in the round.
    pub index: usize,
    /// What was answered.
    pub vote: Vote,
    /// Number of the request.
    pub request: usize,
    /// Patterns in that request.
    pub company: usize,
}

/// What an interview brought.
#[derive(Debug, Default)]
pub struct Transcript {
    /// Votes, each pattern at most once.
    pub votes: Vec<Cast>,
    /// Why the provider was given up.
    pub gave_up: Option<Fault>,
    /// Why the round ends.
    pub stop: Option<Stop>,
}

impl Transcript {
    /// Whether this provider is not to be asked further.
    pub fn has_ended(&self) -> bool {
        self.gave_up.is_some() || self.stop.is_some()
    }
}

/// A provider under questioning.
pub struct Interview<'a> {
    /// Who.
    pub provider: &'a dyn Provider,
    /// In which words.
    pub prompts: &'a Prompts,
    /// Time.
    pub timer: &'a dyn Timer,
    /// Counts.
    pub metrics: &'a LlmMetrics,
    /// The day's spending.
    pub spend: &'a mut Spend,
    /// Where spending is written down before it is.
    pub(super) journal: &'a Journal,
    /// Requests left in the round.
    pub requests_left: &'a mut usize,
    /// Caps of the day.
    pub caps: Caps,
    /// End of the round.
    pub deadline: UnixNanos,
}

impl Interview<'_> {
    /// Asks about every batch.
    pub async fn ask(&mut self, batches: Vec<Vec<&Line>>) -> Transcript {
        let mut transcript = Transcript::default();
        let mut queue = VecDeque::from(batches);
        let (mut failures, mut request, mut largest) = (0, 0, usize::MAX);
        while let Some(batch) = queue.pop_front() {
            if batch.len() > largest {
                split(batch, largest, &mut queue);
                continue;
            }
            let question = match self.question(&batch) {
                Ok(question) => question,
                Err(fault) => {
                    transcript.gave_up = Some(fault);
                    break;
                }
            };
            let worst = worst_case(&question);
            if worst.input.saturating_add(worst.output) > self.provider.context_tokens() {
                self.metrics.request(self.provider.name(), "too_large");
                split(batch.clone(), batch.len() / 2, &mut queue);
                continue;
            }
            transcript.stop = self.stop(worst);
            if transcript.stop.is_some() {
                break;
            }
            let outcome = self.send(&question).await;
            request += 1;
            let fault = match self.votes(outcome, &batch, request) {
                Ok(votes) => {
                    transcript.votes.extend(votes);
                    failures = 0;
                    continue;
                }
                Err(fault) => fault,
            };
            let harmless = matches!(fault.kind, FaultKind::Truncated | FaultKind::ContextOverflow | FaultKind::Refused);
            failures += u32::from(!harmless);
            if !fault.kind.asks_for_less() || failures >= MAX_FAILURES {
                transcript.gave_up = Some(fault);
                break;
            }
            // A refusal is about a text in the batch, the rest is about its size.
            if fault.kind != FaultKind::Refused {
                largest = (batch.len() / 2).max(1);
            }
            split(batch.clone(), batch.len() / 2, &mut queue);
        }
        transcript
    }

    fn question(&self, batch: &[&Line]) -> Result<Question, Fault> {
        let detail = self.provider.detail();
        let lines: Vec<String> = batch.iter().enumerate().map(|(at, line)| line.text(at + 1)).collect();
        let fault = |error: super::prompt::PromptError| Fault::new(FaultKind::BadRequest, &error.to_string());
        Ok(Question {
            system: self.prompts.system(detail).map_err(fault)?,
            user: self.prompts.patterns(&lines, detail).map_err(fault)?,
            schema: schema(detail, batch.len()),
            max_output_tokens: expected_tokens(detail, batch.len()).min(self.provider.max_output_tokens()),
        })
    }

    fn stop(&self, worst: super::spend::Tokens) -> Option<Stop> {
        if *self.requests_left == 0 {
            Some(Stop::OutOfRequests)
        } else if self.timer.now() >= self.deadline {
            Some(Stop::OutOfTime)
        } else if !self.spend.allows(worst, self.provider.prices(), self.caps) {
            Some(Stop::Capped)
        } else {
            None
        }
    }

    async fn send(&mut self, question: &Question) -> Outcome {
        *self.requests_left -= 1;
        let before = self.spend.clone();
        let worst = worst_case(question);
        self.spend.roll(self.timer.now());
        self.spend.book(worst, self.provider.prices());
        if let Err(error) = self.journal.write(self.spend) {
            self.metrics.note(&format!("what a request may cost cannot be written down: {error}"));
        }
        let left = Duration::from_nanos(self.deadline.saturating_sub(self.timer.now()));
        let outcome = tokio::select! {
            biased;
            outcome = self.provider.ask(question) => outcome,
            () = self.timer.sleep(left) => Outcome {
                answer: Err(Fault::new(FaultKind::Timeout, "the round ended before the answer came")),
                spent: worst,
            },
        };
        *self.spend = before;
        self.spend.roll(self.timer.now());
        self.spend.book(outcome.spent, self.provider.prices());
        self.metrics.tokens(outcome.spent, self.provider.prices().cost(outcome.spent));
        outcome
    }

    fn votes(&self, outcome: Outcome, batch: &[&Line], request: usize) -> Result<Vec<Cast>, Fault> {
        let name = self.provider.name();
        let answer = outcome.answer.and_then(|text| {
            let answer = read(&text, self.provider.detail(), batch.len());
            let answer = answer.ok_or_else(|| Fault::new(FaultKind::Garbage, "an answer of another form"))?;
            self.metrics.discarded(answer.discarded);
            match answer.votes.iter().any(Option::is_some) {
                true => Ok(answer),
                false => Err(Fault::new(FaultKind::Garbage, "an answer without one usable score")),
            }
        });
        match answer {
            Err(fault) => {
                self.metrics.request(name, fault.kind.label());
                self.metrics.fault(name, &fault, self.timer.now());
                Err(fault)
            }
            Ok(answer) => {
                self.metrics.request(name, "ok");
                let company = batch.len();
                let cast = |(line, vote): (&&Line, Option<Vote>)| {
                    Some(Cast { index: line.index, vote: vote?, request, company })
                };
                Ok(batch.iter().zip(answer.votes).filter_map(cast).collect())
            }
        }
    }
}

/// Puts the parts of a batch, each of at most `size`, first in the queue; one pattern alone is not split, but left out.
fn split<'a>(batch: Vec<&'a Line>, size: usize, queue: &mut VecDeque<Vec<&'a Line>>) {
    if batch.len() > 1 {
        for part in batch.chunks(size.max(1)).rev() {
            queue.push_front(part.to_vec());
        }
    }
}

/// First requests, by the limits and the provider's context.
pub fn in_batches<'a>(lines: &[&'a Line], provider: &dyn Provider, limits: &LlmLimitsConfig) -> Vec<Vec<&'a Line>> {
    let tokens = limits.max_request_tokens.min(provider.context_tokens() / 2);
    batches(lines.to_vec(), limits.batch_size.max(1), tokens)
}

/// Second requests: no two patterns that shared a first request share a second one.
pub fn apart<'a>(casts: &[&Cast], lines: &[&'a Line], limits: &LlmLimitsConfig) -> Vec<Vec<&'a Line>> {
    let by_index: BTreeMap<usize, &'a Line> = lines.iter().map(|line| (line.index, *line)).collect();
    let mut groups: BTreeMap<usize, VecDeque<&'a Line>> = BTreeMap::new();
    for cast in casts {
        if let Some(line) = by_index.get(&cast.index) {
            groups.entry(cast.request).or_default().push_back(line);
        }
    }
    let mut result = Vec::new();
    while groups.values().any(|group| !group.is_empty()) {
        let row: Vec<&Line> = groups.values_mut().filter_map(VecDeque::pop_front).collect();
        result.extend(batches(row, limits.batch_size.max(1), limits.max_request_tokens));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::super::config::RedactConfig;
    use super::super::context::line;
    use super::super::facts::{Category, PatternFacts};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn who_shared_a_request_does_not_share_another(
            requests in proptest::collection::vec(0usize..6, 0..60), size in 1usize..8,
        ) {
            let facts = PatternFacts { template: "x".into(), ..PatternFacts::default() };
            let lines: Vec<Line> =
                (0..requests.len()).map(|at| line(at, &facts, None, "", &RedactConfig::default())).collect();
            let vote = Vote { score: 0, category: Category::Other, reason: String::new() };
            let casts: Vec<Cast> = requests
                .iter()
                .enumerate()
                .map(|(index, request)| Cast { index, vote: vote.clone(), request: *request, company: 2 })
                .collect();
            let limits = LlmLimitsConfig { batch_size: size, ..LlmLimitsConfig::default() };
            let batches = apart(&casts.iter().collect::<Vec<_>>(), &lines.iter().collect::<Vec<_>>(), &limits);
            let mut seen: Vec<usize> = batches.iter().flatten().map(|line| line.index).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..requests.len()).collect::<Vec<_>>());
            for batch in &batches {
                prop_assert!(batch.len() <= size);
                let mut of: Vec<usize> = batch.iter().map(|line| requests[line.index]).collect();
                of.sort_unstable();
                of.dedup();
                prop_assert_eq!(of.len(), batch.len());
            }
        }
    }
}
