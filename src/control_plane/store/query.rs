//! Statistics for people: patterns by volume, and over time.
//!
//! Purpose: sum buckets over a span of time, from as few of them as there can be.
//! Promises: exact for spans that begin and end on the buckets they touch; bounded in rows; a page continues where
//! the one before ended; a question sees the store as it is at one moment.
//! Never: writes.

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::ingest::scope_of;
use super::levels::{LEVELS, Run};
use super::sql::Sql;
use super::{Engine, Store, StoreError, Timestamp, count, get};

/// What patterns are ordered by, the largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// Bytes seen.
    #[default]
    Bytes,
    /// Records seen, which is also the order of rates.
    Records,
    /// Records kept.
    Kept,
    /// Records dropped.
    Dropped,
}

/// A pattern's number in the store.
pub type PatternId = i64;

/// Which patterns, over which time.
#[derive(Clone, Debug)]
pub struct PatternQuery {
    /// Of this service alone.
    pub service: Option<String>,
    /// Of this severity band alone.
    pub severity: Option<String>,
    /// Only this pattern.
    pub id: Option<PatternId>,
    /// From here on.
    pub from: Timestamp,
    /// Before here.
    pub to: Timestamp,
    /// Order.
    pub sort: Sort,
    /// Continue behind this value and id.
    pub after: Option<(i64, PatternId)>,
    /// Patterns at most.
    pub limit: u32,
}

/// A pattern and its sums over a span.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PatternStats {
    /// Its number in the store.
    #[schema(value_type = String)]
    #[serde(serialize_with = "as_text")]
    pub id: PatternId,
    /// Whose records.
    pub service: String,
    /// Their severity band.
    pub severity: String,
    /// The pattern's id or signature; empty for records beyond the bound on patterns.
    pub pattern: String,
    /// The masked template.
    pub template: String,
    /// One text of the pattern.
    pub example: String,
    /// When it was seen first.
    pub first_seen: Timestamp,
    /// When it was seen last, to the minute.
    pub last_seen: Timestamp,
    /// Records seen.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records kept.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// Records seen per second of the span.
    pub records_per_second: f64,
}

fn as_text<S: serde::Serializer>(id: &PatternId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Which sums over time.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// Of this service alone.
    pub service: Option<String>,
    /// Only this pattern.
    pub id: Option<PatternId>,
    /// From here on.
    pub from: Timestamp,
    /// Before here.
    pub to: Timestamp,
    /// Length of a bucket in seconds. Older statistics have longer buckets and stand at their start.
    pub step: i64,
    /// Buckets at most.
    pub limit: u32,
}

/// Sums of one step of time.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Bucket {
    /// When it begins.
    pub start: Timestamp,
    /// Records seen.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records kept.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
}

impl Sort {
    fn column(self) -> &'static str {
        match self {
            Sort::Bytes => "bytes",
            Sort::Records => "records",
            Sort::Kept => "kept",
            Sort::Dropped => "records - kept",
        }
    }

    fn joined_column(self) -> &'static str {
        match self {
            Sort::Bytes => "t.bytes",
            Sort::Records => "t.records",
            Sort::Kept => "t.kept",
            Sort::Dropped => "t.records - t.kept",
        }
    }

    /// A pattern's place in this order.
    pub fn value(self, stats: &PatternStats) -> i64 {
        let value = match self {
            Sort::Bytes => stats.bytes,
            Sort::Records => stats.records,
            Sort::Kept => stats.kept,
            Sort::Dropped => stats.dropped,
        };
        super::stored(value)
    }
}

/// The columns of a pattern, `p`, with sums, `t`.
const COLUMNS: &str = "SELECT p.id, p.service, p.severity, p.pattern, p.template, p.example, p.first_seen, p.last_seen, \
     COALESCE(t.records, 0) AS records, COALESCE(t.bytes, 0) AS bytes, COALESCE(t.kept, 0) AS kept, \
     COALESCE(t.kept_bytes, 0) AS kept_bytes FROM ";
