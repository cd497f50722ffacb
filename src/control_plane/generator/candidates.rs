//! What may be sampled: the patterns of a profile, with what stands fixed apart.
//!
//! Purpose: join cells into what one rule decides on: a pattern of a service.
//! Promises: every byte of the profile is in exactly one of: protected, decided by people, beyond the bounds, or a
//! candidate; candidates are in a fixed order.
//! Never: weighs or decides.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::worth::Evidence;
use crate::clock::UnixNanos;
use crate::control_plane::replay::{OVERFLOW, Profile};
use crate::data_plane::ledger::Tally;
use crate::data_plane::pattern::PatternId;
use crate::data_plane::window::Band;

/// One pattern of one service: what one rule decides on.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Number of the service in the profile.
    pub service: u32,
    /// Its name.
    pub service_name: Arc<str>,
    /// The pattern.
    pub pattern: PatternId,
    /// Its template.
    pub template: String,
    /// One body.
    pub example: String,
    /// Keys of the attributes of one record.
    pub keys: Vec<Box<str>>,
    /// Records that may be sampled.
    pub free: Tally,
    /// (window, severity band) pairs with such a record: what a floor keeps at least.
    pub windows: u64,
    /// (summary interval, severity band) pairs with such a record: summaries at most.
    pub intervals: u64,
    /// Severity bands with such records: each is new once.
    pub bands: u64,
    /// What worth is made of.
    pub evidence: Evidence,
    /// Time of the first record.
    pub first: UnixNanos,
    /// Time of the last record.
    pub last: UnixNanos,
}

/// What a policy cannot change, in record bytes without blocks, by service.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Fixed {
    /// Records of protected severities.
    pub protected: Tally,
    /// Records that human policies keep.
    pub decided: Tally,
    /// Records of patterns beyond the bounds.
    pub beyond: Tally,
}

/// The candidates of a profile and what is fixed beside them, by service.
pub fn candidates(profile: &Profile, protect_from: Option<Band>) -> (Vec<Candidate>, Vec<Fixed>) {
    let mut fixed = vec![Fixed::default(); profile.services.len()];
    let mut found: BTreeMap<(u32, PatternId), Candidate> = BTreeMap::new();
    let mut cells: Vec<_> = profile.cells.iter().collect();
    cells.sort_unstable_by_key(|(key, _)| (key.service, key.pattern, key.band));
    for (key, cell) in cells {
        let Some(of_service) = fixed.get_mut(key.service as usize) else { continue };
        if protect_from.is_some_and(|from| key.band >= from) {
            add(&mut of_service.protected, cell.seen);
            continue;
        }
        if key.pattern == OVERFLOW {
            add(&mut of_service.beyond, cell.seen);
            continue;
        }
        let kept = cell.decided_kept / cell.decided.records.max(1) as f64;
        of_service.decided.records += cell.decided_kept as u64;
        of_service.decided.bytes += (cell.decided.bytes as f64 * kept) as u64;
        let free =
            Tally { records: cell.seen.records - cell.decided.records, bytes: cell.seen.bytes - cell.decided.bytes };
        if free.records == 0 {
            continue;
        }
        let service = &profile.services[key.service as usize];
        let candidate = found.entry((key.service, key.pattern)).or_insert_with(|| Candidate {
            service: key.service,
            service_name: Arc::clone(&service.name),
            pattern: key.pattern,
            template: cell.template.to_string(),
            example: cell.example.to_string(),
            keys: cell.keys.clone(),
            free: Tally::default(),
            windows: 0,
            intervals: 0,
            bands: 0,
            evidence: Evidence { windows: profile.windows(), ..Evidence::default() },
            first: cell.first,
            last: cell.last,
        });
        add(&mut candidate.free, free);
        candidate.windows += cell.windows;
        candidate.intervals += cell.intervals;
        candidate.bands += 1;
        candidate.first = candidate.first.min(cell.first);
        candidate.last = candidate.last.max(cell.last);
        let evidence = &mut candidate.evidence;
        evidence.band = evidence.band.max(key.band);
        evidence.pairs += cell.pairs;
        evidence.records += cell.seen.records;
        evidence.share = evidence.records as f64 / service.seen.records.max(1) as f64;
    }
    (found.into_values().collect(), fixed)
}

fn add(to: &mut Tally, tally: Tally) {
    to.records += tally.records;
    to.bytes += tally.bytes;
}
