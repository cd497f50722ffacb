//! What could be sent less, what that saves, and what it risks.
//!
//! Purpose: turn statistics of patterns into a few proposals that a person can judge and apply one by one.
//! Promises: each has its numbers, its risk and a policy that does it; none touches ERROR or above, by its choice of
//! patterns and again by a matcher in its policy; what a summary costs is taken off what is saved.
//! Never: applies anything; proposes what saves less than it costs.
//!
//! Rates are fixed for each kind. The generator (`docs/generate.md`) finds better ones for all patterns together; these are
//! for those who want to start with one policy they understand.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::cost::Part;
use super::{MONTH_DAYS, Prices};

/// Bytes of a summary record beside its template, as `sampler::summary` writes it with its share of blocks.
const SUMMARY_BYTES: f64 = 270.0;
/// A pattern with this share of its service's bytes or more stands out.
const DOMINANT_SHARE: f64 = 0.1;
/// And with this many times the bytes of the service's median pattern.
const DOMINANT_TIMES: f64 = 10.0;
/// The least share of all sent bytes that a proposal must save.
const LEAST_SAVING: f64 = 0.001;
/// Words of requests that only ask whether something lives.
const HEALTH_WORDS: [&str; 9] =
    ["health", "healthz", "healthcheck", "livez", "readyz", "liveness", "readiness", "kube-probe", "heartbeat"];
/// The service of records without a name.
const UNKNOWN: &str = "unknown_service";

/// Why something is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Requests that only ask whether something lives.
    HealthCheck,
    /// DEBUG and TRACE in numbers.
    NoisyDebug,
    /// Always the very same text: one record says what a thousand say.
    ExactRepeat,
    /// Far above the other patterns of its service.
    DominantPattern,
    /// A policy that protects records nobody has seen.
    UnusedProtection,
}

/// The numbers behind a proposal, of the span that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Evidence {
    /// Length of the span in seconds.
    pub span_seconds: f64,
    /// Records that came in.
    pub records: f64,
    /// Bytes that came in, as billed.
    pub received_bytes: f64,
    /// Bytes that went out.
    pub sent_bytes: f64,
    /// Share of its service's sent bytes, 0 to 1.
    pub share_of_service: f64,
    /// Share of all sent bytes.
    pub share_of_all: f64,
    /// Patterns looked at, where a policy is judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patterns: Option<u64>,
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Recommendation {
    /// Stays the same while it is about the same thing.
    pub id: String,
    /// Why.
    pub kind: Kind,
    /// One sentence for people. Log text in it is cut and has no control characters.
    pub title: String,
    /// Service; empty for all.
    pub service: String,
    /// Severity band; empty where it is about a policy.
    pub severity: String,
    /// The pattern's id; empty where it is about a policy.
    pub pattern: String,
    /// Its masked template, or the policy's id.
    pub template: String,
    /// The numbers.
    pub evidence: Evidence,
    /// Bytes that would not be sent in a month, summaries taken off.
    pub saves_bytes_a_month: f64,
    /// Money that would not be spent in a month, this proposal alone applied.
    pub saves_money_a_month: f64,
    /// What is lost.
    pub risk: String,
    /// A policy document that does it; null where a policy is to be removed.
    #[schema(value_type = Option<Object>)]
    pub policy: Option<Value>,
}

/// A policy that protects, and how many of the patterns looked at it matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// Its id.
    pub id: String,
    /// Patterns with an example that it matched.
    pub matched: u64,
    /// Patterns looked at.
    pub looked_at: u64,
}

/// What to look at.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// Parts of a recent span, by service, severity and pattern.
    pub parts: &'a [Part],
    /// Its length in seconds.
    pub seconds: f64,
    /// Length of a summary interval in seconds: dropping leaves a record each.
    pub summary_seconds: f64,
    /// Policies that protect.
    pub protections: &'a [Protection],
    /// Prices.
    pub prices: &'a Prices,
}

