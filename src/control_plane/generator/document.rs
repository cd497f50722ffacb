//! Rates as a policy document that says why.
//!
//! Purpose: write what was decided in the format that people, gateways and SDKs read, and read it back for an
//! explanation.
//! Promises: every rule carries its reason, worth, evidence and expected saving; the same plan is the same text; log text
//! is bounded and without control characters.
//! Never: writes a rule that drops everything.

use serde_json::{Value, json};
use twox_hash::XxHash64;

use super::candidates::Candidate;
use super::llm::{Worth, WorthOrigin};
use super::plan::Share;
use crate::clock::UnixNanos;
use crate::control_plane::insights::{Prices, bytes_text, percent_text};
use crate::data_plane::pattern::{Catalogue, Pattern};

/// Characters of a template in a rule's name.
const NAME_CHARS: usize = 100;
/// The service of records without a name.
const UNKNOWN: &str = "unknown_service";

/// A rule of a generated policy.
#[derive(Clone, Debug)]
pub struct Rule<'a> {
    /// What it decides on.
    pub candidate: &'a Candidate,
    /// Its rate and what it saves.
    pub share: Share,
    /// Why.
    pub worth: &'a Worth,
}

/// What holds for all rules of a document.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// When the rules end, should nobody renew them.
    pub expires_at: UnixNanos,
    /// Length of what was observed, in seconds.
    pub seconds: f64,
    /// What a byte costs in a month at the observed rate: money a byte of the observed span.
    pub money_per_byte: f64,
    /// For amounts in words.
    pub prices: &'a Prices,
}