/// Sums of one table or of several.
const SUMS: &str = "CAST(SUM(records) AS BIGINT) AS records, CAST(SUM(bytes) AS BIGINT) AS bytes, \
     CAST(SUM(kept) AS BIGINT) AS kept, CAST(SUM(kept_bytes) AS BIGINT) AS kept_bytes FROM ";
/// Names of the sums of runs; there are never more runs.
const LOOKS: [&str; 2 * LEVELS.len()] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9"];
/// What is true of no row.
const NOTHING: &[Run] = &[Run { level: 0, from: 0, to: 0 }];

/// Which patterns.
#[derive(Default)]
struct Filter<'a> {
    service: Option<&'a str>,
    severity: Option<&'a str>,
    id: Option<PatternId>,
    /// Those of the table `page`.
    is_paged: bool,
}

impl Filter<'_> {
    /// The conditions, about patterns `q`; `id` is where their number stands.
    fn push(&self, sql: &mut Sql, id: &'static str) {
        if let Some(service) = self.service {
            sql.push(" AND q.service = ").bind(service.to_owned());
        }
        if let Some(severity) = self.severity {
            sql.push(" AND q.severity = ").bind(severity.to_owned());
        }
        if let Some(only) = self.id {
            sql.push(" AND ").push(id).push(" = ").bind(only);
        }
        if self.is_paged {
            sql.push(" AND ").push(id).push(" IN (SELECT id FROM page)");
        }
    }
}

/// Sums of patterns: `SELECT id, records, bytes, kept, kept_bytes`.
fn sums(sql: &mut Sql, engine: Engine, runs: &[Run], filter: &Filter<'_>) {
    // SQLite makes the sums of a run pattern by pattern, in the order of the tables, and so sorts nothing. PostgreSQL hashes
    // them; patterns beside the counts would only be more to read.
    let joins = engine == Engine::Sqlite || filter.service.is_some() || filter.severity.is_some();
    sql.push("SELECT id, ").push(SUMS).push("(");
    for (index, run) in if runs.is_empty() { NOTHING } else { runs }.iter().enumerate() {
        sql.push(if index > 0 { " UNION ALL " } else { "" });
        match joins {
            true => sql.push("SELECT q.id AS id, ").push(SUMS).push("patterns q CROSS JOIN "),
            false => sql.push("SELECT s.pattern_id AS id, ").push(SUMS),
        };
        sql.push(LEVELS[run.level].table).push(" s WHERE s.start >= ").bind(run.from);
        sql.push(" AND s.start < ").bind(run.to);
        if joins {
            sql.push(" AND s.pattern_id = q.id");
        }
        filter.push(sql, if joins { "q.id" } else { "s.pattern_id" });
        sql.push(if joins { " GROUP BY q.id" } else { " GROUP BY s.pattern_id" });
    }
    sql.push(") u GROUP BY id");
}

/// The part of the list behind the page before.
fn behind(sql: &mut Sql, query: &PatternQuery, column: &'static str) {
    if let Some((value, id)) = query.after {
        sql.push(" WHERE (").push(column).push(" < ").bind(value).push(" OR (").push(column).push(" = ").bind(value);
        sql.push(" AND id > ").bind(id).push("))");
    }
    sql.push(" ORDER BY ").push(column).push(" DESC, id LIMIT ").bind(i64::from(query.limit));
}

fn filter(query: &PatternQuery) -> Filter<'_> {
    Filter { service: query.service.as_deref(), severity: query.severity.as_deref(), id: query.id, is_paged: false }
}

/// A page for PostgreSQL: of all patterns the one sum that they are ordered by, over the buckets as they lie in the tables; then
/// all sums of those on the page.
fn page_by_hashes(query: &PatternQuery, runs: &[Run]) -> Sql {
    let runs = if runs.is_empty() { NOTHING } else { runs };
    let filter = filter(query);
    let joins = filter.service.is_some() || filter.severity.is_some();
    let mut sql =
        Sql::new("WITH page AS MATERIALIZED (SELECT id FROM (SELECT id, CAST(SUM(one) AS BIGINT) AS value FROM (");
    for (index, run) in runs.iter().enumerate() {
        sql.push(if index > 0 { " UNION ALL " } else { "" });
        sql.push("SELECT s.pattern_id AS id, ").push(query.sort.column()).push(" AS one FROM ");
        sql.push(LEVELS[run.level].table).push(" s");
        sql.push(if joins { " JOIN patterns q ON q.id = s.pattern_id" } else { "" });
        sql.push(" WHERE s.start >= ").bind(run.from).push(" AND s.start < ").bind(run.to);
        filter.push(&mut sql, "s.pattern_id");
    }
    sql.push(") u GROUP BY id) a");
    behind(&mut sql, query, "value");
    all_sums(&mut sql, Engine::Postgres, query, runs);
    sql
}

