//! Patterns that somebody has seen before, here or at another gateway: their first records are no news.
//!
//! Purpose: name a pattern by 64 bits that are the same in every process, and hold a million of them in 8 MB.
//! Promises: the name depends on service, severity band, pattern and the version of signatures alone; bounded; a set never
//! changes, so those who read it need no lock.
//! Never: asks anyone; who fills it is not its business.

use std::borrow::Cow;
use std::sync::Arc;

use twox_hash::XxHash64;

use crate::data_plane::signature::VERSION;

/// Bytes of each name that count. Shorter than where the control plane's store cuts names (256 bytes, on the bound of a
/// character), so that what was cut there has the same fingerprint.
const NAME_BYTES: usize = 250;
/// Fingerprints that came lately are merged into the others when they are so many, or an eighth of them.
const FEW: usize = 1024;

/// The fingerprint of a pattern of a service and severity band; the pattern as statistics write it, empty for records
/// beyond the bound on patterns.
pub fn fingerprint(service: &str, severity: &str, pattern: &str) -> u64 {
    let mut named = Vec::with_capacity(service.len() + severity.len() + pattern.len() + 2);
    for (i, name) in [service, severity, pattern].into_iter().enumerate() {
        if i > 0 {
            named.push(0);
        }
        // As the store writes it, which cannot hold the zero character.
        let name = if name.contains('\0') { Cow::Owned(name.replace('\0', "\u{fffd}")) } else { Cow::Borrowed(name) };
        named.extend_from_slice(&name.as_bytes()[..name.len().min(NAME_BYTES)]);
    }
    XxHash64::oneshot(u64::from(VERSION), &named)
}

/// A set of fingerprints.
#[derive(Clone, Debug, Default)]
pub struct KnownPatterns {
    /// Sorted.
    settled: Arc<Vec<u64>>,
    /// Sorted, and few beside the settled ones: adding copies these alone.
    recent: Arc<Vec<u64>>,
}

impl KnownPatterns {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.settled.len() + self.recent.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a fingerprint is one of them.
    pub fn contains(&self, fingerprint: u64) -> bool {
        let in_order = |sorted: &[u64]| sorted.binary_search(&fingerprint).is_ok();
        in_order(&self.settled) || in_order(&self.recent)
    }

    /// These and `more`, up to `most`: the first of `more` stay, and how many found no room is said.
    pub fn with(&self, more: impl IntoIterator<Item = u64>, most: usize) -> (KnownPatterns, usize) {
        let mut new: Vec<u64> = more.into_iter().filter(|fingerprint| !self.contains(*fingerprint)).collect();
        let left_out = new.len().saturating_sub(most.saturating_sub(self.len()));
        new.truncate(new.len() - left_out);
        if new.is_empty() {
            return (self.clone(), left_out);
        }
        new.extend_from_slice(&self.recent);
        new.sort_unstable();
        new.dedup();
        if new.len() <= FEW.max(self.settled.len() / 8) {
            return (KnownPatterns { settled: Arc::clone(&self.settled), recent: Arc::new(new) }, left_out);
        }
        new.extend_from_slice(&self.settled);
        new.sort_unstable();
        (KnownPatterns { settled: Arc::new(new), recent: Arc::default() }, left_out)
    }

    /// All of them, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.settled.iter().chain(self.recent.iter()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_service_severity_and_pattern_as_the_store_writes_them() {
        // The same in every process and release with these signatures: other numbers are another version.
        assert_eq!(VERSION, 2);
        let named = fingerprint("shop", "info", "3f9a0c51d2e4b687");
        assert_eq!(format!("{named:016x}"), "40fab344094a615b");
        for other in [
            fingerprint("shop", "warn", "3f9a0c51d2e4b687"),
            fingerprint("shop2", "info", "3f9a0c51d2e4b687"),
            fingerprint("shop", "info", "3f9a0c51d2e4b688"),
            fingerprint("shop", "info", ""),
            fingerprint("shopi", "nfo", "3f9a0c51d2e4b687"),
        ] {
            assert_ne!(other, named);
        }
        // What the store replaces and cuts counts as it stands there.
        assert_eq!(fingerprint("a\0b", "info", "p"), fingerprint("a\u{fffd}b", "info", "p"));
        let (long, cut) = ("é".repeat(300), "é".repeat(128));
        assert_eq!(fingerprint(&long, "info", "p"), fingerprint(&cut, "info", "p"));
    }

    #[test]
    fn a_set_has_what_it_was_given_once_and_no_more_than_it_may() {
        let mut known = KnownPatterns::default();
        let numbers: Vec<u64> = (0..20_000u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for page in numbers.chunks(700) {
            let before = known.clone();
            let (with, left_out) =
                known.with(page.iter().copied().chain(page.iter().copied()).take(page.len()), 20_000);
            assert_eq!((left_out, with.len()), (0, before.len() + page.len()));
            assert!(!before.contains(page[0]) && with.contains(page[0]), "a set never changes");
            (known, _) = with.with(page.iter().copied(), 20_000);
            assert_eq!(known.len(), with.len(), "once");
        }
        assert!(numbers.iter().all(|number| known.contains(*number)));
        assert!(!known.contains(1));
        let mut all: Vec<u64> = known.iter().collect();
        all.sort_unstable();
        let mut wanted = numbers;
        wanted.sort_unstable();
        assert_eq!(all, wanted);
        let (full, left_out) = known.with([1, 2, 3], 20_001);
        assert_eq!((full.len(), left_out, full.contains(1), full.contains(2)), (20_001, 2, true, false));
    }
}
