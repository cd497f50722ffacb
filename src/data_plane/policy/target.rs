//! The `log` target of a policy: matchers, keep, sample key, transform.
//!
//! Purpose: read them in canonical and short form and build the tests.
//! Promises: every error is noted with its place, as in `log: match[0]: invalid regex "([bad"`.
//! Never: guesses what a malformed part might mean.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::fields::{Errors, Fields, kind, shown};
use super::keep::Keep;
use super::matcher::{Compare, Field, IdMatcher, LogField, Matcher, Number, Path, Test};
use super::operation::{self, Operation};
use super::pattern::PatternError;
use super::text::{Place, TextTest};
use crate::data_plane::pattern::PatternId;
use crate::data_plane::signature::Signature;

/// What a policy asks of log records.
#[derive(Debug, Default)]
pub(super) struct LogTarget {
    pub matchers: Vec<Matcher>,
    pub signatures: Vec<IdMatcher<Signature>>,
    pub patterns: Vec<IdMatcher<PatternId>>,
    /// `None` when the document does not say.
    pub keep: Option<Keep>,
    pub sample_key: Option<Field>,
    /// The matchers on resource and scope as text: equal texts are equal conditions.
    pub block_text: String,
    /// In the order of execution.
    pub operations: Vec<Operation>,
}

/// Matchers of one policy at most.
const MAX_MATCHERS: usize = 256;
/// Steps of a path at most.
const MAX_PATH: usize = 64;

const TARGET_FIELDS: &[&str] = &["match", "keep", "transform", "sample_key"];
/// The selectors of a field.
pub(super) const SELECTORS: [&str; 4] = ["log_field", "log_attribute", "resource_attribute", "scope_attribute"];
const TESTS: [&str; 11] =
    ["exact", "regex", "exists", "starts_with", "ends_with", "contains", "equals", "gt", "gte", "lt", "lte"];
const MATCHER_FIELDS: &[&str] = &[
    "log_field",
    "log_attribute",
    "resource_attribute",
    "scope_attribute",
    "signature",
    "pattern",
    "exact",
    "regex",
    "exists",
    "starts_with",
    "ends_with",
    "contains",
    "equals",
    "gt",
    "gte",
    "lt",
    "lte",
    "negate",
    "case_insensitive",
];

/// Reads the target of a policy that is, or is not, there to protect what it matches.
pub(super) fn read(tree: &Value, protect: bool, errors: &mut Errors) -> LogTarget {
    let mut target = LogTarget::default();
    let Some(fields) = Fields::read(tree, "log", TARGET_FIELDS, errors) else { return target };
    let matchers = fields.list("match", "log", errors);
    if matchers.is_empty() {
        errors.note("log", "at least one matcher is required");
    }
    if matchers.len() > MAX_MATCHERS {
        errors.note("log", format!("{} matchers, more than the limit of {MAX_MATCHERS}", matchers.len()));
    }
    for (i, tree) in matchers.iter().take(MAX_MATCHERS).enumerate() {
        matcher(tree, &format!("log: match[{i}]"), &mut target, errors);
    }
    target.keep = fields.get("keep").and_then(|value| keep(value, errors));
    if protect && !matches!(target.keep, None | Some(Keep::All)) {
        errors.note("log", "keep: a policy that protects keeps all; leave keep out");
    }
    if let Some(tree) = fields.get("sample_key") {
        let at = "log: sample_key";
        target.sample_key =
            Fields::read(tree, at, &SELECTORS, errors).and_then(|fields| selector(&fields, "", at, errors));
    }
    if let Some(tree) = fields.get("transform") {
        target.operations = operation::read(tree, errors);
    }
    target
}

fn keep(value: &Value, errors: &mut Errors) -> Option<Keep> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => {
            let keep = Keep::parse(text);
            if keep.is_none() {
                errors.note("log: keep", format!("invalid value {}", shown(text)));
            }
            keep
        }
        other => {
            errors.note("log: keep", format!("invalid value {}", shown(&other.to_string())));
            None
        }
    }
}

