//! The operations of a transform, as read.
//!
//! Purpose: read remove, redact, rename and add, and the template of a redaction.
//! Promises: every error is noted with its place, as in `log: transform: redact[0]: invalid regex "([bad"`.
//! Never: changes a record; `transform` does.

use regex::bytes::{Captures, Regex};
use serde_json::Value;

use super::fields::{Errors, Fields};
use super::matcher::{Field, LogField};
use super::pattern;
use super::target::{SELECTORS, checked, decode_hex, selector};

/// One operation.
#[derive(Debug)]
pub(super) enum Operation {
    Remove(Field),
    Redact { field: Field, replacement: Box<[u8]> },
    RedactPattern { field: Field, regex: Box<Regex>, template: Template },
    Rename { from: Field, to: Box<[u8]>, upsert: bool },
    Add { field: Field, value: Box<[u8]>, upsert: bool },
}

/// Operations of one policy at most, of each kind.
const MAX_OPERATIONS: usize = 256;
const DEFAULT_REPLACEMENT: &str = "[REDACTED]";

/// Reads a transform; the result is in the order of execution: remove, redact, rename, add.
pub(super) fn read(tree: &Value, errors: &mut Errors) -> Vec<Operation> {
    let at = "log: transform";
    let mut operations = Vec::new();
    let Some(fields) = Fields::read(tree, at, &["remove", "redact", "rename", "add"], errors) else {
        return operations;
    };
    type Reader = fn(&Value, &str, &mut Errors) -> Option<Operation>;
    let kinds: [(&str, Reader); 4] = [("remove", remove), ("redact", redact), ("rename", rename), ("add", add)];
    for (name, read) in kinds {
        let list = fields.list(name, at, errors);
        if list.len() > MAX_OPERATIONS {
            errors.note(at, format!("{} {name} operations, more than the limit of {MAX_OPERATIONS}", list.len()));
        }
        for (i, tree) in list.iter().take(MAX_OPERATIONS).enumerate() {
            operations.extend(read(tree, &format!("{at}: {name}[{i}]"), errors));
        }
    }
    operations
}

fn remove(tree: &Value, at: &str, errors: &mut Errors) -> Option<Operation> {
    let fields = Fields::read(tree, at, &SELECTORS, errors)?;
    changeable(&fields, "", at, errors).map(Operation::Remove)
}

fn redact(tree: &Value, at: &str, errors: &mut Errors) -> Option<Operation> {
    let known = [&SELECTORS[..], &["replacement", "regex"]].concat();
    let fields = Fields::read(tree, at, &known, errors)?;
    let field = changeable(&fields, "", at, errors);
    let replacement = match fields.get("replacement") {
        None => DEFAULT_REPLACEMENT,
        Some(_) => fields.text("replacement", at, errors)?,
    };
    let Some(_) = fields.get("regex") else {
        return Some(Operation::Redact { field: field?, replacement: replacement.as_bytes().into() });
    };
    let source = fields.text("regex", at, errors)?;
    let regex = checked(pattern::compile(source, false), "regex", source, at, errors)?;
    let template = Template::parse(replacement, &regex);
    Some(Operation::RedactPattern { field: field?, regex: Box::new(regex), template })
}

fn rename(tree: &Value, at: &str, errors: &mut Errors) -> Option<Operation> {
    let known =
        ["from_log_field", "from_log_attribute", "from_resource_attribute", "from_scope_attribute", "to", "upsert"];
    let fields = Fields::read(tree, at, &known, errors)?;
    let from = changeable(&fields, "from_", at, errors);
    let upsert = fields.flag("upsert", at, errors).unwrap_or(false);
    let to = match fields.get("to") {
        None => "",
        Some(_) => fields.text("to", at, errors)?,
    };
    if to.is_empty() {
        errors.note(at, "rename has empty to");
        return None;
    }
    Some(Operation::Rename { from: from?, to: to.as_bytes().into(), upsert })
}