/// All sums of the patterns of the table `page`, in its order.
fn all_sums(sql: &mut Sql, engine: Engine, query: &PatternQuery, runs: &[Run]) {
    sql.push(") ").push(COLUMNS).push("(");
    sums(sql, engine, runs, &Filter { is_paged: true, ..Filter::default() });
    sql.push(") t JOIN patterns p ON p.id = t.id ORDER BY ").push(query.sort.joined_column()).push(" DESC, t.id");
}

/// A page for SQLite: of all patterns the one sum that they are ordered by, each run of a pattern by one look into its table,
/// in the order of the tables; then all sums of those on the page. Nothing is sorted but the page.
fn page_by_scalars(query: &PatternQuery, runs: &[Run]) -> Sql {
    let runs = if runs.is_empty() { NOTHING } else { runs };
    let mut sql = Sql::new("WITH looks AS MATERIALIZED (SELECT q.id AS id");
    for (index, run) in runs.iter().enumerate() {
        sql.push(", (SELECT SUM(").push(query.sort.column()).push(") FROM ").push(LEVELS[run.level].table);
        sql.push(" s WHERE s.pattern_id = q.id AND s.start >= ").bind(run.from);
        sql.push(" AND s.start < ").bind(run.to).push(") AS ").push(LOOKS[index]);
    }
    // By the number of the pattern, unless the index of services leaves few of them.
    sql.push(if query.service.is_none() {
        " FROM patterns q NOT INDEXED WHERE 1 = 1"
    } else {
        " FROM patterns q WHERE 1 = 1"
    });
    filter(query).push(&mut sql, "q.id");
    sql.push("), page AS MATERIALIZED (SELECT id FROM (SELECT id, 0");
    for name in &LOOKS[..runs.len()] {
        sql.push(" + COALESCE(").push(name).push(", 0)");
    }
    // Where no run has a row, there was nothing.
    sql.push(" AS value FROM looks WHERE COALESCE(NULL");
    for name in &LOOKS[..runs.len()] {
        sql.push(", ").push(name);
    }
    sql.push(") IS NOT NULL) a");
    behind(&mut sql, query, "value");
    all_sums(&mut sql, Engine::Sqlite, query, runs);
    sql
}

