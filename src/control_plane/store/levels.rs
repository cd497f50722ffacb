//! Counts at five lengths of bucket, and which of them answer a question.
//!
//! Purpose: every count stands in a bucket of 10 s, of a minute, of 5 minutes, of an hour and of a day, written in one
//! transaction. A span is then summed from few long buckets and some short ones at its edges.
//! Promises: a cover takes each count of the span once, whatever retention has removed: where short buckets are gone, longer
//! ones are counted at their start. Bounds never go back.
//! Never: reads a clock; the bounds of what is kept are in the store, in the same transaction as the counts.

use sqlx::{Any, Transaction};

use super::{Store, StoreError, get};

/// A length of bucket and the table that has them.
#[derive(Debug)]
pub(super) struct Level {
    /// Its length.
    pub seconds: i64,
    /// Counts of patterns.
    pub table: &'static str,
    /// Index into [`BASE`] of the length it is kept as long as.
    pub base: usize,
    /// Whether the sums of services and of everything are kept at this length, too. Questions over time read the base
    /// lengths alone; those of a day are there since schema 2.
    pub has_scopes: bool,
}

/// From the shortest to the longest; each is a multiple of the one before.
pub(super) const LEVELS: [Level; 5] = [
    Level { seconds: 10, table: "counts_10s", base: 0, has_scopes: true },
    Level { seconds: 60, table: "counts_1m", base: 0, has_scopes: false },
    Level { seconds: 300, table: "counts_5m", base: 1, has_scopes: true },
    Level { seconds: 3600, table: "counts_1h", base: 2, has_scopes: true },
    Level { seconds: 86_400, table: "counts_1d", base: 2, has_scopes: true },
];
/// Indexes of the lengths that answers are exact to; minutes and days only save work.
pub(super) const BASE: [usize; 3] = [0, 2, 3];

/// Buckets of one length that follow on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Index into [`LEVELS`].
    pub level: usize,
    /// Start of the first.
    pub from: i64,
    /// End of the last.
    pub to: i64,
}

/// What the store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Of each base length, where its buckets begin to be complete; never later than those of a longer one.
    pub first: [i64; BASE.len()],
    /// No count is at this time or later.
    pub end: i64,
}

fn ceil(at: i64, to: i64) -> i64 {
    at.saturating_add(to - 1).div_euclid(to) * to
}

/// The start of the bucket that has `at`.
pub(super) fn floor(at: i64, seconds: i64) -> i64 {
    at.div_euclid(seconds) * seconds
}

impl Bounds {
    /// Whether a bucket of a level is complete.
    pub fn has(&self, level: usize, start: i64) -> bool {
        start >= self.first[LEVELS[level].base]
    }

    /// Seconds of the shortest buckets that have this time.
    fn shortest(&self, at: i64) -> i64 {
        let base = (0..BASE.len() - 1).find(|base| at >= self.first[*base]).unwrap_or(BASE.len() - 1);
        LEVELS[BASE[base]].seconds
    }

    /// The span as whole buckets of the shortest level at each edge: those that start within it.
    fn whole(&self, from: i64, to: i64) -> (i64, i64) {
        let from = from.max(self.first[BASE.len() - 1]);
        let from = ceil(from, self.shortest(from));
        if to >= self.end {
            // There is nothing behind the end: the longest bucket that is running has no more than the span does.
            return (from, ceil(self.end, LEVELS[LEVELS.len() - 1].seconds));
        }
        (from, ceil(to, self.shortest(to - 1)))
    }

    /// The fewest runs of buckets that add up to the span.
    pub fn cover(&self, from: i64, to: i64) -> Vec<Run> {
        let (mut at, to) = self.whole(from, to);
        let mut runs = Vec::new();
        let mut longest = 0;
        let mut add_until = |level: usize, at: &mut i64, edge: i64| {
            if edge > *at {
                runs.push(Run { level, from: *at, to: edge });
                *at = edge;
            }
        };
        // Up: a start that is no start of a longer bucket has its shorter ones, or `whole` would have moved it on.
        while longest + 1 < LEVELS.len() {
            let edge = ceil(at, LEVELS[longest + 1].seconds);
            if edge > to {
                break;
            }
            add_until(longest, &mut at, edge);
            longest += 1;
        }
        // And down again, for the same reason at the other edge.
        for level in (0..=longest).rev() {
            add_until(level, &mut at, floor(to, LEVELS[level].seconds));
        }
        runs
    }