fn add(tree: &Value, at: &str, errors: &mut Errors) -> Option<Operation> {
    let known = [&SELECTORS[..], &["value", "upsert"]].concat();
    let fields = Fields::read(tree, at, &known, errors)?;
    let field = changeable(&fields, "", at, errors);
    let upsert = fields.flag("upsert", at, errors).unwrap_or(false);
    let value = match fields.get("value") {
        None => {
            errors.note(at, "value is missing");
            return None;
        }
        Some(_) => fields.text("value", at, errors)?,
    };
    let field = field?;
    let value: Box<[u8]> = match identifier_len(&field) {
        None => value.as_bytes().into(),
        Some(len) => match decode_hex(value).filter(|bytes| bytes.len() == len) {
            Some(bytes) => bytes,
            None => {
                errors.note(at, format!("an identifier is set to {} hex digits", 2 * len));
                return None;
            }
        },
    };
    Some(Operation::Add { field, value, upsert })
}

/// Bytes of an identifier field.
pub(super) fn identifier_len(field: &Field) -> Option<usize> {
    match field {
        Field::Log(LogField::TraceId) => Some(16),
        Field::Log(LogField::SpanId) => Some(8),
        _ => None,
    }
}

/// A selector of something a transform can change.
fn changeable(fields: &Fields<'_>, prefix: &str, at: &str, errors: &mut Errors) -> Option<Field> {
    let field = selector(fields, prefix, at, errors)?;
    if let Field::Log(LogField::ResourceSchemaUrl | LogField::ScopeSchemaUrl | LogField::SeverityNumber) = field {
        errors.note(at, "schema URLs and the severity number cannot be changed");
        return None;
    }
    Some(field)
}

/// The replacement of a redaction by pattern: text and references to capture groups.
#[derive(Debug, PartialEq)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Text(Box<[u8]>),
    Group(usize),
}

impl Template {
    /// Reads `$0`, `$1` to `$99`, `${1}`, `${name}` and `$$`; a reference to a group that `regex` lacks is empty, any
    /// other `$` stands for itself.
    pub fn parse(text: &str, regex: &Regex) -> Template {
        let mut template = Template { parts: Vec::new() };
        let mut literal = Vec::new();
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            literal.extend_from_slice(&rest.as_bytes()[..dollar]);
            let after = &rest[dollar + 1..];
            let (reference, len) = reference(after, regex);
            match reference {
                Reference::Dollar => literal.push(b'$'),
                Reference::Missing => {}
                Reference::Group(group) => {
                    template.push(&mut literal);
                    template.parts.push(Part::Group(group));
                }
            }
            rest = &after[len..];
        }
        literal.extend_from_slice(rest.as_bytes());
        template.push(&mut literal);
        template
    }

    fn push(&mut self, literal: &mut Vec<u8>) {
        if !literal.is_empty() {
            self.parts.push(Part::Text(std::mem::take(literal).into()));
        }
    }

    /// Appends the replacement of one match.
    pub fn expand(&self, captures: &Captures<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Group(group) => {
                    out.extend_from_slice(captures.get(*group).map_or(&b""[..], |found| found.as_bytes()));
                }
            }
        }
    }
}

enum Reference {
    Dollar,
    Missing,
    Group(usize),
}

/// What stands behind a `$`, and how many bytes of it belong to the reference.
fn reference(after: &str, regex: &Regex) -> (Reference, usize) {
    if after.starts_with('$') {
        return (Reference::Dollar, 1);
    }
    if let Some((name, _)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
        return (group(name, regex), name.len() + 2);
    }
    let digits = after.bytes().take(2).take_while(u8::is_ascii_digit).count();
    match digits {
        0 => (Reference::Dollar, 0),
        _ => (group(&after[..digits], regex), digits),
    }
}

fn group(name: &str, regex: &Regex) -> Reference {
    let number = match name.parse::<usize>() {
        Ok(number) => (number < regex.captures_len()).then_some(number),
        Err(_) => regex.capture_names().position(|group| group == Some(name)),
    };
    number.map_or(Reference::Missing, Reference::Group)
}
