//! What is read of a history too large to read whole.
//!
//! Purpose: rows drawn in proportion from every step of time, or whole stretches of time, one of each period.
//! Promises: pure; a draw takes as many rows as asked for and from no step more than one above its share; stretches are of
//! one length, spread over the whole span, the same for the same counts, and by the counts hold no more rows than asked for.
//! Never: asks.
//!
//! Stretches are cells of a grid whose length divides the hour and the day, so that windows of the gateway that divide it lie
//! whole in one. Time is cut into as many periods as there are stretches, and a hash of the period's number says which of its
//! cells is read: every cell has the same chance, and no minute of the hour is always or never among them.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash64;

use crate::clock::UnixNanos;

const SECOND: u64 = 1_000_000_000;
/// Lengths of a stretch in seconds. Each divides a day, those below an hour divide that.
const LENGTHS: [u64; 18] =
    [60, 120, 180, 240, 300, 360, 600, 720, 900, 1_200, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 43_200, 86_400];
/// Stretches that are aimed at.
const STRETCHES: u64 = 48;
/// Longest stretch, unless there would be too many.
const LONGEST: u64 = 3_600;
/// Stretches are named in queries and in the checkpoint: not many more than this.
const MOST_STRETCHES: u64 = 500;
/// Cells that one answer counts.
const MOST_CELLS: u64 = 20_000;
/// The part of the rows allowed that is aimed at, in percent: rows come while others are read.
const AIM_PERCENT: u64 = 95;

/// Rows by steps of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strata {
    /// Length of a step at most.
    pub step_seconds: u64,
    /// Start in Unix seconds, and rows.
    pub counts: Vec<(u64, u64)>,
}

/// The part of `rows` that `part` of `whole` makes, rounded down.
fn portion(rows: u64, part: u64, whole: u64) -> u64 {
    (u128::from(rows) * u128::from(part) / u128::from(whole.max(1))) as u64
}

impl Strata {
    /// All rows.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|(_, rows)| rows).sum()
    }

    /// How many rows a draw of `most` takes from this step: shares are rounded where they add up, so that all of them
    /// together are `most`, and cutting a step into finer ones changes nothing outside it.
    pub fn drawn(&self, step: usize, most: u64) -> u64 {
        let total = self.total();
        let before: u64 = self.counts.iter().take(step).map(|(_, rows)| rows).sum();
        let own = self.counts.get(step).map_or(0, |(_, rows)| *rows);
        let most = most.min(total);
        portion(most, before + own, total) - portion(most, before, total)
    }

    /// From when to when a step lasts.
    pub fn range(&self, step: usize, since: UnixNanos, until: UnixNanos) -> (UnixNanos, UnixNanos) {
        let Some((start, _)) = self.counts.get(step) else { return (until, until) };
        let next = self.counts.get(step + 1).map_or(u64::MAX, |(next, _)| *next);
        let end = start.saturating_add(self.step_seconds).min(next);
        let within = |seconds: u64| seconds.saturating_mul(SECOND).clamp(since, until);
        (within(*start), within(end))
    }

    /// The step that a time belongs to; `None` where nothing was counted.
    pub fn step_of(&self, time: UnixNanos) -> Option<usize> {
        let step = self.counts.partition_point(|(start, _)| start * SECOND <= time).checked_sub(1)?;
        (time < self.range(step, 0, u64::MAX).1).then_some(step)
    }

    /// Puts finer counts in the place of a step that lasts from `from` to `to`: rows in cells of `seconds`. They are scaled
    /// to what the step held, should rows have come or gone since. False when they tell no more than the step.
    pub fn refine(
        &mut self,
        step: usize,
        (from, to): (UnixNanos, UnixNanos),
        seconds: u64,
        cells: &[(u64, u64)],
    ) -> bool {
        let Some((_, own)) = self.counts.get(step).copied() else { return false };
        let sum: u64 = cells.iter().map(|(_, rows)| rows).sum();
        if sum == 0 {
            return false;
        }
        let (from, to) = (from / SECOND, to.div_ceil(SECOND));
        // Where nothing was counted a step of nothing stands, so that none of something reaches over a pause.
        let (mut finer, mut end, mut before) = (Vec::with_capacity(cells.len() + 2), from, 0);
        for (cell, rows) in cells {
            // The first begins where the step does, whatever grid PostHog counts by.
            let start = (*cell).max(from);
            finer.extend((start > end).then_some((end, 0)));
            finer.push((start, portion(own, before + rows, sum) - portion(own, before, sum)));
            (end, before) = (cell + seconds.max(1), before + rows);
        }
        let is_next = self.counts.get(step + 1).is_some_and(|(next, _)| *next == to);
        finer.extend((end < to || !is_next).then_some((end.min(to), 0)));
        let is_finer = cells.len() > 1 || cells[0].0 > from || cells[0].0 + seconds < to;
        if is_finer {
            self.counts.splice(step..=step, finer);
        }
        is_finer
    }

    /// How long the rows lasted, in seconds: from the first step with one to the end of the last.
    pub fn seconds(&self, since: UnixNanos, until: UnixNanos) -> f64 {
        let first = self.range(0, since, until).0;
        let last = self.range(self.counts.len().saturating_sub(1), since, until).1;
        last.saturating_sub(first) as f64 / 1e9
    }
}

