//! Who runs: gateways and control planes that reported lately.
//!
//! Promises: one row for each, with the policies it enforces; those that share rate limits are named once and in order.
//! Never: decides by it; it is shown, and told to those who share.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Store, StoreError, Timestamp, Write, count, get};

/// Rows shown at most.
const MAX_SHOWN: i64 = 10_000;
/// Gateways that share rate limits, at most.
const MAX_SHARERS: i64 = 100_000;
/// How often a sign of life of the same replica is written, at most.
pub const NEWS_AFTER: Duration = Duration::from_secs(30);
/// Longest time between two reports that is believed, in seconds.
const MAX_REPORT_SECONDS: u32 = 3600;
/// Longest of its texts, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// A process that reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Replica {
    /// Its id, chosen by itself at its start.
    pub id: String,
    /// `gateway`, `all`, `control_plane` or the name of an SDK.
    pub kind: String,
    /// Its release.
    pub version: String,
    /// Hash of the policies it enforces.
    pub policy_hash: String,
    /// When it reported last, by the control plane's clock.
    #[serde(default)]
    pub last_seen: Timestamp,
    /// Seconds between its reports, when it shares rate limits with others: it is one of them until it has missed three. 0 for
    /// one that does not share, and in the last report of one that ends.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub report_seconds: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Write<'_> {
    /// Notes a sign of life.
    pub(super) async fn note_replica(&mut self, replica: &Replica, now: Timestamp) -> Result<(), StoreError> {
        let sql = "INSERT INTO replicas (id, kind, version, policy_hash, last_seen, report_seconds) \
                   VALUES ($1, $2, $3, $4, $5, $6) \
                   ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, version = excluded.version, \
                   policy_hash = excluded.policy_hash, last_seen = excluded.last_seen, \
                   report_seconds = excluded.report_seconds";
        let text = |text: &str| super::ingest::cut(text, MAX_TEXT_BYTES);
        sqlx::query(sql)
            .bind(text(&replica.id))
            .bind(text(&replica.kind))
            .bind(text(&replica.version))
            .bind(text(&replica.policy_hash))
            .bind(now.stored())
            .bind(i64::from(replica.report_seconds.min(MAX_REPORT_SECONDS)))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}

impl Store {
    /// Those that reported within `within`, the latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn replicas(&self, within: Duration) -> Result<Vec<Replica>, StoreError> {
        let sql = "SELECT id, kind, version, policy_hash, last_seen, report_seconds FROM replicas WHERE last_seen >= $1 \
                   ORDER BY last_seen DESC, id LIMIT $2";
        let since = self.now().before(within).stored();
        let rows = sqlx::query(sql).bind(since).bind(MAX_SHOWN).fetch_all(&self.pool).await?;
        let replica = |row| {
            Ok(Replica {
                id: get(row, "id")?,
                kind: get(row, "kind")?,
                version: get(row, "version")?,
                policy_hash: get(row, "policy_hash")?,
                last_seen: Timestamp::from_stored(get(row, "last_seen")?),
                report_seconds: count(row, "report_seconds")? as u32,
            })
        };
        rows.iter().map(replica).collect()
    }

    /// Ids of those that share rate limits and report: none is left out before it has missed three reports. Sorted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sharers(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT id FROM replicas WHERE report_seconds > 0 \
                   AND last_seen >= $1 - 3 * report_seconds * 1000000000 LIMIT $2";
        // Of the same replica not every sign of life is written.
        let since = self.now().before(NEWS_AFTER).stored();
        let rows = sqlx::query(sql).bind(since).bind(MAX_SHARERS).fetch_all(&self.pool).await?;
        let mut ids = rows.iter().map(|row| get(row, "id")).collect::<Result<Vec<String>, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }
}
