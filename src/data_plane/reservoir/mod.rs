//! Recent records of every pattern, and how many each of them stands for.
//!
//! Purpose: what a candidate policy is replayed over: a few records of each (service, severity band, pattern), and the
//! pattern's exact counts in every window of the span, so that a replay's totals are those of the traffic.
//! Promises: bounded in bytes; a rare pattern has its records as a frequent one has; counts are exact for the patterns
//! held, those of other processes added; a record that a policy rewrites is held as rewritten; a thread that finds it busy
//! goes on without it.
//! Never: is asked about a record that its pattern does not offer ([`crate::data_plane::window::Cell::offer`]); writes to
//! a disk.

pub mod config;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::HashMap;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::UnixNanos;
use crate::data_plane::pattern::PatternId;
use crate::data_plane::window::{Band, PatternRow, Service, Snapshot};
use crate::telemetry::{MetricSink, MetricSource};
use config::ReservoirConfig;

/// Memory of an entry beside its bytes, about.
const ENTRY_BYTES: usize = 64;
/// Memory of one window's count.
const COUNT_BYTES: usize = 24;
/// Patterns beside their records, about.
const STRATUM_BYTES: usize = 256;
/// The longest record that is taken, as a share of the whole: one in so many.
const MOST_OF_ALL: usize = 64;

/// Whose records: service, severity band, pattern (`None` for those beyond the table's bound).
type Key = (Arc<Service>, Band, Option<PatternId>);

/// Records and bytes of one window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowCount {
    /// Index of the window.
    pub window: u64,
    /// Records.
    pub records: u64,
    /// Bytes: field tag, length and record.
    pub bytes: u64,
}

/// One pattern of one service and severity.
#[derive(Clone, Debug)]
pub struct Stratum {
    /// Service.
    pub service: Arc<str>,
    /// The client's token that its records came with: two of one name are two.
    pub token: Option<Arc<str>>,
    /// Severity band.
    pub band: Band,
    /// Pattern, as it was counted; `None` for patterns beyond the table's bound.
    pub pattern: Option<PatternId>,
    /// Arrival of the first record, also when that was before the span.
    pub first_seen: UnixNanos,
    /// Some of its records, each as a request of one record; the latest last.
    pub records: Vec<Bytes>,
    /// Records of it that were taken so far; `records` has the last of them.
    pub taken: u64,
    /// Its counts, oldest window first.
    pub windows: Vec<WindowCount>,
}

/// A copy of what is held.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Length of a window in nanoseconds.
    pub window_ns: u64,
    /// Patterns, in a fixed order.
    pub strata: Vec<Stratum>,
}

impl Sample {
    /// Records that it stands for.
    pub fn records(&self) -> u64 {
        self.strata.iter().flat_map(|stratum| &stratum.windows).map(|count| count.records).sum()
    }

    /// Windows from the first to the last with a record.
    pub fn windows(&self) -> u64 {
        let all = || self.strata.iter().flat_map(|stratum| &stratum.windows).map(|count| count.window);
        all().max().zip(all().min()).map_or(0, |(last, first)| last - first + 1)
    }
}

#[derive(Debug, Default)]
struct Held {
    records: VecDeque<Bytes>,
    taken: u64,
    windows: VecDeque<WindowCount>,
    first_seen: UnixNanos,
    /// Counts of the pattern when last looked at.
    records_before: u64,
    bytes_before: u64,
    /// Window at whose end the table had it last.
    looked_at: u64,
}

#[derive(Debug, Default)]
struct State {
    strata: HashMap<Key, Held>,
    bytes: usize,
    /// Records a pattern may keep, while memory is short.
    per_pattern: usize,
    /// Windows kept, while memory is short.
    windows: u64,
    /// Records that went for others, or for lack of memory.
    evicted: u64,
}

/// The reservoir.
#[derive(Debug)]
pub struct Reservoir {
    most_bytes: usize,
    most_records: usize,
    most_windows: u64,
    window_ns: u64,
    state: Mutex<State>,
    taken: AtomicU64,
    turned_away: AtomicU64,
}

