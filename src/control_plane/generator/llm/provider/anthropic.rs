//! Anthropic's messages, with one tool that the model has to use: its input is the answer.
//!
//! Promises: works with every model that has tools; a refusal and a cut answer are told apart.
//! Never: runs a tool. Source: Anthropic's API reference, "Messages" and "Tool use", version 2023-06-01.

use serde_json::{Value, json};

use super::super::config::LlmProviderConfig;
use super::super::spend::Tokens;
use super::fault::{Fault, FaultKind};
use super::{Question, client::Reading};

/// Below the base URL.
pub const PATH: &str = "/v1/messages";
/// Value of the header `anthropic-version`.
pub const VERSION: &str = "2023-06-01";
const TOOL: &str = "report_worth";

/// The body of a request.
pub fn body(config: &LlmProviderConfig, question: &Question) -> Value {
    let mut body = json!({
        "model": config.model,
        "max_tokens": question.max_output_tokens,
        "system": question.system,
        "messages": [{"role": "user", "content": question.user}],
        "tools": [{
            "name": TOOL,
            "description": "Reports what each pattern is worth.",
            "input_schema": question.schema,
        }],
        "tool_choice": {"type": "tool", "name": TOOL},
    });
    if let Some(temperature) = config.temperature {
        body["temperature"] = json!(temperature);
    }
    body
}

/// Reads a 200.
pub fn read(value: &Value) -> Reading {
    let usage = &value["usage"];
    // Cached parts of a prompt are counted apart from the rest.
    let cached = |key: &str| usage[key].as_u64().unwrap_or(0);
    let also = cached("cache_creation_input_tokens").saturating_add(cached("cache_read_input_tokens"));
    let tokens = usage["input_tokens"].as_u64().zip(usage["output_tokens"].as_u64());
    let blocks = || value["content"].as_array().into_iter().flatten();
    let used = blocks().find(|block| block["type"] == "tool_use" && block["name"] == TOOL);
    let text = || blocks().find_map(|block| block["text"].as_str());
    let answer = match (value["stop_reason"].as_str(), used) {
        (Some("refusal"), _) => Err(Fault::new(FaultKind::Refused, "the model declined")),
        (Some("max_tokens"), _) => Err(Fault::new(FaultKind::Truncated, "the answer reached its limit of tokens")),
        (Some("model_context_window_exceeded"), _) => {
            Err(Fault::new(FaultKind::ContextOverflow, "prompt and answer do not fit the model"))
        }
        (_, Some(block)) => Ok(block["input"].to_string()),
        // A model that talks instead may still have written the answer into its text.
        (_, None) => text()
            .map(str::to_owned)
            .ok_or_else(|| Fault::new(FaultKind::Garbage, "an answer without the tool's input")),
    };
    let tokens = tokens.map(|(input, output)| Tokens { input: input.saturating_add(also), output });
    Reading { answer, tokens }
}
