//! Ollama's `/api/chat`.
//!
//! Promises: the context is sized to the settings, as Ollama would cut a longer prompt without a word; the temperature
//! is 0 unless set.
//! Never: streams. Source: Ollama's API documentation, "Generate a chat completion" and "Structured outputs".

use serde_json::{Value, json};

use super::super::config::LlmProviderConfig;
use super::super::spend::Tokens;
use super::fault::{Fault, FaultKind};
use super::{Question, client::Reading};

/// Below the base URL.
pub const PATH: &str = "/api/chat";

/// The body of a request.
pub fn body(config: &LlmProviderConfig, question: &Question) -> Value {
    json!({
        "model": config.model,
        "messages": [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.user},
        ],
        "stream": false,
        "format": question.schema,
        "options": {
            "temperature": config.temperature.unwrap_or(0.0),
            "num_ctx": config.context_tokens,
            "num_predict": question.max_output_tokens,
        },
    })
}

/// Reads a 200.
pub fn read(value: &Value) -> Reading {
    let tokens = value["prompt_eval_count"].as_u64().zip(value["eval_count"].as_u64());
    let content = value["message"]["content"].as_str().unwrap_or_default();
    let answer = match value["done_reason"].as_str() {
        _ if value["error"].is_string() => {
            Err(Fault::new(FaultKind::Server, value["error"].as_str().unwrap_or_default()))
        }
        Some("length") => Err(Fault::new(FaultKind::Truncated, "the answer reached its limit of tokens")),
        _ if value["done"] == json!(false) => Err(Fault::new(FaultKind::Garbage, "an answer that is not done")),
        _ if content.trim().is_empty() => Err(Fault::new(FaultKind::Garbage, "an answer without content")),
        _ => Ok(content.to_owned()),
    };
    Reading { answer, tokens: tokens.map(|(input, output)| Tokens { input, output }) }
}
