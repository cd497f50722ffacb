//! A scorer from the settings, with the machine's network and clock.
//!
//! Purpose: the one place that opens what the settings name: prompts, authorities, the state file.
//! Promises: a mistake in the settings is an error that names its path; a broken state file is not: scoring begins
//! without answers and the status says so.
//! Never: sends a request.

use std::path::PathBuf;
use std::sync::Arc;

use super::cache::LlmState;
use super::config::{LlmConfig, LlmProviderConfig, NONE};
use super::prompt::{PromptError, Prompts};
use super::provider::transport::{Network, SystemTimer};
use super::provider::{HttpProvider, Provider};
use super::scorer::Scorer;

const MAX_PEM_BYTES: u64 = 4 << 20;

/// Why there is no scorer.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// A prompt.
    #[error("llm.prompts: {0}")]
    Prompt(#[from] PromptError),
    /// A name in the chain without a provider.
    #[error("llm.chain: {0:?} is not one of llm.providers")]
    Unknown(String),
    /// A provider's certificates.
    #[error("llm.providers.{name}.ca_file: {why}")]
    Authorities {
        /// The provider.
        name: String,
        /// Why.
        why: String,
    },
}

/// Builds a scorer.
///
/// # Errors
/// Prompts or certificates that cannot be used, a chain that names nobody.
pub fn scorer(config: &LlmConfig) -> Result<Scorer, LlmError> {
    let mut providers: Vec<Box<dyn Provider>> = Vec::new();
    for name in config.chain.iter().take_while(|name| *name != NONE) {
        let settings = config.providers.get(name).ok_or_else(|| LlmError::Unknown(name.clone()))?;
        let network = network(settings).map_err(|why| LlmError::Authorities { name: name.clone(), why })?;
        let timer = Arc::new(SystemTimer);
        providers.push(Box::new(HttpProvider::new(name, settings, Arc::new(network), timer, rand::random())));
    }
    let file = config.state_file.as_ref().map(PathBuf::from);
    let (state, broken) = match file.as_deref().map(LlmState::load) {
        None => (LlmState::default(), None),
        Some(Ok(state)) => (state, None),
        Some(Err(error)) => (LlmState::default(), Some(error)),
    };
    let prompts = Prompts::load(config.prompts.as_deref())?;
    let mut scorer = Scorer::new(config, providers, prompts, Arc::new(SystemTimer), state);
    if let Some(file) = file {
        scorer.keep_in(file);
    }
    if let Some(error) = broken {
        scorer.metrics().note(&error.to_string());
    }
    Ok(scorer)
}

fn network(settings: &LlmProviderConfig) -> Result<Network, String> {
    use std::io::Read as _;
    let Some(path) = &settings.ca_file else { return Network::new(None) };
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_PEM_BYTES).read_to_end(&mut pem).map_err(|error| error.to_string())?;
    Network::new(Some(&pem))
}
