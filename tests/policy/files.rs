//! Policy files: what is read of a directory, what is refused, and what counts as a change.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lipservice::data_plane::policy::{CompiledPolicy, LoadErrorReason, PolicyWatch, load};

/// Longer than any change takes to be seen; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn text(id: &str) -> String {
    format!("id: {id}\nname: n\nlog:\n  match: [{{log_field: body, contains: x}}]\n  keep: none\n")
}

fn ids(paths: &[impl AsRef<Path>]) -> Vec<String> {
    let policies = CompiledPolicy::compile(&load(paths).unwrap(), 0, None);
    (0..policies.len()).map(|i| policies.policy(i as u16).id.to_string()).collect()
}

/// Lays a directory out as a mounted ConfigMap: the file is a link through `..data` to a dated directory.
#[cfg(unix)]
fn mount(directory: &Path, version: &str, id: &str) {
    use std::os::unix::fs::symlink;
    fs::create_dir(directory.join(version)).unwrap();
    fs::write(directory.join(version).join("p.yaml"), text(id)).unwrap();
    symlink(version, directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    if !directory.join("p.yaml").exists() {
        symlink("..data/p.yaml", directory.join("p.yaml")).unwrap();
    }
}

#[test]
fn directories_are_read_by_name_without_hidden_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for (file, id) in
        [("b.yaml", "b"), ("a.yml", "a"), ("c.json", "c"), (".d.yaml", "d"), ("e.yaml~", "e"), ("f.txt", "f")]
    {
        let text = if file.ends_with("json") {
            r#"{"id": "c", "name": "n", "log": {"match": [{"log_field": "body", "exists": true}], "keep": "none"}}"#
                .to_owned()
        } else {
            text(id)
        };
        fs::write(path.join(file), text).unwrap();
    }
    fs::create_dir(path.join("g.yaml")).unwrap();
    fs::write(path.join("g.yaml").join("h.yaml"), text("h")).unwrap();
    assert_eq!(ids(&[path]), ["a", "b", "c"]);
    assert_eq!(ids(&[path.join("f.txt")]), ["f"], "a file that is named is read, whatever its ending");
    let sources: Vec<String> = load(&[path]).unwrap().into_iter().map(|document| document.source).collect();
    assert!(sources[0].ends_with("a.yml") && sources[2].ends_with("c.json"), "{sources:?}");
}

#[cfg(unix)]
#[test]
fn a_mounted_config_map_is_read_once() {
    let directory = tempfile::tempdir().unwrap();
    mount(directory.path(), "..2026_01", "first");
    assert_eq!(ids(&[directory.path()]), ["first"]);
}

#[test]
fn every_file_that_cannot_be_read_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("a.yaml"), text("a")).unwrap();
    fs::write(path.join("b.yaml"), "a: [1").unwrap();
    fs::write(path.join("c.json"), "{]").unwrap();
    fs::write(path.join("d.yaml"), [0xff, 0xfe]).unwrap();
    let errors = load(&[path, &path.join("missing")]).unwrap_err();
    let names: Vec<_> = errors.iter().map(|error| error.path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["b.yaml", "c.json", "d.yaml", "missing"]);
    assert!(matches!(errors[3].reason, LoadErrorReason::Io(_)));
    assert!(errors[1].to_string().contains("line 1"), "{}", errors[1]);
}

#[test]
fn a_file_that_is_too_large_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.yaml");
    fs::write(&path, " ".repeat((16 << 20) + 1)).unwrap();
    assert!(matches!(load(&[path]).unwrap_err()[0].reason, LoadErrorReason::Document(_)));
}

async fn sees(watch: &PolicyWatch, what: &str, change: impl FnOnce()) {
    change();
    tokio::time::timeout(PATIENCE, watch.changed()).await.unwrap_or_else(|_| panic!("{what} was not seen"));
}

#[tokio::test]
async fn changes_of_a_directory_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("a.yaml"), text("a")).unwrap();
    let watch = PolicyWatch::new(&[path]).unwrap();
    sees(&watch, "a write", || fs::write(path.join("a.yaml"), text("b")).unwrap()).await;
    sees(&watch, "a new file", || fs::write(path.join("n.yaml"), text("n")).unwrap()).await;
    fs::write(path.join("x.tmp"), text("x")).unwrap();
    sees(&watch, "a replacement", || fs::rename(path.join("x.tmp"), path.join("a.yaml")).unwrap()).await;
    sees(&watch, "a removal", || fs::remove_file(path.join("n.yaml")).unwrap()).await;
}

#[tokio::test]
async fn changes_of_a_single_file_are_seen() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("policies.conf");
    fs::write(&file, text("a")).unwrap();
    let watch = PolicyWatch::new(&[&file]).unwrap();
    sees(&watch, "a write", || fs::write(&file, text("b")).unwrap()).await;
    let backup = directory.path().join("policies.conf~");
    sees(&watch, "an editor's way to save", || {
        fs::rename(&file, &backup).unwrap();
        fs::write(&file, text("c")).unwrap();
    })
    .await;
}

#[cfg(unix)]
#[tokio::test]
async fn the_swap_of_a_config_map_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    mount(path, "..2026_01", "first");
    for watched in [path.to_owned(), path.join("p.yaml")] {
        let version = format!("..2026_02_{}", watched == path);
        let watch = PolicyWatch::new(&[&watched]).unwrap();
        sees(&watch, "the swap", || mount(path, &version, "second")).await;
        assert_eq!(ids(&[&watched]), ["second"]);
    }
}

#[tokio::test]
async fn a_cancelled_wait_loses_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.yaml");
    fs::write(&file, text("a")).unwrap();
    let watch = PolicyWatch::new(&[&file]).unwrap();
    fs::write(&file, text("b")).unwrap();
    // Cancelled at any point of the way, the change must still be there for the one who waits to the end.
    for _ in 0..5 {
        tokio::select! {
            () = watch.changed() => return,
            () = tokio::task::yield_now() => {}
        }
    }
    tokio::time::timeout(PATIENCE, watch.changed()).await.expect("the change was lost");
}

#[test]
fn a_directory_that_does_not_exist_cannot_be_watched() {
    let error = PolicyWatch::new(&[Path::new("/no/such/directory/policies.yaml")]).unwrap_err();
    assert!(error.to_string().contains("SIGHUP"), "{error}");
}
