//! The patterns of signatures seen lately.
//!
//! Purpose: resolve a signature once; then one lookup.
//! Promises: fixed size; an answer is never older than the catalogue it is asked for; evictions are counted.
//! Never: shares: one per worker, so that there is no lock.

use super::catalogue::{Catalogue, PatternId};
use crate::data_plane::signature::Signature;

/// Signatures remembered; a power of two.
const SLOTS: usize = 4096;

/// Direct-mapped: a signature has one place, and the last one to come holds it.
#[derive(Debug)]
pub struct PatternCache {
    version: u64,
    slots: Vec<(Signature, Option<PatternId>)>,
    /// Signatures that had to leave for another.
    pub evicted: u64,
}

impl Default for PatternCache {
    fn default() -> Self {
        PatternCache { version: 0, slots: vec![(Signature(0), None); SLOTS], evicted: 0 }
    }
}

impl PatternCache {
    /// Makes the cache answer for `catalogue`; call it before a batch.
    pub fn begin(&mut self, catalogue: &Catalogue) {
        if self.version != catalogue.version() {
            self.version = catalogue.version();
            self.slots.fill((Signature(0), None));
        }
    }

    /// The pattern of a signature, from the cache or else from `resolve`.
    #[inline]
    pub fn get(&mut self, signature: Signature, resolve: impl FnOnce() -> PatternId) -> PatternId {
        let slot = &mut self.slots[(signature.0 as usize) & (SLOTS - 1)];
        if let (known, Some(pattern)) = *slot
            && known == signature
        {
            return pattern;
        }
        let pattern = resolve();
        self.evicted += u64::from(slot.1.is_some());
        *slot = (signature, Some(pattern));
        pattern
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_resolved_once_a_catalogue() {
        let mut cache = PatternCache::default();
        let (first, second) = (Catalogue::default(), Catalogue::new(vec![super::super::Pattern::new("a <*>")]));
        let mut asked = 0;
        for catalogue in [&first, &first, &second, &second] {
            cache.begin(catalogue);
            cache.get(Signature(7), || {
                asked += 1;
                PatternId(asked)
            });
        }
        assert_eq!((asked, cache.evicted), (2, 0));
    }

    #[test]
    fn two_signatures_of_one_place_take_turns_and_are_counted() {
        let mut cache = PatternCache::default();
        let (a, b) = (Signature(1), Signature(1 + SLOTS as u64));
        for signature in [a, b, a] {
            assert_eq!(cache.get(signature, || PatternId::from(signature)), PatternId::from(signature));
        }
        assert_eq!(cache.evicted, 2);
    }
}
