//! Runs of the loop that writes policies, in the audit log.
//!
//! Purpose: know afterwards when a run began, how it ended and why; find one that never ended.
//! Promises: a run has one beginning and one end; closing an open run and finding it is one transaction.
//! Never: runs anything. Entries live as long as the audit log keeps them (`store: retention: audit`).

use serde_json::{Value, json};

use super::{Actor, AuditEntry, Store, StoreError, get};

/// A run began.
const BEGIN: &str = "generator.begin";
/// A run ended.
const END: &str = "generator.end";

impl Store {
    /// Notes that the run `id` begins.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn begin_run(&self, id: &str, detail: Value, actor: &Actor) -> Result<(), StoreError> {
        self.note_run(BEGIN, id, detail, actor).await
    }

    /// Notes how the run `id` ended.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn end_run(&self, id: &str, detail: Value, actor: &Actor) -> Result<(), StoreError> {
        self.note_run(END, id, detail, actor).await
    }

    async fn note_run(&self, action: &str, id: &str, detail: Value, actor: &Actor) -> Result<(), StoreError> {
        let mut write = self.write().await?;
        write.audit(self.now(), actor, action, id, detail).await?;
        write.commit().await
    }

    /// Ends a run that began and did not end, as interrupted. Returns its id.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn close_open_run(&self, actor: &Actor) -> Result<Option<String>, StoreError> {
        let mut write = self.write().await?;
        let sql = "SELECT action, target FROM audit_log WHERE action IN ($1, $2) ORDER BY seq DESC LIMIT 1";
        let last = sqlx::query(sql).bind(BEGIN).bind(END).fetch_optional(&mut *write.tx).await?;
        let Some(last) = last else { return Ok(None) };
        let (action, id): (String, String) = (get(&last, "action")?, get(&last, "target")?);
        if action != BEGIN {
            return Ok(None);
        }
        let detail = json!({ "state": "interrupted", "why": "the process ended before the run did" });
        write.audit(self.now(), actor, END, &id, detail).await?;
        write.commit().await?;
        Ok(Some(id))
    }

    /// Ends of runs before `before` (all without one), the latest first.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn runs(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let sql = "SELECT seq, at, actor, action, target, detail, request_id FROM audit_log WHERE action = $1 AND \
                   seq < $2 ORDER BY seq DESC LIMIT $3";
        let rows = sqlx::query(sql)
            .bind(END)
            .bind(before.unwrap_or(i64::MAX))
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(super::audit::entry).collect()
    }
}
