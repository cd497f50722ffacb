//! Patterns: learned templates, published with the policy.
//!
//! Purpose: say which pattern a message belongs to, by the templates that are published (`spec/patterns.md`).
//! Promises: a pure function of the message's template and the published templates; one hash lookup for a signature seen
//! before; every table is bounded and what it forgets is counted.
//! Never: learns (the control plane does), reads a clock.

mod cache;
mod catalogue;
pub mod config;
mod sightings;
mod token;
mod trie;

pub use cache::PatternCache;
pub use catalogue::{Catalogue, Grouping, Pattern, PatternId};
pub use sightings::Sightings;
pub use token::{Kind, MAX_TOKENS, Token, VARIABLE, collapse, plain_tokens, reads_back, text_of, tokens};
