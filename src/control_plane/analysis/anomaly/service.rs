//! One service under watch: its patterns, its load as a whole, the mix of its severities, its newcomers.
//!
//! Purpose: one step per frame: find what all patterns have in common, hold each against its prediction, tell the book.
//! Promises: a change of the whole service is one anomaly, not one per pattern; each anomaly ends.
//! Never: reads a clock; its size is bounded by the detector.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::about::{About, Moment};
use super::book::Book;
use super::counts::{CLASSES, Counts, Mix};
use super::event::{End, Kind};
use super::limits::Limits;
use super::novelty::{EARLY_WINDOWS, Novelty};
use super::pattern::{Early, PatternWatch, YOUNG_WINDOWS};
use super::quiet::Quiet;
use super::watch::{Watch, Window};
use crate::clock::UnixNanos;
use crate::control_plane::analysis::frequency::kept::{amount, amounts, small_count};
use crate::control_plane::analysis::frequency::{Pattern, SCALES, Surprise};
use crate::data_plane::window::Service;

/// Dispersion assumed until the service's own is known: counts vary by a third beyond Poisson's law.
const PRIOR_DISPERSION: f64 = 0.1;
/// Bounds of the prior that patterns of a service share.
const PRIOR_RANGE: (f64, f64) = (0.02, 1.0);
/// Frames between two looks at what dispersion patterns share.
const PRIOR_FRAMES: u32 = 60;
/// Patterns that must be informative before they say what the service's load is.
const LEAST_COMPANY: usize = 5;
/// What a pattern's count varies by itself beyond its dispersion: without it a large, even pattern would be all the evidence.
const OWN_DISPERSION: f64 = 0.02;
/// A pattern weighs no more than this part of all others together: its own spike must not pass for the service's load.
const MOST_OF_OTHERS: f64 = 0.5;
/// Evidence at which half of what they say is believed.
const LOAD_EVIDENCE: f64 = 60.0;
/// Records per window from which a pattern counts among those tested: rarer ones cannot reach `min_records` by chance.
const OFTEN: f64 = 0.3;
/// The load of a whole service goes up and down more than what a single pattern has of it.
const WHOLE_FACTOR: f64 = 1.5;
/// A pattern counts towards its service's mix up to so many times its expectation, and so many records.
const CUT_FACTOR: f64 = 3.0;
const CUT_RECORDS: f64 = 5.0;
/// How far the load may move predictions.
const LOAD_RANGE: (f64, f64) = (0.05, 20.0);
/// Windows without newcomers after which a deploy is over, and without an alarm a new pattern is no longer new: 5 minutes.
const SETTLE_WINDOWS: f64 = 30.0;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Deploy {
    number: u64,
    #[serde(deserialize_with = "amount")]
    since_newcomer: f64,
    #[serde(deserialize_with = "amount")]
    windows: f64,
}

/// One service.
#[derive(Debug, Serialize, Deserialize)]
pub struct ServiceWatch {
    #[serde(with = "super::state::service")]
    pub(super) service: Arc<Service>,
    #[serde(with = "super::state::patterns")]
    pub(super) patterns: HashMap<Pattern, PatternWatch, ahash::RandomState>,
    whole: PatternWatch,
    shares: [Watch; CLASSES.len()],
    novelty: [Novelty; 2],
    /// Newcomers of the last frames, newest last.
    #[serde(deserialize_with = "amounts")]
    newcomers: [f64; EARLY_WINDOWS as usize],
    deploy: Option<Deploy>,
    #[serde(deserialize_with = "amounts")]
    prior: [f64; SCALES.len()],
    #[serde(deserialize_with = "amount")]
    windows: f64,
    #[serde(deserialize_with = "small_count")]
    frames: u32,
}

impl ServiceWatch {
    /// A service just seen for the first time.
    pub fn new(service: Arc<Service>) -> Self {
        ServiceWatch {
            service,
            patterns: HashMap::default(),
            whole: PatternWatch::new("", false),
            shares: Default::default(),
            novelty: Default::default(),
            newcomers: Default::default(),
            deploy: None,
            prior: [PRIOR_DISPERSION; SCALES.len()],
            windows: 0.0,
            frames: 0,
        }
    }

