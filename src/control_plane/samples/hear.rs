//! The samples of gateways, added up.
//!
//! Purpose: the loop's side: records and counts go into a reservoir, which bounds and ages them; beside it what each gateway
//! says of itself.
//! Promises: a report counts once; totals only grow, whoever comes and goes; gateways that fell silent are forgotten, and
//! what is remembered of all of them is bounded.
//! Never: trusts a number, a clock or a text of a gateway beyond its bounds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;

use crate::clock::{Clock, UnixNanos};
use crate::control_plane::api::{SamplePattern, SampleReport, SampleRow, SampleState, Sampled, Samples};
use crate::data_plane::ledger::Tally;
use crate::data_plane::pattern::{Catalogue, Pattern, PatternId};
use crate::data_plane::policy::{CompiledPolicy, Document};
use crate::data_plane::reservoir::{Reservoir, Stratum, WindowCount};
use crate::data_plane::window::Band;
use crate::telemetry::{MetricSink, MetricSource};

/// Gateways remembered; of more, those that were heard longest ago are forgotten.
const MAX_GATEWAYS: usize = 10_000;
/// Reports remembered, so that none counts twice.
const MAX_REPORTS: usize = 100_000;
/// A gateway that was not heard for so long says nothing of the present.
const SILENT_AFTER: Duration = Duration::from_secs(300);
/// Patterns of all gateways together at most.
const MAX_PATTERNS: usize = 100_000;
/// Longest name of a service, in bytes, as the windows cut it.
const MAX_SERVICE_BYTES: usize = 128;
/// Largest count taken from one window.
const MAX_COUNT: u64 = 1 << 48;

/// What a gateway says of itself.
#[derive(Default)]
struct Gateway {
    heard_at: UnixNanos,
    received: Tally,
    kept: Tally,
    anomalous: Vec<(String, PatternId)>,
    patterns: Vec<Pattern>,
}

#[derive(Default)]
struct State {
    gateways: HashMap<String, Gateway>,
    /// Ids of reports, and the order they came in.
    reports: HashSet<String>,
    order: VecDeque<String>,
    received: Tally,
    kept: Tally,
    /// The patterns of all, until one says otherwise.
    catalogue: Option<Arc<Catalogue>>,
}

/// What was heard.
pub struct Heard {
    reservoir: Arc<Reservoir>,
    clock: Clock,
    state: Mutex<State>,
    added: AtomicU64,
    repeated: AtomicU64,
    refused: AtomicU64,
    log_records: AtomicU64,
    forgotten: AtomicU64,
}

impl Heard {
    /// Nothing was heard yet; records and counts go into `reservoir`.
    pub fn new(reservoir: Arc<Reservoir>, clock: Clock) -> Arc<Heard> {
        Arc::new(Heard {
            reservoir,
            clock,
            state: Mutex::default(),
            added: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            log_records: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        })
    }

    /// What came in at all gateways since they were first heard, and what was kept of it.
    pub fn volume(&self) -> (Tally, Tally) {
        let state = self.state.lock();
        (state.received, state.kept)
    }

    /// Patterns that are anomalous now, by service.
    pub fn anomalous(&self) -> HashSet<(String, PatternId)> {
        let mut state = self.state.lock();
        self.forget_silent(&mut state);
        state.gateways.values().flat_map(|gateway| gateway.anomalous.iter().cloned()).collect()
    }

    /// The patterns that gateways go by.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        let mut state = self.state.lock();
        self.forget_silent(&mut state);
        if let Some(catalogue) = &state.catalogue {
            return Arc::clone(catalogue);
        }
        let patterns = state.gateways.values().flat_map(|gateway| gateway.patterns.iter().cloned()).collect();
        let catalogue = Arc::new(Catalogue::new(Catalogue::in_order(patterns, MAX_PATTERNS)));
        state.catalogue = Some(Arc::clone(&catalogue));
        catalogue
    }

    fn forget_silent(&self, state: &mut State) {
        let since = self.clock.now().saturating_sub(SILENT_AFTER.as_nanos() as u64);
        let before = state.gateways.len();
        state.gateways.retain(|_, gateway| gateway.heard_at >= since);
        while state.gateways.len() > MAX_GATEWAYS {
            let oldest = state.gateways.iter().min_by_key(|(_, gateway)| gateway.heard_at).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { break };
            state.gateways.remove(&oldest);
        }
        let gone = before - state.gateways.len();
        if gone > 0 {
            state.catalogue = None;
            self.forgotten.fetch_add(gone as u64, Ordering::Relaxed);
        }
    }

    fn take(&self, report: SampleReport) -> Result<Sampled, String> {
        let SampleReport { id, replica, window_ns, rows, state: said } = report;
        // Read whole before anything is added.
        let strata =
            rows.into_iter().enumerate().map(|(at, row)| stratum(row).map_err(|why| format!("rows[{at}].{why}")));
        let strata: Vec<Stratum> = strata.collect::<Result<_, _>>()?;
        let said = said.map(Said::read).transpose()?;
        let records: usize = strata.iter().map(|stratum| stratum.records.len()).sum();
        let now = self.clock.now();
        let mut state = self.state.lock();
        let known = state.gateways.contains_key(&replica);
        let added = state.is_first(id);
        if added {
            state.note(replica, said, now);
            self.forget_silent(&mut state);
            self.log_records.fetch_add(records as u64, Ordering::Relaxed);
            self.reservoir.absorb(strata, window_ns, now);
        }
        let counter = if added { &self.added } else { &self.repeated };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Sampled { added, known })
    }
}

