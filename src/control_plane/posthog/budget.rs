//! How many requests may still be made.
//!
//! Purpose: stay below PostHog's limits, which count requests in the minute and the hour before each request.
//! Promises: at no time do more requests lie within a minute or an hour than allowed; bounded by the hour's limit.
//! Never: waits, or reads a clock.
//!
//! PostHog throttles by a sliding log of request times (Django REST framework's `SimpleRateThrottle`), so this keeps the
//! same log. Its windows are a second longer than PostHog's: requests are counted when they leave, there when they arrive.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::UnixNanos;

const MINUTE: Duration = Duration::from_secs(61);
const HOUR: Duration = Duration::from_secs(3_601);

/// The times of the requests of an hour.
#[derive(Clone, Debug)]
pub struct Budget {
    per_minute: usize,
    per_hour: usize,
    sent: VecDeque<UnixNanos>,
}

impl Budget {
    /// So many requests a minute and an hour, at least one.
    pub fn new(per_minute: u32, per_hour: u32) -> Self {
        Budget { per_minute: per_minute.max(1) as usize, per_hour: per_hour.max(1) as usize, sent: VecDeque::new() }
    }

    /// Books a request at `now`.
    ///
    /// # Errors
    /// How long to wait before asking again; nothing was booked.
    pub fn take(&mut self, now: UnixNanos) -> Result<(), Duration> {
        let hour = HOUR.as_nanos() as u64;
        // A clock that was set back leaves times in the future; they count as now.
        while self.sent.front().is_some_and(|at| at.saturating_add(hour) <= now) {
            self.sent.pop_front();
        }
        let wait = self.wait(self.per_hour, HOUR, now).max(self.wait(self.per_minute, MINUTE, now));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.sent.push_back(now);
        Ok(())
    }

    /// Until the request that is `most` back is older than `window`.
    fn wait(&self, most: usize, window: Duration, now: UnixNanos) -> Duration {
        let Some(at) = self.sent.len().checked_sub(most).and_then(|place| self.sent.get(place)) else {
            return Duration::ZERO;
        };
        let free = (*at).min(now).saturating_add(window.as_nanos() as u64);
        Duration::from_nanos(free.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn no_minute_and_no_hour_ever_holds_more_than_allowed() {
        let mut budget = Budget::new(240, 1_200);
        let (mut now, mut sent) = (5 * SECOND, Vec::new());
        while sent.len() < 3_000 {
            match budget.take(now) {
                Ok(()) => sent.push(now),
                Err(wait) => {
                    assert!(!wait.is_zero(), "a wait of nothing would spin");
                    now += wait.as_nanos() as u64;
                }
            }
            now += SECOND / 100;
        }
        for (at, time) in sent.iter().enumerate() {
            let within = |seconds: u64| sent[..=at].iter().filter(|t| **t + seconds * SECOND > *time).count();
            assert!(within(60) <= 240 && within(3_600) <= 1_200, "{at}");
        }
        // 1,200 in the first hour, the same in the second, and the rest after that: nothing is wasted either.
        assert!((sent[2_999] - sent[0]) / SECOND < 2 * 3_601 + 400, "{}", (sent[2_999] - sent[0]) / SECOND);
    }

    #[test]
    fn a_clock_set_back_does_not_stop_it_for_good() {
        let mut budget = Budget::new(2, 10);
        assert_eq!((budget.take(1_000 * SECOND), budget.take(1_000 * SECOND)), (Ok(()), Ok(())));
        assert_eq!(budget.take(10 * SECOND), Err(MINUTE));
    }
}
