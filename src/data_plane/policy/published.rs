//! The `patterns:` section of a document (`spec/patterns.md`, section 1).
//!
//! Purpose: read published templates.
//! Promises: every error is noted with its place; an entry with an error is left out, the others apply.
//! Never: learns a template, or checks whether any message matches it.

use serde_json::Value;

use super::document::Document;
use super::fields::{Errors, Fields, kind, shown};
use crate::data_plane::pattern::{Pattern, PatternId};

/// Longest template, in bytes: as long as a signature's can be, and some.
const MAX_TEMPLATE_BYTES: usize = 4_096;
/// Forms of one pattern at most.
const MAX_FORMS: usize = 64;
/// Parents of one pattern at most.
const MAX_PARENTS: usize = 32;
const FIELDS: &[&str] = &["template", "id", "forms", "parents", "description"];

/// The patterns of a document without those that have an error.
pub(super) fn read(document: &Document, errors: &mut Errors) -> Vec<Pattern> {
    let Value::Object(map) = &document.tree else { return Vec::new() };
    let list = match map.get("patterns") {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(list)) => list,
        Some(other) => {
            errors.note("", format!("patterns must be a list, found {}", kind(other)));
            return Vec::new();
        }
    };
    let entries = list.iter().enumerate();
    entries.filter_map(|(i, tree)| entry(tree, &format!("patterns[{i}]"), errors)).collect()
}

fn entry(tree: &Value, at: &str, errors: &mut Errors) -> Option<Pattern> {
    let mut own = Errors::default();
    let pattern = Fields::read(tree, at, FIELDS, &mut own).and_then(|fields| pattern(&fields, at, &mut own));
    let is_sound = own.0.is_empty();
    for message in own.0 {
        errors.note("", message);
    }
    pattern.filter(|_| is_sound)
}

fn pattern(fields: &Fields<'_>, at: &str, errors: &mut Errors) -> Option<Pattern> {
    let Some(text) = fields.text("template", at, errors) else {
        if fields.get("template").is_none() {
            errors.note(at, "template is missing");
        }
        return None;
    };
    let mut pattern = Pattern::new(template(text, at, errors)?);
    if let Some(id) = fields.text("id", at, errors).and_then(|text| id(text, at, errors))
        && id != pattern.id
    {
        errors.note(at, format!("the id of this template is {}, not {id}; leave id out", pattern.id));
    }
    let forms = fields.list("forms", at, errors);
    let parents = fields.list("parents", at, errors);
    for (name, list, most) in [("forms", forms, MAX_FORMS), ("parents", parents, MAX_PARENTS)] {
        if list.len() > most {
            errors.note(at, format!("{} {name}, more than the limit of {most}", list.len()));
        }
    }
    for value in forms.iter().take(MAX_FORMS) {
        match value.as_str() {
            Some(text) => pattern.forms.extend(template(text, at, errors).map(Into::into)),
            None => errors.note(at, format!("a form must be a string, found {}", kind(value))),
        }
    }
    for value in parents.iter().take(MAX_PARENTS) {
        match value.as_str() {
            Some(text) => pattern.parents.extend(id(text, at, errors)),
            None => errors.note(at, format!("a pattern is 16 hex digits in quotes, found {}", kind(value))),
        }
    }
    Some(pattern)
}

fn template<'t>(text: &'t str, at: &str, errors: &mut Errors) -> Option<&'t str> {
    if text.trim().is_empty() {
        errors.note(at, "template is empty");
    } else if text.len() > MAX_TEMPLATE_BYTES {
        errors.note(at, format!("the template {} is longer than {MAX_TEMPLATE_BYTES} bytes", shown(text)));
    } else {
        return Some(text);
    }
    None
}

fn id(text: &str, at: &str, errors: &mut Errors) -> Option<PatternId> {
    text.parse().map_err(|error: String| errors.note(at, error)).ok()
}
