//! What a model gets to see: which patterns, in which words.
//!
//! Purpose: choose under limits, and write each pattern as one line of JSON with masked, quoted, bounded texts.
//! Promises: pure; the same patterns and answers give the same choice, in any order of input; a pattern whose context
//! has not changed is not chosen until its answer is old; a suspicious one never is. New, anomalous and long-waiting
//! patterns have their own share, so that none of them can crowd out the rest.
//! Never: writes a value that was not masked, or an identifier of the pattern: lines go by ordinals.

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::cache::{Opinion, Opinions};
use super::config::{LlmLimitsConfig, RedactConfig};
use super::facts::PatternFacts;
use super::quote::{mask_and_quote, quote_name};
use super::suspicion::any_suspicious;
use crate::clock::UnixNanos;

const MAX_TEXT_CHARS: usize = 240;
const MAX_NAME_CHARS: usize = 48;
const MAX_REASON_CHARS: usize = 120;
const MAX_EXAMPLES: usize = 2;
const MAX_KEYS: usize = 8;
/// Texts of one pattern that are looked at; a caller with more has a bug, not a log.
const MAX_TEXTS: usize = 64;

/// A pattern as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Place among the patterns of the round.
    pub index: usize,
    /// Changes when what is shown changes enough to ask again.
    pub fingerprint: String,
    fields: Map<String, Value>,
}

impl Line {
    /// The line with its ordinal, from 1.
    pub fn text(&self, ordinal: usize) -> String {
        let mut fields = Map::new();
        fields.insert("n".into(), json!(ordinal));
        fields.extend(self.fields.clone());
        Value::Object(fields).to_string()
    }

    /// Tokens the line takes, estimated.
    pub fn tokens(&self) -> u64 {
        estimate_tokens(&self.text(10))
    }
}

/// A cautious estimate: three ASCII characters make a token, and each other one makes two.
pub fn estimate_tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let other = text.chars().filter(|c| !c.is_ascii()).count() as u64;
    ascii.div_ceil(3) + 2 * other
}

/// Whether any text of a pattern tries to instruct.
pub fn is_suspicious(facts: &PatternFacts) -> bool {
    let texts = [&facts.service, &facts.template].into_iter().chain(&facts.examples).chain(&facts.attribute_keys);
    any_suspicious(texts.take(MAX_TEXTS).map(String::as_str))
}

/// Writes a pattern down. `prompt` is the version of the prompts: other prompts are another context.
pub fn line(
    index: usize,
    facts: &PatternFacts,
    opinion: Option<&Opinion>,
    prompt: &str,
    redaction: &RedactConfig,
) -> Line {
    let text = |text: &String| mask_and_quote(text, redaction, MAX_TEXT_CHARS);
    let template = text(&facts.template);
    let mut examples: Vec<String> = facts.examples.iter().take(MAX_EXAMPLES).map(text).collect();
    examples.retain(|example| *example != template && !example.is_empty());
    examples.dedup();
    let keys: Vec<String> =
        facts.attribute_keys.iter().take(MAX_KEYS).map(|key| mask_and_quote(key, redaction, MAX_NAME_CHARS)).collect();
    let service = quote_name(&facts.service, redaction, MAX_NAME_CHARS);
    let severity = facts.severity.as_str();

    let mut hash = Sha256::new();
    // A count that grew less than fourfold tells a model nothing new.
    let magnitude = facts.records.max(1).ilog2() / 2;
    for part in [prompt, &service, &template, severity, &magnitude.to_string(), &facts.is_anomalous.to_string()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let fingerprint = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();

    let mut fields = Map::new();
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("service", json!(service));
    put("severity", json!(severity));
    put("records", json!(facts.records));
    put("bytes", json!(facts.bytes));
    if facts.is_new {
        put("new", json!(true));
    }
    if facts.is_anomalous {
        put("anomalous", json!(true));
    }
    let present = facts.present.unwrap_or(facts.statistical_worth());
    put("present", json!((present * 10.0).round() / 10.0));
    // A reason that a model wrote may carry what a log made it say.
    let reason = opinion.map_or(facts.statistical_reason.as_str(), |opinion| opinion.reason.as_str());
    if !reason.is_empty() && !super::suspicion::is_suspicious(reason) {
        put("because", json!(quote_name(reason, redaction, MAX_REASON_CHARS)));
    }
    put("template", json!(template));
    if !examples.is_empty() {
        put("examples", json!(examples));
    }
    if !keys.is_empty() {
        put("attributes", json!(keys));
    }
    Line { index, fingerprint, fields }
}

/// Whose turn it is, by index; `lines` holds what may be shown. Most important first.
pub fn choose(
    patterns: &[PatternFacts],
    lines: &[Line],
    opinions: &Opinions,
    limits: &LlmLimitsConfig,
    now: UnixNanos,
) -> Vec<usize> {
    let scored_at = |line: &Line| opinions.get(&patterns[line.index].id).map(|opinion| opinion.scored_at);
    let mut due: Vec<&Line> = lines
        .iter()
        .filter(|line| match opinions.get(&patterns[line.index].id) {
            Some(opinion) => {
                let age = now.saturating_sub(opinion.scored_at);
                opinion.fingerprint != line.fingerprint || u128::from(age) > limits.rescore_after.0.as_nanos()
            }
            None => true,
        })
        .collect();
    let facts = |line: &&&Line| &patterns[line.index];
    due.sort_by(|a, b| {
        let (a, b) = (&patterns[a.index], &patterns[b.index]);
        b.bytes.cmp(&a.bytes).then_with(|| a.id.cmp(&b.id))
    });
    let by_bytes: Vec<&Line> = due.clone();
    let new: Vec<&Line> = due.iter().filter(|line| facts(line).is_new).copied().collect();
    let anomalous: Vec<&Line> = due.iter().filter(|line| facts(line).is_anomalous).copied().collect();
    let mut oldest: Vec<&Line> = due.iter().filter(|line| scored_at(line).is_some()).copied().collect();
    oldest.sort_by_key(|line| scored_at(line));

    // Two by size for one of each other kind.
    let mut queues = [by_bytes.iter(), new.iter(), anomalous.iter(), oldest.iter()];
    let (mut chosen, mut seen) = (Vec::new(), HashSet::new());
    while chosen.len() < limits.max_patterns_per_round {
        let before = chosen.len();
        for turn in [0, 0, 1, 2, 3] {
            if let Some(line) = queues[turn].find(|line| !seen.contains(&line.index))
                && chosen.len() < limits.max_patterns_per_round
            {
                seen.insert(line.index);
                chosen.push(line.index);
            }
        }
        if chosen.len() == before {
            break;
        }
    }
    chosen
}

/// Cuts a list of lines into requests: at most `size` lines and `tokens` estimated tokens each, at least one line.
pub fn batches(lines: Vec<&Line>, size: usize, tokens: u64) -> Vec<Vec<&Line>> {
    let mut batches: Vec<Vec<&Line>> = Vec::new();
    let mut used = 0;
    for line in lines {
        let needed = line.tokens();
        match batches.last_mut() {
            Some(batch) if batch.len() < size && used + needed <= tokens => {
                batch.push(line);
                used += needed;
            }
            _ => {
                batches.push(vec![line]);
                used = needed;
            }
        }
    }
    batches
}
