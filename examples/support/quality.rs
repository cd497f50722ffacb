//! How good a sampling of the labelled workload is, for LipService and for what others do.
//!
//! Purpose: the figures of docs/evaluation.md, from the truth that records carry.
//! Promises: every method sees the same records; each is brought to the same bytes as far as it can be.
//! Never: tells a method what a label says.

use std::collections::HashMap;

use lipservice::data_plane::signature::{Signature, Signer, text};
use lipservice::data_plane::view::{AnyValueRef, LogIndex, RecordRef};

use super::workload::{INCIDENT_KEY, PATTERN_KEY, START_NS};

/// Seconds in which every pattern should leave a record.
const PERIOD_SECONDS: u32 = 600;

/// One record, without its text.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Second of the workload.
    pub second: u32,
    /// True pattern.
    pub pattern: u16,
    /// OTLP severity number.
    pub severity: u8,
    /// Whether it belongs to an incident.
    pub is_incident: bool,
    /// Bytes of the record.
    pub bytes: u32,
    /// What a sampler may use: the signature.
    pub signature: Signature,
    /// Hash of the whole text, for exact duplicates.
    pub text_hash: u64,
}

impl Label {
    /// Reads a record's labels.
    pub fn of(record: RecordRef<'_>, signer: &mut Signer) -> Label {
        let int = |key: &str| match record.attributes().get(key.as_bytes()) {
            Some(AnyValueRef::Int(number)) => number,
            _ => 0,
        };
        let mut scratch = Vec::new();
        let text_hash = hash(text::of_record(record, &mut scratch));
        Label {
            second: (record.span.time_unix_nano.saturating_sub(START_NS) / 1_000_000_000) as u32,
            pattern: int(PATTERN_KEY) as u16,
            severity: record.span.severity_number,
            is_incident: int(INCIDENT_KEY) == 1,
            bytes: record.span.field.len() as u32,
            signature: signer.sign(record),
            text_hash,
        }
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The labels of a request's records.
pub fn labels(body: &[u8], index: &mut LogIndex, signer: &mut Signer, out: &mut Vec<Label>) {
    if index.read(body).is_ok() {
        out.extend((0..index.records.len()).map(|i| Label::of(index.record(body, i), signer)));
    }
}

/// What a method kept.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    seen: HashMap<u16, u64>,
    weighted: HashMap<u16, f64>,
    periods: HashMap<(u16, u32), (u64, u64)>,
    /// Counts of patterns by what the method reports beside records; by weights when it reports nothing.
    pub counted: HashMap<u16, f64>,
    errors: (u64, u64),
    incidents: (u64, u64),
    bytes: (u64, u64),
    /// Share of billed bytes, where it was measured.
    pub billed_share: Option<f64>,
}

/// The figures.
#[derive(Clone, Debug)]
pub struct Quality {
    /// Share of bytes sent.
    pub bytes: f64,
    /// Share of (pattern, ten minutes) with a record of which one is kept.
    pub patterns: f64,
    /// Share of ERROR and FATAL records kept.
    pub errors: f64,
    /// Share of incident records kept.
    pub incidents: f64,
    /// Median and 95th percentile of the relative error of patterns' counts, from weights alone.
    pub weights: (f64, f64),
    /// The same with what the method reports beside records.
    pub counts: (f64, f64),
}

impl Kept {
    /// Notes a record that came in.
    pub fn seen(&mut self, label: &Label) {
        *self.seen.entry(label.pattern).or_default() += 1;
        self.periods.entry((label.pattern, label.second / PERIOD_SECONDS)).or_default().0 += 1;
        self.errors.0 += u64::from(label.severity >= 17);
        self.incidents.0 += u64::from(label.is_incident);
        self.bytes.0 += u64::from(label.bytes);
    }

    /// Notes a record that goes out with a weight.
    pub fn kept(&mut self, label: &Label, weight: f64) {
        *self.weighted.entry(label.pattern).or_default() += weight;
        self.periods.entry((label.pattern, label.second / PERIOD_SECONDS)).or_default().1 += 1;
        self.errors.1 += u64::from(label.severity >= 17);
        self.incidents.1 += u64::from(label.is_incident);
        self.bytes.1 += u64::from(label.bytes);
    }

