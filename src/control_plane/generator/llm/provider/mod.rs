//! Who can be asked: one small trait, three published APIs behind it.
//!
//! Purpose: a question in (system text, user text, a JSON schema), the answer's text and its tokens out, or a [`Fault`]
//! that says whose fault it is.
//! Promises: one request at a time; time and randomness are arguments; answers are read up to a bound; a key appears in
//! a header and nowhere else.
//! Never: knows what is asked, or judges an answer's content.

pub mod anthropic;
pub mod client;
pub mod fault;
pub mod ollama;
pub mod openai;
pub mod transport;

use std::future::Future;
use std::pin::Pin;

use serde_json::Value;

pub use client::HttpProvider;
pub use fault::{Fault, FaultKind};

use super::config::AnswerDetail;
use super::spend::{Prices, Tokens};

/// A future in a box, as traits with several implementations need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What the model is told about its task.
    pub system: String,
    /// What it is to work on.
    pub user: String,
    /// JSON schema of the answer, fit for OpenAI's strict mode.
    pub schema: Value,
    /// Most tokens of the answer.
    pub max_output_tokens: u64,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The text of the answer, JSON if all is well.
    pub answer: Result<String, Fault>,
    /// Tokens to book: as the provider counts, else the worst case of what it may count.
    pub spent: Tokens,
}

/// Somebody who can be asked.
pub trait Provider: Send + Sync {
    /// Its name in the configuration.
    fn name(&self) -> &str;
    /// The model it asks.
    fn model(&self) -> &str;
    /// What it costs.
    fn prices(&self) -> Prices;
    /// Tokens that prompt and answer may have together.
    fn context_tokens(&self) -> u64;
    /// Most tokens of one answer.
    fn max_output_tokens(&self) -> u64;
    /// What it is asked for each pattern.
    fn detail(&self) -> AnswerDetail;
    /// Asks once, with retries of what costs nothing.
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Outcome>;
}
