//! Old statistics take less room: 10 s, then 5 minutes, then an hour, then nothing.
//!
//! Purpose: remove short buckets as they age, where longer ones have the same counts, and forget what is too old.
//! Promises: where the buckets of a length begin changes in the transaction that removes those before, so sums are exact
//! before, during and after; bounds never go back; running it twice changes nothing the second time.
//! Never: runs by itself; the leader calls it.

use std::time::Duration;

use super::config::RetentionConfig;
use super::levels::{BASE, LEVELS, Level, floor};
use super::sql::Sql;
use super::{Store, StoreError, Write};

/// Ages at which things are rolled up or forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// 10 s become 5 minutes.
    pub fine: Duration,
    /// 5 minutes become an hour.
    pub medium: Duration,
    /// Hours are forgotten.
    pub coarse: Duration,
    /// Ids of batches are forgotten.
    pub batches: Duration,
    /// Audit entries and anomalies are forgotten.
    pub audit: Duration,
}

impl From<&RetentionConfig> for Retention {
    fn from(config: &RetentionConfig) -> Self {
        Retention {
            fine: config.fine.0,
            medium: config.medium.0,
            coarse: config.coarse.0,
            batches: config.batches.0,
            audit: config.audit.0,
        }
    }
}

/// What a roll-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RollUp {
    /// Buckets of which only longer ones are left.
    pub rolled: u64,
    /// Buckets forgotten.
    pub forgotten: u64,
    /// Patterns forgotten.
    pub patterns: u64,
}

impl Store {
    /// Rolls up and forgets by age.
    ///
    /// # Errors
    /// When the database does not answer; nothing was done then.
    pub async fn roll_up(&self, retention: &Retention) -> Result<RollUp, StoreError> {
        let now = self.now();
        let mut done = RollUp::default();
        let mut write = self.write().await?;
        // Two processes at once take turns.
        let turn = "UPDATE stats_bounds SET start = start WHERE resolution = 10";
        sqlx::query(turn).execute(&mut *write.tx).await?;
        let mut first = Store::bounds(&mut write.tx).await?.first;
        let ages = [retention.fine, retention.medium, retention.coarse];
        let longest = BASE.len() - 1;
        for base in (0..=longest).rev() {
            // On the bounds of the next length; hours begin anywhere, days that have lost hours are not asked for.
            let unit = LEVELS[BASE[(base + 1).min(longest)]].seconds;
            let longer = if base < longest { first[base + 1] } else { 0 };
            let to = floor(now.before(ages[base]).secs(), unit).max(longer);
            if to <= first[base] {
                continue;
            }
            first[base] = to;
            let own = LEVELS[BASE[base]].seconds;
            let sql = "UPDATE stats_bounds SET start = $1 WHERE resolution = $2";
            sqlx::query(sql).bind(to).bind(own).execute(&mut *write.tx).await?;
            for level in LEVELS.iter().filter(|level| level.base == base) {
                let removed = write.remove(level, to).await?;
                match (level.seconds == own, base < longest) {
                    (true, true) => done.rolled += removed,
                    (true, false) => done.forgotten += removed,
                    // What only saves work goes with what it is made of.
                    (false, _) => {}
                }
            }
        }
        let sql = "DELETE FROM patterns WHERE last_seen < $1 AND NOT EXISTS \
                   (SELECT 1 FROM counts_1h s WHERE s.pattern_id = patterns.id)";
        let seen = now.before(retention.coarse).stored();
        done.patterns = sqlx::query(sql).bind(seen).execute(&mut *write.tx).await?.rows_affected();
        for (sql, age) in [
            ("DELETE FROM ingested_batches WHERE received_at < $1", retention.batches),
            ("DELETE FROM audit_log WHERE at < $1", retention.audit),
            ("DELETE FROM anomalies WHERE at < $1", retention.audit),
            ("DELETE FROM replicas WHERE last_seen < $1", retention.batches),
        ] {
            sqlx::query(sql).bind(now.before(age).stored()).execute(&mut *write.tx).await?;
        }
        if done.patterns > 0 {
            // Ids of patterns that are gone must not be used again.
            self.known.lock().clear();
        }
        write.commit().await?;
        Ok(done)
    }
}

impl Write<'_> {
    /// Removes the buckets of a level that begin before `to`.
    async fn remove(&mut self, level: &Level, to: i64) -> Result<u64, StoreError> {
        let mut sql = Sql::new("DELETE FROM ");
        sql.push(level.table).push(" WHERE pattern_id IN (SELECT id FROM patterns) AND start < ").bind(to);
        let removed = sql.build()?.execute(&mut *self.tx).await?.rows_affected();
        let sql = "DELETE FROM scope_counts WHERE resolution = $1 AND start < $2";
        sqlx::query(sql).bind(level.seconds).bind(to).execute(&mut *self.tx).await?;
        Ok(removed)
    }
}
