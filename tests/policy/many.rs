//! Many policies on the same fields: what an index finds is what each policy finds alone.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{compiled, evaluate, request_of, valid};

const WORDS: [&str; 10] =
    ["time", "timeout", "out of memory", "TIMEOUT", "ime", "ab", "\u{212a}ernel", "kernel", "404", ""];
const PATTERNS: [&str; 9] = [
    "timeout",
    "^(time|out of) ?mem",
    "(connection|request) (timeout|reset)$",
    "[a-z]+out",
    "^$",
    "k(er|ar)nel",
    r"\btime\b",
    "(?i)out OF",
    "memory|[0-9]{3}",
];

fn text() -> impl Strategy<Value = String> {
    vec(prop_oneof![3 => (0..WORDS.len()).prop_map(|i| WORDS[i].to_owned()), 1 => "[ a-e0-9]{0,3}"], 0..4)
        .prop_map(|words| words.join(" "))
}

fn test() -> impl Strategy<Value = (String, Value)> {
    prop_oneof![
        ("exact|contains|starts_with|ends_with", 0..WORDS.len()).prop_map(|(name, word)| (name, json!(WORDS[word]))),
        (0..PATTERNS.len()).prop_map(|i| ("regex".to_owned(), json!(PATTERNS[i]))),
        Just(("exists".to_owned(), json!(true))),
    ]
}

fn matcher() -> impl Strategy<Value = Value> {
    let field = prop_oneof![
        3 => Just(("log_field", json!("body"))),
        2 => Just(("log_attribute", json!(["a"]))),
        1 => Just(("log_attribute", json!(["b"]))),
        1 => Just(("log_field", json!("trace_id"))),
        1 => Just(("resource_attribute", json!(["a"]))),
    ];
    (field, test(), prop::bool::weighted(0.2), any::<bool>()).prop_map(|((of, name), (test, wanted), negate, fold)| {
        let mut matcher = json!({of: name, test.clone(): wanted});
        if negate {
            matcher["negate"] = json!(true);
        }
        if fold && test != "exists" {
            matcher["case_insensitive"] = json!(true);
        }
        matcher
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => text().prop_map(|text| json!({"stringValue": text})),
        1 => Just(json!({"bytesValue": "dGltZW91dA=="})),
        1 => Just(json!({"intValue": "404"})),
    ]
}

fn record() -> impl Strategy<Value = Value> {
    let resource = value().prop_map(|a| json!({"attributes": [{"key": "a", "value": a}]}));
    (prop::option::of(value()), value(), value(), any::<bool>(), resource).prop_map(|(body, a, b, traced, resource)| {
        let mut record = json!({"attributes": [{"key": "a", "value": a}, {"key": "b", "value": b}]});
        if let Some(body) = body {
            record["body"] = body;
        }
        if traced {
            record["traceId"] = json!("40400000000000000000000000000404");
        }
        json!({"record": record, "resource": resource})
    })
}

fn policy(number: usize, matchers: &[Value]) -> Value {
    json!({"id": format!("{number:03}"), "name": "n", "log": {"match": matchers, "keep": "50%"}})
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn together_as_alone(rules in vec(vec(matcher(), 1..3), 1..40), records in vec(record(), 1..8)) {
        let policies: Vec<Value> = rules.iter().enumerate().map(|(i, matchers)| policy(i, matchers)).collect();
        let alone: Vec<_> = policies.iter().map(|policy| compiled(json!([policy]))).collect();
        let together = compiled(json!(policies));
        prop_assert_eq!(together.len(), alone.iter().map(|one| one.len()).sum::<usize>());
        for case in &records {
            let request = request_of(case);
            let matching = |set: &_| {
                let outcome = evaluate(set, &request, None, 0, 0);
                outcome.matches.policies.to_vec()
            };
            let found: Vec<String> =
                matching(&together).iter().map(|&index| together.policy(index).id.to_string()).collect();
            let wanted: Vec<String> = alone.iter().filter(|one| !matching(one).is_empty())
                .map(|one| one.policy(0).id.to_string()).collect();
            prop_assert_eq!(&found, &wanted, "{} of {}", case, json!(policies));
        }
    }
}

/// A literal that occurs often, in a long text, is tried once.
#[test]
fn a_text_full_of_matches_is_no_trouble() {
    let policies: Vec<Value> =
        (0..200).map(|i| policy(i, &[json!({"log_field": "body", "contains": "a".repeat(i + 3)})])).collect();
    let set = valid(json!(policies));
    let request = request_of(&json!({"record": {"body": {"stringValue": "a".repeat(100_000)}}}));
    assert_eq!(evaluate(&set, &request, None, 0, 0).matches.policies.len(), 200);
}
