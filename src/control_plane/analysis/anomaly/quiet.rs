//! A series that stopped.
//!
//! Purpose: the state machine of silence: how many records were expected since the last one, and whether that is long
//! even for this series.
//! Promises: a series that pauses by habit (a batch, a night) raises an alarm at most once per longer pause; nothing is
//! learned while it is silent; records in two windows end it.
//! Never: sets the limit.

use serde::{Deserialize, Serialize};

use super::event::End;
use super::watch::{Verdict, Window};
use crate::control_plane::analysis::frequency::kept::{amount, small_count};
use crate::control_plane::analysis::frequency::{Level, SCALES, Surprise, tail};

/// Windows of silence before it can be an alarm.
const LEAST_WINDOWS: f64 = 2.0;
/// A pause must be longer than the longest known by this factor.
const LONGER: f64 = 1.5;
/// Windows after which the longest pause known has halved: two weeks of 10 s.
const PAUSE_HALF_LIFE_WINDOWS: f64 = 120_960.0;
/// Windows with records that end a silence.
const RESUMED_WINDOWS: u32 = 2;

/// How long nothing came.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Quiet {
    #[serde(deserialize_with = "amount")]
    windows: f64,
    #[serde(deserialize_with = "amount")]
    expected: f64,
    #[serde(deserialize_with = "amount")]
    longest: f64,
    open: Option<u64>,
    #[serde(deserialize_with = "small_count")]
    resumed: u32,
}

impl Quiet {
    /// Windows since the last record.
    pub fn windows(&self) -> f64 {
        self.windows
    }

    /// The number of the open anomaly.
    pub fn open_number(&self) -> Option<u64> {
        self.open
    }

    /// Notes that an anomaly was opened for the last [`Verdict::Starts`].
    pub fn open(&mut self, number: u64) {
        (self.open, self.resumed) = (Some(number), 0);
    }

    /// Ends the open anomaly from outside.
    pub fn close(&mut self) -> Option<u64> {
        self.open.take()
    }

    /// Starts over after a gap: what came in it is not known.
    pub fn interrupt(&mut self) {
        (self.windows, self.expected) = (0.0, 0.0);
    }

    /// Takes in one window, before the level does.
    pub fn step(&mut self, window: &Window<'_>, level: &Level) -> Verdict {
        self.longest *= 0.5f64.powf(window.windows / PAUSE_HALF_LIFE_WINDOWS);
        if window.seen > 0.0 {
            return self.sound();
        }
        self.windows += window.windows;
        self.expected += window.expected;
        let (resumed, scale) = (0, SCALES.len() - 1);
        self.resumed = resumed;
        let dispersion = level.dispersion(scale, window.prior[scale]);
        let ln_p = tail::ln_nothing(self.expected, dispersion);
        let windows = self.windows.ceil() as usize;
        let surprise = Surprise { windows, seen: 0.0, expected: self.expected, dispersion, ln_p };
        match self.open {
            Some(number) if self.windows >= window.accept_windows => {
                self.open = None;
                Verdict::Ends(number, End::Accepted)
            }
            Some(number) => Verdict::Goes(number, surprise),
            None if self.is_alarm(window, level, ln_p) => Verdict::Starts(surprise),
            None => Verdict::Calm,
        }
    }

    fn is_alarm(&self, window: &Window<'_>, level: &Level, ln_p: f64) -> bool {
        window.ln_limit.is_some_and(|limit| ln_p < limit)
            && level.age() >= window.steady_windows
            && self.windows >= LEAST_WINDOWS
            && self.windows > self.longest * LONGER
            // An alarm that was accepted is not raised again.
            && self.windows < window.accept_windows
    }

    fn sound(&mut self) -> Verdict {
        if let Some(number) = self.open {
            self.resumed += 1;
            if self.resumed < RESUMED_WINDOWS {
                return Verdict::Calm;
            }
            self.open = None;
            self.end_pause();
            return Verdict::Ends(number, End::Subsided);
        }
        self.end_pause();
        Verdict::Calm
    }

    fn end_pause(&mut self) {
        self.longest = self.longest.max(self.windows);
        (self.windows, self.expected) = (0.0, 0.0);
    }
}
