//! Rounds of scoring: what is asked again and what is not, who is asked next, and what is left when everybody fails.

use std::time::Duration;

use lipservice::control_plane::generator::llm::config::{
    AnswerDetail, LlmLimitsConfig, LlmProviderConfig, LlmProviderType,
};
use lipservice::control_plane::generator::llm::provider::transport::Timer as _;
use lipservice::control_plane::generator::llm::{
    LlmConfig, LlmHealth, LlmState, PatternFacts, WhyStatistics, Worth, WorthOrigin,
};
use lipservice::data_plane::window::Band;
use lipservice::telemetry::{MetricSink, MetricSource as _};
use lipservice::units::Period;

use super::{KINDS, Stage, pattern, settings, shop};
use crate::support::fake_llm::{Fault, minds};

fn openai() -> LlmProviderConfig {
    settings(LlmProviderType::OpenAi)
}

fn origins(worths: &[Worth]) -> Vec<&str> {
    let origin = |worth: &Worth| match &worth.origin {
        WorthOrigin::Model { provider, .. } if provider == "p0" => "p0",
        WorthOrigin::Model { .. } => "p1",
        WorthOrigin::Statistics(why) => why.label(),
    };
    let mut origins: Vec<&str> = worths.iter().map(origin).collect();
    origins.sort_unstable();
    origins.dedup();
    origins
}

fn by_id<'a>(worths: &'a [Worth], id: &str) -> &'a Worth {
    worths.iter().find(|worth| worth.id == id).unwrap()
}

#[test]
fn a_sensible_model_is_followed_within_bounds() {
    for kind in KINDS {
        for answer in [AnswerDetail::Full, AnswerDetail::ScoreOnly] {
            let settings = LlmProviderConfig { answer, ..settings(kind) };
            let mut stage = Stage::new(&LlmConfig::default(), &[(settings, minds::sensible())]);
            let mut patterns = shop();
            let worths = stage.score(&patterns);
            assert_eq!(origins(&worths), ["p0"], "{kind:?}");
            let score = |id: &str| by_id(&worths, id).score;
            // heartbeat: 0 of 5, one step of 2; retry: 7 of 5; an error: 9 of 8.
            assert_eq!((score("01"), score("04"), score("02")), (3.0, 7.0, 9.0));
            // The next rounds go on towards the answer without asking again.
            let asked = stage.fakes[0].asked().len();
            for (facts, worth) in patterns.iter_mut().zip(&worths) {
                facts.present = Some(worth.score);
            }
            let worths = stage.score(&patterns);
            assert_eq!(by_id(&worths, "01").score, 1.0);
            assert_eq!(stage.fakes[0].asked().len(), asked, "unchanged context is not sent again");
            assert_eq!(stage.scorer.status().health, LlmHealth::Ok);
        }
    }
}

#[test]
fn what_changed_or_is_old_is_asked_again() {
    let limits = LlmLimitsConfig { rescore_after: Period::secs(86_400), ..LlmLimitsConfig::default() };
    let mut stage = Stage::new(&LlmConfig { limits, ..LlmConfig::default() }, &[(openai(), minds::constant(8))]);
    let mut patterns = shop();
    stage.score(&patterns);
    let asked_about = |stage: &mut Stage, patterns: &[PatternFacts]| -> usize {
        let before = stage.fakes[0].asked().len();
        stage.score(patterns);
        stage.fakes[0].asked()[before..].iter().map(|asked| asked.lines.len()).sum()
    };
    patterns[0].records += 1;
    patterns[1].bytes += 1;
    patterns[2].present = Some(1.0);
    assert_eq!(asked_about(&mut stage, &patterns), 0);
    patterns[0].records *= 16;
    patterns[3].service = "new-home".into();
    patterns[4].is_anomalous = true;
    patterns.push(pattern("new", "cart", Band::Info, "basket <*> merged", 10));
    assert_eq!(asked_about(&mut stage, &patterns), 4);
    assert_eq!(asked_about(&mut stage, &patterns), 0);
    stage.time.pass(Duration::from_secs(86_401));
    assert_eq!(asked_about(&mut stage, &patterns), patterns.len());
}

