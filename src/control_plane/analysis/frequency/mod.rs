//! Rates: how many records of each pattern come, how much that varies, and what is usual at this hour.
//!
//! Purpose: turn snapshots of the windows into counts per frame, and counts into levels, dispersion and predictive tails.
//! Promises: pure; bounded; a counter that restarts, a gap and a clock that jumps are recognised, never counted as change.
//! Never: decides what an anomaly is (see `anomaly`), reads a clock, or touches the data plane's tables.

pub mod frame;
pub mod kept;
pub mod level;
pub mod season;
pub mod tail;

pub use frame::{Frame, Frames, Pattern, Row};
pub use level::{Level, SCALES, Surprise};
pub use season::Season;
