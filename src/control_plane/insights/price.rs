//! Prices of a destination that bills by the byte.
//!
//! Purpose: turn bytes a month into money, with a free tier, volume discounts and retention.
//! Promises: a bill never falls when bytes rise; the cost of a part is its share of the bill.
//! Never: converts currencies. The defaults are PostHog's published prices as of September 2026: $0.25 a GB, 10 GB a month
//! free, 14 days kept, $0.05 a GB for each further month; check them against your own contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes of a billed gigabyte.
pub const GB: f64 = 1e9;
/// Days of a month on average: 365.25 / 12.
pub const MONTH_DAYS: f64 = 30.4375;

/// `prices:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// Sign before amounts.
    pub currency: String,
    /// Gigabytes (10^9 bytes) a month that cost nothing.
    pub free_gb: f64,
    /// Price steps beyond the free ones, by the month's volume.
    pub tiers: Vec<Tier>,
    /// Days of retention within the price.
    pub included_days: f64,
    /// Days that logs are kept.
    pub retention_days: f64,
    /// Price of keeping a gigabyte for each month beyond the included days.
    pub retention_per_gb_month: f64,
}

/// One step of the price.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Up to this volume a month in GB, the free ones included; left out for the last step.
    #[serde(default)]
    pub up_to_gb: Option<f64>,
    /// Price of a gigabyte in this step.
    pub per_gb: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Prices {
            currency: "$".into(),
            free_gb: 10.0,
            tiers: vec![Tier { up_to_gb: None, per_gb: 0.25 }],
            included_days: 14.0,
            retention_days: 14.0,
            retention_per_gb_month: 0.05,
        }
    }
}

impl Prices {
    /// What a month with so many billed bytes costs.
    pub fn month(&self, bytes: f64) -> f64 {
        let gb = (bytes / GB).max(0.0);
        let mut from = self.free_gb.max(0.0);
        let mut bill = 0.0;
        for tier in &self.tiers {
            let to = tier.up_to_gb.unwrap_or(f64::INFINITY).max(from);
            bill += (gb.min(to) - from).max(0.0) * tier.per_gb.max(0.0);
            from = to;
        }
        let further_months = ((self.retention_days - self.included_days) / MONTH_DAYS).max(0.0);
        bill + gb * further_months * self.retention_per_gb_month.max(0.0)
    }

    /// The most bytes a month may have to cost no more than `money`; infinite when no volume costs more.
    pub fn bytes_for(&self, money: f64) -> f64 {
        let (mut low, mut high) = (0.0, GB);
        while self.month(high) <= money {
            low = high;
            high *= 2.0;
            if high > 1e24 {
                return f64::INFINITY;
            }
        }
        // The bill is a rising function of bytes: halve until two doubles cannot be told apart.
        for _ in 0..200 {
            let middle = low + (high - low) / 2.0;
            if self.month(middle) <= money { low = middle } else { high = middle }
        }
        low
    }

    /// An amount with its sign.
    pub fn text(&self, money: f64) -> String {
        money_text(&self.currency, money)
    }
}

/// An amount, in cents below a hundred.
pub fn money_text(currency: &str, money: f64) -> String {
    let sign = if money < 0.0 { "-" } else { "" };
    let money = money.abs();
    let digits = if money < 100.0 { 2 } else { 0 };
    format!("{sign}{currency}{money:.digits$}")
}

/// A share as a percentage, three digits.
pub fn percent_text(share: f64) -> String {
    let percent = 100.0 * share;
    let digits = match percent {
        percent if percent >= 99.95 => 0,
        percent if percent >= 9.995 => 1,
        percent if percent >= 0.999_5 => 2,
        percent if percent > 0.0 => (2 - percent.log10().floor() as i32).clamp(3, 12) as usize,
        _ => 0,
    };
    format!("{percent:.digits$} %")
}

/// Bytes with a decimal unit, three digits.
pub fn bytes_text(bytes: f64) -> String {
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) if bytes / size < 10.0 => format!("{:.2} {unit}", bytes / size),
        Some((size, unit)) if bytes / size < 100.0 => format!("{:.1} {unit}", bytes / size),
        Some((size, unit)) => format!("{:.0} {unit}", bytes / size),
        None => format!("{bytes:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tiered() -> Prices {
        let step = |up_to_gb, per_gb| Tier { up_to_gb, per_gb };
        Prices { tiers: vec![step(Some(100.0), 0.25), step(Some(1_000.0), 0.2), step(None, 0.1)], ..Prices::default() }
    }

    #[test]
    fn a_bill_by_hand() {
        for (gb, bill) in [(0.0, 0.0), (10.0, 0.0), (30.0, 5.0), (100.0, 22.5), (200.0, 42.5), (2_000.0, 302.5)] {
            assert!((tiered().month(gb * GB) - bill).abs() < 1e-9, "{gb} GB: {}", tiered().month(gb * GB));
        }
        let kept_longer = Prices { retention_days: 14.0 + 2.0 * MONTH_DAYS, ..Prices::default() };
        assert!((kept_longer.month(30.0 * GB) - (5.0 + 30.0 * 0.1)).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn bytes_for_money_is_the_inverse(money in 0.01..1e5f64) {
            let bytes = tiered().bytes_for(money);
            prop_assert!((tiered().month(bytes) - money).abs() <= 1e-6 * money);
        }

        #[test]
        fn more_bytes_never_cost_less(a in 0.0..1e14f64, b in 0.0..1e14f64) {
            prop_assert!(tiered().month(a.min(b)) <= tiered().month(a.max(b)));
        }
    }

    #[test]
    fn texts() {
        for (bytes, text) in
            [(0.0, "0 B"), (999.0, "999 B"), (1.5e3, "1.50 kB"), (23.45e6, "23.4 MB"), (4e14, "400 TB")]
        {
            assert_eq!(bytes_text(bytes), text);
        }
        for (share, text) in [
            (0.0, "0 %"),
            (1.0, "100 %"),
            (0.035_156_25, "3.52 %"),
            (0.996, "99.6 %"),
            (0.000_1, "0.0100 %"),
            (0.000_012_34, "0.00123 %"),
        ] {
            assert_eq!(percent_text(share), text);
        }
        assert_eq!((money_text("$", 1.5), money_text("€", -1234.4)), ("$1.50".into(), "-€1234".into()));
    }
}