    /// Takes in a frame. `room` is how many more patterns may be watched. Returns records of patterns without room.
    pub fn step(&mut self, counts: &Counts<'_>, moment: &Moment<'_>, room: &mut usize, book: &mut Book) -> f64 {
        let often = |pattern: &&PatternWatch| pattern.watch.level.mean() >= OFTEN;
        let series = self.patterns.values().filter(often).count() + 1;
        let budget = moment.config.false_alarms_per_service_day;
        let limits = Limits::new(budget, moment.window_seconds, series, CLASSES.len());
        for pattern in self.patterns.values_mut() {
            pattern.turn(moment.before, moment.at);
        }
        let warm = self.windows >= moment.windows_in(moment.config.warm_up);
        let load = self.load(counts, moment);
        let mix = self.mix(counts, moment);
        let newcomers_before = self.patterns.len();
        self.step_patterns(counts, warm, moment, &limits, load, book);
        let unwatched = self.admit(counts, room);
        let newcomers = (self.patterns.len() - newcomers_before) as f64;
        self.step_newcomers(counts, newcomers, warm, moment, &limits, book);
        self.step_whole(&mix, warm && load.is_some(), moment, &limits, book);
        self.step_shares(&mix, warm, moment, &limits, book);
        self.windows += moment.windows;
        self.frames += 1;
        if self.frames.is_multiple_of(PRIOR_FRAMES) {
            self.refresh_prior();
        }
        unwatched
    }

    /// Seen over expected that most patterns have in common; `None` when too few are informative.
    fn load(&self, counts: &Counts<'_>, moment: &Moment<'_>) -> Option<f64> {
        let mut ratios: Vec<(f64, f64)> = Vec::new();
        for (key, pattern) in &self.patterns {
            let expected = pattern.watch.level.mean() * moment.windows;
            if expected >= 1.0 && pattern.watch.level.age() >= YOUNG_WINDOWS && pattern.quiet.open_number().is_none() {
                let seen = counts.patterns.get(key).map_or(0.0, |count| count.records);
                let dispersion = pattern.watch.level.dispersion(0, self.prior[0]) + OWN_DISPERSION;
                ratios.push((seen / expected, expected / (1.0 + dispersion * expected)));
            }
        }
        if ratios.len() < LEAST_COMPANY {
            return None;
        }
        ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all: f64 = ratios.iter().map(|(_, weight)| weight).sum();
        ratios.iter_mut().for_each(|(_, weight)| *weight = weight.min((all - *weight) * MOST_OF_OTHERS));
        let evidence: f64 = ratios.iter().map(|(_, weight)| weight).sum();
        let mut below = 0.0;
        let median = ratios.iter().find(|(_, weight)| {
            below += weight;
            below * 2.0 >= evidence
        });
        let median = median.map_or(1.0, |(ratio, _)| ratio.clamp(LOAD_RANGE.0, LOAD_RANGE.1));
        Some(1.0 + (median - 1.0) * evidence / (evidence + LOAD_EVIDENCE))
    }

    /// What the service wrote, with each pattern cut to a few times what is expected of it.
    fn mix(&self, counts: &Counts<'_>, moment: &Moment<'_>) -> Mix {
        let mut mix = Mix::default();
        mix.add(&counts.others, f64::INFINITY);
        for (key, count) in &counts.patterns {
            let expected = self.patterns.get(key).map_or(0.0, |pattern| pattern.watch.level.mean());
            mix.add(count, CUT_FACTOR * expected * moment.windows + CUT_RECORDS);
        }
        mix
    }

