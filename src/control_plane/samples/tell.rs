//! What is new in a reservoir since it was told last.
//!
//! Purpose: the gateway's side: reports of the counts and records that came since the last ones, in parts of bounded size.
//! Promises: a count of a window is in one report; reports that were not acknowledged are sent again, the same, under the
//! same ids; counts go whole, records up to a bound, those of patterns told least first; what did not fit goes later.
//! Never: sends, or looks at a record.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::control_plane::api::{
    MAX_SAMPLE_ANOMALOUS, MAX_SAMPLE_PATTERNS, MAX_SAMPLE_ROWS, SamplePattern, SampleReport, SampleRow, SampleState,
    SampleWindow, Sampled,
};
use crate::control_plane::generator::document;
use crate::data_plane::ledger::Tally;
use crate::data_plane::pattern::{Catalogue, PatternId};
use crate::data_plane::reservoir::{Sample, Stratum, WindowCount};
use crate::data_plane::window::Band;

/// Bytes of one report, about: below the smallest body a control plane takes by default.
const REPORT_BYTES: usize = 1 << 20;
/// A row and a window in JSON, about.
const ROW_BYTES: usize = 200;
const WINDOW_BYTES: usize = 60;

/// Whose records: service, token, severity band, pattern.
type Key = (Arc<str>, Option<Arc<str>>, Band, Option<PatternId>);

/// What is sent at once at most, beside counts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of records.
    pub bytes: usize,
    /// Records.
    pub records: usize,
}

/// How the gateway stands.
pub struct Standing<'a> {
    /// What came in since its start.
    pub received: Tally,
    /// What was kept of it.
    pub kept: Tally,
    /// Patterns that are anomalous now, by service.
    pub anomalous: Vec<(String, PatternId)>,
    /// The patterns it goes by.
    pub catalogue: &'a Catalogue,
}

/// What was told of a pattern.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Records, of all that were taken.
    records: u64,
    /// The last window, as it was told: it alone may still have grown.
    last: Option<WindowCount>,
}

/// Makes reports.
pub struct Teller {
    replica: String,
    limits: Limits,
    told: HashMap<Key, Told>,
    waiting: VecDeque<SampleReport>,
    /// Version of the catalogue that was told.
    catalogue: Option<u64>,
    was_heard: bool,
}

impl Teller {
    /// Tells on behalf of `replica`.
    pub fn new(replica: String, limits: Limits) -> Self {
        Teller { replica, limits, told: HashMap::new(), waiting: VecDeque::new(), catalogue: None, was_heard: false }
    }

    /// Makes reports of what is new, unless some wait to be acknowledged.
    pub fn look(&mut self, sample: &Sample, standing: &Standing<'_>) {
        if !self.waiting.is_empty() {
            return;
        }
        let mut parts = in_parts(self.fresh(sample));
        if parts.is_empty() {
            parts.push(Vec::new());
        }
        let mut state = Some(self.state(standing));
        for rows in parts {
            self.waiting.push_back(SampleReport {
                id: uuid::Uuid::now_v7().to_string(),
                replica: self.replica.clone(),
                window_ns: sample.window_ns,
                rows,
                state: state.take(),
            });
        }
    }

    /// The report to send next.
    pub fn next(&self) -> Option<&SampleReport> {
        self.waiting.front()
    }

    /// It has arrived; returns how many records were in it.
    pub fn acknowledge(&mut self, answer: Sampled) -> u64 {
        // Whoever holds the samples has begun anew, or is another: counts from here on, but all records once more.
        if self.was_heard && !answer.known {
            self.told.values_mut().for_each(|told| told.records = 0);
            self.catalogue = None;
        }
        self.was_heard = true;
        let arrived = self.waiting.pop_front();
        arrived.map_or(0, |report| report.rows.iter().map(|row| row.records.len() as u64).sum())
    }

    /// What waits is refused for good: it is not sent again.
    pub fn give_up(&mut self) {
        self.waiting.clear();
    }

    fn state(&mut self, standing: &Standing<'_>) -> SampleState {
        let version = standing.catalogue.version();
        let is_new = self.catalogue != Some(version) && standing.catalogue.patterns().len() <= MAX_SAMPLE_PATTERNS;
        self.catalogue = Some(version);
        let anomalous = standing.anomalous.iter().take(MAX_SAMPLE_ANOMALOUS);
        SampleState {
            received_records: standing.received.records,
            received_bytes: standing.received.bytes,
            kept_records: standing.kept.records,
            kept_bytes: standing.kept.bytes,
            anomalous: anomalous
                .map(|(service, pattern)| SamplePattern { service: service.clone(), pattern: pattern.to_string() })
                .collect(),
            patterns: is_new.then(|| document::patterns(standing.catalogue)),
        }
    }

