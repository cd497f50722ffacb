//! What the detector knows, kept over a restart.
//!
//! Purpose: the detector as bytes and back, and those bytes as a file.
//! Promises: exact, so that a restart changes no verdict; a reader of the file sees the old one or the new one, never half
//! of one; bytes that are damaged, of another form or of windows of another length are refused as a whole; size is
//! bounded when reading, and no number is trusted. Tokens of clients are written as digests, never as they are.
//! Never: judges.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use twox_hash::XxHash64;

use super::book::Book;
use super::detector::Losses;
use super::service::ServiceWatch;
use crate::clock::UnixNanos;
use crate::control_plane::analysis::frequency::kept::count;
use crate::data_plane::window::Service;

/// Begins every file.
const MAGIC: &[u8; 8] = b"LIPRATES";
/// Version of what follows.
const FORM: u32 = 2;
/// Largest file, in bytes: `max_patterns` at its default needs a quarter of it.
const MAX_BYTES: u64 = 256 << 20;
/// What a digest begins with.
const DIGEST: &str = "sha256:";

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not what was written.
    #[error("it is damaged, or not a file of rates ({0})")]
    Damaged(String),
    /// Another release wrote it.
    #[error("it is of form {found}, this release writes form {FORM}")]
    OtherForm {
        /// The file's.
        found: u32,
    },
    /// Windows have another length now.
    #[error("it was written with windows of {found} s, they have {wanted} s now")]
    OtherWindows {
        /// The file's.
        found: f64,
        /// Ours.
        wanted: f64,
    },
    /// It is larger than what is read.
    #[error("it is larger than {MAX_BYTES} bytes")]
    TooLarge,
}

/// What is written.
#[derive(Serialize)]
pub(super) struct KeptRef<'a> {
    pub window_seconds: f64,
    pub services: Vec<&'a ServiceWatch>,
    pub book: &'a Book,
    pub last: Option<UnixNanos>,
    pub frames: u64,
    pub losses: Losses,
}

/// What is read: the same fields in the same order.
#[derive(Deserialize)]
pub(super) struct Kept {
    pub window_seconds: f64,
    pub services: Vec<ServiceWatch>,
    pub book: Book,
    pub last: Option<UnixNanos>,
    #[serde(deserialize_with = "count")]
    pub frames: u64,
    pub losses: Losses,
}

/// Magic, form, checksum, body.
pub(super) fn encode(kept: &KeptRef<'_>) -> Result<Vec<u8>, StateError> {
    let body = postcard::to_stdvec(kept).map_err(|error| StateError::Damaged(error.to_string()))?;
    if body.len() as u64 > MAX_BYTES - 20 {
        return Err(StateError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(body.len() + 20);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORM.to_le_bytes());
    bytes.extend_from_slice(&XxHash64::oneshot(0, &body).to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// The body of what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8], window_seconds: f64) -> Result<Kept, StateError> {
    let damaged = |why: &str| StateError::Damaged(why.to_owned());
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it begins with other bytes"))?;
    let (form, rest) = rest.split_first_chunk::<4>().ok_or_else(|| damaged("it is cut off"))?;
    let form = u32::from_le_bytes(*form);
    if form != FORM {
        return Err(StateError::OtherForm { found: form });
    }
    let (sum, body) = rest.split_first_chunk::<8>().ok_or_else(|| damaged("it is cut off"))?;
    if u64::from_le_bytes(*sum) != XxHash64::oneshot(0, body) {
        return Err(damaged("its checksum does not fit"));
    }
    let kept: Kept = whole(body)?;
    if kept.window_seconds != window_seconds {
        return Err(StateError::OtherWindows { found: kept.window_seconds, wanted: window_seconds });
    }
    Ok(kept)
}

fn whole<T: DeserializeOwned>(body: &[u8]) -> Result<T, StateError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(StateError::Damaged("something follows it".into())),
        Err(error) => Err(StateError::Damaged(error.to_string())),
    }
}

/// Writes beside `path`, then renames.
///
/// # Errors
/// When that fails; the old file stays.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = path.with_file_name(name);
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(std::fs::rename(&unfinished, path)?)
}

/// The bytes at `path`; `None` when there is no such file.
///
/// # Errors
/// When it cannot be read, or is too large.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES { Err(StateError::TooLarge) } else { Ok(Some(bytes)) }
}

/// The service as a file knows it: with its token's digest in the token's place.
pub(super) fn stand_in(service: &Service) -> Service {
    let digest = |token: &Arc<str>| match token.starts_with(DIGEST) {
        true => Arc::clone(token),
        false => {
            let digest = Sha256::digest(token.as_bytes());
            let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{DIGEST}{hex}").into()
        }
    };
    Service { name: service.name.clone(), token: service.token.as_ref().map(digest) }
}

/// A service in a file.
pub(super) mod service {
    use serde::{Deserializer, Serializer};

    use super::{Arc, Deserialize, Serialize, Service, stand_in};

    pub fn serialize<S: Serializer>(service: &Service, to: S) -> Result<S::Ok, S::Error> {
        let Service { name, token } = stand_in(service);
        (name, token.as_deref()).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Service>, D::Error> {
        let (name, token) = <(Box<str>, Option<String>)>::deserialize(from)?;
        Ok(Arc::new(Service { name, token: token.map(Into::into) }))
    }
}

/// Patterns in a file.
pub(super) mod patterns {
    use std::collections::HashMap;

    use serde::{Deserializer, Serializer};

    use super::super::pattern::PatternWatch;
    use super::Deserialize;
    use crate::control_plane::analysis::frequency::Pattern;

    type Patterns = HashMap<Pattern, PatternWatch, ahash::RandomState>;

    pub fn serialize<S: Serializer>(patterns: &Patterns, to: S) -> Result<S::Ok, S::Error> {
        let mut rows: Vec<(u64, &PatternWatch)> = patterns.iter().map(|(key, watch)| (key.0, watch)).collect();
        rows.sort_by_key(|(key, _)| *key);
        to.collect_seq(rows)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Patterns, D::Error> {
        let rows = Vec::<(u64, PatternWatch)>::deserialize(from)?;
        Ok(rows.into_iter().map(|(key, watch)| (Pattern { 0: key }, watch)).collect())
    }
}
