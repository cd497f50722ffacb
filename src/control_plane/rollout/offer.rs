//! What gateways get of a rollout, beside the policies in force.
//!
//! Purpose: write the version on trial into the document for gateways, and read it there.
//! Promises: it stands in `extension_configs`, which readers that do not know it pass over: to them there is no trial; it
//! carries the time of its end, so that a gateway that loses the control plane goes back by itself.
//! Never: compiles a policy.

use serde_json::{Map, Value, json};

use super::plan::{Kind, Phase, Plan, State};
use crate::control_plane::store::{Timestamp, Version};
use crate::data_plane::pipeline::trial::{Mode, TrialId};
use crate::data_plane::policy::Document;
use crate::data_plane::sampler::Share;

/// Where it stands in `extension_configs`.
const NAME: &str = "lipservice.rollout";

/// A version on trial, to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The rollout.
    pub rollout: i64,
    /// Its stage.
    pub stage: u32,
    /// What the stage does.
    pub kind: Kind,
    /// When the trial ends by itself.
    pub until: Timestamp,
    /// The version.
    pub version: Version,
}

impl Offer {
    /// What `plan` offers in `state`; nothing while it waits and once it is over.
    pub fn of(rollout: i64, plan: &Plan, state: &State, version: Version) -> Option<Offer> {
        if state.phase.is_over() || state.phase == Phase::Waiting {
            return None;
        }
        let stage = plan.stages.get(state.stage as usize)?;
        let longest = std::time::Duration::from_millis(plan.max_wait_ms.max(stage.duration_ms));
        let until = state.entered_at.after(longest).min(state.deadline);
        Some(Offer { rollout, stage: state.stage, kind: stage.kind, until, version })
    }

    /// `extension_configs` with it. `policies` are those of the version as gateways get them, `replaced` the ids of those
    /// in force whose place they take.
    pub fn write(&self, policies: Vec<Value>, replaced: Vec<String>) -> Value {
        let mut own = json!({
            "rollout": self.rollout, "stage": self.stage, "mode": self.kind, "until": self.until.to_string(),
        });
        // What is in force already needs not be said twice.
        if self.kind != Kind::Live {
            own["policies"] = policies.into();
            own["replaces"] = replaced.into();
            own["patterns"] = self.version.document.get("patterns").cloned().unwrap_or_else(|| json!([]));
        }
        json!({ NAME: own })
    }
}

/// A version on trial, as a gateway reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Which trial.
    pub id: TrialId,
    /// How far it goes.
    pub mode: Mode,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Everything that is in force where the version is; nothing when it is the one in force.
    pub document: Option<Document>,
}

/// The version on trial in a document of the control plane.
///
/// # Errors
/// What cannot be read: there is then no trial.
pub fn received(tree: &Value) -> Result<Option<Received>, String> {
    let Some(own) = tree.get("extension_configs").and_then(|configs| configs.get(NAME)) else { return Ok(None) };
    let wrong = |field: &str| format!("{NAME}: {field} is missing or cannot be read");
    let number = |field: &str| own.get(field).and_then(Value::as_i64).ok_or_else(|| wrong(field));
    let kind = own.get("mode").cloned().unwrap_or_default();
    let kind: Kind = serde_json::from_value(kind).map_err(|_| wrong("mode"))?;
    let until = own.get("until").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let mode = match kind {
        Kind::Shadow => Mode::Shadow,
        Kind::Canary(percentage) => Mode::Canary(Share::of_percentage(percentage)),
        Kind::Live => Mode::Live,
    };
    Ok(Some(Received {
        id: TrialId {
            rollout: number("rollout")?,
            stage: u32::try_from(number("stage")?).map_err(|_| wrong("stage"))?,
        },
        mode,
        until: until.ok_or_else(|| wrong("until"))?,
        document: match mode {
            Mode::Live => None,
            _ => Some(whole(tree, own).ok_or_else(|| wrong("policies"))?),
        },
    }))
}

/// The policies in force without those that are replaced, and those of the version.
fn whole(tree: &Value, own: &Value) -> Option<Document> {
    let list = |tree: &Value, name: &str| tree.get(name).and_then(Value::as_array).cloned();
    let replaced = list(own, "replaces")?;
    let stays = |policy: &Value| !policy.get("id").is_some_and(|id| replaced.contains(id));
    let mut policies = list(tree, "policies").unwrap_or_default();
    policies.retain(stays);
    policies.extend(list(own, "policies")?);
    let mut patterns = list(tree, "patterns").unwrap_or_default();
    patterns.extend(list(own, "patterns").unwrap_or_default());
    let mut whole = Map::new();
    whole.insert("policies".into(), policies.into());
    whole.insert("patterns".into(), patterns.into());
    Some(Document::from_value("version on trial", Value::Object(whole)))
}