    fn fresh(&mut self, sample: &Sample) -> Vec<SampleRow> {
        let mut told = HashMap::with_capacity(sample.strata.len());
        let mut rows: Vec<(Key, &Stratum, SampleRow, Told)> = Vec::new();
        for stratum in &sample.strata {
            let key = (Arc::clone(&stratum.service), stratum.token.clone(), stratum.band, stratum.pattern);
            let mut before = self.told.get(&key).copied().unwrap_or_default();
            // One that was forgotten and came again begins anew.
            before.records = if stratum.taken < before.records { 0 } else { before.records };
            let row = SampleRow {
                service: stratum.service.to_string(),
                severity: stratum.band.as_str().to_owned(),
                pattern: stratum.pattern.map(|pattern| pattern.to_string()),
                first_seen_ns: stratum.first_seen,
                records: Vec::new(),
                windows: grown(&stratum.windows, before.last),
            };
            before.last = stratum.windows.last().copied().or(before.last);
            rows.push((key, stratum, row, before));
        }
        // What is known least goes first.
        rows.sort_by_key(|(.., before)| before.records);
        self.add_records(&mut rows);
        let mut fresh = Vec::new();
        for (key, _, row, now) in rows {
            told.insert(key, now);
            if !row.records.is_empty() || !row.windows.is_empty() {
                fresh.push(row);
            }
        }
        self.told = told;
        fresh
    }

    /// Adds records in turns, one of each pattern, until there are no more or no more fit.
    fn add_records(&self, rows: &mut [(Key, &Stratum, SampleRow, Told)]) {
        let Limits { mut bytes, mut records } = self.limits;
        let mut goes_on = true;
        while goes_on && records > 0 {
            goes_on = false;
            for (_, stratum, row, told) in rows.iter_mut() {
                let Some(record) = next_record(stratum, told) else { continue };
                let size = record.len().div_ceil(3) * 4;
                if records == 0 || size > bytes {
                    return;
                }
                (bytes, records, goes_on) = (bytes - size, records - 1, true);
                row.records.push(STANDARD.encode(record));
                told.records += 1;
            }
        }
    }
}

/// The first record that was not told; what is gone already counts as told.
fn next_record<'a>(stratum: &'a Stratum, told: &mut Told) -> Option<&'a Bytes> {
    let gone = stratum.taken.saturating_sub(stratum.records.len() as u64);
    told.records = told.records.max(gone);
    stratum.records.get(usize::try_from(told.records - gone).ok()?)
}

/// What `windows` have beyond what was told up to `last`.
fn grown(windows: &[WindowCount], last: Option<WindowCount>) -> Vec<SampleWindow> {
    let beyond = |count: &WindowCount| {
        let (records, bytes) = match last {
            Some(told) if count.window < told.window => return None,
            Some(told) if count.window == told.window => {
                (count.records.saturating_sub(told.records), count.bytes.saturating_sub(told.bytes))
            }
            _ => (count.records, count.bytes),
        };
        (records > 0).then_some(SampleWindow { window: count.window, records, bytes })
    };
    windows.iter().filter_map(beyond).collect()
}

