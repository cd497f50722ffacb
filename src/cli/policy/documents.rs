//! Policy files as what they are meant for: all services, or one.
//!
//! Purpose: read a file, or a directory where `global.yaml` is for all services and `NAME.yaml` for the service NAME.
//! Promises: several documents of a file are one set; every error is reported, with its file.
//! Never: talks to a network.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::control_plane::store::VersionOrigin;
use crate::control_plane::validate::{Limits, check};
use crate::data_plane::policy::{Document, MAX_DOCUMENT_BYTES, MAX_FILES, load};
use crate::data_plane::window::Band;

/// The policies of one set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// `global`, or `service:` and a name.
    pub set: String,
    /// Where they come from.
    pub file: PathBuf,
    /// `{"policies": […]}`
    pub document: Value,
}

/// The set's name in addresses.
pub(super) fn set_of(service: Option<&str>) -> String {
    service.map_or_else(|| "global".to_owned(), |service| format!("service:{service}"))
}

/// Reads a file for `service`, or a directory.
pub(super) fn read(path: &Path, service: Option<&str>) -> anyhow::Result<Vec<Wanted>> {
    if !path.is_dir() {
        return Ok(vec![one(path, set_of(service))?]);
    }
    if service.is_some() {
        bail!("--service goes with a file; in a directory each file is named after its service");
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file() && stem(file).is_some());
    files.sort();
    if files.len() > MAX_FILES {
        bail!("{} has more than {MAX_FILES} policy files", path.display());
    }
    let mut all: Vec<Wanted> = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        let name = stem(&file).unwrap_or_default();
        let set = if name == "global" { name } else { set_of(Some(&name)) };
        if let Some(first) = all.iter().find(|wanted| wanted.set == set) {
            errors.push(format!("{}: {} is for {set} too", file.display(), first.file.display()));
            continue;
        }
        match one(&file, set) {
            Ok(wanted) => all.push(wanted),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    if errors.is_empty() { Ok(all) } else { bail!("{}", errors.join("\n")) }
}

/// The name of a policy file without its ending; nothing for other files.
fn stem(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    let (stem, ending) = name.rsplit_once('.')?;
    (!stem.is_empty() && !name.starts_with('.') && ["yaml", "yml", "json"].contains(&ending)).then(|| stem.to_owned())
}

fn one(file: &Path, set: String) -> anyhow::Result<Wanted> {
    let documents = load(&[file]).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })?;
    let document = joined(&documents).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(|error| format!("{}: {error}", file.display())).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })?;
    Ok(Wanted { set, file: file.to_owned(), document })
}

/// All documents of a file as one that has been checked.
fn joined(documents: &[Document]) -> Result<Value, Vec<String>> {
    let limits = Limits { max_bytes: MAX_DOCUMENT_BYTES, protect_from: Some(Band::Error) };
    let checked = |tree: &Value| {
        check(tree, VersionOrigin::Human, &limits, &[]).map(|checked| checked.document).map_err(|violations| {
            let line = |violation: &crate::control_plane::validate::Violation| match violation.path.as_str() {
                "" => violation.reason.clone(),
                path => format!("{path}: {}", violation.reason),
            };
            violations.iter().map(line).collect::<Vec<String>>()
        })
    };
    let (mut policies, mut patterns) = (Vec::new(), Vec::new());
    for document in documents {
        let document = checked(document.tree())?;
        let list = |key: &str| document.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        policies.extend(list("policies"));
        patterns.extend(list("patterns"));
    }
    let mut tree = json!({ "policies": policies });
    if !patterns.is_empty() {
        tree["patterns"] = patterns.into();
    }
    checked(&tree)
}
