//! The patterns of all services, found by key, bounded.
//!
//! Purpose: hand out the cell of a (service, band, signature), creating it at first sight while there is room.
//! Promises: at most `max_patterns` cells and `max_services` services beside the overflow entries; eviction takes only
//! cells with nothing left to report; a cached cell that was evicted is noticed.
//! Never: counts or decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use parking_lot::RwLock;

use super::band::Band;
use super::cell::Cell;
use super::config::WindowConfig;
use super::known::{KnownPatterns, fingerprint};
use crate::clock::UnixNanos;
use crate::data_plane::pattern::{Grouping, PatternId};
use crate::data_plane::signature::Signature;

/// Longest service name kept, in bytes.
const MAX_SERVICE_BYTES: usize = 128;
/// Cells a [`CellCache`] remembers; a power of two.
const CACHE_SLOTS: usize = 1024;
/// How full the table may be, in percent, before patterns that pause are forgotten early.
const CROWDED_PERCENT: usize = 90;
/// How long a pattern must have paused to be forgotten from a crowded table.
const CROWDED_IDLE: Duration = Duration::from_secs(60);

/// Who sent a record: a service under a project token. Summaries go back to the same token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// `service.name`, cut to a bound; `unknown_service` when absent, `_other` for the overflow entry.
    pub name: Box<str>,
    /// The client's token, when one is passed through.
    pub token: Option<Arc<str>>,
}

/// Which pattern a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PatternKey {
    /// Number of the service in its table.
    pub service: u32,
    /// Severity band.
    pub band: Band,
    /// Pattern.
    pub pattern: PatternId,
}

/// All patterns.
#[derive(Debug)]
pub struct PatternTable {
    interval_ns: u64,
    idle_timeout: Duration,
    max_patterns: usize,
    max_services: usize,
    cells: DashMap<PatternKey, Arc<Cell>, ahash::RandomState>,
    overflow: DashMap<(u32, Band), Arc<Cell>, ahash::RandomState>,
    live: AtomicUsize,
    services: RwLock<Services>,
    known: ArcSwap<KnownPatterns>,
    /// Records that found no room of their own.
    pub overflow_records: AtomicU64,
    /// Patterns forgotten.
    pub evicted_patterns: AtomicU64,
    /// Lookups of services beyond the bound.
    pub overflow_services: AtomicU64,
    /// Patterns that came and were known before.
    pub known_patterns: AtomicU64,
}

#[derive(Debug, Default)]
struct Services {
    by_name: std::collections::HashMap<Service, u32, ahash::RandomState>,
    by_index: Vec<Arc<Service>>,
}

impl PatternTable {
    /// An empty table.
    pub fn new(config: &WindowConfig) -> Self {
        PatternTable {
            interval_ns: (config.interval.0.as_nanos() as u64).max(1),
            idle_timeout: config.idle_timeout.0,
            max_patterns: config.max_patterns,
            max_services: config.max_services,
            cells: DashMap::default(),
            overflow: DashMap::default(),
            live: AtomicUsize::new(0),
            services: RwLock::default(),
            known: ArcSwap::default(),
            overflow_records: AtomicU64::new(0),
            evicted_patterns: AtomicU64::new(0),
            overflow_services: AtomicU64::new(0),
            known_patterns: AtomicU64::new(0),
        }
    }

    /// Index of the window that `now` falls in.
    pub fn window_at(&self, now: UnixNanos) -> u64 {
        now / self.interval_ns
    }

    /// Length of a window in seconds.
    pub fn window_seconds(&self) -> f64 {
        self.interval_ns as f64 / 1e9
    }

