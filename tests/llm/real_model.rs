//! A real model behind a real server: llama.cpp with SmolLM2-135M-Instruct, a model so weak that what it says is noise.
//! What is tested is that questions are understood, answers are read, and noise stays within the bounds.
//!
//! `model/install.sh` installs both; without it the test skips loudly.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lipservice::control_plane::generator::llm::config::{
    AnswerDetail, LlmBoundsConfig, LlmLimitsConfig, LlmProviderConfig, LlmProviderType,
};
use lipservice::control_plane::generator::llm::{LlmConfig, LlmHealth, WorthOrigin, scorer};
use lipservice::data_plane::window::Band;
use lipservice::units::{Period, Secret};

use super::shop;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/llm/model");

/// A server that ends when its standard input does, which is when the test ends, however that is.
pub struct Server {
    process: Child,
    pub address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

pub fn start() -> Option<Server> {
    let python = Path::new(FOLDER).join(".venv/bin/python");
    if !Path::new(FOLDER).join(".venv/installed").is_file() {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no small language model: run tests/llm/model/install.sh");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(Path::new(FOLDER).join("serve.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find(|line| line.starts_with("http://"));
    let address = address.expect("the server ended before it listened");
    Some(Server { process, address })
}

/// Few words: on a busy machine a prompt of the usual length takes this model minutes.
pub fn prompts() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(
        "system.j2",
        "Rate log patterns from 0 (noise) to 10 (cause of an incident).{% if score_only %} JSON.{% endif %}",
    );
    write("patterns.j2", "{% for line in lines %}{{ line }}\n{% endfor %}");
    directory
}

#[tokio::test]
async fn noise_from_a_real_model_stays_within_the_bounds() {
    let Some(server) = start() else { return };
    let provider = LlmProviderConfig {
        kind: LlmProviderType::OpenAi,
        base_url: Some(format!("{}/v1", server.address)),
        model: "smollm2".into(),
        api_key: Some(Secret::new("test-key")),
        answer: AnswerDetail::ScoreOnly,
        temperature: Some(0.0),
        timeout: Period::secs(40),
        context_tokens: 4096,
        ..LlmProviderConfig::default()
    };
    let prompts = prompts();
    let config = LlmConfig {
        chain: vec!["small".into(), "none".into()],
        providers: [("small".to_owned(), provider)].into(),
        prompts: Some(prompts.path().display().to_string()),
        limits: LlmLimitsConfig {
            batch_size: 2,
            max_requests_per_round: 4,
            round_timeout: Period::secs(60),
            ..LlmLimitsConfig::default()
        },
        ..LlmConfig::default()
    };
    let mut patterns = shop();
    patterns.truncate(4);
    patterns.iter_mut().for_each(|facts| facts.examples.clear());
    let mut scorer = scorer(&config).unwrap();
    let worths = scorer.score(&patterns).await;
    let status = scorer.status();
    let bounds = LlmBoundsConfig::default();
    for (worth, facts) in worths.iter().zip(&patterns) {
        assert!((worth.score - facts.statistical).abs() <= bounds.max_step, "{worth:?}");
        assert!(worth.score >= facts.statistical || facts.severity < Band::Error, "{worth:?}");
    }
    let heard = worths.iter().filter(|worth| matches!(worth.origin, WorthOrigin::Model { .. })).count();
    let too_slow = status.faults.get("small").is_some_and(|fault| fault.kind == "timeout");
    let unconfirmed = status.by_statistics.get("unconfirmed").copied().unwrap_or(0);
    assert!(heard + unconfirmed > 0 || too_slow, "{status:?}");
    assert!(status.health != LlmHealth::Off && status.asked == 4, "{status:?}");
    assert!(status.spend.input_tokens > 0);
    let _ = writeln!(std::io::stderr(), "a real model scored {heard} of 4 patterns: {:?}", status.why);
}
