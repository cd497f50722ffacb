//! Watching policy files for changes.
//!
//! Purpose: say when it is worth loading the policies again.
//! Promises: bursts of events are one change; a change during a reload is not missed; memory does not grow with events.
//! Sees files rewritten in place, replaced by renaming, added and removed, and the link swap of a mounted ConfigMap.
//! Never: reads the files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::load::is_policy_file;

/// A change is reported when no other followed it for so long.
const QUIET: Duration = Duration::from_millis(100);
/// A change is reported after so many quiet periods at the latest, however busy the directory is.
const MAX_PERIODS: u32 = 20;

/// Why policies cannot be watched. The gateway goes on with those it has; a reload by signal still works.
#[derive(Debug, thiserror::Error)]
#[error(
    "policies: {} cannot be watched for changes: {source}; changes take effect on SIGHUP only (on Linux, \
     fs.inotify.max_user_watches and max_user_instances may be too low)", path.display()
)]
pub struct WatchError {
    /// The directory.
    pub path: PathBuf,
    /// The reason.
    pub source: notify::Error,
}

/// Watches the directories of policy files. Dropping it ends the watch.
#[derive(Debug)]
pub struct PolicyWatch {
    _watcher: RecommendedWatcher,
    changed: Arc<Notify>,
}

/// Which events of a watched directory matter.
#[derive(Debug, Default)]
struct Interest {
    /// Directories whose policy files all matter.
    directories: BTreeSet<PathBuf>,
    /// Names of single files that matter, wherever they are.
    names: BTreeSet<OsString>,
}

impl PolicyWatch {
    /// Starts to watch the files and directories of `paths`.
    ///
    /// # Errors
    /// When a directory does not exist or the system allows no more watches.
    pub fn new(paths: &[impl AsRef<Path>]) -> Result<Self, WatchError> {
        let changed = Arc::new(Notify::new());
        let (interest, directories) = interest(paths);
        let signal = Arc::clone(&changed);
        let on_event = move |event: notify::Result<Event>| {
            // An error here means that events may have been lost: look.
            if event.map_or(true, |event| interest.includes(&event)) {
                signal.notify_one();
            }
        };
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| WatchError { path, source }
        };
        let mut watcher = notify::recommended_watcher(on_event).map_err(failed(Path::new(".")))?;
        for directory in &directories {
            watcher.watch(directory, RecursiveMode::NonRecursive).map_err(failed(directory))?;
        }
        Ok(PolicyWatch { _watcher: watcher, changed })
    }

    /// Waits for the next change, and then until it has settled. Safe to cancel: a change that was seen but not returned is
    /// seen again by the next call.
    pub async fn changed(&self) {
        self.changed.notified().await;
        let unreported = Unreported(Some(&self.changed));
        for _ in 0..MAX_PERIODS {
            if tokio::time::timeout(QUIET, self.changed.notified()).await.is_err() {
                break;
            }
        }
        unreported.report();
    }
}

/// A change on its way to the caller; dropped on the way, it goes back.
struct Unreported<'n>(Option<&'n Notify>);

impl Unreported<'_> {
    fn report(mut self) {
        self.0 = None;
    }
}

impl Drop for Unreported<'_> {
    fn drop(&mut self) {
        if let Some(changed) = self.0 {
            changed.notify_one();
        }
    }
}

/// What matters, and the directories to watch for it. A file is watched by its directory, because editors and
/// deployments replace files rather than write to them.
fn interest(paths: &[impl AsRef<Path>]) -> (Interest, BTreeSet<PathBuf>) {
    let (mut interest, mut directories) = (Interest::default(), BTreeSet::new());
    for path in paths {
        let path = path.as_ref();
        if path.is_dir() {
            interest.directories.insert(canonical(path));
            directories.insert(canonical(path));
            continue;
        }
        // The file as named, and the one it leads to should it be a link.
        for file in [path.to_owned(), canonical(path)] {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            directories.insert(canonical(parent));
            interest.names.extend(file.file_name().map(OsString::from));
        }
    }
    (interest, directories)
}

fn canonical(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

impl Interest {
    fn includes(&self, event: &Event) -> bool {
        !matches!(event.kind, EventKind::Access(_)) && event.paths.iter().any(|path| self.includes_path(path))
    }

    fn includes_path(&self, path: &Path) -> bool {
        let Some(name) = path.file_name() else { return true };
        // A ConfigMap is swapped by renaming a link called `..data`.
        if self.names.contains(name) || name.as_encoded_bytes().starts_with(b"..") {
            return true;
        }
        let parent = path.parent().unwrap_or(path);
        self.directories.contains(parent) && is_policy_file(path) || self.directories.contains(path)
    }
}
