//! `spec/patterns-vectors.json`: what `spec/patterns.md` promises.

use lipservice::data_plane::policy::{CompiledPolicy, Document};
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../spec/patterns-vectors.json");

#[test]
fn messages_find_their_patterns_as_the_vectors_say() {
    let tree: Value = serde_json::from_str(VECTORS).unwrap();
    let vectors = tree["vectors"].as_array().unwrap();
    assert!(tree["version"] == 1 && vectors.len() >= 30);
    let mut failures = Vec::new();
    for vector in vectors {
        let document = Document::from_value("vector", json!({"patterns": vector["patterns"]}));
        let policy = CompiledPolicy::compile(&[document], 0, None);
        assert_eq!(policy.problems(), [], "{vector}");
        for message in vector["messages"].as_array().unwrap() {
            let found = policy.catalogue().find(message[0].as_str().unwrap()).map(|pattern| &*pattern.template);
            if found != message[1].as_str() {
                failures.push(format!("{}: {message}: found {found:?}", vector["note"]));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
