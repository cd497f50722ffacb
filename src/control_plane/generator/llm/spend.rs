//! What a day's questions may cost.
//!
//! Purpose: tokens and money of the present UTC day, and whether one more request fits under the caps.
//! Promises: a request is let through only if its worst case fits; what a failed request may have cost is booked as if
//! it had; the day begins anew at midnight UTC and never because of a clock that went back.
//! Never: trusts a provider's count below zero or above what a request can hold.

use serde::{Deserialize, Serialize};

use crate::clock::UnixNanos;

const DAY_NANOS: u64 = 86_400 * 1_000_000_000;

/// Tokens of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub input: u64,
    /// Of the answer.
    pub output: u64,
}

/// US dollars for a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Prices {
    /// Of prompts.
    pub input: f64,
    /// Of answers.
    pub output: f64,
}

impl Prices {
    /// Dollars for some tokens.
    pub fn cost(&self, tokens: Tokens) -> f64 {
        (tokens.input as f64 * self.input.max(0.0) + tokens.output as f64 * self.output.max(0.0)) / 1e6
    }
}

/// The present day's spending.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spend {
    /// Days since 1970.
    pub day: u64,
    /// Tokens of prompts.
    pub input_tokens: u64,
    /// Tokens of answers.
    pub output_tokens: u64,
    /// US dollars.
    pub dollars: f64,
    /// US dollars of this day and others that no books have yet.
    pub unbooked_dollars: f64,
}

/// Limits of a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Caps {
    /// Tokens of prompts and answers together.
    pub tokens: u64,
    /// US dollars.
    pub dollars: f64,
}

impl Spend {
    /// Begins a new day if `now` is in one.
    pub fn roll(&mut self, now: UnixNanos) {
        let day = now / DAY_NANOS;
        if day > self.day {
            *self = Spend { day, unbooked_dollars: self.unbooked_dollars, ..Spend::default() };
        }
    }

    /// Whether a request of at most `tokens` still fits.
    pub fn allows(&self, tokens: Tokens, prices: Prices, caps: Caps) -> bool {
        let used = self.input_tokens.saturating_add(self.output_tokens);
        let wanted = tokens.input.saturating_add(tokens.output);
        let cost = prices.cost(tokens);
        used.saturating_add(wanted) <= caps.tokens && (cost == 0.0 || self.dollars + cost <= caps.dollars)
    }

    /// Dollars spent since `before`. A day that began in between is counted alone: what the day before cost after that moment
    /// is not known.
    pub fn dollars_since(&self, before: &Spend) -> f64 {
        if self.day == before.day { (self.dollars - before.dollars).max(0.0) } else { self.dollars }
    }

    /// Tokens, the same way.
    pub fn tokens_since(&self, before: &Spend) -> u64 {
        let used = |spend: &Spend| spend.input_tokens.saturating_add(spend.output_tokens);
        if self.day == before.day { used(self).saturating_sub(used(before)) } else { used(self) }
    }

    /// Counts what a request took.
    pub fn book(&mut self, tokens: Tokens, prices: Prices) {
        self.input_tokens = self.input_tokens.saturating_add(tokens.input);
        self.output_tokens = self.output_tokens.saturating_add(tokens.output);
        self.dollars += prices.cost(tokens);
        self.unbooked_dollars += prices.cost(tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices { input: 1.0, output: 10.0 };

    #[test]
    fn caps_hold_and_days_pass() {
        let mut spend = Spend::default();
        spend.roll(20_000 * DAY_NANOS + 5);
        let request = Tokens { input: 1000, output: 100 };
        let caps = Caps { tokens: 2500, dollars: 1.0 };
        assert!(spend.allows(request, PRICES, caps));
        spend.book(request, PRICES);
        assert_eq!((spend.input_tokens, spend.output_tokens, spend.dollars), (1000, 100, 0.002));
        spend.book(request, PRICES);
        assert!(!spend.allows(request, PRICES, caps), "tokens");
        assert!(spend.allows(Tokens { input: 300, output: 0 }, PRICES, caps));
        let money = Caps { tokens: u64::MAX, dollars: 0.005 };
        assert!(!spend.allows(request, PRICES, money), "money");
        assert!(spend.allows(request, Prices::default(), money), "a free model costs nothing");
        spend.roll(20_000 * DAY_NANOS);
        spend.roll(19_999 * DAY_NANOS);
        assert_eq!(spend.input_tokens, 2000, "a clock that went back starts no day");
        let later = Spend { dollars: spend.dollars + 0.5, input_tokens: spend.input_tokens + 7, ..spend.clone() };
        assert_eq!((later.dollars_since(&spend), later.tokens_since(&spend)), (0.5, 7));
        let next = Spend { day: spend.day + 1, dollars: 0.25, output_tokens: 3, ..Spend::default() };
        assert_eq!((next.dollars_since(&spend), next.tokens_since(&spend)), (0.25, 3), "another day");
        spend.roll(20_001 * DAY_NANOS);
        let unbooked_dollars = 0.004;
        assert_eq!(spend, Spend { day: 20_001, unbooked_dollars, ..Spend::default() }, "books are not of a day");
        spend.book(Tokens { input: u64::MAX, output: u64::MAX }, PRICES);
        assert!(!spend.allows(request, Prices::default(), Caps { tokens: u64::MAX - 1, dollars: 0.0 }));
    }
}