/// The document: the patterns that its rules are about, and the rules in the order given.
pub fn document(rules: &[Rule<'_>], terms: &Terms<'_>, catalogue: &Catalogue) -> Value {
    let policies: Vec<Value> = rules.iter().flat_map(|rule| policies(rule, terms)).collect();
    json!({ "patterns": patterns(catalogue), "policies": policies })
}

/// Patterns as a document publishes them (`spec/patterns.md`).
pub fn patterns(catalogue: &Catalogue) -> Vec<Value> {
    let entry = |pattern: &Pattern| {
        let mut entry = json!({ "template": &*pattern.template });
        if !pattern.forms.is_empty() {
            entry["forms"] = pattern.forms.iter().map(|form| Value::from(&**form)).collect();
        }
        if !pattern.parents.is_empty() {
            entry["parents"] = pattern.parents.iter().map(|id| Value::from(id.to_string())).collect();
        }
        entry
    };
    catalogue.patterns().iter().map(entry).collect()
}

/// The document as YAML.
///
/// # Errors
/// When it cannot be written, which is a defect.
pub fn to_yaml(document: &Value) -> Result<String, String> {
    serde_saphyr::to_string(document).map_err(|error| error.to_string())
}

/// The id of the rule for a pattern of a service: short, as summaries carry it and are billed for it.
pub fn rule_id(service: &str, pattern: u64) -> String {
    format!("g-{:012x}", XxHash64::oneshot(pattern, service.as_bytes()) >> 16)
}

/// One policy; two for records without a service, which may say so or say nothing.
fn policies(rule: &Rule<'_>, terms: &Terms<'_>) -> Vec<Value> {
    let candidate = rule.candidate;
    let id = rule_id(&candidate.service_name, candidate.pattern.0);
    let named = json!({"resource_attribute": "service.name", "equals": &*candidate.service_name});
    let mut policies = vec![policy(&id, named, rule, terms)];
    if &*candidate.service_name == UNKNOWN {
        let unnamed = json!({"resource_attribute": "service.name", "regex": ".", "negate": true});
        let mut second = policy(&format!("{id}-n"), unnamed, rule, terms);
        second["name"] = clean(&format!("(no service.name): {}", candidate.template), NAME_CHARS).into();
        second["description"] =
            format!("As {id}, for records that carry no service.name at all. What both save is said there.").into();
        if let Some(labels) = second["labels"].as_array_mut() {
            labels.retain(|label| label["key"] != "lip.saves_a_month");
        }
        policies.push(second);
    }
    policies
}

fn policy(id: &str, service: Value, rule: &Rule<'_>, terms: &Terms<'_>) -> Value {
    let candidate = rule.candidate;
    json!({
        "id": id,
        "name": clean(&format!("{}: {}", candidate.service_name, candidate.template), NAME_CHARS),
        "description": description(rule, terms),
        "origin": "generated",
        "expires_at": rfc3339(terms.expires_at),
        "labels": labels(rule, terms),
        "log": {
            "match": [service, {"pattern": candidate.pattern.to_string()}],
            "keep": format!("{}%", 100.0 * rule.share.rate),
        },
    })
}

fn description(rule: &Rule<'_>, terms: &Terms<'_>) -> String {
    let (share, worth) = (rule.share, rule.worth);
    let saved = saved(rule);
    format!(
        "Worth {:.1} of 10 by {}: {}. Keeps {} beyond the floor of {} records in {}; saves {} of {} ({} a month).",
        worth.score,
        clean(&worth.by(), 100),
        clean(&worth.reason, 300),
        percent_text(share.rate),
        rule.candidate.free.records,
        humantime::format_duration(std::time::Duration::from_secs(terms.seconds.round() as u64)),
        bytes_text(saved),
        bytes_text(received(rule)),
        terms.prices.text(saved * terms.money_per_byte),
    )
}

fn received(rule: &Rule<'_>) -> f64 {
    rule.candidate.free.records as f64 * rule.share.record_bytes
}

/// Bytes that a rule is expected not to send.
pub fn saved(rule: &Rule<'_>) -> f64 {
    received(rule) - rule.share.sent - rule.share.summaries
}

/// For programs: key-values in the form of the public format.
fn labels(rule: &Rule<'_>, terms: &Terms<'_>) -> Value {
    let (candidate, share) = (rule.candidate, rule.share);
    let text = |key: &str, value: String| json!({"key": key, "value": {"string_value": value}});
    let number = |key: &str, value: f64| json!({"key": key, "value": {"double_value": value}});
    let rounded = |value: f64| (value * 1e4).round() / 1e4;
    let mut labels = vec![
        text("lip.service", clean(&candidate.service_name, 128)),
        text("lip.pattern", candidate.pattern.to_string()),
        text("lip.template", clean(&candidate.template, 300)),
        number("lip.rate", share.rate),
        number("lip.worth", rounded(rule.worth.score)),
        text("lip.worth_source", rule.worth.origin.label().into()),
        text("lip.reason", clean(&rule.worth.reason, 300)),
        number("lip.records", candidate.free.records as f64),
        number("lip.bytes", received(rule).round()),
        number("lip.expected_bytes", (share.sent + share.summaries).round()),
        number("lip.saves_a_month", rounded(saved(rule) * terms.money_per_byte)),
        number("lip.observed_seconds", terms.seconds.round()),
        text("lip.first_seen", rfc3339(candidate.first)),
        text("lip.last_seen", rfc3339(candidate.last)),
    ];
    if let WorthOrigin::Model { provider, model } = &rule.worth.origin {
        labels.push(text("lip.category", rule.worth.category.label().into()));
        labels.push(text("lip.model", clean(model, 100)));
        labels.push(text("lip.provider", clean(provider, 64)));
    }
    Value::Array(labels)
}

fn rfc3339(nanos: UnixNanos) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Log text, cut and without control characters.
fn clean(text: &str, chars: usize) -> String {
    text.chars().take(chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A rule as an earlier document has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Explained {
    /// Its id.
    pub id: String,
    /// What it says of itself.
    pub description: String,
    /// `keep`, as written.
    pub keep: String,
    /// Whether a program wrote it.
    pub is_generated: bool,
    /// Service and pattern, of a rule that a program wrote.
    pub pattern: Option<(String, u64)>,
    /// Its rate.
    pub rate: Option<f64>,
    /// Template.
    pub template: String,
    /// Money it was expected to save in a month.
    pub saves_a_month: f64,
    /// Worth.
    pub worth: Option<f64>,
}

/// Reads the rules of a document, as far as they can be read; what is no rule is left out.
pub fn explain(document: &Value) -> Vec<Explained> {
    let list = document.get("policies").or(Some(document)).and_then(Value::as_array);
    let one = std::slice::from_ref(document);
    list.map_or(one, Vec::as_slice).iter().filter_map(explain_one).collect()
}

fn explain_one(policy: &Value) -> Option<Explained> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let label = |key: &str| {
        let labels = policy.get("labels")?.as_array()?;
        labels.iter().find(|label| label.get("key").and_then(Value::as_str) == Some(key))?.get("value")
    };
    let string = |key: &str| label(key)?.get("string_value")?.as_str().map(ToOwned::to_owned);
    let number = |key: &str| label(key)?.get("double_value")?.as_f64();
    let pattern = string("lip.service").zip(string("lip.pattern").and_then(|id| u64::from_str_radix(&id, 16).ok()));
    Some(Explained {
        id: policy.get("id")?.as_str()?.to_owned(),
        description: text(policy, "description"),
        keep: policy.get("log").map(|log| text(log, "keep")).unwrap_or_default(),
        is_generated: text(policy, "origin") == "generated",
        pattern,
        rate: number("lip.rate"),
        template: string("lip.template").unwrap_or_else(|| text(policy, "name")),
        saves_a_month: number("lip.saves_a_month").unwrap_or(0.0),
        worth: number("lip.worth"),
    })
}
