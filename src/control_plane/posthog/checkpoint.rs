//! How far a fetch has come.
//!
//! Purpose: a fetch that was killed goes on where it stopped.
//! Promises: written whole or not at all (a new file takes the old one's place); names the length of the spool that counts, so
//! that each row is in the spool once; belongs to one question, and says so when asked for another.
//! Never: holds the key.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::strata::{Strata, Stretches};
use crate::clock::UnixNanos;

/// Its name in the directory of a fetch.
pub const CHECKPOINT_FILE: &str = "checkpoint.json";
/// The spool's name there.
pub const SPOOL_FILE: &str = "rows.spool";
/// Format.
const VERSION: u32 = 2;
/// A checkpoint is a few hundred bytes, a count for each step of time and the stretches that are read.
const MAX_BYTES: u64 = 16 << 20;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Base URL.
    pub host: String,
    /// Project.
    pub project: String,
    /// Services, sorted; all when empty.
    pub services: Vec<String>,
    /// How far back, in seconds.
    pub since_seconds: u64,
    /// From when, if not from when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UnixNanos>,
    /// Rows at most.
    pub max_rows: u64,
    /// Whether single rows are drawn from everything when there are more, or stretches are read whole.
    pub is_sample: bool,
}

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case", deny_unknown_fields)]
pub enum Phase {
    /// Rows drawn by lot, step by step.
    Draw {
        /// Steps that are done.
        step: usize,
        /// Rows taken of the one after those.
        taken: u64,
        /// The last of them, by lot and id.
        last: Option<(u64, String)>,
    },
    /// Rows in order of time, behind this row.
    Rows {
        /// Everything before this time is done.
        from: UnixNanos,
        /// The last row, by time and id.
        last: Option<(UnixNanos, String)>,
    },
    /// Rows that arrived since, looked for from the start.
    Late {
        /// Which time, from 1.
        pass: u32,
        /// New rows found in it.
        found: u64,
        /// Everything before this time is done.
        from: UnixNanos,
        /// The last row, by time and id.
        last: Option<(UnixNanos, String)>,
    },
    /// Nothing more.
    Done,
}

/// How far a fetch has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    version: u32,
    /// What was asked.
    pub identity: Identity,
    /// When the fetch began.
    pub started: UnixNanos,
    /// From this time on.
    pub since: UnixNanos,
    /// Before this time.
    pub until: UnixNanos,
    /// Rows there were at the start by steps of time, where that could be counted.
    pub strata: Option<Strata>,
    /// The highest lot drawn of each step that is done, when rows are drawn: a row with a lower one that was not read then
    /// was not there.
    pub drawn: Option<Vec<u64>>,
    /// What is read of the time; all when left out.
    pub stretches: Option<Stretches>,
    /// Bytes of the spool that count.
    pub spool_bytes: u64,
    /// Rows in them.
    pub rows: u64,
    /// Those among them that arrived after the start.
    pub late: u64,
    /// What is being done.
    pub phase: Phase,
}

impl Checkpoint {
    /// The start of a fetch.
    pub fn new(identity: Identity, started: UnixNanos, since: UnixNanos, until: UnixNanos) -> Checkpoint {
        Checkpoint {
            version: VERSION,
            identity,
            started,
            since,
            until,
            strata: None,
            drawn: None,
            stretches: None,
            spool_bytes: 0,
            rows: 0,
            late: 0,
            phase: Phase::Rows { from: since, last: None },
        }
    }

    /// Whether it is about this question. A history that fitted whole is the same for all who ask.
    pub fn answers(&self, identity: &Identity) -> bool {
        let is_whole = self.strata.as_ref().is_none_or(|strata| strata.total() <= identity.max_rows);
        let wanted = Identity { is_sample: self.identity.is_sample, ..identity.clone() };
        self.identity == if is_whole { wanted } else { identity.clone() }
    }

    /// Reads the one in `directory`, if there is one.
    ///
    /// # Errors
    /// In words, when it cannot be read or is of another version.
    pub fn load(directory: &Path) -> Result<Option<Checkpoint>, String> {
        let path = directory.join(CHECKPOINT_FILE);
        let wrong = |why: String| format!("{}: {why}; remove the directory to fetch anew", path.display());
        let length = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        if length > MAX_BYTES {
            return Err(wrong("too large for a checkpoint".into()));
        }
        let text = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
        let version = serde_json::from_slice::<serde_json::Value>(&text).ok();
        let version = version.as_ref().and_then(|value| value.get("version")?.as_u64());
        if version != Some(u64::from(VERSION)) {
            return Err(wrong(format!("not a checkpoint of version {VERSION}")));
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| wrong(error.to_string()))
    }

    /// Writes it into `directory`.
    ///
    /// # Errors
    /// Of the disk.
    pub fn save(&self, directory: &Path) -> std::io::Result<()> {
        let (path, new) = (directory.join(CHECKPOINT_FILE), directory.join("checkpoint.new"));
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        std::fs::rename(&new, &path)?;
        // The new name is on the disk with its directory.
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            host: "https://us.posthog.com".into(),
            project: "1".into(),
            services: vec![],
            since_seconds: 86_400,
            until: None,
            max_rows: 10,
            is_sample: false,
        }
    }

    #[test]
    fn it_reads_back_and_a_half_written_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Checkpoint::load(directory.path()), Ok(None));
        let mut checkpoint = Checkpoint::new(identity(), 5, 1, 4);
        checkpoint.phase = Phase::Late { pass: 1, found: 2, from: 3, last: Some((4, "u".into())) };
        checkpoint.strata = Some(Strata { step_seconds: 60, counts: vec![(60, 7)] });
        checkpoint.drawn = Some(vec![3]);
        checkpoint.stretches = Some(Stretches { seconds: 60, period_seconds: 90, spans: vec![(1, 2)], rows: 7 });
        checkpoint.save(directory.path()).unwrap();
        std::fs::write(directory.path().join("checkpoint.new"), "{\"version\":2,").unwrap();
        assert_eq!(Checkpoint::load(directory.path()), Ok(Some(checkpoint)));
    }

    #[test]
    fn another_version_and_damage_are_said() {
        let directory = tempfile::tempdir().unwrap();
        for (text, says) in [("{\"version\":1}", "version 2"), ("x", "version 2"), ("{\"version\":2}", "missing field")]
        {
            std::fs::write(directory.path().join(CHECKPOINT_FILE), text).unwrap();
            let error = Checkpoint::load(directory.path()).unwrap_err();
            assert!(error.contains(says) && error.contains("remove the directory"), "{error}");
        }
    }
}
