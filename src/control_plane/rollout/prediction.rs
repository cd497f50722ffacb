//! What a version is expected to do.
//!
//! Purpose: the review's replay as intervals that real traffic is held against.
//! Promises: chance is allowed for, so that few records do not look like a failure.
//! Never: predicts; the replay did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::control_plane::replay::Report;

/// Least half width of an interval, as a share of the bytes: replays end in whole windows and bill shared blocks.
const LEAST_WIDTH: f64 = 0.02;
/// Standard deviations of chance that are allowed beside an interval.
const CHANCE: f64 = 4.0;

/// A share of bytes, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// At least.
    pub low: f64,
    /// At most.
    pub high: f64,
}

impl Interval {
    /// A quarter (by `tolerance` 0.25) around `share`.
    pub fn around(share: f64, tolerance: f64) -> Self {
        let width = (share * tolerance).max(LEAST_WIDTH);
        Interval { low: (share - width).max(0.0), high: (share + width).min(1.0) }
    }

    /// Whether `share`, seen in so many records, is in it, chance allowed for: a count of `n` records of which a share `p`
    /// is kept has the standard deviation √(p·(1−p)/n).
    pub fn allows(&self, share: f64, records: u64) -> bool {
        let chance = |p: f64| CHANCE * (p * (1.0 - p) / records.max(1) as f64).max(0.0).sqrt();
        share >= self.low - chance(self.low) && share <= self.high + chance(self.high)
    }

    /// Whether it is one.
    pub fn is_sound(&self) -> bool {
        (0.0..=1.0).contains(&self.low) && (0.0..=1.0).contains(&self.high) && self.low <= self.high
    }
}

/// What is expected of a version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prediction {
    /// Share of the bytes that is kept; without one, kept bytes are not judged.
    pub kept: Option<Interval>,
    /// The same by service.
    pub services: BTreeMap<String, Interval>,
    /// Share of the records of anomalous patterns that is kept at least; without one, nine tenths of what the version in
    /// force keeps of them meanwhile.
    pub anomalous_kept: Option<f64>,
}

impl Prediction {
    /// That of a replay. `tolerance` is how far it may be off, as a part of it.
    pub fn of(report: &Report, tolerance: f64) -> Self {
        let share = |totals: &crate::control_plane::replay::Totals| {
            (totals.received.bytes > 0.0).then(|| totals.kept.bytes / totals.received.bytes)
        };
        let services = report.services.iter().filter_map(|(service, totals)| {
            let share = share(totals)?;
            Some((service.clone(), Interval::around(share, tolerance)))
        });
        Prediction {
            kept: share(&report.total).map(|share| Interval::around(share, tolerance)),
            services: services.collect(),
            anomalous_kept: None,
        }
    }

    /// Whether it can be held against anything.
    pub fn is_sound(&self) -> bool {
        self.kept.iter().chain(self.services.values()).all(Interval::is_sound)
            && self.anomalous_kept.is_none_or(|share| (0.0..=1.0).contains(&share))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_allow_for_chance_and_no_more() {
        let tenth = Interval::around(0.1, 0.25);
        assert_eq!((tenth.low, tenth.high), (0.075, 0.125));
        for (share, records, allowed) in [
            (0.1, 1000, true),
            (0.2, 1000, false),
            (0.15, 1000, true),
            (0.15, 100_000, false),
            (0.05, 100_000, false),
            (0.5, 10, true),
            (0.05, 1000, true),
        ] {
            assert_eq!(tenth.allows(share, records), allowed, "{share} in {records}");
        }
        assert_eq!(Interval::around(0.0, 0.25), Interval { low: 0.0, high: 0.02 });
        assert!(Interval::around(1.0, 0.25).allows(1.0, u64::MAX) && !Interval::around(1.0, 0.1).allows(0.8, 1 << 30));
        for (low, high) in [(0.2, 0.1), (-0.1, 0.5), (0.5, 1.1), (f64::NAN, 1.0)] {
            assert!(!Interval { low, high }.is_sound());
        }
    }
}
