//! Why a record would be kept or dropped.
//!
//! Purpose: `POST /v1/explain`.
//! Promises: the gateway's own evaluation, with the policies in force; its rate limits are its own, so that asking
//! takes nobody's place.
//! Never: stores what it is shown.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Api;
use super::auth::CanRead;
use super::extract::{Body, shown};
use super::problem::{Failure, Kind};
use crate::control_plane::validate::{Limits, check};
use crate::data_plane::pipeline::explain::{Explanation, explain as decide};
use crate::data_plane::policy::{CompiledPolicy, Document};
use crate::data_plane::view::json as otlp;
use crate::data_plane::window::Sight;

/// A record, as text or as OTLP JSON.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRecord {
    /// The text of a record. Give this or `record`.
    #[serde(default)]
    text: Option<String>,
    /// A `logRecord` in OTLP JSON.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    record: Option<Map<String, Value>>,
    /// `service.name` of its resource.
    #[serde(default)]
    service: Option<String>,
    /// Severity text, such as `INFO`; only with `text`.
    #[serde(default)]
    severity: Option<String>,
    /// Whether its pattern is new. An old one by default: what is new is kept for being new.
    #[serde(default)]
    new_pattern: bool,
    /// Decide under this document instead of the policies in force.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    document: Option<Value>,
}

/// A policy that matches.
#[derive(Debug, Serialize, ToSchema)]
pub struct MatchedPolicy {
    /// Its id.
    id: String,
    /// Its name.
    name: String,
    /// Whether it protects.
    protect: bool,
    /// Whether it was the one that decided.
    decided: bool,
}

/// What would become of the record, and why.
#[derive(Debug, Serialize, ToSchema)]
pub struct Explained {
    /// `service.name`.
    service: String,
    /// Severity band.
    severity: String,
    /// Signature of the text.
    signature: String,
    /// The pattern's id: the signature, unless a learned template covers it.
    pattern: String,
    /// The text with its variable parts masked.
    template: String,
    /// Every policy that matches, in the order of ids.
    policies: Vec<MatchedPolicy>,
    /// Whether it would be kept. For percentages this holds for `randomness` alone.
    keep: bool,
    /// The reason, as in metrics and summaries.
    reason: String,
    /// The same in words.
    explanation: String,
    /// Share of such records that stays, 0 to 1; null where a rate limit decides.
    probability: Option<f64>,
    /// The randomness a percentage was held against, 14 hex digits.
    randomness: String,
}

/// Explain what becomes of a record.
#[utoipa::path(post, path = "/v1/explain", tag = "operation", request_body = ExplainRecord,
    responses((status = 200, body = Explained)))]
pub async fn explain(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Body(wanted): Body<ExplainRecord>,
) -> Result<Json<Explained>, Failure> {
    let request = request(&wanted)?;
    let (documents, learned) = match &wanted.document {
        Some(document) => {
            let limits = Limits { protect_from: None, ..api.limits };
            let checked = check(document, Default::default(), &limits, &[]).map_err(Failure::invalid_policy)?;
            (vec![Document::from_value("document", checked.document)], (api.local)().1)
        }
        None => api.documents(),
    };
    let policy = CompiledPolicy::compile_with(&documents, &learned, api.store.now().nanos(), None);
    let sight = match wanted.new_pattern {
        true => Sight::default(),
        false => Sight { seen: u64::MAX, kept_in_window: u64::MAX, is_known: true },
    };
    let fresh = rand::random::<u64>() >> 8;
    let rules = (&api.sampling.0, api.sampling.1);
    let explained = decide(&policy, rules, &request, sight, api.store.now().nanos(), fresh);
    let wrong = |detail: String| Failure::new(Kind::InvalidBody, detail);
    let explained = explained.map_err(|error| wrong(error.to_string()))?;
    let explained = explained.ok_or_else(|| wrong("there is no record in it".into()))?;
    Ok(Json(answer(&policy, &explained)))
}

/// The record as an OTLP request.
fn request(wanted: &ExplainRecord) -> Result<Vec<u8>, Failure> {
    let wrong = |detail: String| Failure::new(Kind::InvalidBody, detail);
    let record = match (&wanted.text, &wanted.record) {
        (Some(text), None) => {
            let severity = wanted.severity.as_deref().unwrap_or_default();
            json!({ "body": { "stringValue": text }, "severityText": severity })
        }
        (None, Some(record)) if wanted.severity.is_none() => Value::Object(record.clone()),
        (None, Some(_)) => return Err(wrong("severity: only with text; the record has its own".into())),
        _ => return Err(wrong("give either text or record".into())),
    };
    let service =
        wanted.service.as_ref().map(|name| json!({ "key": "service.name", "value": { "stringValue": name } }));
    let attributes: Vec<Value> = service.into_iter().collect();
    let request = json!({ "resourceLogs": [{
        "resource": { "attributes": attributes },
        "scopeLogs": [{ "logRecords": [record] }],
    }] });
    otlp::decode(request.to_string().as_bytes())
        .map_err(|error| wrong(format!("record: {}", shown(&error.to_string()))))
}

fn answer(policy: &CompiledPolicy, explained: &Explanation) -> Explained {
    let decision = explained.decision;
    let decided = decision.policy.map(|index| policy.policy(index));
    let policies = explained.matched.iter().map(|&index| {
        let found = policy.policy(index);
        let decided = decision.policy == Some(index);
        MatchedPolicy { id: found.id.to_string(), name: found.name.clone(), protect: found.protect, decided }
    });
    let range = 1u64 << 56;
    let reason = decision.reason.as_str();
    let kept_share = (range - decision.threshold.min(range)) as f64 / range as f64;
    let by = decided.map(|policy| format!(" by policy {:?}", &*policy.id)).unwrap_or_default();
    let what = if decision.keep { "kept" } else { "dropped" };
    let (probability, explanation) = match reason {
        "policy_percentage" | "default" => {
            (Some(kept_share), format!("{what}{by}: {:.4}% of such records stay", 100.0 * kept_share))
        }
        "policy_rate_limit" => (None, format!("{what}{by}: a rate limit, here with all its places free")),
        "policy_none" => (Some(0.0), format!("dropped{by}: it orders every match dropped")),
        "protect" => (Some(1.0), format!("kept{by}: it protects every match")),
        "severity" => (Some(1.0), "kept: its severity is protected (protect_severity)".into()),
        "novelty" => (Some(1.0), "kept: the first records of a new pattern stay".into()),
        "policy_all" => (Some(1.0), format!("kept{by}")),
        other => (Some(f64::from(u8::from(decision.keep))), format!("{what}: {other}")),
    };
    Explained {
        service: explained.service.clone(),
        severity: explained.band.as_str().into(),
        pattern: explained.pattern.to_string(),
        signature: explained.signature.to_string(),
        template: explained.template.clone(),
        policies: policies.collect(),
        keep: decision.keep,
        reason: reason.into(),
        explanation,
        probability,
        randomness: format!("{:014x}", explained.randomness),
    }
}
