//! Old statistics take less room: 10 s, then 5 minutes, then an hour, then nothing.
//!
//! Purpose: add fine buckets up to coarser ones as they age, and forget what is too old.
//! Promises: a count stands in exactly one bucket at any time, so sums over all of them are exact before, during and
//! after; each step is one transaction; running it twice changes nothing the second time.
//! Never: runs by itself; the leader calls it.

use std::time::Duration;

use super::config::RetentionConfig;
use super::ingest::FINE_SECONDS;
use super::{Store, StoreError};

/// Length of the middle buckets, in seconds.
pub(super) const MEDIUM_SECONDS: i64 = 300;
/// Length of the coarse buckets, in seconds.
pub(super) const COARSE_SECONDS: i64 = 3600;

/// What an insert does with a bucket that is there.
pub(super) const ADD_ON_CONFLICT: &str = " ON CONFLICT (pattern_id, resolution, start) DO UPDATE SET \
     records = pattern_stats.records + excluded.records, bytes = pattern_stats.bytes + excluded.bytes, \
     kept = pattern_stats.kept + excluded.kept, kept_bytes = pattern_stats.kept_bytes + excluded.kept_bytes";

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
    /// Buckets that went into coarser ones.
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
    /// When the database does not answer; what was done until then stays done.
    pub async fn roll_up(&self, retention: &Retention) -> Result<RollUp, StoreError> {
        let now = self.now();
        let cutoff = |age: Duration, to: i64| now.before(age).secs().div_euclid(to) * to;
        let mut done = RollUp::default();
        for (age, from, to) in
            [(retention.fine, FINE_SECONDS, MEDIUM_SECONDS), (retention.medium, MEDIUM_SECONDS, COARSE_SECONDS)]
        {
            done.rolled += self.coarsen(cutoff(age, to), from, to).await?;
        }
        let oldest = cutoff(retention.coarse, COARSE_SECONDS);
        let mut write = self.write().await?;
        let sql = "DELETE FROM pattern_stats WHERE pattern_id IN (SELECT id FROM patterns) AND \
                   resolution IN (10, 300, 3600) AND start < $1";
        done.forgotten = sqlx::query(sql).bind(oldest).execute(&mut *write.tx).await?.rows_affected();
        let sql = "DELETE FROM patterns WHERE last_seen < $1 AND NOT EXISTS \
                   (SELECT 1 FROM pattern_stats s WHERE s.pattern_id = patterns.id)";
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

    /// Adds buckets of `from` seconds that start before `cutoff` up to buckets of `to` seconds.
    async fn coarsen(&self, cutoff: i64, from: i64, to: i64) -> Result<u64, StoreError> {
        let mut write = self.write().await?;
        // On PostgreSQL two processes at once would both read what only one of them deletes.
        write.lock("policies").await?;
        let sql = "INSERT INTO pattern_stats (pattern_id, resolution, start, records, bytes, kept, kept_bytes) \
                   SELECT pattern_id, $1, (start / $1) * $1, CAST(SUM(records) AS BIGINT), CAST(SUM(bytes) AS BIGINT), \
                   CAST(SUM(kept) AS BIGINT), CAST(SUM(kept_bytes) AS BIGINT) FROM pattern_stats \
                   WHERE pattern_id IN (SELECT id FROM patterns) AND resolution = $2 AND start < $3 \
                   GROUP BY pattern_id, (start / $1) * $1 ON CONFLICT (pattern_id, resolution, start) DO UPDATE SET \
                   records = pattern_stats.records + excluded.records, bytes = pattern_stats.bytes + excluded.bytes, \
                   kept = pattern_stats.kept + excluded.kept, \
                   kept_bytes = pattern_stats.kept_bytes + excluded.kept_bytes";
        sqlx::query(sql).bind(to).bind(from).bind(cutoff).execute(&mut *write.tx).await?;
        let sql = "DELETE FROM pattern_stats WHERE pattern_id IN (SELECT id FROM patterns) AND resolution = $1 AND \
                   start < $2";
        let deleted = sqlx::query(sql).bind(from).bind(cutoff).execute(&mut *write.tx).await?.rows_affected();
        write.commit().await?;
        Ok(deleted)
    }
}
