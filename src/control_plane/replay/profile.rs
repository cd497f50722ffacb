//! What came in, by service, severity band and pattern.
//!
//! Purpose: the numbers that worth, costs and allocation start from.
//! Promises: counts are exact; patterns beyond the bound share one entry per service and band, which is visible; what
//! human policies or protections decide is told apart from what may be sampled.
//! Never: keeps records beyond one example a pattern.

use std::sync::Arc;

use ahash::HashMap;

use super::walk::{Seen, Services, Walker};
use super::watch::Watch;
use crate::clock::UnixNanos;
use crate::data_plane::ledger::Tally;
use crate::data_plane::pattern::PatternId;
use crate::data_plane::policy::{Candidates, CompiledPolicy, Form, Matches};
use crate::data_plane::sampler::threshold::{RANDOMNESS_RANGE, probability};
use crate::data_plane::signature::{Signature, Signer};
use crate::data_plane::view::{ResourceRef, ScopeRef};
use crate::data_plane::window::PatternKey;

/// The id that stands for all patterns beyond the bound.
pub const OVERFLOW: PatternId = PatternId(0);

/// Attribute keys kept with a pattern, and the longest, in bytes.
const MAX_KEYS: usize = 8;
const MAX_KEY_BYTES: usize = 64;

/// What came in of one service, band and pattern.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellProfile {
    /// Masked template.
    pub template: Box<str>,
    /// One body.
    pub example: Box<str>,
    /// Keys of the attributes of the first record, a few of them.
    pub keys: Vec<Box<str>>,
    /// The signature of the first record.
    pub signature: Signature,
    /// Everything.
    pub seen: Tally,
    /// The part that a human policy decides on, whatever the sampler does.
    pub decided: Tally,
    /// The part of `decided` that is kept, in records; percentages count by their share.
    pub decided_kept: f64,
    /// Windows with a record.
    pub windows: u64,
    /// Summary intervals with a record.
    pub intervals: u64,
    /// Σ n·(n−1) over the windows' record counts n: tells bursts from chance.
    pub pairs: f64,
    /// Time of the first record.
    pub first: UnixNanos,
    /// Time of the last record.
    pub last: UnixNanos,
    window: u64,
    in_window: u64,
    interval: u64,
}

/// What came in of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceProfile {
    /// Its name.
    pub name: Arc<str>,
    /// Its records.
    pub seen: Tally,
    /// Bytes of its blocks beside the records, as they came in.
    pub shared_bytes: u64,
}

/// What was read of a longer time, when the traffic has gaps in which nothing was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coverage {
    /// Time that was read, in seconds.
    pub read_seconds: f64,
    /// The whole of it, in seconds.
    pub span_seconds: f64,
    /// Share of all its records that were read, 0 to 1.
    pub share: f64,
}

/// Everything that came in.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// By service, band and pattern.
    pub cells: HashMap<PatternKey, CellProfile>,
    /// By the number in the keys.
    pub services: Vec<ServiceProfile>,
    /// Length of all requests.
    pub request_bytes: u64,
    /// Time of the first record.
    pub first: UnixNanos,
    /// Time of the last record.
    pub last: UnixNanos,
    /// Length of a window in nanoseconds.
    pub window_ns: u64,
    /// Records of patterns beyond the bound.
    pub overflow_records: u64,
    /// Set when it has gaps in which nothing was read.
    pub coverage: Option<Coverage>,
}

impl Profile {
    /// All records.
    pub fn seen(&self) -> Tally {
        self.services.iter().fold(Tally::default(), |sum, service| Tally {
            records: sum.records + service.seen.records,
            bytes: sum.bytes + service.seen.bytes,
        })
    }

    /// From the first record to the last in seconds, at least one window. Of traffic with gaps, how long so much of it takes to
    /// come in: where volume changes with the time of day, that tells days and months better than the time that was read.
    pub fn seconds(&self) -> f64 {
        let seconds =
            self.coverage.map_or_else(|| self.span_seconds(), |coverage| coverage.span_seconds * coverage.share);
        seconds.max(self.window_ns.max(1) as f64 / 1e9)
    }

    /// From the first record to the last in seconds, gaps included.
    pub fn span_seconds(&self) -> f64 {
        self.last.saturating_sub(self.first) as f64 / 1e9
    }

    /// Windows between the first record and the last that were read.
    pub fn windows(&self) -> f64 {
        let window = self.window_ns.max(1);
        let all = (self.last / window).saturating_sub(self.first / window) as f64 + 1.0;
        self.coverage.map_or(all, |coverage| (coverage.read_seconds * 1e9 / window as f64).clamp(1.0, all))
    }

    /// Bytes of shared blocks that a record of this service carries on average.
    pub fn shared_per_record(&self, service: u32) -> f64 {
        self.services
            .get(service as usize)
            .map_or(0.0, |service| service.shared_bytes as f64 / service.seen.records.max(1) as f64)
    }
}

/// Lengths of the periods in which a pattern costs something anew, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Periods {
    window: u64,
    interval: u64,
}

/// Takes requests into a [`Profile`].
#[derive(Debug)]
pub struct Profiler {
    profile: Profile,
    most_cells: usize,
    periods: Periods,
    tallies: Vec<(Tally, u64)>,
    signer: Signer,
    matching: Matching,
}

impl Profiler {
    /// A profile with windows and summary intervals of these lengths in nanoseconds, of at most `most_cells` patterns.
    /// `human` holds the policies whose decisions are not the sampler's to change.
    pub fn new(window_ns: u64, interval_ns: u64, most_cells: usize, human: CompiledPolicy) -> Self {
        let periods = Periods { window: window_ns.max(1), interval: interval_ns.max(1) };
        Profiler {
            profile: Profile { window_ns: periods.window, ..Profile::default() },
            most_cells,
            periods,
            tallies: Vec::new(),
            signer: Signer::default(),
            matching: Matching {
                policy: human,
                candidates: Candidates::default(),
                matches: Matches::default(),
                scope: u32::MAX,
            },
        }
    }