impl State {
    /// Notes a report's id; false when it is known.
    fn is_first(&mut self, id: String) -> bool {
        if !self.reports.insert(id.clone()) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_REPORTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.reports.remove(&oldest);
        }
        true
    }

    fn note(&mut self, replica: String, said: Option<Said>, now: UnixNanos) {
        let is_new = !self.gateways.contains_key(&replica);
        let gateway = self.gateways.entry(replica).or_default();
        gateway.heard_at = now;
        let Some(said) = said else { return };
        // What came before it was first heard is not known to have been of this loop's time.
        if !is_new {
            grow(&mut self.received, gateway.received, said.received);
            grow(&mut self.kept, gateway.kept, said.kept);
        }
        (gateway.received, gateway.kept, gateway.anomalous) = (said.received, said.kept, said.anomalous);
        if let Some(patterns) = said.patterns
            && gateway.patterns != patterns
        {
            gateway.patterns = patterns;
            self.catalogue = None;
        }
    }
}

/// Adds what a gateway's count grew by.
fn grow(sum: &mut Tally, before: Tally, now: Tally) {
    sum.records = sum.records.saturating_add(now.records.saturating_sub(before.records));
    sum.bytes = sum.bytes.saturating_add(now.bytes.saturating_sub(before.bytes));
}

/// A state that was read.
struct Said {
    received: Tally,
    kept: Tally,
    anomalous: Vec<(String, PatternId)>,
    patterns: Option<Vec<Pattern>>,
}

impl Said {
    fn read(state: SampleState) -> Result<Said, String> {
        let tally = |records: u64, bytes: u64| Tally { records: records.min(1 << 60), bytes: bytes.min(1 << 60) };
        let anomalous = state.anomalous.into_iter().enumerate().map(|(at, SamplePattern { service, pattern })| {
            let pattern = pattern.parse().map_err(|error| format!("state.anomalous[{at}].pattern: {error}"))?;
            Ok::<_, String>((cut(&service), pattern))
        });
        let patterns = state.patterns.map(|patterns| {
            CompiledPolicy::patterns_of(&Document::from_value("a gateway", json!({ "patterns": patterns })))
        });
        Ok(Said {
            received: tally(state.received_records, state.received_bytes),
            kept: tally(state.kept_records, state.kept_bytes),
            anomalous: anomalous.collect::<Result<_, _>>()?,
            patterns,
        })
    }
}

fn cut(service: &str) -> String {
    let end = (0..=MAX_SERVICE_BYTES.min(service.len())).rev().find(|end| service.is_char_boundary(*end));
    service[..end.unwrap_or(0)].to_owned()
}

fn stratum(row: SampleRow) -> Result<Stratum, String> {
    let band = Band::named(&row.severity).ok_or_else(|| "severity: not the name of a band".to_owned())?;
    let pattern = row.pattern.map(|text| text.parse::<PatternId>().map_err(|error| format!("pattern: {error}")));
    let records = row.records.iter().enumerate().map(|(at, text)| {
        STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("records[{at}]: not base64: {error}"))
    });
    let windows = row.windows.iter().map(|count| WindowCount {
        window: count.window,
        records: count.records.min(MAX_COUNT),
        bytes: count.bytes.min(MAX_COUNT),
    });
    Ok(Stratum {
        service: cut(&row.service).into(),
        token: None,
        band,
        pattern: pattern.transpose()?,
        first_seen: row.first_seen_ns,
        records: records.collect::<Result<_, String>>()?,
        taken: 0,
        windows: windows.filter(|count| count.records > 0).collect(),
    })
}

impl Samples for Heard {
    fn hear(&self, report: SampleReport) -> Result<Sampled, String> {
        let heard = self.take(report);
        if heard.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        heard
    }
}

impl MetricSource for Heard {
    fn collect(&self, out: &mut dyn MetricSink) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let gateways = self.state.lock().gateways.len();
        let help = "Gateways whose samples were heard lately.";
        out.gauge("lipservice_samples_gateways", help, &[], gateways as f64);
        let help = "Reports of samples, by what became of them.";
        for (result, counter) in [("added", &self.added), ("repeated", &self.repeated), ("refused", &self.refused)] {
            out.counter("lipservice_samples_reports", help, &[("result", result)], load(counter));
        }
        let help = "Log records heard of gateways.";
        out.counter("lipservice_samples_log_records", help, &[], load(&self.log_records));
        let help = "Gateways forgotten: silent, or more than are remembered.";
        out.counter("lipservice_samples_forgotten_gateways", help, &[], load(&self.forgotten));
    }
}
