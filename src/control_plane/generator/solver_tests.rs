//! The solver against a generic convex solver, and what it promises on any instance.
//!
//! Purpose: optimality, monotonicity and limits as properties of random instances.
//! Promises: the generic solver (a barrier method with dense Newton steps) shares nothing with the one under test.
//! Never: compares with figures copied from a run.

use super::*;
use proptest::prelude::*;

fn item() -> impl Strategy<Value = Item> {
    (0u32..3, -1.0..6.0f64, -4.0..4.0f64, 0.0..0.2f64, 0.3..1.0f64).prop_map(|(group, cost, weight, least, most)| {
        Item { group, cost: 10f64.powf(cost), weight: 10f64.powf(weight), least: least * least, most }
    })
}

/// Items and limits that can be met with room to spare, as the barrier needs.
fn instance(most_items: usize) -> impl Strategy<Value = (Vec<Item>, Limits)> {
    let share = || prop::option::of(0.02..0.98f64);
    (prop::collection::vec(item(), 1..most_items), share(), share(), share()).prop_map(|(items, total, a, b)| {
        let between = |share: Option<f64>, of: &dyn Fn(&Item) -> bool| {
            let least: f64 = items.iter().filter(|i| of(i)).map(|i| i.cost * i.least).sum();
            let most: f64 = items.iter().filter(|i| of(i)).map(|i| i.cost * i.most).sum();
            share.filter(|_| most > 0.0).map(|share| least + share * (most - least))
        };
        let by_group = vec![between(a, &|i| i.group == 0), between(b, &|i| i.group == 1)];
        let mut limits = Limits { total: None, by_group };
        // The total must be possible beside the groups' limits.
        limits.total = between(total, &|_| true);
        (items, limits)
    })
}

fn objective(items: &[Item], rates: &[f64]) -> f64 {
    items.iter().zip(rates).map(|(item, rate)| item.weight / rate).sum()
}

/// Rows of `A rates ≤ limit`.
fn rows(items: &[Item], limits: &Limits) -> Vec<(Vec<f64>, f64)> {
    let row = |of: &dyn Fn(&Item) -> bool| items.iter().map(|i| if of(i) { i.cost } else { 0.0 }).collect();
    let mut rows: Vec<(Vec<f64>, f64)> = Vec::new();
    rows.extend(limits.total.map(|limit| (row(&|_| true), limit)));
    for (group, limit) in limits.by_group.iter().enumerate() {
        rows.extend(limit.map(|limit| (row(&|i| i.group as usize == group), limit)));
    }
    rows
}

/// Solves `hessian · step = −gradient` by elimination with pivots.
fn newton_step(mut hessian: Vec<Vec<f64>>, gradient: &[f64]) -> Vec<f64> {
    let n = gradient.len();
    let mut right: Vec<f64> = gradient.iter().map(|g| -g).collect();
    for column in 0..n {
        let size = |row: usize| hessian[row][column].abs();
        let pivot = (column..n).max_by(|&a, &b| size(a).total_cmp(&size(b))).unwrap_or(column);
        hessian.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..n {
            let factor = hessian[row][column] / hessian[column][column];
            let from = hessian[column].clone();
            hessian[row].iter_mut().zip(from).for_each(|(x, y)| *x -= factor * y);
            right[row] -= factor * right[column];
        }
    }
    for row in (0..n).rev() {
        for k in row + 1..n {
            right[row] -= hessian[row][k] * right[k];
        }
        right[row] /= hessian[row][row];
    }
    right
}

