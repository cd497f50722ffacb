//! The history of a project, onto the disk.
//!
//! Purpose: count, slice, page, look for late arrivals; go on after a crash.
//! Promises: each row that PostHog shows is in the spool exactly once, relative to the checkpoint: pages go to the spool
//! first, then the checkpoint names its new length; memory holds one page (of a draw four) and the ids of rows received since
//! shortly before the start (at most four million).
//! Never: analyses. Whoever reads the spool starts from its beginning, so that no state of theirs can be lost.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::checkpoint::{Checkpoint, Identity, SPOOL_FILE};
use super::client::{Client, Counts};
use super::config::ReadApi;
use super::fault::Fault;
use super::query::MAX_LOGS_ROWS;
use super::run::Run;
use super::spool::{Spool, SpoolError, SpoolReader};
use super::strata::Stretches;
use crate::clock::UnixNanos;
use crate::control_plane::insights::Sample;

/// Rows of a page by HogQL: a few MB of JSON.
const HOGQL_PAGE: usize = 10_000;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Where the spool and the checkpoint are.
    pub directory: PathBuf,
    /// Through which API.
    pub api: ReadApi,
    /// How far back from the end.
    pub since: Duration,
    /// The end; now without it.
    pub until: Option<UnixNanos>,
    /// Of these services; of all when empty.
    pub services: Vec<String>,
    /// Rows at most.
    pub max_rows: u64,
    /// Whether single rows are drawn from everything when there are more; else stretches of time are read whole.
    pub is_sample: bool,
    /// How long a record may take from being received to being found.
    pub overlap: Duration,
}

/// Why a fetch ended early. What was fetched stays; the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// With PostHog.
    #[error("{0}")]
    PostHog(#[from] Fault),
    /// With the spool.
    #[error("{path}: {error}")]
    Spool {
        /// File.
        path: PathBuf,
        /// Why.
        error: SpoolError,
    },
    /// With the directory or what is in it.
    #[error("{0}")]
    Directory(String),
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Counting rows.
    Count,
    /// Reading rows.
    Rows,
    /// Looking for late rows.
    Late,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Rows on the disk.
    pub rows: u64,
    /// Rows to come in all, where known.
    pub expected: Option<u64>,
    /// Share of the span that is done.
    pub share: f64,
    /// What it took.
    pub counts: Counts,
}

/// A history on the disk.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The spool.
    pub spool: PathBuf,
    /// Its length.
    pub spool_bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// Rows that arrived while it was read.
    pub late: u64,
    /// From this time on.
    pub since: UnixNanos,
    /// Before this time.
    pub until: UnixNanos,
    /// Set when stretches of the time were read.
    pub parts: Option<Parts>,
    /// Set when it is a sample.
    pub sample: Option<Sample>,
    /// Whether it goes on from an earlier start.
    pub is_resumed: bool,
    /// What it took this time.
    pub counts: Counts,
}

/// What was read of a history too large to read whole: stretches of its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// Which.
    pub stretches: Stretches,
    /// Rows there were in all.
    pub population: u64,
    /// Those that were read, without late ones, which were not counted.
    pub rows: u64,
    /// How long the history is, in seconds: from its first rows to its last.
    pub span_seconds: f64,
}

impl Parts {
    /// The share of all rows that was read.
    pub fn share(&self) -> f64 {
        self.rows as f64 / self.population.max(1) as f64
    }
}

impl History {
    /// Reads its requests.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn requests(&self) -> Result<SpoolReader, SpoolError> {
        SpoolReader::open(&self.spool, self.spool_bytes)
    }
}

impl Fetch {
    /// Fetches, or goes on where an earlier fetch of the same stopped.
    ///
    /// # Errors
    /// [`FetchError`].
    pub async fn run(&self, client: &Client, tell: &mut (dyn FnMut(&Progress) + Send)) -> Result<History, FetchError> {
        let _lock = lock(&self.directory)?;
        let identity = self.identity(client);
        let found = Checkpoint::load(&self.directory).map_err(FetchError::Directory)?;
        let is_resumed = found.is_some();
        let checkpoint = match found {
            Some(checkpoint) if checkpoint.answers(&identity) => checkpoint,
            Some(_) => {
                let directory = self.directory.display();
                let why = format!(
                    "{directory} holds another history (other host, project, --service, --since, --until or --max-rows): name \
                     another directory, or remove it"
                );
                return Err(FetchError::Directory(why));
            }
            None => {
                let now = client.timer().now();
                let until = self.until.map_or(now, |until| until.min(now));
                let since = until.saturating_sub(self.since.as_nanos() as u64);
                Checkpoint::new(identity, now, since, until)
            }
        };
        let path = self.directory.join(SPOOL_FILE);
        let spool = Spool::open(&path, checkpoint.spool_bytes).map_err(|error| self.spool(error))?;
        let mut run = Run::new(self, client, checkpoint, spool, tell);
        if is_resumed {
            run.remember()?;
        } else {
            run.count().await?;
        }
        if let Err(error) = run.all().await {
            // What was read is kept; should that fail too, the checkpoint before holds.
            let _ = run.save();
            return Err(error);
        }
        Ok(run.history(path, is_resumed))
    }

    fn identity(&self, client: &Client) -> Identity {
        let mut services = self.services.clone();
        services.sort();
        Identity {
            host: client.base().to_owned(),
            project: client.project().to_owned(),
            services,
            since_seconds: self.since.as_secs(),
            until: self.until,
            max_rows: self.max_rows,
            is_sample: self.is_sample,
        }
    }

    pub(super) fn spool(&self, error: SpoolError) -> FetchError {
        FetchError::Spool { path: self.directory.join(SPOOL_FILE), error }
    }

    /// Rows of a page.
    pub(super) fn page(&self) -> usize {
        if self.api == ReadApi::Hogql { HOGQL_PAGE } else { MAX_LOGS_ROWS }
    }
}

/// Two fetches into one directory would destroy each other's work.
fn lock(directory: &Path) -> Result<File, FetchError> {
    let wrong = |why: String| FetchError::Directory(format!("{}: {why}", directory.display()));
    std::fs::create_dir_all(directory).map_err(|error| wrong(error.to_string()))?;
    let file = File::create(directory.join("lock")).map_err(|error| wrong(error.to_string()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(wrong("another fetch is at work there".into())),
        // Without locks the directory is as safe as its users are careful.
        Err(std::fs::TryLockError::Error(_)) => Ok(file),
    }
}