fn matcher(tree: &Value, at: &str, target: &mut LogTarget, errors: &mut Errors) {
    let Some(fields) = Fields::read(tree, at, MATCHER_FIELDS, errors) else { return };
    let negate = fields.flag("negate", at, errors).unwrap_or(false);
    for name in fields.present(&["signature", "pattern"]) {
        let other_id = fields.present(&[if name == "signature" { "pattern" } else { "signature" }]);
        for other in fields.present(&SELECTORS).into_iter().chain(fields.present(&TESTS)).chain(other_id) {
            errors.note(at, format!("{name} stands alone, without {other}"));
        }
        let Some(value) = fields.get(name) else { continue };
        if name == "signature" {
            target.signatures.extend(ids(value, name, at, errors).map(|ids| IdMatcher { ids, negate }));
        } else {
            target.patterns.extend(ids(value, name, at, errors).map(|ids| IdMatcher { ids, negate }));
        }
    }
    if !fields.present(&["signature", "pattern"]).is_empty() {
        return;
    }
    let field = selector(&fields, "", at, errors);
    let test = test(&fields, field.as_ref(), at, errors);
    if let (Some(field), Some((test, is_inverse))) = (field, test) {
        if field.is_of_block() {
            target.block_text.push_str(&tree.to_string());
        }
        target.matchers.push(Matcher { field, test, negate: negate != is_inverse });
    }
}

/// One id or a list of them, of the kind that `name` says.
fn ids<Id: FromStr<Err = String> + Ord>(value: &Value, name: &str, at: &str, errors: &mut Errors) -> Option<Box<[Id]>> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    if list.is_empty() {
        errors.note(at, format!("{name} names none"));
        return None;
    }
    let mut ids = Vec::with_capacity(list.len());
    for value in list {
        match value.as_str().map(str::parse::<Id>) {
            Some(Ok(id)) => ids.push(id),
            Some(Err(error)) => errors.note(at, error),
            None => errors.note(at, format!("a {name} is 16 hex digits in quotes, found {}", kind(value))),
        }
    }
    ids.sort_unstable();
    ids.dedup();
    (!ids.is_empty()).then(|| ids.into())
}

/// The one selector of a mapping, with `prefix` before its name (`from_` in a rename).
pub(super) fn selector(fields: &Fields<'_>, prefix: &str, at: &str, errors: &mut Errors) -> Option<Field> {
    let names = SELECTORS.map(|name| format!("{prefix}{name}"));
    let mut found = names.iter().zip(SELECTORS).filter_map(|(name, which)| Some((which, fields.get(name)?)));
    let Some((which, value)) = found.next() else {
        errors.note(at, format!("no field selector: one of {}", names.join(", ")));
        return None;
    };
    if found.next().is_some() {
        errors.note(at, "more than one field selector");
        return None;
    }
    if which == "log_field" {
        return log_field(value, at, errors).map(Field::Log);
    }
    let path = path(value, at, errors)?;
    Some(match which {
        "log_attribute" => Field::LogAttribute(path),
        "resource_attribute" => Field::ResourceAttribute(path),
        _ => Field::ScopeAttribute(path),
    })
}

fn log_field(value: &Value, at: &str, errors: &mut Errors) -> Option<LogField> {
    let field = match value {
        Value::String(name) => log_field_by_name(name),
        Value::Number(number) => number.as_u64().and_then(log_field_by_number),
        _ => None,
    };
    if field.is_none() {
        let found = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        errors.note(at, format!("unknown log_field {}", shown(&found)));
    }
    field
}

fn log_field_by_name(name: &str) -> Option<LogField> {
    let name = name.to_ascii_lowercase();
    Some(match name.strip_prefix("log_field_").unwrap_or(&name) {
        "body" => LogField::Body,
        "severity_text" => LogField::SeverityText,
        "trace_id" => LogField::TraceId,
        "span_id" => LogField::SpanId,
        "event_name" => LogField::EventName,
        "resource_schema_url" => LogField::ResourceSchemaUrl,
        "scope_schema_url" => LogField::ScopeSchemaUrl,
        "severity_number" => LogField::SeverityNumber,
        _ => return None,
    })
}

