//! Policy files and directories of them.
//!
//! Purpose: read what the configuration names into documents.
//! Promises: the number and size of files are bounded; all broken files are reported together; directories are read in
//! the order of file names, so that the result does not depend on the file system.
//! Never: reads hidden files or subdirectories, so that the `..data` links of a mounted ConfigMap are followed once and
//! an editor's backup files are not policies.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::document::{Document, DocumentError, MAX_DOCUMENT_BYTES};

/// Files of one directory at most.
pub const MAX_FILES: usize = 10_000;
/// Bytes of all files together at most.
pub const MAX_TOTAL_BYTES: usize = 128 << 20;

/// Why a policy file or directory could not be read.
#[derive(Debug, thiserror::Error)]
#[error("policies: {}: {reason}", path.display())]
pub struct LoadError {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: LoadErrorReason,
}

/// What is wrong with a policy file or directory.
#[derive(Debug, thiserror::Error)]
pub enum LoadErrorReason {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no document.
    #[error("{0}")]
    Document(#[from] DocumentError),
    /// A directory with too many files.
    #[error("the directory has more than {MAX_FILES} policy files")]
    TooManyFiles,
    /// All files together are too large.
    #[error("all policy files together are larger than {MAX_TOTAL_BYTES} bytes")]
    TooLarge,
}

/// Reads files, and of directories the files that end in `.yaml`, `.yml` or `.json`, in the order of `paths`.
///
/// # Errors
/// Every file or directory that could not be read; keep the policies in force until all can be.
pub fn load(paths: &[impl AsRef<Path>]) -> Result<Vec<Document>, Vec<LoadError>> {
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    let mut bytes_left = MAX_TOTAL_BYTES;
    for path in paths {
        let path = path.as_ref();
        let files = match files_at(path) {
            Ok(files) => files,
            Err(reason) => {
                errors.push(LoadError { path: path.to_owned(), reason });
                continue;
            }
        };
        for file in files {
            match read(&file, &mut bytes_left) {
                Ok(found) => documents.extend(found),
                Err(reason) => errors.push(LoadError { path: file, reason }),
            }
        }
    }
    if errors.is_empty() { Ok(documents) } else { Err(errors) }
}

/// The file itself, or the policy files of a directory.
fn files_at(path: &Path) -> Result<Vec<PathBuf>, LoadErrorReason> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        // `metadata` follows symbolic links; a link that leads nowhere is a file that cannot be read.
        if is_policy_file(&file) && std::fs::metadata(&file).map_or(true, |found| found.is_file()) {
            files.push(file);
        }
        if files.len() > MAX_FILES {
            return Err(LoadErrorReason::TooManyFiles);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether a file of a directory is meant to hold policies, by its name.
pub(super) fn is_policy_file(path: &Path) -> bool {
    let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !is_hidden
        && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json")
}

fn read(path: &Path, bytes_left: &mut usize) -> Result<Vec<Document>, LoadErrorReason> {
    let mut text = Vec::new();
    let limit = MAX_DOCUMENT_BYTES.min(*bytes_left) as u64 + 1;
    File::open(path)?.take(limit).read_to_end(&mut text)?;
    *bytes_left = bytes_left.checked_sub(text.len()).ok_or(LoadErrorReason::TooLarge)?;
    Ok(Document::parse(&path.to_string_lossy(), &text)?)
}
