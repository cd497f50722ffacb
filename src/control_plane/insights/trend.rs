//! Where a daily series is heading.
//!
//! Purpose: split a series into a line, a weekly season and noise; say what the rest of a month will add up to.
//! Promises: least squares, exact on series made of a line and a season; a sum comes with a 90 % interval that covers the
//! noise of the days to come and the uncertainty of the line; few days give a wide interval, never a false one.
//! Never: fits more than the days can carry: no season below two weeks, no slope below three days.
//!
//! Method: ordinary least squares of day values on [1, day, weekday dummies] by normal equations; the variance of a sum
//! of predictions x is s²·(n + xᵀ(XᵀX)⁻¹x), with Student's t at the residual degrees of freedom (any text on regression).

/// What was found in a series.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Trend {
    /// Mean of the days.
    pub mean: f64,
    /// Change from one day to the next; 0 with fewer than three days.
    pub slope: f64,
    /// Deviation of each day of the week from the line, in the series' own phase; zeros with fewer than two weeks.
    pub season: [f64; 7],
    /// Standard deviation of what is left.
    pub noise: f64,
}

/// A sum of days to come.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Forecast {
    /// Most likely.
    pub expected: f64,
    /// Lower end of the 90 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Days of a week.
const WEEK: usize = 7;
/// Quantile 0.95 of Student's t by degrees of freedom 1 to 30; beyond, it falls from 1.697 to the normal 1.645.
const T95: [f64; 30] = [
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753, 1.746,
    1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699, 1.697,
];

/// Fits `days` (one value a day, oldest first) and sums the `ahead` days after them. `None` without a day.
pub fn forecast(days: &[f64], ahead: usize) -> Option<(Trend, Forecast)> {
    if days.is_empty() || days.iter().any(|day| !day.is_finite()) {
        return None;
    }
    let columns = match days.len() {
        0..=2 => 1,
        3..14 => 2,
        _ => 2 + WEEK - 1,
    };
    let rows: Vec<Vec<f64>> = (0..days.len()).map(|day| row(day, days.len(), columns)).collect();
    let mut normal = vec![vec![0.0; columns]; columns];
    let mut right = vec![0.0; columns];
    for (row, value) in rows.iter().zip(days) {
        for i in 0..columns {
            right[i] += row[i] * value;
            (0..columns).for_each(|k| normal[i][k] += row[i] * row[k]);
        }
    }
    let inverse = invert(normal)?;
    let beta: Vec<f64> = inverse.iter().map(|row| dot(row, &right)).collect();
    let freedom = days.len().saturating_sub(columns);
    let residuals: f64 = rows.iter().zip(days).map(|(row, value)| (value - dot(row, &beta)).powi(2)).sum();
    let mean = days.iter().sum::<f64>() / days.len() as f64;
    // A single day says nothing of noise: assume that the next may be anything from nothing to twice as much.
    let noise = if freedom == 0 { mean.abs() / 2.0 } else { (residuals / freedom as f64).sqrt() };
    let mut sum = vec![0.0; columns];
    for day in days.len()..days.len() + ahead {
        sum.iter_mut().zip(row(day, days.len(), columns)).for_each(|(sum, x)| *sum += x);
    }
    let expected = dot(&sum, &beta).max(0.0);
    let spread: f64 = inverse.iter().zip(&sum).map(|(row, x)| x * dot(row, &sum)).sum();
    let t = freedom.checked_sub(1).map_or(T95[0], |i| T95.get(i).copied().unwrap_or(1.68));
    let margin = t * noise * (ahead as f64 + spread.max(0.0)).sqrt();
    let forecast = Forecast { expected, low: (expected - margin).max(0.0), high: expected + margin };
    Some((trend(&beta, mean, noise), forecast))
}

fn trend(beta: &[f64], mean: f64, noise: f64) -> Trend {
    let mut season = [0.0; WEEK];
    if beta.len() > 2 {
        season[1..].copy_from_slice(&beta[2..]);
        let level = season.iter().sum::<f64>() / WEEK as f64;
        season.iter_mut().for_each(|day| *day -= level);
    }
    Trend { mean, slope: beta.get(1).copied().unwrap_or(0.0), season, noise }
}