/// A generic interior-point method: minimise `t·objective − Σ log(slack)` by damped Newton steps, for rising t.
fn barrier(items: &[Item], limits: &Limits) -> Vec<f64> {
    let rows = rows(items, limits);
    let n = items.len();
    let slack_of =
        |rates: &[f64], (row, limit): &(Vec<f64>, f64)| limit - row.iter().zip(rates).map(|(a, x)| a * x).sum::<f64>();
    let value = |t: f64, rates: &[f64]| {
        let mut value = t * objective(items, rates);
        for (item, rate) in items.iter().zip(rates) {
            value -= (rate - item.least).ln() + (item.most - rate).ln();
        }
        rows.iter().for_each(|row| value -= slack_of(rates, row).ln());
        if value.is_nan() { f64::INFINITY } else { value }
    };
    let mut rates: Vec<f64> = items.iter().map(|i| i.least + 0.005 * (i.most - i.least)).collect();
    let mut t = 1e-3 / objective(items, &rates);
    for _ in 0..45 {
        for _ in 0..60 {
            let mut gradient = vec![0.0; n];
            let mut hessian = vec![vec![0.0; n]; n];
            for (i, (item, rate)) in items.iter().zip(&rates).enumerate() {
                let (low, high) = (rate - item.least, item.most - rate);
                gradient[i] = -t * item.weight / rate.powi(2) - 1.0 / low + 1.0 / high;
                hessian[i][i] = 2.0 * t * item.weight / rate.powi(3) + low.powi(-2) + high.powi(-2);
            }
            for row in &rows {
                let slack = slack_of(&rates, row);
                for i in 0..n {
                    gradient[i] += row.0[i] / slack;
                    let factor = row.0[i] / slack.powi(2);
                    hessian[i].iter_mut().zip(&row.0).for_each(|(x, a)| *x += factor * a);
                }
            }
            let step = newton_step(hessian, &gradient);
            let slope: f64 = step.iter().zip(&gradient).map(|(s, g)| s * g).sum();
            if -slope < 1e-10 {
                break;
            }
            let now = value(t, &rates);
            let mut length = 1.0;
            let next = loop {
                let next: Vec<f64> = rates.iter().zip(&step).map(|(x, s)| x + length * s).collect();
                if value(t, &next) <= now + 0.1 * length * slope || length < 1e-14 {
                    break next;
                }
                length /= 2.0;
            };
            if length < 1e-14 {
                break;
            }
            rates = next;
        }
        t *= 2.5;
    }
    rates
}

