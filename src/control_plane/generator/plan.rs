//! From candidates, worth and limits to rates.
//!
//! Purpose: put what the gateway really does (floor, novelty, summaries, annotations, shared blocks) into the solver's
//! terms, and say what stands in the way when a limit cannot be met.
//! Promises: rates stay within their bounds; what a summary costs is never saved by dropping; rates are rounded down to
//! thresholds of few digits, as every kept record carries them and is billed for it.
//! Never: replays; what it expects is checked by one.

use serde::Serialize;

use super::candidates::{Candidate, Fixed};
use super::llm::Worth;
use super::solver::{self, Binding, Item, Limits};
use super::worth::LEAST_WORTH;

/// Bytes of a summary record beside its template, with blocks: as written by `sampler::summary`.
const SUMMARY_BYTES: f64 = 270.0;
/// Bytes that a threshold of three hex digits adds to a kept record.
const ANNOTATION_BYTES: f64 = 29.0;
/// Rounds of taking out patterns whose summaries cost more than dropping saves.
const MAX_ROUNDS: usize = 8;

/// How the gateway treats every pattern, and how far a cycle may go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Terms {
    /// Records kept of each pattern in every window.
    pub floor_records: f64,
    /// Records kept of a new pattern.
    pub novelty_records: f64,
    /// Whether dropped records leave summaries.
    pub summaries: bool,
    /// Lowest rate.
    pub least_rate: f64,
    /// A rate may fall to this share of the one before in a cycle; 0 for no bound.
    pub most_step: f64,
}

/// What a rule decides on, as the solver and people see it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Share {
    /// Rate beyond floor and novelty.
    pub rate: f64,
    /// Records that the rate decides on; floor and novelty keep the others.
    pub sampled: f64,
    /// Bytes a record, its share of blocks included.
    pub record_bytes: f64,
    /// Expected bytes sent.
    pub sent: f64,
    /// Expected bytes of summaries.
    pub summaries: f64,
}

/// What is sent whatever the rates, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    /// Protected severities.
    pub protected: f64,
    /// What human policies keep.
    pub human: f64,
    /// Patterns beyond the bounds.
    pub beyond_bounds: f64,
    /// The first records of patterns, and those of every window.
    pub floor_and_novelty: f64,
    /// Summaries of what is dropped.
    pub summaries: f64,
    /// Lowest rates, the bound on change between two cycles included.
    pub least_rates: f64,
}

/// Rates and what they were made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One for each candidate.
    pub shares: Vec<Share>,
    /// What is sent whatever the rates.
    pub standing: Standing,
    /// Limits that bind, over what is fixed.
    pub binding: Vec<Binding>,
}

/// Bytes that may be sent: in all and by service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allowed {
    /// In all.
    pub total: Option<f64>,
    /// By the number of the service.
    pub by_service: Vec<Option<f64>>,
}

/// Bytes of shared blocks a record, by service.
pub type SharedBytes = Vec<f64>;

/// Solves for rates. `before` holds the rates of the policy before, 1 for patterns without a rule; empty without one.
pub fn plan(
    candidates: &[Candidate],
    fixed: &[Fixed],
    worths: &[Worth],
    before: &[f64],
    terms: &Terms,
    allowed: &Allowed,
    shared: &SharedBytes,
) -> Plan {
    let parts: Vec<Part> = candidates.iter().map(|candidate| Part::of(candidate, terms, shared)).collect();
    let mut whole = vec![false; candidates.len()];
    let mut standing = standing(fixed, shared);
    let base = by_service(fixed, shared);
    for round in 0..MAX_ROUNDS {
        let mut items = Vec::with_capacity(parts.len());
        let mut spent = base.clone();
        for (i, part) in parts.iter().enumerate() {
            items.push(part.item(candidates[i].service, &worths[i], before.get(i), terms, whole[i]));
            spent[candidates[i].service as usize] += part.floor + if whole[i] { 0.0 } else { part.summaries };
        }
        let left = |allowed: Option<f64>, spent: f64| allowed.map(|allowed| allowed - spent);
        let limits = Limits {
            total: left(allowed.total, spent.iter().sum()),
            by_group: spent
                .iter()
                .enumerate()
                .map(|(service, spent)| left(allowed.by_service.get(service).copied().flatten(), *spent))
                .collect(),
        };
        let found = solver::allocate(&items, &limits);
        let losing: Vec<usize> =
            (0..parts.len()).filter(|&i| !whole[i] && parts[i].saves(found.rates[i]) <= parts[i].summaries).collect();
        if losing.is_empty() || round + 1 == MAX_ROUNDS {
            for (i, part) in parts.iter().enumerate() {
                standing.floor_and_novelty += part.floor;
                standing.summaries += if whole[i] { 0.0 } else { part.summaries };
                standing.least_rates += items[i].cost * items[i].least;
            }
            let shares = std::iter::zip(&parts, &found.rates).zip(&items);
            let shares = shares.map(|((part, rate), item)| part.share(*rate, item.least)).collect();
            return Plan { shares, standing, binding: found.binding };
        }
        losing.into_iter().for_each(|i| whole[i] = true);
    }
    Plan { shares: vec![Share { rate: 1.0, ..Share::default() }; parts.len()], standing, binding: Vec::new() }
}

