//! A fetch under way: count, slice, page, look for late rows.
//!
//! Purpose: what [`Fetch`] promises; rows drawn by lot are `draw`'s.
//! Promises: a page goes to the spool before the checkpoint names it; an answer to another question than the one asked is
//! asked again, never taken for the end.
//! Never: opens files by itself; [`Fetch::run`] does.
//!
//! Rows come in the order of (time, id), so that a row at or before the last one is a repetition: no set of ids is needed.
//! Rows that arrive late stand before that place. They are found by their time of receipt in a second pass over the span,
//! and told from those already read by their ids.

use std::collections::HashSet;
use std::path::PathBuf;

use super::checkpoint::{Checkpoint, Phase, SPOOL_FILE};
use super::client::Client;
use super::config::ReadApi;
use super::fault::{Fault, FaultKind};
use super::fetch::{Fetch, FetchError, History, Parts, Progress, Stage};
use super::hogql::{self, Refresh, Where};
use super::query::{LogsPage, LogsQuery, Order};
use super::row::Row;
use super::slice::Slicer;
use super::spool::{Spool, SpoolError, SpoolReader};
use super::strata::{Strata, Stretches};
use crate::clock::UnixNanos;
use crate::control_plane::insights::Sample;

/// Ids held to tell late rows from those read before.
const MAX_RECENT: usize = 4_000_000;
/// Rows after which a checkpoint is written.
pub(super) const CHECKPOINT_ROWS: u64 = 10_000;
/// Looks for late rows.
const MAX_PASSES: u32 = 3;
/// Pages of rows that were not asked for, before PostHog is doubted.
pub(super) const MAX_STALE_PAGES: u32 = 20;
/// Steps of time that rows are counted in.
const STRATA: u64 = 288;
const SECOND: u64 = 1_000_000_000;

