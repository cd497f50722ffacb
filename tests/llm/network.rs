//! Over real connections: what the fake transport cannot show.

use std::sync::Arc;

use lipservice::control_plane::generator::llm::config::{LlmProviderConfig, LlmProviderType};
use lipservice::control_plane::generator::llm::provider::FaultKind;
use lipservice::control_plane::generator::llm::provider::transport::SystemTimer;
use lipservice::control_plane::generator::llm::{LlmConfig, LlmHealth, WorthOrigin, scorer};
use lipservice::units::Period;

use super::{KINDS, settings, shop};
use crate::support::fake_llm::serve::serve;
use crate::support::fake_llm::{FakeLlm, Fault, minds};

async fn round(kind: LlmProviderType, fault: Fault) -> (Vec<WorthOrigin>, LlmHealth, Option<&'static str>) {
    let fake = FakeLlm::new(kind, minds::constant(8), Arc::new(SystemTimer));
    fake.always(fault.clone());
    let served = serve(fake.clone()).await.unwrap();
    let path = if kind == LlmProviderType::OpenAi { "/v1" } else { "" };
    let provider = LlmProviderConfig {
        base_url: Some(format!("http://{}{path}", served.address)),
        // Short only where it is meant to pass.
        timeout: if fault == Fault::Hang { Period::millis(200) } else { Period::secs(60) },
        max_attempts: 2,
        initial_interval: Period::millis(1),
        max_interval: Period::millis(2),
        ..settings(kind)
    };
    let config = LlmConfig {
        chain: vec!["real".into(), "none".into()],
        providers: [("real".to_owned(), provider)].into(),
        ..LlmConfig::default()
    };
    let mut scorer = scorer(&config).unwrap();
    let worths = scorer.score(&shop()[..3]).await;
    assert_eq!(fake.complaints(), Vec::<String>::new());
    let status = scorer.status();
    let fault = status.faults.get("real").map(|fault| fault.kind);
    assert!(!format!("{status:?}").contains("MARKER"), "{status:?}");
    (worths.into_iter().map(|worth| worth.origin).collect(), status.health, fault)
}

#[tokio::test]
async fn every_api_answers_over_http() {
    for kind in KINDS {
        let (origins, health, fault) = round(kind, Fault::None).await;
        assert!(origins.iter().all(|origin| matches!(origin, WorthOrigin::Model { .. })), "{kind:?}: {origins:?}");
        assert_eq!((health, fault), (LlmHealth::Ok, None));
    }
}

#[tokio::test]
async fn broken_connections_huge_answers_and_silence_end_in_statistics() {
    let elsewhere = Fault::Status(307, vec![("location", "http://127.0.0.1:1/v1/messages".into())], String::new());
    for (fault, kind) in [
        (Fault::Reset, FaultKind::Unreachable),
        (Fault::Huge(4 << 20), FaultKind::Garbage),
        (Fault::Hang, FaultKind::Timeout),
        (elsewhere, FaultKind::BadRequest),
    ] {
        let (origins, health, seen) = round(LlmProviderType::Anthropic, fault.clone()).await;
        assert!(origins.iter().all(|origin| matches!(origin, WorthOrigin::Statistics(_))), "{fault:?}");
        assert_eq!((health, seen), (LlmHealth::Down, Some(kind.label())), "{fault:?}");
    }
}

#[test]
fn settings_that_cannot_work_are_errors_at_the_start() {
    let with = |tweak: fn(&mut LlmConfig)| {
        let providers = [("a".to_owned(), settings(LlmProviderType::Ollama))].into();
        let mut config = LlmConfig { chain: vec!["a".into()], providers, ..LlmConfig::default() };
        tweak(&mut config);
        scorer(&config).map(|scorer| scorer.status().why).map_err(|error| error.to_string())
    };
    assert_eq!(with(|_| {}).unwrap(), "no round yet");
    assert!(with(|config| config.chain = vec!["b".into()]).unwrap_err().starts_with("llm.chain: \"b\""));
    assert!(with(|config| config.prompts = Some("/nowhere".into())).unwrap_err().starts_with("llm.prompts: "));
    let missing = with(|config| {
        if let Some(provider) = config.providers.get_mut("a") {
            provider.ca_file = Some("/nowhere".into());
        }
    });
    assert!(missing.unwrap_err().starts_with("llm.providers.a.ca_file: "));
    // A broken state costs its answers, not the start.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("llm.json");
    std::fs::write(&file, "{").unwrap();
    let config = LlmConfig { state_file: Some(file.display().to_string()), ..LlmConfig::default() };
    assert!(scorer(&config).unwrap().status().why.contains("llm.json"));
}