/// A candidate in bytes.
#[derive(Clone, Copy, Debug)]
struct Part {
    records: f64,
    sampled: f64,
    record_bytes: f64,
    floor: f64,
    summaries: f64,
}

impl Part {
    fn of(candidate: &Candidate, terms: &Terms, shared: &SharedBytes) -> Part {
        let records = candidate.free.records as f64;
        let of_block = shared.get(candidate.service as usize).copied().unwrap_or(0.0);
        let record_bytes = candidate.free.bytes as f64 / records.max(1.0) + of_block;
        let kept = terms.floor_records * candidate.windows as f64 + terms.novelty_records * candidate.bands as f64;
        // The first record of a pattern counts for its window too.
        let kept =
            (kept - (terms.floor_records.min(terms.novelty_records)) * candidate.bands as f64).clamp(0.0, records);
        let summary = SUMMARY_BYTES + candidate.template.len() as f64;
        Part {
            records,
            sampled: records - kept,
            record_bytes,
            floor: kept * record_bytes,
            summaries: if terms.summaries { candidate.intervals as f64 * summary } else { 0.0 },
        }
    }

    fn item(&self, group: u32, worth: &Worth, before: Option<&f64>, terms: &Terms, whole: bool) -> Item {
        let step = before.map_or(0.0, |before| before * terms.most_step);
        let least = if whole { 1.0 } else { terms.least_rate.max(step).min(1.0) };
        let worth = worth.score.max(LEAST_WORTH);
        Item {
            group,
            cost: self.sampled * (self.record_bytes + if whole { 0.0 } else { ANNOTATION_BYTES }),
            weight: worth * self.sampled / (self.records * self.records).max(1.0),
            least,
            most: 1.0,
        }
    }

    /// Bytes of records that are not sent at this rate.
    fn saves(&self, rate: f64) -> f64 {
        self.sampled * (self.record_bytes - rate * (self.record_bytes + ANNOTATION_BYTES))
    }

    fn share(&self, rate: f64, least: f64) -> Share {
        let rate = if self.sampled < 0.5 { 1.0 } else { rounded_down(rate).max(least.min(rate)) };
        let is_whole = rate >= 1.0;
        let annotated = self.record_bytes + if is_whole { 0.0 } else { ANNOTATION_BYTES };
        Share {
            rate,
            sampled: self.sampled,
            record_bytes: self.record_bytes,
            sent: self.floor + self.sampled * rate * annotated,
            summaries: if is_whole { 0.0 } else { self.summaries },
        }
    }
}

/// The next lower rate whose threshold has few hex digits: a multiple of 16^-d with at least 16 steps below the rate.
/// It is a number that a double and its percentage hold exactly.
pub fn rounded_down(rate: f64) -> f64 {
    if !(0.0..1.0).contains(&rate) {
        return rate.clamp(0.0, 1.0);
    }
    let mut step = 1.0 / 256.0;
    while step * 16.0 > rate && step > 1e-14 {
        step /= 16.0;
    }
    (rate / step).floor() * step
}

fn bytes_of(tally: crate::data_plane::ledger::Tally, shared: f64) -> f64 {
    tally.bytes as f64 + tally.records as f64 * shared
}

fn standing(fixed: &[Fixed], shared: &SharedBytes) -> Standing {
    let mut standing = Standing::default();
    for (service, fixed) in fixed.iter().enumerate() {
        let shared = shared.get(service).copied().unwrap_or(0.0);
        standing.protected += bytes_of(fixed.protected, shared);
        standing.human += bytes_of(fixed.decided, shared);
        standing.beyond_bounds += bytes_of(fixed.beyond, shared);
    }
    standing
}

fn by_service(fixed: &[Fixed], shared: &SharedBytes) -> Vec<f64> {
    let of = |(service, fixed): (usize, &Fixed)| {
        let shared = shared.get(service).copied().unwrap_or(0.0);
        bytes_of(fixed.protected, shared) + bytes_of(fixed.decided, shared) + bytes_of(fixed.beyond, shared)
    };
    fixed.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::policy::threshold_of;
    use crate::data_plane::sampler::ThresholdText;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rounded_rates_are_lower_close_and_short(rate in 1e-6..0.999_9f64) {
            let rounded = rounded_down(rate);
            prop_assert!(rounded <= rate && rounded >= rate * (1.0 - 1.0 / 16.0), "{rate} {rounded}");
            let digits = ThresholdText::new(threshold_of(100.0 * rounded));
            let most = if rate >= 1.0 / 16.0 { 2 } else if rate >= 1.0 / 256.0 { 3 } else { 7 };
            prop_assert!(digits.as_bytes().len() <= most, "{rate}: {}", String::from_utf8_lossy(digits.as_bytes()));
            // Percentages are written in decimal and read back without loss.
            prop_assert_eq!(format!("{}", 100.0 * rounded).parse::<f64>().map(|p| p / 100.0), Ok(rounded));
        }
    }
}
