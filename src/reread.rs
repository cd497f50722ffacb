//! What is made of files, made again when they change.
//!
//! Purpose: certificates, keys and tokens are renewed on disk while the gateway runs.
//! Promises: looks at the files when the value is asked for and the interval has passed, or when told to; files that
//! cannot be used leave the last good value in force, which is logged once for each change and counted; of many who
//! ask at once, one looks and nobody waits.
//! Never: looks at anything but regular files, reads more than a mebibyte of one, or prints what is in it.

use std::fmt::{Debug, Display};
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::clock::{Clock, UnixNanos};
use crate::telemetry::{MetricSink, MetricSource};

/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Something made of files, whatever it is.
pub trait Renewable: MetricSource {
    /// Looks at the files now, whatever the interval.
    fn look(&self);
}

type Make<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// A value made of files.
pub struct Reread<T> {
    setting: String,
    paths: Vec<String>,
    interval_ns: u64,
    clock: Clock,
    make: Make<T>,
    current: ArcSwap<T>,
    /// When the files were looked at last.
    looked: AtomicU64,
    /// What they held then.
    seen: Mutex<u64>,
    reloads: AtomicU64,
    failures: AtomicU64,
    broken: AtomicBool,
}

impl<T> Debug for Reread<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reread").field("setting", &self.setting).field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T> Reread<T> {
    /// Makes the value of `paths` for the first time. `setting` names it in logs and metrics; with an `interval` of 0 it
    /// is made again only by [`Renewable::look`].
    ///
    /// # Errors
    /// Those of `make`.
    pub fn new<E: Display>(
        setting: &str,
        paths: Vec<String>,
        interval: Duration,
        clock: &Clock,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // The files first: a change between the two is then seen by the next look.
        let seen = fingerprint(&paths);
        let current = ArcSwap::from_pointee(make()?);
        Ok(Reread {
            setting: setting.to_owned(),
            paths,
            interval_ns: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            clock: clock.clone(),
            make: Box::new(move || make().map_err(|error| error.to_string())),
            current,
            looked: AtomicU64::new(clock.now()),
            seen: Mutex::new(seen),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            broken: AtomicBool::new(false),
        })
    }

    /// Whether there are files that may change.
    pub fn has_files(&self) -> bool {
        !self.paths.is_empty()
    }

    /// The value in force, after a look at the files if it is time for one.
    pub fn current(&self) -> Arc<T> {
        if self.is_due(self.clock.now()) {
            self.look_again();
        }
        self.current.load_full()
    }

    /// The difference, either way: a clock that was set back does not stop the looking.
    fn is_due(&self, now: UnixNanos) -> bool {
        let is_watched = self.interval_ns > 0 && self.has_files();
        is_watched && self.looked.load(Ordering::Relaxed).abs_diff(now) >= self.interval_ns
    }

    fn look_again(&self) {
        // Whoever is second goes on with what there is.
        let Some(mut seen) = self.seen.try_lock() else { return };
        self.looked.store(self.clock.now(), Ordering::Relaxed);
        let found = fingerprint(&self.paths);
        if found != *seen {
            *seen = found;
            self.make_again();
        }
    }

    fn make_again(&self) {
        match (self.make)() {
            Ok(value) => {
                self.current.store(Arc::new(value));
                self.reloads.fetch_add(1, Ordering::Relaxed);
                self.broken.store(false, Ordering::Relaxed);
                tracing::info!(setting = self.setting, "files were read again and are in force");
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.broken.store(true, Ordering::Relaxed);
                tracing::error!(
                    setting = self.setting,
                    error,
                    "files changed and cannot be used: the last good ones stay in force"
                );
            }
        }
    }
}

impl<T: Send + Sync> Renewable for Reread<T> {
    fn look(&self) {
        self.look_again();
    }
}

impl<T: Send + Sync> MetricSource for Reread<T> {
    fn collect(&self, out: &mut dyn MetricSink) {
        let labels = [("setting", self.setting.as_str())];
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let help = "Times files that changed were put in force";
        out.counter("lipservice_file_reloads", help, &labels, load(&self.reloads));
        let help = "Times files that changed could not be used";
        out.counter("lipservice_file_reload_failures", help, &labels, load(&self.failures));
        let help = "1 while files cannot be used and the last good ones are in force";
        out.gauge("lipservice_files_broken", help, &labels, f64::from(u8::from(self.broken.load(Ordering::Relaxed))));
    }
}

