//! How much time one run of pages covers.
//!
//! Purpose: busy minutes and quiet weeks both come in a few pages: a query that scans a week to sort out one page is slow or
//! refused, one per minute of silence wastes the budget.
//! Promises: slices follow one another without a gap; a slice is never empty of time; pure.
//! Never: asks.

use crate::clock::UnixNanos;

const SECOND: u64 = 1_000_000_000;
/// A slice is meant to fill this many pages.
const PAGES: u64 = 8;
/// A slice that holds this many times as many pages is cut short: each page is sought in all of it.
const TOO_MANY: u64 = 4;
/// A slice grows at most by this factor at once.
const MOST_GROWTH: u64 = 8;

/// Cuts a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slicer {
    length: u64,
    most: u64,
    /// Rows of a page; halved when even a second is too heavy.
    page: u64,
}

impl Slicer {
    /// For a span of this length, read in pages of so many rows.
    pub fn new(span: u64, page: usize) -> Self {
        let most = span.max(SECOND);
        Slicer { length: (most / 24).clamp(SECOND, 3_600 * SECOND), most, page: page.max(1) as u64 }
    }

    /// One that begins with the whole span: for rows that are known to be few.
    pub fn whole(span: u64, page: usize) -> Self {
        Slicer { length: span.max(SECOND), ..Slicer::new(span, page) }
    }

    /// The end of the slice that begins at `from`.
    pub fn end(&self, from: UnixNanos, until: UnixNanos) -> UnixNanos {
        from.saturating_add(self.length).min(until)
    }

    /// Rows after which a slice is cut short.
    pub fn enough(&self) -> u64 {
        self.page * PAGES * TOO_MANY
    }

    /// Rows of a page.
    pub fn page(&self) -> usize {
        self.page as usize
    }

    /// A slice that ran from `from` to `to` held this many rows.
    pub fn held(&mut self, rows: u64, from: UnixNanos, to: UnixNanos) {
        let (wanted, covered) = (self.page * PAGES, to.saturating_sub(from).max(1));
        let ideal = u128::from(covered) * u128::from(wanted) / u128::from(rows.max(1));
        let grown = u128::from(self.length) * u128::from(MOST_GROWTH);
        self.length = ideal.min(grown).clamp(u128::from(SECOND), u128::from(self.most)) as u64;
    }

    /// The query was too heavy: less of it. False when there is no less.
    pub fn shrink(&mut self) -> bool {
        if self.length > SECOND {
            // What was too much once is not tried again.
            self.most = (self.length / 2).max(SECOND);
            self.length = (self.length / 4).max(SECOND);
            return true;
        }
        self.page /= 4;
        self.page = self.page.max(1);
        self.page > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests and the longest slice for a density in rows a second.
    fn cut(span_seconds: u64, density: impl Fn(u64) -> u64) -> (u64, u64) {
        let (until, mut slicer) = (span_seconds * SECOND, Slicer::new(span_seconds * SECOND, 1_000));
        let (mut at, mut requests, mut longest, mut most_rows) = (0, 0, 0, 0);
        while at < until {
            let mut end = slicer.end(at, until);
            assert!(end > at);
            let mut rows = 0;
            for second in at / SECOND..end.div_ceil(SECOND) {
                rows += density(second);
                if rows >= slicer.enough() {
                    end = ((second + 1) * SECOND).min(end);
                    break;
                }
            }
            requests += rows / 1_000 + 1;
            (longest, most_rows) = (longest.max((end - at) / SECOND), most_rows.max(rows));
            slicer.held(rows, at, end);
            at = end;
        }
        assert!(most_rows < 34_000, "{most_rows} rows in one slice");
        (requests, longest)
    }

    #[test]
    fn busy_minutes_and_quiet_weeks_both_take_few_requests() {
        let week = 7 * 86_400;
        let (requests, longest) = cut(week, |_| 0);
        assert!(requests <= 8 && longest > 86_400, "{requests} requests, {longest} s");
        let (requests, _) = cut(3_600, |_| 1_000);
        assert!(requests < 3_600 * 5 / 4, "{requests} for 3,600 pages");
        // An hour of flood in a quiet week.
        let flood = |second: u64| if (300_000..303_600).contains(&second) { 500 } else { 0 };
        let (requests, _) = cut(week, flood);
        assert!((1_800..2_300).contains(&requests), "{requests} for 1,800 pages");
    }

    #[test]
    fn a_slice_that_is_too_heavy_shrinks_until_there_is_no_less() {
        let mut slicer = Slicer::new(86_400 * SECOND, 10_000);
        let steps = std::iter::repeat_with(|| slicer.shrink()).take_while(|less| *less).count();
        assert!((8..20).contains(&steps), "{steps}");
        assert_eq!(slicer.end(0, u64::MAX), SECOND);
    }
}
