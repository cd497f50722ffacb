//! How much may be sent, as people say it.
//!
//! Purpose: read `20%`, `50GB/day`, `$200/month` and turn it into bytes of an observed span.
//! Promises: one spelling each for parsing and printing; what is not a budget is an error that says what is.
//! Never: knows what is sent.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::control_plane::insights::{MONTH_DAYS, Prices};
use crate::units::ByteSize;

/// The span a budget is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// A day.
    Day,
    /// A month of 30.4375 days.
    Month,
}

/// How much may be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// A share of what comes in, 0 to 1.
    Share(f64),
    /// Bytes in a day or month.
    Bytes(f64, Per),
    /// Money in a day or month, in the currency of the prices.
    Money(f64, Per),
}

impl Budget {
    /// Bytes allowed in `seconds`, of which `received` came in.
    pub fn bytes(self, received: f64, seconds: f64, prices: &Prices) -> f64 {
        let days = seconds / 86_400.0;
        let in_span = |amount: f64, per: Per| match per {
            Per::Day => amount * days,
            Per::Month => amount * days / MONTH_DAYS,
        };
        match self {
            Budget::Share(share) => share * received,
            Budget::Bytes(bytes, per) => in_span(bytes, per),
            Budget::Money(money, Per::Month) => in_span(prices.bytes_for(money), Per::Month),
            Budget::Money(money, Per::Day) => in_span(prices.bytes_for(money * MONTH_DAYS), Per::Month),
        }
    }
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not a budget: write a share such as 20%, bytes such as 50GB/day, or money such as $200/month"
            )
        };
        let amount = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
        let trimmed = text.trim();
        if let Some(share) = trimmed.strip_suffix('%') {
            return amount(share).filter(|n| *n <= 100.0).map(|n| Budget::Share(n / 100.0)).ok_or_else(wrong);
        }
        let (what, per) = trimmed.split_once('/').ok_or_else(wrong)?;
        let per = match per.trim() {
            "day" | "d" => Per::Day,
            "month" | "mo" => Per::Month,
            _ => return Err(wrong()),
        };
        let what = what.trim();
        if let Some(money) = what.strip_prefix(['$', '€', '£']) {
            return amount(money).map(|n| Budget::Money(n, per)).ok_or_else(wrong);
        }
        if !what.ends_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(wrong());
        }
        match what.parse::<ByteSize>() {
            Ok(size) => Ok(Budget::Bytes(size.0 as f64, per)),
            // An amount with the code of its currency, as in 200 USD.
            Err(_) => {
                let number = what.trim_end_matches(|c: char| c.is_ascii_uppercase());
                let code = what.len() - number.len();
                amount(number).filter(|_| code == 3).map(|n| Budget::Money(n, per)).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = |per: &Per| if *per == Per::Day { "day" } else { "month" };
        match self {
            Budget::Share(share) => write!(f, "{}%", share * 100.0),
            Budget::Bytes(bytes, p) => write!(f, "{}B/{}", bytes, per(p)),
            Budget::Money(money, p) => write!(f, "${money}/{}", per(p)),
        }
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Budget {
    fn schema_name() -> Cow<'static, str> {
        "budget".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "a share such as 20%, bytes such as 50GB/day, or money such as $200/month" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_and_printed() {
        for (text, budget, printed) in [
            ("20%", Budget::Share(0.2), "20%"),
            (" 12.5 %", Budget::Share(0.125), "12.5%"),
            ("50GB/day", Budget::Bytes(5e10, Per::Day), "50000000000B/day"),
            ("1.5 GiB/month", Budget::Bytes(1.5 * f64::from(1 << 30), Per::Month), "1610612736B/month"),
            ("$200/month", Budget::Money(200.0, Per::Month), "$200/month"),
            ("7.5 USD/day", Budget::Money(7.5, Per::Day), "$7.5/day"),
        ] {
            let read: Budget = text.parse().unwrap();
            assert_eq!((read, read.to_string().as_str()), (budget, printed));
            assert_eq!(printed.parse(), Ok(budget));
        }
        for bad in
            ["", "20", "120%", "-5%", "x%", "50GB", "50/day", "50GB/week", "$/month", "$-1/month", "5 XY/day", "NaN%"]
        {
            assert!(bad.parse::<Budget>().unwrap_err().contains("is not a budget"), "{bad}");
        }
    }

    #[test]
    fn budgets_become_bytes_of_the_span() {
        let prices = Prices::default();
        let hour = 3_600.0;
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b, "{a} {b}");
        close(Budget::Share(0.2).bytes(500.0, hour, &prices), 100.0);
        close(Budget::Bytes(24e9, Per::Day).bytes(0.0, hour, &prices), 1e9);
        // $5 a month buy 20 GB beside the 10 that are free.
        close(Budget::Money(5.0, Per::Month).bytes(0.0, MONTH_DAYS * 86_400.0, &prices), 30e9);
        close(Budget::Money(5.0 / MONTH_DAYS, Per::Day).bytes(0.0, MONTH_DAYS * 86_400.0, &prices), 30e9);
    }
}
