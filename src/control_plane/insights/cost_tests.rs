//! The bill of a month by hand and by properties.
//!
//! Purpose: figures that can be checked on paper, and what holds for any history.
//! Promises: no figure here is copied from a run.

use super::*;
use crate::control_plane::insights::GB;
use proptest::prelude::*;

const DAY_NANOS: u64 = 86_400 * 1_000_000_000;
/// 2026-11-01, a Sunday, in a month of 30 days.
const FIRST: Day = 20_758;

fn at(day: Day, passed: f64) -> UnixNanos {
    day as u64 * DAY_NANOS + (passed * DAY_NANOS as f64) as u64
}

fn steady(days: std::ops::Range<Day>, received: f64, sent: f64) -> Vec<DayBytes> {
    days.map(|day| DayBytes { day, received, sent }).collect()
}

fn usage(days: Vec<DayBytes>) -> Usage {
    let began = days.first().map(|day| at(day.day, 0.0));
    Usage { began, days, overhead: 1.0, ..Usage::default() }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{a} {b}");
}

#[test]
fn the_month_by_hand() {
    // 2 GB a day of 10 GB; from October on, so that November is whole. It is noon of the 11th.
    let mut days = steady(FIRST - 20..FIRST + 10, 10.0 * GB, 2.0 * GB);
    days.push(DayBytes { day: FIRST + 10, received: 5.0 * GB, sent: GB });
    let costs = costs(&usage(days), &Prices::default(), at(FIRST + 10, 0.5), 10);
    assert_eq!((costs.month.as_str(), costs.days_in_month, costs.is_complete), ("2026-11", 30, true));
    close(costs.days_passed, 10.5);
    let total = &costs.total;
    // 21 GB so far, 10 of them free: 11 × 0.25. Unsampled 105 GB: 95 × 0.25.
    close(total.month_to_date.bytes, 21.0 * GB);
    close(total.month_to_date.money, 2.75);
    close(total.month_to_date_unsampled.money, 23.75);
    close(total.today.money, 0.25);
    // 60 GB at the end: 50 × 0.25; a steady series leaves no doubt.
    let projection = total.projection.unwrap_or_default();
    close(projection.expected.bytes, 60.0 * GB);
    close(projection.expected.money, 12.5);
    assert!(projection.high.money - projection.low.money < 1e-6, "{projection:?}");
    // 300 GB unsampled: 290 × 0.25.
    close(costs.ledger.saved_projected.unwrap_or(f64::NAN), 72.5 - 12.5);
    assert!(total.trend.as_ref().is_some_and(|trend| trend.change_a_day_bytes.abs() < 1.0));
}

#[test]
fn the_free_tier_begins_anew_with_the_month() {
    // 20 GB on the last day of October cost nothing in November.
    let mut days = steady(FIRST - 1..FIRST, 20.0 * GB, 20.0 * GB);
    days.push(DayBytes { day: FIRST, received: GB, sent: GB });
    let costs = costs(&usage(days), &Prices::default(), at(FIRST, 0.5), 10);
    assert_eq!((costs.total.month_to_date.bytes, costs.total.month_to_date.money), (GB, 0.0));
    assert!(costs.is_complete);
}

#[test]
fn a_history_that_began_yesterday_is_partial_and_wide() {
    let days = vec![
        DayBytes { day: FIRST + 14, received: GB, sent: GB },
        DayBytes { day: FIRST + 15, received: GB, sent: GB },
    ];
    let begun = costs(&usage(days), &Prices::default(), at(FIRST + 15, 0.5), 10);
    assert!(!begun.is_complete);
    let projection = begun.total.projection.unwrap_or_default();
    assert!(projection.low.bytes < 0.6 * projection.expected.bytes, "{projection:?}");
    assert!(projection.high.bytes > 1.4 * projection.expected.bytes, "{projection:?}");
    // Nothing at all, and the first minutes of a first day, say nothing of a month.
    let none = costs(&usage(Vec::new()), &Prices::default(), at(FIRST, 0.5), 10);
    assert_eq!((none.total.projection, none.total.trend, none.ledger.saved_projected), (None, None, None));
    let minutes = costs(&usage(steady(FIRST..FIRST + 1, GB, GB)), &Prices::default(), at(FIRST, 0.005), 10);
    assert_eq!(minutes.total.projection, None);
    let hours = costs(&usage(steady(FIRST..FIRST + 1, GB, GB)), &Prices::default(), at(FIRST, 0.5), 10);
    close(hours.total.projection.unwrap_or_default().expected.bytes, 60.0 * GB);
    // An hour that began within a day is a day at its rate: 24 GB a day for the 15 and a half days that are left.
    let hour = steady(FIRST + 14..FIRST + 15, GB, GB);
    let usage = Usage { began: Some(at(FIRST + 14, 11.0 / 24.0)), ..usage(hour) };
    let hour = costs(&usage, &Prices::default(), at(FIRST + 14, 0.5), 10);
    assert!((hour.total.projection.unwrap_or_default().expected.bytes / GB - (1.0 + 24.0 * 15.5)).abs() < 1e-6);
}

