//! Schemas, from the first release to this one.
//!
//! Purpose: bring a database to this release's schema at the start.
//! Promises: forward only; each step is a transaction; several processes that start at once take turns; a database
//! that a newer release has written is refused, untouched.
//! Never: changes a step that was released. A new step is a new file in both folders.

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{AnyPool, SqlSafeStr as _};

use super::{Engine, StoreError};

/// Number, name, SQLite, PostgreSQL.
const STEPS: &[(i64, &str, &str, &str)] = &[
    (
        1,
        "start",
        include_str!("../../../migrations/sqlite/0001_start.sql"),
        include_str!("../../../migrations/postgres/0001_start.sql"),
    ),
    (
        2,
        "stats_levels",
        include_str!("../../../migrations/sqlite/0002_stats_levels.sql"),
        include_str!("../../../migrations/postgres/0002_stats_levels.sql"),
    ),
    (
        3,
        "rollouts",
        include_str!("../../../migrations/sqlite/0003_rollouts.sql"),
        include_str!("../../../migrations/postgres/0003_rollouts.sql"),
    ),
    (
        4,
        "anomalies",
        include_str!("../../../migrations/sqlite/0004_anomalies.sql"),
        include_str!("../../../migrations/postgres/0004_anomalies.sql"),
    ),
    (
        5,
        "books",
        include_str!("../../../migrations/sqlite/0005_books.sql"),
        include_str!("../../../migrations/postgres/0005_books.sql"),
    ),
    (
        6,
        "minutes",
        include_str!("../../../migrations/sqlite/0006_minutes.sql"),
        include_str!("../../../migrations/postgres/0006_minutes.sql"),
    ),
    (
        7,
        "fleet",
        include_str!("../../../migrations/sqlite/0007_fleet.sql"),
        include_str!("../../../migrations/postgres/0007_fleet.sql"),
    ),
];

/// How often a process tries when others migrate the same SQLite file.
const TURNS: usize = 20;

/// Applies what is missing.
pub(super) async fn run(pool: &AnyPool, engine: Engine) -> Result<(), StoreError> {
    let steps = STEPS.iter().map(|&(number, name, sqlite, postgres)| {
        let sql = match engine {
            Engine::Sqlite => sqlite,
            Engine::Postgres => postgres,
        };
        Migration::new(number, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let known = STEPS.last().map_or(0, |step| step.0);
    let migrator = Migrator::with_migrations(steps.collect());
    let mut turns = 0;
    loop {
        turns += 1;
        match migrator.run(pool).await {
            Err(MigrateError::VersionMissing(found)) => return Err(StoreError::Newer { found, known }),
            // SQLite has no lock over a migration: another process was faster, and what it did is seen the next time.
            Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..))
                if engine == Engine::Sqlite && turns < TURNS => {}
            result => return Ok(result?),
        }
    }
}
