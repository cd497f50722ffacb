//! What can go wrong with the store, and whose fault it is.
//!
//! Promises: every error says whether asking again may help; no password shows in a message.
//! Never: carries a statement or its values.

use std::sync::Arc;

use crate::units::SecretUrl;

/// Why the store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no engine.
    #[error("store.url must begin with sqlite: or postgres://")]
    Url,
    /// The database cannot be opened.
    #[error("cannot open the store {url}: {source}")]
    Open {
        /// The URL without its password.
        url: String,
        /// What the driver says.
        source: sqlx::Error,
    },
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the store: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A newer release has written this database.
    #[error(
        "the store has schema {found}, this release knows schemas up to {known}: run the release that wrote it, or \
         restore a copy made before"
    )]
    Newer {
        /// Schema of the database.
        found: i64,
        /// Newest schema known here.
        known: i64,
    },
    /// The database.
    #[error("store: {0}")]
    Database(#[from] sqlx::Error),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It was changed meanwhile, or is there already.
    #[error("{0}")]
    Conflict(String),
    /// What somebody was told who asked at the same time.
    #[error(transparent)]
    Shared(Arc<StoreError>),
    /// A row that this release cannot read.
    #[error("a row of the store cannot be read: {0}")]
    Row(String),
}

/// Whose fault an error is, and whether to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Asking for something that is not there.
    NotFound,
    /// Asking for what the present state does not allow.
    Conflict,
    /// The database is away, busy, full or read-only: the same request may work later.
    Unavailable,
    /// A defect, or a configuration that cannot work.
    Broken,
}

impl StoreError {
    pub(super) fn open(url: &str, source: sqlx::Error) -> Self {
        StoreError::Open { url: SecretUrl::new(url).to_string(), source }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            StoreError::NotFound(_) => Fault::NotFound,
            StoreError::Conflict(_) => Fault::Conflict,
            StoreError::Open { .. } => Fault::Unavailable,
            StoreError::Database(error) => of_database(error),
            StoreError::Shared(error) => error.fault(),
            StoreError::Url | StoreError::Migrate(_) | StoreError::Newer { .. } | StoreError::Row(_) => Fault::Broken,
        }
    }
}

fn of_database(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed => Fault::Unavailable,
        sqlx::Error::Database(error) if error.is_unique_violation() => Fault::Conflict,
        sqlx::Error::Database(error) => match error.code().as_deref() {
            Some(code) if is_passing_postgres(code) || is_passing_sqlite(code) => Fault::Unavailable,
            _ => Fault::Broken,
        },
        _ => Fault::Broken,
    }
}

/// SQLSTATE classes: connection, resources, intervention of an operator, system, serialization, read-only.
/// <https://www.postgresql.org/docs/15/errcodes-appendix.html>
fn is_passing_postgres(code: &str) -> bool {
    code.len() == 5
        && (["08", "53", "57", "58"].iter().any(|class| code.starts_with(class))
            || ["40001", "40P01", "25006"].contains(&code))
}

/// Extended result codes; the low byte is the primary one: busy, locked, read-only, I/O, full, cannot open.
/// <https://www.sqlite.org/rescode.html>
fn is_passing_sqlite(code: &str) -> bool {
    code.len() < 5 && code.parse::<u32>().is_ok_and(|code| [5, 6, 8, 10, 13, 14].contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_do_not_show() {
        let error = StoreError::open("postgres://u:hunter2@h:5432/d?sslpassword=hunter2", sqlx::Error::PoolTimedOut);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(error.to_string().contains("postgres://u:***@h:5432/d"), "{error}");
    }

    #[test]
    fn what_may_pass() {
        for code in ["08006", "53100", "53300", "57P01", "57P03", "40001", "25006"] {
            assert!(is_passing_postgres(code), "{code}");
        }
        for code in ["23505", "42P01", "22001"] {
            assert!(!is_passing_postgres(code), "{code}");
        }
        for (code, passes) in [("5", true), ("13", true), ("8", true), ("522", true), ("1", false), ("19", false)] {
            assert_eq!(is_passing_sqlite(code), passes, "{code}");
        }
    }
}