#[test]
fn weekdays_and_growth_reach_the_projection() {
    // Weekends are quiet, each day is a tenth of a gigabyte more than the one before.
    let bytes = |day: Day| GB * (5.0 + 0.1 * (day - FIRST) as f64 + if weekday(day) >= 5 { -3.0 } else { 0.0 });
    let days = (FIRST - 30..FIRST + 10).map(|day| DayBytes { day, received: bytes(day), sent: bytes(day) }).collect();
    let costs = costs(&usage(days), &Prices::default(), at(FIRST + 10, 0.0), 10);
    let truth: f64 = (FIRST..FIRST + 30).map(bytes).sum();
    let projection = costs.total.projection.unwrap_or_default();
    assert!((projection.expected.bytes - truth).abs() < 1e-6 * truth, "{projection:?} {truth}");
    let trend = costs.total.trend;
    let grows = |trend: &Heading| (trend.change_a_day_bytes - 0.1 * GB).abs() < 1.0;
    let rests = |trend: &Heading| trend.weekdays_bytes[5] < 0.0 && trend.weekdays_bytes[0] > 0.0;
    assert!(trend.as_ref().is_some_and(|trend| grows(trend) && rests(trend)), "{trend:?}");
}

#[test]
fn language_models_stand_on_the_other_side() {
    let mut usage = usage(steady(FIRST - 5..FIRST + 10, 10.0 * GB, 2.0 * GB));
    usage.llm = vec![(FIRST - 1, 9.0), (FIRST + 8, 1.0), (FIRST + 9, 1.0)];
    let ledger = costs(&usage, &Prices::default(), at(FIRST + 10, 0.0), 10).ledger;
    close(ledger.llm.month_to_date, 2.0);
    close(ledger.llm.projected, 2.0 + 0.2 * 20.0);
    close(ledger.net_projected.unwrap_or(f64::NAN), ledger.saved_projected.unwrap_or(f64::NAN) - 6.0);
}

#[test]
fn shares_are_ordered_and_bounded() {
    let part = |service: &str, severity: &str, sent: f64| Part {
        service: service.into(),
        severity: severity.into(),
        pattern: format!("{sent}"),
        received: 2.0 * sent,
        sent,
        ..Part::default()
    };
    let parts = vec![part("a", "info", GB), part("b", "info", 3.0 * GB), part("a", "debug", 2.0 * GB)];
    let seconds = crate::control_plane::insights::MONTH_DAYS * 86_400.0 / 10.0;
    let usage = Usage { parts, parts_seconds: seconds, ..usage(Vec::new()) };
    let costs = costs(&usage, &Prices::default(), at(FIRST, 0.5), 2);
    // 60 GB a month at this rate: 50 × 0.25.
    let money: f64 = costs.severities.iter().map(|share| share.money_a_month).sum();
    close(money, 12.5);
    let names: Vec<_> = costs.severities.iter().map(|share| share.severity.as_str()).collect();
    assert_eq!(names, ["info", "debug"]);
    assert_eq!(costs.patterns.iter().map(|share| share.service.as_str()).collect::<Vec<_>>(), ["b", "a"]);
}

proptest! {
    #[test]
    fn parts_add_up_to_the_bill_and_intervals_hold_what_they_expect(
        series in prop::collection::vec((0.0..50.0f64, 0.0..1.0f64, 0.0..1.0f64), 1..50), passed in 0.1..0.99f64,
    ) {
        let today = FIRST + 12;
        let first = today + 1 - series.len() as Day;
        let mut days = Vec::new();
        let mut services = vec![("a".to_owned(), Vec::new()), ("b".to_owned(), Vec::new())];
        for (i, (received, sent, split)) in series.iter().enumerate() {
            let (day, received, sent) = (first + i as Day, received * GB, received * sent * GB);
            days.push(DayBytes { day, received, sent });
            services[0].1.push(DayBytes { day, received: received * split, sent: sent * split });
            services[1].1.push(DayBytes { day, received: received * (1.0 - split), sent: sent * (1.0 - split) });
        }
        let usage = Usage { services, ..usage(days) };
        let costs = costs(&usage, &Prices::default(), at(today, passed), 10);
        let of = |f: &dyn Fn(&Account) -> f64| costs.services.iter().map(|s| f(&s.account)).sum::<f64>();
        for f in [
            &(|a: &Account| a.today.money) as &dyn Fn(&Account) -> f64,
            &|a: &Account| a.month_to_date.money,
            &|a: &Account| a.month_to_date_unsampled.bytes,
        ] {
            prop_assert!((of(f) - f(&costs.total)).abs() <= 1e-6 * f(&costs.total).max(1.0));
        }
        let p = costs.total.projection.unwrap_or_default();
        prop_assert!(p.low.money <= p.expected.money && p.expected.money <= p.high.money);
        prop_assert!(p.low.bytes >= costs.total.month_to_date.bytes * (1.0 - 1e-12));
        prop_assert!(costs.total.month_to_date.money <= costs.total.month_to_date_unsampled.money + 1e-9);
    }
}
