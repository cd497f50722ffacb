//! Shares that add up, stretches that fit, and what a draw says about everything.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::control_plane::insights::Sample;

const DAY: u64 = 86_400;

fn strata(counts: &[u64]) -> Strata {
    Strata { step_seconds: 300, counts: (0..).map(|step| step * 300).zip(counts.iter().copied()).collect() }
}

proptest! {
    #[test]
    fn a_draw_takes_as_many_as_asked_for_and_of_each_step_its_share(
        counts in prop::collection::vec(0u64..10_000, 1..300),
        most in 1u64..50_000,
    ) {
        let strata = strata(&counts);
        let (total, most) = (strata.total(), most);
        let drawn: Vec<u64> = (0..counts.len()).map(|step| strata.drawn(step, most)).collect();
        prop_assert_eq!(drawn.iter().sum::<u64>(), most.min(total));
        for (own, drawn) in counts.iter().zip(&drawn) {
            let share = *own as f64 * (most.min(total) as f64 / total.max(1) as f64);
            prop_assert!(drawn <= own && (*drawn as f64 - share).abs() < 1.0 + 1e-6, "{drawn} of {own}, share {share}");
        }
    }

    #[test]
    fn finer_steps_change_nothing_around_them(
        counts in prop::collection::vec(1u64..10_000, 2..50),
        finer in prop::collection::vec(0u64..5_000, 5),
        most in 1u64..50_000,
        step in 0usize..50,
    ) {
        let step = step % counts.len();
        let before = strata(&counts);
        let (from, to) = before.range(step, 0, u64::MAX);
        let cells = (0..).map(|cell| from / SECOND + 60 * cell).zip(finer.iter().copied()).filter(|(_, rows)| *rows > 0);
        let cells: Vec<(u64, u64)> = cells.collect();
        let mut after = before.clone();
        prop_assert_eq!(after.refine(step, (from, to), 60, &cells), !cells.is_empty());
        prop_assert_eq!(after.total(), before.total());
        let more = after.counts.len() - before.counts.len();
        let inside: u64 = (step..=step + more).map(|step| after.drawn(step, most)).sum();
        prop_assert_eq!(inside, before.drawn(step, most));
        for other in (0..counts.len()).filter(|other| *other != step) {
            let now = if other < step { other } else { other + more };
            prop_assert_eq!(after.drawn(now, most), before.drawn(other, most));
            prop_assert_eq!(after.range(now, 0, u64::MAX), before.range(other, 0, u64::MAX));
        }
        // Those with rows lie where they were counted, in the step.
        let full: Vec<usize> = (step..=step + more).filter(|step| after.counts[*step].1 > 0).collect();
        for part in full {
            let (start, end) = after.range(part, 0, u64::MAX);
            prop_assert!(start >= from && end <= to && end - start == 60 * SECOND, "{start}..{end} of {from}..{to}");
            prop_assert!(cells.iter().any(|(cell, _)| cell * SECOND == start));
        }
    }

    #[test]
    fn stretches_fit_lie_in_order_and_are_as_long_as_they_say(
        rows in prop::collection::vec(0u64..200, 200),
        flood in 0usize..200,
        most in 1u64..30_000,
        hours in 1u64..2_000,
        since in 0u64..100_000_000,
    ) {
        let mut rows = rows;
        rows[flood] *= 100;
        let (since, until) = (since * SECOND, (since + hours * 3_600) * SECOND);
        let total: u64 = rows.iter().sum();
        prop_assume!(total > most);
        let seconds = Stretches::length(total, most, since, until);
        prop_assert!(LENGTHS.contains(&seconds));
        // The counts of cells, from rows that lie evenly in two hundred parts.
        let part = (until - since) / 200;
        let mut cells = std::collections::BTreeMap::<u64, u64>::new();
        for (at, rows) in (0u64..).zip(&rows) {
            for row in 0..*rows {
                let time = since + at * part + row * part / rows;
                *cells.entry(time / SECOND / seconds * seconds).or_default() += 1;
            }
        }
        let cells: Vec<(u64, u64)> = cells.into_iter().collect();
        let found = Stretches::choose(&cells, seconds, most, since, until);
        prop_assert!(found.rows <= most && !found.spans.is_empty() && found.spans.len() < 1_000, "{found:?}");
        prop_assert!(found.spans.is_sorted_by(|a, b| a.1 <= b.0) && found.spans.iter().all(|(from, to)| from < to));
        prop_assert!(found.spans[0].0 >= since && found.spans.last().unwrap().1 <= until);
        let whole = found.spans.iter().filter(|(from, to)| to - from == found.seconds * SECOND).count();
        prop_assert!(whole + 2 >= found.spans.len());
        prop_assert_eq!(&found, &Stretches::choose(&cells, seconds, most, since, until));
        for (from, to) in &found.spans {
            prop_assert!(found.holds(*from) && found.holds(to - 1) && !found.within(*from, *to).is_empty());
        }
        prop_assert_eq!(found.within(since, until), found.spans.clone());
    }
}

