//! Keep or drop one record, and why.
//!
//! Purpose: the order of reasons in one pure function.
//! Promises: protections come before every drop; records kept for novelty or the floor are chosen before randomness is
//! looked at, so that weights stay unbiased; every answer carries a reason.
//! Never: reads a clock, draws randomness, or counts.

use super::threshold::{Incoming, RANDOMNESS_RANGE, stacked};
use crate::data_plane::policy::{Form, Resolution};
use crate::data_plane::window::Sight;

/// Why a record was kept or dropped. Metrics, summaries and debug output share these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Kept: a summary of dropped records from a LipService before this one.
    Summary,
    /// Kept: a policy with `protect: true` matches.
    Protect,
    /// Kept: the severity is protected.
    Severity,
    /// Kept: among the first records of its pattern, which nobody has seen before.
    Novelty,
    /// Kept: among the first records of its pattern in this window.
    Floor,
    /// Kept: its pattern is anomalous, so more is kept than its policy's percentage (or the default) says.
    Anomaly,
    /// Kept: every policy that matches keeps all.
    PolicyAll,
    /// Dropped: a policy with `keep: none` matches.
    PolicyNone,
    /// Kept or dropped by a policy's percentage.
    PolicyPercentage,
    /// Kept or dropped by a policy's rate limit.
    PolicyRateLimit,
    /// Kept or dropped by the default percentage: no policy matches.
    Default,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Reason; 11] = [
        Reason::Summary,
        Reason::Protect,
        Reason::Severity,
        Reason::Novelty,
        Reason::Floor,
        Reason::Anomaly,
        Reason::PolicyAll,
        Reason::PolicyNone,
        Reason::PolicyPercentage,
        Reason::PolicyRateLimit,
        Reason::Default,
    ];

    /// Its name in metrics, summaries and debug output.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Summary => "summary",
            Reason::Protect => "protect",
            Reason::Severity => "severity",
            Reason::Novelty => "novelty",
            Reason::Floor => "floor",
            Reason::Anomaly => "anomaly",
            Reason::PolicyAll => "policy_all",
            Reason::PolicyNone => "policy_none",
            Reason::PolicyPercentage => "policy_percentage",
            Reason::PolicyRateLimit => "policy_rate_limit",
            Reason::Default => "default",
        }
    }
}

/// What is known of a record before its policies are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Randomness and threshold it came with.
    pub incoming: Incoming,
    /// Whether it is a summary record of an earlier LipService.
    pub is_summary: bool,
    /// The policy that protects it.
    pub protected_by: Option<u16>,
    /// Whether its severity is protected.
    pub severity_protected: bool,
    /// The policy that orders it dropped (`keep: none`): novelty and floor do not apply.
    pub ordered_drop: Option<u16>,
    /// The rejection threshold while its pattern is anomalous, else 2⁵⁶; it lowers a percentage's threshold, never raises
    /// it, and does not touch `keep: none` and rate limits.
    pub boost: u64,
    /// Its pattern's counts.
    pub sight: Sight,
}

/// The settings a decision needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Records kept when a pattern is new.
    pub novelty_records: u64,
    /// Records kept of a pattern in every window.
    pub floor_records: u64,
    /// Rejection threshold of records that no policy matches.
    pub default_threshold: u64,
}

/// Keep or drop, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the record stays.
    pub keep: bool,
    /// Why.
    pub reason: Reason,
    /// The policy that decided, by index.
    pub policy: Option<u16>,
    /// The threshold the kept record must carry; equal to the incoming one when nothing was sampled.
    pub threshold: u64,
}

/// Decides on one record. `ask_policies` consumes rate limits and is asked only when nothing before it decides.
#[inline]
pub fn decide(facts: &Facts, settings: &Settings, ask_policies: impl FnOnce() -> Resolution) -> Decision {
    let incoming = facts.incoming;
    let keep = |reason, policy| Decision { keep: true, reason, policy, threshold: incoming.threshold };
    if facts.is_summary {
        return keep(Reason::Summary, None);
    }
    if facts.protected_by.is_some() {
        return keep(Reason::Protect, facts.protected_by);
    }
    if facts.severity_protected {
        return keep(Reason::Severity, None);
    }
    if facts.ordered_drop.is_none() {
        if !facts.sight.is_known && facts.sight.seen < settings.novelty_records {
            return keep(Reason::Novelty, None);
        }
        if facts.sight.kept_in_window < settings.floor_records {
            return keep(Reason::Floor, None);
        }
    }
    by_policy(facts, settings, &ask_policies())
}