    fn step_patterns(
        &mut self,
        counts: &Counts<'_>,
        warm: bool,
        moment: &Moment<'_>,
        limits: &Limits,
        load: Option<f64>,
        book: &mut Book,
    ) {
        let load = load.unwrap_or(1.0);
        let accept_windows = moment.windows_in(moment.config.accept_after);
        for (key, pattern) in &mut self.patterns {
            let seen = counts.patterns.get(key).map_or(0.0, |count| count.records);
            let expected = pattern.watch.level.mean() * moment.windows;
            let window = Window {
                seen,
                expected: expected * load.min(1.0),
                exposure: moment.windows,
                windows: moment.windows,
                prior: &self.prior,
                ln_limit: Some(limits.silence),
                min_records: f64::from(moment.config.min_records),
                min_factor: moment.config.min_factor,
                usual_burst: pattern.usual_burst(moment.at),
                steady_windows: moment.steady_windows(),
                accept_windows,
            };
            let about = About { service: &self.service.name, pattern: Some(*key), moment };
            about.quiet(pattern, &window, limits.silence, book);
            if pattern.quiet.open_number().is_none() {
                let is_young = pattern.watch.level.age() < YOUNG_WINDOWS;
                let ln_limit = (warm && !is_young && pattern.newcomer.is_none()).then_some(limits.spike);
                let window = Window { expected: expected * load.max(1.0), ln_limit, ..window };
                about.spike(pattern, &window, limits.spike, book);
            }
            pattern.remember(moment.at, seen, moment.windows, moment.window_seconds);
        }
    }

    /// Starts to watch what was not seen before, while there is room.
    fn admit(&mut self, counts: &Counts<'_>, room: &mut usize) -> f64 {
        let mut unwatched = 0.0;
        for (key, count) in counts.patterns.iter().filter(|(_, count)| count.records > 0.0) {
            if self.patterns.contains_key(key) {
                continue;
            }
            if *room == 0 {
                unwatched += count.records;
                continue;
            }
            *room -= 1;
            let mut pattern = PatternWatch::new(count.template, count.severe);
            pattern.watch.level.note(count.records, count.records);
            pattern.watch.level.learn(count.records, count.records, 1.0, 1.0, &self.prior);
            self.patterns.insert(*key, pattern);
        }
        unwatched
    }

    fn step_newcomers(
        &mut self,
        counts: &Counts<'_>,
        newcomers: f64,
        warm: bool,
        moment: &Moment<'_>,
        limits: &Limits,
        book: &mut Book,
    ) {
        for novelty in &mut self.novelty {
            novelty.pass(moment.windows);
        }
        self.newcomers.rotate_left(1);
        self.newcomers[EARLY_WINDOWS as usize - 1] = newcomers;
        self.step_deploy(newcomers, warm, moment, limits, book);
        let deploying = self.deploy.is_some();
        for (key, pattern) in &mut self.patterns {
            if let Some((number, windows)) = &mut pattern.newcomer {
                *windows += moment.windows;
                if *windows >= SETTLE_WINDOWS {
                    book.end(*number, moment.at, End::Accepted);
                    pattern.newcomer = None;
                }
            }
            let Some(early) = &mut pattern.early else { continue };
            let novelty = &mut self.novelty[usize::from(pattern.severe)];
            early.records += counts.patterns.get(key).map_or(0.0, |count| count.records);
            early.windows += moment.windows;
            let Early { windows, records } = *early;
            let ln_p = novelty.ln_rate_of(records).min(0.0);
            if warm && !deploying && ln_p < limits.novelty {
                let about = About { service: &self.service.name, pattern: Some(*key), moment };
                let windows = windows.ceil() as usize;
                let surprise = Surprise { windows, seen: records, expected: 0.0, dispersion: 0.0, ln_p };
                let anomaly = about.anomaly(Kind::NewPattern, &pattern.subject, &surprise, limits.novelty);
                pattern.newcomer = Some((book.start(anomaly), 0.0));
                pattern.early = None;
            } else if windows >= EARLY_WINDOWS {
                novelty.learn(if warm && !deploying { Some(records) } else { None });
                pattern.early = None;
            }
        }
    }

