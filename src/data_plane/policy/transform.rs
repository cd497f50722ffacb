//! Rewriting of kept records.
//!
//! Purpose: run the operations of matching policies on the bytes of a record and of its block.
//! Promises: policies run in the order of their ids, each remove, redact, rename, add; what no operation names survives
//! byte for byte.
//! Never: matches again: all matching is done on the record as it came.

use regex::bytes::Regex;

use super::compile::CompiledPolicy;
use super::edit;
use super::evaluate::Matches;
use super::matcher::{Field, LogField, Path, hex};
use super::operation::{Operation, Template, identifier_len};
use super::target::decode_hex;
use crate::data_plane::view::AnyValueRef;

/// Field numbers of the attribute lists.
const RECORD_ATTRIBUTES: u32 = 6;
const RESOURCE_ATTRIBUTES: u32 = 1;
const SCOPE_ATTRIBUTES: u32 = 3;
/// Field numbers of `LogRecord`.
const SEVERITY_TEXT: u32 = 3;
const BODY: u32 = 5;
const TRACE_ID: u32 = 9;
const SPAN_ID: u32 = 10;
const EVENT_NAME: u32 = 12;

/// A record, and the resource and scope it belongs to, while they are rewritten. Reuse it to keep its buffers.
///
/// Begin a resource, then each of its scopes, then each of their records; changes to a resource add up over its records.
#[derive(Debug, Default)]
pub struct Edit {
    resource: Part,
    scope: Part,
    record: Part,
    scratch: Vec<u8>,
}

#[derive(Debug, Default)]
struct Part {
    message: Vec<u8>,
    changed: bool,
}

impl Part {
    fn begin(&mut self, message: &[u8]) {
        self.message.clear();
        self.message.extend_from_slice(message);
        self.changed = false;
    }

    fn changed(&self) -> Option<&[u8]> {
        self.changed.then_some(self.message.as_slice())
    }

    /// Runs a change that writes the new message to a buffer and says whether there is one.
    fn change(&mut self, scratch: &mut Vec<u8>, change: impl FnOnce(&[u8], &mut Vec<u8>) -> bool) -> bool {
        scratch.clear();
        let changed = change(&self.message, scratch);
        if changed {
            std::mem::swap(&mut self.message, scratch);
            self.changed = true;
        }
        changed
    }
}

impl Edit {
    /// Begins a resource block with its `Resource` message.
    pub fn begin_resource(&mut self, message: &[u8]) {
        self.resource.begin(message);
    }
    /// Begins a scope block with its `InstrumentationScope` message.
    pub fn begin_scope(&mut self, message: &[u8]) {
        self.scope.begin(message);
    }
    /// Begins a record with its `LogRecord` message.
    pub fn begin_record(&mut self, message: &[u8]) {
        self.record.begin(message);
    }
    /// The `Resource` message, if an operation changed it since it began.
    pub fn resource(&self) -> Option<&[u8]> {
        self.resource.changed()
    }
    /// The `InstrumentationScope` message, if an operation changed it since it began.
    pub fn scope(&self) -> Option<&[u8]> {
        self.scope.changed()
    }
    /// The `LogRecord` message, if an operation changed it since it began.
    pub fn record(&self) -> Option<&[u8]> {
        self.record.changed()
    }

    /// Sets an attribute of the record to a string, or removes it.
    pub fn set_record_attribute(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.record.change(&mut self.scratch, |message, out| match value {
            None => edit::remove(message, RECORD_ATTRIBUTES, key, out),
            Some(text) => {
                let path: [Box<[u8]>; 1] = [key.into()];
                edit::add(message, RECORD_ATTRIBUTES, &path, &edit::string_value(text), true, out)
            }
        });
    }

