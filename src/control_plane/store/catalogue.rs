//! Every pattern that was ever reported, in the order of first reports.
//!
//! Purpose: let gateways learn which patterns are known, page by page, and later what is new.
//! Promises: whoever has read up to a number has seen every pattern that will ever have a lower one: on PostgreSQL, where
//! two transactions may write at once, those that write patterns take turns.
//! Never: says how much a pattern counts; see `query`.

use super::{Engine, PatternId, Store, StoreError, Write, get};

/// The advisory lock's key: "lippatt" as bytes.
const TURN_KEY: i64 = 0x6c_69_70_70_61_74_74;

/// A pattern by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogued {
    /// Its number, in the order of first reports.
    pub id: PatternId,
    /// Whose records.
    pub service: String,
    /// Their severity band.
    pub severity: String,
    /// The pattern's id or signature; empty for records beyond the bound on patterns.
    pub pattern: String,
}

impl Store {
    /// Patterns from this number on, in the order of first reports.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn catalogue(&self, from: PatternId, limit: u32) -> Result<Vec<Catalogued>, StoreError> {
        let sql = "SELECT id, service, severity, pattern FROM patterns WHERE id >= $1 ORDER BY id LIMIT $2";
        let rows = sqlx::query(sql).bind(from).bind(i64::from(limit)).fetch_all(&self.pool).await?;
        let pattern = |row| {
            Ok(Catalogued {
                id: get(row, "id")?,
                service: get(row, "service")?,
                severity: get(row, "severity")?,
                pattern: get(row, "pattern")?,
            })
        };
        rows.iter().map(pattern).collect()
    }
}

impl Write<'_> {
    /// Waits until no other transaction writes patterns, up to the end of this one: numbers are then visible in their order,
    /// and a reader's cursor passes none by. SQLite has one writer anyway.
    pub(super) async fn take_turn(&mut self, engine: Engine) -> Result<(), StoreError> {
        if engine == Engine::Postgres {
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(TURN_KEY).execute(&mut *self.tx).await?;
        }
        Ok(())
    }
}