    fn step_deploy(&mut self, newcomers: f64, warm: bool, moment: &Moment<'_>, limits: &Limits, book: &mut Book) {
        if let Some(deploy) = &mut self.deploy {
            deploy.windows += moment.windows;
            deploy.since_newcomer = if newcomers > 0.0 { 0.0 } else { deploy.since_newcomer + moment.windows };
            book.update(deploy.number, |anomaly| anomaly.patterns += newcomers as usize);
            if deploy.since_newcomer >= SETTLE_WINDOWS
                || deploy.windows >= moment.windows_in(moment.config.accept_after)
            {
                book.end(deploy.number, moment.at, End::Subsided);
                self.deploy = None;
            }
            return;
        }
        let at_once: f64 = self.newcomers.iter().sum();
        // Either class brings newcomers; the busier one says what is usual.
        let ln_p = self.novelty.iter().map(|novelty| novelty.ln_at_once(at_once)).fold(f64::NEG_INFINITY, f64::max);
        if !warm || ln_p >= limits.novelty {
            return;
        }
        let about = About { service: &self.service.name, pattern: None, moment };
        let rate: f64 = self.novelty.iter().map(Novelty::rate).sum();
        let windows = EARLY_WINDOWS as usize;
        let expected = rate * EARLY_WINDOWS;
        let surprise = Surprise { windows, seen: at_once, expected, dispersion: 0.0, ln_p };
        let mut anomaly = about.anomaly(Kind::Deploy, "new patterns", &surprise, limits.novelty);
        anomaly.patterns = at_once as usize;
        let number = book.start(anomaly);
        self.deploy = Some(Deploy { number, since_newcomer: 0.0, windows: 0.0 });
        for pattern in self.patterns.values_mut() {
            if let Some((number, _)) = pattern.newcomer.take_if(|(_, windows)| *windows <= EARLY_WINDOWS) {
                book.end(number, moment.at, End::Grouped);
            }
        }
    }

    /// The service as a whole. It is `judged` only where several patterns make it up, else its one pattern tells the same.
    fn step_whole(&mut self, mix: &Mix, judged: bool, moment: &Moment<'_>, limits: &Limits, book: &mut Book) {
        let whole = &mut self.whole;
        whole.turn(moment.before, moment.at);
        let is_young = whole.watch.level.age() < YOUNG_WINDOWS;
        let tested = judged && !is_young;
        let window = Window {
            seen: mix.total,
            expected: whole.watch.level.mean() * moment.windows,
            exposure: moment.windows,
            windows: moment.windows,
            prior: &self.prior,
            ln_limit: tested.then_some(limits.silence),
            min_records: f64::from(moment.config.min_records),
            min_factor: moment.config.min_factor * WHOLE_FACTOR,
            usual_burst: whole.usual_burst(moment.at),
            steady_windows: moment.steady_windows(),
            accept_windows: moment.windows_in(moment.config.accept_after),
        };
        let about = About { service: &self.service.name, pattern: None, moment };
        about.quiet(whole, &window, limits.silence, book);
        if whole.quiet.open_number().is_none() {
            let window = Window { ln_limit: tested.then_some(limits.spike), ..window };
            about.spike(whole, &window, limits.spike, book);
        }
        whole.remember(moment.at, mix.total, moment.windows, moment.window_seconds);
    }

    fn step_shares(&mut self, mix: &Mix, warm: bool, moment: &Moment<'_>, limits: &Limits, book: &mut Book) {
        if mix.total <= 0.0 {
            return;
        }
        for (class, watch) in self.shares.iter_mut().enumerate() {
            let window = Window {
                seen: mix.classes[class],
                expected: watch.level.mean() * mix.total,
                exposure: mix.total,
                windows: moment.windows,
                prior: &self.prior,
                ln_limit: warm.then_some(limits.severity),
                min_records: f64::from(moment.config.min_records),
                min_factor: moment.config.min_factor,
                usual_burst: None,
                steady_windows: moment.steady_windows(),
                accept_windows: moment.windows_in(moment.config.accept_after),
            };
            let about = About { service: &self.service.name, pattern: None, moment };
            about.follow(Kind::SeverityShift, watch, CLASSES[class].name, &window, limits.severity, book);
        }
    }

