//! What logs cost, where it goes, where it is heading, and what a sample of them says.
//!
//! Purpose: money and bytes in the words of the destination's bill, for the command line, the API and the generator.
//! Promises: pure functions of counts, prices and time; every projection comes with an interval.
//! Never: fetches a price or sends anything.

mod price;
mod sample;
mod trend;

pub use price::{GB, MONTH_DAYS, Prices, Tier, bytes_text, money_text};
pub use sample::{Estimate, Sample, rate_for};
pub use trend::{Forecast, Trend, forecast};
