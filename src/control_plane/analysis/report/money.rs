//! What the messages of a report cost, and how many there are when they are a sample.
//!
//! Promises: a pattern pays its share of the bill by bytes, so that a free tier belongs to everyone alike; a sample's bytes
//! are scaled up with its messages.
//! Never: guesses: without times there is no month, and no cost.

use serde::Serialize;

use super::Report;
use crate::control_plane::insights::{MONTH_DAYS, Prices, Sample};

/// A month at this rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Costs {
    /// Sign before amounts.
    pub currency: String,
    /// Bytes.
    pub month_bytes: f64,
    /// Price of them.
    pub month: f64,
}

impl Report {
    /// Says what a month of this costs.
    pub fn price(&mut self, prices: &Prices) {
        let Some(span) = &self.span else { return };
        // Less than a step is no rate.
        let seconds = ((span.last - span.first) as f64 / 1e9).max(span.step_seconds as f64);
        let scale = self.sample.as_ref().map_or(1.0, Report::scale);
        let month_bytes = self.bytes as f64 * scale * MONTH_DAYS * 86_400.0 / seconds;
        let month = prices.month(month_bytes);
        for pattern in &mut self.patterns {
            pattern.month = Some(month * pattern.bytes as f64 / self.bytes.max(1) as f64);
        }
        self.costs = Some(Costs { currency: prices.currency.clone(), month_bytes, month });
    }

    /// Says how many there are of everything the messages are a sample of.
    pub fn extrapolate(&mut self, sample: Sample) {
        for pattern in &mut self.patterns {
            pattern.estimate = Some(sample.estimate(pattern.messages));
        }
        for severity in &mut self.severities {
            severity.estimate = Some(sample.estimate(severity.messages));
        }
        self.sample = Some(sample);
    }

    fn scale(sample: &Sample) -> f64 {
        sample.population as f64 / sample.rows.max(1) as f64
    }
}
