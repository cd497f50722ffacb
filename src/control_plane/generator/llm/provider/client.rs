//! One provider over HTTP: the request, its time limit, its retries.
//!
//! Purpose: [`Provider`] for the three APIs; what differs between them is two functions each.
//! Promises: an attempt ends after `timeout`; only failures that cost nothing are retried (a timed-out request may have
//! been billed: the caller decides, under its caps); waits double, are spread, and obey `Retry-After` up to ten times
//! `max_interval` (a longer one ends the attempts).
//! Never: logs or returns a key, or the text of a question.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use super::super::config::{AnswerDetail, LlmProviderConfig, LlmProviderType};
use super::super::context::estimate_tokens;
use super::super::spend::{Prices, Tokens};
use super::fault::{Fault, FaultKind, of_status};
use super::transport::{HttpAnswer, HttpRequest, Timer, Transport, TransportFault};
use super::{BoxFuture, Outcome, Provider, Question, anthropic, ollama, openai};
use crate::units::Secret;

const MAX_KEY_BYTES: u64 = 8 << 10;
/// A `Retry-After` counts up to this many `max_interval`s.
const ORDERED_INTERVALS: u32 = 10;

/// A 200 as read by one of the APIs.
pub struct Reading {
    /// The text of the answer.
    pub answer: Result<String, Fault>,
    /// As the provider counts.
    pub tokens: Option<Tokens>,
}

/// A provider over HTTP.
pub struct HttpProvider {
    name: String,
    config: LlmProviderConfig,
    url: String,
    transport: Arc<dyn Transport>,
    timer: Arc<dyn Timer>,
    random: Mutex<SmallRng>,
}

impl HttpProvider {
    /// A provider of this name and settings.
    pub fn new(
        name: &str,
        config: &LlmProviderConfig,
        transport: Arc<dyn Transport>,
        timer: Arc<dyn Timer>,
        seed: u64,
    ) -> HttpProvider {
        let (base, path) = match config.kind {
            LlmProviderType::OpenAi => ("https://api.openai.com/v1", openai::PATH),
            LlmProviderType::Ollama => ("http://127.0.0.1:11434", ollama::PATH),
            LlmProviderType::Anthropic => ("https://api.anthropic.com", anthropic::PATH),
        };
        let base = config.base_url.as_deref().unwrap_or(base).trim_end_matches('/');
        HttpProvider {
            name: name.to_owned(),
            config: config.clone(),
            url: format!("{base}{path}"),
            transport,
            timer,
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
        }
    }