#[test]
fn stretches_of_a_day_are_spread_over_it_and_over_the_hour() {
    let (since, until) = (20_000 * DAY * SECOND, 20_001 * DAY * SECOND);
    let cells: Vec<(u64, u64)> = (0..96).map(|cell| (20_000 * DAY + cell * 900, 1_000)).collect();
    assert_eq!(
        Stretches::length(96_000, 50_000, since, until),
        720,
        "a forty-eighth of half a day, as a part of an hour"
    );
    let found = Stretches::choose(&cells, 900, 50_000, since, until);
    assert_eq!((found.spans.len(), found.rows, found.period_seconds), (47, 47_000, 1_838));
    let quarters: BTreeSet<u64> = found.spans.iter().map(|(from, _)| from / SECOND % 3_600).collect();
    assert_eq!(quarters, BTreeSet::from([0, 900, 1_800, 2_700]), "every part of the hour");
    let hours: BTreeSet<u64> = found.spans.iter().map(|(from, _)| from / SECOND % DAY / 7_200).collect();
    assert_eq!(hours.len(), 12, "every time of the day");
    // Every cell of its period is as likely as the others.
    let mut chosen = [0u32; 4];
    for period in 0..4_000 {
        chosen[(cell_of(period, 4_000, 0, 16_000) - 4 * period) as usize] += 1;
    }
    assert!(chosen.iter().all(|times| (850..1_150).contains(times)), "{chosen:?}");
}

#[test]
fn a_flood_leaves_fewer_stretches_or_a_part_of_one() {
    let (since, until) = (0, 10 * 60 * SECOND);
    // All but a few rows in one minute.
    let mut cells: Vec<(u64, u64)> = (0..10).map(|cell| (cell * 60, 10)).collect();
    cells[4].1 = 100_000;
    let found = Stretches::choose(&cells, 60, 50, since, until);
    assert!(found.rows <= 50 && !found.spans.is_empty(), "{found:?}");
    let even: Vec<(u64, u64)> = (0..10).map(|cell| (cell * 60, 60_000)).collect();
    let found = Stretches::choose(&even, 60, 1_000, since, until);
    assert_eq!((found.spans.len(), found.rows, found.seconds), (1, 1_000, 1), "a second of sixty");
}

#[test]
fn a_time_belongs_to_the_step_that_counted_it() {
    let strata = Strata { step_seconds: 10, counts: vec![(100, 1), (110, 1), (200, 1)] };
    let step = |seconds: u64| strata.step_of(seconds * SECOND);
    assert_eq!(
        [step(99), step(100), step(119), step(120), step(205), step(210)],
        [None, Some(0), Some(1), None, Some(2), None]
    );
    assert_eq!(strata.range(0, 103 * SECOND, 108 * SECOND), (103 * SECOND, 108 * SECOND));
    assert_eq!(strata.seconds(103 * SECOND, 205 * SECOND), 102.0);
}

/// Of `own` rows, `such` of them of a kind: how many of the kind are among `drawn`.
fn urn(random: &mut SmallRng, own: u64, such: u64, drawn: u64) -> u64 {
    let (mut left, mut kind) = (own, such);
    for _ in 0..drawn {
        kind -= u64::from(random.random_range(0..left) < kind);
        left -= 1;
    }
    such - kind
}

/// Share of intervals that hold the truth, and the variance of estimates: drawn by step, and each row by itself.
fn trial(own: &[u64], such: &[u64], most: u64) -> (f64, f64, f64) {
    const TRIALS: u32 = 2_000;
    let (strata, mut random) = (strata(own), SmallRng::seed_from_u64(7));
    let (population, truth) = (strata.total(), such.iter().sum::<u64>());
    let rate = most as f64 / population as f64;
    let drawn: Vec<u64> = (0..own.len()).map(|step| strata.drawn(step, most)).collect();
    let (mut held, mut spread, mut alone) = (0, 0.0, 0.0);
    for _ in 0..TRIALS {
        let steps = (0..own.len()).map(|step| urn(&mut random, own[step], such[step], drawn[step]));
        let estimate = Sample { population, rows: most, rate }.estimate(steps.sum());
        held += u32::from((estimate.low..=estimate.high).contains(&(truth as f64)));
        spread += (estimate.messages - truth as f64).powi(2);
        let seen = (0..truth).filter(|_| random.random_bool(rate)).count() as f64;
        alone += (seen / rate - truth as f64).powi(2);
    }
    (f64::from(held) / f64::from(TRIALS), spread / f64::from(TRIALS), alone / f64::from(TRIALS))
}

#[test]
fn intervals_hold_the_truth_and_steps_never_make_an_estimate_worse() {
    let steps = 48usize;
    let own: Vec<u64> = (0..steps as u64).map(|step| 20 + (step * 37) % 100).collect();
    let most = own.iter().sum::<u64>() / 5;
    let of = |kind: &dyn Fn(usize) -> u64| -> Vec<u64> { (0..steps).map(|step| kind(step).min(own[step])).collect() };
    for (name, such, less) in [
        ("as everything", of(&|step| own[step] / 4), 1.0),
        ("one burst", of(&|step| if step == 20 { 110 } else { 0 }), 0.2),
        ("bursts of three hours", of(&|step| if step % 16 < 4 { own[step] } else { 0 }), 0.05),
        ("rare at all times", of(&|step| u64::from(step % 4 == 0)), 1.05),
    ] {
        let (held, spread, alone) = trial(&own, &such, most);
        assert!(held >= 0.95, "{name}: {held}");
        assert!(spread <= alone * less, "{name}: {spread} against {alone}");
    }
}
