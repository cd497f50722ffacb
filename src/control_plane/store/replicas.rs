//! Who runs: gateways and control planes that reported lately.
//!
//! Promises: one row for each, with the policies it enforces.
//! Never: decides by it; it is shown.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Store, StoreError, Timestamp, Write, get};

/// Rows shown at most.
const MAX_SHOWN: i64 = 10_000;
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
}

impl Write<'_> {
    /// Notes a sign of life.
    pub(super) async fn note_replica(&mut self, replica: &Replica, now: Timestamp) -> Result<(), StoreError> {
        let sql = "INSERT INTO replicas (id, kind, version, policy_hash, last_seen) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, version = excluded.version, \
                   policy_hash = excluded.policy_hash, last_seen = excluded.last_seen";
        let text = |text: &str| super::ingest::cut(text, MAX_TEXT_BYTES);
        sqlx::query(sql)
            .bind(text(&replica.id))
            .bind(text(&replica.kind))
            .bind(text(&replica.version))
            .bind(text(&replica.policy_hash))
            .bind(now.stored())
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
        let sql = "SELECT id, kind, version, policy_hash, last_seen FROM replicas WHERE last_seen >= $1 \
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
            })
        };
        rows.iter().map(replica).collect()
    }
}
