//! One leader among control planes on the same database.
//!
//! Purpose: let one process run what must not run twice at once.
//! Promises: on PostgreSQL a session's advisory lock, so a leader that dies or loses its connection stops being one; on
//! SQLite a lock on a file beside the database, for two processes on one machine.
//! Never: waits for the lock.

use std::fs::File;

use sqlx::{AnyConnection, Connection as _};

use super::{Engine, Store, StoreError, get};

/// The advisory lock's key: "lipserv" as bytes.
const LOCK_KEY: i64 = 0x6c_69_70_73_65_72_76;

/// Held while leading.
#[derive(Debug)]
pub struct Leadership(Held);

#[derive(Debug)]
enum Held {
    /// The session that has the lock.
    Session(Box<AnyConnection>),
    /// The file that is locked, if there is one.
    File(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] Option<File>),
}

impl Store {
    /// Becomes the leader, unless another process is.
    ///
    /// # Errors
    /// When the database does not answer, or the lock file cannot be opened.
    pub async fn try_lead(&self) -> Result<Option<Leadership>, StoreError> {
        match self.engine {
            Engine::Postgres => {
                let mut session = AnyConnection::connect(&self.url).await?;
                let row = sqlx::query("SELECT pg_try_advisory_lock($1) AS leads")
                    .bind(LOCK_KEY)
                    .fetch_one(&mut session)
                    .await?;
                let leads: bool = get(&row, "leads")?;
                Ok(leads.then(|| Leadership(Held::Session(Box::new(session)))))
            }
            Engine::Sqlite => {
                let path = self.url.trim_start_matches("sqlite:").split('?').next().unwrap_or_default();
                if path == ":memory:" || path.is_empty() {
                    return Ok(Some(Leadership(Held::File(None))));
                }
                let path = format!("{}.leader", path.strip_prefix("//").unwrap_or(path));
                let file = File::options().create(true).truncate(false).write(true).open(path);
                let file = file.map_err(sqlx::Error::Io)?;
                match file.try_lock() {
                    Ok(()) => Ok(Some(Leadership(Held::File(Some(file))))),
                    Err(std::fs::TryLockError::WouldBlock) => Ok(None),
                    Err(std::fs::TryLockError::Error(error)) => Err(sqlx::Error::Io(error).into()),
                }
            }
        }
    }
}

impl Leadership {
    /// Whether it is still held.
    pub async fn is_held(&mut self) -> bool {
        match &mut self.0 {
            Held::Session(session) => session.ping().await.is_ok(),
            Held::File(_) => true,
        }
    }

    /// Gives it back.
    pub async fn release(self) {
        if let Held::Session(session) = self.0 {
            // The server frees the lock with the session, also when it does not close in order.
            let _ = session.close().await;
        }
    }
}