    /// Takes the request that `walker` read last; it arrived at `now`.
    pub fn add(
        &mut self,
        walker: &Walker,
        body: &[u8],
        services: &mut Services,
        mut watch: Option<&mut Watch>,
        now: UnixNanos,
    ) {
        let Profiler { profile, most_cells, periods, tallies, signer, matching } = self;
        if profile.request_bytes == 0 {
            profile.first = now;
        }
        profile.request_bytes += body.len() as u64;
        profile.last = profile.last.max(now);
        matching.scope = u32::MAX;
        let (cells, overflow) = (&mut profile.cells, &mut profile.overflow_records);
        // Both callbacks book into the tallies of services, one after the other.
        let tallies = std::cell::RefCell::new(tallies);
        let on_record = |seen: Seen<'_>| {
            service(&mut tallies.borrow_mut(), seen.key.service).0.add(seen.bytes);
            if let Some(watch) = &mut watch {
                watch.seen(seen.key, seen.record.span.time_unix_nano, now);
            }
            let decided = matching.kept_share(walker, body, &seen, now);
            let mut key = seen.key;
            if cells.len() >= *most_cells && !cells.contains_key(&key) {
                *overflow += 1;
                key.pattern = OVERFLOW;
            }
            let cell = cells.entry(key).or_insert_with(|| CellProfile::new(walker, signer, &seen, now, *periods));
            cell.add(seen.bytes, now, *periods, decided);
        };
        walker.each(body, services, on_record, |number, bytes| service(&mut tallies.borrow_mut(), number).1 += bytes);
    }

    /// The profile; `services` are those its requests were read with.
    pub fn finish(mut self, services: &Services) -> Profile {
        self.profile.cells.values_mut().for_each(CellProfile::close_window);
        self.tallies.resize(services.len().max(self.tallies.len()), Default::default());
        let named = self.tallies.iter().enumerate();
        self.profile.services = named
            .map(|(number, (seen, shared))| ServiceProfile {
                name: services.name(number as u32),
                seen: *seen,
                shared_bytes: *shared,
            })
            .collect();
        self.profile
    }
}

fn cut(key: &[u8]) -> &[u8] {
    &key[..key.len().min(MAX_KEY_BYTES)]
}

fn service(tallies: &mut Vec<(Tally, u64)>, number: u32) -> &mut (Tally, u64) {
    let number = number as usize;
    if tallies.len() <= number {
        tallies.resize(number + 1, Default::default());
    }
    &mut tallies[number]
}

impl CellProfile {
    fn new(walker: &Walker, signer: &mut Signer, seen: &Seen<'_>, now: UnixNanos, periods: Periods) -> Self {
        let (template, example) = walker.texts(signer, seen.record);
        let keys = seen.record.attributes().take(MAX_KEYS);
        CellProfile {
            template,
            example,
            keys: keys.map(|attribute| String::from_utf8_lossy(cut(attribute.key)).into()).collect(),
            signature: seen.signature,
            windows: 1,
            intervals: 1,
            first: now,
            window: now / periods.window,
            interval: now / periods.interval,
            ..CellProfile::default()
        }
    }

    fn add(&mut self, bytes: u64, now: UnixNanos, periods: Periods, decided: Option<f64>) {
        self.seen.add(bytes);
        if let Some(kept) = decided {
            self.decided.add(bytes);
            self.decided_kept += kept;
        }
        self.last = self.last.max(now);
        let (window, interval) = (now / periods.window, now / periods.interval);
        if window > self.window {
            self.close_window();
            self.window = window;
            self.windows += 1;
        }
        if interval > self.interval {
            self.interval = interval;
            self.intervals += 1;
        }
        self.in_window += 1;
    }

    fn close_window(&mut self) {
        let n = self.in_window as f64;
        self.pairs += n * (n - 1.0).max(0.0);
        self.in_window = 0;
    }
}

/// Human policies, applied to know what is not ours to decide.
#[derive(Debug)]
struct Matching {
    policy: CompiledPolicy,
    candidates: Candidates,
    matches: Matches,
    scope: u32,
}

impl Matching {
    /// The share that human policies keep of records like this one; `None` when they leave it to the sampler.
    fn kept_share(&mut self, walker: &Walker, body: &[u8], seen: &Seen<'_>, now: UnixNanos) -> Option<f64> {
        if self.policy.is_empty() {
            return None;
        }
        let (resource, scope): (ResourceRef<'_>, ScopeRef<'_>) =
            (walker.index.resource_of(body, seen.record.span), walker.index.scope_of(body, seen.record.span));
        if self.scope != seen.record.span.scope_index {
            self.scope = seen.record.span.scope_index;
            self.policy.block(resource, scope, now, &mut self.candidates);
        }
        let (record, grouping) = (seen.record, seen.grouping());
        self.policy.matches(&self.candidates, record, resource, scope, grouping, &mut self.matches);
        let randomness = RANDOMNESS_RANGE - 1;
        let resolution = self.policy.resolve(&self.matches, record, resource, scope, randomness, now);
        match resolution.form {
            Form::Unmatched => None,
            Form::All => Some(1.0),
            Form::None => Some(0.0),
            Form::Percentage => Some(probability(resolution.threshold)),
            Form::RateLimit => Some(if resolution.keep { 1.0 } else { 0.0 }),
        }
    }
}