    /// How many patterns have an entry of their own.
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether no pattern was seen yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of a service; a service beyond the bound shares the entry `_other` of its token, and tokens beyond
    /// twice the bound share one without a token, which is never summarised to anyone.
    pub fn service(&self, name: &[u8], token: Option<&Arc<str>>) -> u32 {
        let cut = &name[..name.len().min(MAX_SERVICE_BYTES)];
        let name = if cut.is_empty() { "unknown_service".into() } else { String::from_utf8_lossy(cut) };
        let service = Service { name: name.into(), token: token.cloned() };
        if let Some(&index) = self.services.read().by_name.get(&service) {
            return index;
        }
        let mut services = self.services.write();
        if services.by_index.len() < self.max_services {
            return services.intern(service);
        }
        self.overflow_services.fetch_add(1, Ordering::Relaxed);
        let other = Service { name: "_other".into(), token: service.token };
        match services.by_name.get(&other) {
            Some(&index) => index,
            None if services.by_index.len() < self.max_services * 2 => services.intern(other),
            None => services.intern(Service { name: "_other".into(), token: None }),
        }
    }

    /// The number of a service that was seen before.
    pub fn index_of(&self, service: &Service) -> Option<u32> {
        self.services.read().by_name.get(service).copied()
    }

    /// The service with number `index`.
    pub fn service_at(&self, index: u32) -> Option<Arc<Service>> {
        self.services.read().by_index.get(index as usize).cloned()
    }

    /// Patterns that are no news when they come, from now on. Those that have come stay as they are.
    pub fn set_known(&self, known: KnownPatterns) {
        self.known.store(Arc::new(known));
    }

    /// The cell of `key`; `texts` (template and example) is asked at first sight only, which is that of a record with
    /// `signature`. Without room for another
    /// pattern, the overflow cell of the service and band.
    pub fn cell(
        &self,
        key: PatternKey,
        signature: Signature,
        texts: impl FnOnce() -> (Box<str>, Box<str>),
    ) -> Arc<Cell> {
        if let Some(found) = self.cells.get(&key) {
            return Arc::clone(&found);
        }
        let room = |live: usize| (live < self.max_patterns).then_some(live + 1);
        if self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
            return self.overflow_cell(key);
        }
        let service =
            self.service_at(key.service).unwrap_or_else(|| Arc::new(Service { name: "".into(), token: None }));
        let is_known = self.is_known(&service, key.band, Some(key.pattern));
        let grouping = Grouping { signature, pattern: key.pattern };
        let made = Arc::new(Cell::new(service, key.band, Some(grouping), texts()).known(is_known));
        let mut is_new = false;
        let cell = Arc::clone(&self.cells.entry(key).or_insert_with(|| {
            is_new = true;
            made
        }));
        if !is_new {
            self.live.fetch_sub(1, Ordering::Relaxed);
        } else if is_known {
            self.known_patterns.fetch_add(1, Ordering::Relaxed);
        }
        cell
    }

    /// Whether a pattern was known before it came. Asked once a cell, not once a record.
    #[cold]
    fn is_known(&self, service: &Service, band: Band, pattern: Option<PatternId>) -> bool {
        let known = self.known.load();
        if known.is_empty() {
            return false;
        }
        let pattern = pattern.map(|pattern| pattern.to_string()).unwrap_or_default();
        known.contains(fingerprint(&service.name, band.as_str(), &pattern))
    }

    #[cold]
    fn overflow_cell(&self, key: PatternKey) -> Arc<Cell> {
        self.overflow_records.fetch_add(1, Ordering::Relaxed);
        let entry = self.overflow.entry((key.service, key.band)).or_insert_with(|| {
            let service =
                self.service_at(key.service).unwrap_or_else(|| Arc::new(Service { name: "".into(), token: None }));
            let is_known = self.is_known(&service, key.band, None);
            let texts = ("(patterns beyond the bound)".into(), "".into());
            Arc::new(Cell::new(service, key.band, None, texts).known(is_known))
        });
        Arc::clone(&entry)
    }

    /// Calls `visit` for every pattern, overflow entries included.
    pub fn for_each(&self, mut visit: impl FnMut(&Arc<Cell>)) {
        self.cells.iter().for_each(|entry| visit(entry.value()));
        self.overflow.iter().for_each(|entry| visit(entry.value()));
    }

    /// Forgets patterns that paused for the idle timeout; in a crowded table already after a minute. Patterns with
    /// something left to report stay. Returns how many went.
    pub fn evict_idle(&self, now: UnixNanos) -> usize {
        let crowded = self.len() * 100 >= self.max_patterns * CROWDED_PERCENT;
        let idle = if crowded { CROWDED_IDLE.min(self.idle_timeout) } else { self.idle_timeout };
        let since = now.saturating_sub(idle.as_nanos() as u64);
        let mut gone = 0;
        self.cells.retain(|_, cell| {
            let retired = cell.retire(since);
            gone += usize::from(retired);
            !retired
        });
        self.live.fetch_sub(gone, Ordering::Relaxed);
        self.evicted_patterns.fetch_add(gone as u64, Ordering::Relaxed);
        gone
    }
}