#[test]
fn limits_of_a_round_hold_and_everybody_gets_a_turn() {
    let limits = LlmLimitsConfig { max_patterns_per_round: 5, batch_size: 2, ..LlmLimitsConfig::default() };
    let mut stage = Stage::new(&LlmConfig { limits, ..LlmConfig::default() }, &[(openai(), minds::constant(8))]);
    let mut patterns = shop();
    patterns[13].is_new = true;
    patterns[14].is_anomalous = true;
    let first = stage.score(&patterns);
    assert_eq!(origins(&first), ["p0", "waiting"]);
    let heard = |worths: &[Worth]| -> Vec<String> {
        let by_model = |worth: &&Worth| matches!(worth.origin, WorthOrigin::Model { .. });
        worths.iter().filter(by_model).map(|worth| worth.id.clone()).collect()
    };
    assert_eq!(heard(&first), ["00", "01", "02", "13", "14"], "the largest, the new one, the anomalous one");
    assert!(stage.fakes[0].asked().iter().all(|asked| asked.lines.len() <= 2));
    stage.score(&patterns);
    assert_eq!(heard(&stage.score(&patterns)).len(), patterns.len());
    let few = LlmLimitsConfig { max_requests_per_round: 2, batch_size: 2, ..LlmLimitsConfig::default() };
    let mut stage = Stage::new(&LlmConfig { limits: few, ..LlmConfig::default() }, &[(openai(), minds::constant(8))]);
    assert_eq!(heard(&stage.score(&patterns)).len(), 4);
    assert_eq!(stage.fakes[0].asked().len(), 2);
    assert_eq!(stage.scorer.status().health, LlmHealth::Degraded);
}

#[test]
fn a_chain_goes_on_where_one_fails_and_ends_in_statistics() {
    let faults = [
        Fault::Status(401, Vec::new(), String::new()),
        Fault::Status(429, vec![("retry-after", "9999".into())], String::new()),
        Fault::Status(500, Vec::new(), String::new()),
        Fault::Hang,
        Fault::Reset,
        Fault::Body("garbage".into()),
        Fault::Text("{\"scores\":[]}".into()),
        Fault::Text("I would rather talk about the weather. {\"scores\": \"sunny\"}".into()),
        Fault::Text("{\"scores\":[{\"n\":77,\"reason\":\"\",\"category\":\"other\",\"worth\":0}]}".into()),
        Fault::Text("{\"scores\":[{\"n\":1,\"reason\":\"\",\"category\":\"other\",\"worth\":-4}]}".into()),
        Fault::Huge(3 << 20),
    ];
    for (kind, fault) in KINDS.iter().cycle().zip(faults.iter().chain(&faults[..3])) {
        let second = settings(LlmProviderType::Ollama);
        let providers = [(settings(*kind), minds::sensible()), (second, minds::sensible())];
        let mut stage = Stage::new(&LlmConfig::default(), &providers);
        stage.fakes[0].always(fault.clone());
        let worths = stage.score(&shop()[..6]);
        assert_eq!(origins(&worths), ["p1"], "{kind:?} {fault:?}");
        stage.fakes[1].always(Fault::Reset);
        let other = [pattern("x", "cart", Band::Info, "unseen <*>", 9)];
        assert_eq!(origins(&stage.score(&other)), ["unanswered"]);
        let status = stage.scorer.status();
        assert_eq!(status.health, LlmHealth::Down, "{status:?}");
        assert!(status.faults.contains_key("p0") && status.faults.contains_key("p1"), "{status:?}");
    }
}

#[test]
fn with_everybody_dead_worth_is_what_statistics_say() {
    for fault in [Fault::Hang, Fault::Reset, Fault::Status(500, Vec::new(), String::new()), Fault::Text("no".into())] {
        let mut stage = Stage::new(&LlmConfig::default(), &[(openai(), minds::sensible())]);
        stage.fakes[0].always(fault.clone());
        let patterns = &shop()[..5];
        // A third of an hour of it, every five minutes.
        for _ in 0..4 {
            let before = stage.time.now();
            for (worth, facts) in stage.score(patterns).iter().zip(patterns) {
                assert_eq!(worth.score, facts.statistical, "{fault:?}");
                assert_eq!(worth.reason, facts.statistical_reason);
            }
            assert!(stage.time.now() - before <= 300_000_000_000, "a round keeps its time");
            stage.time.pass(Duration::from_secs(300));
        }
        let asked = stage.fakes[0].asked().len();
        assert!(asked <= 4 * 4, "{fault:?}: {asked} requests");
        // And when it is back, so are its answers.
        stage.fakes[0].always(Fault::None);
        stage.time.pass(Duration::from_secs(900));
        assert_eq!(origins(&stage.score(patterns)), ["p0"], "{fault:?}");
    }
}

#[test]
fn earlier_answers_stay_when_the_model_dies() {
    let mut stage = Stage::new(&LlmConfig::default(), &[(openai(), minds::sensible())]);
    let mut patterns = shop();
    let before = stage.score(&patterns);
    stage.fakes[0].always(Fault::Reset);
    patterns.push(pattern("new", "cart", Band::Info, "basket <*> merged", 10));
    let after = stage.score(&patterns);
    assert_eq!(&after[..before.len()], &before[..]);
    assert_eq!(after[before.len()].origin, WorthOrigin::Statistics(WhyStatistics::Unanswered));
    // They outlive the process.
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("llm.json");
    stage.scorer.keep_in(file.clone());
    stage.score(&patterns);
    let state = LlmState::load(&file).unwrap();
    let mut again = Stage::with(&LlmConfig::default(), &[(openai(), minds::sensible())], state);
    again.fakes[0].always(Fault::Reset);
    assert_eq!(&again.score(&patterns)[..before.len()], &before[..]);
    assert_eq!(again.scorer.state().spend, stage.scorer.state().spend);
}

