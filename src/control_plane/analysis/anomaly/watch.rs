//! One series under watch for spikes: from calm to alarm and back.
//!
//! Purpose: the state machine start → ongoing → end around a [`Level`], for a pattern, a whole service, or the share of a
//! severity.
//! Promises: an alarm needs a tail probability below the limit, enough records, and a second high window to confirm it; it
//! must outlast the short bursts that this series is known for (or, while young, may have); it ends after three calm
//! windows, or after `accept_after`, when what lasts becomes the level; nothing is learned while it goes on.
//! Never: sets the limit (see `service`).

use serde::{Deserialize, Serialize};

use super::event::End;
use crate::control_plane::analysis::frequency::kept::{amount, number, small_count};
use crate::control_plane::analysis::frequency::{Level, Surprise, tail};

/// Windows in a row that must look normal before an anomaly ends.
const CALM_WINDOWS: u32 = 3;
/// A window looks normal when a count as high has at least this probability.
const LN_CALM: f64 = -3.912_023_005_428_146; // ln 0.02
/// What is over sooner is a burst: it is remembered as a habit.
const BURST_WINDOWS: f64 = 6.0;
/// A window is high when it holds so many times what was expected.
const HIGH_FACTOR: f64 = 1.5;
/// High windows that confirm a surprise of two windows, and one of six: a single wild window is a burst, not a spike.
const CONFIRMING: [usize; 2] = [2, 3];
/// A series that bursts must stay high for so many windows longer than it did before.
const LONGER_WINDOWS: f64 = 2.0;
/// A young series, whose habits are not known, must stay high for so many windows.
const UNKNOWN_WINDOWS: f64 = 4.0;
/// A single burst is no habit yet for what is so many times as surprising (in logarithms): it may have been chance.
const MORE_SURPRISING: f64 = 1.5;
/// Age at which habits are known: 12 hours of 10 s windows.
const KNOWN_WINDOWS: f64 = 4_320.0;
/// Windows without a burst after which the habit is forgotten: 3 days of 10 s.
const HABIT_WINDOWS: f64 = 25_920.0;
/// A burst that is usual at an hour varies at least this much from day to day.
const LEAST_BURST_DISPERSION: f64 = 0.02;

/// A series and its alarm.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Watch {
    /// Mean and dispersion.
    pub level: Level,
    habit: Option<Habit>,
    open: Option<Open>,
}

/// Short bursts of the last days.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Habit {
    /// The longest, in windows.
    #[serde(deserialize_with = "amount")]
    length: f64,
    /// Windows since the last.
    #[serde(deserialize_with = "amount")]
    ago: f64,
    /// How many there were.
    #[serde(deserialize_with = "amount")]
    times: f64,
    /// The lowest tail probability in them.
    #[serde(deserialize_with = "number")]
    ln_p: f64,
}

/// A candidate, and once it has lasted long enough, an anomaly.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Open {
    number: Option<u64>,
    #[serde(deserialize_with = "amount")]
    windows: f64,
    /// Those that were high.
    #[serde(deserialize_with = "amount")]
    high: f64,
    #[serde(deserialize_with = "small_count")]
    calm: u32,
    /// The lowest tail probability in it.
    #[serde(deserialize_with = "number")]
    ln_p: f64,
}

/// One window of a series.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Records seen.
    pub seen: f64,
    /// Records expected.
    pub expected: f64,
    /// What the mean is relative to: windows, or records of the service.
    pub exposure: f64,
    /// Length of the frame in windows.
    pub windows: f64,
    /// Dispersion of series like this one.
    pub prior: &'a [f64; 3],
    /// Natural logarithm of the probability below which an alarm is raised; `None` when the series is too young.
    pub ln_limit: Option<f64>,
    /// Records above the expectation that an alarm needs.
    pub min_records: f64,
    /// Seen over expected that an alarm needs.
    pub min_factor: f64,
    /// A burst that is usual at this time of the week.
    pub usual_burst: Option<f64>,
    /// Age from which a series that stops is news.
    pub steady_windows: f64,
    /// Windows after which what lasts is accepted.
    pub accept_windows: f64,
}

/// What a window meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing to tell.
    Calm,
    /// An alarm: open an anomaly and [`Watch::open`] it.
    Starts(Surprise),
    /// The anomaly with this number goes on.
    Goes(u64, Surprise),
    /// The anomaly with this number ended.
    Ends(u64, End),
}

impl Watch {
    /// The number of the open anomaly.
    pub fn open_number(&self) -> Option<u64> {
        self.open.and_then(|open| open.number)
    }

    /// Notes that an anomaly was opened for the last [`Verdict::Starts`].
    pub fn open(&mut self, number: u64) {
        if let Some(open) = &mut self.open {
            open.number = Some(number);
        }
    }