/// What the policies' resolution means for the record.
fn by_policy(facts: &Facts, settings: &Settings, resolution: &Resolution) -> Decision {
    let incoming = facts.incoming;
    let decided = |keep, reason| Decision { keep, reason, policy: resolution.policy, threshold: incoming.threshold };
    match resolution.form {
        Form::All => decided(true, Reason::PolicyAll),
        Form::None => decided(false, Reason::PolicyNone),
        Form::RateLimit => decided(resolution.keep, Reason::PolicyRateLimit),
        Form::Percentage => {
            let boost = if resolution.limited { RANDOMNESS_RANGE } else { facts.boost };
            let Resolution { randomness, threshold, own_randomness, .. } = *resolution;
            let (keep, reason, threshold) = boosted(randomness, threshold, boost, Reason::PolicyPercentage);
            let threshold = stacked(incoming.threshold, threshold, own_randomness);
            Decision { threshold, ..decided(keep, reason) }
        }
        Form::Unmatched => {
            let threshold = settings.default_threshold;
            let (keep, reason, threshold) = boosted(incoming.randomness, threshold, facts.boost, Reason::Default);
            Decision { threshold: stacked(incoming.threshold, threshold, false), ..decided(keep, reason) }
        }
    }
}

/// Holds randomness against the lower of two thresholds, which is also the one to write: a record kept while its pattern
/// is boosted stands for fewer others, whether or not it would have stayed without.
fn boosted(randomness: u64, threshold: u64, boost: u64, reason: Reason) -> (bool, Reason, u64) {
    let lower = threshold.min(boost);
    let reason = if randomness < threshold && randomness >= lower { Reason::Anomaly } else { reason };
    (randomness >= lower, reason, lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_plane::policy::threshold_of;

    const SETTINGS: Settings = Settings { novelty_records: 2, floor_records: 1, default_threshold: 0 };

    fn facts() -> Facts {
        Facts {
            incoming: Incoming { randomness: 0, threshold: 0 },
            is_summary: false,
            protected_by: None,
            severity_protected: false,
            ordered_drop: None,
            boost: RANDOMNESS_RANGE,
            sight: Sight { seen: 100, kept_in_window: 5, is_known: false },
        }
    }

    fn resolution(keep: bool, form: Form, policy: Option<u16>) -> Resolution {
        Resolution { keep, form, policy, ..Resolution::UNMATCHED }
    }

    fn percentage(p: f64, r: u64) -> Resolution {
        let threshold = threshold_of(p);
        Resolution { threshold, randomness: r, ..resolution(r >= threshold, Form::Percentage, Some(7)) }
    }

    /// (name, facts, what policies say, keep, reason, policy)
    type Case = (&'static str, Facts, Resolution, bool, Reason, Option<u16>);

    #[test]
    fn the_order_of_reasons() {
        let none = resolution(false, Form::None, Some(3));
        let new = Sight { seen: 1, kept_in_window: 1, is_known: false };
        let quiet = Sight { seen: 9, kept_in_window: 0, is_known: false };
        let (known, first) = (Sight { is_known: true, ..new }, Sight { seen: 0, kept_in_window: 0, is_known: true });
        let ordered = Facts { ordered_drop: Some(3), ..facts() };
        let cases: [Case; 14] = [
            ("summary", Facts { is_summary: true, ..ordered }, none, true, Reason::Summary, None),
            ("protect", Facts { protected_by: Some(1), ..ordered }, none, true, Reason::Protect, Some(1)),
            ("severity", Facts { severity_protected: true, ..ordered }, none, true, Reason::Severity, None),
            ("none beats novelty", Facts { sight: new, ..ordered }, none, false, Reason::PolicyNone, Some(3)),
            ("none beats floor", Facts { sight: quiet, ..ordered }, none, false, Reason::PolicyNone, Some(3)),
            ("novelty", Facts { sight: new, ..facts() }, percentage(0.0, 0), true, Reason::Novelty, None),
            ("floor", Facts { sight: quiet, ..facts() }, percentage(0.0, 0), true, Reason::Floor, None),
            (
                "known elsewhere",
                Facts { sight: known, ..facts() },
                percentage(0.0, 0),
                false,
                Reason::PolicyPercentage,
                Some(7),
            ),
            ("known, but quiet", Facts { sight: first, ..facts() }, percentage(0.0, 0), true, Reason::Floor, None),
            ("all", facts(), resolution(true, Form::All, Some(2)), true, Reason::PolicyAll, Some(2)),
            ("percentage drops", facts(), percentage(50.0, 0), false, Reason::PolicyPercentage, Some(7)),
            ("percentage keeps", facts(), percentage(50.0, 1 << 55), true, Reason::PolicyPercentage, Some(7)),
            ("limit", facts(), resolution(false, Form::RateLimit, Some(4)), false, Reason::PolicyRateLimit, Some(4)),
            ("default", facts(), resolution(true, Form::Unmatched, None), true, Reason::Default, None),
        ];
        for (name, facts, resolution, keep, reason, policy) in cases {
            let decision = decide(&facts, &SETTINGS, || resolution);
            assert_eq!((decision.keep, decision.reason, decision.policy), (keep, reason, policy), "{name}");
        }
    }

    #[test]
    fn a_boost_lowers_the_threshold_of_percentages_and_of_nothing_else() {
        let half = threshold_of(50.0);
        let at = |boost: f64, randomness: u64| Facts {
            boost: threshold_of(boost),
            incoming: Incoming { randomness, threshold: 0 },
            ..facts()
        };
        let tenth = |facts: &Facts| percentage(10.0, facts.incoming.randomness);
        let limited = |facts: &Facts| Resolution { limited: true, ..tenth(facts) };
        let none = |_: &Facts| resolution(false, Form::None, Some(3));
        let rate = |_: &Facts| resolution(false, Form::RateLimit, Some(4));
        type Ask<'a> = &'a dyn Fn(&Facts) -> Resolution;
        // (boost in percent, randomness, what policies say, keep, reason, threshold)
        let cases: [(f64, u64, Ask<'_>, bool, Reason, u64); 9] = [
            (50.0, half, &tenth, true, Reason::Anomaly, half),
            (50.0, half - 1, &tenth, false, Reason::PolicyPercentage, half),
            (50.0, threshold_of(10.0), &tenth, true, Reason::PolicyPercentage, half),
            (100.0, 0, &tenth, true, Reason::Anomaly, 0),
            (5.0, threshold_of(10.0), &tenth, true, Reason::PolicyPercentage, threshold_of(10.0)),
            (5.0, threshold_of(10.0) - 1, &tenth, false, Reason::PolicyPercentage, threshold_of(10.0)),
            (100.0, 0, &limited, false, Reason::PolicyPercentage, threshold_of(10.0)),
            (100.0, 0, &none, false, Reason::PolicyNone, 0),
            (100.0, 0, &rate, false, Reason::PolicyRateLimit, 0),
        ];
        for (boost, randomness, ask, keep, reason, threshold) in cases {
            let facts = at(boost, randomness);
            let decision = decide(&facts, &SETTINGS, || ask(&facts));
            assert_eq!(
                (decision.keep, decision.reason, decision.threshold),
                (keep, reason, threshold),
                "{boost} {reason:?}"
            );
        }
        let settings = Settings { default_threshold: half, ..SETTINGS };
        let decision = decide(&at(100.0, 0), &settings, || Resolution::UNMATCHED);
        assert_eq!((decision.keep, decision.reason, decision.threshold), (true, Reason::Anomaly, 0));
    }

    #[test]
    fn protections_do_not_consume_rate_limits() {
        for facts in [
            Facts { is_summary: true, ..facts() },
            Facts { protected_by: Some(1), ..facts() },
            Facts { severity_protected: true, ..facts() },
            Facts { sight: Sight::default(), ..facts() },
        ] {
            decide(&facts, &SETTINGS, || panic!("the policies were asked"));
        }
    }

    #[test]
    fn thresholds_stack_and_protected_records_keep_theirs() {
        let incoming = Incoming { randomness: u64::MAX >> 8, threshold: threshold_of(50.0) };
        let sampled = Facts { incoming, ..facts() };
        let keep = |facts: &Facts, resolution| decide(facts, &SETTINGS, || resolution).threshold;
        assert_eq!(keep(&sampled, percentage(25.0, incoming.randomness)), threshold_of(25.0));
        assert_eq!(keep(&sampled, percentage(75.0, incoming.randomness)), threshold_of(50.0));
        assert_eq!(keep(&sampled, resolution(true, Form::RateLimit, Some(1))), threshold_of(50.0));
        assert_eq!(keep(&Facts { severity_protected: true, ..sampled }, percentage(1.0, 0)), threshold_of(50.0));
    }
}
