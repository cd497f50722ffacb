//! Log lines of an exporter, at most one in ten seconds.
//!
//! Purpose: an outage is told, not screamed.
//! Promises: the first line comes at once; what was held back is counted in the next.
//! Never: writes log text of records.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

const PERIOD: Duration = Duration::from_secs(10);

/// Remembers when it last let a line through.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    /// Writes a warning about the exporter `name`, or counts it.
    pub(super) fn warn(&self, name: &str, line: &str, now: Instant) {
        if let Some(held_back) = self.pass(now) {
            tracing::warn!(exporter = name, held_back, "{line}");
        }
    }

    /// `Some(lines held back since)` when a line may pass now.
    fn pass(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock();
        if last.0.is_some_and(|at| now.duration_since(at) < PERIOD) {
            last.1 += 1;
            return None;
        }
        let held_back = last.1;
        *last = (Some(now), 0);
        Some(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_ten_seconds_and_the_rest_is_counted() {
        let throttle = Throttle::default();
        let start = Instant::now();
        let passes: Vec<_> = [0, 1, 9, 10, 21].map(|s| throttle.pass(start + Duration::from_secs(s))).to_vec();
        assert_eq!(passes, [Some(0), None, None, Some(2), Some(0)]);
    }
}