    /// Ends the open anomaly from outside.
    pub fn close(&mut self) -> Option<u64> {
        self.open.take().and_then(|open| open.number)
    }

    /// Takes in one window.
    pub fn step(&mut self, window: &Window<'_>) -> Verdict {
        self.level.note(window.seen, window.expected);
        if let Some(habit) = &mut self.habit {
            habit.ago += window.windows;
        }
        self.habit = self.habit.filter(|habit| habit.ago < HABIT_WINDOWS);
        let surprise = self.level.surprise(window.prior);
        match self.open {
            Some(open) => self.follow(open, window, surprise),
            None if is_alarm(window, &surprise) && self.is_confirmed(&surprise) => {
                // A minute may look strange for a burst of two windows in it.
                let high = self.level.high(surprise.windows, HIGH_FACTOR) as f64;
                let open = Open { number: None, windows: high, high, calm: 0, ln_p: surprise.ln_p };
                self.open = Some(open);
                self.raise(open, window, surprise)
            }
            None => {
                self.level.learn(window.seen, window.expected, window.exposure, window.windows, window.prior);
                Verdict::Calm
            }
        }
    }

    /// Whether enough windows are high, the last one among them.
    fn is_confirmed(&self, surprise: &Surprise) -> bool {
        let [of_two, of_six] = CONFIRMING;
        let (windows, least) = if surprise.windows <= 2 { (2, of_two) } else { (surprise.windows, of_six) };
        self.level.high(1, HIGH_FACTOR) == 1 && self.level.high(windows, HIGH_FACTOR) >= least
    }

    /// A candidate becomes an alarm once it has lasted longer than bursts of this series do.
    fn raise(&self, open: Open, window: &Window<'_>, surprise: Surprise) -> Verdict {
        let known = self.habit.filter(|habit| habit.explains(surprise.ln_p));
        let by_habit = known.map_or(0.0, |habit| habit.length + LONGER_WINDOWS);
        let by_age = if self.level.age() < KNOWN_WINDOWS { UNKNOWN_WINDOWS } else { 0.0 };
        let usual = window.usual_burst.is_some_and(|peak| window.is_usual(peak));
        match open.high < by_habit.max(by_age) || usual || !is_alarm(window, &surprise) {
            true => Verdict::Calm,
            false => Verdict::Starts(surprise),
        }
    }

    fn follow(&mut self, open: Open, window: &Window<'_>, surprise: Surprise) -> Verdict {
        let ln_p = open.ln_p.min(surprise.ln_p);
        let high = open.high + self.level.high(1, HIGH_FACTOR) as f64 * window.windows;
        let mut open = Open { windows: open.windows + window.windows, high, ln_p, ..open };
        if open.windows >= window.accept_windows {
            self.open = None;
            let factor = self.level.recent_factor();
            self.level.accept(self.level.mean() * factor);
            return open.number.map_or(Verdict::Calm, |number| Verdict::Ends(number, End::Accepted));
        }
        let is_calm = self.level.surprise_of_last(window.prior).ln_p > LN_CALM;
        open.calm = if is_calm { open.calm + 1 } else { 0 };
        if open.calm >= CALM_WINDOWS {
            self.open = None;
            let length = open.windows - f64::from(open.calm);
            if length < BURST_WINDOWS {
                let known = self.habit.unwrap_or(Habit { length, ago: 0.0, times: 0.0, ln_p });
                let (length, times, ln_p) = (length.max(known.length), known.times + 1.0, ln_p.min(known.ln_p));
                self.habit = Some(Habit { length, ago: 0.0, times, ln_p });
            }
            self.level.interrupt();
            return open.number.map_or(Verdict::Calm, |number| Verdict::Ends(number, End::Subsided));
        }
        self.open = Some(open);
        match open.number {
            Some(number) => Verdict::Goes(number, surprise),
            None if open.calm == 0 => self.raise(open, window, surprise),
            None => Verdict::Calm,
        }
    }
}

impl Habit {
    /// Whether a surprise is what this series is known for.
    fn explains(&self, ln_p: f64) -> bool {
        self.times > 1.0 || ln_p > self.ln_p * MORE_SURPRISING
    }
}

impl Window<'_> {
    /// Whether a burst as large is no surprise where `peak` records a window are usual at this hour.
    fn is_usual(&self, peak: f64) -> bool {
        let dispersion = self.prior[0].max(LEAST_BURST_DISPERSION);
        self.ln_limit.is_none_or(|limit| tail::ln_at_least(self.seen, peak * self.windows, dispersion) > limit)
    }
}

fn is_alarm(window: &Window<'_>, surprise: &Surprise) -> bool {
    window.ln_limit.is_some_and(|limit| surprise.ln_p < limit)
        && surprise.seen - surprise.expected >= window.min_records
        && surprise.seen >= surprise.expected * window.min_factor
}