/// Stretches of time that are read whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stretches {
    /// Length of one; the first and the last may be cut by the ends of the span.
    pub seconds: u64,
    /// One of each period of this length, rounded.
    pub period_seconds: u64,
    /// From when to when, in order.
    pub spans: Vec<(UnixNanos, UnixNanos)>,
    /// Rows that were counted in them.
    pub rows: u64,
}

impl Stretches {
    /// How long stretches are, in seconds, when `most` of `total` rows of a span fit.
    pub fn length(total: u64, most: u64, since: UnixNanos, until: UnixNanos) -> u64 {
        let span = (until - since) / SECOND;
        let all = portion(span, aim(most), total);
        let wanted = (all / STRETCHES).clamp(LENGTHS[0], LONGEST).max(all / MOST_STRETCHES);
        let at = LENGTHS.partition_point(|length| *length <= wanted).saturating_sub(1);
        let fits = |length: &&u64| span / **length < MOST_CELLS;
        LENGTHS[at..].iter().find(fits).copied().unwrap_or(LENGTHS[LENGTHS.len() - 1])
    }

    /// Those read of a span in which these cells of `seconds` were counted.
    pub fn choose(cells: &[(u64, u64)], seconds: u64, most: u64, since: UnixNanos, until: UnixNanos) -> Stretches {
        let total: u64 = cells.iter().map(|(_, rows)| rows).sum();
        let length = seconds.max(1) * SECOND;
        // PostHog's grid may stand off whole hours, with the zone of the project.
        let off = cells.first().map_or(0, |(start, _)| start * SECOND % length);
        let cell_at = |time: UnixNanos| time.saturating_sub(off) / length;
        let (first, last) = (cell_at(since), cell_at(until.saturating_sub(1)).max(cell_at(since)) + 1);
        let span_of = |cell: u64| ((off + cell * length).max(since), (off + (cell + 1) * length).min(until));
        let rows_of = |cell: u64| {
            let in_cell = |(start, _): &&(u64, u64)| cell_at(start * SECOND) == cell;
            cells.iter().filter(in_cell).map(|(_, rows)| rows).sum::<u64>()
        };
        let mut count = portion(last - first, aim(most), total).clamp(1, last - first);
        loop {
            let chosen: Vec<u64> = (0..count).map(|period| cell_of(period, count, first, last)).collect();
            let rows: u64 = chosen.iter().map(|cell| rows_of(*cell)).sum();
            let mut found = Stretches {
                seconds,
                period_seconds: (last - first) * seconds / count,
                spans: chosen.iter().map(|cell| span_of(*cell)).collect(),
                rows,
            };
            if rows <= most {
                return found;
            }
            if count == 1 {
                found.shorten(most);
                return found;
            }
            count = portion(count, aim(most), rows).clamp(1, count - 1);
        }
    }

    /// Not even one fits: its part that does, were it even.
    fn shorten(&mut self, most: u64) {
        for (from, to) in &mut self.spans {
            *to = *from + portion(*to - *from, most, self.rows).max(1_000);
            self.seconds = (*to - *from).div_ceil(SECOND);
        }
        self.rows = most;
    }

    /// Those that reach into a span, cut to it.
    pub fn within(&self, from: UnixNanos, to: UnixNanos) -> Vec<(UnixNanos, UnixNanos)> {
        let first = self.spans.partition_point(|(_, end)| *end <= from);
        let reaching = self.spans[first..].iter().take_while(|(start, _)| *start < to);
        reaching.map(|(start, end)| ((*start).max(from), (*end).min(to))).collect()
    }

    /// Whether a time lies in one.
    pub fn holds(&self, time: UnixNanos) -> bool {
        let at = self.spans.partition_point(|(_, end)| *end <= time);
        self.spans.get(at).is_some_and(|(start, _)| *start <= time)
    }

    /// How long they are together, in seconds.
    pub fn total_seconds(&self) -> f64 {
        self.spans.iter().map(|(from, to)| to - from).sum::<u64>() as f64 / 1e9
    }
}

fn aim(most: u64) -> u64 {
    portion(most, AIM_PERCENT, 100).max(1)
}

/// The cell of `first..last` that is read of one of `count` periods.
fn cell_of(period: u64, count: u64, first: u64, last: u64) -> u64 {
    let edge = |period: u64| portion(last - first, period, count);
    let (from, to) = (edge(period), edge(period + 1));
    first + from + XxHash64::oneshot(count, &period.to_le_bytes()) % (to - from).max(1)
}

#[cfg(test)]
mod tests;
