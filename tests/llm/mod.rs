//! Scoring by language models: against strict fakes in simulated time, over real connections, and with a real model.

mod hostile;
mod injections;
mod network;
mod providers;
pub mod real_model;
mod rounds;

use std::sync::Arc;

use lipservice::control_plane::generator::llm::config::{LlmProviderConfig, LlmProviderType};
use lipservice::control_plane::generator::llm::prompt::Prompts;
use lipservice::control_plane::generator::llm::provider::{HttpProvider, Provider};
use lipservice::control_plane::generator::llm::{LlmConfig, LlmState, PatternFacts, Scorer};
use lipservice::data_plane::window::Band;
use lipservice::units::Secret;

use crate::support::fake_llm::time::SimulatedTime;
use crate::support::fake_llm::{FakeLlm, KEY, MODEL, Mind};

/// When simulated time begins: some day's noon.
const NOON: u64 = (20_000 * 86_400 + 43_200) * 1_000_000_000;

const KINDS: [LlmProviderType; 3] = [LlmProviderType::OpenAi, LlmProviderType::Ollama, LlmProviderType::Anthropic];

pub fn settings(kind: LlmProviderType) -> LlmProviderConfig {
    let base = if kind == LlmProviderType::OpenAi { "http://fake.test/v1" } else { "http://fake.test/" };
    LlmProviderConfig {
        kind,
        base_url: Some(base.into()),
        model: MODEL.into(),
        api_key: Some(Secret::new(KEY)),
        input_price: 1.0,
        output_price: 10.0,
        ..LlmProviderConfig::default()
    }
}

/// A scorer with fakes for providers, and their clock.
struct Stage {
    time: SimulatedTime,
    fakes: Vec<Arc<FakeLlm>>,
    scorer: Scorer,
}

impl Stage {
    fn new(config: &LlmConfig, providers: &[(LlmProviderConfig, Mind)]) -> Stage {
        Stage::with(config, providers, LlmState::default())
    }

    fn with(config: &LlmConfig, providers: &[(LlmProviderConfig, Mind)], state: LlmState) -> Stage {
        let time = SimulatedTime::at(NOON);
        let timer = Arc::new(time.clone());
        let fakes: Vec<_> =
            providers.iter().map(|(settings, mind)| FakeLlm::new(settings.kind, mind.clone(), timer.clone())).collect();
        let chain = providers.iter().zip(&fakes).enumerate().map(|(at, ((settings, _), fake))| {
            let provider = HttpProvider::new(&format!("p{at}"), settings, fake.clone(), timer.clone(), 7);
            Box::new(provider) as Box<dyn Provider>
        });
        let scorer = Scorer::new(config, chain.collect(), Prompts::default(), timer.clone(), state);
        Stage { time, fakes, scorer }
    }

    fn score(&mut self, patterns: &[PatternFacts]) -> Vec<lipservice::control_plane::generator::llm::Worth> {
        let worths = self.time.run(self.scorer.score(patterns));
        assert_eq!(worths.len(), patterns.len());
        for (worth, facts) in worths.iter().zip(patterns) {
            assert_eq!(worth.id, facts.id);
            assert!((0.0..=10.0).contains(&worth.score), "{worth:?}");
        }
        for fake in &self.fakes {
            assert_eq!(fake.complaints(), Vec::<String>::new());
        }
        worths
    }
}

fn pattern(id: &str, service: &str, severity: Band, template: &str, bytes: u64) -> PatternFacts {
    PatternFacts {
        id: id.into(),
        service: service.into(),
        template: template.into(),
        examples: vec![template.replace("<*>", "4711")],
        severity,
        records: bytes / 100,
        bytes,
        statistical: if severity >= Band::Error { 8.0 } else { 5.0 },
        statistical_reason: "severity and rarity".into(),
        ..PatternFacts::default()
    }
}

/// Some ordinary patterns.
fn shop() -> Vec<PatternFacts> {
    let list = [
        ("cart", Band::Info, "item <*> added to cart <*>"),
        ("cart", Band::Info, "heartbeat <*>"),
        ("cart", Band::Error, "cannot reach inventory at <*>"),
        ("checkout", Band::Info, "order <*> placed by <*>"),
        ("checkout", Band::Warn, "payment retry <*> of <*>"),
        ("checkout", Band::Info, "poll of queue <*> returned nothing"),
        ("checkout", Band::Error, "payment <*> declined: <*>"),
        ("web", Band::Info, "GET <*> <*> in <*>"),
        ("web", Band::Debug, "cache lookup <*>"),
        ("web", Band::Info, "health check ok"),
        ("web", Band::Warn, "slow render of <*> took <*>"),
        ("mail", Band::Info, "mail <*> queued"),
        ("mail", Band::Info, "template <*> rendered"),
        ("mail", Band::Fatal, "disk full on <*>"),
        ("mail", Band::Info, "timeout talking to relay <*>"),
    ];
    let facts = |(at, (service, severity, template)): (usize, &(&str, Band, &str))| {
        pattern(&format!("{at:02}"), service, *severity, template, 100_000 >> at)
    };
    list.iter().enumerate().map(facts).collect()
}