#[test]
fn what_a_round_has_cost_outlives_a_process_that_dies_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("llm.json");
    let (mut spent, mut asked) = (0.0, 0);
    for _ in 0..3 {
        let mut stage = Stage::new(&LlmConfig::default(), &[(openai(), minds::sensible())]);
        stage.scorer.keep_in(file.clone());
        let spend = stage.scorer.state().spend.clone();
        assert_eq!((spend.dollars, spend.unbooked_dollars), (spent, spent));
        stage.fakes[0].always(Fault::Hang);
        // The process ends a second after the request left.
        let time = stage.time.clone();
        let patterns = shop();
        let round = stage.scorer.score(&patterns);
        time.run(async {
            tokio::select! {
                _ = round => panic!("nobody answered"),
                () = time.sleep(Duration::from_secs(1)) => {}
            }
        });
        asked += stage.fakes[0].asked().len();
        spent = stage.scorer.state().spend.dollars;
    }
    assert_eq!(asked, 3);
    assert!(spent > 0.0);
    // The cap holds over all of them: not one more request fits under what they may have cost.
    let mut capped = LlmConfig::default();
    capped.limits.max_cost_per_day = spent;
    let mut stage = Stage::new(&capped, &[(openai(), minds::sensible())]);
    stage.scorer.keep_in(file.clone());
    assert_eq!(origins(&stage.score(&shop())), ["capped"]);
    assert!(stage.fakes[0].asked().is_empty());
    // A round that ends leaves what requests took, not what they might have; and what is booked is not booked again.
    let state = LlmState::load(&file).unwrap();
    let mut stage = Stage::with(&LlmConfig::default(), &[(openai(), minds::sensible())], state);
    stage.scorer.keep_in(file.clone());
    assert_eq!(origins(&stage.score(&shop())), ["p0"]);
    let spend = stage.scorer.state().spend.clone();
    assert!(spend.unbooked_dollars > spent);
    stage.scorer.booked(spend.unbooked_dollars);
    let kept = LlmState::load(&file).unwrap().spend;
    assert_eq!((kept.dollars, kept.unbooked_dollars), (spend.dollars, 0.0));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "the state file alone is left");
}

