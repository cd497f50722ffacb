//! A model that is dead, slow, lying or talking nonsense for an hour: sampling goes on, the budget holds, and the operator
//! can see why.

use std::collections::BTreeSet;
use std::time::Duration;

use lipservice::control_plane::controller::RunState;
use lipservice::control_plane::generator::llm::config::LlmProviderType;
use serde_json::Value;

use super::{Stage, Wanted, shop};
use crate::support::fake_llm::{Fault, minds};
use crate::support::otlp;

const KINDS: [LlmProviderType; 3] = [LlmProviderType::OpenAi, LlmProviderType::Ollama, LlmProviderType::Anthropic];

/// An hour of a shop with a model that fails like this; how the loop says it stands at the end.
async fn hour(kind: LlmProviderType, fault: Fault, mind: crate::support::fake_llm::Mind) -> Value {
    let mut stage = Stage::new(Wanted { llm: Some((kind, mind)), ..Wanted::default() }).await;
    stage.fake.as_ref().unwrap().always(fault.clone());
    let (mut published, mut before, mut texts) = (0, 0, BTreeSet::new());
    for minute in 0..60 {
        stage.pass(60, shop);
        let (bytes, records) = stage.arrived();
        texts.extend(
            records.iter().map(|(_, record)| otlp::body_of(record)).filter(|text| text.starts_with("payment retry")),
        );
        match stage.turn().await {
            Some(RunState::Published) => published += 1,
            None => {}
            other => panic!("{fault:?} in minute {minute}: {other:?}, {}", stage.controller.status().json()),
        }
        if minute == 0 {
            before = bytes;
        }
        // A run that waits for a model takes minutes of its own, and the next has another phase.
        if minute >= 3 {
            let share = bytes as f64 / before as f64;
            assert!((0.2..0.5).contains(&share), "{fault:?}: {share} in minute {minute}");
            let errors = records.iter().filter(|(_, record)| record.severity_number == 17).count();
            assert!((1..=2).contains(&errors), "{errors} errors");
        }
    }
    assert!(published >= 3, "{fault:?}: {published}");
    assert!(texts.len() > 60, "rare warnings are kept: {}", texts.len());
    assert!(stage.flow.pipeline.ledger.totals().balance());
    stage.controller.status().json()
}

#[tokio::test]
async fn a_model_that_is_dead() {
    let status = hour(KINDS[0], Fault::Reset, minds::sensible()).await;
    assert_eq!(
        (&status["llm"]["health"], &status["llm"]["faults"]["main"]["kind"]),
        (&"down".into(), &"unreachable".into())
    );
    let detail = &status["last"]["detail"]["llm"];
    assert!(detail["why"].as_str().unwrap().contains("no provider answered"), "{detail}");
    assert!(status["last"]["why"].as_str().unwrap().contains("worth of 0 of"), "{status}");
}

#[tokio::test]
async fn a_model_that_never_answers() {
    let status = hour(KINDS[1], Fault::Hang, minds::sensible()).await;
    assert_eq!(
        (&status["llm"]["health"], &status["llm"]["faults"]["main"]["kind"]),
        (&"down".into(), &"timeout".into())
    );
}

#[tokio::test]
async fn a_model_that_is_slow() {
    let status = hour(KINDS[2], Fault::Slow(Duration::from_secs(30)), minds::sensible()).await;
    assert_eq!(status["llm"]["health"], "ok", "{}", status["llm"]);
    assert!(status["llm"]["by_model"].as_u64().unwrap() >= 4);
}

#[tokio::test]
async fn a_model_that_talks_nonsense() {
    let status = hour(KINDS[0], Fault::Text("the weather is fine".into()), minds::sensible()).await;
    assert_eq!(
        (&status["llm"]["health"], &status["llm"]["faults"]["main"]["kind"]),
        (&"down".into(), &"garbage".into())
    );
}

#[tokio::test]
async fn a_model_that_lies() {
    // Everything is worth nothing, and then everything is worth all.
    for score in [0, 10] {
        let status = hour(KINDS[2], Fault::None, minds::constant(score)).await;
        assert_eq!(status["llm"]["health"], "ok", "{}", status["llm"]);
    }
}
