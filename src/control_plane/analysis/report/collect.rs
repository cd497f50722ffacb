//! Messages in, report out.
//!
//! Promises: one entry per signature and twelve bytes per timed message; both bounded.
//! Never: keeps a message, but for one example of each signature.

use std::collections::HashMap;

use super::timeline::{self, Sighting};
use super::{MAX_LISTED_SIGNATURES, PatternReport, Report, Severity};
use crate::clock::UnixNanos;
use crate::control_plane::analysis::mining::Miner;
use crate::data_plane::pattern::{Catalogue, PatternId};
use crate::data_plane::signature::Signature;
use crate::data_plane::window::Band;

/// Distinct signatures that are told apart.
const MAX_SIGNATURES: usize = 200_000;
/// Timed messages that make the series; later ones are counted without.
const MAX_TIMED: usize = 20_000_000;
/// Longest example, in bytes.
const MAX_EXAMPLE_BYTES: usize = 1_024;
/// Severity bands.
pub(super) const BANDS: [Band; 7] =
    [Band::Unset, Band::Trace, Band::Debug, Band::Info, Band::Warn, Band::Error, Band::Fatal];

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its signature.
    pub signature: Signature,
    /// Its template.
    pub template: &'a [u8],
    /// Its text.
    pub text: &'a [u8],
    /// Its severity.
    pub band: Band,
    /// Its time, if it says one.
    pub time: Option<UnixNanos>,
    /// Its length in bytes.
    pub bytes: u64,
}

/// One signature.
#[derive(Debug)]
struct Known {
    signature: Signature,
    template: String,
    example: String,
    messages: u64,
    bytes: u64,
    bands: [u64; BANDS.len()],
}

/// Collects messages.
#[derive(Debug, Default)]
pub struct Collector {
    known: Vec<Known>,
    by_signature: HashMap<Signature, u32, ahash::RandomState>,
    sightings: Vec<Sighting>,
    messages: u64,
    bytes: u64,
    beyond: u64,
}

impl Collector {
    /// Nothing collected.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one message.
    pub fn add(&mut self, message: &Message<'_>) {
        self.messages += 1;
        self.bytes += message.bytes;
        let known = match self.by_signature.get(&message.signature) {
            Some(known) => *known,
            None if self.known.len() >= MAX_SIGNATURES => {
                self.beyond += 1;
                return;
            }
            None => self.learn(message),
        };
        let entry = &mut self.known[known as usize];
        entry.messages += 1;
        entry.bytes += message.bytes;
        entry.bands[message.band as usize] += 1;
        if let Some(time) = message.time.filter(|_| self.sightings.len() < MAX_TIMED) {
            self.sightings.push(Sighting { time, known, band: message.band });
        }
    }

    fn learn(&mut self, message: &Message<'_>) -> u32 {
        let known = self.known.len() as u32;
        self.by_signature.insert(message.signature, known);
        let cut = &message.text[..message.text.len().min(MAX_EXAMPLE_BYTES)];
        self.known.push(Known {
            signature: message.signature,
            template: String::from_utf8_lossy(message.template).into_owned(),
            example: String::from_utf8_lossy(cut).into_owned(),
            messages: 0,
            bytes: 0,
            bands: [0; BANDS.len()],
        });
        known
    }

    /// Mines what was collected and looks at it over time.
    pub fn finish(mut self) -> Report {
        let mut miner = Miner::new(MAX_SIGNATURES);
        for known in &self.known {
            miner.insert(&known.template);
        }
        let (mut patterns, group_of) = self.group(&miner.mine());
        self.sightings.sort_unstable_by_key(|sighting| sighting.time);
        let timed = self.sightings.len() as u64;
        let mut severities = self.severities();
        let mut anomalies = Vec::new();
        let span = timeline::span_of(&self.sightings);
        if let Some(span) = &span {
            timeline::series(span, &self.sightings, &group_of, &mut patterns, &mut severities);
            anomalies = timeline::anomalies(span, &self.sightings, &group_of, &patterns);
        }
        severities.retain(|severity| severity.messages > 0);
        patterns.sort_by(|a, b| (b.messages, &a.id).cmp(&(a.messages, &b.id)));
        let signatures = self.known.len();
        let Collector { messages, bytes, beyond, .. } = self;
        let (costs, sample) = (None, None);
        Report { messages, bytes, costs, sample, timed, signatures, beyond, span, severities, patterns, anomalies }
    }

    /// Patterns without their series, and the pattern of each signature.
    fn group(&self, catalogue: &Catalogue) -> (Vec<PatternReport>, Vec<u32>) {
        let mut patterns: Vec<(PatternReport, [u64; BANDS.len()])> = Vec::new();
        let mut by_id: HashMap<PatternId, u32, ahash::RandomState> = HashMap::default();
        let mut group_of = Vec::with_capacity(self.known.len());
        for known in &self.known {
            let found = catalogue.find(&known.template);
            let id = found.map_or_else(|| PatternId::from(known.signature), |pattern| pattern.id);
            let index = *by_id.entry(id).or_insert_with(|| {
                let template = found.map_or_else(|| known.template.clone(), |pattern| pattern.template.to_string());
                let pattern = PatternReport {
                    id: id.to_string(),
                    template,
                    example: known.example.clone(),
                    messages: 0,
                    estimate: None,
                    bytes: 0,
                    month: None,
                    severity: "",
                    signatures: 0,
                    members: Vec::new(),
                    series: Vec::new(),
                };
                patterns.push((pattern, [0; BANDS.len()]));
                patterns.len() as u32 - 1
            });
            let (pattern, bands) = &mut patterns[index as usize];
            pattern.messages += known.messages;
            pattern.bytes += known.bytes;
            pattern.signatures += 1;
            if pattern.members.len() < MAX_LISTED_SIGNATURES {
                pattern.members.push(known.template.clone());
            }
            for (sum, messages) in bands.iter_mut().zip(known.bands) {
                *sum += messages;
            }
            group_of.push(index);
        }
        let named = patterns.into_iter().map(|(mut pattern, bands)| {
            let most = BANDS.into_iter().max_by_key(|band| bands[*band as usize]).unwrap_or_default();
            pattern.severity = most.as_str();
            pattern
        });
        (named.collect(), group_of)
    }

    fn severities(&self) -> Vec<Severity> {
        let severity = |band: Band| Severity {
            severity: band.as_str(),
            messages: self.known.iter().map(|known| known.bands[band as usize]).sum(),
            estimate: None,
            series: Vec::new(),
        };
        BANDS.into_iter().map(severity).collect()
    }
}
