//! What `lipservice top` shows, and how keys change it: pure state.
//!
//! Purpose: read the gateway's answer, sort it, follow the keys.
//! Promises: text from logs is stripped of everything that could steer a terminal before it is kept; at most
//! `MAX_ROWS` rows are held.
//! Never: does input or output.

use std::cmp::Reverse;

use crossterm::event::KeyCode;
use serde::Deserialize;

use super::anomalies::Anomalies;
use crate::cli::visible::visible;

/// Rows kept of an answer, whatever the gateway sends.
pub const MAX_ROWS: usize = 1_000;
/// Characters kept of a text cell.
const MAX_CELL_CHARS: usize = 300;

/// The answer of `GET /patterns` (`telemetry::PatternSource`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Length of a window.
    pub window_seconds: f64,
    /// Sums over everything since the gateway started.
    pub totals: Totals,
    /// The largest patterns.
    pub patterns: Vec<Pattern>,
    /// What goes on, of a gateway that tells; asked for beside.
    #[serde(skip)]
    pub anomalies: Option<Anomalies>,
}

/// Sums over all patterns.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Records in.
    pub received: u64,
    /// Records kept.
    pub kept: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Records refused.
    pub refused: u64,
    /// Bytes of records in.
    pub bytes_in: u64,
    /// Bytes of records kept.
    pub bytes_kept: u64,
}

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Pattern {
    /// `service.name`.
    pub service: String,
    /// Severity band.
    pub severity: String,
    /// 16 hex digits.
    pub pattern: String,
    /// 16 hex digits; of a gateway that knows no patterns, what identifies the row.
    pub signature: String,
    /// Masked text.
    pub template: String,
    /// Records in the window.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records kept.
    pub kept: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Rate.
    pub records_per_second: f64,
    /// The commonest reason of its decisions.
    pub reason: String,
}

impl Pattern {
    /// What identifies the row.
    pub fn id(&self) -> &str {
        if self.pattern.is_empty() { &self.signature } else { &self.pattern }
    }

    /// Share of its decided records that were kept, in percent; all of none.
    pub fn kept_percent(&self) -> f64 {
        percent(self.kept, self.kept.saturating_add(self.dropped)).unwrap_or(100.0)
    }
}

/// `part` of `whole` in percent, or `None` of nothing.
pub fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

impl Snapshot {
    /// Reads an answer; hostile text is made harmless here, once.
    ///
    /// # Errors
    /// When the answer is not JSON of the documented shape.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let mut snapshot: Snapshot = serde_json::from_slice(json)
            .map_err(|error| format!("not the patterns of a LipService gateway: {error}"))?;
        snapshot.patterns.truncate(MAX_ROWS);
        for pattern in &mut snapshot.patterns {
            let Pattern { service, severity, signature, template, reason, .. } = pattern;
            for cell in [service, severity, signature, template, reason] {
                *cell = clean(cell);
            }
        }
        Ok(snapshot)
    }

    /// Bytes of all rows.
    pub fn listed_bytes(&self) -> u64 {
        self.patterns.iter().fold(0, |sum, pattern| sum.saturating_add(pattern.bytes))
    }
}

/// One line without control characters, marks that reorder text, or characters that show nothing.
pub fn clean(text: &str) -> String {
    text.chars().filter_map(visible).take(MAX_CELL_CHARS).collect()
}

/// What the rows are ordered by, largest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Records in the window.
    #[default]
    Records,
    /// Bytes in the window.
    Bytes,
    /// Records dropped.
    Dropped,
    /// Service, then records.
    Service,
}

impl Sort {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Records => "records",
            Sort::Bytes => "bytes",
            Sort::Dropped => "dropped",
            Sort::Service => "service",
        }
    }

    fn next(self) -> Self {
        match self {
            Sort::Records => Sort::Bytes,
            Sort::Bytes => Sort::Dropped,
            Sort::Dropped => Sort::Service,
            Sort::Service => Sort::Records,
        }
    }

    /// Orders rows; ties go by signature, so that rows do not jump about.
    pub fn apply(self, rows: &mut [Pattern]) {
        rows.sort_by(|a, b| {
            let by = match self {
                Sort::Records => Reverse(a.records).cmp(&Reverse(b.records)),
                Sort::Bytes => Reverse(a.bytes).cmp(&Reverse(b.bytes)),
                Sort::Dropped => Reverse(a.dropped).cmp(&Reverse(b.dropped)),
                Sort::Service => a.service.cmp(&b.service).then_with(|| Reverse(a.records).cmp(&Reverse(b.records))),
            };
            by.then_with(|| (a.id(), &a.service, &a.severity).cmp(&(b.id(), &b.service, &b.severity)))
        });
    }
}

