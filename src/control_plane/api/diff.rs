//! What differs between two documents, policy by policy.
//!
//! Promises: pure; every policy that differs is named once, with both of its texts.
//! Never: says which one is better.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// What happened to a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Only the later document has it.
    Added,
    /// Only the earlier document has it.
    Removed,
    /// It reads differently.
    Changed,
}

/// A policy that differs.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PolicyDiff {
    /// Its id.
    pub id: String,
    /// What happened to it.
    pub change: Change,
    /// The earlier text; null when added.
    #[schema(value_type = Object, nullable)]
    pub before: Value,
    /// The later text; null when removed.
    #[schema(value_type = Object, nullable)]
    pub after: Value,
}

/// What differs between two versions.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Diff {
    /// Number of the earlier version; null for none.
    pub from: Option<i64>,
    /// Number of the later version; null for one that is not stored.
    pub to: Option<i64>,
    /// By id.
    pub policies: Vec<PolicyDiff>,
}

fn by_id(document: &Value) -> BTreeMap<&str, &Value> {
    let list = document.get("policies").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|policy| Some((policy.get("id")?.as_str()?, policy))).collect()
}

/// Compares two documents of the form `{"policies": […]}`.
pub fn diff(from: Option<i64>, before: &Value, to: Option<i64>, after: &Value) -> Diff {
    let (before, after) = (by_id(before), by_id(after));
    let mut ids: Vec<&str> = before.keys().chain(after.keys()).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    let differs = |id: &str| {
        let (old, new) = (before.get(id), after.get(id));
        let change = match (old, new) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(old), Some(new)) if old == new => return None,
            _ => Change::Changed,
        };
        let text = |policy: Option<&&Value>| policy.map_or(Value::Null, |policy| (*policy).clone());
        Some(PolicyDiff { id: id.to_owned(), change, before: text(old), after: text(new) })
    };
    Diff { from, to, policies: ids.into_iter().filter_map(differs).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_difference_is_named_once() {
        let before = json!({ "policies": [{ "id": "a" }, { "id": "b", "x": 1 }, { "id": "c" }] });
        let after = json!({ "policies": [{ "id": "b", "x": 2 }, { "id": "c" }, { "id": "d" }] });
        let found = diff(Some(1), &before, Some(2), &after).policies;
        let found: Vec<_> = found.iter().map(|diff| (diff.id.as_str(), diff.change)).collect();
        assert_eq!(found, [("a", Change::Removed), ("b", Change::Changed), ("d", Change::Added)]);
        assert_eq!(diff(None, &Value::Null, None, &after).policies.len(), 3);
        assert_eq!(diff(None, &after, None, &after).policies, []);
    }
}
