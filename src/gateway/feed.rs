//! What the detector found, on its way to the control plane.
//!
//! Purpose: tell of each anomaly when it opens, when its evidence changes, and when it ends.
//! Promises: what was not acknowledged is told again; nothing waits in a queue: what to tell is worked out anew from the
//! detector's own bounded list; one that goes on unchanged is told of every [`ANOMALY_HEARTBEAT`].
//! Never: sends.

use std::collections::HashMap;

use crate::clock::UnixNanos;
use crate::control_plane::analysis::anomaly::Anomaly;
use crate::control_plane::api::MAX_ANOMALIES;
use crate::control_plane::store::{ANOMALY_HEARTBEAT, AnomalyRow, Timestamp};

/// What was told of an anomaly.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    score: f64,
    seen: f64,
    patterns: usize,
    ended: Option<UnixNanos>,
    heartbeat: u64,
}

impl Told {
    fn of(anomaly: &Anomaly, at: UnixNanos) -> Told {
        let Anomaly { score, seen, patterns, ended, .. } = *anomaly;
        let beats = at / ANOMALY_HEARTBEAT.as_nanos().max(1) as u64;
        Told { score, seen, patterns, ended, heartbeat: if ended.is_some() { 0 } else { beats } }
    }
}

/// What is new of the anomalies of one detector.
#[derive(Debug, Default)]
pub(super) struct Feed {
    told: HashMap<String, Told>,
    waiting: Vec<(String, Told)>,
}

impl Feed {
    /// What to tell now of `found`, as of `at`.
    pub(super) fn take(&mut self, found: &[Anomaly], at: UnixNanos) -> Vec<AnomalyRow> {
        let mut before = std::mem::take(&mut self.told);
        // What the detector no longer lists needs no mark.
        let known = found.iter().filter_map(|anomaly| before.remove_entry(&anomaly.id));
        self.told = known.collect();
        let is_news = |anomaly: &&Anomaly| self.told.get(&anomaly.id) != Some(&Told::of(anomaly, at));
        let news: Vec<&Anomaly> = found.iter().filter(is_news).take(MAX_ANOMALIES).collect();
        self.waiting = news.iter().map(|anomaly| (anomaly.id.clone(), Told::of(anomaly, at))).collect();
        news.into_iter().map(|anomaly| row(anomaly, at)).collect()
    }

    /// What was taken last has arrived.
    pub(super) fn acknowledge(&mut self) {
        self.told.extend(self.waiting.drain(..));
    }
}

fn row(anomaly: &Anomaly, at: UnixNanos) -> AnomalyRow {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    AnomalyRow {
        id: anomaly.id.clone(),
        kind: anomaly.kind.as_str().to_owned(),
        service: anomaly.service.clone(),
        pattern: anomaly.pattern.clone(),
        subject: anomaly.subject.clone(),
        score: anomaly.score,
        p_value: anomaly.p_value,
        p_threshold: anomaly.p_threshold,
        expected: anomaly.expected,
        seen: anomaly.seen,
        windows: count(anomaly.windows),
        dispersion: anomaly.dispersion,
        patterns: count(anomaly.patterns),
        since: Timestamp::of(anomaly.since),
        at: Timestamp::of(anomaly.noticed),
        updated_at: Timestamp::of(anomaly.ended.unwrap_or(at)),
        ended_at: anomaly.ended.map(Timestamp::of),
        end: anomaly.end.map(|end| end.as_str().to_owned()),
        replica: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::analysis::anomaly::{End, Kind};

    const SECOND: u64 = 1_000_000_000;

    fn anomaly(id: &str) -> Anomaly {
        Anomaly {
            id: id.into(),
            kind: Kind::Spike,
            service: "shop".into(),
            pattern: None,
            subject: String::new(),
            score: 9.0,
            p_value: 1e-9,
            p_threshold: 1e-7,
            expected: 1.0,
            seen: 9.0,
            windows: 2,
            dispersion: 0.1,
            p99: None,
            patterns: 1,
            since: 80 * SECOND,
            noticed: 100 * SECOND,
            ended: None,
            end: None,
        }
    }

    fn ids(rows: &[AnomalyRow]) -> Vec<&str> {
        rows.iter().map(|row| row.id.as_str()).collect()
    }

    #[test]
    fn what_is_new_is_told_until_it_arrives() {
        let (mut feed, mut found) = (Feed::default(), vec![anomaly("a"), anomaly("b")]);
        assert_eq!(ids(&feed.take(&found, 100 * SECOND)), ["a", "b"]);
        assert_eq!(ids(&feed.take(&found, 110 * SECOND)), ["a", "b"], "not acknowledged");
        feed.acknowledge();
        assert_eq!(ids(&feed.take(&found, 119 * SECOND)), [""; 0], "nothing is new");
        found[1].score = 12.0;
        let rows = feed.take(&found, 119 * SECOND);
        assert_eq!((ids(&rows), rows[0].updated_at), (vec!["b"], Timestamp::of(119 * SECOND)));
        feed.acknowledge();
        assert_eq!(ids(&feed.take(&found, 130 * SECOND)), ["a", "b"], "they go on: the next heartbeat");
        feed.acknowledge();
        (found[0].ended, found[0].end) = (Some(140 * SECOND), Some(End::Subsided));
        let rows = feed.take(&found, 150 * SECOND);
        assert_eq!((ids(&rows), rows[0].end.as_deref()), (vec!["a"], Some("subsided")));
        assert_eq!(rows[0].updated_at, Timestamp::of(140 * SECOND));
        feed.acknowledge();
        assert_eq!(ids(&feed.take(&found[..1], 9_000 * SECOND)), [""; 0], "what ended is told of once");
        assert_eq!(feed.told.len(), 1, "what is no longer listed is forgotten");
    }

    #[test]
    fn a_report_is_bounded_and_the_rest_comes_with_the_next() {
        let found: Vec<Anomaly> = (0..MAX_ANOMALIES + 5).map(|n| anomaly(&n.to_string())).collect();
        let mut feed = Feed::default();
        assert_eq!(feed.take(&found, 0).len(), MAX_ANOMALIES);
        feed.acknowledge();
        assert_eq!(feed.take(&found, 0).len(), 5);
    }
}
