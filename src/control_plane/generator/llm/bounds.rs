//! How far an answer may move a worth.
//!
//! Purpose: whatever a model says, and whoever made it say so, the outcome stays near what statistics say.
//! Promises: the result lies within `max_below_statistics` and `max_above_statistics` of the statistical worth and
//! within 0 to 10; it moves at most `max_step` from the present worth (brought into those limits first); patterns of
//! ERROR and above, new and anomalous ones never lie below statistics, and errors not below `error_floor`.
//! Never: looks at text.

use super::config::LlmBoundsConfig;
use super::facts::{MAX_WORTH, PatternFacts, in_range};
use crate::data_plane::window::Band;

/// Least and greatest worth that a pattern may have, whatever is answered.
pub fn limits(facts: &PatternFacts, bounds: &LlmBoundsConfig) -> (f64, f64) {
    let statistical = facts.statistical_worth();
    let is_error = facts.severity >= Band::Error;
    let guarded = is_error || facts.is_new || facts.is_anomalous;
    let below = if guarded { 0.0 } else { bounds.max_below_statistics.max(0.0) };
    let floor = if is_error { bounds.error_floor } else { 0.0 };
    let low = in_range((statistical - below).max(floor));
    let high = in_range(statistical + bounds.max_above_statistics.max(0.0)).max(low);
    (low, high)
}

/// Worth without an answer: what statistics say, with the floor of errors.
pub fn unanswered(facts: &PatternFacts, bounds: &LlmBoundsConfig) -> f64 {
    let (low, high) = limits(facts, bounds);
    facts.statistical_worth().clamp(low, high)
}

/// Worth after an answer of `vote` points.
pub fn settle(vote: f64, facts: &PatternFacts, bounds: &LlmBoundsConfig) -> f64 {
    let (low, high) = limits(facts, bounds);
    let present = facts.present.map_or(facts.statistical_worth(), in_range).clamp(low, high);
    let step = bounds.max_step.clamp(0.0, MAX_WORTH);
    let target = in_range(vote).clamp(low, high);
    // Clamped again: the sum may miss a limit by a rounding.
    (present + (target - present).clamp(-step, step)).clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn facts(statistical: f64, present: Option<f64>, severity: Band) -> PatternFacts {
        PatternFacts { statistical, present, severity, ..PatternFacts::default() }
    }

    #[test]
    fn a_vote_is_followed_step_by_step() {
        let bounds = LlmBoundsConfig::default();
        #[rustfmt::skip]
        let table = [
            // vote, statistical, present, severity, settled
            (0.0,      5.0, None,       Band::Info,  3.0),
            (0.0,      5.0, Some(3.0),  Band::Info,  1.0),
            (0.0,      5.0, Some(1.0),  Band::Info,  1.0),
            (10.0,     5.0, None,       Band::Info,  7.0),
            (10.0,     5.0, Some(8.5),  Band::Info,  9.0),
            (5.5,      5.0, None,       Band::Info,  5.5),
            (0.0,      8.0, None,       Band::Error, 8.0),
            (0.0,      2.0, None,       Band::Error, 6.0),
            (0.0,      9.0, Some(0.0),  Band::Fatal, 9.0),
            (f64::NAN, 4.0, None,       Band::Info,  5.0),
            (-1e300,   4.0, Some(1e9),  Band::Info,  6.0),
            (3.0, f64::NAN, None,       Band::Info,  3.0),
        ];
        for (vote, statistical, present, severity, settled) in table {
            let result = settle(vote, &facts(statistical, present, severity), &bounds);
            assert_eq!(result, settled, "{vote} {statistical} {present:?} {severity:?}");
        }
        let new = PatternFacts { is_new: true, ..facts(5.0, None, Band::Info) };
        let anomalous = PatternFacts { is_anomalous: true, ..facts(5.0, None, Band::Info) };
        assert_eq!((settle(0.0, &new, &bounds), settle(0.0, &anomalous, &bounds)), (5.0, 5.0));
    }

    proptest! {
        #[test]
        fn no_answer_leaves_the_bounds(
            vote in any::<f64>(), statistical in any::<f64>(), present in proptest::option::of(any::<f64>()),
            new in any::<bool>(), anomalous in any::<bool>(), error in any::<bool>(),
            max_step in 0.0..10.0f64, below in 0.0..10.0f64, above in 0.0..10.0f64, floor in 0.0..10.0f64,
        ) {
            let bounds = LlmBoundsConfig {
                max_step, max_below_statistics: below, max_above_statistics: above, error_floor: floor,
            };
            let severity = if error { Band::Error } else { Band::Info };
            let facts = PatternFacts {
                is_new: new, is_anomalous: anomalous, ..facts(statistical, present, severity)
            };
            let statistical = facts.statistical_worth();
            let settled = settle(vote, &facts, &bounds);
            prop_assert!((0.0..=MAX_WORTH).contains(&settled));
            if error || new || anomalous {
                prop_assert!(settled >= statistical);
            } else {
                prop_assert!(settled >= statistical - below - 1e-9);
            }
            prop_assert!(!error || settled >= floor);
            let raised = if error { floor } else { 0.0 };
            prop_assert!(settled <= (statistical + above).max(raised) + 1e-9);
            // Two answers differ by no more than two steps: that is all the say a model has in a round.
            prop_assert!((settled - settle(10.0, &facts, &bounds)).abs() <= 2.0 * max_step + 1e-9);
        }
    }
}
