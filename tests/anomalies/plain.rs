//! What one would try first: a z-score and a Poisson test against a moving mean.
//!
//! Purpose: the measure for the detector, on the same counts with the same memory and the same end of an alarm.

use std::collections::HashMap;

use lipservice::control_plane::analysis::anomaly::Kind;
use lipservice::control_plane::analysis::frequency::tail;

use super::score::Alarm;
use super::simulator::Count;

#[derive(Clone, Copy, Debug)]
pub enum Test {
    /// Alarm above this many standard deviations.
    ZScore(f64),
    /// Alarm below this probability.
    Poisson(f64),
}

#[derive(Clone, Copy, Debug, Default)]
struct Series {
    mean: f64,
    square: f64,
    weight: f64,
    age: u64,
    seen: u64,
    open: bool,
    calm: u32,
}

/// A test on every pattern by itself.
pub struct Plain {
    test: Test,
    series: HashMap<(usize, u64), Series>,
}

const HALF_LIFE_WINDOWS: f64 = 120.0;
const YOUNG: u64 = 30;

impl Plain {
    pub fn new(test: Test) -> Self {
        Plain { test, series: HashMap::new() }
    }

    pub fn observe(&mut self, counts: &[Count], window: u64, alarms: &mut Vec<Alarm>) {
        for count in counts {
            self.series.entry((count.service, count.pattern)).or_default().seen += count.records;
        }
        let test = self.test;
        let keep = 0.5f64.powf(1.0 / HALF_LIFE_WINDOWS);
        for (&(service, pattern), series) in &mut self.series {
            let seen = series.seen as f64;
            let score = match test {
                Test::ZScore(most) => {
                    (seen - series.mean) / (series.square - series.mean * series.mean).max(1e-9).sqrt() / most
                }
                Test::Poisson(least) => {
                    tail::ln_at_least(seen, series.mean.max(0.5 / (series.weight + 1.0)), 0.0) / least.ln()
                }
            };
            let strange = series.age >= YOUNG && score > 1.0;
            if strange && !series.open {
                let (kind, pattern) = (Kind::Spike, Some(pattern));
                alarms.push(Alarm { kind, service, pattern, window });
            }
            series.calm = if strange { 0 } else { series.calm + 1 };
            series.open = (series.open || strange) && series.calm < 3;
            series.weight = series.weight * keep + 1.0;
            series.mean += (seen - series.mean) / series.weight;
            series.square += (seen * seen - series.square) / series.weight;
            (series.age, series.seen) = (series.age + 1, 0);
        }
    }
}
