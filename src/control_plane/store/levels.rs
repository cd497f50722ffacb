//! Counts at four lengths of bucket, and which of them answer a question.
//!
//! Purpose: every count stands in a bucket of 10 s, of 5 minutes, of an hour and of a day, written in one transaction. A span is
//! then summed from few long buckets and some short ones at its edges.
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
}

/// From the shortest to the longest; each is a multiple of the one before.
pub(super) const LEVELS: [Level; 4] = [
    Level { seconds: 10, table: "counts_10s" },
    Level { seconds: 300, table: "counts_5m" },
    Level { seconds: 3600, table: "counts_1h" },
    Level { seconds: 86_400, table: "counts_1d" },
];
/// Lengths that answers are exact to; days only save work.
pub(super) const BASE_LEVELS: usize = 3;

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
    /// Of each base level, where its buckets begin to be complete; never later than those of a longer level.
    pub first: [i64; BASE_LEVELS],
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
    /// Whether a bucket of a level is complete. Days are made of hours.
    pub fn has(&self, level: usize, start: i64) -> bool {
        start >= self.first[level.min(BASE_LEVELS - 1)]
    }

    /// The shortest level that has this time.
    fn shortest(&self, at: i64) -> usize {
        (0..BASE_LEVELS - 1).find(|level| at >= self.first[*level]).unwrap_or(BASE_LEVELS - 1)
    }

    /// The span as whole buckets of the shortest level at each edge: those that start within it.
    fn whole(&self, from: i64, to: i64) -> (i64, i64) {
        let from = from.max(self.first[BASE_LEVELS - 1]);
        let from = ceil(from, LEVELS[self.shortest(from)].seconds);
        if to >= self.end {
            // There is nothing behind the end: the longest bucket that is running has no more than the span does.
            return (from, ceil(self.end, LEVELS[LEVELS.len() - 1].seconds));
        }
        (from, ceil(to, LEVELS[self.shortest(to - 1)].seconds))
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
        let piece = |level: usize| {
            let until = if level == 0 { to } else { self.first[level - 1].min(to) };
            Run { level, from: from.max(self.first[level]), to: until }
        };
        (0..BASE_LEVELS).rev().map(piece).filter(|run| run.from < run.to).collect()
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
            match LEVELS.iter().position(|level| level.seconds == resolution) {
                Some(level) if level < BASE_LEVELS => bounds.first[level] = start,
                _ => bounds.end = start + LEVELS[0].seconds,
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
            let stands = |at: i64| bounds.has(2, at).then(|| floor(at, LEVELS[bounds.shortest(at)].seconds));
            let within = |at: &i64| stands(*at).is_some_and(|start| from <= start && start < to);
            let expected: u64 = counts.iter().filter(|(at, _)| within(at)).map(|(_, records)| records).sum();
            let cover = bounds.cover(from, to);
            prop_assert_eq!(sum(&tables, &cover), expected, "{:?}", &cover);
            prop_assert_eq!(sum(&tables, &bounds.shortest_runs(from, to)), expected);
            prop_assert!(cover.windows(2).all(|pair| pair[0].to == pair[1].from));
            prop_assert!(cover.len() <= 2 * LEVELS.len() - 1);
            // At an edge never as many buckets as make a longer one.
            let count = |run: &Run| (run.to - run.from) / LEVELS[run.level].seconds;
            let few = |run: &&Run| run.level + 1 == LEVELS.len()
                || count(run) < 2 * LEVELS[run.level + 1].seconds / LEVELS[run.level].seconds;
            prop_assert!(cover.iter().all(|run| few(&run)), "{:?}", &cover);
        }
    }
}
