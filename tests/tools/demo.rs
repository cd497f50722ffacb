//! The demo's own books: they must balance when nothing is wrong, and must not when something is.

use std::collections::BTreeMap;

use lipservice::data_plane::signature::Signer;
use prost::Message;

use super::traffic::{encode, templates, timeline, traffic};
use crate::support::fake_posthog;

#[path = "../../examples/support/books.rs"]
mod books;

use books::{Books, otlp_bytes};
use fake_posthog::Row;
use templates::{SERVICES, TEMPLATES};
use timeline::{Plan, Traffic};
use traffic::Event;

fn events() -> Vec<Event> {
    let mut traffic = Traffic::new(3, Plan { records_per_second: 300, seconds: 8 });
    (0..8).flat_map(|second| traffic.second(second)).collect()
}

fn row(service: &str, body: &str, attributes: &[(&str, &str)]) -> Row {
    Row {
        body: body.to_owned(),
        severity_number: 9,
        service_name: service.to_owned(),
        attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Row::default()
    }
}

/// Keeps every second record of a pattern, at 50 %, and summarises the rest.
fn sampled(events: &[Event]) -> (Books, Vec<Row>) {
    let (mut books, mut signer) = (Books::default(), Signer::default());
    let mut rows = Vec::new();
    let mut dropped: BTreeMap<(&str, String), u64> = BTreeMap::new();
    let mut seen: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for event in events {
        books.sent(event);
        let template = &TEMPLATES[event.template];
        let key = (SERVICES[template.service], signer.sign_text(event.body.as_bytes()).to_string());
        let count = seen.entry(key.clone()).or_default();
        *count += 1;
        if *count % 2 == 1 {
            let mut kept = row(key.0, &event.body, &[("sampling.threshold", "8")]);
            kept.severity_number = template.kind.severity();
            rows.push(kept);
        } else {
            *dropped.entry(key).or_default() += 1;
        }
    }
    for ((service, signature), records) in dropped {
        let attributes = [("lip.summary", "1"), ("lip.records", &records.to_string()), ("lip.signature", &signature)];
        rows.push(row(service, "records dropped", &attributes));
    }
    (books, rows)
}

#[test]
fn honest_rows_balance() {
    let (mut books, rows) = sampled(&events());
    rows.iter().for_each(|row| books.stored(row));
    assert_eq!(books.sent, books.kept + books.dropped);
    assert_eq!(books.unknown, 0);
    let (exact, all) = books.exact_messages();
    assert_eq!(exact, all);
    assert_eq!(books.messages_sent, books.messages_kept);
    assert!(books.errors_sent > books.errors_kept && books.errors_kept > 0, "half of the errors were dropped");
    let messages = books.by_message();
    assert!(messages.windows(2).all(|pair| pair[0].1.sent >= pair[1].1.sent));
    let largest = &messages[0].1;
    assert!((largest.estimate - largest.sent as f64).abs() <= 2.0, "{largest:?}");
}

#[test]
fn a_lost_an_invented_and_a_miscounted_record_show() {
    let (mut books, rows) = sampled(&events());
    rows.iter().skip(1).for_each(|row| books.stored(row));
    assert_eq!(books.sent, books.kept + books.dropped + 1);
    let (exact, all) = books.exact_messages();
    assert_eq!(exact + 1, all);
    books.stored(&row("nobody", "something else entirely", &[]));
    assert_eq!(books.unknown, 1);
}

/// One summary for each kind of message, under one of its signatures, as the gateway writes for a learned pattern.
fn joined(events: &[Event], rows: &mut Vec<Row>) -> BTreeMap<usize, Row> {
    let mut signer = Signer::default();
    let kinds: BTreeMap<String, usize> =
        events.iter().map(|event| (signer.sign_text(event.body.as_bytes()).to_string(), event.template)).collect();
    let mut summaries: BTreeMap<usize, Row> = BTreeMap::new();
    let records = |row: &Row| row.attributes["lip.records"].parse::<u64>().unwrap();
    for row in rows.extract_if(.., |row| row.attributes.contains_key("lip.summary")) {
        let kind = kinds[&row.attributes["lip.signature"]];
        match summaries.get_mut(&kind) {
            Some(first) => {
                let sum = records(first) + records(&row);
                first.attributes.insert("lip.records".to_owned(), sum.to_string());
                first.attributes.insert("lip.pattern".to_owned(), format!("{kind:016x}"));
            }
            None => drop(summaries.insert(kind, row)),
        }
    }
    summaries
}

#[test]
fn signatures_of_one_kind_may_be_counted_together_but_not_two_kinds() {
    let events = events();
    let (mut books, mut rows) = sampled(&events);
    let summaries = joined(&events, &mut rows);
    rows.iter().chain(summaries.values()).for_each(|row| books.stored(row));
    assert!(!books.learned.is_empty(), "some kinds of message have several signatures");
    let (exact, all) = books.exact_messages();
    assert_eq!((exact, books.sent), (all, books.kept + books.dropped));

    let (mut books, mut rows) = sampled(&events);
    let mut summaries = joined(&events, &mut rows);
    let (_, other) = summaries.pop_last().unwrap();
    let first = summaries.values_mut().find(|row| row.service_name == other.service_name).unwrap();
    let sum = [&*first, &other].map(|row| row.attributes["lip.records"].parse::<u64>().unwrap()).iter().sum::<u64>();
    first.attributes.insert("lip.records".to_owned(), sum.to_string());
    rows.iter().chain(summaries.values()).for_each(|row| books.stored(row));
    assert_eq!(books.sent, books.kept + books.dropped, "the sum alone would not show it");
    assert_eq!(books.exact_messages().0 + 2, all);
}

#[test]
fn bytes_without_a_sampler_are_those_of_the_requests() {
    let events = events();
    let computed = otlp_bytes(&events) as f64;
    let mut encoded = 0;
    for service in 0..SERVICES.len() {
        let own = events.iter().filter(|event| TEMPLATES[event.template].service == service);
        let records: Vec<_> = own.map(|event| encode::record(event.clone(), 1)).collect();
        encoded +=
            records.chunks(512).map(|chunk| encode::request(service, chunk.to_vec()).encoded_len()).sum::<usize>();
    }
    let ratio = computed / encoded as f64;
    assert!((0.99..1.01).contains(&ratio), "computed {computed}, encoded {encoded}");
}
