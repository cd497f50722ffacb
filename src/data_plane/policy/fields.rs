//! The fields of one mapping of a document, by their snake_case names.
//!
//! Purpose: accept `log_field` and `logField` alike, and find misspelt fields.
//! Promises: an unknown field, a field given twice and a value that is no mapping are errors with their place.
//! Never: interprets values.

use serde_json::Value;

/// Errors of one policy, each with its place in front, as in `log: match[0]: attribute has empty path`.
#[derive(Debug, Default)]
pub(super) struct Errors(pub Vec<String>);

/// Errors a policy reports at most; a document made to fill memory with messages gets no further.
const MAX_ERRORS: usize = 64;

impl Errors {
    /// Notes `message` about `at`; an empty place means the policy itself.
    pub fn note(&mut self, at: &str, message: impl AsRef<str>) {
        if self.0.len() < MAX_ERRORS {
            let message = message.as_ref();
            self.0.push(if at.is_empty() { message.to_owned() } else { format!("{at}: {message}") });
        }
    }
}

/// The fields of one mapping. Null counts as absent.
#[derive(Debug)]
pub(super) struct Fields<'v> {
    entries: Vec<(String, &'v Value)>,
}

impl<'v> Fields<'v> {
    /// Reads `value`, which must be a mapping with no other fields than `known`.
    pub fn read(value: &'v Value, at: &str, known: &[&str], errors: &mut Errors) -> Option<Self> {
        let Value::Object(map) = value else {
            errors.note(at, format!("expected a mapping, found {}", kind(value)));
            return None;
        };
        let mut entries: Vec<(String, &Value)> = Vec::with_capacity(map.len());
        for (key, value) in map {
            let name = snake_case(key);
            if !known.contains(&name.as_str()) {
                errors.note(at, format!("unknown field {}", shown(key)));
            } else if entries.iter().any(|(seen, _)| *seen == name) {
                errors.note(at, format!("field {} is given twice", shown(&name)));
            } else if !value.is_null() {
                entries.push((name, value));
            }
        }
        Some(Fields { entries })
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&'v Value> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// A string field.
    pub fn text(&self, name: &str, at: &str, errors: &mut Errors) -> Option<&'v str> {
        let value = self.get(name)?;
        if value.as_str().is_none() {
            errors.note(at, format!("{name} must be a string, found {}; put it in quotes", kind(value)));
        }
        value.as_str()
    }

    /// A true or false field.
    pub fn flag(&self, name: &str, at: &str, errors: &mut Errors) -> Option<bool> {
        let value = self.get(name)?;
        if value.as_bool().is_none() {
            errors.note(at, format!("{name} must be true or false, found {}", kind(value)));
        }
        value.as_bool()
    }

    /// The elements of a list field; an absent one is empty.
    pub fn list(&self, name: &str, at: &str, errors: &mut Errors) -> &'v [Value] {
        match self.get(name) {
            None => &[],
            Some(Value::Array(list)) => list,
            Some(other) => {
                errors.note(at, format!("{name} must be a list, found {}", kind(other)));
                &[]
            }
        }
    }

    /// Those of `names` that are present.
    pub fn present<'n>(&self, names: &[&'n str]) -> Vec<&'n str> {
        names.iter().copied().filter(|name| self.get(name).is_some()).collect()
    }
}

/// `logField` becomes `log_field`; what is snake_case already stays.
fn snake_case(key: &str) -> String {
    let mut name = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// A text of a document as it appears in messages: quoted, and cut where it is long.
pub(super) fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    match text.char_indices().nth(MAX_CHARS) {
        None => format!("\"{text}\""),
        Some((cut, _)) => format!("\"{}…\"", &text[..cut]),
    }
}
