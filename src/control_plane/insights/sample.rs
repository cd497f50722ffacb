//! What a sample says about everything.
//!
//! Purpose: histories too large to read whole: each row has the same chance, at any time, by a lot that its id gives it.
//! Promises: estimates come with an interval of 95 % that holds for rare patterns too; what a sample cannot see is said.
//! Never: extrapolates beyond the rows that were counted.
//!
//! The interval is Wilson's score interval (E. B. Wilson, 1927) of the share, with the finite population correction: the part
//! of the rows that was read is not uncertain. Unlike the normal interval it does not collapse to nothing for few sightings.
//! Rows are drawn from every step of time in proportion to its rows. Against as many rows drawn from everything at once this
//! takes the differences between steps out of the variance and adds none, so the interval is too wide rather than too narrow:
//! for what comes in bursts much, for what is as common at every time not at all.

use serde::Serialize;

/// Two-sided 95 % of a normal distribution.
const Z: f64 = 1.959_964;

/// A sample of a population.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Rows there are.
    pub population: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Share of rows that was asked for.
    pub rate: f64,
}

/// How many there are, by a sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Most likely.
    pub messages: f64,
    /// At least, with 97.5 % confidence.
    pub low: f64,
    /// At most, with 97.5 % confidence.
    pub high: f64,
}

impl Sample {
    /// How many in all, when `seen` of the rows read are such. Steps are not looked at: this is the interval of rows drawn from
    /// everything at once, which holds the truth at least as often when each step gives its share.
    pub fn estimate(&self, seen: u64) -> Estimate {
        let (population, rows) = (self.population.max(self.rows) as f64, self.rows.max(1) as f64);
        let (seen, left) = (seen.min(self.rows) as f64, population - rows);
        let share = seen / rows;
        if left <= 0.0 {
            return Estimate { messages: seen, low: seen, high: seen };
        }
        // Sampling without replacement varies less: as if more rows had been drawn.
        let effective = rows / (left / population);
        let z2 = Z * Z / effective;
        let middle = (share + z2 / 2.0) / (1.0 + z2);
        let half = Z / (1.0 + z2) * (share * (1.0 - share) / effective + z2 / (4.0 * effective)).sqrt();
        let within = |share: f64| (share * population).clamp(seen, left + seen);
        // The interval holds its middle, whatever rounding says.
        let messages = share * population;
        Estimate { messages, low: within(middle - half).min(messages), high: within(middle + half).max(messages) }
    }

    /// Something with fewer messages than this has a chance above 5 % not to be in the sample at all.
    pub fn may_miss_below(&self) -> u64 {
        if self.rate >= 1.0 { 0 } else { (0.05f64.ln() / (1.0 - self.rate).max(1e-9).ln()).ceil() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn intervals_cover_the_truth_as_often_as_they_say() {
        let mut random = SmallRng::seed_from_u64(7);
        for (population, size, rate) in [
            (200_000u64, 20u64, 0.05),
            (200_000, 200, 0.05),
            (50_000, 10_000, 0.1),
            (20_000, 5_000, 0.6),
            (20_000, 3, 0.3),
        ] {
            let (mut covered, trials) = (0, 1_000);
            for _ in 0..trials {
                let mut draw = |n: u64| (0..n).filter(|_| random.random_bool(rate)).count() as u64;
                let seen = draw(size);
                // The others vary as a normal distribution does: drawing each would take minutes.
                let others = (population - size) as f64;
                let spread = (others * rate * (1.0 - rate)).sqrt();
                let normal: f64 = (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
                let rows = seen + (others * rate + spread * normal).max(0.0) as u64;
                let estimate = Sample { population, rows, rate }.estimate(seen);
                assert!(estimate.low <= estimate.messages && estimate.messages <= estimate.high);
                covered += u32::from((estimate.low..=estimate.high).contains(&(size as f64)));
            }
            assert!(covered >= 930, "{size} of {population} at {rate}: {covered} of {trials}");
        }
    }

    #[test]
    fn everything_read_is_certain_and_nothing_seen_is_not_nothing() {
        let whole = Sample { population: 100, rows: 100, rate: 1.0 };
        assert_eq!(whole.estimate(7), Estimate { messages: 7.0, low: 7.0, high: 7.0 });
        assert_eq!(whole.may_miss_below(), 0);
        let part = Sample { population: 1_000_000, rows: 10_000, rate: 0.01 };
        let unseen = part.estimate(0);
        assert!(unseen.low == 0.0 && (300.0..500.0).contains(&unseen.high), "{unseen:?}");
        assert_eq!(part.may_miss_below(), 299);
        assert!(part.estimate(20_000).high <= 1_000_000.0, "more seen than read is no reason to fail");
    }
}
