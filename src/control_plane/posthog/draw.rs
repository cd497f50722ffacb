//! Rows drawn by lot, some of every step of time.
//!
//! Purpose: of a history too large to read whole, as many rows of each step as its share is: those with the lowest lots.
//! Promises: each row has the same chance; memory holds [`MOST_HELD`] rows at most; a draw that was stopped goes on behind the
//! last rows on the disk; a step that is too heavy for PostHog is counted and read in finer ones.
//! Never: sorts beyond what it holds: rows of a step with more than that are in the order of time by so many.

use super::checkpoint::Phase;
use super::fault::{Fault, FaultKind};
use super::fetch::{FetchError, Stage};
use super::hogql::{self, LOTS, Refresh, Where};
use super::row::Row;
use super::run::{CHECKPOINT_ROWS, MAX_STALE_PAGES, Run};
use super::strata::Strata;
use crate::clock::UnixNanos;

/// Rows of a step held to be put in order: a few ten MB.
const MOST_HELD: usize = 40_000;
/// A step that is too heavy is cut into so many.
const FINER: u64 = 4;
const SECOND: u64 = 1_000_000_000;

impl Run<'_> {
    /// Draws from the steps that are left.
    pub(super) async fn draw(&mut self) -> Result<(), FetchError> {
        while let Phase::Draw { step, taken, last } = self.checkpoint.phase.clone() {
            let steps = self.checkpoint.strata.as_ref().map_or(0, |strata| strata.counts.len());
            if step >= steps {
                self.checkpoint.phase = Phase::Late { pass: 1, found: 0, from: self.checkpoint.since, last: None };
                return self.save();
            }
            self.tell(Stage::Rows, step as f64 / steps as f64);
            self.draw_step(step, taken, last).await?;
        }
        Ok(())
    }

    /// Draws what is left of a step.
    async fn draw_step(
        &mut self,
        step: usize,
        mut taken: u64,
        mut last: Option<(u64, String)>,
    ) -> Result<(), FetchError> {
        let Some(strata) = &self.checkpoint.strata else { return Ok(()) };
        let own = strata.counts.get(step).map_or(0, |(_, rows)| *rows);
        let wanted = strata.drawn(step, self.fetch.max_rows);
        let (from, to) = strata.range(step, self.checkpoint.since, self.checkpoint.until);
        if last.is_none() && wanted > 0 && to - from > self.longest && self.refine(step, (from, to)).await? {
            return Ok(());
        }
        let (mut held, mut stale, mut ended): (Vec<Row>, u32, bool) = (Vec::new(), 0, false);
        while taken < wanted && !ended {
            let limit = self.fetch.page().min((wanted - taken) as usize);
            let page = match self.lots((from, to), last.as_ref(), limit, Refresh::Blocking).await {
                Err(fault) if fault.kind == FaultKind::TooHeavy => {
                    self.longest = self.longest.min((to - from) / FINER).max(SECOND);
                    if last.is_none() && self.refine(step, (from, to)).await? {
                        return Ok(());
                    }
                    self.lots((from, to), last.as_ref(), limit, Refresh::Async).await?
                }
                page => page?,
            };
            let Some(page) = page.filter(|page| !is_stale(page, last.as_ref(), (from, to), limit)) else {
                stale += 1;
                if stale > MAX_STALE_PAGES {
                    let what = "page after page holds rows that were not asked for";
                    return Err(Fault::new(FaultKind::Schema, what).into());
                }
                continue;
            };
            if !page.is_sorted_by(|a, b| (a.lot, &a.uuid) < (b.lot, &b.uuid)) {
                return Err(Fault::new(FaultKind::Schema, "rows that are not in the order asked for").into());
            }
            // Fewer than were counted: some are gone.
            ended = page.len() < limit;
            taken += page.len() as u64;
            last = page.last().map(|row| (row.lot, row.uuid.clone())).or(last);
            held.extend(page);
            if held.len() >= MOST_HELD {
                self.keep(&mut held)?;
                self.checkpoint.phase = Phase::Draw { step, taken, last: last.clone() };
                self.save()?;
            }
        }
        self.keep(&mut held)?;
        // Where all were drawn, or none were there, whatever comes later is late, and is taken with the chance of all.
        let highest = if ended || own == 0 { self.share_of_lots() } else { last.map_or(0, |(lot, _)| lot) };
        self.checkpoint.drawn.get_or_insert_default().push(highest);
        self.checkpoint.phase = Phase::Draw { step: step + 1, taken: 0, last: None };
        if self.unsaved >= CHECKPOINT_ROWS { self.save() } else { Ok(()) }
    }

    /// Counts a step in finer ones, which take its place. False when there are none.
    async fn refine(&mut self, step: usize, (from, to): (UnixNanos, UnixNanos)) -> Result<bool, FetchError> {
        if to - from <= SECOND {
            return Ok(false);
        }
        let finer = ((to - from) / FINER).min(self.longest).div_ceil(SECOND).max(1);
        let counts = self.counts((from, to), finer).await?;
        Ok(self.checkpoint.strata.as_mut().is_some_and(|strata| strata.refine(step, (from, to), finer, &counts)))
    }

    /// A page of a draw; `None` when the answer is visibly that to another query.
    async fn lots(
        &mut self,
        (from, to): (UnixNanos, UnixNanos),
        last: Option<&(u64, String)>,
        limit: usize,
        refresh: Refresh,
    ) -> Result<Option<Vec<Row>>, Fault> {
        let after_lot = last.map(|(lot, id)| (*lot, id.as_str()));
        let which = Where { from, to, services: &self.fetch.services, after_lot, ..Where::default() };
        self.asked += 1;
        let table = self.client.hogql(&hogql::draw(&which, limit, self.asked), refresh).await?;
        table.into_rows(self.asked)
    }

    /// Takes over rows of a step, in the order of time.
    fn keep(&mut self, held: &mut Vec<Row>) -> Result<(), FetchError> {
        held.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        for page in held.chunks(self.fetch.page()) {
            self.spool.append(page).map_err(|error| self.fetch.spool(error))?;
        }
        for row in held.iter() {
            self.is_new(row);
        }
        self.checkpoint.rows += held.len() as u64;
        self.unsaved += held.len() as u64;
        held.clear();
        Ok(())
    }

    /// As many lots as the share that is drawn.
    fn share_of_lots(&self) -> u64 {
        let total = self.checkpoint.strata.as_ref().map_or(0, Strata::total).max(1);
        (u128::from(LOTS) * u128::from(self.fetch.max_rows) / u128::from(total)).min(u128::from(LOTS)) as u64
    }

    /// Lots below this are asked for when late rows are looked for. The highest lot drawn differs from step to step by chance:
    /// most lie below twice the share, and what is beyond is not worth a look at so many more rows.
    pub(super) fn late_lots(&self) -> Option<u64> {
        self.checkpoint.drawn.as_ref().map(|_| (2 * self.share_of_lots()).clamp(1, LOTS))
    }

    /// Whether a draw of its step would have had a row, had it been there: one that was there and was not drawn is not late.
    pub(super) fn is_drawn(&self, row: &Row) -> bool {
        let (Some(drawn), Some(strata)) = (&self.checkpoint.drawn, &self.checkpoint.strata) else { return true };
        let highest = strata.step_of(row.time).and_then(|step| drawn.get(step)).copied();
        row.lot <= highest.unwrap_or_else(|| self.share_of_lots())
    }
}

/// Whether a page answers another question than the one asked.
fn is_stale(page: &[Row], last: Option<&(u64, String)>, (from, to): (UnixNanos, UnixNanos), limit: usize) -> bool {
    let is_known = |row: &Row| last.is_some_and(|(lot, id)| (row.lot, row.uuid.as_str()) <= (*lot, id.as_str()));
    page.len() > limit || page.iter().any(|row| is_known(row) || !(from..to).contains(&row.time))
}
