//! Mining: the second stage of patterns, over signatures instead of lines.
//!
//! Purpose: join the templates of signatures that one statement of a program writes, and publish what they have in common.
//! Promises: a pure function of the set of templates; bounded time and memory; two templates that differ in one constant
//! word stay two.
//! Never: names a word of any program; sees lines, counts or time.

mod columns;
pub mod evidence;
mod families;
mod file;
mod group;
mod miner;
mod rows;

pub use families::MAX_CLUSTERED;
pub use file::{KeepError, load, save};
pub use miner::{MAX_TEMPLATE_BYTES, Miner, Totals};