/// What a pattern tells of itself when it offers a record.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Whose record.
    pub service: &'a Arc<Service>,
    /// Severity band.
    pub band: Band,
    /// Pattern.
    pub pattern: Option<PatternId>,
    /// Records of the pattern so far.
    pub seen: u64,
    /// Records of its last finished window.
    pub in_last_window: u64,
}

impl Reservoir {
    /// An empty reservoir over windows of this length.
    pub fn new(config: &ReservoirConfig, window_ns: u64) -> Self {
        let window_ns = window_ns.max(1);
        let most_windows = (config.span.0.as_nanos() as u64).div_ceil(window_ns).max(1);
        let most_records = usize::from(config.records_per_pattern).max(1);
        Reservoir {
            most_bytes: config.max_size.as_usize(),
            most_records,
            most_windows,
            window_ns,
            state: Mutex::new(State { per_pattern: most_records, windows: most_windows, ..State::default() }),
            taken: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
        }
    }

    /// Takes a record, a request of one record of `len` bytes made by `write`. Returns after how many further records
    /// the pattern shall offer one again. `random` is uniform over all numbers.
    pub fn take(&self, offer: Offer<'_>, len: usize, random: u64, write: impl FnOnce() -> Vec<u8>) -> u64 {
        // Busy with the counts of all patterns: the next record is as good.
        let Some(mut state) = self.state.try_lock() else { return 1 };
        let is_in = len <= self.most_bytes / MOST_OF_ALL && state.put(offer, len, self.most_bytes, write);
        let counter = if is_in { &self.taken } else { &self.turned_away };
        counter.fetch_add(1, Ordering::Relaxed);
        gap(offer, self.most_windows, state.per_pattern as u64, random)
    }

    /// Notes how many records came of each pattern since the last call; once a window.
    pub fn count(&self, snapshot: &Snapshot) {
        let window = (snapshot.at / self.window_ns).saturating_sub(1);
        let mut state = self.state.lock();
        for row in &snapshot.rows {
            state.count(row, window);
        }
        let oldest = (window + 1).saturating_sub(state.windows);
        state.forget(oldest, window);
        state.make_room(self, window);
    }

    /// Adds what another process holds: records, and counts of windows it has not told before. `window_ns` is the length of
    /// its windows. What lies before the span is left out; a clock that runs ahead is not believed.
    pub fn absorb(&self, strata: Vec<Stratum>, window_ns: u64, now: UnixNanos) {
        let newest = (now / self.window_ns).saturating_sub(1);
        let mut state = self.state.lock();
        let oldest = (newest + 1).saturating_sub(state.windows);
        for stratum in strata {
            // Counts go before records.
            if state.bytes + STRATUM_BYTES > self.most_bytes {
                state.make_room(self, 0);
            }
            let (taken, turned_away) = state.absorb(
                stratum,
                |window| {
                    let window = (window.saturating_mul(window_ns) / self.window_ns).min(newest);
                    (window >= oldest).then_some(window)
                },
                self.most_bytes,
            );
            self.taken.fetch_add(taken, Ordering::Relaxed);
            self.turned_away.fetch_add(turned_away, Ordering::Relaxed);
        }
        // Which patterns the table has is known at the end of a window: none is forgotten here.
        state.make_room(self, 0);
    }

    /// A copy of what is held; a pattern is in it if it had a record in the span.
    pub fn sample(&self) -> Sample {
        self.copy(|held| held.records.iter().cloned().collect())
    }

    /// A copy of the counts, without records.
    pub fn counts(&self) -> Sample {
        self.copy(|_| Vec::new())
    }

    fn copy(&self, records: impl Fn(&Held) -> Vec<Bytes>) -> Sample {
        let state = self.state.lock();
        let mut strata: Vec<Stratum> = state
            .strata
            .iter()
            .filter(|(_, held)| !held.windows.is_empty())
            .map(|((service, band, pattern), held)| Stratum {
                service: (&*service.name).into(),
                token: service.token.clone(),
                band: *band,
                pattern: *pattern,
                first_seen: held.first_seen,
                records: records(held),
                taken: held.taken,
                windows: held.windows.iter().copied().collect(),
            })
            .collect();
        drop(state);
        strata.sort_by(|a, b| (&a.service, a.band, a.pattern).cmp(&(&b.service, b.band, b.pattern)));
        Sample { window_ns: self.window_ns, strata }
    }
}