    /// Share of record bytes kept.
    pub fn share(&self) -> f64 {
        self.billed_share.unwrap_or(self.bytes.1 as f64 / self.bytes.0.max(1) as f64)
    }

    /// The figures.
    pub fn quality(&self) -> Quality {
        let share = |(seen, kept): (u64, u64)| if seen == 0 { 1.0 } else { kept as f64 / seen as f64 };
        let alive = self.periods.values().filter(|(seen, kept)| *seen > 0 && *kept > 0).count();
        let all = self.periods.values().filter(|(seen, _)| *seen > 0).count();
        let errors = |counts: &HashMap<u16, f64>| {
            let mut errors: Vec<f64> = self
                .seen
                .iter()
                .map(|(pattern, seen)| {
                    (counts.get(pattern).copied().unwrap_or(0.0) - *seen as f64).abs() / *seen as f64
                })
                .collect();
            errors.sort_by(f64::total_cmp);
            let at = |q: f64| errors.get(((errors.len() - 1) as f64 * q).round() as usize).copied().unwrap_or(0.0);
            (at(0.5), at(0.95))
        };
        let counted = if self.counted.is_empty() { &self.weighted } else { &self.counted };
        Quality {
            bytes: self.share(),
            patterns: alive as f64 / all.max(1) as f64,
            errors: share(self.errors),
            incidents: share(self.incidents),
            weights: errors(&self.weighted),
            counts: errors(counted),
        }
    }
}

/// Runs a method: the weight of each record that is kept.
pub fn run(labels: &[Label], mut keep: impl FnMut(&Label) -> Option<f64>) -> Kept {
    let mut kept = Kept::default();
    for label in labels {
        kept.seen(label);
        if let Some(weight) = keep(label) {
            kept.kept(label, weight);
        }
    }
    kept
}

/// Uniform random sampling.
pub fn uniform(labels: &[Label], share: f64, random: &mut impl FnMut() -> f64) -> Kept {
    run(labels, |_| (random() < share).then_some(1.0 / share))
}

/// WARN and above whole, the rest at one rate that gives `share` of the bytes.
pub fn by_severity(labels: &[Label], share: f64, random: &mut impl FnMut() -> f64) -> Kept {
    let bytes = |of: &dyn Fn(&Label) -> bool| {
        labels.iter().filter(|label| of(label)).map(|label| f64::from(label.bytes)).sum::<f64>()
    };
    let (severe, rest) = (bytes(&|label| label.severity >= 13), bytes(&|label| label.severity < 13));
    let rate = ((share * (severe + rest) - severe) / rest).clamp(0.001, 1.0);
    run(labels, |label| if label.severity >= 13 { Some(1.0) } else { (random() < rate).then_some(1.0 / rate) })
}

/// The first so many records of every signature in ten seconds, as many as give `share` of the bytes or just more.
pub fn throttled(labels: &[Label], share: f64) -> Kept {
    let attempt = |most: f64| {
        let mut windows: HashMap<Signature, (u32, f64)> = HashMap::new();
        run(labels, |label| {
            let (window, tokens) = windows.entry(label.signature).or_insert((label.second / 10, most));
            if *window != label.second / 10 {
                *tokens = (*tokens + most * f64::from(label.second / 10 - *window)).min(most.max(1.0));
                *window = label.second / 10;
            }
            *tokens -= 1.0;
            if *tokens <= -1.0 {
                *tokens += 1.0;
                return None;
            }
            Some(1.0)
        })
    };
    let (mut low, mut high) = (0.01, 200.0);
    for _ in 0..14 {
        let middle = f64::sqrt(low * high);
        if attempt(middle).share() > share { high = middle } else { low = middle }
    }
    attempt(high)
}

/// One record of equal ones in a minute; the count of the others is reported with it.
pub fn deduplicated(labels: &[Label]) -> Kept {
    let mut known: HashMap<(u16, u64), u32> = HashMap::new();
    let mut kept = run(labels, |label| {
        let minute = label.second / 60;
        let last = known.insert((label.pattern, label.text_hash), minute);
        (last != Some(minute)).then_some(1.0)
    });
    kept.counted = kept.seen.iter().map(|(pattern, seen)| (*pattern, *seen as f64)).collect();
    kept
}
