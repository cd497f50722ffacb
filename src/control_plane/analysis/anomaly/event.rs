//! An anomaly as a value: what happened, since when, and why it is believed.
//!
//! Purpose: what metrics, `/anomalies`, the store and the API show.
//! Promises: serialises; the id is a function of service, kind, pattern and start, so that it is the same everywhere; a
//! time is a string of Unix nanoseconds, as in `/patterns`.
//! Never: changes after its end.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twox_hash::XxHash64;

use crate::clock::UnixNanos;
use crate::control_plane::analysis::frequency::kept::number;

/// What kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A pattern that its service never wrote before (or not for long), and not just once or twice.
    NewPattern,
    /// Many new patterns of a service at once: most often a deploy.
    Deploy,
    /// Many more records of a pattern, or of a whole service, than expected.
    Spike,
    /// A pattern, or a whole service, that stopped.
    Silence,
    /// A larger share of a service's records in some severity.
    SeverityShift,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] = [Kind::NewPattern, Kind::Deploy, Kind::Spike, Kind::Silence, Kind::SeverityShift];

    /// Its name in metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::NewPattern => "new_pattern",
            Kind::Deploy => "deploy",
            Kind::Spike => "spike",
            Kind::Silence => "silence",
            Kind::SeverityShift => "severity_shift",
        }
    }
}

/// Why an anomaly is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Back to what was expected.
    Subsided,
    /// It lasted for `accept_after` and is the new normal.
    Accepted,
    /// Part of another anomaly: new patterns of a deploy.
    Grouped,
    /// The pattern or service is no longer watched, or the gateway saw nothing for a while.
    Lost,
}

impl End {
    /// Its name in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            End::Subsided => "subsided",
            End::Accepted => "accepted",
            End::Grouped => "grouped",
            End::Lost => "lost",
        }
    }
}

/// An anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    /// 16 hex digits.
    pub id: String,
    /// What kind.
    pub kind: Kind,
    /// `service.name`.
    pub service: String,
    /// The pattern; `None` when it concerns the whole service.
    pub pattern: Option<String>,
    /// The pattern's template, or the severities whose share grew. Log text: escape it where it is shown.
    pub subject: String,
    /// How surprising: −log₁₀ of the p-value at its most surprising, at most 300. 6 means one in a million.
    #[serde(deserialize_with = "number")]
    pub score: f64,
    /// Probability of what was seen if nothing had changed, at its most surprising.
    #[serde(deserialize_with = "number")]
    pub p_value: f64,
    /// Probability below which an alarm is raised, for this service at that time.
    #[serde(deserialize_with = "number")]
    pub p_threshold: f64,
    /// Records per window expected.
    #[serde(deserialize_with = "number")]
    pub expected: f64,
    /// Records per window seen (the most, for a spike).
    #[serde(deserialize_with = "number")]
    pub seen: f64,
    /// Windows looked at together.
    pub windows: usize,
    /// Dispersion of the prediction: variance = mean + dispersion · mean².
    #[serde(deserialize_with = "number")]
    pub dispersion: f64,
    /// Records per window that all but 1 of 100 normal windows of the pattern, or of the service, stayed within; `None` in
    /// its first hour.
    #[serde(deserialize_with = "number_or_null")]
    pub p99: Option<f64>,
    /// Patterns concerned.
    pub patterns: usize,
    /// Start of the first window that belongs to it.
    #[serde(rename = "since_unix_nano", serialize_with = "as_text", deserialize_with = "from_text")]
    pub since: UnixNanos,
    /// When it was noticed.
    #[serde(rename = "noticed_unix_nano", serialize_with = "as_text", deserialize_with = "from_text")]
    pub noticed: UnixNanos,
    /// When it ended; `None` while it goes on.
    #[serde(rename = "ended_unix_nano", serialize_with = "as_text_or_null", deserialize_with = "from_text_or_null")]
    pub ended: Option<UnixNanos>,
    /// Why it ended.
    pub end: Option<End>,
}

impl Anomaly {
    /// The id of an anomaly.
    pub fn id_of(service: &str, kind: Kind, pattern: Option<&str>, since: UnixNanos) -> String {
        let text = format!("{service}\0{}\0{}\0{since}", kind.as_str(), pattern.unwrap_or(""));
        format!("{:016x}", XxHash64::oneshot(0, text.as_bytes()))
    }
}

fn number_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    /// Checks it.
    #[derive(Deserialize)]
    struct Number(#[serde(deserialize_with = "number")] f64);
    Ok(Option::<Number>::deserialize(from)?.map(|Number(value)| value))
}

fn as_text<S: Serializer>(nanos: &UnixNanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&nanos.to_string())
}

fn as_text_or_null<S: Serializer>(nanos: &Option<UnixNanos>, serializer: S) -> Result<S::Ok, S::Error> {
    match nanos {
        Some(nanos) => serializer.serialize_some(&nanos.to_string()),
        None => serializer.serialize_none(),
    }
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<UnixNanos, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn from_text_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<UnixNanos>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// Something that happened to an anomaly.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It was noticed.
    Started(Anomaly),
    /// It is over.
    Ended(Anomaly),
}

impl Event {
    /// The anomaly.
    pub fn anomaly(&self) -> &Anomaly {
        match self {
            Event::Started(anomaly) | Event::Ended(anomaly) => anomaly,
        }
    }
}
