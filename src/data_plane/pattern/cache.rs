//! The patterns of signatures seen lately.
//!
//! Purpose: resolve a signature once; then one lookup.
//! Promises: fixed size; an answer is never older than the catalogue it is asked for; evictions are counted.
//! Never: shares: one per worker, so that there is no lock.

use super::catalogue::{Catalogue, PatternId};
use crate::data_plane::signature::Signature;

/// Signatures remembered; a power of two.
const SLOTS: usize = 16_384;

/// Direct-mapped: a signature has one place, and the last one to come holds it.
#[derive(Debug)]
pub struct PatternCache {
    version: u64,
    slots: Vec<(Signature, Option<PatternId>)>,
    evicted: u64,
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

    /// The pattern of a signature, if it is known.
    #[inline]
    pub fn get(&self, signature: Signature) -> Option<PatternId> {
        match self.slots[(signature.0 as usize) & (SLOTS - 1)] {
            (known, pattern) if known == signature => pattern,
            _ => None,
        }
    }

    /// Signatures that had to leave for another since this was asked last.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// Remembers the pattern of a signature.
    pub fn put(&mut self, signature: Signature, pattern: PatternId) {
        let slot = &mut self.slots[(signature.0 as usize) & (SLOTS - 1)];
        self.evicted += u64::from(slot.1.is_some() && slot.0 != signature);
        *slot = (signature, Some(pattern));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_resolved_once_a_catalogue() {
        let mut cache = PatternCache::default();
        let (first, second) = (Catalogue::default(), Catalogue::new(vec![super::super::Pattern::new("a <*>")]));
        for (catalogue, known) in [(&first, None), (&first, Some(1)), (&second, None), (&second, Some(1))] {
            cache.begin(catalogue);
            assert_eq!(cache.get(Signature(7)), known.map(PatternId));
            cache.put(Signature(7), PatternId(known.unwrap_or_default() + 1));
        }
        assert_eq!(cache.evicted, 0);
    }

    #[test]
    fn two_signatures_of_one_place_take_turns_and_are_counted() {
        let mut cache = PatternCache::default();
        let (a, b) = (Signature(1), Signature(1 + SLOTS as u64));
        for signature in [a, b, a] {
            assert_eq!(cache.get(signature), None);
            cache.put(signature, signature.into());
            assert_eq!(cache.get(signature), Some(signature.into()));
        }
        assert_eq!(cache.evicted, 2);
    }
}
