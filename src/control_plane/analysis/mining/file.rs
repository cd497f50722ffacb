//! What the miner knows, kept over a restart.
//!
//! Purpose: one JSON file with the templates held and the patterns published.
//! Promises: a reader sees the old file or the new one, never half of one; size and counts are bounded when reading; a file
//! of another signature version is left aside, as its templates do not compare.
//! Never: mines.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::miner::Miner;
use crate::data_plane::pattern::{Catalogue, Pattern};

/// Largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// Version of the file's form.
const FORM: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    form: u32,
    signature_version: u32,
    templates: Vec<String>,
    patterns: Vec<KeptPattern>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptPattern {
    template: String,
    #[serde(default)]
    forms: Vec<String>,
    #[serde(default)]
    parents: Vec<String>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("it is not a file of patterns: {0}")]
    Content(#[from] serde_json::Error),
    /// It is larger than what is read.
    #[error("it is larger than {MAX_FILE_BYTES} bytes")]
    TooLarge,
    /// It was written by another version.
    #[error("it was written with signatures of version {found}, this is {wanted}; patterns are learned anew")]
    OtherVersion {
        /// The file's.
        found: u32,
        /// Ours.
        wanted: u32,
    },
}

/// Writes what `miner` holds and `catalogue` publishes to `path`.
///
/// # Errors
/// When the file cannot be written; the old one stays.
pub fn save(path: &Path, signature_version: u32, miner: &Miner, catalogue: &Catalogue) -> Result<(), KeepError> {
    let kept = Kept {
        form: FORM,
        signature_version,
        templates: miner.templates().map(str::to_owned).collect(),
        patterns: catalogue.patterns().iter().map(KeptPattern::of).collect(),
    };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = path.with_file_name(name);
    let mut file = File::create(&unfinished)?;
    file.write_all(&serde_json::to_vec(&kept)?)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    Ok(())
}

/// Gives `miner` what was kept at `path`; `false` when there is no such file.
///
/// # Errors
/// When the file cannot be used; the miner is then as it was.
pub fn load(path: &Path, signature_version: u32, miner: &mut Miner) -> Result<bool, KeepError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let mut text = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(KeepError::TooLarge);
    }
    let kept: Kept = serde_json::from_slice(&text)?;
    if kept.form != FORM || kept.signature_version != signature_version {
        return Err(KeepError::OtherVersion { found: kept.signature_version, wanted: signature_version });
    }
    let patterns: Vec<Pattern> = kept.patterns.into_iter().map(KeptPattern::read).collect();
    miner.remember(&patterns);
    for template in kept.templates {
        miner.insert(&template);
    }
    Ok(true)
}

impl KeptPattern {
    fn of(pattern: &Pattern) -> Self {
        KeptPattern {
            template: pattern.template.to_string(),
            forms: pattern.forms.iter().map(|form| form.to_string()).collect(),
            parents: pattern.parents.iter().map(|id| id.to_string()).collect(),
        }
    }

    fn read(self) -> Pattern {
        let mut pattern = Pattern::new(&self.template);
        pattern.forms = self.forms.into_iter().map(Into::into).collect();
        pattern.parents = self.parents.iter().filter_map(|id| id.parse().ok()).collect();
        pattern
    }
}
