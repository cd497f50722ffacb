//! Whether a document may become a version.
//!
//! Purpose: find everything that is wrong with a document before it is stored.
//! Promises: a document that passes compiles without a problem; each fault has its place and reason, all at once; a
//! drop that can never happen, as everything it matches is protected, is a fault.
//! Never: changes what a policy says, or looks at a database.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::store::VersionOrigin;
use crate::data_plane::policy::{CompiledPolicy, Document, Keep, MAX_POLICIES};
use crate::data_plane::window::Band;

/// Faults reported at most.
const MAX_VIOLATIONS: usize = 100;

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Violation {
    /// Place in the document, such as `policies[0].log.match[1]`; empty for all of it.
    pub path: String,
    /// Why it cannot be used.
    pub reason: String,
}

/// What a document is checked against.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest document, as JSON, in bytes.
    pub max_bytes: usize,
    /// Lowest severity band that gateways protect, if any.
    pub protect_from: Option<Band>,
}

/// A document that can be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// `{"policies": […]}`, with `patterns` if it has any.
    pub document: Value,
    /// Policies in it.
    pub policies: u64,
}

/// Checks a document in any of its forms. `protecting` are documents in force beside it.
///
/// # Errors
/// Every fault, at least one.
pub fn check(
    document: &Value,
    origin: VersionOrigin,
    limits: &Limits,
    protecting: &[Value],
) -> Result<Checked, Vec<Violation>> {
    let fault = |path: &str, reason: String| Violation { path: path.to_owned(), reason };
    let bytes = document.to_string().len();
    if bytes > limits.max_bytes {
        let reason = format!("{bytes} bytes as JSON, more than the limit of {}", limits.max_bytes);
        return Err(vec![fault("", reason)]);
    }
    let list = policies(document).map_err(|violation| vec![violation])?;
    if list.len() > MAX_POLICIES {
        return Err(vec![fault("policies", format!("{} policies, more than {MAX_POLICIES}", list.len()))]);
    }
    let mut violations = Vec::new();
    let mut tree = json!({ "policies": list });
    if let Some(patterns) = document.get("patterns").filter(|patterns| !patterns.is_null()) {
        tree["patterns"] = patterns.clone();
    }
    let source = Document::from_value("document", tree.clone());
    let compiled = CompiledPolicy::compile(&[source], 0, None);
    for problem in compiled.problems() {
        let at = list.iter().rposition(|policy| policy.get("id").and_then(Value::as_str) == Some(&problem.policy_id));
        let base = at.filter(|_| !problem.policy_id.is_empty()).map(|at| format!("policies[{at}]"));
        violations.extend(problem.messages.iter().map(|message| place(base.as_deref().unwrap_or_default(), message)));
    }
    contradictions(&list, limits, protecting, &mut violations);
    if origin == VersionOrigin::Generated {
        for (at, policy) in list.iter().enumerate().filter(|(_, policy)| is_true(policy, "protect")) {
            let id = policy.get("id").and_then(Value::as_str).unwrap_or_default();
            let reason = format!("policy {id:?}: only a person may protect");
            violations.push(fault(&format!("policies[{at}].protect"), reason));
        }
    }
    violations.truncate(MAX_VIOLATIONS);
    match violations.is_empty() {
        true => Ok(Checked { policies: list.len() as u64, document: tree }),
        false => Err(violations),
    }
}

/// The policies of a document in any of its forms.
fn policies(document: &Value) -> Result<Vec<Value>, Violation> {
    let fault = |path: &str, reason: String| Violation { path: path.into(), reason };
    match document {
        Value::Array(list) => Ok(list.clone()),
        Value::Object(map) if map.contains_key("policies") || map.contains_key("patterns") => {
            if let Some(key) = map.keys().find(|key| !["policies", "patterns", "hash"].contains(&key.as_str())) {
                return Err(fault("", format!("unknown field {key:?}")));
            }
            match map.get("policies") {
                Some(Value::Array(list)) => Ok(list.clone()),
                None | Some(Value::Null) => Ok(Vec::new()),
                Some(_) => Err(fault("policies", "must be a list".into())),
            }
        }
        Value::Object(map) if map.is_empty() => Ok(Vec::new()),
        Value::Object(_) => Ok(vec![document.clone()]),
        _ => Err(fault("", "expected policies, a list of policies or one policy".into())),
    }
}