    /// The span in the shortest buckets there are.
    pub fn shortest_runs(&self, from: i64, to: i64) -> Vec<Run> {
        let (from, to) = self.whole(from, to);
        let piece = |base: usize| {
            let until = if base == 0 { to } else { self.first[base - 1].min(to) };
            Run { level: BASE[base], from: from.max(self.first[base]), to: until }
        };
        (0..BASE.len()).rev().map(piece).filter(|run| run.from < run.to).collect()
    }
}

impl Store {
    /// What the store has, as `tx` sees it.
    pub(super) async fn bounds(tx: &mut Transaction<'static, Any>) -> Result<Bounds, StoreError> {
        let sql = "SELECT resolution, start FROM stats_bounds UNION ALL SELECT CAST(0 AS BIGINT), \
                   CAST(COALESCE(MAX(start), -10) AS BIGINT) FROM scope_counts WHERE scope = 'global' AND resolution = 10";
        let mut bounds = Bounds::default();
        for row in sqlx::query(sql).fetch_all(&mut **tx).await? {
            let (resolution, start): (i64, i64) = (get(&row, "resolution")?, get(&row, "start")?);
            match BASE.iter().position(|level| LEVELS[*level].seconds == resolution) {
                Some(base) => bounds.first[base] = start,
                None => bounds.end = start + LEVELS[0].seconds,
            }
        }
        // Without buckets of 10 s everything is older than where they begin.
        bounds.end = bounds.end.max(bounds.first[0]);
        Ok(bounds)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Three weeks after the epoch.
    const NOW: i64 = 21 * 86_400;

    fn bounds() -> impl Strategy<Value = Bounds> {
        let age = |most: i64| 0..most;
        (age(86_400), age(5 * 86_400), age(15 * 86_400)).prop_map(|(fine, medium, coarse)| {
            let hours = floor(NOW - 6 * 86_400 - coarse, 3600);
            let medium = floor(NOW - 86_400 - medium, 3600).max(hours);
            Bounds { first: [floor(NOW - fine, 300).max(medium), medium, hours], end: NOW }
        })
    }

    /// The tables as they are after these counts and the removal of what is beyond the bounds.
    fn tables(counts: &[(i64, u64)], bounds: &Bounds) -> BTreeMap<(usize, i64), u64> {
        let mut tables = BTreeMap::new();
        for (at, records) in counts {
            for (level, Level { seconds, .. }) in LEVELS.iter().enumerate() {
                let start = floor(*at, *seconds);
                if bounds.has(level, start) {
                    *tables.entry((level, start)).or_default() += records;
                }
            }
        }
        tables
    }

    fn sum(tables: &BTreeMap<(usize, i64), u64>, runs: &[Run]) -> u64 {
        runs.iter().flat_map(|run| tables.range((run.level, run.from)..(run.level, run.to))).map(|(_, n)| n).sum()
    }

    proptest! {
        #[test]
        fn a_cover_is_exact(
            bounds in bounds(),
            counts in prop::collection::vec((0..NOW, 1u64..1000), 0..300),
            (from, to) in (0..NOW + 1000, 0..NOW + 100_000),
        ) {
            let tables = tables(&counts, &bounds);
            // Each count stands in the shortest bucket that is kept, and belongs to the span when that begins in it.
            let stands = |at: i64| (at >= bounds.first[2]).then(|| floor(at, bounds.shortest(at)));
            let within = |at: &i64| stands(*at).is_some_and(|start| from <= start && start < to);
            let expected: u64 = counts.iter().filter(|(at, _)| within(at)).map(|(_, records)| records).sum();
            let cover = bounds.cover(from, to);
            prop_assert_eq!(sum(&tables, &cover), expected, "{:?}", &cover);
            prop_assert_eq!(sum(&tables, &bounds.shortest_runs(from, to)), expected);
            prop_assert!(cover.windows(2).all(|pair| pair[0].to == pair[1].from));
            prop_assert!(cover.len() < 2 * LEVELS.len());
            // At an edge never as many buckets as make a longer one.
            let count = |run: &Run| (run.to - run.from) / LEVELS[run.level].seconds;
            let few = |run: &&Run| run.level + 1 == LEVELS.len()
                || count(run) < 2 * LEVELS[run.level + 1].seconds / LEVELS[run.level].seconds;
            prop_assert!(cover.iter().all(|run| few(&run)), "{:?}", &cover);
        }
    }
}