/// Numbers of the public schema's enum; ours has none.
fn log_field_by_number(number: u64) -> Option<LogField> {
    Some(match number {
        1 => LogField::Body,
        2 => LogField::SeverityText,
        3 => LogField::TraceId,
        4 => LogField::SpanId,
        5 => LogField::EventName,
        10 => LogField::ResourceSchemaUrl,
        11 => LogField::ScopeSchemaUrl,
        _ => return None,
    })
}

/// `{path: [a, b]}`, `[a, b]` or `a`.
fn path(value: &Value, at: &str, errors: &mut Errors) -> Option<Path> {
    let steps: Vec<&Value> = match value {
        Value::String(_) => vec![value],
        Value::Array(list) => list.iter().collect(),
        Value::Object(_) => {
            let fields = Fields::read(value, at, &["path"], errors)?;
            fields.list("path", at, errors).iter().collect()
        }
        other => {
            errors.note(at, format!("an attribute is a name or a list of names, found {}", kind(other)));
            return None;
        }
    };
    if steps.is_empty() || steps.iter().any(|step| step.as_str() == Some("")) {
        errors.note(at, "attribute has empty path");
        return None;
    }
    if steps.len() > MAX_PATH {
        errors.note(at, format!("the attribute path has {} steps, more than the limit of {MAX_PATH}", steps.len()));
        return None;
    }
    let steps: Option<Path> = steps.iter().map(|step| step.as_str().map(|step| step.as_bytes().into())).collect();
    if steps.is_none() {
        errors.note(at, "an attribute path holds strings; put them in quotes");
    }
    steps
}

/// The one test of a matcher, and whether it is inverse (`exists: false`).
fn test(fields: &Fields<'_>, field: Option<&Field>, at: &str, errors: &mut Errors) -> Option<(Test, bool)> {
    let fold = fields.flag("case_insensitive", at, errors).unwrap_or(false);
    let tests = fields.present(&TESTS);
    let name = match tests[..] {
        [name] => name,
        [] => {
            errors.note(at, format!("no match condition: one of {}", TESTS.join(", ")));
            return None;
        }
        _ => {
            errors.note(at, format!("more than one match condition: {}", tests.join(", ")));
            return None;
        }
    };
    let is_number_field = matches!(field, Some(Field::Log(LogField::SeverityNumber)));
    if is_number_field && matches!(name, "exact" | "regex" | "starts_with" | "ends_with" | "contains") {
        errors.note(
            at,
            format!("the severity number is a number: compare it with equals, gt, gte, lt or lte, not {name}"),
        );
        return None;
    }
    match name {
        "exists" => fields.flag(name, at, errors).map(|exists| (Test::Exists, !exists)),
        "equals" => {
            let test = equals(fields.get(name)?, field, fold, at, errors)?;
            if is_number_field && !matches!(test, Test::Number(..)) {
                errors.note(at, "the severity number is a number: write it without quotes");
                return None;
            }
            Some((test, false))
        }
        "gt" | "gte" | "lt" | "lte" => {
            let compare = match name {
                "gt" => Compare::Greater,
                "gte" => Compare::GreaterOrEqual,
                "lt" => Compare::Less,
                _ => Compare::LessOrEqual,
            };
            number(fields.get(name)?, name, at, errors).map(|number| (Test::Number(compare, number), false))
        }
        _ => text_test(name, fields.text(name, at, errors)?, field, fold, at, errors).map(|test| (test, false)),
    }
}

fn text_test(
    name: &str,
    literal: &str,
    field: Option<&Field>,
    fold: bool,
    at: &str,
    errors: &mut Errors,
) -> Option<Test> {
    let is_identifier = matches!(field, Some(Field::Log(LogField::TraceId | LogField::SpanId)));
    let place = match name {
        "regex" => return checked(TextTest::regex(literal, fold), "regex", literal, at, errors).map(Test::Text),
        "exact" if is_identifier => return hex_bytes(literal, at, errors).map(Test::Bytes),
        "exact" => Place::Whole,
        "starts_with" => Place::Start,
        "ends_with" => Place::End,
        _ => Place::Anywhere,
    };
    checked(TextTest::literal(literal, place, fold), name, literal, at, errors).map(Test::Text)
}

