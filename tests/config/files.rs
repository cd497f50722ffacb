//! The files in the tree: samples that load, documents that are generated.

use std::path::{Path, PathBuf};

use lipservice::config::load_text;

/// Compares with a committed file; with `UPDATE_DOCS=1` writes it instead.
pub fn same_as_file(path: &str, text: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == text, "{path} is out of date: run the tests with UPDATE_DOCS=1 and commit it.\n{text}");
}

/// Every YAML file below a directory that has a `receivers:` section at its top.
fn gateway_configs(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("node_modules") {
            gateway_configs(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            let text = std::fs::read_to_string(&path).unwrap();
            if text.lines().any(|line| line.starts_with("receivers:")) {
                found.push(path);
            }
        }
    }
}

#[test]
fn every_sample_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    gateway_configs(&root.join("config"), &mut files);
    gateway_configs(&root.join("examples"), &mut files);
    assert!(files.iter().any(|file| file.ends_with("minimal.yaml")));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // Variables without a default are tokens and the like; any text will do.
        let any = |name: &str| (!text.contains(&format!("${{env:{name}:-"))).then(|| "x".to_owned());
        if let Err(errors) = load_text(&text, &file.display().to_string(), &any) {
            panic!("{errors}");
        }
    }
}
