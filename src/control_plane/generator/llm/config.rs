//! Settings of the language model: `llm:`.
//!
//! Promises: every key has a default, and the default asks no model; unknown keys are refused; keys do not print.
//! Never: reads a file or the environment; checks what values mean, see `config`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Period, Secret};

/// The end of every chain; may be written, asks nobody.
pub const NONE: &str = "none";

/// `llm:` Who scores what patterns are worth. Without it worth comes from severity, rarity and burstiness alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LlmConfig {
    /// Names of `providers`, in the order they are asked. When the last one fails, statistics decide. Empty asks none.
    pub chain: Vec<String>,
    /// Providers by a name of your own. `none` is taken: it stands for statistics.
    pub providers: BTreeMap<String, LlmProviderConfig>,
    /// Directory with `system.j2` and `patterns.j2`, instead of the built-in prompts. Read at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<String>,
    /// File that keeps answers and the day's spending over a restart. Without it both are kept in memory. What a request may
    /// cost is written to a file beside it before the request leaves, so that caps hold over crashes too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_file: Option<String>,
    /// What is blanked in texts before they leave. Values are masked in any case.
    pub redact: RedactConfig,
    /// What a round, and a day, may cost.
    pub limits: LlmLimitsConfig,
    /// How far an answer may move a pattern's worth.
    pub bounds: LlmBoundsConfig,
}

/// `type:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LlmProviderType {
    /// Chat completions as OpenAI publishes them: OpenAI, vLLM, the llama.cpp server, LM Studio and many more.
    #[default]
    OpenAi,
    /// Ollama's `/api/chat`.
    Ollama,
    /// Anthropic's messages.
    Anthropic,
}

/// `output_limit_field:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputLimitField {
    /// What OpenAI asks for.
    #[default]
    MaxCompletionTokens,
    /// What older servers understand.
    MaxTokens,
}

/// `answer:`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerDetail {
    /// Score, category and a reason.
    #[default]
    Full,
    /// The score alone: cheaper, and all that a very small model can do.
    ScoreOnly,
}

/// One of `providers:`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LlmProviderConfig {
    /// Which API it speaks.
    #[serde(rename = "type")]
    pub kind: LlmProviderType,
    /// Base URL, up to and without `/chat/completions`, `/api/chat` or `/v1/messages`. The vendor's own (for `ollama`
    /// this machine's) when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Model name. Required.
    pub model: String,
    /// API key, as `${env:NAME}`; a key written into the file is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<Secret>,
    /// File with the API key, read for each request, so that it can be rotated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_file: Option<String>,
    /// PEM file with authorities to trust instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Time limit for one request.
    pub timeout: Period,
    /// Tries of one request, the first included.
    pub max_attempts: u32,
    /// Wait before the second try; it doubles from there, and is spread at random.
    pub initial_interval: Period,
    /// Longest such wait. What the provider orders (`Retry-After`) is obeyed up to ten times that.
    pub max_interval: Period,
    /// Sampling temperature. Not sent when left out (some models refuse it); Ollama is sent 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Tokens that prompt and answer may have together; Ollama is told to make room for them.
    pub context_tokens: u64,
    /// Most tokens of one answer.
    pub max_output_tokens: u64,
    /// How the limit of the answer is called; for `openai` only.
    pub output_limit_field: OutputLimitField,
    /// What is asked for each pattern.
    pub answer: AnswerDetail,
    /// US dollars for a million tokens of prompt. `limits.max_cost_per_day` counts by it.
    pub input_price: f64,
    /// US dollars for a million tokens of answer.
    pub output_price: f64,
}

impl Default for LlmProviderConfig {
    fn default() -> Self {
        LlmProviderConfig {
            kind: LlmProviderType::OpenAi,
            base_url: None,
            model: String::new(),
            api_key: None,
            api_key_file: None,
            ca_file: None,
            timeout: Period::secs(60),
            max_attempts: 4,
            initial_interval: Period::secs(1),
            max_interval: Period::secs(30),
            temperature: None,
            context_tokens: 8192,
            max_output_tokens: 2048,
            output_limit_field: OutputLimitField::MaxCompletionTokens,
            answer: AnswerDetail::Full,
            input_price: 0.0,
            output_price: 0.0,
        }
    }
}

/// `redact:` of `llm`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RedactConfig {
    /// E-mail addresses.
    pub emails: bool,
    /// Keys, tokens and passwords, by their shape or the word before them.
    pub tokens: bool,
    /// Payment card numbers (13 to 19 digits with a right Luhn check digit).
    pub card_numbers: bool,
}

impl Default for RedactConfig {
    fn default() -> Self {
        RedactConfig { emails: true, tokens: true, card_numbers: true }
    }
}

/// `limits:` of `llm`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LlmLimitsConfig {
    /// Tokens of prompts and answers in a day (UTC), over all providers.
    pub max_tokens_per_day: u64,
    /// US dollars in a day (UTC), over all providers that have prices.
    pub max_cost_per_day: f64,
    /// Patterns put before a model in one round. The rest waits for the next.
    pub max_patterns_per_round: usize,
    /// Requests of one round, retries not counted.
    pub max_requests_per_round: usize,
    /// Patterns in one request.
    pub batch_size: usize,
    /// Estimated tokens of patterns in one request.
    pub max_request_tokens: u64,
    /// Time limit of a round. What is not scored by then is scored in the next.
    pub round_timeout: Period,
    /// Answers kept; the oldest go first.
    pub max_answers: usize,
    /// An answer older than this is asked for again, even if its pattern has not changed.
    pub rescore_after: Period,
}

impl Default for LlmLimitsConfig {
    fn default() -> Self {
        LlmLimitsConfig {
            max_tokens_per_day: 2_000_000,
            max_cost_per_day: 5.0,
            max_patterns_per_round: 400,
            max_requests_per_round: 100,
            batch_size: 20,
            max_request_tokens: 4_000,
            round_timeout: Period::secs(300),
            max_answers: 50_000,
            rescore_after: Period::secs(30 * 86_400),
        }
    }
}

/// `bounds:` of `llm`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LlmBoundsConfig {
    /// Most that answers move a worth in one round, in points of 0 to 10.
    pub max_step: f64,
    /// Most that a worth may lie below what statistics say. Patterns of ERROR and above, new and anomalous ones never
    /// lie below.
    pub max_below_statistics: f64,
    /// Most that a worth may lie above what statistics say.
    pub max_above_statistics: f64,
    /// Patterns of ERROR and above are worth at least this much.
    pub error_floor: f64,
}

impl Default for LlmBoundsConfig {
    fn default() -> Self {
        LlmBoundsConfig { max_step: 2.0, max_below_statistics: 4.0, max_above_statistics: 4.0, error_floor: 6.0 }
    }
}
