//! How fast to send and how long to wait before trying again: pure arithmetic.
//!
//! Purpose: keep a rate over the whole run (a slow answer is caught up, a burst of one batch is allowed); space retries.
//! Promises: a function of its arguments; time and randomness come from outside.
//! Never: sleeps.

use std::time::Duration;

/// A rate in records per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    records_per_second: f64,
}

impl Pace {
    /// A pace of `records_per_second`, above zero.
    pub fn new(records_per_second: f64) -> Self {
        Pace { records_per_second }
    }

    /// How long to wait before the next batch, `sent` records and `elapsed` into the run.
    pub fn wait(self, sent: u64, elapsed: Duration) -> Duration {
        let due = Duration::try_from_secs_f64(sent as f64 / self.records_per_second).unwrap_or(Duration::MAX);
        due.saturating_sub(elapsed)
    }

    /// The largest batch that still looks like a steady stream: about a tenth of a second's worth.
    pub fn batch(self, largest: usize) -> usize {
        ((self.records_per_second / 10.0).ceil() as usize).clamp(1, largest)
    }
}

impl std::str::FromStr for Pace {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (number, seconds) = match text.trim().split_once('/') {
            None => (text.trim(), 1.0),
            Some((number, "s" | "sec")) => (number, 1.0),
            Some((number, "m" | "min")) => (number, 60.0),
            Some((number, "h")) => (number, 3_600.0),
            Some(_) => ("", 1.0),
        };
        match number.trim().parse::<f64>() {
            Ok(count) if count > 0.0 && count.is_finite() => Ok(Pace::new(count / seconds)),
            _ => Err(format!("{text:?} is not a rate: write records per time above zero, such as 500/s or 10000/m")),
        }
    }
}

/// Waits between tries: exponential with jitter, or as long as the server says where that is longer.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Wait before the first retry.
    pub initial: Duration,
    /// Longest wait of our own choosing; a server may ask for more.
    pub longest: Duration,
    /// Give up once this much time has passed since the first try.
    pub give_up_after: Duration,
}

impl Backoff {
    /// The wait before retry number `retry` (0 first), or `None` to give up. `random` in 0..1 spreads clients apart.
    pub fn wait(&self, retry: u32, elapsed: Duration, server_says: Option<Duration>, random: f64) -> Option<Duration> {
        let grown = self.initial.as_secs_f64() * 1.5_f64.powi(retry.min(64) as i32);
        let own = grown.min(self.longest.as_secs_f64()) * (0.5 + random);
        let wait = match server_says {
            Some(wait) => wait,
            None => Duration::try_from_secs_f64(own).unwrap_or(self.longest),
        };
        (elapsed.saturating_add(wait) <= self.give_up_after).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_parse() {
        for (text, per_second) in [("500/s", 500.0), ("600/m", 10.0), ("7200/h", 2.0), ("0.5", 0.5), (" 3 /s", 3.0)] {
            assert_eq!(text.parse(), Ok(Pace::new(per_second)), "{text}");
        }
        for bad in ["", "0", "-1/s", "inf/s", "NaN", "5/fortnight", "many/s"] {
            assert!(bad.parse::<Pace>().unwrap_err().contains("500/s"), "{bad}");
        }
    }

    #[test]
    fn a_pace_is_kept_over_the_run() {
        let pace = Pace::new(100.0);
        let ms = Duration::from_millis;
        for (sent, elapsed, wait) in [
            (0, ms(0), ms(0)),
            (10, ms(0), ms(100)),
            (10, ms(40), ms(60)),
            (10, ms(500), ms(0)),
            (60, ms(500), ms(100)),
        ] {
            assert_eq!(pace.wait(sent, elapsed), wait, "{sent} sent after {elapsed:?}");
        }
        assert_eq!(Pace::new(1e-300).wait(1, ms(5)), Duration::MAX - ms(5));
    }

    #[test]
    fn slow_paces_make_small_batches() {
        for (rate, batch) in [(1.0, 1), (100.0, 10), (1_000_000.0, 512), (0.01, 1)] {
            assert_eq!(Pace::new(rate).batch(512), batch, "{rate}/s");
        }
    }

    #[test]
    fn waits_grow_stay_bounded_and_end() {
        let secs = Duration::from_secs;
        let backoff = Backoff { initial: secs(1), longest: secs(30), give_up_after: secs(300) };
        assert_eq!(backoff.wait(0, secs(0), None, 0.5), Some(secs(1)));
        assert_eq!(backoff.wait(1, secs(0), None, 0.5), Some(Duration::from_millis(1_500)));
        assert_eq!(backoff.wait(60, secs(0), None, 0.5), Some(secs(30)));
        assert_eq!(backoff.wait(0, secs(0), None, 0.0), Some(Duration::from_millis(500)));
        assert_eq!(backoff.wait(9, secs(0), Some(secs(0)), 0.9), Some(secs(0)), "the server's word counts");
        assert_eq!(backoff.wait(0, secs(290), Some(secs(11)), 0.0), None);
        assert_eq!(backoff.wait(u32::MAX, secs(299), None, 0.5), None);
    }
}
