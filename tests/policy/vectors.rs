//! `spec/policy-vectors/*.json`: each case is a promise of `spec/policy.md`.

use lipservice::data_plane::policy::{CompiledPolicy, Form};
use lipservice::data_plane::view::json;
use serde_json::{Value, json};

use super::{compiled, documents, evaluate, request_of, valid};

const MATCH: &str = include_str!("../../spec/policy-vectors/match.json");
const KEEP: &str = include_str!("../../spec/policy-vectors/keep.json");
const TRANSFORM: &str = include_str!("../../spec/policy-vectors/transform.json");
const ERRORS: &str = include_str!("../../spec/policy-vectors/errors.json");
const DOCUMENTS: &str = include_str!("../../spec/policy-vectors/documents.json");

/// Runs every case and reports all that fail.
fn each(vectors: &str, at_least: usize, mut check: impl FnMut(&Value) -> Result<(), String>) {
    let tree: Value = serde_json::from_str(vectors).unwrap();
    let cases = tree["cases"].as_array().unwrap();
    assert!(cases.len() >= at_least, "only {} cases", cases.len());
    let failures: Vec<String> =
        cases.iter().filter_map(|case| check(case).err().map(|error| format!("{}: {error}", case["name"]))).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, found: &T) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("{what}: expected {expected:?}, found {found:?}")) }
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap(), 16).unwrap()
}

#[test]
fn matchers_match_as_the_vectors_say() {
    each(MATCH, 100, |case| {
        let policy = json!({"id": "p", "name": "p", "log": {"match": case["match"], "keep": "none"}});
        let policies = valid(json!({"policies": [policy], "patterns": case["patterns"]}));
        let signature = case.get("signature").map(|text| text.as_str().unwrap().parse().unwrap());
        let outcome = evaluate(&policies, &request_of(case), signature, 0, 0);
        same("matches", &case["matches"].as_bool().unwrap(), &!outcome.matches.is_empty())
    });
}

#[test]
fn keeps_decide_as_the_vectors_say() {
    each(KEEP, 50, |case| {
        let policies = compiled(case["policies"].clone());
        for (i, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            step_of(&policies, step).map_err(|error| format!("step {i}: {error}"))?;
        }
        let stats: Vec<Value> = policies
            .stats()
            .into_iter()
            .map(|stats| json!({"policy_id": stats.id, "hits": stats.hits, "misses": stats.misses}))
            .collect();
        same("stats", case["stats"].as_array().unwrap(), &stats)
    });
}

fn step_of(policies: &CompiledPolicy, step: &Value) -> Result<(), String> {
    let now = (step["seconds"].as_f64().unwrap() * 1e9).round() as u64;
    let signature = step.get("signature").map(|text| text.as_str().unwrap().parse().unwrap());
    let outcome = evaluate(policies, &request_of(step), signature, hex(&step["randomness"]), now);
    let found = outcome.resolution;
    policies.count(&outcome.matches, &found, found.keep);
    same("keep", &step["keep"].as_bool().unwrap(), &found.keep)?;
    if let Some(form) = step.get("form") {
        let name = match found.form {
            Form::All => "all",
            Form::None => "none",
            Form::Percentage => "percentage",
            Form::RateLimit => "rate_limit",
            Form::Unmatched => "unmatched",
        };
        same("form", &form.as_str().unwrap(), &name)?;
        let decided_by = found.policy.map(|index| policies.policy(index).id.to_string());
        same("decided_by", &step.get("decided_by").map(|id| id.as_str().unwrap().to_owned()), &decided_by)?;
    }
    if let Some(threshold) = step.get("threshold") {
        same("threshold", &hex(threshold), &found.threshold)?;
    }
    match step.get("own_randomness") {
        Some(own) => same("own_randomness", &own.as_bool().unwrap(), &found.own_randomness),
        None => Ok(()),
    }
}

#[test]
fn transforms_rewrite_as_the_vectors_say() {
    each(TRANSFORM, 55, |case| {
        let everything = json!([{"log_attribute": "no such attribute", "exists": false}]);
        let policies =
            valid(json!([{"id": "p", "name": "p", "log": {"match": everything, "transform": case["transform"]}}]));
        let found = policies.apply_to_request(&request_of(&case["before"]), 0, || 0).unwrap();
        let as_json = |request: &[u8]| {
            let mut text = Vec::new();
            json::encode(request, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        same("after", &as_json(&request_of(&case["after"])), &as_json(&found))
    });
}

#[test]
fn errors_are_reported_as_the_vectors_say() {
    each(ERRORS, 60, |case| {
        let policies = compiled(json!([case["policy"]]));
        let found: Vec<&str> =
            policies.problems().iter().flat_map(|problem| &problem.messages).map(String::as_str).collect();
        let expected: Vec<&str> = case["errors"].as_array().unwrap().iter().map(|e| e.as_str().unwrap()).collect();
        same("errors", &expected, &found)?;
        same("policies in force", &0, &policies.len())
    });
}

#[test]
fn documents_are_read_as_the_vectors_say() {
    each(DOCUMENTS, 20, |case| {
        let policies = CompiledPolicy::compile(&documents(case["text"].as_str().unwrap()), 0, None);
        let ids: Vec<Value> = (0..policies.len()).map(|i| policies.policy(i as u16).id.to_string().into()).collect();
        same("policies", case["policies"].as_array().unwrap(), &ids)?;
        let problems: Vec<Value> = policies
            .problems()
            .iter()
            .flat_map(|p| p.messages.iter().map(|message| format!("{}: {message}", p.policy_id).into()))
            .collect();
        same("problems", case["problems"].as_array().unwrap(), &problems)
    });
}