/// Records until the next one is taken: uniform around the number that spreads a pattern's places over the span.
fn gap(offer: Offer<'_>, windows: u64, places: u64, random: u64) -> u64 {
    let in_span = match offer.in_last_window {
        0 => offer.seen,
        records => records.saturating_mul(windows),
    };
    let mean = (in_span / places.max(1)).clamp(1, 1 << 40);
    1 + random % (2 * mean - 1)
}

impl Held {
    /// Adds a window's count where it belongs; the memory that took.
    fn add(&mut self, count: WindowCount) -> usize {
        let before = self.windows.iter().rposition(|own| own.window <= count.window);
        match before.and_then(|at| self.windows.get_mut(at)).filter(|own| own.window == count.window) {
            Some(own) => {
                own.records = own.records.saturating_add(count.records);
                own.bytes = own.bytes.saturating_add(count.bytes);
                0
            }
            None => {
                self.windows.insert(before.map_or(0, |at| at + 1), count);
                COUNT_BYTES
            }
        }
    }
}

impl State {
    fn put(&mut self, offer: Offer<'_>, len: usize, most_bytes: usize, write: impl FnOnce() -> Vec<u8>) -> bool {
        let needed = len + ENTRY_BYTES;
        let key = (Arc::clone(offer.service), offer.band, offer.pattern);
        let known = self.strata.contains_key(&key);
        let own = if known { 0 } else { STRATUM_BYTES };
        let most = self.per_pattern;
        if !known && self.bytes + needed + own > most_bytes {
            return false;
        }
        let held = self.strata.entry(key).or_default();
        let is_full = held.records.len() >= most || self.bytes + needed + own > most_bytes;
        let freed = match held.records.front().filter(|_| is_full) {
            Some(oldest) => oldest.len() + ENTRY_BYTES,
            None => 0,
        };
        if self.bytes + needed + own > most_bytes + freed {
            return false;
        }
        if freed > 0 {
            held.records.pop_front();
            self.evicted += 1;
        }
        let record = Bytes::from(write().into_boxed_slice());
        self.bytes = self.bytes + own + record.len() + ENTRY_BYTES - freed;
        held.records.push_back(record);
        held.taken += 1;
        true
    }

    /// Adds a pattern of another process; how many of its records were taken, and for how many there was no room. `own` says
    /// which window here one of its windows is, if it is in the span.
    fn absorb(&mut self, stratum: Stratum, own: impl Fn(u64) -> Option<u64>, most_bytes: usize) -> (u64, u64) {
        let Stratum { service, band, pattern, first_seen, records, windows, .. } = stratum;
        let service = Arc::new(Service { name: (&*service).into(), token: None });
        let key = (Arc::clone(&service), band, pattern);
        let all = records.len() as u64;
        if !self.strata.contains_key(&key) {
            if self.bytes + STRATUM_BYTES > most_bytes {
                return (0, all);
            }
            self.bytes += STRATUM_BYTES;
        }
        let held = self.strata.entry(key).or_default();
        held.first_seen = if held.first_seen == 0 { first_seen } else { held.first_seen.min(first_seen) };
        for count in windows {
            let Some(window) = own(count.window) else { continue };
            held.looked_at = held.looked_at.max(window);
            self.bytes += held.add(WindowCount { window, ..count });
        }
        let offer = Offer { service: &service, band, pattern, seen: 0, in_last_window: 0 };
        let fits = |record: &Bytes| record.len() <= most_bytes / MOST_OF_ALL;
        let taken = records
            .into_iter()
            .filter(|record| fits(record) && self.put(offer, record.len(), most_bytes, || record.to_vec()));
        let taken = taken.count() as u64;
        (taken, all - taken)
    }

