//! What is usual at this time of the week.
//!
//! Purpose: per hour of the week (UTC), the mean and the peak of records per window.
//! Promises: 168 slots and no more; an hour counts once it is over; a slot without a week's history borrows the same hour
//! of the day before.
//! Never: reads a clock; whoever asks gives the time.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::kept::amount;
use crate::clock::UnixNanos;

/// Hours in a week.
const SLOTS: usize = 168;
const HOUR_NS: u64 = 3_600_000_000_000;
/// How much a new week weighs in a slot's mean.
const NEW_WEEK: f32 = 0.5;
/// How far a mean may move the prediction from one window to the next.
const LARGEST_STEP: f64 = 3.0;
/// Records per window added to means before they are compared, so that nothing is infinitely more than nothing.
const LEAST: f64 = 0.1;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Slot {
    mean: f32,
    peak: f32,
}

const UNKNOWN: Slot = Slot { mean: f32::NAN, peak: f32::NAN };

/// A series' week.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Season {
    #[serde(serialize_with = "write_slots", deserialize_with = "read_slots")]
    slots: Box<[Slot; SLOTS]>,
    /// Windows an hour must have to count: half of it.
    #[serde(deserialize_with = "amount")]
    needed: f64,
    running: u64,
    #[serde(deserialize_with = "amount")]
    sum: f64,
    #[serde(deserialize_with = "amount")]
    windows: f64,
    #[serde(deserialize_with = "amount")]
    peak: f64,
}

/// Only the hours that are known: (hour, mean, peak).
fn write_slots<S: Serializer>(slots: &[Slot; SLOTS], to: S) -> Result<S::Ok, S::Error> {
    let known = slots.iter().enumerate().filter(|(_, slot)| !slot.mean.is_nan());
    to.collect_seq(known.map(|(hour, slot)| (hour as u8, slot.mean, slot.peak)).collect::<Vec<_>>())
}

fn read_slots<'de, D: Deserializer<'de>>(from: D) -> Result<Box<[Slot; SLOTS]>, D::Error> {
    let mut slots = Box::new([UNKNOWN; SLOTS]);
    for (hour, mean, peak) in Vec::<(u8, f32, f32)>::deserialize(from)? {
        let sound = [mean, peak].iter().all(|value| (0.0..=1e30).contains(value));
        match slots.get_mut(usize::from(hour)).filter(|_| sound) {
            Some(slot) => *slot = Slot { mean, peak },
            None => return Err(D::Error::custom("no hour of a week")),
        }
    }
    Ok(slots)
}

impl Season {
    /// Knows nothing; `now` falls in its first hour, which counts as a part.
    pub fn new(now: UnixNanos, window_seconds: f64) -> Self {
        let needed = 1800.0 / window_seconds;
        Season { slots: Box::new([UNKNOWN; SLOTS]), needed, running: now / HOUR_NS, sum: 0.0, windows: 0.0, peak: 0.0 }
    }

    /// Takes in one window of `exposure` that ended at `now`. A window that is not `normal` counts for the peak alone.
    pub fn learn(&mut self, now: UnixNanos, seen: f64, exposure: f64, normal: bool) {
        let hour = now / HOUR_NS;
        if hour != self.running {
            self.finish();
            self.running = hour;
        }
        self.peak = self.peak.max(seen / exposure);
        if normal {
            self.sum += seen;
            self.windows += exposure;
        }
    }

    fn finish(&mut self) {
        if self.windows >= self.needed {
            let slot = &mut self.slots[(self.running % SLOTS as u64) as usize];
            let mean = (self.sum / self.windows) as f32;
            let peak = self.peak as f32;
            *slot = match slot.mean.is_nan() {
                true => Slot { mean, peak },
                false => Slot { mean: slot.mean + NEW_WEEK * (mean - slot.mean), peak: peak.max(slot.peak * 0.8) },
            };
        }
        (self.sum, self.windows, self.peak) = (0.0, 0.0, 0.0);
    }

    /// The slot of an hour, or of the same hour of the day before.
    fn slot(&self, hour: u64) -> Option<Slot> {
        let at = |hour: u64| self.slots[(hour % SLOTS as u64) as usize];
        [at(hour), at(hour.wrapping_sub(24))].into_iter().find(|slot| !slot.mean.is_nan())
    }

    /// The mean at a moment, between the middles of two hours.
    fn mean(&self, now: UnixNanos) -> Option<f64> {
        let shifted = now.saturating_sub(HOUR_NS / 2);
        let (first, second) = (self.slot(shifted / HOUR_NS)?, self.slot(shifted / HOUR_NS + 1)?);
        let part = (shifted % HOUR_NS) as f64 / HOUR_NS as f64;
        Some(f64::from(first.mean) * (1.0 - part) + f64::from(second.mean) * part)
    }

    /// By what the prediction changes from `before` to `now`: 1 while either is unknown.
    pub fn step(&self, before: UnixNanos, now: UnixNanos) -> f64 {
        match (self.mean(before), self.mean(now)) {
            (Some(before), Some(now)) => ((now + LEAST) / (before + LEAST)).clamp(1.0 / LARGEST_STEP, LARGEST_STEP),
            _ => 1.0,
        }
    }

    /// The largest window of this hour in earlier weeks (or of the day before), in records, where it stood out from the
    /// hour: a batch that runs every night.
    pub fn usual_burst(&self, now: UnixNanos) -> Option<f64> {
        let slot = self.slot(now / HOUR_NS)?;
        let stands_out = slot.peak > 3.0 * slot.mean + 10.0;
        stands_out.then(|| f64::from(slot.peak))
    }
}