/// A message of the compiler, `log: match[0]: reason`, as place and reason.
fn place(base: &str, message: &str) -> Violation {
    let (mut path, mut reason) = (base.to_owned(), message);
    while let Some((step, rest)) = reason.split_once(": ") {
        let name = step.split('[').next().unwrap_or_default();
        let is_step = !name.is_empty()
            && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            && step[name.len()..].chars().all(|c| c.is_ascii_digit() || "[]".contains(c));
        if !is_step {
            break;
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(step);
        reason = rest;
    }
    Violation { path, reason: reason.to_owned() }
}

fn is_true(policy: &Value, field: &str) -> bool {
    policy.get(field).and_then(Value::as_bool).unwrap_or(false)
}

fn matchers(policy: &Value) -> &[Value] {
    policy.get("log").and_then(|log| log.get("match")).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a policy can drop anything.
fn drops(policy: &Value) -> bool {
    let keep = policy.get("log").and_then(|log| log.get("keep")).and_then(Value::as_str).unwrap_or_default();
    !is_true(policy, "protect") && !matches!(Keep::parse(keep), None | Some(Keep::All))
}

/// Policies that drop only what is protected: their author thinks they do something, and they cannot.
fn contradictions(list: &[Value], limits: &Limits, protecting: &[Value], violations: &mut Vec<Violation>) {
    let in_force = protecting.iter().filter_map(|document| document.get("policies")?.as_array()).flatten();
    let protections: Vec<&Value> = list.iter().chain(in_force).filter(|policy| is_true(policy, "protect")).collect();
    for (at, policy) in list.iter().enumerate().filter(|(_, policy)| drops(policy)) {
        let own = matchers(policy);
        let covered = protections.iter().find(|protection| {
            let theirs = matchers(protection);
            !theirs.is_empty() && theirs.iter().all(|matcher| own.contains(matcher))
        });
        if let Some(protection) = covered {
            let id = protection.get("id").and_then(Value::as_str).unwrap_or_default();
            let reason = format!("contradicts a protection: {id:?} protects every record this matches");
            violations.push(Violation { path: format!("policies[{at}].log.keep"), reason });
        }
        let severe = limits.protect_from.filter(|from| own.iter().any(|matcher| is_severe(matcher, *from)));
        if let Some(from) = severe {
            let reason = format!(
                "contradicts a protection: gateways keep every record from {} up (protect_severity)",
                from.as_str()
            );
            violations.push(Violation { path: format!("policies[{at}].log.keep"), reason });
        }
    }
}

/// Whether a matcher admits protected severities alone.
fn is_severe(matcher: &Value, from: Band) -> bool {
    let field = matcher.get("log_field").or(matcher.get("logField")).and_then(Value::as_str).unwrap_or_default();
    let field = field.to_ascii_lowercase();
    if is_true(matcher, "negate") {
        return false;
    }
    match field.strip_prefix("log_field_").unwrap_or(&field) {
        "severity_number" => {
            let least = i64::from(from.severity_number());
            let number = |key: &str| {
                let value = matcher.get(key)?;
                value.as_i64().or_else(|| value.get("int_value").or(value.get("intValue"))?.as_i64())
            };
            ["equals", "gte"].into_iter().any(|key| number(key).is_some_and(|number| number >= least))
                || number("gt").is_some_and(|number| number >= least - 1)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_bytes: 2000, protect_from: Some(Band::Error) };

    fn policy(id: &str, matcher: &Value, keep: &str) -> Value {
        json!({ "id": id, "name": id, "log": { "match": [matcher], "keep": keep } })
    }

    fn protect(id: &str, matchers: &[Value]) -> Value {
        json!({ "id": id, "name": id, "protect": true, "log": { "match": matchers } })
    }

    fn faults(document: &Value) -> Vec<(String, String)> {
        let result = check(document, VersionOrigin::Human, &LIMITS, &[]);
        let violations = result.err().unwrap_or_default();
        violations.into_iter().map(|violation| (violation.path, violation.reason)).collect()
    }

    #[test]
    fn every_form_of_a_document_becomes_one() {
        let one = policy("a", &json!({ "log_field": "body", "exists": true }), "1%");
        let expected = Checked { document: json!({ "policies": [one] }), policies: 1 };
        for document in
            [json!({ "policies": [one] }), json!([one]), one.clone(), json!({"hash": "h", "policies": [one]})]
        {
            assert_eq!(check(&document, VersionOrigin::Human, &LIMITS, &[]), Ok(expected.clone()));
        }
        let patterns = json!({ "patterns": [{ "template": "took <*> ms" }] });
        let checked = check(&patterns, VersionOrigin::Human, &LIMITS, &[]).unwrap();
        assert_eq!(checked.document["patterns"], patterns["patterns"]);
        assert_eq!(check(&json!({}), VersionOrigin::Human, &LIMITS, &[]).unwrap().policies, 0);
    }

    #[test]
    fn faults_have_place_and_reason() {
        let body = json!({ "log_field": "body", "regex": "([bad" });
        let error = json!({ "log_field": "severity_number", "gte": 17 });
        let mut unknown = policy("b", &json!({ "log_field": "body", "exists": true }), "sometimes");
        unknown["enable"] = true.into();
        for (name, document, path, reason) in [
            ("a scalar", json!(5), "", "expected policies"),
            ("no list", json!({ "policies": 5 }), "policies", "must be a list"),
            ("a pattern", json!({ "patterns": [{}] }), "patterns[0]", "template is missing"),
            ("an unknown field around", json!({ "policies": [], "polices": [] }), "", "unknown field \"polices\""),
            ("too large", json!({ "policies": ["x".repeat(2000)] }), "", "more than the limit of 2000"),
            ("a regex", json!([policy("a", &body, "none")]), "policies[0].log.match[0]", "invalid regex"),
            ("no id", json!([{ "name": "x" }]), "policies[0]", "id is missing"),
            ("keep", json!([unknown]), "policies[0].log.keep", "sometimes"),
            ("an unknown field", json!([unknown]), "policies[0]", "unknown field \"enable\""),
            ("severity", json!([policy("a", &error, "none")]), "policies[0].log.keep", "contradicts a protection"),
        ] {
            let found = faults(&document);
            let is_there = found.iter().any(|(at, why)| at == path && why.contains(reason));
            assert!(is_there, "{name}: {found:?}");
        }
    }

    #[test]
    fn what_is_protected_cannot_be_dropped() {
        let (pay, audit) =
            (json!({ "log_field": "body", "contains": "pay" }), json!({ "log_attribute": "a", "exists": true }));
        let both = json!({ "id": "d", "name": "d", "log": { "match": [audit, pay], "keep": "5/s" } });
        let narrow = policy("d", &pay, "none");
        for (name, protection, drop, contradicts) in [
            ("all it matches is protected", protect("p", std::slice::from_ref(&pay)), &both, true),
            ("the same", protect("p", std::slice::from_ref(&pay)), &narrow, true),
            ("a part is protected", protect("p", &[pay.clone(), audit.clone()]), &narrow, false),
            ("something else is", protect("p", std::slice::from_ref(&audit)), &narrow, false),
        ] {
            assert_eq!(!faults(&json!([protection, drop])).is_empty(), contradicts, "{name}");
            let in_force = [json!({ "policies": [protection] })];
            let result = check(drop, VersionOrigin::Human, &LIMITS, &in_force);
            assert_eq!(result.is_err(), contradicts, "{name}, in another document");
        }
        assert_eq!(faults(&json!([protect("p", std::slice::from_ref(&pay)), policy("k", &pay, "all")])), []);
        let generated = check(&protect("p", &[pay]), VersionOrigin::Generated, &LIMITS, &[]);
        assert_eq!(generated.unwrap_err()[0].path, "policies[0].protect");
    }
}