impl Store {
    /// Patterns with records in the span, the largest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn patterns(&self, query: &PatternQuery) -> Result<Vec<PatternStats>, StoreError> {
        let (from, to) = (query.from.secs(), query.to.secs());
        let mut tx = self.look().await?;
        let runs = Store::bounds(&mut tx).await?.cover(from, to);
        let sql = match self.engine {
            Engine::Sqlite => page_by_scalars(query, &runs),
            Engine::Postgres => page_by_hashes(query, &runs),
        };
        let rows = sql.build()?.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let seconds = (to - from).max(1) as f64;
        rows.iter().map(|row| pattern(row, seconds)).collect()
    }

    /// One pattern, with its sums over a span; `None` when it is not known.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pattern(
        &self,
        id: PatternId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<PatternStats>, StoreError> {
        let mut tx = self.look().await?;
        let runs = Store::bounds(&mut tx).await?.cover(from.secs(), to.secs());
        let mut sql = Sql::new(COLUMNS);
        sql.push("patterns p LEFT JOIN (");
        sums(&mut sql, self.engine, &runs, &Filter { id: Some(id), ..Filter::default() });
        sql.push(") t ON t.id = p.id WHERE p.id = ").bind(id);
        let row = sql.build()?.fetch_optional(&mut *tx).await?;
        tx.commit().await?;
        let seconds = (to.secs() - from.secs()).max(1) as f64;
        row.map(|row| pattern(&row, seconds)).transpose()
    }

    /// Sums over time, the earliest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn series(&self, query: &SeriesQuery) -> Result<Vec<Bucket>, StoreError> {
        let step = query.step.max(LEVELS[0].seconds);
        let mut tx = self.look().await?;
        // One row for each bucket: there is nothing to save with longer ones.
        let runs = Store::bounds(&mut tx).await?.shortest_runs(query.from.secs(), query.to.secs());
        let mut sql = Sql::new("SELECT bucket, ");
        sql.push(SUMS).push("(");
        for (index, run) in if runs.is_empty() { NOTHING } else { &runs }.iter().enumerate() {
            sql.push(if index > 0 { " UNION ALL SELECT (s.start / " } else { "SELECT (s.start / " }).bind(step);
            sql.push(") AS bucket, s.records, s.bytes, s.kept, s.kept_bytes FROM ");
            match query.id {
                Some(id) => {
                    sql.push(LEVELS[run.level].table).push(" s WHERE s.pattern_id = ").bind(id);
                    if let Some(service) = &query.service {
                        sql.push(" AND s.pattern_id IN (SELECT id FROM patterns WHERE id = ").bind(id);
                        sql.push(" AND service = ").bind(service.clone()).push(")");
                    }
                }
                None => {
                    sql.push("scope_counts s WHERE s.scope = ").bind(scope_of(query.service.as_deref()));
                    sql.push(" AND s.resolution = ").bind(LEVELS[run.level].seconds);
                }
            }
            sql.push(" AND s.start >= ").bind(run.from).push(" AND s.start < ").bind(run.to);
        }
        sql.push(") u GROUP BY bucket ORDER BY bucket LIMIT ").bind(i64::from(query.limit));
        let rows = sql.build()?.fetch_all(&mut *tx).await?;
        tx.commit().await?;
        let bucket = |row: &AnyRow| {
            let bucket: i64 = get(row, "bucket")?;
            Ok(Bucket {
                start: Timestamp::of_secs(bucket * step),
                records: count(row, "records")?,
                bytes: count(row, "bytes")?,
                kept: count(row, "kept")?,
                kept_bytes: count(row, "kept_bytes")?,
            })
        };
        rows.iter().map(bucket).collect()
    }

    /// Services that have patterns or policies, after `after`, in the order of names.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn services(&self, after: Option<&str>, limit: u32) -> Result<Vec<String>, StoreError> {
        // From one name to the next by the index, past the patterns of each.
        let sql = "WITH RECURSIVE names(service) AS (SELECT MIN(service) FROM patterns WHERE service > $1 UNION ALL \
                   SELECT (SELECT MIN(p.service) FROM patterns p WHERE p.service > names.service) FROM names \
                   WHERE names.service IS NOT NULL), known(service) AS (SELECT service FROM names \
                   WHERE service IS NOT NULL LIMIT $2) SELECT service FROM (SELECT service FROM known UNION \
                   SELECT service FROM policy_versions WHERE service > $1) s ORDER BY service LIMIT $2";
        let rows = sqlx::query(sql)
            .bind(after.unwrap_or_default().to_owned())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|row| get(row, "service")).collect()
    }
}

fn pattern(row: &AnyRow, seconds: f64) -> Result<PatternStats, StoreError> {
    let (records, kept) = (count(row, "records")?, count(row, "kept")?);
    let (bytes, kept_bytes) = (count(row, "bytes")?, count(row, "kept_bytes")?);
    Ok(PatternStats {
        id: get(row, "id")?,
        service: get(row, "service")?,
        severity: get(row, "severity")?,
        pattern: get(row, "pattern")?,
        template: get(row, "template")?,
        example: get(row, "example")?,
        first_seen: Timestamp::from_stored(get(row, "first_seen")?),
        last_seen: Timestamp::from_stored(get(row, "last_seen")?),
        records,
        bytes,
        kept,
        kept_bytes,
        dropped: records.saturating_sub(kept),
        dropped_bytes: bytes.saturating_sub(kept_bytes),
        records_per_second: records as f64 / seconds,
    })
}