/// A fetch under way.
pub(super) struct Run<'a> {
    pub(super) fetch: &'a Fetch,
    pub(super) client: &'a Client,
    pub(super) checkpoint: Checkpoint,
    pub(super) spool: Spool,
    /// Ids of rows received since shortly before the start.
    recent: HashSet<u128, ahash::RandomState>,
    /// Rows since the last checkpoint.
    pub(super) unsaved: u64,
    /// Number of the HogQL query asked last; its answer carries it.
    pub(super) asked: u64,
    /// Nanoseconds that a query of a draw may cover: less than one that was too heavy.
    pub(super) longest: u64,
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
        Run {
            fetch,
            client,
            checkpoint,
            spool,
            recent: HashSet::default(),
            unsaved: 0,
            asked: 0,
            longest: u64::MAX,
            tell,
        }
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
            let counts = self.counts((since, until), step_seconds).await?;
            let strata = Strata { step_seconds, counts };
            if strata.total() > self.fetch.max_rows {
                self.choose(&strata).await?;
            }
            self.checkpoint.strata = Some(strata);
        }
        self.save()
    }

    /// Rows by steps of time, in order.
    pub(super) async fn counts(
        &self,
        (from, to): (UnixNanos, UnixNanos),
        step_seconds: u64,
    ) -> Result<Vec<(u64, u64)>, Fault> {
        let which = Where { from, to, services: &self.fetch.services, ..Where::default() };
        let query = hogql::counts(&which, step_seconds);
        // Counting touches every row of the span: it may take longer than a request is given.
        let table = match self.client.hogql(&query, Refresh::Blocking).await {
            Err(fault) if fault.kind == FaultKind::TooHeavy => self.client.hogql(&query, Refresh::Async).await?,
            answer => answer?,
        };
        let number = |value: &serde_json::Value| value.as_u64();
        let pair = |row: &Vec<serde_json::Value>| Some((number(row.first()?)?, number(row.get(1)?)?));
        let counts: Option<Vec<(u64, u64)>> = table.rows.iter().map(pair).collect();
        counts
            .filter(|counts| counts.is_sorted_by(|a, b| a.0 < b.0))
            .ok_or_else(|| Fault::new(FaultKind::Schema, "counts that are no numbers in order of time"))
    }

    /// There are more rows than wanted: some of every step, or stretches of time whole.
    async fn choose(&mut self, strata: &Strata) -> Result<(), FetchError> {
        let Checkpoint { since, until, .. } = self.checkpoint;
        let most = self.fetch.max_rows;
        if self.fetch.is_sample {
            self.checkpoint.drawn = Some(Vec::new());
            self.checkpoint.phase = Phase::Draw { step: 0, taken: 0, last: None };
            return Ok(());
        }
        let seconds = Stretches::length(strata.total(), most, since, until);
        // Counted anew, as finely as is chosen from.
        let cells = self.counts((since, until), seconds).await?;
        self.checkpoint.stretches = Some(Stretches::choose(&cells, seconds, most, since, until));
        Ok(())
    }

    pub(super) async fn all(&mut self) -> Result<(), FetchError> {
        let span = self.checkpoint.until - self.checkpoint.since;
        loop {
            let mut slicer = match &self.checkpoint.phase {
                Phase::Done => return Ok(()),
                Phase::Draw { .. } => {
                    self.draw().await?;
                    continue;
                }
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
        if self.checkpoint.stretches.as_ref().is_some_and(|stretches| stretches.within(from, to).is_empty()) {
            self.place(to, None);
            return Ok(());
        }
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
            is_known || row.time < from || row.time > to || row.observed < received_from || !self.is_asked(row.time)
        })
    }

    /// Whether rows of that time are read, if stretches are.
    fn is_asked(&self, time: UnixNanos) -> bool {
        self.checkpoint.stretches.as_ref().is_none_or(|stretches| stretches.holds(time))
    }

    fn last(&self) -> Option<(UnixNanos, String)> {
        match &self.checkpoint.phase {
            Phase::Rows { last, .. } | Phase::Late { last, .. } => last.clone(),
            Phase::Draw { .. } | Phase::Done => None,
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
            let stretches = self.checkpoint.stretches.as_ref().map_or(Vec::new(), |all| all.within(from, to));
            let (stretches, lots) = (&stretches[..], self.late_lots());
            let which = Where { from, to, services, observed_from, stretches, lots, after, ..Where::default() };
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
            if (is_late && !self.is_drawn(&row)) || !self.is_new(&row) {
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

    /// Whether a row was not read before; remembers those received lately.
    pub(super) fn is_new(&mut self, row: &Row) -> bool {
        let is_recent = row.observed >= self.recent_from() && self.recent.len() < MAX_RECENT;
        if is_recent {
            self.recent.insert(short(&row.uuid))
        } else {
            !matches!(self.checkpoint.phase, Phase::Late { .. })
        }
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
            Phase::Draw { .. } | Phase::Done => return,
        };
        let at = last.as_ref().map_or(from, |(at, _)| *at);
        let share = at.saturating_sub(*since) as f64 / (until - since).max(1) as f64;
        self.tell(stage, share);
    }

    pub(super) fn tell(&mut self, stage: Stage, share: f64) {
        let Checkpoint { strata, stretches, .. } = &self.checkpoint;
        let all = strata.as_ref().map(|strata| strata.total().min(self.fetch.max_rows));
        let expected = stretches.as_ref().map(|stretches| stretches.rows).or(all);
        let (rows, counts) = (self.checkpoint.rows, self.client.counts());
        (self.tell)(&Progress { stage, rows, expected, share, counts });
    }

    pub(super) fn history(self, spool: PathBuf, is_resumed: bool) -> History {
        let Checkpoint { identity, since, until, strata, drawn, stretches, spool_bytes, rows, late, .. } =
            self.checkpoint;
        let sample = drawn.and(strata.as_ref()).map(|strata| {
            let population = strata.total();
            let rate = identity.max_rows as f64 / population.max(1) as f64;
            // Rows that arrived since the count belong to the population too.
            Sample { population: population + (late as f64 / rate) as u64, rows, rate }
        });
        let parts = stretches.zip(strata).map(|(stretches, strata)| Parts {
            population: strata.total(),
            span_seconds: strata.seconds(since, until),
            rows: rows - late,
            stretches,
        });
        let counts = self.client.counts();
        History { spool, spool_bytes, rows, late, since, until, parts, sample, is_resumed, counts }
    }
}
