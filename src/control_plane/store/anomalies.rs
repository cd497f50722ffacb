//! Anomalies that gateways found, for people to look at now and later.
//!
//! Purpose: keep what is told of an anomaly from its start over its course to its end.
//! Promises: an anomaly told twice under one id is there once; what is older than what is known changes nothing, and one
//! that ended stays ended; one that nobody speaks of any more is shown as lost, so none stays open for ever.
//! Never: finds any.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::ingest::cut;
use super::sql::Sql;
use super::{Store, StoreError, Timestamp, Write, get};

/// An anomaly that goes on is told of again at least this often.
pub const ANOMALY_HEARTBEAT: Duration = Duration::from_secs(120);
/// One that was not told of for so long is lost: its gateway is gone, or cannot reach anyone.
const LOST_AFTER: Duration = Duration::from_secs(600);
/// Longest id, kind, name of a service, pattern, end or replica, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Longest subject, in bytes.
const MAX_SUBJECT_BYTES: usize = 2048;

/// An anomaly. Long texts are cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnomalyRow {
    /// Its id, the same whenever it is told of.
    #[schema(min_length = 1, max_length = 128)]
    pub id: String,
    /// `new_pattern`, `deploy`, `spike`, `silence` or `severity_shift`.
    pub kind: String,
    /// Whose records.
    pub service: String,
    /// Their pattern; null when it concerns the whole service.
    #[serde(default)]
    pub pattern: Option<String>,
    /// The pattern's template, or the severities whose share grew. Log text: escape it where it is shown.
    #[serde(default)]
    pub subject: String,
    /// How surprising at most: −log₁₀ of the p-value.
    pub score: f64,
    /// Probability of what was seen if nothing had changed.
    #[serde(default)]
    pub p_value: f64,
    /// Probability below which an alarm is raised.
    #[serde(default)]
    pub p_threshold: f64,
    /// Records per window expected.
    #[serde(default)]
    pub expected: f64,
    /// Records per window seen.
    #[serde(default)]
    pub seen: f64,
    /// Windows looked at together.
    #[serde(default)]
    pub windows: u32,
    /// Dispersion of the prediction: variance = mean + dispersion · mean².
    #[serde(default)]
    pub dispersion: f64,
    /// Patterns concerned.
    #[serde(default)]
    pub patterns: u32,
    /// Start of the first window that belongs to it.
    pub since: Timestamp,
    /// When it was noticed.
    pub at: Timestamp,
    /// Of when this is; what is told later counts.
    pub updated_at: Timestamp,
    /// When it ended; null while it goes on.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// Why it ended: `subsided`, `accepted`, `grouped` or `lost`; null while it goes on.
    #[serde(default)]
    pub end: Option<String>,
    /// The gateway that found it, as in `/v1/status`.
    #[serde(default)]
    pub replica: String,
}

/// What telling of an anomaly changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyChange {
    /// It was not known.
    Opened,
    /// It goes on, with newer evidence.
    WentOn,
    /// It is over.
    Ended,
}

/// Which anomalies.
#[derive(Clone, Debug, Default)]
pub struct AnomalyQuery {
    /// Of this service alone.
    pub service: Option<String>,
    /// Of this kind alone.
    pub kind: Option<String>,
    /// Noticed from here on.
    pub since: Option<Timestamp>,
    /// Those that go on, or those that are over.
    pub open: Option<bool>,
    /// Continue behind this one.
    pub before: Option<(Timestamp, String)>,
    /// Anomalies at most.
    pub limit: u32,
}

impl AnomalyRow {
    /// With texts within bounds and times that are not ahead of `now`.
    fn bounded(&self, now: Timestamp) -> AnomalyRow {
        let name = |text: &str| cut(text, MAX_NAME_BYTES);
        AnomalyRow {
            id: name(&self.id),
            kind: name(&self.kind),
            service: name(&self.service),
            pattern: self.pattern.as_deref().map(name),
            subject: cut(&self.subject, MAX_SUBJECT_BYTES),
            since: self.since.min(now),
            at: self.at.min(now),
            ended_at: self.ended_at.map(|at| at.min(now)),
            end: self.ended_at.and(self.end.as_deref().map(name)),
            replica: name(&self.replica),
            ..*self
        }
    }

    fn read(row: &AnyRow, now: Timestamp) -> Result<AnomalyRow, StoreError> {
        let detail: String = get(row, "detail")?;
        let detail: Detail = serde_json::from_str(&detail).unwrap_or_default();
        let pattern: String = get(row, "pattern")?;
        let ended_at: Option<i64> = get(row, "ended_at")?;
        let updated_at = Timestamp::from_stored(get(row, "updated_at")?);
        let is_lost = ended_at.is_none() && updated_at < now.before(LOST_AFTER);
        let lost = is_lost.then(|| "lost".to_owned());
        Ok(AnomalyRow {
            id: get(row, "id")?,
            kind: get(row, "kind")?,
            service: get(row, "service")?,
            pattern: (!pattern.is_empty()).then_some(pattern),
            subject: detail.subject,
            score: detail.score,
            p_value: detail.p_value,
            p_threshold: detail.p_threshold,
            expected: detail.expected,
            seen: detail.seen,
            windows: detail.windows,
            dispersion: detail.dispersion,
            patterns: detail.patterns,
            since: detail.since,
            at: Timestamp::from_stored(get(row, "at")?),
            updated_at,
            ended_at: ended_at.map(Timestamp::from_stored).or(is_lost.then_some(updated_at)),
            end: lost.or(detail.end),
            replica: detail.replica,
        })
    }
}

