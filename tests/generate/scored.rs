//! `lipservice generate --llm`: what a model says is in the policy, and what it cannot say is by statistics.

use std::fs;
use std::process::Output;
use std::sync::Arc;

use lipservice::clock::Clock;
use lipservice::control_plane::generator::llm::config::LlmProviderType;
use lipservice::control_plane::generator::llm::provider::transport::SystemTimer;
use lipservice::control_plane::store::config::StoreConfig;
use lipservice::control_plane::store::{BookAccount, Store};
use lipservice::units::SecretUrl;
use serde_json::Value;

use super::command::Bench;
use crate::support::fake_llm::serve::serve;
use crate::support::fake_llm::{FakeLlm, Fault, KEY, MODEL, minds};

const KINDS: [(LlmProviderType, &str, &str); 3] = [
    (LlmProviderType::OpenAi, "openai", "/v1"),
    (LlmProviderType::Ollama, "ollama", ""),
    (LlmProviderType::Anthropic, "anthropic", ""),
];

/// Runs the command against a fake of this kind that goes wrong as told.
async fn generate(bench: &Bench, (kind, name, path): (LlmProviderType, &str, &str), fault: Fault) -> (Output, Value) {
    let fake = FakeLlm::new(kind, minds::sensible(), Arc::new(SystemTimer));
    fake.always(fault);
    let served = serve(fake.clone()).await.unwrap();
    let config = format!(
        "api: {{}}
store: {{url: 'sqlite:{}'}}
receivers: {{otlp: {{protocols: {{http: {{}}}}}}}}
exporters: {{debug: {{}}}}
service: {{pipelines: {{logs: {{receivers: [otlp], exporters: [debug]}}}}}}
llm:
  providers:
    main: {{type: {name}, base_url: 'http://{}{path}', model: {MODEL}, api_key: '${{env:TEST_LLM_KEY}}', max_attempts: 1,
           input_price: 10, output_price: 20}}
",
        bench.path("store.db").display(),
        served.address
    );
    fs::write(bench.path("config.yaml"), config).unwrap();
    let mut command = bench.command("40%", "p.yaml", &["--config", "config.yaml", "--llm", "main,none"]);
    command.env("TEST_LLM_KEY", KEY);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(fake.complaints(), Vec::<String>::new());
    let found = Bench::found(&output);
    (output, found)
}

/// What the control plane's books say of models.
async fn booked(bench: &Bench) -> u64 {
    let url = format!("sqlite:{}", bench.path("store.db").display());
    let config = StoreConfig { url: Some(SecretUrl::new(url)), ..StoreConfig::default() };
    let store = Store::open(&config, Clock::System).await.unwrap();
    let books = store.books(BookAccount::LlmMicrodollars, 0).await.unwrap();
    store.close().await;
    books.iter().map(|(_, amount)| amount).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_model_cost_is_booked_where_there_are_books() {
    let bench = Bench::new();
    let (output, found) = generate(&bench, KINDS[0], Fault::None).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!bench.path("store.db").exists(), "no store is made for it");
    assert_eq!(booked(&bench).await, 0);
    // The store is there now; the same again.
    let (output, _) = generate(&bench, KINDS[0], Fault::None).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let spend = &found["llm"]["spend"];
    let dollars = spend["dollars"].as_f64().unwrap();
    assert!(dollars > 0.0, "{found}");
    assert_eq!(booked(&bench).await, (1e6 * dollars).round() as u64, "{spend}");
}

fn labels(policy: &Value) -> impl Fn(&str) -> String {
    let labels = policy["labels"].as_array().unwrap().clone();
    move |key: &str| {
        let found = labels.iter().find(|label| label["key"] == key);
        found.map_or(String::new(), |label| label["value"]["string_value"].as_str().unwrap_or_default().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_name_the_model_its_category_and_its_reason() {
    for kind in KINDS {
        let bench = Bench::new();
        let (output, found) = generate(&bench, kind, Fault::None).await;
        assert_eq!(output.status.code(), Some(0), "{kind:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(found["llm"]["health"], "ok", "{found}");
        let text = fs::read_to_string(bench.path("p.yaml")).unwrap();
        let policy: Value = serde_saphyr::from_str(&text).unwrap();
        let rule = &policy["policies"][0];
        let label = labels(rule);
        assert_eq!((&*label("lip.worth_source"), &*label("lip.model")), ("model", MODEL), "{rule}");
        assert_eq!((&*label("lip.category"), &*label("lip.provider")), ("request", "main"), "{rule}");
        let description = rule["description"].as_str().unwrap();
        assert!(description.contains("by fake-1 (request): as it seems."), "{description}");
        assert!(!text.contains(KEY) && !String::from_utf8_lossy(&output.stderr).contains(KEY));
        // The line that gives orders was not put before the model.
        assert_eq!(found["llm"]["by_statistics"]["suspicious"], 1, "{found}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_answer_statistics_decide_and_the_report_says_why() {
    for (kind, fault) in KINDS.into_iter().zip([
        Fault::Status(500, Vec::new(), String::new()),
        Fault::Body("garbage".into()),
        Fault::Status(401, Vec::new(), String::new()),
    ]) {
        let bench = Bench::new();
        let (output, found) = generate(&bench, kind, fault.clone()).await;
        assert_eq!(output.status.code(), Some(0), "{fault:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(found["llm"]["health"], "down", "{found}");
        assert!(found["llm"]["faults"]["main"]["kind"].is_string(), "{found}");
        let text = fs::read_to_string(bench.path("p.yaml")).unwrap();
        assert!(text.contains("by statistics (no model answered)"), "{text}");
    }
}

#[test]
fn a_name_that_is_no_provider_is_an_error() {
    let bench = Bench::new();
    for (arguments, words) in [
        (&["--llm", "main"][..], "give it by --config"),
        (&["--llm", "other", "--config", "config.yaml"][..], "not one of llm.providers"),
    ] {
        fs::write(
            bench.path("config.yaml"),
            "{role: control_plane, llm: {providers: {main: {type: ollama, model: m}}}}",
        )
        .unwrap();
        let output = bench.generate("40%", "p.yaml", arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(words), "{text}");
    }
}
