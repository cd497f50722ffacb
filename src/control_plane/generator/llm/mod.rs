//! What patterns are worth, by a language model's judgement within bounds.
//!
//! Purpose: a model scores each pattern 0 to 10 for debugging, with a category and a reason. It never sets a rate.
//! Promises: [`Scorer::score`] gives every pattern a worth whatever the model does; what a hostile log makes a model say
//! moves no other pattern's worth down, and its own within bounds; spending is capped; keys show nowhere.
//! Never: sends a value that was not masked. Statistical worth comes in with the patterns ([`PatternFacts`]).
//!
//! In order: `context` chooses and quotes, `interview` asks `provider`s, `answer` reads, `bounds` settles, `cache` keeps.

pub mod answer;
pub mod bounds;
pub mod cache;
pub mod config;
pub mod context;
pub mod facts;
pub mod interview;
mod journal;
mod lexicon;
pub mod prompt;
pub mod provider;
pub mod quote;
pub mod redact;
pub mod scorer;
pub mod spend;
pub mod start;
pub mod status;
pub mod suspicion;

pub use cache::{LlmState, Opinion, Opinions, StateError};
pub use config::LlmConfig;
pub use facts::{Category, PatternFacts, WhyStatistics, Worth, WorthOrigin};
pub use scorer::Scorer;
pub use start::{LlmError, scorer};
pub use status::{LlmHealth, LlmMetrics, LlmStatus};
