//! Statistics for people: patterns by volume, and over time.
//!
//! Purpose: sum buckets of all resolutions over a span of time.
//! Promises: exact for spans that begin and end on the buckets they touch; bounded in rows; a page continues where
//! the one before ended.
//! Never: writes.

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::sql::Sql;
use super::{Store, StoreError, Timestamp, count, get};

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

impl Store {
    /// Patterns with records in the span, the largest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn patterns(&self, query: &PatternQuery) -> Result<Vec<PatternStats>, StoreError> {
        let (from, to) = (query.from.secs(), query.to.secs());
        let mut sql = Sql::new(
            "SELECT t.id, p.service, p.severity, p.pattern, p.template, p.example, p.first_seen, p.last_seen, \
             t.records, t.bytes, t.kept, t.kept_bytes FROM (SELECT q.id AS id, \
             CAST(SUM(s.records) AS BIGINT) AS records, CAST(SUM(s.bytes) AS BIGINT) AS bytes, \
             CAST(SUM(s.kept) AS BIGINT) AS kept, CAST(SUM(s.kept_bytes) AS BIGINT) AS kept_bytes \
             FROM patterns q JOIN pattern_stats s ON s.pattern_id = q.id WHERE s.resolution IN (10, 300, 3600) \
             AND s.start >= ",
        );
        sql.bind(from).push(" AND s.start < ").bind(to);
        // A pattern not seen since the span began has no bucket in it.
        sql.push(" AND q.last_seen >= ").bind(query.from.before(std::time::Duration::from_secs(120)).stored());
        if let Some(service) = &query.service {
            sql.push(" AND q.service = ").bind(service.clone());
        }
        if let Some(severity) = &query.severity {
            sql.push(" AND q.severity = ").bind(severity.clone());
        }
        if let Some(id) = query.id {
            sql.push(" AND q.id = ").bind(id);
        }
        sql.push(" GROUP BY q.id) t JOIN patterns p ON p.id = t.id WHERE 1 = 1");
        let column = query.sort.column();
        if let Some((value, id)) = query.after {
            sql.push(" AND (").push(column).push(" < ").bind(value).push(" OR (").push(column).push(" = ").bind(value);
            sql.push(" AND t.id > ").bind(id).push("))");
        }
        sql.push(" ORDER BY ").push(column).push(" DESC, t.id LIMIT ").bind(i64::from(query.limit));
        let rows = sql.build()?.fetch_all(&self.pool).await?;
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
        let sql = "SELECT p.id, p.service, p.severity, p.pattern, p.template, p.example, p.first_seen, p.last_seen, \
                   CAST(COALESCE(t.records, 0) AS BIGINT) AS records, CAST(COALESCE(t.bytes, 0) AS BIGINT) AS bytes, \
                   CAST(COALESCE(t.kept, 0) AS BIGINT) AS kept, \
                   CAST(COALESCE(t.kept_bytes, 0) AS BIGINT) AS kept_bytes FROM patterns p LEFT JOIN \
                   (SELECT pattern_id, SUM(records) AS records, SUM(bytes) AS bytes, SUM(kept) AS kept, \
                   SUM(kept_bytes) AS kept_bytes FROM pattern_stats WHERE pattern_id = $1 AND \
                   resolution IN (10, 300, 3600) AND start >= $2 AND start < $3 GROUP BY pattern_id) t \
                   ON t.pattern_id = p.id WHERE p.id = $1";
        let row = sqlx::query(sql).bind(id).bind(from.secs()).bind(to.secs()).fetch_optional(&self.pool).await?;
        let seconds = (to.secs() - from.secs()).max(1) as f64;
        row.map(|row| pattern(&row, seconds)).transpose()
    }

    /// Sums over time, the earliest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn series(&self, query: &SeriesQuery) -> Result<Vec<Bucket>, StoreError> {
        let step = query.step.max(super::ingest::FINE_SECONDS);
        let mut sql = Sql::new("SELECT (s.start / ");
        sql.bind(step).push(
            ") AS bucket, CAST(SUM(s.records) AS BIGINT) AS records, CAST(SUM(s.bytes) AS BIGINT) \
             AS bytes, CAST(SUM(s.kept) AS BIGINT) AS kept, CAST(SUM(s.kept_bytes) AS BIGINT) AS kept_bytes FROM \
             patterns q JOIN pattern_stats s ON s.pattern_id = q.id WHERE s.resolution IN (10, 300, 3600) AND \
             s.start >= ",
        );
        sql.bind(query.from.secs()).push(" AND s.start < ").bind(query.to.secs());
        if let Some(service) = &query.service {
            sql.push(" AND q.service = ").bind(service.clone());
        }
        if let Some(id) = query.id {
            sql.push(" AND q.id = ").bind(id);
        }
        sql.push(" GROUP BY bucket ORDER BY bucket LIMIT ").bind(i64::from(query.limit));
        let rows = sql.build()?.fetch_all(&self.pool).await?;
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
        let sql = "SELECT service FROM (SELECT service FROM patterns UNION SELECT service FROM policy_versions) s \
                   WHERE service > $1 ORDER BY service LIMIT $2";
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
