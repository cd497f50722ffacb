//! The demo's own books: what the services logged against what the stand-in for PostHog stored.
//!
//! Purpose: judge the gateway from outside, by records and not by its own counters.
//! Promises: every stored row is a log that was sent, a summary, or counted as unknown; which kind of message a row is of is
//! told by the signature of its body, or the one its summary names, as anyone could who reads `spec/signature.md`. The gateway
//! may join several signatures of one kind into a pattern; what it says of two kinds together would show as wrong counts.
//! Never: trusts a number the gateway says about itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lipservice::data_plane::sampler::threshold::{parse_threshold, probability};
use lipservice::data_plane::signature::{Signature, Signer};

use super::fake_posthog::Row;
use super::templates::{SERVICES, TEMPLATES};
use super::traffic::{Event, resource};

/// Severities from here up are errors.
const ERROR: i32 = 17;

/// One signature, or one kind of message, of one service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Records logged.
    pub sent: u64,
    /// Logs stored.
    pub kept: u64,
    /// Records its summaries say were dropped.
    pub dropped: u64,
    /// What the stored logs stand for by their sampling threshold.
    pub estimate: f64,
    /// Whether a rate limit dropped some: then thresholds do not tell.
    pub rate_limited: bool,
}

/// All books.
#[derive(Default)]
pub struct Books {
    signer: Signer,
    /// Which message a pattern is: one message may have several signatures.
    labels: HashMap<(String, Signature), usize>,
    signatures: HashMap<(String, Signature), Line>,
    /// Patterns that join several signatures, as summaries name them.
    pub learned: BTreeSet<String>,
    /// Messages logged.
    pub messages_sent: BTreeSet<usize>,
    /// Messages with at least one stored log.
    pub messages_kept: BTreeSet<usize>,
    /// Records logged.
    pub sent: u64,
    /// Logs stored.
    pub kept: u64,
    /// Summary records stored.
    pub summaries: u64,
    /// Records that summaries say were dropped.
    pub dropped: u64,
    /// Errors logged.
    pub errors_sent: u64,
    /// Errors stored.
    pub errors_kept: u64,
    /// Stored rows that nobody logged.
    pub unknown: u64,
}

impl Books {
    /// Enters a record on its way out.
    pub fn sent(&mut self, event: &Event) {
        let template = &TEMPLATES[event.template];
        let key = (SERVICES[template.service].to_owned(), self.signer.sign_text(event.body.as_bytes()));
        self.labels.insert(key.clone(), event.template);
        self.signatures.entry(key).or_default().sent += 1;
        self.messages_sent.insert(event.template);
        self.sent += 1;
        self.errors_sent += u64::from(template.kind.severity() >= ERROR);
    }

    /// Enters a stored row.
    pub fn stored(&mut self, row: &Row) {
        let attribute = |name: &str| row.attributes.get(name).map(String::as_str);
        if attribute("lip.summary").is_some() {
            let dropped = attribute("lip.records").and_then(|text| text.parse().ok()).unwrap_or(0);
            self.summaries += 1;
            self.dropped += dropped;
            self.learned.extend(attribute("lip.pattern").map(str::to_owned));
            let signature = attribute("lip.signature").and_then(|text| text.parse().ok());
            let key = signature.map(|signature| (row.service_name.clone(), signature));
            if let Some(line) = key.and_then(|key| self.signatures.get_mut(&key)) {
                line.dropped += dropped;
                line.rate_limited |= attribute("lip.reason") == Some("policy_rate_limit");
            }
            return;
        }
        let key = (row.service_name.clone(), self.signer.sign_text(row.body.as_bytes()));
        let (Some(line), Some(label)) = (self.signatures.get_mut(&key), self.labels.get(&key)) else {
            self.unknown += 1;
            return;
        };
        let threshold = attribute("sampling.threshold").and_then(|text| parse_threshold(text.as_bytes()));
        line.kept += 1;
        line.estimate += 1.0 / probability(threshold.unwrap_or(0));
        self.kept += 1;
        self.messages_kept.insert(*label);
        self.errors_kept += u64::from(row.severity_number >= ERROR);
    }

    /// Kinds of message whose stored logs and summaries add up to what was logged, and all kinds.
    pub fn exact_messages(&self) -> (usize, usize) {
        let messages = self.by_message();
        let exact = messages.iter().filter(|(_, line)| line.sent == line.kept + line.dropped).count();
        (exact, messages.len())
    }

    /// Counts by kind of message, largest first.
    pub fn by_message(&self) -> Vec<(usize, Line)> {
        let mut messages: BTreeMap<usize, Line> = BTreeMap::new();
        for (key, line) in &self.signatures {
            let Some(label) = self.labels.get(key) else { continue };
            let sum = messages.entry(*label).or_default();
            sum.sent += line.sent;
            sum.kept += line.kept;
            sum.dropped += line.dropped;
            sum.estimate += line.estimate;
            sum.rate_limited |= line.rate_limited;
        }
        let mut messages: Vec<_> = messages.into_iter().collect();
        messages.sort_by_key(|(label, line)| (std::cmp::Reverse(line.sent), *label));
        messages
    }
}

/// What a second of logs would be billed as without a sampler: OTLP bodies of 512 records at most, one service each.
/// Sizes of protobuf fields are computed, not encoded (field numbers below 16, so one byte each).
pub fn otlp_bytes(events: &[Event]) -> u64 {
    let mut by_service: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for event in events {
        let entry = by_service.entry(TEMPLATES[event.template].service).or_default();
        entry.0 += 1;
        entry.1 += record_bytes(event);
    }
    let blocks = by_service.into_iter().map(|(service, (records, bytes))| {
        let attributes =
            resource(service).iter().map(|(key, value)| field(text_attribute(key, value.len()))).sum::<u64>();
        bytes + records.div_ceil(512) * (attributes + SCOPE_BYTES)
    });
    blocks.sum()
}

/// Name of the scope, and the headers of request, resource and scope blocks.
const SCOPE_BYTES: u64 = 32;

/// A length-delimited field: tag, length, content.
fn field(content: u64) -> u64 {
    1 + if content < 128 { 1 } else { 2 } + content
}

fn text_attribute(key: &str, value: usize) -> u64 {
    field(key.len() as u64) + field(field(value as u64))
}

fn record_bytes(event: &Event) -> u64 {
    use super::traffic::Value;
    let attribute = |(key, value): &(&'static str, Value)| match value {
        Value::Text(text) => text_attribute(key, text.len()),
        Value::Int(_) => field(key.len() as u64) + field(3),
        Value::Float(_) => field(key.len() as u64) + field(9),
        Value::Bool(_) => field(key.len() as u64) + field(2),
    };
    let attributes: u64 = event.attributes.iter().map(|pair| field(attribute(pair))).sum();
    // Two fixed64 times, severity as number and text, flags.
    let fixed = 9 + 9 + 2 + field(4) + 5;
    let trace = if event.trace.is_some() { field(16) + field(8) } else { 0 };
    field(fixed + field(field(event.body.len() as u64)) + attributes + trace)
}