    fn count(&mut self, row: &PatternRow, window: u64) {
        let key = (Arc::clone(&row.service), row.band, row.pattern);
        if !self.strata.contains_key(&key) {
            self.bytes += STRATUM_BYTES;
        }
        let held = self.strata.entry(key).or_default();
        let total = row.total;
        // A smaller total is that of a pattern that was forgotten and came back.
        let is_anew = total.records < held.records_before;
        let (records, bytes) = match is_anew {
            true => (total.records, total.bytes),
            false => (total.records - held.records_before, total.bytes.saturating_sub(held.bytes_before)),
        };
        (held.records_before, held.bytes_before) = (total.records, total.bytes);
        if held.first_seen == 0 || is_anew {
            held.first_seen = row.first_seen;
        }
        held.looked_at = window;
        if records > 0 {
            self.bytes += held.add(WindowCount { window, records, bytes });
        }
    }

    /// Forgets windows before `oldest`, the records of patterns without any window left, and of these patterns those that
    /// the table has forgotten at `now`.
    fn forget(&mut self, oldest: u64, now: u64) {
        let bytes = &mut self.bytes;
        self.strata.retain(|_, held| {
            while held.windows.front().is_some_and(|count| count.window < oldest) {
                held.windows.pop_front();
                *bytes = bytes.saturating_sub(COUNT_BYTES);
            }
            // The records of a pattern that is not in the span are of no use; its totals are, for the next count.
            if held.windows.is_empty() {
                // One that was just taken waits for its first count.
                let waits = held.looked_at == 0 && held.records.len() == 1;
                if !waits {
                    for record in held.records.drain(..) {
                        *bytes = bytes.saturating_sub(record.len() + ENTRY_BYTES);
                    }
                    if held.looked_at < now {
                        *bytes = bytes.saturating_sub(STRATUM_BYTES);
                        return false;
                    }
                }
            }
            true
        });
    }

    /// Fewer records a pattern, then fewer windows, until nine tenths of the memory are enough; more again at a third. `now`
    /// as in [`State::forget`].
    fn make_room(&mut self, of: &Reservoir, now: u64) {
        if self.bytes < of.most_bytes / 3 {
            self.per_pattern = (self.per_pattern * 2).min(of.most_records);
            self.windows = (self.windows * 2).min(of.most_windows);
            return;
        }
        while self.bytes > of.most_bytes / 10 * 9 && self.per_pattern > 1 {
            self.per_pattern /= 2;
            let (most, bytes, evicted) = (self.per_pattern, &mut self.bytes, &mut self.evicted);
            for held in self.strata.values_mut() {
                while held.records.len() > most {
                    let gone = held.records.pop_front().map_or(0, |record| record.len() + ENTRY_BYTES);
                    *bytes = bytes.saturating_sub(gone);
                    *evicted += 1;
                }
            }
        }
        while self.bytes > of.most_bytes / 10 * 9 && self.windows > 1 {
            self.windows /= 2;
            let newest = self.strata.values().filter_map(|held| held.windows.back()).map(|count| count.window).max();
            let newest = newest.unwrap_or(0);
            self.forget((newest + 1).saturating_sub(self.windows), now);
        }
    }
}

impl MetricSource for Reservoir {
    fn collect(&self, out: &mut dyn MetricSink) {
        let state = self.state.lock();
        let records: usize = state.strata.values().map(|held| held.records.len()).sum();
        for (name, help, value) in [
            ("lipservice_reservoir_bytes", "Memory of the records held for replays, about.", state.bytes),
            ("lipservice_reservoir_log_records", "Log records held for replays.", records),
            ("lipservice_reservoir_patterns", "Patterns known to the reservoir.", state.strata.len()),
            ("lipservice_reservoir_records_per_pattern", "Log records a pattern may keep there.", state.per_pattern),
            ("lipservice_reservoir_windows", "Windows it reaches back.", state.windows as usize),
        ] {
            out.gauge(name, help, &[], value as f64);
        }
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let help = "Log records taken for replays.";
        out.counter("lipservice_reservoir_taken_log_records", help, &[], load(&self.taken));
        let help = "Log records held for replays that went for others, or for lack of memory.";
        out.counter("lipservice_reservoir_evicted_log_records", help, &[], state.evicted);
        let help = "Log records offered for replays that found no room.";
        out.counter("lipservice_reservoir_turned_away_log_records", help, &[], load(&self.turned_away));
    }
}
