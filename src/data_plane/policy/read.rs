//! From a document's tree to policies.
//!
//! Purpose: find the policies of a document in any of its forms and read the fields all targets share.
//! Promises: every error of a policy is collected; one broken policy does not hide another.
//! Never: applies a policy that has an error.

use serde_json::Value;

use super::document::Document;
use super::fields::{Errors, Fields, kind, shown};
use super::target::{self, LogTarget};
use super::timestamp;
use crate::clock::UnixNanos;

/// Who wrote a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A person; the default.
    #[default]
    Human,
    /// A program. Its keep does not count where a person's matches too.
    Generated,
}

/// A policy as read, with its errors.
#[derive(Debug)]
pub(super) struct ReadPolicy {
    pub id: String,
    pub name: String,
    pub enabled: bool,
    pub protect: bool,
    pub origin: Origin,
    pub expires_at: Option<UnixNanos>,
    /// `None` for a policy about another signal.
    pub log: Option<LogTarget>,
    pub errors: Errors,
}

const POLICY_FIELDS: &[&str] = &[
    "id",
    "name",
    "description",
    "enabled",
    "created_at_unix_nano",
    "modified_at_unix_nano",
    "labels",
    "log",
    "metric",
    "trace",
    "extensions",
    "protect",
    "expires_at",
    "origin",
];
/// Those of a provider's answer that carries policies, so that such an answer can be read from a file too.
const SET_FIELDS: &[&str] = &[
    "policies",
    "patterns",
    "hash",
    "sync_timestamp_unix_nano",
    "recommended_sync_interval_seconds",
    "sync_type",
    "error_message",
    "extension_configs",
];

/// The policies of a document, each as a tree, and what is wrong with the document around them.
pub(super) fn policies(document: &Document) -> (&[Value], Errors) {
    let mut errors = Errors::default();
    match &document.tree {
        Value::Array(list) => (list, errors),
        Value::Object(map) if map.contains_key("policies") => {
            let policies = Fields::read(&document.tree, "", SET_FIELDS, &mut errors)
                .map_or(&[][..], |fields| fields.list("policies", "", &mut errors));
            (policies, errors)
        }
        // A document of patterns alone; `published` reads them.
        Value::Object(map) if map.contains_key("patterns") => {
            Fields::read(&document.tree, "", SET_FIELDS, &mut errors);
            (&[], errors)
        }
        Value::Object(map) if map.is_empty() => (&[], errors),
        Value::Object(_) => (std::slice::from_ref(&document.tree), errors),
        other => {
            errors.note("", format!("expected policies, a list of policies or one policy, found {}", kind(other)));
            (&[], errors)
        }
    }
}

/// Reads one policy.
pub(super) fn policy(tree: &Value) -> ReadPolicy {
    let mut errors = Errors::default();
    let mut policy = ReadPolicy {
        id: String::new(),
        name: String::new(),
        enabled: true,
        protect: false,
        origin: Origin::Human,
        expires_at: None,
        log: None,
        errors: Errors::default(),
    };
    if let Some(fields) = Fields::read(tree, "", POLICY_FIELDS, &mut errors) {
        shared(&fields, &mut policy, &mut errors);
        if policy.enabled {
            target(&fields, &mut policy, &mut errors);
        }
    }
    policy.errors = errors;
    policy
}

fn shared(fields: &Fields<'_>, policy: &mut ReadPolicy, errors: &mut Errors) {
    for (name, to) in [("id", &mut policy.id), ("name", &mut policy.name)] {
        match fields.text(name, "", errors) {
            Some(text) if !text.is_empty() => text.clone_into(to),
            Some(_) => errors.note("", format!("{name} is empty")),
            None if fields.get(name).is_none() => errors.note("", format!("{name} is missing")),
            None => {}
        }
    }
    policy.enabled = fields.flag("enabled", "", errors).unwrap_or(true);
    policy.protect = fields.flag("protect", "", errors).unwrap_or(false);
    match fields.text("origin", "", errors) {
        None | Some("human") => {}
        Some("generated") => policy.origin = Origin::Generated,
        Some(other) => errors.note("", format!("origin must be human or generated, found {}", shown(other))),
    }
    if let Some(text) = fields.text("expires_at", "", errors) {
        policy.expires_at = timestamp::parse(text);
        if policy.expires_at.is_none() {
            errors.note(
                "",
                format!("expires_at must be a time such as \"2027-01-31T00:00:00Z\" (RFC 3339), found {}", shown(text)),
            );
        }
    }
}

fn target(fields: &Fields<'_>, policy: &mut ReadPolicy, errors: &mut Errors) {
    let targets = fields.present(&["log", "metric", "trace"]);
    match targets[..] {
        [_] => {}
        [] => errors.note("", "a target is missing: one of log, metric, trace"),
        _ => errors.note("", format!("more than one target: {}", targets.join(", "))),
    }
    if let Some(tree) = fields.get("log") {
        policy.log = Some(target::read(tree, policy.protect, errors));
    }
}
