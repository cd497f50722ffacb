//! Anomalies that were found, for people to look at later.
//!
//! Promises: an anomaly written twice under one id is there once.
//! Never: finds any.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{Store, StoreError, Timestamp, get};

/// An anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AnomalyRow {
    /// Its id.
    pub id: String,
    /// When it was noticed.
    pub at: Timestamp,
    /// Whose records.
    pub service: String,
    /// Their severity band.
    pub severity: String,
    /// Their pattern.
    pub pattern: String,
    /// What kind of anomaly.
    pub kind: String,
    /// More about it.
    pub detail: Value,
}

impl Store {
    /// Writes an anomaly.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn note_anomaly(&self, anomaly: &AnomalyRow) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        let sql = "INSERT INTO anomalies (id, at, service, severity, pattern, kind, detail) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";
        sqlx::query(sql)
            .bind(anomaly.id.clone())
            .bind(anomaly.at.stored())
            .bind(anomaly.service.clone())
            .bind(anomaly.severity.clone())
            .bind(anomaly.pattern.clone())
            .bind(anomaly.kind.clone())
            .bind(anomaly.detail.to_string())
            .execute(&mut *write.tx)
            .await?;
        write.commit().await
    }

    /// Anomalies before `(at, id)` (all without one), the latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn anomalies(
        &self,
        service: Option<&str>,
        before: Option<(Timestamp, &str)>,
        limit: u32,
    ) -> Result<Vec<AnomalyRow>, StoreError> {
        let (at, id) = before.map_or((i64::MAX, ""), |(at, id)| (at.stored(), id));
        let sql = "SELECT id, at, service, severity, pattern, kind, detail FROM anomalies \
                   WHERE (at < $1 OR (at = $1 AND id > $2)) AND ($3 = 0 OR service = $4) ORDER BY at DESC, id LIMIT $5";
        let rows = sqlx::query(sql)
            .bind(at)
            .bind(id.to_owned())
            .bind(i64::from(service.is_some()))
            .bind(service.unwrap_or_default().to_owned())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        let anomaly = |row| {
            let detail: String = get(row, "detail")?;
            Ok(AnomalyRow {
                id: get(row, "id")?,
                at: Timestamp::from_stored(get(row, "at")?),
                service: get(row, "service")?,
                severity: get(row, "severity")?,
                pattern: get(row, "pattern")?,
                kind: get(row, "kind")?,
                detail: serde_json::from_str(&detail).unwrap_or_default(),
            })
        };
        rows.iter().map(anomaly).collect()
    }
}
