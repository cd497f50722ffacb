//! From a verdict on a series to the anomaly in the book.
//!
//! Purpose: one place that writes down whom an anomaly is about, what was expected and what was seen.
//! Promises: a verdict opens, updates or ends exactly one anomaly.
//! Never: decides; verdicts come from `watch` and `quiet`.

use super::book::Book;
use super::config::AnomalyConfig;
use super::event::{Anomaly, End, Kind};
use super::pattern::PatternWatch;
use super::watch::{Verdict, Watch, Window};
use crate::clock::UnixNanos;
use crate::control_plane::analysis::frequency::{Pattern, Surprise};

/// What is the same for all services in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// Settings.
    pub config: &'a AnomalyConfig,
    /// End of the frame.
    pub at: UnixNanos,
    /// End of the frame before.
    pub before: UnixNanos,
    /// Length of the frame in windows.
    pub windows: f64,
    /// Length of a window in seconds.
    pub window_seconds: f64,
}

impl Moment<'_> {
    /// A period in windows.
    pub fn windows_in(&self, period: crate::units::Period) -> f64 {
        period.0.as_secs_f64() / self.window_seconds
    }

    /// Age from which a series that stops is news: 12 times the warm-up (2 hours), so that hourly pauses are known.
    pub fn steady_windows(&self) -> f64 {
        12.0 * self.windows_in(self.config.warm_up)
    }

    /// The start of the last `windows` windows.
    fn start_of(&self, windows: usize) -> UnixNanos {
        self.at.saturating_sub((windows as f64 * self.window_seconds * 1e9) as u64)
    }
}

/// Whom a verdict is about.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub service: &'a str,
    pub pattern: Option<Pattern>,
    pub moment: &'a Moment<'a>,
}

impl About<'_> {
    pub fn anomaly(&self, kind: Kind, subject: &str, surprise: &Surprise, ln_limit: f64) -> Anomaly {
        let pattern = self.pattern.map(|pattern| pattern.to_string());
        let since = self.moment.start_of(surprise.windows);
        let named = if kind == Kind::SeverityShift { Some(subject) } else { pattern.as_deref() };
        Anomaly {
            id: Anomaly::id_of(self.service, kind, named, since),
            kind,
            service: self.service.to_owned(),
            pattern,
            subject: subject.to_owned(),
            score: score(surprise.ln_p),
            p_value: surprise.ln_p.exp(),
            p_threshold: ln_limit.exp(),
            expected: surprise.expected / surprise.windows.max(1) as f64,
            seen: surprise.seen / surprise.windows.max(1) as f64,
            windows: surprise.windows,
            dispersion: surprise.dispersion,
            p99: None,
            patterns: 1,
            since,
            noticed: self.moment.at,
            ended: None,
            end: None,
        }
    }

    fn worse(anomaly: &mut Anomaly, surprise: &Surprise) {
        anomaly.seen = anomaly.seen.max(surprise.seen / surprise.windows.max(1) as f64);
        if score(surprise.ln_p) > anomaly.score {
            (anomaly.score, anomaly.p_value) = (score(surprise.ln_p), surprise.ln_p.exp());
        }
    }

    pub fn follow(
        &self,
        kind: Kind,
        watch: &mut Watch,
        subject: &str,
        window: &Window<'_>,
        ln_limit: f64,
        book: &mut Book,
    ) {
        match watch.step(window) {
            Verdict::Starts(surprise) => {
                let number = book.start(self.anomaly(kind, subject, &surprise, ln_limit));
                watch.open(number);
            }
            other => self.goes_on(&other, book),
        }
    }

    /// As [`About::follow`], for the spikes of a pattern or of a whole service.
    pub fn spike(&self, pattern: &mut PatternWatch, window: &Window<'_>, ln_limit: f64, book: &mut Book) {
        match pattern.watch.step(window) {
            Verdict::Starts(surprise) => {
                let anomaly = self.anomaly(Kind::Spike, &pattern.subject, &surprise, ln_limit);
                pattern.watch.open(book.start(Anomaly { p99: pattern.rate_at(0.99), ..anomaly }));
            }
            other => self.goes_on(&other, book),
        }
    }

    fn goes_on(&self, verdict: &Verdict, book: &mut Book) {
        match verdict {
            Verdict::Calm | Verdict::Starts(_) => {}
            Verdict::Goes(number, surprise) => book.update(*number, |anomaly| Self::worse(anomaly, surprise)),
            Verdict::Ends(number, end) => book.end(*number, self.moment.at, *end),
        }
    }

    pub fn quiet(&self, pattern: &mut PatternWatch, window: &Window<'_>, ln_limit: f64, book: &mut Book) {
        match pattern.quiet.step(window, &pattern.watch.level) {
            Verdict::Calm => {}
            Verdict::Starts(surprise) => {
                let anomaly = self.anomaly(Kind::Silence, &pattern.subject, &surprise, ln_limit);
                let anomaly = Anomaly { p99: pattern.rate_at(0.99), ..anomaly };
                pattern.quiet.open(book.start(anomaly));
                if let Some(number) = pattern.watch.close() {
                    book.end(number, self.moment.at, End::Subsided);
                }
            }
            Verdict::Goes(number, surprise) => book.update(number, |anomaly| Self::worse(anomaly, &surprise)),
            Verdict::Ends(number, end) => {
                book.end(number, self.moment.at, end);
                pattern.watch.level.interrupt();
                if end == End::Accepted {
                    pattern.watch.level.accept(0.0);
                }
            }
        }
    }
}

/// −log₁₀ p, at most 300.
fn score(ln_p: f64) -> f64 {
    (-ln_p / std::f64::consts::LN_10).clamp(0.0, 300.0)
}
