//! Policy versions, tokens, statistics and what happened, in SQLite or PostgreSQL.
//!
//! Purpose: everything of the control plane that must outlive a process.
//! Promises: both engines run the same statements and pass the same tests; migrations only go forward and run at start;
//! a change and its line in the audit log are one transaction; a version, once written, never changes.
//! Never: judges a policy, compiles it, or talks to a network other than the database.
//!
//! `versions` and `activation` hold policies, `rollouts` how a version comes in force, `runs` the loop's runs, `tokens` who
//! may ask, `audit` who did what, `ingest`, `levels`, `query` and `rollup` statistics, `catalogue` their patterns, `books` sums by day, `replicas` who runs,
//! `leader` who leads.

mod activation;
mod anomalies;
mod audit;
mod books;
mod catalogue;
pub mod config;
mod error;
mod ingest;
mod leader;
mod levels;
mod migrations;
mod query;
mod replicas;
mod rollouts;
mod rollup;
mod runs;
mod sql;
mod time;
mod tokens;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, Connection as _, Executor as _, Row as _, Transaction};

pub use activation::{Action, Activation, ActiveVersion, Revisions};
pub use anomalies::{ANOMALY_HEARTBEAT, AnomalyChange, AnomalyQuery, AnomalyRow};
pub use audit::AuditEntry;
pub use books::BookAccount;
pub use catalogue::Catalogued;
pub use error::{Fault, StoreError};
pub use ingest::{Batch, Ingested, MAX_BATCH_ROWS, StatsRow};
pub use leader::Leadership;
pub use query::{Bucket, PatternId, PatternQuery, PatternStats, SeriesQuery, Sort};
pub use replicas::{NEWS_AFTER, Replica};
pub use rollouts::{ArmRow, ArmSums, InForce, NewRollout, RolloutChange, RolloutRow, TrialRows};
pub use rollup::{Retention, RollUp};
pub use time::Timestamp;
pub use tokens::{MAX_TOKENS, NewToken, Scope, Token, digest_of};
pub use versions::{GENERATED, GLOBAL, NewVersion, Version, VersionOrigin, document_from};

use crate::clock::Clock;
use config::StoreConfig;

/// How long a request may wait for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection to a server is pinged when it is given back; one that was idle for so long since is pinged again before use.
const TRUSTED: Duration = Duration::from_secs(1);
/// Connections to SQLite: readers beside the one writer.
const SQLITE_CONNECTIONS: u32 = 4;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded.
    Sqlite,
    /// A server.
    Postgres,
}

/// Who makes a change, for the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// Name of a token, or of a user of the command line.
    pub name: String,
    /// The request it came with; empty without one.
    pub request_id: String,
}

impl Actor {
    /// An actor without a request.
    pub fn named(name: impl Into<String>) -> Self {
        Actor { name: name.into(), request_id: String::new() }
    }
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    engine: Engine,
    clock: Clock,
    url: Arc<str>,
    /// SQLite has one writer; waiting here is fairer and cheaper than waiting in its busy handler.
    writer: Arc<tokio::sync::Mutex<()>>,
    known: Arc<Mutex<ingest::KnownPatterns>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// A change under way.
struct Write<'a> {
    tx: Transaction<'static, Any>,
    _writer: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Store {
    /// Connects, creates the database file if it is SQLite and not there, and applies migrations.
    ///
    /// # Errors
    /// A URL that cannot be read, a database that cannot be reached, or one that a newer release has written.
    pub async fn open(config: &StoreConfig, clock: Clock) -> Result<Store, StoreError> {
        sqlx::any::install_default_drivers();
        let (engine, url) = config.target()?;
        let in_memory = engine == Engine::Sqlite && url.contains(":memory:");
        let connections = match engine {
            Engine::Sqlite if in_memory => 1,
            Engine::Sqlite => SQLITE_CONNECTIONS,
            Engine::Postgres => config.max_connections.max(2),
        };
        let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT);
        let mut options = options.test_before_acquire(false);
        if in_memory {
            // Each connection has a memory of its own: there is one, and it stays.
            options = options.min_connections(1).idle_timeout(None).max_lifetime(None);
        }
        if engine == Engine::Sqlite {
            options = options.after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SQLITE_SETTINGS).await.map(drop) })
            });
        }
        if engine == Engine::Sqlite && !in_memory {
            // A full disk ends a transaction without the driver's noticing; such a connection would refuse all others.
            options = options.before_acquire(|connection, _| {
                let is_free = !connection.is_in_transaction();
                Box::pin(async move { Ok(is_free) })
            });
        }
        if engine == Engine::Postgres {
            options = options.before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for < TRUSTED { Ok(true) } else { connection.ping().await.map(|()| true) }
                })
            });
        }
        let pool = options.connect(&url).await.map_err(|error| StoreError::open(&url, error))?;
        migrations::run(&pool, engine).await?;
        let store = Store { pool, engine, clock, url: url.into(), writer: Arc::default(), known: Arc::default() };
        Ok(store)
    }

    /// Which engine it is.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// The time of changes made now.
    pub fn now(&self) -> Timestamp {
        Timestamp::of(self.clock.now())
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// When it gives none.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT revision FROM revisions WHERE name = 'policies'").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A look at the store as it is at one moment, over several questions.
    async fn look(&self) -> Result<Transaction<'static, Any>, StoreError> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN",
            Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Ok(self.pool.begin_with(begin).await?)
    }

    async fn write(&self) -> Result<Write<'_>, StoreError> {
        let (writer, begin) = match self.engine {
            Engine::Sqlite => (Some(self.writer.lock().await), "BEGIN IMMEDIATE"),
            Engine::Postgres => (None, "BEGIN"),
        };
        Ok(Write { tx: self.pool.begin_with(begin).await?, _writer: writer })
    }
}

impl Write<'_> {
    async fn commit(self) -> Result<(), StoreError> {
        Ok(self.tx.commit().await?)
    }

    /// Counts a change, so that other processes notice; holds back other changes of the same kind until the commit.
    async fn bump(&mut self, name: &'static str) -> Result<(), StoreError> {
        let sql = "UPDATE revisions SET revision = revision + 1 WHERE name = $1";
        sqlx::query(sql).bind(name).execute(&mut *self.tx).await?;
        Ok(())
    }

    /// Holds back other changes of the same kind until the commit, without counting one.
    async fn lock(&mut self, name: &'static str) -> Result<(), StoreError> {
        let sql = "UPDATE revisions SET revision = revision WHERE name = $1";
        sqlx::query(sql).bind(name).execute(&mut *self.tx).await?;
        Ok(())
    }
}

/// WAL lets readers read while the one writer writes; NORMAL syncs at checkpoints and survives a killed process.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY";

/// A column, by name.
fn get<'r, T>(row: &'r AnyRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Any> + sqlx::Type<Any>,
{
    Ok(row.try_get(column)?)
}

/// A count: never negative in the tables.
fn count(row: &AnyRow, column: &'static str) -> Result<u64, StoreError> {
    let value: i64 = get(row, column)?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// A count as the tables hold it.
fn stored(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