    fn key(&self) -> Result<Option<Secret>, Fault> {
        match (&self.config.api_key, &self.config.api_key_file) {
            (Some(key), _) => Ok(Some(key.clone())),
            (None, Some(path)) => read_key(Path::new(path)).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn request(&self, question: &Question) -> Result<HttpRequest, Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let is_anthropic = self.config.kind == LlmProviderType::Anthropic;
        if is_anthropic {
            let version = HeaderValue::from_static(anthropic::VERSION);
            headers.insert(HeaderName::from_static("anthropic-version"), version);
        }
        if let Some(key) = self.key()? {
            let (name, text) = match is_anthropic {
                true => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
                false => (header::AUTHORIZATION, format!("Bearer {}", key.expose())),
            };
            let mut value = HeaderValue::from_str(&text).map_err(|_| {
                Fault::new(FaultKind::Unauthorized, "the key holds characters that no header can carry")
            })?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let body = match self.config.kind {
            LlmProviderType::OpenAi => openai::body(&self.config, question),
            LlmProviderType::Ollama => ollama::body(&self.config, question),
            LlmProviderType::Anthropic => anthropic::body(&self.config, question),
        };
        Ok(HttpRequest { url: self.url.clone(), headers, body: body.to_string().into_bytes() })
    }

    /// One attempt, and the tokens to book for it.
    async fn attempt(&self, request: HttpRequest, worst: Tokens) -> (Result<String, Fault>, Tokens) {
        let sent = tokio::select! {
            biased;
            sent = self.transport.post(request) => sent,
            () = self.timer.sleep(self.config.timeout.0) => {
                let why = format!("no answer within {}", self.config.timeout);
                return (Err(Fault::new(FaultKind::Timeout, &why)), worst);
            }
        };
        match sent {
            Err(TransportFault::Unreachable(why)) => {
                (Err(Fault::new(FaultKind::Unreachable, &self.scrub(&why))), Tokens::default())
            }
            Err(fault @ TransportFault::Oversized) => (Err(Fault::new(FaultKind::Garbage, &fault.to_string())), worst),
            Ok(answer) if answer.status == 200 => self.read(&answer, worst),
            Ok(answer) => {
                let mut fault = of_status(answer.status, &answer.headers, &answer.body, self.timer.now());
                fault.why = self.scrub(&fault.why);
                (Err(fault), Tokens::default())
            }
        }
    }

    fn read(&self, answer: &HttpAnswer, worst: Tokens) -> (Result<String, Fault>, Tokens) {
        let Ok(value) = serde_json::from_slice::<Value>(&answer.body) else {
            return (Err(Fault::new(FaultKind::Garbage, "an answer that is not JSON")), worst);
        };
        let reading = match self.config.kind {
            LlmProviderType::OpenAi => openai::read(&value),
            LlmProviderType::Ollama => ollama::read(&value),
            LlmProviderType::Anthropic => anthropic::read(&value),
        };
        // A count beyond what the request could hold is no count.
        let believable = |tokens: &Tokens| {
            tokens.input <= worst.input.saturating_mul(8) && tokens.output <= worst.output.saturating_mul(8)
        };
        let mut answer = reading.answer;
        if let Err(fault) = &mut answer {
            fault.why = self.scrub(&fault.why);
        }
        (answer, reading.tokens.filter(believable).unwrap_or(worst))
    }

    /// Takes the key out of words that may repeat it.
    fn scrub(&self, text: &str) -> String {
        match self.key() {
            Ok(Some(key)) if !key.expose().is_empty() => text.replace(key.expose(), "(secret)"),
            _ => text.to_owned(),
        }
    }

    /// How long to wait after the `failures`th failure; `None` gives up.
    fn wait(&self, fault: &Fault, failures: u32) -> Option<Duration> {
        if !fault.kind.is_free_to_retry() || failures >= self.config.max_attempts {
            return None;
        }
        let max = self.config.max_interval.0;
        match fault.after {
            Some(after) => (after <= max.saturating_mul(ORDERED_INTERVALS)).then_some(after),
            None => {
                let doubled = self.config.initial_interval.0.saturating_mul(1 << (failures - 1).min(20));
                Some(doubled.min(max).mul_f64(self.random.lock().random_range(0.5..=1.0)))
            }
        }
    }
}

/// A key from a file: its first line.
fn read_key(path: &Path) -> Result<Secret, Fault> {
    use std::io::Read as _;
    let fault = |why: String| Fault::new(FaultKind::Unauthorized, &format!("api_key_file cannot be read: {why}"));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| fault(error.to_string()))?;
    file.take(MAX_KEY_BYTES).read_to_string(&mut text).map_err(|error| fault(error.to_string()))?;
    let key = text.lines().next().unwrap_or_default().trim();
    if key.is_empty() { Err(fault("it is empty".to_owned())) } else { Ok(Secret::new(key)) }
}

impl Provider for HttpProvider {
    fn name(&self) -> &str {
        &self.name
    }
    fn model(&self) -> &str {
        &self.config.model
    }
    fn prices(&self) -> Prices {
        Prices { input: self.config.input_price, output: self.config.output_price }
    }
    fn context_tokens(&self) -> u64 {
        self.config.context_tokens
    }
    fn max_output_tokens(&self) -> u64 {
        self.config.max_output_tokens
    }
    fn detail(&self) -> AnswerDetail {
        self.config.answer
    }

    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let request = match self.request(question) {
                Ok(request) => request,
                Err(fault) => return Outcome { answer: Err(fault), spent: Tokens::default() },
            };
            let worst = worst_case(question);
            let mut failures = 0;
            loop {
                let (answer, spent) = self.attempt(request.clone(), worst).await;
                let Err(fault) = answer else { return Outcome { answer, spent } };
                failures += 1;
                match self.wait(&fault, failures) {
                    Some(wait) => self.timer.sleep(wait).await,
                    None => return Outcome { answer: Err(fault), spent },
                }
            }
        })
    }
}

/// Tokens that a question may cost at most, by our own estimate.
pub fn worst_case(question: &Question) -> Tokens {
    let schema = estimate_tokens(&question.schema.to_string());
    let input = estimate_tokens(&question.system) + estimate_tokens(&question.user) + schema;
    Tokens { input, output: question.max_output_tokens }
}
