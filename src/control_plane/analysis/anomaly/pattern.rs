//! One pattern of a service under watch.
//!
//! Purpose: its level, week, histogram of rates, pauses, and whether it is new.
//! Promises: a fixed size, but for its week and histogram, which it gets when it has lived for an hour.
//! Never: looks at other patterns; what they have in common (the service's load) is an argument.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::quiet::Quiet;
use super::watch::Watch;
use crate::clock::UnixNanos;
use crate::control_plane::analysis::frequency::Season;
use crate::control_plane::analysis::frequency::kept::amount;

/// Windows before a pattern can have a spike: 5 minutes of 10 s.
pub const YOUNG_WINDOWS: f64 = 30.0;
/// Windows before a pattern gets a week and a histogram: an hour of 10 s.
const SETTLED_WINDOWS: f64 = 360.0;
/// Largest rate the histogram tells apart, in records per window.
const MAX_RATE: u64 = 1_000_000;

/// A pattern's first minute.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Early {
    /// Windows since the first record.
    #[serde(deserialize_with = "amount")]
    pub windows: f64,
    /// Records in them.
    #[serde(deserialize_with = "amount")]
    pub records: f64,
}

/// One pattern.
#[derive(Debug, Serialize, Deserialize)]
pub struct PatternWatch {
    /// Spikes.
    pub watch: Watch,
    /// Silence.
    pub quiet: Quiet,
    /// Its first minute, until that is over or an alarm was raised.
    pub early: Option<Early>,
    /// The open anomaly of a new pattern, and for how many windows.
    #[serde(deserialize_with = "newcomer")]
    pub newcomer: Option<(u64, f64)>,
    /// Its template, as long as the windows keep it.
    pub subject: Box<str>,
    /// Whether it was first seen with ERROR or above.
    pub severe: bool,
    season: Option<Season>,
    #[serde(serialize_with = "write_rates", deserialize_with = "read_rates")]
    rates: Option<Histogram<u16>>,
}

fn newcomer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<(u64, f64)>, D::Error> {
    /// Checks the second.
    #[derive(Deserialize)]
    struct Newcomer(u64, #[serde(deserialize_with = "amount")] f64);
    Ok(Option::<Newcomer>::deserialize(from)?.map(|Newcomer(number, windows)| (number, windows)))
}

/// One significant digit: about 600 bytes.
fn histogram() -> Option<Histogram<u16>> {
    Histogram::new_with_max(MAX_RATE, 1).ok()
}

/// (rate, windows) of the rates that occurred.
fn write_rates<S: Serializer>(rates: &Option<Histogram<u16>>, to: S) -> Result<S::Ok, S::Error> {
    let counts = |rates: &Histogram<u16>| {
        let recorded = rates.iter_recorded();
        recorded.map(|step| (step.value_iterated_to(), step.count_at_value())).collect::<Vec<_>>()
    };
    rates.as_ref().map(counts).serialize(to)
}

fn read_rates<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Histogram<u16>>, D::Error> {
    let Some(counts) = Option::<Vec<(u64, u16)>>::deserialize(from)? else { return Ok(None) };
    let mut rates = histogram();
    if let Some(rates) = &mut rates {
        counts.into_iter().for_each(|(rate, windows)| rates.saturating_record_n(rate, windows));
    }
    Ok(rates)
}

impl PatternWatch {
    /// A pattern just seen for the first time.
    pub fn new(template: &str, severe: bool) -> Self {
        PatternWatch {
            watch: Watch::default(),
            quiet: Quiet::default(),
            early: Some(Early::default()),
            newcomer: None,
            subject: template.into(),
            severe,
            season: None,
            rates: None,
        }
    }

    /// Numbers of its open anomalies.
    pub fn open_numbers(&self) -> impl Iterator<Item = u64> {
        let newcomer = self.newcomer.map(|(number, _)| number);
        [newcomer, self.watch.open_number(), self.quiet.open_number()].into_iter().flatten()
    }

    /// Moves the level to what is usual at `now`, coming from `before`.
    pub fn turn(&mut self, before: UnixNanos, now: UnixNanos) {
        if let Some(season) = &self.season {
            self.watch.level.shift(season.step(before, now));
        }
    }

    /// A burst that is usual at this hour.
    pub fn usual_burst(&self, now: UnixNanos) -> Option<f64> {
        self.season.as_ref().and_then(|season| season.usual_burst(now))
    }

    /// Takes a window into week and histogram. Of an anomaly, the week learns the peak alone: what comes at the same hour
    /// every day is no anomaly.
    pub fn remember(&mut self, now: UnixNanos, seen: f64, windows: f64, window_seconds: f64) {
        if self.watch.level.age() < SETTLED_WINDOWS {
            return;
        }
        let normal = self.watch.open_number().is_none() && self.quiet.open_number().is_none();
        let season = self.season.get_or_insert_with(|| Season::new(now, window_seconds));
        season.learn(now, seen, windows, normal);
        if self.rates.is_none() {
            self.rates = histogram();
        }
        if let Some(rates) = self.rates.as_mut().filter(|_| normal) {
            rates.saturating_record((seen / windows).round() as u64);
        }
    }

    /// Quantile of records per window since the pattern settled.
    pub fn rate_at(&self, quantile: f64) -> Option<f64> {
        self.rates.as_ref().filter(|rates| !rates.is_empty()).map(|rates| rates.value_at_quantile(quantile) as f64)
    }
}