impl Services {
    fn intern(&mut self, service: Service) -> u32 {
        if let Some(&index) = self.by_name.get(&service) {
            return index;
        }
        let index = self.by_index.len() as u32;
        self.by_index.push(Arc::new(service.clone()));
        self.by_name.insert(service, index);
        index
    }
}

/// The cells one thread used last, direct-mapped: saves the table's shard lock for patterns that repeat.
#[derive(Debug)]
pub struct CellCache {
    slots: Vec<Option<(PatternKey, Arc<Cell>)>>,
}

impl Default for CellCache {
    fn default() -> Self {
        CellCache { slots: vec![None; CACHE_SLOTS] }
    }
}

impl CellCache {
    /// The cell of `key`, from the cache or else from `find`. Overflow cells are not remembered, so that a pattern
    /// gets an entry of its own as soon as there is room.
    #[inline]
    pub fn get(&mut self, key: PatternKey, find: impl FnOnce() -> Arc<Cell>) -> &Arc<Cell> {
        let slot = (key.pattern.0 ^ (u64::from(key.service) << 3) ^ key.band as u64) as usize & (CACHE_SLOTS - 1);
        let hit = matches!(&self.slots[slot], Some((known, cell)) if *known == key && cell.pattern.is_some());
        if !hit {
            self.slots[slot] = None;
        }
        let entry = self.slots[slot].get_or_insert_with(|| (key, find()));
        &entry.1
    }

    /// Forgets the cell of `key`, after it turned out to be evicted.
    #[cold]
    pub fn forget(&mut self, key: PatternKey) {
        for slot in &mut self.slots {
            slot.take_if(|(known, _)| *known == key);
        }
    }

    /// Forgets everything, when the table is replaced.
    pub fn clear(&mut self) {
        self.slots.fill(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::window::Sight;

    #[test]
    fn what_is_known_is_asked_for_when_a_pattern_comes_and_not_again() {
        let table = PatternTable::new(&WindowConfig { max_patterns: 3, ..WindowConfig::default() });
        let service = table.service(b"shop", Some(&"a token".into()));
        let sees = |number: u64, band: Band| -> Sight {
            let key = PatternKey { service, band, pattern: PatternId(number) };
            let cell = table.cell(key, Signature(number), || ("t".into(), "e".into()));
            cell.record(0, 1, 10, |sight| (true, None, sight)).unwrap()
        };
        let known = |names: &[(&str, &str)]| {
            let named = names.iter().map(|(band, pattern)| fingerprint("shop", band, pattern));
            table.set_known(KnownPatterns::default().with(named, 9).0);
        };
        let pattern = |number: u64| PatternId(number).to_string();
        assert!(!sees(1, Band::Info).is_known, "nothing is");
        known(&[("info", &pattern(1)), ("info", &pattern(2)), ("warn", "")]);
        // Under whichever token: statistics do not tell them apart.
        assert!(sees(2, Band::Info).is_known && sees(2, Band::Info).is_known);
        assert!(!sees(1, Band::Info).is_known, "it came before; its allowance stays");
        assert!(!sees(2, Band::Warn).is_known, "another band");
        assert_eq!(table.known_patterns.load(Ordering::Relaxed), 1);
        // Beyond the bound on patterns all share one name.
        assert!(sees(8, Band::Warn).is_known && !sees(8, Band::Info).is_known);
        known(&[]);
        assert!(sees(2, Band::Info).is_known, "an entry stays as it was made");
    }
}