/// Constant, time from the middle of the series, weekday dummies.
fn row(day: usize, days: usize, columns: usize) -> Vec<f64> {
    let mut row = vec![0.0; columns];
    row[0] = 1.0;
    if columns > 1 {
        row[1] = day as f64 - (days as f64 - 1.0) / 2.0;
    }
    if columns > 2 && !day.is_multiple_of(WEEK) {
        row[1 + day % WEEK] = 1.0;
    }
    row
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Gauss-Jordan with pivots; `None` for a singular matrix.
fn invert(mut a: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let n = a.len();
    let mut inverse: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|k| f64::from(u8::from(i == k))).collect()).collect();
    for column in 0..n {
        let pivot = (column..n).max_by(|&x, &y| a[x][column].abs().total_cmp(&a[y][column].abs()))?;
        if a[pivot][column].abs() < 1e-12 {
            return None;
        }
        a.swap(column, pivot);
        inverse.swap(column, pivot);
        let scale = a[column][column];
        a[column].iter_mut().chain(inverse[column].iter_mut()).for_each(|x| *x /= scale);
        let (from, from_inverse) = (a[column].clone(), inverse[column].clone());
        for row in (0..n).filter(|row| *row != column) {
            let factor = a[row][column];
            a[row].iter_mut().zip(&from).for_each(|(x, y)| *x -= factor * y);
            inverse[row].iter_mut().zip(&from_inverse).for_each(|(x, y)| *x -= factor * y);
        }
    }
    Some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn a_line_with_a_week_is_found_exactly() {
        let season = [0.0, 5.0, 4.0, 6.0, 3.0, -20.0, -25.0];
        let value = |day: usize| 1_000.0 + 12.0 * day as f64 + season[day % 7];
        let days: Vec<f64> = (0..28).map(value).collect();
        let (trend, forecast) = forecast(&days, 10).unwrap();
        assert!((trend.slope - 12.0).abs() < 1e-6 && trend.noise < 1e-6, "{trend:?}");
        assert!((trend.season[5] - trend.season[0] - (-20.0)).abs() < 1e-6, "{trend:?}");
        let truth: f64 = (28..38).map(value).sum();
        assert!((forecast.expected - truth).abs() < 1e-6 * truth && forecast.high - forecast.low < 1e-3);
    }

    #[test]
    fn few_days_are_wide_and_none_is_none() {
        assert_eq!(forecast(&[], 3), None);
        assert_eq!(forecast(&[f64::NAN], 3), None);
        let (_, one) = forecast(&[100.0], 30).unwrap();
        assert!(one.low == 0.0 && one.high > 2.0 * one.expected, "{one:?}");
        let (trend, three) = forecast(&[100.0, 110.0, 120.0], 1).unwrap();
        assert!((three.expected - 130.0).abs() < 1e-9 && (trend.slope - 10.0).abs() < 1e-9);
    }

    #[test]
    fn the_interval_covers_the_truth_about_nine_times_in_ten() {
        let mut rng = SmallRng::seed_from_u64(7);
        for days in [5, 20, 40] {
            let mut covered = 0;
            for _ in 0..1_000 {
                let mut noise = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
                let values: Vec<f64> = (0..days + 10).map(|day| 500.0 + 3.0 * day as f64 + 20.0 * noise()).collect();
                let (_, forecast) = forecast(&values[..days], 10).unwrap();
                let truth: f64 = values[days..].iter().sum();
                covered += i32::from((forecast.low..=forecast.high).contains(&truth));
            }
            assert!((860..=940).contains(&covered), "{covered} of 1000 with {days} days");
        }
    }

    proptest! {
        #[test]
        fn any_series_gives_an_interval_around_its_forecast(
            days in prop::collection::vec(0.0..1e12f64, 1..60), ahead in 0usize..31,
        ) {
            let (_, forecast) = forecast(&days, ahead).unwrap();
            prop_assert!(forecast.low <= forecast.expected && forecast.expected <= forecast.high);
            prop_assert!(forecast.high.is_finite() && forecast.low >= 0.0);
        }
    }
}
