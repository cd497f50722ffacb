//! What a service wrote in a frame, by pattern and by severity.
//!
//! Promises: sums only; a pattern beyond the windows' bound counts for its service.
//! Never: judges.

use std::collections::HashMap;

use crate::control_plane::analysis::frequency::Pattern;
use crate::data_plane::window::Band;

/// Severities whose share is watched together.
pub(super) struct Class {
    /// For people.
    pub name: &'static str,
    holds: fn(Band) -> bool,
}

/// The classes.
pub(super) const CLASSES: [Class; 3] = [
    Class { name: "trace, debug", holds: |band| matches!(band, Band::Trace | Band::Debug) },
    Class { name: "warn", holds: |band| band == Band::Warn },
    Class { name: "error, fatal", holds: |band| band >= Band::Error },
];

/// What a service wrote in a frame.
#[derive(Debug, Default)]
pub struct Counts<'a> {
    /// Records by pattern.
    pub patterns: HashMap<Pattern, PatternCount<'a>, ahash::RandomState>,
    /// Records of patterns beyond the windows' bound.
    pub others: PatternCount<'a>,
}

/// One pattern's part.
#[derive(Clone, Copy, Debug, Default)]
pub struct PatternCount<'a> {
    /// Records.
    pub records: f64,
    /// Those by class of severity.
    pub classes: [f64; CLASSES.len()],
    /// Template.
    pub template: &'a str,
    /// Whether some are ERROR or above.
    pub severe: bool,
}

impl<'a> Counts<'a> {
    /// Adds records of a band; `pattern` is `None` beyond the windows' bound.
    pub fn add(&mut self, band: Band, pattern: Option<Pattern>, template: &'a str, records: u64) {
        let count = match pattern {
            Some(pattern) => self.patterns.entry(pattern).or_default(),
            None => &mut self.others,
        };
        let records = records as f64;
        (count.template, count.records) = (template, count.records + records);
        count.severe |= band >= Band::Error && records > 0.0;
        for (class, Class { holds, .. }) in CLASSES.iter().enumerate() {
            count.classes[class] += if holds(band) { records } else { 0.0 };
        }
    }
}

/// A service's records without what single patterns have too many of: what they tell, they tell by themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mix {
    /// Records.
    pub total: f64,
    /// Those by class of severity.
    pub classes: [f64; CLASSES.len()],
}

impl Mix {
    /// Adds a pattern's part, cut to `most` records.
    pub fn add(&mut self, count: &PatternCount<'_>, most: f64) {
        let part = if count.records > most { most / count.records } else { 1.0 };
        self.total += count.records * part;
        for (sum, class) in self.classes.iter_mut().zip(count.classes) {
            *sum += class * part;
        }
    }
}
