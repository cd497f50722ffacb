//! What is proposed, and above all what is not.
//!
//! Purpose: each kind once, and the promises on any statistics.
//! Promises: policies are compiled by the gateway's own compiler elsewhere (`tests/cost`).
//! Never: depends on the order of parts.

use super::*;
use proptest::prelude::*;

const MONTH: f64 = MONTH_DAYS * 86_400.0;

fn part(service: &str, severity: &str, template: &str, megabytes: f64) -> Part {
    let bytes = megabytes * 1e6;
    Part {
        service: service.into(),
        severity: severity.into(),
        pattern: format!("{:016x}", hash(severity, template)),
        template: template.into(),
        example: template.replace("<*>", "7"),
        records: bytes / 200.0,
        kept: bytes / 200.0,
        received: bytes,
        sent: bytes,
    }
}

fn scene<'a>(parts: &'a [Part], prices: &'a Prices) -> Scene<'a> {
    Scene { parts, seconds: MONTH / 30.0, summary_seconds: 300.0, protections: &[], prices }
}

fn parts() -> Vec<Part> {
    let mut parts = vec![
        part("shop", "info", "GET /healthz <*>", 400.0),
        part("shop", "debug", "cache miss <*>", 900.0),
        part("shop", "info", "tick", 300.0),
        part("shop", "info", "order <*> paid", 5_000.0),
        part("shop", "error", "payment <*> failed", 9_000.0),
        part("shop", "warn", "health degraded <*>", 100.0),
    ];
    parts.extend((0..20).map(|n| part("shop", "info", &format!("other {n} <*>"), 10.0)));
    parts
}

#[test]
fn each_kind_with_what_it_saves() {
    let (parts, prices) = (parts(), Prices { free_gb: 0.0, ..Prices::default() });
    let found = recommend(&scene(&parts, &prices), 100);
    let kinds: Vec<_> = found.iter().map(|one| (one.kind, one.template.as_str())).collect();
    let want = [
        (Kind::DominantPattern, "order <*> paid"),
        (Kind::NoisyDebug, "cache miss <*>"),
        (Kind::HealthCheck, "GET /healthz <*>"),
        (Kind::ExactRepeat, "tick"),
    ];
    assert_eq!(kinds, want);
    // 90 % of 5 GB a day for 30 days, less 288 summaries a day and some 284 bytes each.
    let saved = &found[0];
    let summaries = (MONTH / 30.0 / 300.0_f64).ceil() * (SUMMARY_BYTES + 14.0);
    assert!((saved.saves_bytes_a_month - 30.0 * (4.5e9 - summaries)).abs() < 1e3, "{saved:?}");
    assert!((saved.saves_money_a_month - saved.saves_bytes_a_month / 1e9 * 0.25).abs() < 1e-6);
    assert!(saved.risk.contains("a day") && saved.evidence.share_of_service > 0.3, "{saved:?}");
    // What is free saves bytes and no money.
    let free = Prices { free_gb: 1e9, ..Prices::default() };
    assert_eq!(recommend(&scene(&parts, &free), 1)[0].saves_money_a_month, 0.0);
}

#[test]
fn a_health_check_behind_a_mask_is_known_by_its_example_and_matched_by_its_text() {
    let mut requests = part("shop", "info", "GET <*> 200", 400.0);
    requests.example = "GET /healthz 200".into();
    let (parts, prices) = ([requests], Prices::default());
    let found = recommend(&scene(&parts, &prices), 10);
    assert_eq!((found.len(), found[0].kind), (1, Kind::HealthCheck));
    let policy = found[0].policy.clone().unwrap_or_default();
    let matchers = policy["policies"][0]["log"]["match"].to_string();
    assert!(matchers.contains("healthz") && matchers.contains("regex"), "{matchers}");
    assert!(found[0].risk.contains("at most"), "{}", found[0].risk);
}

#[test]
fn what_is_sampled_already_is_not_proposed_again() {
    let mut parts = parts();
    parts[1].sent *= 0.1;
    parts[1].kept *= 0.1;
    let prices = Prices::default();
    assert!(recommend(&scene(&parts, &prices), 100).iter().all(|one| one.kind != Kind::NoisyDebug));
}

#[test]
fn a_protection_that_matches_nothing_is_named() {
    let one = |id: &str, matched| Protection { id: id.into(), matched, looked_at: 40 };
    let (protections, prices) = ([one("old", 0), one("used", 3)], Prices::default());
    let found = recommend(&Scene { protections: &protections, ..scene(&[], &prices) }, 10);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].template.as_str(), found[0].evidence.patterns, &found[0].policy), ("old", Some(40), &None));
    let blind = [Protection { looked_at: 0, ..one("old", 0) }];
    assert!(recommend(&Scene { protections: &blind, ..scene(&[], &prices) }, 10).is_empty(), "nothing was looked at");
}

proptest! {
    #[test]
    fn nothing_severe_nothing_that_costs_more_than_it_saves(
        rows in prop::collection::vec((0usize..8, 0usize..6, 0.0..1e4f64, 0.0..1.0f64), 0..60),
    ) {
        let bands = ["trace", "debug", "unset", "info", "warn", "error", "fatal", "new-band"];
        let templates = ["tick", "GET /health <*>", "a <*>", "b <*> c", "", "heartbeat"];
        let parts: Vec<Part> = rows.iter().map(|(band, template, size, kept)| {
            let whole = part("s", bands[*band], templates[*template], *size);
            // Patterns are told apart by template here, whatever the band.
            let pattern = format!("{:016x}", hash("", templates[*template]));
            Part { pattern, sent: whole.received * kept, kept: whole.records * kept, ..whole }
        }).collect();
        let prices = Prices::default();
        let found = recommend(&scene(&parts, &prices), 50);
        for one in &found {
            prop_assert!(one.saves_bytes_a_month > 0.0 && one.saves_money_a_month >= 0.0);
            let mut own = parts.iter().filter(|part| part.pattern == one.pattern);
            prop_assert!(own.all(|part| !is_severe(&part.severity)));
            let excluded = json!({"log_field": "severity_number", "gte": 17, "negate": true});
            let matchers = one.policy.as_ref().and_then(|policy| policy["policies"][0]["log"]["match"].as_array());
            prop_assert!(matchers.is_some_and(|matchers| matchers.contains(&excluded)));
        }
        let mut shuffled = parts.clone();
        shuffled.reverse();
        prop_assert_eq!(recommend(&scene(&shuffled, &prices), 50).len(), found.len());
    }
}
