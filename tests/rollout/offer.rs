//! What gateways get: those that know rollouts read it, those that do not see the policies in force alone.

use lipservice::control_plane::bundle::bundle;
use lipservice::control_plane::rollout::offer::received;
use lipservice::control_plane::rollout::{Kind, Offer};
use lipservice::control_plane::store::{ActiveVersion, Timestamp, Version, VersionOrigin};
use lipservice::data_plane::pipeline::trial::Mode;
use lipservice::data_plane::policy::{CompiledPolicy, Document};
use serde_json::{Value, json};

use crate::control_plane::store::START;

fn policy(id: &str, keep: &str) -> Value {
    json!({ "id": id, "name": id, "log": { "match": [{ "log_field": "body", "exists": true }], "keep": keep } })
}

fn version(service: &str, number: i64, policies: Value) -> Version {
    Version {
        service: service.into(),
        number,
        document: json!({ "policies": policies, "patterns": [{ "template": format!("hello {service} <*>") }] }),
        digest: String::new(),
        policies: 1,
        author: String::new(),
        origin: VersionOrigin::Human,
        reason: String::new(),
        parent: None,
        created_at: Timestamp::default(),
        expires_at: None,
    }
}

fn in_force() -> Vec<ActiveVersion> {
    let all = [
        version("", 1, json!([policy("g", "all")])),
        version("shop", 1, json!([policy("a", "10%"), policy("b", "all")])),
    ];
    let active = |version| ActiveVersion { version, activated_at: Timestamp::default(), activated_by: String::new() };
    all.into_iter().map(active).collect()
}

fn offer(kind: Kind) -> Offer {
    let version = version("shop", 2, json!([policy("a", "5%"), policy("c", "none")]));
    Offer { rollout: 4, stage: 1, kind, until: Timestamp::of(START), version }
}

fn tree(offer: Option<&Offer>, service: Option<&str>) -> Value {
    serde_json::from_slice(&bundle(&in_force(), offer, service).body).unwrap()
}

fn keeps(document: Document) -> Vec<(String, String)> {
    let compiled = CompiledPolicy::compile(&[document], START, None);
    assert_eq!(compiled.problems(), []);
    let all = (0..compiled.len() as u16).map(|index| compiled.policy(index));
    all.map(|policy| (policy.id.to_string(), format!("{:?}", policy.keep.unwrap()))).collect()
}

#[test]
fn the_version_takes_the_place_of_its_own_service_alone() {
    for (kind, mode) in [(Kind::Shadow, "Shadow"), (Kind::Canary(25.0), "Canary")] {
        let found = received(&tree(Some(&offer(kind)), None)).unwrap().unwrap();
        assert_eq!((found.id.rollout, found.id.stage, found.until), (4, 1, Timestamp::of(START)));
        assert!(format!("{:?}", found.mode).starts_with(mode));
        let ids: Vec<String> =
            keeps(found.document.unwrap()).into_iter().map(|(id, keep)| format!("{id} {keep}")).collect();
        assert_eq!(ids, ["g All", "shop/a Percentage(5.0)", "shop/c None"]);
    }
    let live = received(&tree(Some(&offer(Kind::Live)), None)).unwrap().unwrap();
    assert_eq!((live.mode, live.document), (Mode::Live, None));
    assert_eq!(received(&tree(None, None)), Ok(None));
}

#[test]
fn who_does_not_know_rollouts_gets_what_is_in_force() {
    let (with, without) = (tree(Some(&offer(Kind::Canary(50.0))), None), tree(None, None));
    assert_ne!(with["hash"], without["hash"], "or open polls would not wake");
    let read = |tree| keeps(Document::from_value("control plane", tree));
    assert_eq!(read(with), read(without));
    // SDKs ask for one service; they get no trial at all.
    assert_eq!(tree(Some(&offer(Kind::Canary(50.0))), Some("shop")), tree(None, Some("shop")));
}

#[test]
fn a_broken_offer_is_no_trial() {
    let good = tree(Some(&offer(Kind::Shadow)), None);
    for (field, value) in [
        ("mode", json!("half")),
        ("mode", json!({ "canary": "x" })),
        ("until", json!("tomorrow")),
        ("rollout", json!("four")),
        ("stage", json!(-1)),
        ("policies", json!(7)),
        ("replaces", Value::Null),
    ] {
        let mut bad = good.clone();
        bad["extension_configs"]["lipservice.rollout"][field] = value;
        assert!(received(&bad).is_err(), "{field}");
    }
}
