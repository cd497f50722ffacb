//! The anomalies that go on, as `lipservice top` shows them.
//!
//! Purpose: read `GET /anomalies`, and say each in a line: how surprising, since when, what was expected and seen.
//! Promises: text from logs is made harmless before it is kept; few lines are held, whatever the gateway sends; ages are
//! by the gateway's clock, so nothing here reads one.
//! Never: does input or output.

use serde::Deserialize;

use super::model::clean;
use super::render::count;

/// Anomalies asked for, and shown at most.
pub const MAX_SHOWN: usize = 5;

/// The answer of `GET /anomalies`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Anomalies {
    at_unix_nano: String,
    ongoing_total: u64,
    ongoing: Vec<Anomaly>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Anomaly {
    kind: String,
    service: String,
    subject: String,
    score: f64,
    expected: f64,
    seen: f64,
    since_unix_nano: String,
}

impl Anomalies {
    /// Reads an answer; none where it is of another kind, as older gateways have no such list.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let mut found: Anomalies = serde_json::from_slice(json).ok()?;
        found.ongoing.truncate(MAX_SHOWN);
        for Anomaly { kind, service, subject, .. } in &mut found.ongoing {
            for cell in [kind, service, subject] {
                *cell = clean(cell);
            }
        }
        Some(found)
    }

    /// A heading and a line each; nothing while nothing goes on.
    pub fn lines(&self) -> Vec<String> {
        if self.ongoing.is_empty() {
            return Vec::new();
        }
        let total = self.ongoing_total.max(self.ongoing.len() as u64);
        let heading = format!("{total} {}", if total == 1 { "anomaly goes on" } else { "anomalies go on" });
        let now = self.at_unix_nano.parse().unwrap_or(0);
        std::iter::once(heading).chain(self.ongoing.iter().map(|anomaly| anomaly.line(now))).collect()
    }
}

impl Anomaly {
    fn line(&self, now: u64) -> String {
        let Anomaly { kind, service, subject, score, .. } = self;
        let age = match self.since_unix_nano.parse::<u64>() {
            Ok(since) if now > 0 => age(now.saturating_sub(since) / 1_000_000_000),
            _ => "?".to_owned(),
        };
        let (expected, seen) = (count(self.expected.max(0.0)), count(self.seen.max(0.0)));
        format!("score {score:>5.1}  for {age:<7} {kind:<14} {service:<16} {expected} → {seen} a window  {subject}")
    }
}

/// A time in its two largest units: `42s`, `3m20s`, `2h5m`, `3d4h`.
fn age(seconds: u64) -> String {
    match seconds {
        s if s < 60 => format!("{s}s"),
        s if s < 3_600 => format!("{}m{}s", s / 60, s % 60),
        s if s < 86_400 => format!("{}h{}m", s / 3_600, s % 3_600 / 60),
        s => format!("{}d{}h", s / 86_400, s % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_and_strange_answers_do_no_harm() {
        let many = format!(r#"{{"ongoing_total":900,"ongoing":[{}]}}"#, vec!["{}"; 40].join(","));
        assert_eq!(Anomalies::parse(many.as_bytes()).unwrap().lines().len(), MAX_SHOWN + 1);
        let text = r#"{"at_unix_nano":"x","ongoing":[{"kind":"spike\u001b[2J","subject":"a\nb\u202e","since_unix_nano":"1","score":1e300}]}"#;
        let lines = Anomalies::parse(text.as_bytes()).unwrap().lines();
        assert!(lines[1].contains("spike[2J") && lines[1].contains("a b") && lines[1].contains("for ?"), "{lines:?}");
        assert_eq!(Anomalies::parse(b"<html>"), None);
        assert_eq!(Anomalies::parse(b"{}").unwrap().lines(), Vec::<String>::new());
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (200, "3m20s"), (7_500, "2h5m"), (273_600, "3d4h")] {
            assert_eq!(age(seconds), text);
        }
    }
}