/// Notes a pattern error.
pub(super) fn checked<T>(
    result: Result<T, PatternError>,
    what: &str,
    source: &str,
    at: &str,
    errors: &mut Errors,
) -> Option<T> {
    match result {
        Ok(built) => return Some(built),
        Err(PatternError::Invalid) => errors.note(at, format!("invalid {what} {}", shown(source))),
        Err(PatternError::TooLarge) => errors.note(at, format!("{what} is too large: {}", shown(source))),
    }
    None
}

fn hex_bytes(text: &str, at: &str, errors: &mut Errors) -> Option<Box<[u8]>> {
    let bytes = decode_hex(text);
    if bytes.is_none() {
        errors.note(at, format!("invalid hex {}", shown(text)));
    }
    bytes
}

/// Hex digits of either case, two a byte.
pub(super) fn decode_hex(text: &str) -> Option<Box<[u8]>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| (byte as char).to_digit(16);
    let bytes = pairs.iter().map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect();
    if rest.is_empty() { bytes } else { None }
}

fn equals(value: &Value, field: Option<&Field>, fold: bool, at: &str, errors: &mut Errors) -> Option<Test> {
    match value {
        Value::Bool(flag) => return Some(Test::Bool(*flag)),
        Value::String(text) => return text_test("exact", text, field, fold, at, errors),
        Value::Number(_) => return number(value, "equals", at, errors).map(|n| Test::Number(Compare::Equal, n)),
        _ => {}
    }
    const VARIANTS: [&str; 6] = ["bool_value", "int_value", "double_value", "bytes_value", "hex_value", "string_value"];
    let fields = Fields::read(value, at, &VARIANTS, errors)?;
    let variant = match fields.present(&VARIANTS)[..] {
        [variant] => variant,
        [] => {
            errors.note(at, "equals has no value");
            return None;
        }
        _ => {
            errors.note(at, "equals has more than one value");
            return None;
        }
    };
    match variant {
        "bool_value" => fields.flag(variant, at, errors).map(Test::Bool),
        "hex_value" => hex_bytes(fields.text(variant, at, errors)?, at, errors).map(Test::Bytes),
        "bytes_value" => base64(fields.text(variant, at, errors)?, at, errors).map(Test::Bytes),
        "string_value" => text_test("exact", fields.text(variant, at, errors)?, field, fold, at, errors),
        _ => number(value, "equals", at, errors).map(|number| Test::Number(Compare::Equal, number)),
    }
}

/// Base64 of either alphabet, padded or not, as the JSON mapping of protobuf accepts it.
fn base64(text: &str, at: &str, errors: &mut Errors) -> Option<Box<[u8]>> {
    let decoded = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().find_map(|e| e.decode(text).ok());
    if decoded.is_none() {
        errors.note(at, format!("invalid base64 {}", shown(text)));
    }
    decoded.map(Vec::into_boxed_slice)
}

/// `500`, `0.5`, `{int_value: 500}`, `{int_value: "500"}` or `{double_value: 0.5}`.
fn number(value: &Value, name: &str, at: &str, errors: &mut Errors) -> Option<Number> {
    let (value, variant) = match value {
        Value::Object(_) => {
            let fields = Fields::read(value, at, &["int_value", "double_value"], errors)?;
            match (fields.get("int_value"), fields.get("double_value")) {
                (Some(value), None) => (value, "int_value"),
                (None, Some(value)) => (value, "double_value"),
                (None, None) => {
                    errors.note(at, format!("{name} has no value"));
                    return None;
                }
                _ => {
                    errors.note(at, format!("{name} has more than one value"));
                    return None;
                }
            }
        }
        value => (value, ""),
    };
    let int = value.as_i64().or_else(|| if variant == "int_value" { value.as_str()?.parse().ok() } else { None });
    let number = match (variant, int) {
        ("double_value", _) => value.as_f64().map(Number::Double),
        (_, Some(int)) => Some(Number::Int(int)),
        ("", None) => value.as_f64().map(Number::Double),
        _ => None,
    };
    if number.is_none() {
        let found = value.as_str().map_or_else(|| kind(value).to_owned(), shown);
        errors.note(at, format!("{name} takes a number, found {found}"));
    }
    number
}
