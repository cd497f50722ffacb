//! What gateways hand over of their reservoirs, and what is made of it where the loop runs.
//!
//! Purpose: a loop that no records flow past sees what flows past its gateways: `tell` says what is new on a gateway, `hear` adds
//! it up. Reports go to `POST /v1/samples`.
//! Promises: every count of a window is told once and added once; a gateway that goes away leaves what came until then, which
//! ages out with the span; both sides are bounded, and what was turned away or evicted is counted.
//! Never: hands over a record that the policies in force redact, as it was.

mod hear;
mod tell;

pub use hear::Heard;
pub use tell::{Limits, Standing, Teller};
