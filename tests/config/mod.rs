//! The configuration as people meet it: files, messages, printed form, documents.

mod errors;
mod files;
mod generator;
mod llm;
mod load;
mod posthog;
mod process;
mod reference;
mod schema;

use lipservice::config::{Loaded, load_text};

/// Stands for every secret in these tests; must never be seen anywhere.
pub const MARKER: &str = "MARKER7f3a";

/// The environment of these tests.
pub fn env(name: &str) -> Option<String> {
    match name {
        "POSTHOG_TOKEN" | "GATEWAY_TOKEN" | "SECRET" => Some(MARKER.to_owned()),
        "HOST" => Some("eu".to_owned()),
        "TEN" => Some("10".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

/// A configuration whose logs pipeline is `logs`, with `rest` beside it.
pub fn with(rest: &str) -> String {
    format!("{rest}\nservice:\n  pipelines:\n    logs: {{receivers: [otlp], exporters: [debug]}}\n")
}

/// Loads a text.
pub fn loaded(text: &str) -> Loaded {
    load_text(text, "t.yaml", &env).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// The errors of a text, without the place.
pub fn errors(text: &str) -> Vec<String> {
    match load_text(text, "t.yaml", &env) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .0
            .into_iter()
            .map(|problem| lipservice::config::Problem { place: None, ..problem }.to_string())
            .collect(),
    }
}

/// The warnings of a text, without the place.
pub fn warnings(text: &str) -> Vec<String> {
    let warnings = loaded(text).warnings.into_iter();
    warnings.map(|problem| lipservice::config::Problem { place: None, ..problem }.to_string()).collect()
}
