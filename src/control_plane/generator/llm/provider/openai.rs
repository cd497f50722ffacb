//! Chat completions as OpenAI publishes them, and as many servers understand them.
//!
//! Promises: the schema goes in strict mode; a refusal, a cut answer and a filtered one are told apart.
//! Never: sends anything that is not in the question. Source: OpenAI's API reference, "Create chat completion".

use serde_json::{Value, json};

use super::super::config::{LlmProviderConfig, OutputLimitField};
use super::super::spend::Tokens;
use super::fault::{Fault, FaultKind};
use super::{Question, client::Reading};

/// Below the base URL.
pub const PATH: &str = "/chat/completions";

/// The body of a request.
pub fn body(config: &LlmProviderConfig, question: &Question) -> Value {
    let mut body = json!({
        "model": config.model,
        "messages": [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.user},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "pattern_worth", "strict": true, "schema": question.schema},
        },
    });
    let field = match config.output_limit_field {
        OutputLimitField::MaxCompletionTokens => "max_completion_tokens",
        OutputLimitField::MaxTokens => "max_tokens",
    };
    body[field] = json!(question.max_output_tokens);
    if let Some(temperature) = config.temperature {
        body["temperature"] = json!(temperature);
    }
    body
}

/// Reads a 200.
pub fn read(value: &Value) -> Reading {
    let usage = &value["usage"];
    let tokens = usage["prompt_tokens"].as_u64().zip(usage["completion_tokens"].as_u64());
    let choice = &value["choices"][0];
    let message = &choice["message"];
    let content = message["content"].as_str().unwrap_or_default();
    let answer = match choice["finish_reason"].as_str() {
        _ if message["refusal"].as_str().is_some_and(|words| !words.is_empty()) => {
            Err(Fault::new(FaultKind::Refused, message["refusal"].as_str().unwrap_or_default()))
        }
        Some("length") => Err(Fault::new(FaultKind::Truncated, "the answer reached its limit of tokens")),
        Some("content_filter") => Err(Fault::new(FaultKind::Refused, "the provider's filter held the answer back")),
        _ if content.trim().is_empty() => Err(Fault::new(FaultKind::Garbage, "an answer without content")),
        _ => Ok(content.to_owned()),
    };
    Reading { answer, tokens: tokens.map(|(input, output)| Tokens { input, output }) }
}
