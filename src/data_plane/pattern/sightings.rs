//! Templates that were seen and wait to be mined.
//!
//! Purpose: carry templates from the hot path to the miner.
//! Promises: holds at most `most` templates; what finds no room is counted, and comes again when its signature is next
//! resolved; asked once a signature, not once a record.
//! Never: holds the text of a record that a policy rewrites; the pipeline does not hand it in.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ahash::HashMap;
use parking_lot::Mutex;

use crate::data_plane::signature::Signature;

/// The waiting room.
#[derive(Debug, Default)]
pub struct Sightings {
    most: AtomicUsize,
    waiting: Mutex<HashMap<Signature, Box<str>>>,
    turned_away: AtomicU64,
    evicted: AtomicU64,
}

impl Sightings {
    /// Changes how many may wait; 0 turns noting off.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Whether anything is noted.
    pub fn is_on(&self) -> bool {
        self.most.load(Ordering::Relaxed) > 0
    }

    /// Notes a template.
    pub fn note(&self, signature: Signature, template: &str) {
        let most = self.most.load(Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        if waiting.len() < most || waiting.contains_key(&signature) {
            waiting.insert(signature, template.into());
        } else if most > 0 {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes what waits.
    pub fn take(&self) -> Vec<(Signature, Box<str>)> {
        std::mem::take(&mut *self.waiting.lock()).into_iter().collect()
    }

    /// Templates that found no room so far.
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Counts signatures that left a [`super::PatternCache`] for others.
    pub fn count_evicted(&self, signatures: u64) {
        self.evicted.fetch_add(signatures, Ordering::Relaxed);
    }

    /// Signatures that left a cache so far and were, or will be, resolved again.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_may_come_again() {
        let sightings = Sightings::default();
        sightings.note(Signature(1), "off");
        assert_eq!((sightings.take().len(), sightings.turned_away(), sightings.is_on()), (0, 0, false));
        sightings.set_most(2);
        for signature in [1, 2, 3, 2] {
            sightings.note(Signature(signature), "t");
        }
        assert_eq!((sightings.take().len(), sightings.turned_away()), (2, 1));
        sightings.note(Signature(3), "t");
        assert_eq!(sightings.take(), [(Signature(3), "t".into())]);
    }
}