/// The whole state of the screen.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    /// Where the numbers come from.
    pub endpoint: String,
    /// The last answer, sorted.
    pub snapshot: Option<Snapshot>,
    /// Why the last request failed, if it did.
    pub problem: Option<String>,
    /// Order of rows.
    pub sort: Sort,
    /// New answers are not shown.
    pub paused: bool,
    /// Highlighted row.
    pub selected: usize,
}

impl Screen {
    /// An empty screen.
    pub fn new(endpoint: &str) -> Self {
        Screen { endpoint: clean(endpoint), ..Screen::default() }
    }

    /// Takes what a request brought.
    pub fn update(&mut self, answer: Result<Snapshot, String>) {
        match answer {
            Err(problem) => self.problem = Some(clean(&problem)),
            Ok(snapshot) => {
                self.problem = None;
                if !self.paused || self.snapshot.is_none() {
                    self.snapshot = Some(snapshot);
                    self.arrange();
                }
            }
        }
    }

    /// Follows a key; true means to leave.
    pub fn key(&mut self, key: KeyCode) -> bool {
        let last = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.patterns.len().saturating_sub(1));
        match key {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.arrange();
            }
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Down | KeyCode::Char('j') => self.selected = (self.selected + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::PageDown => self.selected = (self.selected + 10).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(10),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            _ => {}
        }
        false
    }

    fn arrange(&mut self) {
        if let Some(snapshot) = &mut self.snapshot {
            self.sort.apply(&mut snapshot.patterns);
            self.selected = self.selected.min(snapshot.patterns.len().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(service: &str, signature: &str, records: u64, bytes: u64, dropped: u64) -> Pattern {
        let (service, signature) = (service.to_owned(), signature.to_owned());
        Pattern { service, signature, records, bytes, dropped, ..Pattern::default() }
    }

    fn order(screen: &Screen) -> Vec<&str> {
        screen.snapshot.as_ref().unwrap().patterns.iter().map(|pattern| pattern.signature.as_str()).collect()
    }

    #[test]
    fn hostile_text_is_made_harmless() {
        let json = r#"{"patterns":[{"service":"a\u001b]0;owned\u0007b","template":"x\ny\u009b31m\u202e\u200bz"}]}"#;
        let row = &Snapshot::parse(json.as_bytes()).unwrap().patterns[0];
        assert_eq!((row.service.as_str(), row.template.as_str()), ("a]0;ownedb", "x y31mz"));
        assert_eq!(clean(&"é".repeat(1_000)).chars().count(), MAX_CELL_CHARS);
    }

    #[test]
    fn unknown_and_missing_fields_are_fine_and_nonsense_is_not() {
        let snapshot = Snapshot::parse(br#"{"totals":{"received":3,"later":1},"patterns":[{"records":2}]}"#).unwrap();
        assert_eq!((snapshot.totals.received, snapshot.patterns[0].records), (3, 2));
        assert!(Snapshot::parse(b"<html>").unwrap_err().contains("not the patterns"));
    }

    #[test]
    fn keys_sort_pause_move_and_leave() {
        let rows = vec![pattern("b", "1", 5, 10, 9), pattern("a", "2", 9, 5, 0), pattern("c", "3", 1, 99, 1)];
        let snapshot = Snapshot { patterns: rows, ..Snapshot::default() };
        let mut screen = Screen::new("http://x");
        screen.update(Ok(snapshot.clone()));
        let mut orders = vec![order(&screen).concat()];
        for _ in 0..4 {
            assert!(!screen.key(KeyCode::Char('s')));
            orders.push(order(&screen).concat());
        }
        assert_eq!(orders, ["213", "312", "132", "213", "213"]);

        for (key, selected) in
            [(KeyCode::Up, 0), (KeyCode::Down, 1), (KeyCode::End, 2), (KeyCode::Down, 2), (KeyCode::Home, 0)]
        {
            screen.key(key);
            assert_eq!(screen.selected, selected, "{key:?}");
        }
        screen.key(KeyCode::End);
        screen.key(KeyCode::Char('p'));
        screen.update(Ok(Snapshot::default()));
        assert_eq!(order(&screen).len(), 3, "paused");
        screen.key(KeyCode::Char('p'));
        screen.update(Ok(Snapshot::default()));
        assert_eq!((order(&screen).len(), screen.selected), (0, 0));
        assert!(screen.key(KeyCode::Char('q')));
    }

    #[test]
    fn a_lost_connection_keeps_the_last_numbers() {
        let mut screen = Screen::new("http://x");
        screen.update(Ok(Snapshot { patterns: vec![Pattern::default()], ..Snapshot::default() }));
        screen.update(Err("refused\u{7}".into()));
        assert_eq!((screen.problem.as_deref(), order(&screen).len()), (Some("refused"), 1));
        screen.update(Ok(Snapshot::default()));
        assert_eq!(screen.problem, None);
    }
}