/// The bytes of a file that is to be read as a whole.
///
/// # Errors
/// Those of reading; a file that is larger than a mebibyte.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// What tells two states of files apart. Pipes and the like can be read once only, and opening one may block: they count
/// as unchanged.
fn fingerprint(paths: &[String]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for path in paths {
        match std::fs::metadata(path) {
            Ok(metadata) if !metadata.is_file() => {}
            Ok(_) => read(path).map_err(|error| error.kind()).hash(&mut hasher),
            Err(error) => error.kind().hash(&mut hasher),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    /// A number in a file, its value a text.
    fn number(path: &std::path::Path, interval: Duration, clock: &Clock) -> Result<Reread<u32>, String> {
        let path = path.to_str().unwrap().to_owned();
        let make = {
            let path = path.clone();
            move || {
                let bytes = read(&path).map_err(|error| error.to_string())?;
                String::from_utf8(bytes).unwrap().trim().parse().map_err(|_| "no number".to_owned())
            }
        };
        Reread::new("n", vec![path], interval, clock, make)
    }

    fn counts<T>(reread: &Reread<T>) -> (u64, u64, bool) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&reread.reloads), load(&reread.failures), reread.broken.load(Ordering::Relaxed))
    }

    #[test]
    fn a_change_is_seen_when_the_interval_has_passed() {
        let (file, clock) = (tempfile::NamedTempFile::new().unwrap(), Clock::manual(1_000_000_000_000));
        std::fs::write(file.path(), "1").unwrap();
        let reread = number(file.path(), INTERVAL, &clock).unwrap();
        std::fs::write(file.path(), "2").unwrap();
        clock.advance(INTERVAL - Duration::from_nanos(1));
        assert_eq!(*reread.current(), 1);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(*reread.current(), 2);
        assert_eq!(counts(&reread), (1, 0, false));
        clock.advance(INTERVAL);
        assert_eq!((*reread.current(), counts(&reread)), (2, (1, 0, false)), "unchanged files are not made again");
    }

    #[test]
    fn broken_files_leave_the_last_good_value_and_count_once_a_change() {
        let (file, clock) = (tempfile::NamedTempFile::new().unwrap(), Clock::manual(0));
        std::fs::write(file.path(), "1").unwrap();
        let reread = number(file.path(), INTERVAL, &clock).unwrap();
        for (content, value, expected) in [
            (Some("x"), 1, (0, 1, true)),
            (Some("x"), 1, (0, 1, true)),
            (None, 1, (0, 2, true)),
            (None, 1, (0, 2, true)),
            (Some("3"), 3, (1, 2, false)),
        ] {
            match content {
                Some(text) => std::fs::write(file.path(), text).unwrap(),
                None => drop(std::fs::remove_file(file.path())),
            }
            clock.advance(INTERVAL);
            assert_eq!((*reread.current(), counts(&reread)), (value, expected), "{content:?}");
        }
    }

    #[test]
    fn without_an_interval_only_a_look_reads_again() {
        let (file, clock) = (tempfile::NamedTempFile::new().unwrap(), Clock::manual(0));
        std::fs::write(file.path(), "1").unwrap();
        let reread = number(file.path(), Duration::ZERO, &clock).unwrap();
        std::fs::write(file.path(), "2").unwrap();
        clock.advance(INTERVAL * 1_000);
        assert_eq!(*reread.current(), 1);
        reread.look();
        assert_eq!(*reread.current(), 2);
    }

    #[test]
    fn what_cannot_be_used_at_first_is_an_error() {
        let (file, clock) = (tempfile::NamedTempFile::new().unwrap(), Clock::manual(0));
        assert_eq!(number(file.path(), INTERVAL, &clock).unwrap_err(), "no number");
        std::fs::write(file.path(), vec![b' '; MAX_FILE_BYTES as usize + 1]).unwrap();
        assert!(number(file.path(), INTERVAL, &clock).unwrap_err().contains("larger than 1048576 bytes"));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_stop_the_looking() {
        let (file, clock) = (tempfile::NamedTempFile::new().unwrap(), Clock::manual(u64::MAX / 2));
        std::fs::write(file.path(), "1").unwrap();
        let reread = number(file.path(), INTERVAL, &clock).unwrap();
        assert!(!reread.is_due(u64::MAX / 2 - 1) && reread.is_due(0));
    }
}
