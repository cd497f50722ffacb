//! What a gateway knows of the patterns that were reported to its control plane, by itself and by others.
//!
//! Purpose: read the list once, then what is new of it; keep it on disk for a start without the control plane.
//! Promises: bounded, and what finds no room is counted and said; while the list is read again what was known stays known;
//! about once a day it is read from the start, so that patterns which the control plane forgot are new again; the file
//! is replaced whole or not at all, and one that cannot be used costs what it held and nothing else.
//! Never: asks by itself, or decides what is new.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use twox_hash::XxHash64;

use super::api::KnownPage;
use super::follow::replace;
use crate::clock::UnixNanos;
use crate::data_plane::signature::VERSION;
use crate::data_plane::window::KnownPatterns;
use crate::telemetry::{MetricSink, MetricSource};

/// After how long the list is read from the start, less a random part of up to a quarter.
const READ_AGAIN: Duration = Duration::from_secs(86_400);
/// How often the file is written while there is news, at most; and at the end.
const SAVE_AFTER: Duration = Duration::from_secs(60);
/// The file's first bytes, with the version of its form.
const MAGIC: &[u8; 12] = b"LIPKNOWN\x01\0\0\0";
/// Bytes of the file beside fingerprints: the magic, version, time, cursor, count and checksum.
const FRAME_BYTES: u64 = 4096;
/// Longest cursor kept.
const MAX_CURSOR_BYTES: usize = 2000;

/// What is known.
#[derive(Debug)]
pub struct Known {
    most: usize,
    path: String,
    state: Mutex<State>,
    failures: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    known: KnownPatterns,
    /// What was read so far of a list that is read again from the start.
    again: Option<KnownPatterns>,
    cursor: Option<String>,
    /// When the list is to be read from the start; 0 before it was read once.
    again_at: UnixNanos,
    left_out: u64,
    is_full: bool,
    saved_at: Option<UnixNanos>,
    is_unsaved: bool,
    is_foreign: bool,
}

/// What a page changed.
#[derive(Debug)]
pub struct Taken {
    /// What is known now, if that is other than before.
    pub known: Option<KnownPatterns>,
    /// Whether there is more to ask for.
    pub more: bool,
}

impl Known {
    /// Nothing yet. At most so many are remembered, in the file at `path` beside the memory; an empty path keeps none.
    pub fn new(most: usize, path: String) -> Arc<Known> {
        Arc::new(Known { most, path, state: Mutex::default(), failures: AtomicU64::new(0) })
    }

