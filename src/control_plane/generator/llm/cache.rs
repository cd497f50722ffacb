//! What models have said so far, per pattern.
//!
//! Purpose: an answer is paid for once. The struct goes to the store, or as JSON to a file for offline use.
//! Promises: bounded; the oldest answers go first; a file that is broken, of another version or too large is an error
//! that leaves an empty cache usable; a file is replaced whole or not at all.
//! Never: keeps a text of a log but for a reason in a model's words, made harmless.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::facts::Category;
use super::spend::Spend;
use crate::clock::UnixNanos;

/// Version of the file.
const VERSION: u32 = 1;
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A model's answer for one pattern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opinion {
    /// 0 to 10, as answered: the bounds are applied each round anew.
    pub score: u8,
    /// Whether it may lie below statistics: asked alone, or confirmed by a second request.
    pub is_confirmed: bool,
    /// Kind of message.
    pub category: Category,
    /// One short line, made harmless.
    pub reason: String,
    /// Name of the provider.
    pub provider: String,
    /// Model.
    pub model: String,
    /// Version of the prompts.
    pub prompt: String,
    /// What the model was shown, as a hash.
    pub fingerprint: String,
    /// When.
    pub scored_at: UnixNanos,
}

/// Answers by pattern id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Opinions {
    by_id: BTreeMap<String, Opinion>,
}

impl Opinions {
    /// The answer for a pattern.
    pub fn get(&self, id: &str) -> Option<&Opinion> {
        self.by_id.get(id)
    }

    /// Keeps an answer. Bound the whole with [`Opinions::shrink`] after a round.
    pub fn put(&mut self, id: &str, opinion: Opinion) {
        self.by_id.insert(id.to_owned(), opinion);
    }

    /// Forgets the oldest answers beyond `max`.
    pub fn shrink(&mut self, max: usize) {
        let surplus = self.by_id.len().saturating_sub(max);
        let mut by_age: Vec<(UnixNanos, String)> = match surplus {
            0 => return,
            _ => self.by_id.iter().map(|(id, opinion)| (opinion.scored_at, id.clone())).collect(),
        };
        by_age.sort();
        for (_, id) in &by_age[..surplus] {
            self.by_id.remove(id);
        }
    }

    /// Forgets the answer for a pattern.
    pub fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    /// Every answer, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Opinion)> {
        self.by_id.iter().map(|(id, opinion)| (id.as_str(), opinion))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// What outlives a process: answers and the day's spending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LlmState {
    /// Version of this form.
    version: u32,
    /// Answers.
    pub opinions: Opinions,
    /// Spending.
    pub spend: Spend,
}

/// Why a state file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("cannot use the state file {path}: {why}")]
    File {
        /// Its path.
        path: String,
        /// The system's reason.
        why: std::io::Error,
    },
    /// It is not what this version writes.
    #[error("the state file {path} is not usable: {why}")]
    Content {
        /// Its path.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl LlmState {
    /// Reads a file; one that is not there is an empty state.
    ///
    /// # Errors
    /// A file that cannot be read, is too large, or holds something else.
    pub fn load(path: &Path) -> Result<LlmState, StateError> {
        let name = path.display().to_string();
        let fault = |why| StateError::File { path: name.clone(), why };
        let content = |why: String| StateError::Content { path: name.clone(), why };
        let file = match std::fs::File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(LlmState::default()),
            opened => opened.map_err(fault)?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(fault)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(content(format!("larger than {MAX_FILE_BYTES} bytes")));
        }
        let state: LlmState = serde_json::from_slice(&bytes).map_err(|error| content(error.to_string()))?;
        if state.version != VERSION {
            return Err(content(format!("version {}, not {VERSION}", state.version)));
        }
        Ok(state)
    }

    /// Replaces the file: written beside it, then moved.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        let fault = |why| StateError::File { path: path.display().to_string(), why };
        let state = LlmState { version: VERSION, ..self.clone() };
        let bytes = serde_json::to_vec(&state).map_err(|error| fault(error.into()))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        std::fs::write(&beside, bytes).map_err(fault)?;
        std::fs::rename(&beside, path).map_err(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opinion(scored_at: UnixNanos) -> Opinion {
        Opinion {
            score: 3,
            is_confirmed: true,
            category: Category::Heartbeat,
            reason: "polled".into(),
            provider: "p".into(),
            model: "m".into(),
            prompt: "v".into(),
            fingerprint: "f".into(),
            scored_at,
        }
    }

    #[test]
    fn the_oldest_go_first() {
        let mut opinions = Opinions::default();
        for (id, at) in [("a", 3), ("b", 1), ("c", 2)] {
            opinions.put(id, opinion(at));
        }
        opinions.shrink(2);
        assert_eq!(opinions.iter().map(|(id, _)| id).collect::<Vec<_>>(), ["a", "c"]);
        opinions.shrink(0);
        assert!(opinions.is_empty());
    }

    #[test]
    fn a_file_comes_back_and_a_broken_one_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("llm.json");
        assert_eq!(LlmState::load(&path).unwrap(), LlmState::default());
        let mut state = LlmState { version: VERSION, ..LlmState::default() };
        state.opinions.put("a", opinion(7));
        state.save(&path).unwrap();
        assert_eq!(LlmState::load(&path).unwrap(), state);
        for broken in ["", "{", "[]", "{\"version\":2,\"opinions\":{\"by_id\":{}},\"spend\":{}}", "\u{0}"] {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(LlmState::load(&path), Err(StateError::Content { .. })), "{broken}");
        }
        assert!(LlmState::default().save(&directory.path().join("no/such/file")).is_err());
    }
}
