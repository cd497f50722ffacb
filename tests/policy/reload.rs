//! What a reload keeps, what expires, and limits under threads and a clock that moves.

use std::sync::atomic::{AtomicU64, Ordering};

use lipservice::data_plane::policy::{CompiledPolicy, Document, MAX_POLICIES};
use serde_json::{Value, json};

use super::{evaluate, request_of, valid};

const SECOND: u64 = 1_000_000_000;

fn policy(id: &str, keep: &str) -> Value {
    json!({"id": id, "name": id, "log": {"match": [{"log_field": "body", "exists": true}], "keep": keep}})
}

fn recompiled(tree: Value, now: u64, previous: &CompiledPolicy) -> CompiledPolicy {
    CompiledPolicy::compile(&[Document::from_value("vector", tree)], now, Some(previous))
}

fn record() -> Vec<u8> {
    request_of(&json!({"record": {"body": {"stringValue": "x"}}}))
}

/// Decides on one record and counts it.
fn keeps(policies: &CompiledPolicy, now: u64) -> bool {
    let outcome = evaluate(policies, &record(), None, 0, now);
    policies.count(&outcome.matches, &outcome.resolution, outcome.resolution.keep);
    outcome.resolution.keep
}

fn hits_and_misses(policies: &CompiledPolicy) -> Vec<(String, u64, u64)> {
    policies.stats().into_iter().map(|stats| (stats.id, stats.hits, stats.misses)).collect()
}

#[test]
fn counters_and_limits_outlive_a_reload_by_id() {
    let first = valid(json!([policy("limit", "2/m"), policy("all", "all")]));
    assert_eq!([keeps(&first, 0), keeps(&first, 1)], [true, true]);
    let second = recompiled(json!([policy("all", "all"), policy("new", "all"), policy("limit", "2/m")]), 2, &first);
    assert!(!keeps(&second, 3), "the window goes on");
    assert!(keeps(&second, 60 * SECOND));
    let expected = [("all", 3, 1), ("limit", 4, 0), ("new", 1, 1)].map(|(id, hits, misses)| (id.into(), hits, misses));
    assert_eq!(hits_and_misses(&second), expected);
}

#[test]
fn requests_under_the_old_set_still_count() {
    let first = valid(json!([policy("a", "all")]));
    let second = recompiled(json!([policy("a", "all")]), 0, &first);
    keeps(&first, 0);
    assert_eq!(hits_and_misses(&second), [("a".to_owned(), 1, 0)]);
}

#[test]
fn another_limit_begins_anew() {
    let first = valid(json!([policy("a", "1/m")]));
    assert!(keeps(&first, 0) && !keeps(&first, 0));
    let second = recompiled(json!([policy("a", "2/m")]), 0, &first);
    assert_eq!([keeps(&second, 0), keeps(&second, 0), keeps(&second, 0)], [true, true, false]);
    let third = recompiled(json!([policy("a", "2/5m")]), 0, &second);
    assert!(keeps(&third, 0));
}

#[test]
fn a_policy_that_breaks_keeps_its_errors_and_the_others_their_counts() {
    let first = valid(json!([policy("a", "none"), policy("b", "all")]));
    assert!(!keeps(&first, 0));
    let second = recompiled(json!([policy("a", "nothing"), policy("b", "all")]), 0, &first);
    assert!(keeps(&second, 0));
    let stats = second.stats();
    assert_eq!(
        (stats[0].id.as_str(), stats[0].errors.as_slice()),
        ("a", &["log: keep: invalid value \"nothing\"".to_owned()][..])
    );
    assert_eq!((stats[1].hits, stats[1].misses), (1, 1));
}

#[test]
fn expired_policies_are_left_out_and_do_not_count_as_problems() {
    let mut expiring = policy("a", "none");
    expiring["expires_at"] = json!("2026-06-01T12:00:00.5Z");
    let noon = 1_780_315_200 * SECOND;
    let document = [Document::from_value("vector", json!([expiring]))];
    let policies = CompiledPolicy::compile(&document, noon, None);
    assert_eq!([keeps(&policies, noon), keeps(&policies, noon + SECOND / 2)], [false, true]);
    let later = CompiledPolicy::compile(&document, noon + SECOND, None);
    assert!(later.is_empty() && later.problems().is_empty());
}

#[test]
fn a_limit_holds_under_threads() {
    let policies = valid(json!([policy("a", "100/s")]));
    let kept = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mine = (0..200).filter(|_| keeps(&policies, 5 * SECOND)).count();
                kept.fetch_add(mine as u64, Ordering::Relaxed);
            });
        }
    });
    assert_eq!(kept.into_inner(), 100);
    assert_eq!(hits_and_misses(&policies), [("a".to_owned(), 800, 0)]);
}

#[test]
fn a_clock_that_moves_back_neither_opens_nor_closes_a_limit_for_long() {
    let policies = valid(json!([policy("a", "1/s")]));
    assert!(keeps(&policies, 100 * SECOND));
    assert!(!keeps(&policies, 100 * SECOND - 1), "a reading that is a moment old counts in the present window");
    assert!(!keeps(&policies, 100 * SECOND));
    assert!(keeps(&policies, 50 * SECOND), "a clock that was set back begins a new window");
    assert!(!keeps(&policies, 50 * SECOND));
}

#[test]
fn ten_thousand_signatures_are_told_apart() {
    let policies: Vec<Value> = (0..10_000)
        .map(|i| {
            json!({"id": format!("g{i:05}"), "name": "n", "origin": "generated", "log": {"match": [
                {"resource_attribute": "service.name", "equals": format!("s{}", i % 7)},
                {"signature": format!("{:016x}", i / 2)},
            ], "keep": "none"}})
        })
        .collect();
    let policies = valid(json!({"policies": policies}));
    let request = request_of(&json!({
        "record": {"body": {"stringValue": "x"}},
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s3"}}]},
    }));
    for (signature, expected) in
        [("0000000000000005", Some("g00010")), ("0000000000000006", None), ("0000000000002000", None)]
    {
        let outcome = evaluate(&policies, &request, Some(signature.parse().unwrap()), 0, 0);
        let found = outcome.resolution.policy.map(|index| &*policies.policy(index).id);
        assert_eq!(found, expected, "{signature}");
    }
}

#[test]
fn more_policies_than_there_are_indices_are_refused_one_by_one() {
    let policies: Vec<Value> = (0..MAX_POLICIES + 2).map(|i| policy(&format!("{i:06}"), "all")).collect();
    let policies = CompiledPolicy::compile(&[Document::from_value("vector", json!(policies))], 0, None);
    assert_eq!((policies.len(), policies.problems().len()), (MAX_POLICIES, 2));
    assert_eq!(policies.problems()[0].messages, ["more than 65535 policies"]);
}
