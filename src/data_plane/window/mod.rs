//! Rates per pattern, exactly and bounded.
//!
//! Purpose: count records and bytes, kept and dropped, of every (service, severity band, pattern), per window and in
//! total, with first and last sight, a template and one example.
//! Promises: counts are exact; the number of patterns and services is capped, what does not fit is counted in a visible
//! overflow entry; what was dropped stays accounted for until a summary has taken it, across eviction and reload.
//! Never: decides, reads a clock, or holds a lock over more than one record.

pub mod band;
pub mod cell;
pub mod config;
pub mod known;
pub mod snapshot;
pub mod table;

pub use band::Band;
pub use cell::{Cause, CauseRef, Cell, Counts, Sight, Suppressed};
pub use known::KnownPatterns;
pub use snapshot::{PatternRow, Snapshot};
pub use table::{CellCache, PatternKey, PatternTable, Service};
