//! The made-up traffic: same seed, same records; every record's label is true.

use std::collections::{BTreeSet, HashMap};

#[path = "../../examples/support/encode.rs"]
pub mod encode;
#[path = "../../examples/support/mix.rs"]
pub mod mix;
#[path = "../../examples/support/templates.rs"]
pub mod templates;
#[path = "../../examples/support/timeline.rs"]
pub mod timeline;
#[path = "../../examples/support/traffic.rs"]
#[expect(clippy::module_inception, reason = "the module under test is called what it is")]
pub mod traffic;

use templates::{SERVICES, TEMPLATES};
use timeline::{Plan, Traffic};
use traffic::{Event, Kind, Random};

const PLAN: Plan = Plan { records_per_second: 400, seconds: 20 };

fn run(seed: u64) -> Vec<Vec<Event>> {
    let mut traffic = Traffic::new(seed, PLAN);
    (0..PLAN.seconds).map(|second| traffic.second(second)).collect()
}

#[test]
fn the_same_seed_makes_the_same_records() {
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn every_message_appears_and_every_label_is_true() {
    let mut seen = BTreeSet::new();
    for event in run(1).into_iter().flatten() {
        let mut rest = event.body.as_str();
        for fixed in
            TEMPLATES[event.template].text.split('{').map(|part| part.split_once('}').map_or(part, |(_, text)| text))
        {
            let at = rest.find(fixed).unwrap_or_else(|| panic!("{fixed:?} is not in {:?}", event.body));
            rest = &rest[at + fixed.len()..];
        }
        assert!(!event.body.contains(['{', '}']), "{}", event.body);
        seen.insert(event.template);
    }
    assert_eq!(seen.len(), TEMPLATES.len());
}

#[test]
fn kinds_come_when_they_should() {
    let traffic = Traffic::new(1, PLAN);
    for (second, events) in run(1).into_iter().enumerate() {
        let mut counts: HashMap<Kind, u64> = HashMap::new();
        for event in &events {
            *counts.entry(TEMPLATES[event.template].kind).or_default() += 1;
        }
        let second = second as u64;
        assert_eq!(counts.contains_key(&Kind::Incident), traffic.incident(second), "second {second}");
        assert_eq!(counts.contains_key(&Kind::Burst), second % 8 >= 6, "second {second}");
        assert_eq!(counts[&Kind::Health], 88);
    }
    assert_eq!((0..20).filter(|second| traffic.incident(*second)).count(), 4);
}

#[test]
fn records_are_as_large_as_they_claim() {
    let mut random = Random::new(1);
    for (service, name) in SERVICES.iter().enumerate() {
        let events = mix::of_service(service, 512, &mut random);
        let body: usize = events.iter().map(|event| event.body.len()).sum();
        assert!((90..170).contains(&(body / 512)), "{}: bodies of {} bytes", name, body / 512);
        assert!(
            events.iter().all(|event| TEMPLATES[event.template].service == service && event.attributes.len() == 10)
        );
        let traced = events.iter().filter(|event| event.trace.is_some()).count();
        assert!((300..420).contains(&traced), "{traced} of 512 have a trace id");
        let records = events.into_iter().map(|event| encode::record(event, 1)).collect();
        let bytes = prost::Message::encoded_len(&encode::request(service, records)) / 512;
        assert!((560..640).contains(&bytes), "{}: {bytes} bytes a record", name);
    }
}