    /// What an earlier run knew, from the file.
    pub fn last(&self) -> KnownPatterns {
        if self.path.is_empty() || self.most == 0 {
            return KnownPatterns::default();
        }
        let most_bytes = FRAME_BYTES + self.most as u64 * 8;
        let bytes = match std::fs::metadata(&self.path) {
            Ok(found) if found.len() <= most_bytes => std::fs::read(&self.path).ok(),
            Ok(_) => None,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return KnownPatterns::default(),
            Err(_) => None,
        };
        let Some((cursor, again_at, fingerprints)) = bytes.as_deref().and_then(decode) else {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                file = self.path,
                "the known patterns of an earlier run cannot be used; they are asked for again"
            );
            return KnownPatterns::default();
        };
        let mut state = self.state.lock();
        (state.known, _) = KnownPatterns::default().with(fingerprints, self.most);
        (state.cursor, state.again_at) = (cursor, again_at);
        state.known.clone()
    }

    /// What to ask for: the list behind this cursor, or from the start. Nothing when nothing is wanted.
    pub fn wanted(&self, now: UnixNanos) -> Option<Option<String>> {
        let mut state = self.state.lock();
        if self.most == 0 {
            return None;
        }
        if now >= state.again_at && state.again.is_none() {
            state.cursor = None;
        }
        Some(state.cursor.clone())
    }

    /// Takes a page in. `random`, from 0 to 1, spreads the next reading from the start.
    pub fn take(&self, page: KnownPage, now: UnixNanos, random: f64) -> Taken {
        let mut state = self.state.lock();
        if page.signature_version != VERSION {
            if !std::mem::replace(&mut state.is_foreign, true) {
                tracing::warn!(
                    here = VERSION,
                    there = page.signature_version,
                    "the control plane has another version of signatures: what it knows says nothing here"
                );
            }
            self.failures.fetch_add(1, Ordering::Relaxed);
            return Taken { known: None, more: false };
        }
        state.is_foreign = false;
        if page.from_start {
            let part = READ_AGAIN.mul_f64(1.0 - random.clamp(0.0, 1.0) / 4.0);
            state.again_at = now.saturating_add(part.as_nanos() as u64);
            state.again = Some(KnownPatterns::default());
            state.left_out = 0;
        }
        let into = state.again.as_ref().unwrap_or(&state.known);
        let (grown, left_out) = into.with(page.items, self.most);
        let has_grown = grown.len() > into.len();
        state.left_out += left_out as u64;
        if left_out > 0 && !std::mem::replace(&mut state.is_full, true) {
            tracing::warn!(
                most = self.most,
                "more patterns are known than control_plane.known_patterns has room for: the latest ones count as new here"
            );
        }
        state.is_unsaved |= has_grown || page.from_start || page.next != state.cursor;
        state.cursor = page.next.filter(|cursor| cursor.len() <= MAX_CURSOR_BYTES);
        let (is_again, more) = (state.again.is_some(), page.more && state.cursor.is_some());
        match (is_again, more) {
            // What was known stays until all of the list is there.
            (true, true) => {
                state.again = Some(grown);
                return Taken { known: None, more };
            }
            (true, false) => state.again = None,
            (false, _) if !has_grown => return Taken { known: None, more },
            (false, _) => {}
        }
        state.known = grown.clone();
        Taken { known: Some(grown), more }
    }

    /// Notes that the control plane could not be asked. One that refuses the question is asked from the start the next time:
    /// its cursors may be others.
    pub fn failed(&self, is_refused: bool) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if is_refused && state.cursor.take().is_some() {
            (state.again, state.again_at) = (None, 0);
        }
    }

    /// Writes the file, if there is news and it is time; `ends` makes it time.
    pub async fn save(&self, now: UnixNanos, ends: bool) {
        let Some(bytes) = self.due(now, ends) else { return };
        if let Err(error) = replace(Path::new(&self.path), &bytes).await {
            self.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, file = self.path, "the known patterns could not be kept for the next start");
        }
    }

    fn due(&self, now: UnixNanos, ends: bool) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        // Half a list is not kept: its cursor would pass over what it had before.
        if self.path.is_empty() || !state.is_unsaved || state.again.is_some() {
            return None;
        }
        let rests = |at: UnixNanos| at <= now && now - at < SAVE_AFTER.as_nanos() as u64;
        if !ends && state.saved_at.is_some_and(rests) {
            return None;
        }
        (state.saved_at, state.is_unsaved) = (Some(now), false);
        Some(encode(state.cursor.as_deref().unwrap_or_default(), state.again_at, &state.known))
    }
}

