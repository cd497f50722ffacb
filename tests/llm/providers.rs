//! Each API against its strict fake: what is asked, and what follows from every way it can go wrong.

use std::sync::Arc;
use std::time::Duration;

use lipservice::control_plane::generator::llm::config::{
    AnswerDetail, LlmProviderConfig, LlmProviderType, OutputLimitField,
};
use lipservice::control_plane::generator::llm::provider::transport::Timer as _;
use lipservice::control_plane::generator::llm::provider::{FaultKind, HttpProvider, Outcome, Provider as _, Question};
use lipservice::control_plane::generator::llm::{answer, spend::Tokens};
use serde_json::json;

use super::{KINDS, NOON, settings};
use crate::support::fake_llm::time::SimulatedTime;
use crate::support::fake_llm::{FakeLlm, Fault, KEY, minds};

fn question(detail: AnswerDetail) -> Question {
    Question {
        system: "rate".into(),
        user: "{\"n\":1,\"template\":\"a\"}\n{\"n\":2,\"template\":\"b\"}".into(),
        schema: answer::schema(detail, 2),
        max_output_tokens: 500,
    }
}

struct Asked {
    outcome: Outcome,
    took: Duration,
    requests: usize,
}

fn ask(settings: &LlmProviderConfig, faults: &[Fault]) -> Asked {
    let time = SimulatedTime::at(NOON);
    let timer = Arc::new(time.clone());
    let fake = FakeLlm::new(settings.kind, minds::constant(4), timer.clone());
    fake.then(faults.iter().cloned());
    let provider = HttpProvider::new("p", settings, fake.clone(), timer, 1);
    let question = question(settings.answer);
    let outcome = time.run(provider.ask(&question));
    assert_eq!(fake.complaints(), Vec::<String>::new());
    Asked { outcome, took: Duration::from_nanos(time.now() - NOON), requests: fake.asked().len() }
}

#[test]
fn every_api_is_asked_as_published_and_understood() {
    for kind in KINDS {
        for detail in [AnswerDetail::Full, AnswerDetail::ScoreOnly] {
            for temperature in [None, Some(0.5)] {
                for output_limit_field in [OutputLimitField::MaxCompletionTokens, OutputLimitField::MaxTokens] {
                    let settings =
                        LlmProviderConfig { answer: detail, temperature, output_limit_field, ..settings(kind) };
                    let asked = ask(&settings, &[]);
                    let text = asked.outcome.answer.unwrap();
                    let read = answer::read(&text, detail, 2).unwrap();
                    assert!(read.votes.iter().all(|vote| vote.as_ref().is_some_and(|vote| vote.score == 4)), "{text}");
                    assert_eq!(asked.outcome.spent, Tokens { input: 100, output: 20 });
                    assert_eq!((asked.requests, asked.took), (1, Duration::ZERO));
                }
            }
        }
    }
}

fn status(status: u16, body: &str) -> Fault {
    Fault::Status(status, Vec::new(), body.to_owned())
}

fn busy(header: &'static str, value: &str) -> Fault {
    Fault::Status(429, vec![(header, value.to_owned())], String::new())
}

