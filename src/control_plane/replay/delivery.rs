//! What would go out: records kept, their weights, and summaries.
//!
//! Purpose: count from the very bytes that a destination would get, as someone who reads them there could.
//! Promises: a record's weight is 1 over the probability its threshold stands for; summaries are told apart from records
//! and taken at their word.
//! Never: looks at what came in.

use std::sync::Arc;

use ahash::HashMap;

use super::traces::Traces;
use super::walk::{Services, Walker};
use super::watch::Watch;
use crate::clock::UnixNanos;
use crate::data_plane::ledger::Tally;
use crate::data_plane::pattern::{Catalogue, PatternId};
use crate::data_plane::sampler::threshold::{parse_threshold, probability};
use crate::data_plane::view::{AnyValueRef, RecordRef, ViewError};
use crate::data_plane::window::PatternKey;

/// What would go out of one service, band and pattern.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivered {
    /// Records.
    pub kept: Tally,
    /// Of these records, those that a percentage let through: they carry a threshold.
    pub sampled: u64,
    /// Σ of the weights: an unbiased estimate of how many came in.
    pub weighted: f64,
    /// Estimated variance of that estimate: Σ (1−p)/p² over the records kept.
    pub variance: f64,
    /// Summary records.
    pub summaries: Tally,
    /// Records that summaries report as dropped.
    pub reported: u64,
    /// Of these, those dropped by a policy with `keep: none`, by policy id.
    pub ordered: Vec<(Box<str>, u64)>,
}

/// Everything that would go out.
#[derive(Debug, Default)]
pub struct Delivery {
    /// By service, band and pattern.
    pub cells: HashMap<PatternKey, Delivered>,
    /// Bytes of blocks beside the records, by service.
    pub shared_bytes: Vec<u64>,
    /// Length of all bodies.
    pub body_bytes: u64,
    /// Bodies.
    pub bodies: u64,
    walker: Walker,
}

impl Delivery {
    /// Nothing yet; patterns are found in `catalogue`.
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Delivery { walker: Walker::new(catalogue), ..Delivery::default() }
    }

    /// Takes a body that would go out.
    ///
    /// # Errors
    /// When it is not a valid request, which is a defect of the pipeline.
    pub fn add(
        &mut self,
        body: &[u8],
        services: &mut Services,
        traces: &mut Traces,
        mut watch: Option<(&mut Watch, UnixNanos)>,
    ) -> Result<(), ViewError> {
        self.walker.read(body)?;
        self.body_bytes += body.len() as u64;
        self.bodies += 1;
        let (cells, shared) = (&mut self.cells, &mut self.shared_bytes);
        self.walker.each(
            body,
            services,
            |seen| {
                if seen.record.span.is_summary {
                    let summary = Summary::of(seen.record);
                    let key = PatternKey { pattern: summary.pattern.unwrap_or_default(), ..seen.key };
                    if let Some((watch, now)) = &mut watch {
                        watch.summarised(key, summary.span, *now, summary.records);
                    }
                    cells.entry(key).or_default().summarised(seen.bytes, summary);
                    return;
                }
                traces.kept(seen.record.trace_id());
                let weight = cells.entry(seen.key).or_default().kept(seen.bytes, seen.record);
                if let Some((watch, now)) = &mut watch {
                    watch.kept(seen.key, seen.record.span.time_unix_nano, *now, weight);
                }
            },
            |service, bytes| {
                let service = service as usize;
                if shared.len() <= service {
                    shared.resize(service + 1, 0);
                }
                shared[service] += bytes;
            },
        );
        Ok(())
    }
}

impl Delivered {
    /// Takes a record; its weight.
    fn kept(&mut self, bytes: u64, record: RecordRef<'_>) -> f64 {
        self.kept.add(bytes);
        let threshold = match record.threshold() {
            Some(AnyValueRef::Str(digits)) => parse_threshold(digits).unwrap_or(0),
            _ => 0,
        };
        let p = probability(threshold);
        self.sampled += u64::from(threshold != 0);
        self.weighted += 1.0 / p;
        self.variance += (1.0 - p) / (p * p);
        1.0 / p
    }

    fn summarised(&mut self, bytes: u64, summary: Summary) {
        self.summaries.add(bytes);
        self.reported += summary.records;
        if let Some(policy) = summary.ordered_by {
            match self.ordered.iter_mut().find(|(id, _)| *id == policy) {
                Some((_, records)) => *records += summary.records,
                None => self.ordered.push((policy, summary.records)),
            }
        }
    }
}

/// What a summary record says.
#[derive(Debug, Default)]
struct Summary {
    records: u64,
    span: (UnixNanos, UnixNanos),
    pattern: Option<PatternId>,
    ordered_by: Option<Box<str>>,
}

impl Summary {
    fn of(record: RecordRef<'_>) -> Summary {
        let mut summary = Summary::default();
        let (mut policy, mut is_order, mut signature) = (None, false, None);
        let id = |digits: &[u8]| std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<PatternId>().ok());
        for attribute in record.attributes() {
            match (attribute.key, attribute.value()) {
                (b"lip.records", AnyValueRef::Int(records)) => summary.records = records.max(0) as u64,
                (b"lip.first", AnyValueRef::Int(at)) => summary.span.0 = at.max(0) as u64,
                (b"lip.last", AnyValueRef::Int(at)) => summary.span.1 = at.max(0) as u64,
                (b"lip.pattern", AnyValueRef::Str(digits)) => summary.pattern = id(digits),
                (b"lip.signature", AnyValueRef::Str(digits)) => signature = id(digits),
                (b"lip.policy", AnyValueRef::Str(id)) => policy = Some(String::from_utf8_lossy(id).into()),
                (b"lip.reason", AnyValueRef::Str(reason)) => is_order = reason == b"policy_none",
                _ => {}
            }
        }
        summary.pattern = summary.pattern.or(signature);
        summary.ordered_by = policy.filter(|_| is_order);
        summary
    }
}
