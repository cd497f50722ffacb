//! What the documents name exists: metrics in the source, files that links point at.

use std::path::{Path, PathBuf};

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `folder` that end in `extension`, without what is built or installed.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            if !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules" | "corpus" | "artifacts") {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
}

fn documents() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(repository(), "md", &mut found);
    assert!(found.len() > 5, "{found:?}");
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn metrics_exist() {
    let mut sources = Vec::new();
    files(&repository().join("src"), "rs", &mut sources);
    let source: String = sources.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let name = regex::Regex::new(r"\b(?:lipservice|otelcol)_[a-z_]+\b").unwrap();
    let mut missing = Vec::new();
    for (path, text) in documents() {
        for metric in name.find_iter(&text).map(|found| found.as_str()) {
            // A name may stand for a family, as in `lipservice_receiver_…`.
            if !source.contains(&format!("\"{}", metric.trim_end_matches('_'))) {
                missing.push(format!("{}: {metric}", path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "no such metric:\n{}", missing.join("\n"));
}

#[test]
fn links_lead_somewhere() {
    let link = regex::Regex::new(r"\]\(([^)#:]+)(?:#[^)]*)?\)").unwrap();
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for target in link.captures_iter(&text).map(|captures| captures[1].to_owned()) {
            if !path.parent().unwrap().join(&target).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links to nothing:\n{}", broken.join("\n"));
}
