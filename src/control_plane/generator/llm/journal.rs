//! What is spent, written down before it is.
//!
//! Purpose: a process that dies in the middle of a round must not forget what the round has cost: its caps would hold for
//! nobody who restarts often, and the books would miss money.
//! Promises: before a request leaves, its worst case is in a small file beside the state file; the file goes when the state
//! file has the sum.
//! Never: holds anything but sums.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::spend::Spend;

/// Longest file that is read.
const MAX_FILE_BYTES: u64 = 4096;

/// The file beside a state file.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    file: Option<PathBuf>,
}

impl Journal {
    /// Of a state file.
    pub fn beside(state_file: &Path) -> Journal {
        let mut name = OsString::from(state_file);
        name.push(".spend");
        Journal { file: Some(name.into()) }
    }

    /// What a process that died had spent; nothing without such a file, or when it cannot be read.
    pub fn read(&self) -> Option<Spend> {
        let file = std::fs::File::open(self.file.as_ref()?).ok()?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
        let spend: Spend = serde_json::from_slice(&bytes).ok()?;
        let is_sum = |dollars: f64| dollars.is_finite() && dollars >= 0.0;
        (spend.day > 0 && is_sum(spend.dollars) && is_sum(spend.unbooked_dollars)).then_some(spend)
    }

    /// Replaces the file: written beside it, then moved.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn write(&self, spend: &Spend) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut beside = file.as_os_str().to_owned();
        beside.push(".new");
        std::fs::write(&beside, serde_json::to_vec(spend)?)?;
        std::fs::rename(&beside, file)
    }

    /// Takes the file away.
    pub fn clear(&self) {
        if let Some(file) = &self.file {
            // There is none before the first request.
            let _ = std::fs::remove_file(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_come_back_and_rubbish_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::beside(&directory.path().join("llm.json"));
        assert_eq!(journal.read(), None);
        let spend = Spend { day: 3, input_tokens: 5, output_tokens: 7, dollars: 0.5, unbooked_dollars: 0.25 };
        journal.write(&spend).unwrap();
        assert_eq!(journal.read(), Some(spend));
        for rubbish in ["", "{", "[]", "{\"dollars\":-1}", "{\"dollars\":1e999}", "{\"unbooked_dollars\":-1}"] {
            std::fs::write(directory.path().join("llm.json.spend"), rubbish).unwrap();
            assert_eq!(journal.read(), None, "{rubbish}");
        }
        journal.clear();
        assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none());
        Journal::default().write(&Spend::default()).unwrap();
    }
}