/// What is not asked for by itself, as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Detail {
    subject: String,
    score: f64,
    p_value: f64,
    p_threshold: f64,
    expected: f64,
    seen: f64,
    windows: u32,
    dispersion: f64,
    patterns: u32,
    since: Timestamp,
    end: Option<String>,
    replica: String,
}

impl From<&AnomalyRow> for Detail {
    fn from(row: &AnomalyRow) -> Self {
        Detail {
            subject: row.subject.clone(),
            score: row.score,
            p_value: row.p_value,
            p_threshold: row.p_threshold,
            expected: row.expected,
            seen: row.seen,
            windows: row.windows,
            dispersion: row.dispersion,
            patterns: row.patterns,
            since: row.since,
            end: row.end.clone(),
            replica: row.replica.clone(),
        }
    }
}

impl Store {
    /// Takes in what is told of anomalies, in one transaction. Returns what that changed, of each in order; `None` where
    /// as much or more was known.
    ///
    /// # Errors
    /// When the database does not answer; nothing was written then.
    pub async fn note_anomalies(
        &self,
        anomalies: &[AnomalyRow],
    ) -> Result<Vec<Option<(AnomalyChange, AnomalyRow)>>, StoreError> {
        let now = self.now();
        let mut changes = vec![None; anomalies.len()];
        // One order everywhere, so that two transactions cannot wait for each other.
        let mut order: Vec<usize> = (0..anomalies.len()).collect();
        order.sort_by(|a, b| anomalies[*a].id.cmp(&anomalies[*b].id));
        let mut write = self.write().await?;
        for index in order {
            let row = anomalies[index].bounded(now);
            let change = write.note_anomaly(&row, now).await?;
            changes[index] = change.map(|change| (change, AnomalyRow { updated_at: now, ..row }));
        }
        write.commit().await?;
        Ok(changes)
    }

    /// Anomalies, the latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn anomalies(&self, query: &AnomalyQuery) -> Result<Vec<AnomalyRow>, StoreError> {
        let now = self.now();
        let mut sql =
            Sql::new("SELECT id, at, service, pattern, kind, detail, updated_at, ended_at FROM anomalies WHERE at >= ");
        sql.bind(query.since.unwrap_or_default().stored());
        if let Some(service) = &query.service {
            sql.push(" AND service = ").bind(service.clone());
        }
        if let Some(kind) = &query.kind {
            sql.push(" AND kind = ").bind(kind.clone());
        }
        let heard = now.before(LOST_AFTER).stored();
        match query.open {
            Some(true) => sql.push(" AND ended_at IS NULL AND updated_at >= ").bind(heard),
            Some(false) => sql.push(" AND (ended_at IS NOT NULL OR updated_at < ").bind(heard).push(")"),
            None => &mut sql,
        };
        if let Some((at, id)) = &query.before {
            sql.push(" AND (at < ").bind(at.stored()).push(" OR (at = ").bind(at.stored());
            sql.push(" AND id > ").bind(id.clone()).push("))");
        }
        sql.push(" ORDER BY at DESC, id LIMIT ").bind(i64::from(query.limit));
        let rows = sql.build()?.fetch_all(&self.pool).await?;
        rows.iter().map(|row| AnomalyRow::read(row, now)).collect()
    }
}

impl Write<'_> {
    async fn note_anomaly(&mut self, row: &AnomalyRow, now: Timestamp) -> Result<Option<AnomalyChange>, StoreError> {
        let detail = serde_json::to_string(&Detail::from(row)).unwrap_or_default();
        let insert = "INSERT INTO anomalies \
             (id, at, service, severity, pattern, kind, detail, revision, updated_at, ended_at) \
             VALUES ($1, $2, $3, '', $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
        let done = sqlx::query(insert)
            .bind(row.id.clone())
            .bind(row.at.stored())
            .bind(row.service.clone())
            .bind(row.pattern.clone().unwrap_or_default())
            .bind(row.kind.clone())
            .bind(detail.clone())
            .bind(row.updated_at.stored())
            .bind(now.stored())
            .bind(row.ended_at.map(Timestamp::stored))
            .execute(&mut *self.tx)
            .await?;
        if done.rows_affected() > 0 {
            return Ok(Some(if row.ended_at.is_some() { AnomalyChange::Ended } else { AnomalyChange::Opened }));
        }
        // An end is final; until then the later word counts.
        let update = "UPDATE anomalies SET detail = $1, revision = $2, updated_at = $3, ended_at = $4 \
             WHERE id = $5 AND ended_at IS NULL AND (revision < $2 OR $6 = 1)";
        let done = sqlx::query(update)
            .bind(detail)
            .bind(row.updated_at.stored())
            .bind(now.stored())
            .bind(row.ended_at.map(Timestamp::stored))
            .bind(row.id.clone())
            .bind(i64::from(row.ended_at.is_some()))
            .execute(&mut *self.tx)
            .await?;
        Ok((done.rows_affected() > 0).then_some(match row.ended_at {
            Some(_) => AnomalyChange::Ended,
            None => AnomalyChange::WentOn,
        }))
    }
}