    /// The part an attribute selector means, with the number of its attribute list.
    fn list<'e>(&'e mut self, field: &'e Field) -> Option<(&'e mut Part, &'e mut Vec<u8>, u32, &'e Path)> {
        let Edit { resource, scope, record, scratch } = self;
        match field {
            Field::Log(_) => None,
            Field::LogAttribute(path) => Some((record, scratch, RECORD_ATTRIBUTES, path)),
            Field::ResourceAttribute(path) => Some((resource, scratch, RESOURCE_ATTRIBUTES, path)),
            Field::ScopeAttribute(path) => Some((scope, scratch, SCOPE_ATTRIBUTES, path)),
        }
    }

    fn run(&mut self, operation: &Operation) {
        match operation {
            Operation::Remove(field) => self.remove(field),
            Operation::Redact { field, replacement } => {
                let masked = identifier_len(field).map(|len| identifier(replacement, len));
                self.redact(field, &mut |_| Some(masked.clone().unwrap_or_else(|| replacement.to_vec())));
            }
            Operation::RedactPattern { field, regex, template } => {
                self.redact(field, &mut |value| match value {
                    AnyValueRef::Str(text) => replace_all(regex, template, text),
                    _ => None,
                });
            }
            Operation::Rename { from, to, upsert } => self.rename(from, to, *upsert),
            Operation::Add { field, value, upsert } => self.add(field, value, *upsert),
        }
    }

    fn remove(&mut self, field: &Field) {
        if let Field::Log(field) = field {
            let Some(number) = number(*field) else { return };
            self.record.change(&mut self.scratch, |message, out| edit::remove_field(message, number, out));
        } else if let Some((part, scratch, list, path)) = self.list(field) {
            part.change(scratch, |message, out| edit::in_parent(message, list, path, out, &mut edit::remove));
        }
    }

    /// Replaces a value by the text that `mask` makes of it.
    fn redact(&mut self, field: &Field, mask: &mut dyn FnMut(AnyValueRef<'_>) -> Option<Vec<u8>>) {
        if let Field::Log(field) = field {
            let Some(number) = number(*field) else { return };
            let masked = simple_value(&self.record.message, *field).and_then(mask);
            let Some(text) = masked else { return };
            self.record.change(&mut self.scratch, |message, out| set_simple(message, number, &text, out));
        } else if let Some((part, scratch, list, path)) = self.list(field) {
            let mut any = |value: AnyValueRef<'_>| mask(value).map(|text| edit::string_value(&text));
            part.change(scratch, |message, out| {
                edit::in_parent(message, list, path, out, &mut |message, field, key, out| {
                    edit::replace(message, field, key, out, &mut any)
                })
            });
        }
    }

    fn rename(&mut self, from: &Field, to: &[u8], upsert: bool) {
        if let Field::Log(field) = from {
            self.move_to_attribute(*field, to, upsert);
        } else if let Some((part, scratch, list, path)) = self.list(from) {
            part.change(scratch, |message, out| {
                edit::in_parent(message, list, path, out, &mut |message, field, key, out| {
                    edit::rename(message, field, key, to, upsert, out)
                })
            });
        }
    }

    /// A renamed field of the record becomes an attribute of that name.
    fn move_to_attribute(&mut self, field: LogField, to: &[u8], upsert: bool) {
        let Some(number) = number(field) else { return };
        let value = match simple_value(&self.record.message, field) {
            None => return,
            Some(AnyValueRef::Str(text)) if field != LogField::Body => edit::string_value(text),
            Some(AnyValueRef::Bytes(id)) if field != LogField::Body => edit::string_value(&hex(id)),
            Some(_) => edit::last_field(&self.record.message, BODY).unwrap_or_default().to_vec(),
        };
        let path: [Box<[u8]>; 1] = [to.into()];
        let moved = self.record.change(&mut self.scratch, |message, out| {
            edit::add(message, RECORD_ATTRIBUTES, &path, &value, upsert, out)
        });
        if moved {
            self.record.change(&mut self.scratch, |message, out| edit::remove_field(message, number, out));
        }
    }

    fn add(&mut self, field: &Field, value: &[u8], upsert: bool) {
        if let Field::Log(field) = field {
            let Some(number) = number(*field) else { return };
            if !upsert && simple_value(&self.record.message, *field).is_some() {
                return;
            }
            self.record.change(&mut self.scratch, |message, out| set_simple(message, number, value, out));
        } else if let Some((part, scratch, list, path)) = self.list(field) {
            let any = edit::string_value(value);
            part.change(scratch, |message, out| edit::add(message, list, path, &any, upsert, out));
        }
    }
}

impl CompiledPolicy {
    /// Whether any matching policy rewrites the record.
    #[inline]
    pub fn transforms(&self, matches: &Matches) -> bool {
        matches.policies.iter().any(|&index| !self.compiled[usize::from(index)].operations.is_empty())
    }

    /// Rewrites a kept record, and the resource and scope of its block, as the matching policies say.
    pub fn apply(&self, matches: &Matches, edit: &mut Edit) {
        for &index in &matches.policies {
            for operation in &self.compiled[usize::from(index)].operations {
                edit.run(operation);
            }
        }
    }

    /// Whether any policy has operations at all.
    pub fn has_transforms(&self) -> bool {
        self.compiled.iter().any(|compiled| !compiled.operations.is_empty())
    }
}

fn number(field: LogField) -> Option<u32> {
    match field {
        LogField::Body => Some(BODY),
        LogField::SeverityText => Some(SEVERITY_TEXT),
        LogField::TraceId => Some(TRACE_ID),
        LogField::SpanId => Some(SPAN_ID),
        LogField::EventName => Some(EVENT_NAME),
        LogField::ResourceSchemaUrl | LogField::ScopeSchemaUrl | LogField::SeverityNumber => None,
    }
}

/// A field of the record that is not an attribute; `None` when it is absent or empty.
fn simple_value(record: &[u8], field: LogField) -> Option<AnyValueRef<'_>> {
    let bytes = edit::last_field(record, number(field)?)?;
    let value = match field {
        LogField::Body => AnyValueRef::parse(bytes),
        LogField::TraceId | LogField::SpanId => AnyValueRef::Bytes(bytes),
        _ => AnyValueRef::Str(bytes),
    };
    match value {
        AnyValueRef::Empty | AnyValueRef::Str(b"") => None,
        AnyValueRef::Bytes(b"") if field != LogField::Body => None,
        value => Some(value),
    }
}

fn set_simple(message: &[u8], number: u32, text: &[u8], out: &mut Vec<u8>) -> bool {
    if number == BODY {
        edit::set_field(message, BODY, &edit::string_value(text), out);
    } else {
        edit::set_field(message, number, text, out);
    }
    true
}

/// An identifier holds no text: a replacement that is not hex of the right length empties it.
fn identifier(replacement: &[u8], len: usize) -> Vec<u8> {
    let decoded = std::str::from_utf8(replacement).ok().and_then(decode_hex).filter(|bytes| bytes.len() == len);
    decoded.map(Vec::from).unwrap_or_default()
}

/// Replaces every match; `None` when there is none. Text that is not UTF-8 is left alone where the pattern cannot see it.
fn replace_all(regex: &Regex, template: &Template, text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut copied = 0;
    let mut found = false;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        found = true;
        out.extend_from_slice(&text[copied..whole.start()]);
        template.expand(&captures, &mut out);
        copied = whole.end();
    }
    out.extend_from_slice(&text[copied..]);
    found.then_some(out)
}
