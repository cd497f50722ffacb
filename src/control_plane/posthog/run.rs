//! A fetch under way: count, slice, page, look for late rows.
//!
//! Purpose: what [`Fetch`] promises.
//! Promises: a page goes to the spool before the checkpoint names it; an answer to another question than the one asked is
//! asked again, never taken for the end.
//! Never: opens files by itself; [`Fetch::run`] does.
//!
//! Rows come in the order of (time, id), so that a row at or before the last one is a repetition: no set of ids is needed.
//! Rows that arrive late stand before that place. They are found by their time of receipt in a second pass over the span,
//! and told from those already read by their ids.

use std::collections::HashSet;
use std::path::PathBuf;

use super::checkpoint::{Checkpoint, Phase, SPOOL_FILE, Strata};
use super::client::Client;
use super::config::ReadApi;
use super::fault::{Fault, FaultKind};
use super::fetch::{Fetch, FetchError, History, Progress, Stage};
use super::hogql::{self, Refresh, Where};
use super::query::{LogsPage, LogsQuery, Order};
use super::row::Row;
use super::slice::Slicer;
use super::spool::{Spool, SpoolError, SpoolReader};
use crate::clock::UnixNanos;
use crate::control_plane::insights::{Sample, rate_for};

/// Ids held to tell late rows from those read before.
const MAX_RECENT: usize = 4_000_000;
/// Rows after which a checkpoint is written.
const CHECKPOINT_ROWS: u64 = 10_000;
/// Looks for late rows.
const MAX_PASSES: u32 = 3;
/// Pages of rows that were not asked for, before PostHog is doubted.
const MAX_STALE_PAGES: u32 = 20;
/// Steps of time that rows are counted in.
const STRATA: u64 = 288;
const SECOND: u64 = 1_000_000_000;

/// A fetch under way.
pub(super) struct Run<'a> {
    fetch: &'a Fetch,
    client: &'a Client,
    checkpoint: Checkpoint,
    spool: Spool,
    /// Ids of rows received since shortly before the start.
    recent: HashSet<u128, ahash::RandomState>,
    /// Rows since the last checkpoint.
    unsaved: u64,
    /// Number of the HogQL query asked last; its answer carries it.
    asked: u64,
    tell: &'a mut (dyn FnMut(&Progress) + Send),
}

/// A short name of an id: the UUID itself, or a hash of what is none.
fn short(id: &str) -> u128 {
    let hash = |seed| u128::from(twox_hash::XxHash64::oneshot(seed, id.as_bytes()));
    uuid::Uuid::parse_str(id).map_or_else(|_| hash(1) << 64 | hash(2), |uuid| uuid.as_u128())
}

