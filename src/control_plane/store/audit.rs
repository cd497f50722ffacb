//! Who changed what, and when.
//!
//! Promises: an entry is written in the transaction of the change it tells about: there is no change without one.
//! Never: holds a secret or a whole document.

use serde::Serialize;
use sqlx::any::AnyRow;
use utoipa::ToSchema;

use super::{Actor, Store, StoreError, Timestamp, Write, get};

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Its place in the order of changes.
    pub seq: i64,
    /// When.
    pub at: Timestamp,
    /// Who: the name of a token, or of a user of the command line.
    pub actor: String,
    /// What, such as `policy.activate`.
    pub action: String,
    /// Of what, such as `service:checkout`.
    pub target: String,
    /// More about it.
    pub detail: serde_json::Value,
    /// The request it came with; empty without one.
    pub request_id: String,
}

pub(super) fn entry(row: &AnyRow) -> Result<AuditEntry, StoreError> {
    let detail: String = get(row, "detail")?;
    Ok(AuditEntry {
        seq: get(row, "seq")?,
        at: Timestamp::from_stored(get(row, "at")?),
        actor: get(row, "actor")?,
        action: get(row, "action")?,
        target: get(row, "target")?,
        detail: serde_json::from_str(&detail).unwrap_or_default(),
        request_id: get(row, "request_id")?,
    })
}

impl Write<'_> {
    pub(super) async fn audit(
        &mut self,
        at: Timestamp,
        actor: &Actor,
        action: &str,
        target: &str,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        let sql =
            "INSERT INTO audit_log (at, actor, action, target, detail, request_id) VALUES ($1, $2, $3, $4, $5, $6)";
        sqlx::query(sql)
            .bind(at.stored())
            .bind(actor.name.clone())
            .bind(action.to_owned())
            .bind(target.to_owned())
            .bind(detail.to_string())
            .bind(actor.request_id.clone())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}

impl Store {
    /// Changes before `seq` (all without one), the latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn audit_log(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = "SELECT seq, at, actor, action, target, detail, request_id FROM audit_log WHERE seq < $1 \
                   ORDER BY seq DESC LIMIT $2";
        let rows =
            sqlx::query(sql).bind(before.unwrap_or(i64::MAX)).bind(i64::from(limit)).fetch_all(&self.pool).await?;
        rows.iter().map(entry).collect()
    }
}
