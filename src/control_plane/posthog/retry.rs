//! Whether and when a request is made again.
//!
//! Promises: waits double and are spread; never longer than `max`, but for an order from PostHog, which is obeyed up to an
//! hour; faults that a repetition cannot cure are not repeated.
//! Never: sleeps, or draws: the randomness is an argument.

use std::time::Duration;

use super::fault::{Fault, FaultKind};

/// As long as an hourly limit can ask for.
const MOST_ORDERED: Duration = Duration::from_secs(3_660);

/// The rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries, the first included.
    pub max_attempts: u32,
    /// Before the second try.
    pub initial: Duration,
    /// Longest wait.
    pub max: Duration,
}

impl RetryPolicy {
    /// The wait after the `failures`th failure in a row, `None` to give up. `random` is from 0 to 1; `known` is whether
    /// PostHog has ever answered: a host that never did is more likely misspelt than away.
    pub fn wait(&self, fault: &Fault, failures: u32, known: bool, random: f64) -> Option<Duration> {
        let may_pass = match fault.kind {
            FaultKind::Busy | FaultKind::Server | FaultKind::Broken => true,
            FaultKind::Unreachable => known,
            _ => false,
        };
        if !may_pass || failures >= self.max_attempts {
            return None;
        }
        if let Some(ordered) = fault.after {
            return (ordered <= MOST_ORDERED).then_some(ordered);
        }
        let doubled = self.initial.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.max);
        let random = if random.is_nan() { 0.5 } else { random.clamp(0.0, 1.0) };
        Some(doubled.mul_f64(0.5 + random / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { max_attempts: 5, initial: Duration::from_secs(1), max: Duration::from_secs(6) };

    fn fault(kind: FaultKind, after: Option<u64>) -> Fault {
        Fault { kind, detail: String::new(), after: after.map(Duration::from_secs) }
    }

    #[test]
    fn what_may_pass_is_tried_again_and_nothing_else() {
        for kind in FaultKind::ALL {
            let again = POLICY.wait(&fault(kind, None), 1, true, 0.0).is_some();
            let expected =
                matches!(kind, FaultKind::Busy | FaultKind::Server | FaultKind::Broken | FaultKind::Unreachable);
            assert_eq!(again, expected, "{kind:?}");
        }
        assert_eq!(POLICY.wait(&fault(FaultKind::Unreachable, None), 1, false, 0.0), None, "most likely misspelt");
    }

    #[test]
    fn waits_double_up_to_the_bound_and_are_spread_over_its_upper_half() {
        let waits = |random: f64| -> Vec<Option<Duration>> {
            (1..=5).map(|failures| POLICY.wait(&fault(FaultKind::Server, None), failures, true, random)).collect()
        };
        let seconds = |list: [f64; 4]| -> Vec<Option<Duration>> {
            list.iter().map(|s| Some(Duration::from_secs_f64(*s))).chain([None]).collect()
        };
        assert_eq!(waits(0.0), seconds([0.5, 1.0, 2.0, 3.0]));
        assert_eq!(waits(1.0), seconds([1.0, 2.0, 4.0, 6.0]));
        assert_eq!(waits(f64::NAN).len(), 5, "odd randomness does no harm");
    }

    #[test]
    fn an_order_is_obeyed_unless_it_is_longer_than_any_limit() {
        assert_eq!(POLICY.wait(&fault(FaultKind::Busy, Some(90)), 1, true, 0.3), Some(Duration::from_secs(90)));
        assert_eq!(POLICY.wait(&fault(FaultKind::Busy, Some(86_400)), 1, true, 0.3), None);
    }
}