/// Proposals, those that save most first, at most `limit`.
pub fn recommend(scene: &Scene<'_>, limit: usize) -> Vec<Recommendation> {
    let services = services(scene.parts);
    let months = (scene.seconds / (MONTH_DAYS * 86_400.0)).max(f64::MIN_POSITIVE);
    let sent: f64 = scene.parts.iter().map(|part| part.sent).sum();
    let severe: BTreeSet<(&str, &str)> = scene
        .parts
        .iter()
        .filter(|part| is_severe(&part.severity))
        .map(|part| (&*part.service, &*part.pattern))
        .collect();
    let mut found: Vec<Recommendation> = Vec::new();
    for part in scene.parts {
        // A policy names a pattern whatever its severity: one that is also logged as ERROR is left alone.
        if part.pattern.is_empty() || is_severe(&part.severity) || severe.contains(&(&*part.service, &*part.pattern)) {
            continue;
        }
        let Some(of_service) = services.get(&*part.service) else { continue };
        let Some((kind, rate)) = kind_of(part, of_service) else { continue };
        let is_masked = kind == Kind::HealthCheck && !is_health_check(&part.template);
        let kept = if part.received > 0.0 { part.sent / part.received } else { 0.0 };
        let dropped = part.records * (kept - rate).max(0.0);
        // A summary each interval, for as long as something is dropped; not more than records.
        let summaries = (scene.seconds / scene.summary_seconds.max(1.0)).ceil().min(dropped);
        let saved = part.received * (kept - rate) - summaries * (SUMMARY_BYTES + part.template.len() as f64);
        if saved <= sent * LEAST_SAVING {
            continue;
        }
        let bill = |bytes: f64| scene.prices.month(bytes / months);
        let evidence = Evidence {
            span_seconds: scene.seconds,
            records: part.records,
            received_bytes: part.received,
            sent_bytes: part.sent,
            share_of_service: part.sent / of_service.sent.max(1.0),
            share_of_all: part.sent / sent.max(1.0),
            patterns: None,
        };
        let money = bill(sent) - bill(sent - saved);
        found.push(proposal(part, (kind, is_masked), rate, evidence, (saved / months, money)));
    }
    // The same pattern in two severities is one policy: the part that saves more speaks for it.
    found.sort_by(|a, b| {
        let order = b.saves_bytes_a_month.total_cmp(&a.saves_bytes_a_month);
        order.then_with(|| (&a.id, &a.severity).cmp(&(&b.id, &b.severity)))
    });
    let mut seen = BTreeSet::new();
    found.retain(|one| seen.insert((one.service.clone(), one.pattern.clone())));
    found.extend(scene.protections.iter().filter_map(|protection| unused(protection, scene.seconds)));
    found.truncate(limit);
    found
}

fn is_severe(severity: &str) -> bool {
    !matches!(severity, "trace" | "debug" | "unset" | "info" | "warn")
}

#[derive(Default)]
struct Of {
    sent: f64,
    median: f64,
}

fn services(parts: &[Part]) -> BTreeMap<&str, Of> {
    let mut sizes: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for part in parts {
        sizes.entry(&part.service).or_default().push(part.sent);
    }
    let of = |(service, mut sizes): (_, Vec<f64>)| {
        sizes.sort_unstable_by(f64::total_cmp);
        let median = sizes.get(sizes.len() / 2).copied().unwrap_or(0.0);
        (service, Of { sent: sizes.iter().sum(), median })
    };
    sizes.into_iter().map(of).collect()
}

/// Why this part, and the rate proposed for it.
fn kind_of(part: &Part, service: &Of) -> Option<(Kind, f64)> {
    let share = part.sent / service.sent.max(1.0);
    let is_warn = part.severity == "warn";
    if !is_warn && (is_health_check(&part.template) || is_health_check(&part.example)) {
        return Some((Kind::HealthCheck, 0.01));
    }
    if matches!(part.severity.as_str(), "debug" | "trace") {
        return Some((Kind::NoisyDebug, 0.1));
    }
    // A template without a masked part is a text that never changes.
    if !is_warn && !part.template.is_empty() && !part.template.contains("<*>") && part.records >= 1_000.0 {
        return Some((Kind::ExactRepeat, 0.01));
    }
    let stands_out = share >= DOMINANT_SHARE && part.sent >= DOMINANT_TIMES * service.median;
    stands_out.then_some((Kind::DominantPattern, if is_warn { 0.5 } else { 0.1 }))
}

fn is_health_check(template: &str) -> bool {
    let lower = template.to_ascii_lowercase();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    lower.split(|c: char| !is_word(c)).any(|word| HEALTH_WORDS.contains(&word))
}

