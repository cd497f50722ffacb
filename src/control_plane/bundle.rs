//! What is in force, as one document for gateways and SDKs.
//!
//! Purpose: join the active versions of all services (or of all and one) into a document of `spec/policy.md`.
//! Promises: a pure function of the active versions; the policies of a service match its records alone and their ids
//! begin with its name, so that services cannot meet; what a program wrote says so; what expires carries the time itself,
//! so that it ends without a control plane too; a version on trial is for gateways alone.
//! Never: compiles or judges a policy.

use bytes::Bytes;
use serde_json::{Value, json};

use super::rollout::Offer;
use super::store::{ActiveVersion, GENERATED, GLOBAL, Timestamp, Version, VersionOrigin, digest_of};
use crate::data_plane::policy::parse_timestamp;

/// A document in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Of its policies and patterns: equal if and only if they are.
    pub hash: String,
    /// `{"policies": […], "patterns": […], "hash": …}`; `patterns` only where there are any.
    pub body: Bytes,
    /// Policies in it.
    pub policies: usize,
}

/// The document for `service`, or without one for all services; that has the version on trial too, if there is one.
pub fn bundle(active: &[ActiveVersion], offer: Option<&Offer>, service: Option<&str>) -> Bundle {
    let (mut policies, mut patterns) = (Vec::new(), Vec::new());
    for entry in active {
        let version = &entry.version;
        let wanted = service.is_none_or(|service| [GLOBAL, GENERATED, service].contains(&&*version.service));
        if !wanted {
            continue;
        }
        // Patterns are the same for all services; the same one twice is one.
        patterns.extend(version.document.get("patterns").and_then(Value::as_array).into_iter().flatten().cloned());
        policies.extend(policies_of(version));
    }
    let count = policies.len();
    let mut tree = json!({ "policies": policies });
    if !patterns.is_empty() {
        tree["patterns"] = Value::Array(patterns);
    }
    if let Some(offer) = offer.filter(|_| service.is_none()) {
        let same = active.iter().filter(|entry| entry.version.service == offer.version.service);
        let ids = same.flat_map(|entry| policies_of(&entry.version));
        let ids = ids.filter_map(|policy| policy.get("id").and_then(Value::as_str).map(str::to_owned));
        tree["extension_configs"] = offer.write(policies_of(&offer.version), ids.collect());
    }
    let hash = digest_of(&tree.to_string())[..32].to_owned();
    tree["hash"] = hash.clone().into();
    Bundle { hash, body: tree.to_string().into(), policies: count }
}

/// The policies of a version as gateways and SDKs get them.
fn policies_of(version: &Version) -> Vec<Value> {
    let list = version.document.get("policies").and_then(Value::as_array);
    let made = |policy: &Value| {
        let mut policy = policy.clone();
        restrict(&mut policy, &version.service);
        mark(&mut policy, version.origin, version.expires_at);
        policy
    };
    list.into_iter().flatten().map(made).collect()
}

/// Lets a policy match the records of its service alone, under an id no other service has.
fn restrict(policy: &mut Value, service: &str) {
    if service == GLOBAL || service == GENERATED {
        return;
    }
    if let Some(Value::String(id)) = policy.get_mut("id") {
        *id = format!("{service}/{id}");
    }
    if let Some(Value::Array(matchers)) = policy.get_mut("log").and_then(|log| log.get_mut("match")) {
        matchers.push(json!({ "resource_attribute": "service.name", "equals": service }));
    }
}

fn mark(policy: &mut Value, origin: VersionOrigin, expires_at: Option<Timestamp>) {
    let Value::Object(fields) = policy else { return };
    if origin == VersionOrigin::Generated {
        fields.insert("origin".into(), "generated".into());
    }
    let Some(expires_at) = expires_at else { return };
    let key = if fields.contains_key("expiresAt") { "expiresAt" } else { "expires_at" };
    let own = fields.get(key).and_then(Value::as_str).and_then(parse_timestamp).map(Timestamp::of);
    if own.is_none_or(|own| own > expires_at) {
        fields.insert(key.into(), expires_at.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::store::Version;

    fn active(service: &str, origin: VersionOrigin, expires_at: Option<&str>, policies: Value) -> ActiveVersion {
        let version = Version {
            service: service.into(),
            number: 1,
            document: json!({ "policies": policies }),
            digest: String::new(),
            policies: 1,
            author: String::new(),
            origin,
            reason: String::new(),
            parent: None,
            created_at: Timestamp::default(),
            expires_at: expires_at.map(|text| text.parse().unwrap()),
        };
        ActiveVersion { version, activated_at: Timestamp::default(), activated_by: String::new() }
    }

    fn policy(id: &str) -> Value {
        json!({ "id": id, "name": id, "log": { "match": [{ "log_field": "body", "exists": true }], "keep": "all" } })
    }

    #[test]
    fn services_are_kept_apart() {
        let human = VersionOrigin::Human;
        let all = [
            active("", human, None, json!([policy("g")])),
            active("a", human, None, json!([policy("p")])),
            active("b", human, None, json!([policy("p")])),
        ];
        let ids = |service| {
            let body: Value = serde_json::from_slice(&bundle(&all, None, service).body).unwrap();
            let policies = body["policies"].as_array().unwrap().iter();
            policies.map(|policy| policy["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(None), ["g", "a/p", "b/p"]);
        assert_eq!(ids(Some("a")), ["g", "a/p"]);
        assert_eq!(ids(Some("c")), ["g"]);
        let body: Value = serde_json::from_slice(&bundle(&all, None, Some("a")).body).unwrap();
        assert_eq!(body["policies"][1]["log"]["match"][1]["equals"], "a");
        assert_eq!(body["policies"][0], policy("g"));
        assert_ne!(bundle(&all, None, None).hash, bundle(&all, None, Some("a")).hash);
        assert_eq!(bundle(&all, None, Some("c")), bundle(&all[..1], None, None));
    }

    #[test]
    fn origin_and_expiry_travel_with_the_policy() {
        let (early, late) = ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        for (own, version, expected) in [
            (None, None, None),
            (None, Some(early), Some(early)),
            (Some(late), Some(early), Some(early)),
            (Some(early), Some(late), Some(early)),
            (Some(early), None, Some(early)),
        ] {
            let mut one = policy("p");
            if let Some(own) = own {
                one["expires_at"] = own.into();
            }
            let bundle = bundle(&[active("", VersionOrigin::Generated, version, json!([one]))], None, None);
            let body: Value = serde_json::from_slice(&bundle.body).unwrap();
            assert_eq!(body["policies"][0]["origin"], "generated");
            assert_eq!(body["policies"][0].get("expires_at").and_then(Value::as_str), expected);
        }
    }
}