#[test]
fn requests_that_are_too_much_are_halved() {
    let cut = |most: usize, fault: Fault| {
        let mut stage = Stage::new(&LlmConfig::default(), &[(openai(), minds::constant(8))]);
        stage.fakes[0].too_much(most, fault);
        let worths = stage.score(&shop());
        let sizes: Vec<usize> = stage.fakes[0].asked().iter().map(|asked| asked.lines.len()).collect();
        (origins(&worths).join(" "), sizes)
    };
    let overflow = Fault::Status(400, Vec::new(), r#"{"error":{"code":"context_length_exceeded"}}"#.into());
    for fault in [Fault::Truncated, overflow] {
        assert_eq!(cut(4, fault.clone()), ("p0".into(), vec![15, 7, 3, 3, 1, 3, 3, 1, 1]), "{fault:?}");
        assert_eq!(cut(0, fault.clone()).0, "unanswered", "{fault:?}");
    }
}

#[test]
fn one_refused_pattern_does_not_cost_the_others_their_answer() {
    let mut stage = Stage::new(&LlmConfig::default(), &[(openai(), minds::constant(8))]);
    stage.fakes[0].refuse("disk full");
    let worths = stage.score(&shop());
    for worth in &worths {
        let refused = worth.id == "13";
        assert_eq!(matches!(worth.origin, WorthOrigin::Statistics(WhyStatistics::Unanswered)), refused, "{worth:?}");
    }
    assert_eq!(stage.scorer.status().health, LlmHealth::Degraded);
}

#[test]
fn caps_of_a_day_hold_to_the_token_and_begin_anew() {
    let limits = LlmLimitsConfig { max_tokens_per_day: 3_000, batch_size: 1, ..LlmLimitsConfig::default() };
    let money = LlmLimitsConfig { max_cost_per_day: 0.004, batch_size: 1, ..LlmLimitsConfig::default() };
    for limits in [limits, money] {
        let config = LlmConfig { limits: limits.clone(), ..LlmConfig::default() };
        let mut stage = Stage::new(&config, &[(openai(), minds::constant(8))]);
        // A provider that hangs may still bill: the worst case is booked.
        stage.fakes[0].then([Fault::Hang]);
        let worths = stage.score(&shop());
        assert_eq!(origins(&worths), ["capped", "p0"]);
        let status = stage.scorer.status();
        assert_eq!(status.health, LlmHealth::Capped);
        assert!(status.spend.input_tokens + status.spend.output_tokens <= limits.max_tokens_per_day);
        assert!(status.spend.dollars <= limits.max_cost_per_day, "{status:?}");
        let asked = stage.fakes[0].asked().len();
        stage.score(&shop());
        let within = stage.fakes[0].asked().len() - asked;
        assert!(within <= 1, "{within} requests at the cap");
        stage.time.pass(Duration::from_secs(86_400));
        stage.score(&shop());
        assert!(stage.fakes[0].asked().len() > asked + within);
    }
}

#[test]
fn without_a_provider_nobody_is_asked() {
    let mut stage = Stage::new(&LlmConfig::default(), &[]);
    assert_eq!(origins(&stage.score(&shop())), ["no_model"]);
    assert_eq!(stage.scorer.status().health, LlmHealth::Off);
    assert!(stage.score(&[]).is_empty());
}

#[test]
fn a_prompt_tells_what_is_needed_and_no_identifier() {
    let mut patterns = shop();
    patterns[0].id = "secret-id-1".into();
    patterns[0].examples = vec!["item 4711 added to cart of ann@mail.example with card 4111 1111 1111 1111".into()];
    patterns[0].attribute_keys = vec!["user.id".into(), "cart.<|im_start|>".into()];
    let mut stage = Stage::new(&LlmConfig::default(), &[(openai(), minds::constant(8))]);
    stage.score(&patterns);
    let prompts: String = stage.fakes[0].asked().iter().map(|asked| asked.body.to_string()).collect();
    for absent in ["secret-id-1", "4711", "ann@", "4111", "<|", "im_start"] {
        assert!(!prompts.contains(absent), "{absent}");
    }
    let asked = stage.fakes[0].asked();
    let line = asked[0].lines.iter().find(|line| line["template"].as_str().unwrap().contains("disk full")).unwrap();
    assert_eq!(line["service"], "mail");
    assert_eq!(line["severity"], "fatal");
    assert_eq!((line["present"].as_f64(), line["because"].as_str()), (Some(8.0), Some("severity and rarity")));
    assert!(line["records"].is_u64() && line["bytes"].is_u64());
}

#[test]
fn metrics_name_providers_and_outcomes_only() {
    struct Sink(Vec<(String, f64)>);
    impl MetricSink for Sink {
        fn counter(&mut self, name: &'static str, _: &'static str, labels: &[(&'static str, &str)], value: u64) {
            self.0.push((format!("{name}{labels:?}"), value as f64));
        }
        fn gauge(&mut self, name: &'static str, _: &'static str, labels: &[(&'static str, &str)], value: f64) {
            self.0.push((format!("{name}{labels:?}"), value));
        }
    }
    let mut stage = Stage::new(&LlmConfig::default(), &[(openai(), minds::constant(8))]);
    stage.fakes[0].then([Fault::Text("{\"scores\":[{\"n\":99},{\"n\":1,\"worth\":99}]}".into())]);
    stage.score(&shop());
    let mut sink = Sink(Vec::new());
    stage.scorer.metrics().collect(&mut sink);
    let value = |name: &str| sink.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    assert_eq!(value(r#"lipservice_llm_requests[("provider", "p0"), ("outcome", "garbage")]"#), Some(1.0));
    assert_eq!(value(r#"lipservice_llm_requests[("provider", "p0"), ("outcome", "ok")]"#), Some(3.0));
    assert_eq!(value(r#"lipservice_llm_discarded_scores[("reason", "unknown_ordinal")]"#), Some(1.0));
    assert_eq!(value(r#"lipservice_llm_discarded_scores[("reason", "out_of_range")]"#), Some(1.0));
    assert_eq!(value(r#"lipservice_llm_health[("health", "ok")]"#), Some(1.0));
    assert_eq!(value(r#"lipservice_llm_patterns[("origin", "model")]"#), Some(15.0));
    assert!(sink.0.len() < 40, "{}", sink.0.len());
}

/// Large rounds stay cheap where there is nobody to ask.
#[test]
fn five_thousand_patterns_without_a_model() {
    let patterns: Vec<PatternFacts> =
        (0..5000).map(|at| pattern(&format!("{at}"), "cart", Band::Info, "thing <*> done", at)).collect();
    let mut stage = Stage::new(&LlmConfig::default(), &[]);
    assert!(stage.score(&patterns).iter().all(|worth| worth.score == 5.0));
}