fn encode(cursor: &str, again_at: UnixNanos, known: &KnownPatterns) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_BYTES as usize + known.len() * 8);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&again_at.to_le_bytes());
    bytes.extend_from_slice(&(cursor.len() as u32).to_le_bytes());
    bytes.extend_from_slice(cursor.as_bytes());
    known.iter().for_each(|fingerprint| bytes.extend_from_slice(&fingerprint.to_le_bytes()));
    let sum = XxHash64::oneshot(0, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Cursor, time of the next reading from the start, fingerprints.
type Kept = (Option<String>, UnixNanos, Vec<u64>);

fn decode(bytes: &[u8]) -> Option<Kept> {
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if XxHash64::oneshot(0, body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let body = body.strip_prefix(MAGIC)?;
    let (version, body) = body.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != VERSION {
        return None;
    }
    let (again_at, body) = body.split_first_chunk::<8>()?;
    let (len, body) = body.split_first_chunk::<4>()?;
    let (cursor, body) = body.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let cursor = std::str::from_utf8(cursor).ok()?.to_owned();
    let (fingerprints, rest) = body.as_chunks::<8>();
    let fingerprints = fingerprints.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    rest.is_empty().then_some((
        Some(cursor).filter(|cursor| !cursor.is_empty()),
        u64::from_le_bytes(*again_at),
        fingerprints,
    ))
}

impl MetricSource for Known {
    fn collect(&self, out: &mut dyn MetricSink) {
        let state = self.state.lock();
        let help = "Patterns that the control plane knows and this gateway remembers.";
        out.gauge("lipservice_control_known_patterns", help, &[], state.known.len() as f64);
        let help = "Patterns that the control plane knows and for which there was no room here (control_plane.known_patterns).";
        out.gauge("lipservice_control_known_patterns_left_out", help, &[], state.left_out as f64);
        let help = "Times what the control plane knows could not be read, used or kept.";
        out.counter("lipservice_control_known_failures", help, &[], self.failures.load(Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: UnixNanos = 86_400_000_000_000;

    fn page(from_start: bool, items: &[u64], next: &str, more: bool) -> KnownPage {
        let next = Some(next.to_owned()).filter(|next| !next.is_empty());
        KnownPage { signature_version: VERSION, from_start, items: items.to_vec(), next, more }
    }

    fn has(known: &Known, fingerprints: &[u64]) -> bool {
        let state = known.state.lock();
        state.known.len() == fingerprints.len() && fingerprints.iter().all(|one| state.known.contains(*one))
    }

    #[test]
    fn pages_add_up_and_what_is_forgotten_there_is_new_again_within_a_day() {
        let known = Known::new(100, String::new());
        assert_eq!(known.wanted(0), Some(None));
        let taken = known.take(page(true, &[1, 2], "b", true), 0, 0.0);
        assert!(taken.more && taken.known.is_none(), "the list is not all there");
        assert_eq!(known.wanted(0), Some(Some("b".into())));
        let taken = known.take(page(false, &[3], "c", false), 0, 0.0);
        assert!(!taken.more && taken.known.is_some_and(|known| known.len() == 3));
        let taken = known.take(page(false, &[], "c", false), 1, 0.0);
        assert!(!taken.more && taken.known.is_none(), "nothing new");
        assert!(known.take(page(false, &[4], "d", false), 1, 0.0).known.is_some());
        assert!(has(&known, &[1, 2, 3, 4]));
        assert_eq!(known.wanted(DAY - 1), Some(Some("d".into())));
        // A day later the list is read again; pattern 2 was forgotten.
        assert_eq!(known.wanted(DAY), Some(None));
        assert!(known.take(page(true, &[1, 3], "c", true), DAY, 1.0).known.is_none());
        assert!(has(&known, &[1, 2, 3, 4]), "what was known stays known meanwhile");
        assert_eq!(known.wanted(DAY), Some(Some("c".into())), "goes on where it was");
        assert!(known.take(page(false, &[4], "d", false), DAY, 0.0).known.is_some());
        assert!(has(&known, &[1, 3, 4]));
        assert_eq!(known.wanted(DAY + DAY * 3 / 4), Some(None), "by chance a quarter earlier");
        // Another store begins from the start unasked.
        assert!(known.take(page(true, &[9], "z", false), DAY, 0.0).known.is_some());
        assert!(has(&known, &[9]));
    }

    #[test]
    fn what_finds_no_room_is_counted_and_other_signatures_are_not_taken() {
        let known = Known::new(2, String::new());
        known.take(page(true, &[1, 2, 3, 4], "d", false), 0, 0.0);
        assert!(has(&known, &[1, 2]));
        assert_eq!(known.state.lock().left_out, 2);
        let foreign = KnownPage { signature_version: VERSION + 1, ..page(true, &[7], "g", true) };
        let taken = known.take(foreign, 0, 0.0);
        assert!(taken.known.is_none() && !taken.more && has(&known, &[1, 2]));
        assert_eq!(Known::new(0, String::new()).wanted(0), None, "nothing is asked for");
    }

    #[tokio::test]
    async fn the_file_brings_back_what_was_known_and_where_to_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.known").display().to_string();
        let known = Known::new(100, path.clone());
        assert!(known.last().is_empty());
        known.take(page(true, &[5, 6], "b", true), 7, 0.0);
        known.save(7, true).await;
        assert!(!Path::new(&path).exists(), "half a list is not kept");
        known.take(page(false, &[8], "c", false), 7, 0.0);
        known.save(7, false).await;
        let again = Known::new(100, path.clone());
        assert_eq!(again.last().len(), 3);
        assert!(has(&again, &[5, 6, 8]));
        assert_eq!((again.wanted(7), again.wanted(7 + DAY)), (Some(Some("c".into())), Some(None)));
        // Soon after, only the end is worth writing.
        known.take(page(false, &[9], "d", false), 8, 0.0);
        known.save(8, false).await;
        assert_eq!(Known::new(100, path.clone()).last().len(), 3);
        known.save(8, true).await;
        assert_eq!(Known::new(100, path.clone()).last().len(), 4);
        let bytes = std::fs::read(&path).unwrap();
        for at in [0, 12, 20, bytes.len() / 2, bytes.len() - 1] {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            std::fs::write(&path, broken).unwrap();
            let known = Known::new(100, path.clone());
            assert!(known.last().is_empty() && known.failures.load(Ordering::Relaxed) == 1, "{at}");
            assert_eq!(known.wanted(0), Some(None));
        }
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(Known::new(100, path).last().is_empty());
    }
}
