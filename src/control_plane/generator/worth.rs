//! What a pattern is worth when nobody but its numbers is asked.
//!
//! Purpose: a worth from 0 to 10 by severity, rarity and burstiness, with the reason in words; what a model has not scored
//! yet, and everything when there is no model, gets it.
//! Promises: pure; more severe, rarer or burstier never means less worth; within 0 to 10; the reason names every part.
//! Never: reads what a message says.
//!
//! worth = severity + rarity + bursts, at most 10:
//! severity: unset 3, trace 0.5, debug 1, info 3, warn 6, error 9, fatal 10;
//! rarity: 0 at a tenth of the service's records and above, growing by 0.5 with each factor of ten, at most 2;
//! bursts: 2·b/(1+b), where b = E[n(n−1)]/E[n]² − 1 over windows is the squared relative variation of the rate beyond
//! chance (0 for a steady Poisson stream, whatever its rate; the factorial moment takes the counting noise out).

use crate::data_plane::window::Band;

/// Lowest worth a weight is made of: nothing is worth nothing, or the solver could not rank the rest.
pub const LEAST_WORTH: f64 = 0.1;
/// The highest worth.
pub const MOST_WORTH: f64 = 10.0;

/// What is known of a pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// The highest severity band it was seen with, of those that may be sampled.
    pub band: Band,
    /// Its share of the service's records, 0 to 1.
    pub share: f64,
    /// Records seen.
    pub records: u64,
    /// Σ n·(n−1) over the record counts n of windows.
    pub pairs: f64,
    /// Windows looked at, with or without a record.
    pub windows: f64,
}

/// What its numbers say a pattern is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// 0 to 10.
    pub score: f64,
    /// Why, in a few words.
    pub reason: String,
}

/// The worth by numbers alone.
pub fn statistical(evidence: &Evidence) -> Statistics {
    let (severity, rarity, burst) = (severity(evidence.band), rarity(evidence.share), burst(evidence));
    let score = (severity + rarity + burst).clamp(0.0, MOST_WORTH);
    let how_rare = match evidence.share {
        share if share >= 0.1 => "very common",
        share if share >= 0.01 => "common",
        share if share >= 0.000_1 => "uncommon",
        _ => "rare",
    };
    let how_bursty = match burst {
        burst if burst >= 1.5 => "in bursts",
        burst if burst >= 0.7 => "uneven",
        _ => "steady",
    };
    let share = 100.0 * evidence.share;
    let digits = if share >= 1.0 { 0 } else { 3 };
    let reason = format!(
        "{} ({severity:.1}), {how_rare} with {share:.digits$} % of the service's records (+{rarity:.1}), {how_bursty} \
         (+{burst:.1})",
        evidence.band.as_str()
    );
    Statistics { score, reason }
}

fn severity(band: Band) -> f64 {
    match band {
        Band::Trace => 0.5,
        Band::Debug => 1.0,
        Band::Unset | Band::Info => 3.0,
        Band::Warn => 6.0,
        Band::Error => 9.0,
        Band::Fatal => 10.0,
    }
}

fn rarity(share: f64) -> f64 {
    if share <= 0.0 {
        return 2.0;
    }
    (0.5 * (-share.log10() - 1.0)).clamp(0.0, 2.0)
}

fn burst(evidence: &Evidence) -> f64 {
    let mean = evidence.records as f64 / evidence.windows.max(1.0);
    if mean <= 0.0 {
        return 0.0;
    }
    let excess = (evidence.pairs / evidence.windows.max(1.0) / (mean * mean) - 1.0).max(0.0);
    2.0 * excess / (1.0 + excess)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BANDS: [Band; 6] = [Band::Trace, Band::Debug, Band::Info, Band::Warn, Band::Error, Band::Fatal];

    fn evidence() -> impl Strategy<Value = Evidence> {
        (0usize..6, -7.0..0.0f64, prop::collection::vec(0u64..200, 1..50)).prop_map(|(band, share, counts)| Evidence {
            band: BANDS[band],
            share: 10f64.powf(share),
            records: counts.iter().sum(),
            pairs: counts.iter().map(|&n| (n * n.saturating_sub(1)) as f64).sum(),
            windows: counts.len() as f64,
        })
    }

    proptest! {
        #[test]
        fn worth_is_bounded_and_follows_severity_rarity_and_bursts(e in evidence(), factor in 0.001..1.0f64, more in 1.0..9.0f64) {
            let worth = statistical(&e).score;
            prop_assert!((0.0..=10.0).contains(&worth));
            let score = |evidence: Evidence| statistical(&evidence).score;
            let (rarer, burstier) = (score(Evidence { share: e.share * factor, ..e }), score(Evidence { pairs: e.pairs * more, ..e }));
            prop_assert!(rarer >= worth && burstier >= worth);
            let i = BANDS.iter().position(|band| *band == e.band).unwrap_or(0);
            if let Some(&band) = BANDS.get(i + 1) {
                let severer = score(Evidence { band, ..e });
                prop_assert!(severer >= worth);
            }
        }
    }

    #[test]
    fn steady_is_not_bursty_and_one_window_in_a_hundred_is() {
        let steady = Evidence { band: Band::Info, share: 0.2, records: 10_000, pairs: 100.0 * 9_900.0, windows: 100.0 };
        assert!((statistical(&steady).score - 3.0).abs() < 0.01, "{:?}", statistical(&steady));
        let burst = Evidence { records: 100, pairs: 9_900.0, ..steady };
        assert!(statistical(&burst).score > 4.9, "{:?}", statistical(&burst));
        assert_eq!(
            statistical(&burst).reason,
            "info (3.0), very common with 20 % of the service's records (+0.0), in bursts (+2.0)"
        );
        // Two records in two of a hundred windows are chance, not a burst.
        let rare = Evidence { band: Band::Warn, share: 1e-6, records: 2, pairs: 0.0, windows: 100.0 };
        assert_eq!(statistical(&rare).score, 8.0);
    }
}
