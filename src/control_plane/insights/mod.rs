//! What logs cost, where it goes, where it is heading, and what a sample of them says.
//!
//! Purpose: money and bytes in the words of the destination's bill, for the command line, the API and the generator.
//! Promises: pure functions of counts, prices and time; every projection comes with an interval.
//! Never: fetches a price or sends anything.

pub mod calendar;
pub mod cost;
mod price;
pub mod recommend;
mod sample;
mod trend;

pub use price::{GB, MONTH_DAYS, Prices, Tier, bytes_text, money_text, percent_text};
pub use sample::{Estimate, Sample};
pub use trend::{Forecast, Trend, forecast};