#[test]
fn every_fault_has_its_consequence() {
    let quota = status(429, r#"{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}"#);
    let overflow = status(400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#);
    let forever = [Fault::Reset, Fault::Reset, Fault::Reset, Fault::Reset, Fault::Reset];
    #[rustfmt::skip]
    let table: Vec<(&str, Vec<Fault>, Option<FaultKind>, usize)> = vec![
        // faults of the requests, what comes of it, requests made
        ("slow but in time",       vec![Fault::Slow(Duration::from_secs(59))],           None,                             1),
        ("too slow",               vec![Fault::Slow(Duration::from_secs(61))],           Some(FaultKind::Timeout),         1),
        ("hangs",                  vec![Fault::Hang],                                    Some(FaultKind::Timeout),         1),
        ("resets once",            vec![Fault::Reset],                                   None,                             2),
        ("resets for ever",        forever.to_vec(),                                     Some(FaultKind::Unreachable),     4),
        ("500, then well",         vec![status(500, "x"), status(503, "x")],             None,                             3),
        ("overloaded",             vec![status(529, r#"{"type":"error","error":{"type":"overloaded_error"}}"#)], None,     2),
        ("500 for ever",           vec![status(500, ""); 9],                             Some(FaultKind::Server),          4),
        ("429 with seconds",       vec![busy("retry-after", "7")],                       None,                             2),
        ("429 with milliseconds",  vec![busy("retry-after-ms", "1500")],                 None,                             2),
        ("429 for an hour",        vec![busy("retry-after", "3600")],                    Some(FaultKind::RateLimited),     1),
        ("429 for ever",           vec![busy("retry-after", "1"); 9],                    Some(FaultKind::RateLimited),     4),
        ("no money",               vec![quota],                                          Some(FaultKind::Quota),           1),
        ("402",                    vec![status(402, "")],                                Some(FaultKind::Quota),           1),
        ("401",                    vec![status(401, "")],                                Some(FaultKind::Unauthorized),    1),
        ("403",                    vec![status(403, "")],                                Some(FaultKind::Unauthorized),    1),
        ("404",                    vec![status(404, "")],                                Some(FaultKind::NotFound),        1),
        ("422",                    vec![status(422, "")],                                Some(FaultKind::BadRequest),      1),
        ("a redirect",             vec![Fault::Status(302, vec![("location", "http://evil.test/".into())], String::new())], Some(FaultKind::BadRequest), 1),
        ("too long a prompt",      vec![overflow],                                       Some(FaultKind::ContextOverflow), 1),
        ("not JSON",               vec![Fault::Body("<html>".into())],                   Some(FaultKind::Garbage),         1),
        ("JSON of another world",  vec![Fault::Body("[1,2]".into())],                    Some(FaultKind::Garbage),         1),
        ("nothing",                vec![Fault::Body(String::new())],                     Some(FaultKind::Garbage),         1),
        ("an empty object",        vec![Fault::Body("{}".into())],                       Some(FaultKind::Garbage),         1),
        ("empty text",             vec![Fault::Text("  ".into())],                       None,                             1),
        ("cut",                    vec![Fault::Truncated],                               Some(FaultKind::Truncated),       1),
        ("huge",                   vec![Fault::Huge(2 << 20)],                           Some(FaultKind::Garbage),         1),
    ];
    for kind in KINDS {
        for (name, faults, expected, requests) in &table {
            let asked = ask(&settings(kind), faults);
            let fault = asked.outcome.answer.as_ref().err().map(|fault| fault.kind);
            if *name == "empty text" {
                assert!(fault.is_none() || fault == Some(FaultKind::Garbage), "{kind:?}: {name}");
                continue;
            }
            assert_eq!((fault, asked.requests), (*expected, *requests), "{kind:?}: {name}");
        }
    }
}

#[test]
fn refusals_are_told_from_failures() {
    for (kind, expected) in [
        (LlmProviderType::OpenAi, Some(FaultKind::Refused)),
        (LlmProviderType::Anthropic, Some(FaultKind::Refused)),
        // Ollama has no word for it: the text comes as an answer, and reading it fails.
        (LlmProviderType::Ollama, None),
    ] {
        let asked = ask(&settings(kind), &[Fault::Refusal]);
        assert_eq!(asked.outcome.answer.as_ref().err().map(|fault| fault.kind), expected, "{kind:?}");
        if let Ok(text) = asked.outcome.answer {
            assert_eq!(answer::read(&text, AnswerDetail::Full, 2), None);
        }
    }
    let filtered = r#"{"choices":[{"finish_reason":"content_filter","message":{"content":""}}]}"#;
    let asked = ask(&settings(LlmProviderType::OpenAi), &[Fault::Body(filtered.into())]);
    assert_eq!(asked.outcome.answer.unwrap_err().kind, FaultKind::Refused);
}

#[test]
fn waits_grow_are_spread_and_obey_the_provider() {
    let openai = settings(LlmProviderType::OpenAi);
    for (faults, least, most) in [
        // Half to whole of 1, 2, 4 s.
        (vec![Fault::Reset], 0.5, 1.0),
        (vec![Fault::Reset; 2], 1.5, 3.0),
        (vec![Fault::Reset; 3], 3.5, 7.0),
        // As ordered, to the millisecond.
        (vec![busy("retry-after", "7")], 7.0, 7.0),
        (vec![busy("retry-after-ms", "1500"), busy("retry-after", "0.5")], 2.0, 2.0),
        // No longer than ten times max_interval: not waited for at all.
        (vec![busy("retry-after", "301")], 0.0, 0.0),
        (vec![Fault::Hang], 60.0, 60.0),
    ] {
        let took = ask(&openai, &faults).took.as_secs_f64();
        assert!((least..=most).contains(&took), "{faults:?}: {took}");
    }
}

#[test]
fn what_a_failure_may_have_cost_is_booked() {
    let openai = settings(LlmProviderType::OpenAi);
    let free = Tokens::default();
    let worst = lipservice::control_plane::generator::llm::provider::client::worst_case(&question(AnswerDetail::Full));
    assert_eq!(worst.output, 500);
    for (fault, spent) in [
        (status(401, ""), free),
        (status(400, ""), free),
        (Fault::Hang, worst),
        (Fault::Huge(2 << 20), worst),
        (Fault::Body("garbage".into()), worst),
        (Fault::Truncated, Tokens { input: 100, output: 20 }),
        (Fault::Refusal, Tokens { input: 100, output: 20 }),
        // A count that cannot be true is replaced by the worst case, as is one that is missing.
        (Fault::Body(json!({"choices": [{"message": {"content": "{}"}}], "usage": {"prompt_tokens": 1e18 as u64, "completion_tokens": 1}}).to_string()), worst),
        (Fault::Body(json!({"choices": [{"message": {"content": "{}"}}], "usage": {"prompt_tokens": -5, "completion_tokens": 1}}).to_string()), worst),
    ] {
        assert_eq!(ask(&openai, std::slice::from_ref(&fault)).outcome.spent, spent, "{fault:?}");
    }
}

#[test]
fn a_key_shows_in_no_error() {
    for kind in KINDS {
        let echo = format!(r#"{{"error":{{"message":"bad key {KEY} in Bearer {KEY}"}}}}"#);
        for status in [400, 401, 429, 500] {
            let fault = Fault::Status(status, Vec::new(), echo.clone());
            let asked = ask(&settings(kind), &vec![fault; 4]);
            let fault = asked.outcome.answer.unwrap_err();
            assert!(!format!("{fault} {fault:?}").contains("MARKER"), "{fault}");
        }
        let wrong =
            LlmProviderConfig { api_key: Some(lipservice::units::Secret::new("wrong-MARKER7f3a")), ..settings(kind) };
        let fault = ask(&wrong, &[]).outcome.answer.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unauthorized);
        assert!(!fault.to_string().contains("MARKER"), "{fault}");
        assert!(!format!("{wrong:?}").contains("MARKER"));
    }
}

#[test]
fn a_key_may_come_from_a_file_and_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let from_file = LlmProviderConfig {
        api_key: None,
        api_key_file: Some(path.display().to_string()),
        ..settings(LlmProviderType::Anthropic)
    };
    for (content, works) in [(None, false), (Some(""), false), (Some("wrong\n"), false), (Some(KEY), true)] {
        if let Some(content) = content {
            std::fs::write(&path, format!("{content}\n")).unwrap();
        }
        let answer = ask(&from_file, &[]).outcome.answer;
        assert_eq!(answer.is_ok(), works, "{content:?}");
        assert!(works || answer.unwrap_err().kind == FaultKind::Unauthorized);
    }
    std::fs::write(&path, "two\u{1}words").unwrap();
    assert_eq!(ask(&from_file, &[]).outcome.answer.unwrap_err().kind, FaultKind::Unauthorized);
}