impl<'a> Run<'a> {
    /// At this checkpoint.
    pub(super) fn new(
        fetch: &'a Fetch,
        client: &'a Client,
        checkpoint: Checkpoint,
        spool: Spool,
        tell: &'a mut (dyn FnMut(&Progress) + Send),
    ) -> Run<'a> {
        Run { fetch, client, checkpoint, spool, recent: HashSet::default(), unsaved: 0, asked: 0, tell }
    }

    /// Rows received since then may have arrived while we read.
    fn recent_from(&self) -> UnixNanos {
        self.checkpoint.started.saturating_sub(self.fetch.overlap.as_nanos() as u64)
    }

    /// After a crash: the ids of rows received lately, from the spool.
    pub(super) fn remember(&mut self) -> Result<(), FetchError> {
        if self.checkpoint.phase == Phase::Done {
            return Ok(());
        }
        let path = self.fetch.directory.join(SPOOL_FILE);
        let (from, mut recent) = (self.recent_from(), std::mem::take(&mut self.recent));
        let read = || -> Result<HashSet<u128, ahash::RandomState>, SpoolError> {
            let mut reader = SpoolReader::open(&path, self.checkpoint.spool_bytes)?;
            while let Some(ids) = reader.next_page()? {
                recent.extend(ids.iter().filter(|(_, observed)| *observed >= from).map(|(id, _)| short(id)));
            }
            Ok(recent)
        };
        self.recent = if self.checkpoint.spool_bytes == 0 {
            HashSet::default()
        } else {
            read().map_err(|e| self.fetch.spool(e))?
        };
        Ok(())
    }

    /// Counts rows by time, and decides what is read of them.
    pub(super) async fn count(&mut self) -> Result<(), FetchError> {
        self.tell(Stage::Count, 0.0);
        if self.fetch.api == ReadApi::Hogql {
            let Checkpoint { since, until, .. } = self.checkpoint;
            let step_seconds = ((until - since) / SECOND).div_ceil(STRATA).max(1);
            let which = Where { from: since, to: until, services: &self.fetch.services, ..Where::default() };
            let query = hogql::counts(&which, step_seconds);
            // Counting touches every row of the span: it may take longer than a request is given.
            let table = match self.client.hogql(&query, Refresh::Blocking).await {
                Err(fault) if fault.kind == FaultKind::TooHeavy => self.client.hogql(&query, Refresh::Async).await?,
                answer => answer?,
            };
            let number = |value: &serde_json::Value| value.as_u64();
            let pair = |row: &Vec<serde_json::Value>| Some((number(row.first()?)?, number(row.get(1)?)?));
            let counts: Option<Vec<(u64, u64)>> = table.rows.iter().map(pair).collect();
            let counts = counts.ok_or_else(|| Fault::new(FaultKind::Schema, "a count that is no number"))?;
            self.decide(Strata { step_seconds, counts });
        }
        self.save()
    }

    /// A sample of everything, or the latest stretch, when there is more than wanted.
    fn decide(&mut self, strata: Strata) {
        let most = self.fetch.max_rows;
        if strata.total() > most && self.fetch.is_sample {
            self.checkpoint.rate = rate_for(strata.total(), most, hogql::RATE_PARTS);
        } else if strata.total() > most {
            let mut rows = 0;
            let fits = |(_, count): &&(u64, u64)| {
                rows += count;
                rows <= most
            };
            let until = self.checkpoint.until;
            let start = match (strata.counts.iter().rev().take_while(fits).last(), strata.counts.last()) {
                (Some((start, _)), _) => start * SECOND,
                // Not even the last step fits: its part that does, were it even.
                (None, Some((start, count))) => {
                    let step = u128::from(until.saturating_sub(start * SECOND));
                    until - (step * u128::from(most) / u128::from(*count).max(1)) as u64
                }
                (None, None) => self.checkpoint.since,
            };
            self.checkpoint.since = start.clamp(self.checkpoint.since, until);
            self.checkpoint.phase = Phase::Rows { from: self.checkpoint.since, last: None };
        }
        self.checkpoint.strata = Some(strata);
    }

    pub(super) async fn all(&mut self) -> Result<(), FetchError> {
        let span = self.checkpoint.until - self.checkpoint.since;
        loop {
            let mut slicer = match &self.checkpoint.phase {
                Phase::Done => return Ok(()),
                Phase::Rows { .. } => Slicer::new(span, self.fetch.page()),
                Phase::Late { .. } => Slicer::whole(span, self.fetch.page()),
            };
            while let Phase::Rows { from, .. } | Phase::Late { from, .. } = self.checkpoint.phase {
                if from >= self.checkpoint.until {
                    break;
                }
                self.slice(from, &mut slicer).await?;
            }
            self.checkpoint.phase = match self.checkpoint.phase {
                Phase::Rows { .. } => Phase::Late { pass: 1, found: 0, from: self.checkpoint.since, last: None },
                // Twice at least: the first may have met an answer to another query.
                Phase::Late { pass, found, .. } if (found > 0 || pass < 2) && pass < MAX_PASSES => {
                    Phase::Late { pass: pass + 1, found: 0, from: self.checkpoint.since, last: None }
                }
                _ => Phase::Done,
            };
            self.save()?;
        }
    }

    /// Reads one slice to its end, or shortens the next ones when it is too heavy.
    async fn slice(&mut self, from: UnixNanos, slicer: &mut Slicer) -> Result<(), FetchError> {
        // Slices may be shorter than the one that a crash interrupted: this one must not end before the last row.
        let from = self.last().map_or(from, |(at, _)| at.max(from));
        let (to, mut rows, mut stale) = (slicer.end(from, self.checkpoint.until), 0, 0);
        let mut cursor: Option<String> = None;
        loop {
            let page = match self.page((from, to), slicer.page(), cursor.clone()).await {
                Err(fault) if fault.kind == FaultKind::TooHeavy && slicer.shrink() => {
                    // The next slice begins where this one got to.
                    let last = self.last();
                    self.place(last.as_ref().map_or(from, |(at, _)| *at), last);
                    return Ok(());
                }
                page => page?,
            };
            let has_cursor = cursor.is_some();
            let Some(page) = page.filter(|page| !self.is_stale(&page.rows, (from, to), has_cursor)) else {
                stale += 1;
                if stale > MAX_STALE_PAGES {
                    let what = "page after page holds rows that were not asked for";
                    return Err(Fault::new(FaultKind::Schema, what).into());
                }
                continue;
            };
            let more = page.next.is_some() || (self.fetch.api == ReadApi::Hogql && page.rows.len() >= slicer.page());
            cursor = page.next;
            rows += self.take(page.rows, (from, to))?;
            self.tell_share();
            if !more {
                slicer.held(rows, from, to);
                self.place(to, None);
                return Ok(());
            }
            if let Some((at, id)) = self.last().filter(|_| rows >= slicer.enough()) {
                slicer.held(rows, from, at);
                self.place(at, Some((at, id)));
                return Ok(());
            }
        }
    }

    /// Whether a page answers another question than the one asked, such as the one before. To take it for this one's answer
    /// could end a slice early.
    fn is_stale(&self, rows: &[Row], (from, to): (UnixNanos, UnixNanos), has_cursor: bool) -> bool {
        let last = self.last();
        let is_late = matches!(self.checkpoint.phase, Phase::Late { .. });
        let received_from = if is_late { self.recent_from() } else { 0 };
        rows.iter().any(|row| {
            let is_known = last.as_ref().is_some_and(|(at, id)| {
                // Without a cursor the logs API was asked for everything from that time on.
                let is_asked = self.fetch.api == ReadApi::Logs && !has_cursor && row.time == *at;
                row.place() <= (*at, id.as_str()) && !is_asked
            });
            // Whether the end itself belongs to it is PostHog's to say; it is not taken in either case.
            is_known || row.time < from || row.time > to || row.observed < received_from
        })
    }

    fn last(&self) -> Option<(UnixNanos, String)> {
        match &self.checkpoint.phase {
            Phase::Rows { last, .. } | Phase::Late { last, .. } => last.clone(),
            Phase::Done => None,
        }
    }

    fn place(&mut self, to: UnixNanos, place: Option<(UnixNanos, String)>) {
        if let Phase::Rows { from, last } | Phase::Late { from, last, .. } = &mut self.checkpoint.phase {
            *from = to;
            *last = place;
        }
    }

    /// A page; `None` when the answer is visibly that to another query.
    async fn page(
        &mut self,
        (from, to): (UnixNanos, UnixNanos),
        limit: usize,
        cursor: Option<String>,
    ) -> Result<Option<LogsPage>, Fault> {
        let observed_from = matches!(self.checkpoint.phase, Phase::Late { .. }).then(|| self.recent_from());
        let last = self.last();
        let services = &self.fetch.services;
        if self.fetch.api == ReadApi::Hogql {
            let after = last.as_ref().map(|(at, id)| (*at, id.as_str()));
            let which = Where { from, to, services, observed_from, rate: self.checkpoint.rate, after };
            self.asked += 1;
            let table = self.client.hogql(&hogql::rows(&which, limit, self.asked), Refresh::Blocking).await?;
            let rows = table.into_rows(self.asked)?;
            return Ok(rows.map(|rows| LogsPage { rows, next: None }));
        }
        // A cursor ends with the process. After a crash the page begins at the last row's time; rows up to it are known.
        let from = last.as_ref().filter(|_| cursor.is_none()).map_or(from, |(at, _)| *at);
        let services = services.clone();
        let query = LogsQuery {
            from,
            to,
            services,
            observed_from,
            order: Order::Earliest,
            limit,
            after: cursor,
            ..LogsQuery::default()
        };
        self.client.logs(&query).await.map(Some)
    }

    /// Takes over the rows that are new; how many there were.
    fn take(&mut self, rows: Vec<Row>, (from, to): (UnixNanos, UnixNanos)) -> Result<u64, FetchError> {
        let recent_from = self.recent_from();
        let is_late = matches!(self.checkpoint.phase, Phase::Late { .. });
        let before = self.last();
        let mut last = before.clone();
        let (mut new, mut fresh): (Vec<Row>, u64) = (Vec::with_capacity(rows.len()), 0);
        for row in rows.into_iter().filter(|row| (from..to).contains(&row.time)) {
            let is_behind = |place: &Option<(UnixNanos, String)>| {
                place.as_ref().is_some_and(|(at, id)| row.place() <= (*at, id.as_str()))
            };
            if is_behind(&last) {
                let is_same = last.as_ref().is_some_and(|(at, id)| row.place() == (*at, id.as_str()));
                if !is_behind(&before) && !is_same {
                    return Err(Fault::new(FaultKind::Schema, "rows that are not in the order asked for").into());
                }
                continue;
            }
            last = Some((row.time, row.uuid.clone()));
            fresh += 1;
            let is_recent = row.observed >= recent_from && self.recent.len() < MAX_RECENT;
            if is_recent && !self.recent.insert(short(&row.uuid)) || is_late && !is_recent {
                continue;
            }
            new.push(row);
        }
        if !new.is_empty() {
            self.spool.append(&new).map_err(|error| self.fetch.spool(error))?;
        }
        let added = new.len() as u64;
        self.checkpoint.rows += added;
        self.checkpoint.spool_bytes = self.spool.len();
        if let Phase::Late { found, .. } = &mut self.checkpoint.phase {
            *found += added;
            self.checkpoint.late += added;
        }
        if let Some(last) = last {
            self.place(from, Some(last));
        }
        self.unsaved += added;
        self.within_bounds()?;
        if self.unsaved >= CHECKPOINT_ROWS {
            self.save()?;
        }
        Ok(fresh)
    }

    /// What could not be counted beforehand may be more than wanted.
    fn within_bounds(&self) -> Result<(), FetchError> {
        if self.checkpoint.strata.is_none() && self.checkpoint.rows > self.fetch.max_rows {
            let why = format!(
                "there are more than {} rows, and the logs API can give no sample: use --posthog-api hogql (scope \
                 query:read), a shorter --since, or a larger --max-rows",
                self.fetch.max_rows
            );
            return Err(Fault::new(FaultKind::Setting, why).into());
        }
        Ok(())
    }

    /// Writes the checkpoint.
    pub(super) fn save(&mut self) -> Result<(), FetchError> {
        self.spool.sync().map_err(|error| self.fetch.spool(error))?;
        self.checkpoint.spool_bytes = self.spool.len();
        self.unsaved = 0;
        let directory = &self.fetch.directory;
        let wrong = |error| FetchError::Directory(format!("{}: {error}", directory.display()));
        self.checkpoint.save(directory).map_err(wrong)
    }

    fn tell_share(&mut self) {
        let Checkpoint { since, until, phase, .. } = &self.checkpoint;
        let (stage, from, last) = match phase {
            Phase::Rows { from, last } => (Stage::Rows, *from, last),
            Phase::Late { from, last, .. } => (Stage::Late, *from, last),
            Phase::Done => return,
        };
        let at = last.as_ref().map_or(from, |(at, _)| *at);
        let share = at.saturating_sub(*since) as f64 / (until - since).max(1) as f64;
        self.tell(stage, share);
    }

    fn tell(&mut self, stage: Stage, share: f64) {
        let expected = self.checkpoint.strata.as_ref().map(|strata| {
            let from = self.checkpoint.since / SECOND;
            let rows: u64 =
                strata.counts.iter().filter(|(at, _)| at + strata.step_seconds > from).map(|(_, n)| n).sum();
            let rate = self.checkpoint.rate.unwrap_or(hogql::RATE_PARTS);
            (u128::from(rows) * u128::from(rate) / u128::from(hogql::RATE_PARTS)) as u64
        });
        let (rows, counts) = (self.checkpoint.rows, self.client.counts());
        (self.tell)(&Progress { stage, rows, expected, share, counts });
    }

    pub(super) fn history(self, spool: PathBuf, is_resumed: bool) -> History {
        let Checkpoint { identity, since, until, strata, rate, spool_bytes, rows, late, .. } = self.checkpoint;
        let asked = until.saturating_sub(identity.since_seconds * SECOND);
        let sample = rate.zip(strata).map(|(rate, strata)| {
            let rate = rate as f64 / hogql::RATE_PARTS as f64;
            // Rows that arrived since the count belong to the population too.
            let late = late as f64 / rate;
            Sample { population: strata.total() + late as u64, rows, rate }
        });
        let shortened_from = (since > asked + SECOND).then_some(asked);
        let counts = self.client.counts();
        History { spool, spool_bytes, rows, late, since, until, shortened_from, sample, is_resumed, counts }
    }
}
