//! Whether it is time for a run, and whether its policy may go into force.
//!
//! Promises: pure: everything known is an argument; the reason comes with the answer.
//! Never: reads a clock, a store or a window.

use serde::Serialize;

use crate::clock::UnixNanos;
use crate::control_plane::generator::config::{GeneratorConfig, Publish};
use crate::control_plane::store::{Action, Activation};

/// Why a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Somebody asked for it.
    Wanted,
    /// There was none yet.
    First,
    /// The interval is over.
    Interval,
    /// Too many bytes are of patterns that no run has looked at.
    Unscored,
    /// What is kept is off what the replay promised.
    BudgetError,
    /// Many patterns appeared.
    NewPatterns,
}

impl Trigger {
    /// Its name in logs and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Trigger::Wanted => "wanted",
            Trigger::First => "first",
            Trigger::Interval => "interval",
            Trigger::Unscored => "unscored",
            Trigger::BudgetError => "budget_error",
            Trigger::NewPatterns => "new_patterns",
        }
    }
}

/// What is known when it is decided.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    /// Now.
    pub now: UnixNanos,
    /// When the last run began.
    pub last_run: Option<UnixNanos>,
    /// Somebody asked for a run.
    pub is_wanted: bool,
    /// Length of what was seen, in nanoseconds.
    pub seen_ns: u64,
    /// Share of the bytes of patterns that no run has looked at; `None` when there was no run in this process.
    pub unscored_share: Option<f64>,
    /// Share of the bytes that is kept since the last run, and the share that its replay promised; `None` while there is
    /// no policy of ours in force, or too little was seen.
    pub kept: Option<(f64, f64)>,
    /// Patterns that appeared since the last run.
    pub new_patterns: u64,
}

impl Observed {
    /// How far what is kept is off what was promised, relative to that.
    pub fn budget_error(&self) -> Option<f64> {
        self.kept.map(|(observed, promised)| (observed - promised).abs() / promised.max(1e-6))
    }
}

/// Whether a run begins now, and why.
pub fn trigger(seen: &Observed, config: &GeneratorConfig) -> Option<Trigger> {
    if seen.seen_ns == 0 {
        return None;
    }
    if seen.is_wanted {
        return Some(Trigger::Wanted);
    }
    let nanos = |period: crate::units::Period| period.0.as_nanos() as u64;
    if seen.seen_ns < nanos(config.warm_up) {
        return None;
    }
    let Some(last) = seen.last_run else { return Some(Trigger::First) };
    let since = seen.now.saturating_sub(last);
    if since >= nanos(config.interval) {
        return Some(Trigger::Interval);
    }
    let drift = &config.drift;
    if since < nanos(drift.pause) {
        return None;
    }
    if seen.budget_error().is_some_and(|error| error > drift.budget_error) {
        Some(Trigger::BudgetError)
    } else if seen.unscored_share.is_some_and(|share| share > drift.unscored_share) {
        Some(Trigger::Unscored)
    } else if seen.new_patterns > drift.new_patterns {
        Some(Trigger::NewPatterns)
    } else {
        None
    }
}

/// What becomes of a policy that may be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes into force, by this mode.
    Publish(Publish),
    /// A person took the loop's policies back, and has not put any in force since.
    Held,
}

/// How the driver of rollouts is called: what it takes back, the next run may try again.
const ROLLOUT: &str = crate::control_plane::rollout::drive::ACTOR;

/// A person who rolls back or deactivates the loop's policies stops it: it writes on, and publishes again once a person
/// has put one of its versions in force. `last` is the latest entry of its history, `own` the loop's name there.
pub fn verdict(mode: Publish, last: Option<&Activation>, own: &str) -> Verdict {
    match last {
        Some(last) if ![own, ROLLOUT].contains(&&*last.actor) && last.action != Action::Activate => Verdict::Held,
        _ => Verdict::Publish(mode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::store::Timestamp;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_run_begins_for_the_first_of_its_reasons() {
        let config = GeneratorConfig::default();
        let quiet = Observed {
            now: 10_000 * SECOND,
            last_run: Some(9_000 * SECOND),
            seen_ns: 900 * SECOND,
            unscored_share: Some(0.1),
            kept: Some((0.21, 0.2)),
            new_patterns: 3,
            is_wanted: false,
        };
        let drifted = Observed { kept: Some((0.3, 0.2)), unscored_share: Some(0.5), new_patterns: 500, ..quiet };
        let table = [
            (quiet, None),
            (Observed { is_wanted: true, ..quiet }, Some(Trigger::Wanted)),
            (Observed { is_wanted: true, seen_ns: 0, ..quiet }, None),
            (Observed { last_run: None, ..quiet }, Some(Trigger::First)),
            (Observed { last_run: None, seen_ns: 299 * SECOND, ..quiet }, None),
            (Observed { last_run: Some(6_400 * SECOND), ..quiet }, Some(Trigger::Interval)),
            (Observed { last_run: Some(6_401 * SECOND), ..quiet }, None),
            (drifted, Some(Trigger::BudgetError)),
            (Observed { kept: Some((0.1, 0.2)), ..quiet }, Some(Trigger::BudgetError)),
            (Observed { kept: None, ..drifted }, Some(Trigger::Unscored)),
            (Observed { kept: None, unscored_share: None, ..drifted }, Some(Trigger::NewPatterns)),
            // Right after a run nothing but a person starts another.
            (Observed { last_run: Some(9_500 * SECOND), ..drifted }, None),
            // A clock that went back is no reason.
            (Observed { last_run: Some(20_000 * SECOND), ..drifted }, None),
        ];
        for (seen, expected) in table {
            assert_eq!(trigger(&seen, &config), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_person_who_takes_a_policy_back_stops_publishing() {
        let entry = |actor: &str, action| Activation {
            seq: 1,
            service: String::new(),
            number: Some(1),
            action,
            actor: actor.into(),
            reason: String::new(),
            at: Timestamp::default(),
        };
        let verdict = |last: Option<Activation>| verdict(Publish::Live, last.as_ref(), "generator");
        assert_eq!(verdict(None), Verdict::Publish(Publish::Live));
        assert_eq!(verdict(Some(entry("generator", Action::Activate))), Verdict::Publish(Publish::Live));
        assert_eq!(verdict(Some(entry("ann", Action::Rollback))), Verdict::Held);
        assert_eq!(verdict(Some(entry("ann", Action::Deactivate))), Verdict::Held);
        assert_eq!(verdict(Some(entry("ann", Action::Activate))), Verdict::Publish(Publish::Live));
        assert_eq!(verdict(Some(entry("generator", Action::Rollback))), Verdict::Publish(Publish::Live));
    }
}