    /// Starts over after a gap that began at `before`: levels go on from what is usual at `now`.
    pub fn interrupt(&mut self, before: UnixNanos, now: UnixNanos) {
        for pattern in self.patterns.values_mut().chain([&mut self.whole]) {
            pattern.turn(before, now);
            pattern.watch.level.interrupt();
            pattern.quiet.interrupt();
        }
        self.shares.iter_mut().for_each(|watch| watch.level.interrupt());
    }

    /// Gives patterns the ids that they have now: `heir` finds the id of a template. Those that became one are one series
    /// from now on, as large as they were together. Returns how many patterns are fewer.
    pub fn regroup(&mut self, heir: &dyn Fn(&str) -> Option<Pattern>, at: UnixNanos, book: &mut Book) -> usize {
        let before = self.patterns.len();
        let moved: Vec<(Pattern, Pattern)> = self
            .patterns
            .iter()
            .filter_map(|(key, pattern)| Some((*key, heir(&pattern.subject)?)))
            .filter(|(key, heir)| key != heir)
            .collect();
        for (key, heir) in moved {
            let Some(mut pattern) = self.patterns.remove(&key) else { continue };
            end_pattern(&mut pattern, at, End::Grouped, book);
            (pattern.early, pattern.quiet) = (None, Quiet::default());
            match self.patterns.get_mut(&heir) {
                Some(known) => {
                    end_pattern(known, at, End::Grouped, book);
                    (known.early, known.quiet) = (None, Quiet::default());
                    known.watch.level.absorb(&pattern.watch.level);
                }
                None => drop(self.patterns.insert(heir, pattern)),
            }
        }
        before - self.patterns.len()
    }

    /// Forgets patterns that paused for so many windows. Returns how many.
    pub fn forget(&mut self, pause: f64, at: UnixNanos, book: &mut Book) -> usize {
        let before = self.patterns.len();
        self.patterns.retain(|_, pattern| {
            let stays = pattern.quiet.windows() < pause;
            if !stays {
                end_pattern(pattern, at, End::Lost, book);
            }
            stays
        });
        before - self.patterns.len()
    }

    /// Numbers of its open anomalies.
    pub fn open_numbers(&self) -> impl Iterator<Item = u64> {
        let patterns = self.patterns.values().chain([&self.whole]).flat_map(PatternWatch::open_numbers);
        let shares = self.shares.iter().filter_map(Watch::open_number);
        patterns.chain(shares).chain(self.deploy.map(|deploy| deploy.number))
    }

    /// Ends every open anomaly.
    pub fn end_all(&mut self, at: UnixNanos, end: End, book: &mut Book) {
        for pattern in self.patterns.values_mut().chain([&mut self.whole]) {
            end_pattern(pattern, at, end, book);
        }
        let deploy = self.deploy.take().map(|deploy| deploy.number);
        let shares = self.shares.iter_mut().filter_map(Watch::close);
        shares.chain(deploy).for_each(|number| book.end(number, at, end));
    }

    /// Patterns with an open spike or as newcomers, with records per window as last seen.
    pub fn anomalous(&self) -> impl Iterator<Item = (Pattern, f64)> {
        self.patterns.iter().filter_map(|(key, pattern)| {
            let is_anomalous = pattern.watch.open_number().is_some() || pattern.newcomer.is_some();
            is_anomalous.then(|| (*key, pattern.watch.level.sum(1).0))
        })
    }

    fn refresh_prior(&mut self) {
        for scale in 0..SCALES.len() {
            let mut known: Vec<f64> =
                self.patterns.values().filter_map(|pattern| pattern.watch.level.own_dispersion(scale)).collect();
            if known.len() < LEAST_COMPANY {
                continue;
            }
            known.sort_by(f64::total_cmp);
            self.prior[scale] = known[known.len() / 2].clamp(PRIOR_RANGE.0, PRIOR_RANGE.1);
        }
    }
}

fn end_pattern(pattern: &mut PatternWatch, at: UnixNanos, end: End, book: &mut Book) {
    let newcomer = pattern.newcomer.take().map(|(number, _)| number);
    let open = [newcomer, pattern.watch.close(), pattern.quiet.close()];
    open.into_iter().flatten().for_each(|number| book.end(number, at, end));
}