/// `is_masked`: only the example shows what it is, the template has a mask in its place.
fn proposal(
    part: &Part,
    (kind, is_masked): (Kind, bool),
    rate: f64,
    evidence: Evidence,
    (bytes, money): (f64, f64),
) -> Recommendation {
    let days = evidence.span_seconds / 86_400.0;
    let left = part.records * rate / days.max(1.0 / 24.0);
    let per = if left >= 1.0 { format!("about {left:.0} of them a day") } else { "less than one of them a day".into() };
    let what = match kind {
        Kind::HealthCheck if is_masked => "health checks among them",
        Kind::HealthCheck => "a health check",
        Kind::NoisyDebug => "debug output",
        Kind::ExactRepeat => "always the same text",
        Kind::DominantPattern | Kind::UnusedProtection => "far above the other patterns of its service",
    };
    let most = match is_masked {
        true => "The pattern holds other texts too, which stay: this saves at most what is said. ",
        false => "",
    };
    let template = clean(&part.template, 300);
    let percent = 100.0 * rate;
    Recommendation {
        id: format!("{}-{:016x}", kind_text(kind), hash(&part.service, &part.pattern)),
        kind,
        title: format!("Keep {percent} % of {:?} in {}: {what}", clean(&template, 80), clean(&part.service, 80)),
        risk: format!(
            "{most}{per} stay beside the first of every window. Counts stay exact by summaries. A single record that was \
             dropped cannot be looked up."
        ),
        policy: Some(policy(part, (kind, is_masked), rate, &template)),
        service: part.service.clone(),
        severity: part.severity.clone(),
        pattern: part.pattern.clone(),
        template,
        evidence,
        saves_bytes_a_month: bytes,
        saves_money_a_month: money,
    }
}

fn policy(part: &Part, (kind, is_masked): (Kind, bool), rate: f64, template: &str) -> Value {
    let service = match part.service.as_str() {
        // Records without a name are counted under it.
        UNKNOWN => json!({"resource_attribute": "service.name", "exists": false}),
        name => json!({"resource_attribute": "service.name", "equals": name}),
    };
    let mut matchers = vec![
        service,
        json!({"pattern": part.pattern}),
        json!({"log_field": "severity_number", "gte": 17, "negate": true}),
    ];
    if is_masked {
        let words = format!("\\b({})\\b", HEALTH_WORDS.join("|"));
        matchers.push(json!({"log_field": "body", "regex": words, "case_insensitive": true}));
    }
    json!({ "policies": [{
        "id": format!("r-{:012x}", hash(&part.service, &part.pattern) >> 16),
        "name": clean(&format!("{}: {template}", part.service), 100),
        "description": format!("Recommended: {}", kind_text(kind).replace('-', " ")),
        "log": { "match": matchers, "keep": format!("{}%", 100.0 * rate) },
    }] })
}

fn unused(protection: &Protection, seconds: f64) -> Option<Recommendation> {
    (protection.matched == 0 && protection.looked_at > 0).then(|| Recommendation {
        id: format!("{}-{:016x}", kind_text(Kind::UnusedProtection), hash("", &protection.id)),
        kind: Kind::UnusedProtection,
        title: format!("The policy {:?} protects nothing that was seen", clean(&protection.id, 80)),
        service: String::new(),
        severity: String::new(),
        pattern: String::new(),
        template: clean(&protection.id, 300),
        evidence: Evidence { span_seconds: seconds, patterns: Some(protection.looked_at), ..Evidence::default() },
        saves_bytes_a_month: 0.0,
        saves_money_a_month: 0.0,
        risk:
            "It was held against one example of each pattern. What it protects may be rare, or yet to come: look at it \
               before it is removed."
                .into(),
        policy: None,
    })
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::HealthCheck => "health-check",
        Kind::NoisyDebug => "noisy-debug",
        Kind::ExactRepeat => "exact-repeat",
        Kind::DominantPattern => "dominant-pattern",
        Kind::UnusedProtection => "unused-protection",
    }
}

fn hash(service: &str, pattern: &str) -> u64 {
    twox_hash::XxHash64::oneshot(twox_hash::XxHash64::oneshot(0, pattern.as_bytes()), service.as_bytes())
}

/// Log text, cut and without control characters.
fn clean(text: &str, chars: usize) -> String {
    text.chars().take(chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
#[path = "recommend_tests.rs"]
mod tests;