fn spent(items: &[Item], rates: &[f64], of: impl Fn(&Item) -> bool) -> f64 {
    items.iter().zip(rates).filter(|(item, _)| of(item)).map(|(item, rate)| item.cost * rate).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn as_good_as_a_generic_convex_solver((items, limits) in instance(9)) {
        let ours = allocate(&items, &limits);
        let theirs = barrier(&items, &limits);
        let (a, b) = (objective(&items, &ours.rates), objective(&items, &theirs));
        // Interior points approach the optimum from inside: ours may only be better.
        prop_assert!(a <= b * (1.0 + 1e-9), "ours {a} theirs {b}");
        prop_assert!(a >= b * (1.0 - 1e-3), "ours {a} is better than an optimum {b}: a limit must be broken");
    }

    #[test]
    fn limits_and_bounds_hold((items, limits) in instance(40)) {
        let found = allocate(&items, &limits);
        for (row, limit) in rows(&items, &limits) {
            let cost: f64 = row.iter().zip(&found.rates).map(|(a, x)| a * x).sum();
            prop_assert!(cost <= limit * (1.0 + 1e-12), "{cost} > {limit}");
        }
        for (item, rate) in items.iter().zip(&found.rates) {
            prop_assert!((item.least..=item.most).contains(rate), "{item:?} {rate}");
        }
        prop_assert!((found.cost - spent(&items, &found.rates, |_| true)).abs() <= found.cost * 1e-12);
    }

    #[test]
    fn a_limit_is_used_up_or_does_not_bind((items, mut limits) in instance(40)) {
        limits.by_group.clear();
        let found = allocate(&items, &limits);
        match (&found.binding[..], limits.total) {
            ([], limit) => {
                prop_assert!(items.iter().zip(&found.rates).all(|(item, rate)| *rate == item.most));
                prop_assert!(limit.is_none_or(|limit| found.cost <= limit));
            }
            ([one], Some(limit)) => {
                prop_assert_eq!(one.scope, Scope::Total);
                prop_assert!(found.cost >= limit * (1.0 - 1e-9), "{} of {limit}", found.cost);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn more_budget_lowers_no_rate((items, limits) in instance(40), factor in 1.0..3.0f64, group in 0usize..3) {
        let before = allocate(&items, &limits);
        let mut more = limits.clone();
        match group {
            2 => more.total = more.total.map(|limit| limit * factor),
            _ => more.by_group[group] = more.by_group[group].map(|limit| limit * factor),
        }
        let after = allocate(&items, &more);
        for (i, item) in items.iter().enumerate() {
            // More for one group may take from the others what a total has to give, never from itself.
            if group == 2 || item.group as usize == group {
                prop_assert!(after.rates[i] >= before.rates[i] * (1.0 - 1e-9), "{item:?}");
            }
        }
        prop_assert!(objective(&items, &after.rates) <= objective(&items, &before.rates) * (1.0 + 1e-9));
    }

    #[test]
    fn more_worth_never_lowers_its_own_rate(
        (items, limits) in instance(40), which in any::<prop::sample::Index>(), factor in 1.0..100.0f64,
    ) {
        let before = allocate(&items, &limits);
        let mut more = items.clone();
        let i = which.index(items.len());
        more[i].weight *= factor;
        let after = allocate(&more, &limits);
        prop_assert!(after.rates[i] >= before.rates[i] * (1.0 - 1e-9));
    }

    #[test]
    fn the_order_of_items_does_not_matter((items, limits) in instance(20)) {
        let forward = allocate(&items, &limits);
        let reversed: Vec<Item> = items.iter().rev().copied().collect();
        let backward = allocate(&reversed, &limits);
        for (a, b) in forward.rates.iter().zip(backward.rates.iter().rev()) {
            prop_assert!((a - b).abs() <= 1e-9 * a, "{a} {b}");
        }
    }
}

fn plain(cost: f64, weight: f64) -> Item {
    Item { group: 0, cost, weight, least: 0.0, most: 1.0 }
}

#[test]
fn equal_worth_keeps_equal_counts() {
    // Records of 100 bytes; weight worth/N; the loud pattern pays for the quiet one.
    let items = [1e6, 1e4].map(|n: f64| plain(n * 100.0, 1.0 / n));
    let found = allocate(&items, &Limits { total: Some(1e6), by_group: Vec::new() });
    let kept: Vec<f64> = found.rates.iter().zip([1e6, 1e4]).map(|(rate, n)| rate * n).collect();
    assert!((kept[0] - 5_000.0).abs() < 1e-6 && (kept[1] - 5_000.0).abs() < 1e-6, "{kept:?}");
}

#[test]
fn a_broken_limit_says_so_and_leaves_the_lowest_rates() {
    let items = [Item { least: 0.5, ..plain(100.0, 1.0) }, Item { group: 1, ..plain(100.0, 1.0) }];
    let found = allocate(&items, &Limits { total: Some(200.0), by_group: vec![Some(20.0)] });
    assert_eq!(found.rates, [0.5, 1.0]);
    assert_eq!(found.binding.len(), 1);
    assert_eq!((found.binding[0].scope, found.binding[0].least), (Scope::Group(0), 50.0));
    assert!(found.binding[0].is_broken() && found.binding[0].price.is_infinite());
    let none = allocate(&items, &Limits { total: Some(10.0), by_group: Vec::new() });
    assert_eq!(none.rates, [0.5, 0.0]);
    assert!(none.binding[0].is_broken());
}

#[test]
fn corners() {
    assert!(allocate(&[], &Limits { total: Some(0.0), by_group: Vec::new() }).rates.is_empty());
    // Without a limit everything is kept; what costs nothing is kept under any.
    assert_eq!(allocate(&[plain(5.0, 0.0)], &Limits::default()).rates, [1.0]);
    let free = allocate(&[plain(0.0, 1.0), plain(5.0, 1.0)], &Limits { total: Some(0.0), by_group: Vec::new() });
    assert_eq!(free.rates, [1.0, 0.0]);
    // What has no weight is the first to go.
    let worthless = allocate(&[plain(5.0, 0.0), plain(5.0, 1.0)], &Limits { total: Some(6.0), by_group: Vec::new() });
    assert_eq!(worthless.rates, [0.0, 1.0]);
}