fn in_parts(rows: Vec<SampleRow>) -> Vec<Vec<SampleRow>> {
    let mut parts: Vec<Vec<SampleRow>> = Vec::new();
    let mut bytes = usize::MAX;
    for row in rows {
        let own: usize = row.records.iter().map(String::len).sum();
        let own = own + ROW_BYTES + row.windows.len() * WINDOW_BYTES;
        let is_full = parts.last().is_none_or(|part| part.len() >= MAX_SAMPLE_ROWS);
        if is_full || bytes.saturating_add(own) > REPORT_BYTES {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += own;
        if let Some(part) = parts.last_mut() {
            part.push(row);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stratum(service: &str, taken: u64, held: usize, windows: &[(u64, u64)]) -> Stratum {
        let record = |n: u64| Bytes::from(format!("record {n} of {service}"));
        Stratum {
            service: service.into(),
            token: None,
            band: Band::Info,
            pattern: Some(PatternId(7)),
            first_seen: 5,
            records: (taken - held as u64..taken).map(record).collect(),
            taken,
            windows: windows.iter().map(|&(window, n)| WindowCount { window, records: n, bytes: 10 * n }).collect(),
        }
    }

    struct Bench(Teller, Catalogue);

    impl Bench {
        fn new(limits: Limits) -> Bench {
            Bench(
                Teller::new("a".into(), limits),
                Catalogue::new(vec![crate::data_plane::pattern::Pattern::new("x <*>")]),
            )
        }

        fn look(&mut self, strata: Vec<Stratum>) -> Vec<SampleReport> {
            let standing = Standing {
                received: Tally { records: 9, bytes: 90 },
                kept: Tally { records: 3, bytes: 30 },
                anomalous: Vec::new(),
                catalogue: &self.1,
            };
            self.0.look(&Sample { window_ns: 10, strata }, &standing);
            self.0.waiting.iter().cloned().collect()
        }

        fn acknowledge(&mut self, known: bool) {
            while self.0.next().is_some() {
                self.0.acknowledge(Sampled { added: true, known });
            }
        }
    }

    const MANY: Limits = Limits { bytes: 1 << 20, records: 1000 };

    /// Service, records, and records by window.
    type Row = (String, usize, Vec<(u64, u64)>);

    fn told(reports: &[SampleReport]) -> Vec<Row> {
        let rows = reports.iter().flat_map(|report| &report.rows);
        let windows = |row: &SampleRow| row.windows.iter().map(|count| (count.window, count.records)).collect();
        rows.map(|row| (row.service.clone(), row.records.len(), windows(row))).collect()
    }

    #[test]
    fn what_came_is_told_once() {
        let mut bench = Bench::new(MANY);
        let first = bench.look(vec![stratum("web", 3, 2, &[(1, 10), (2, 20)])]);
        assert_eq!(told(&first), [("web".to_owned(), 2, vec![(1, 10), (2, 20)])]);
        let state = first[0].state.as_ref().unwrap();
        assert_eq!((state.received_records, state.kept_bytes), (9, 30));
        assert_eq!(state.patterns.as_ref().unwrap().len(), 1);
        // Not acknowledged: the same again, though more has come.
        assert_eq!(bench.look(vec![stratum("web", 4, 3, &[(1, 10), (2, 25), (3, 1)])]), first);
        bench.acknowledge(false);
        // The last window had grown, a new one came, and one record was taken.
        let second = bench.look(vec![stratum("web", 4, 3, &[(1, 10), (2, 25), (3, 1)])]);
        assert_eq!(told(&second), [("web".to_owned(), 1, vec![(2, 5), (3, 1)])]);
        assert_ne!(second[0].id, first[0].id);
        assert!(second[0].state.as_ref().unwrap().patterns.is_none(), "told before");
        bench.acknowledge(true);
        assert_eq!(told(&bench.look(vec![stratum("web", 4, 3, &[(2, 25), (3, 1)])])), []);
        bench.acknowledge(true);
        // Two tokens of one service are two.
        let other = Stratum { token: Some("phc".into()), ..stratum("web", 1, 1, &[(3, 4)]) };
        let both = bench.look(vec![stratum("web", 4, 3, &[(3, 2)]), other]);
        assert_eq!(told(&both), [("web".to_owned(), 1, vec![(3, 4)]), ("web".to_owned(), 0, vec![(3, 1)])]);
    }

    #[test]
    fn records_go_as_they_fit_and_all_again_to_whom_knows_none() {
        let mut bench = Bench::new(Limits { bytes: 1 << 20, records: 3 });
        let strata = || vec![stratum("web", 4, 4, &[(1, 4)]), stratum("rare", 1, 1, &[(1, 1)])];
        let mut counts = HashMap::new();
        let mut look = |bench: &mut Bench, known| {
            for (service, records, windows) in told(&bench.look(strata())) {
                *counts.entry((service, "records")).or_insert(0) += records as u64;
                *counts.entry((String::new(), "counts")).or_insert(0) += windows.iter().map(|(_, n)| n).sum::<u64>();
            }
            bench.acknowledge(known);
            (counts.get(&("web".into(), "records")).copied(), counts.get(&("rare".into(), "records")).copied())
        };
        assert_eq!(look(&mut bench, false), (Some(2), Some(1)), "each has one before any has two");
        assert_eq!(look(&mut bench, true), (Some(4), Some(1)), "what did not fit");
        assert_eq!(look(&mut bench, false), (Some(4), Some(1)), "nothing is left, and the control plane began anew");
        assert_eq!(look(&mut bench, true), (Some(6), Some(2)), "all records once more");
        assert_eq!(counts[&(String::new(), "counts")], 5, "counts never");
    }

    #[test]
    fn parts_are_bounded() {
        let mut bench = Bench::new(MANY);
        let strata = (0..MAX_SAMPLE_ROWS + 5).map(|n| stratum(&format!("s{n}"), 0, 0, &[(1, 1)])).collect();
        let reports = bench.look(strata);
        assert!(reports.len() > 1 && reports.iter().all(|report| report.rows.len() <= MAX_SAMPLE_ROWS));
        assert!(reports.iter().all(|report| serde_json::to_vec(report).unwrap().len() < 2 * REPORT_BYTES));
        assert_eq!(told(&reports).len(), MAX_SAMPLE_ROWS + 5);
        assert_eq!(reports.iter().filter(|report| report.state.is_some()).count(), 1);
    }
}
