//! `llm:` as people meet it: mistakes and the messages they get, and keys that show nowhere.

use lipservice::config::render;

use super::{MARKER, errors, loaded, warnings};

const REST: &str = "receivers: {otlp: {protocols: {http: }}}\nexporters: {debug: }\n\
    service: {pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}";

fn text(llm: &str) -> String {
    format!("{REST}\nllm: {{{llm}}}")
}

#[test]
fn each_mistake_has_its_message() {
    for (llm, expected) in [
        ("chain: [main]", r#"llm.chain[0]: no provider is called "main" (define it under llm.providers)"#),
        (
            "chain: [mian], providers: {main: {type: ollama, model: m}}",
            r#"llm.chain[0]: no provider is called "mian" (did you mean "main"?)"#,
        ),
        (
            "chain: [none, main], providers: {main: {type: ollama, model: m}}",
            "llm.chain[0]: none is not the last (what stands behind it is never asked)",
        ),
        (
            "chain: [a, a], providers: {a: {type: ollama, model: m}}",
            r#"llm.chain[1]: "a" is listed twice (it is not asked again after it failed)"#,
        ),
        ("providers: {a: {type: ollama}}", "llm.providers.a.model: missing (name the model as the provider does)"),
        (
            "providers: {a.b: {type: ollama, model: m}}",
            "llm.providers.a.b: not a name for a provider (letters, digits, - and _, at most 64; none is taken)",
        ),
        (
            "providers: {a: {model: m}}",
            "llm.providers.a.api_key: missing (the vendor asks for one: write ${env:NAME}, or use api_key_file)",
        ),
        (
            "providers: {a: {model: m, api_key: '${env:EMPTY}'}}",
            "llm.providers.a.api_key: empty (set the variable, or remove the key)",
        ),
        (
            "providers: {a: {model: m, api_key: '${env:SECRET}', api_key_file: /k}}",
            "llm.providers.a.api_key_file: a second key (give one of the two)",
        ),
        (
            "providers: {a: {type: ollama, model: m, base_url: 'localhost:1'}}",
            "llm.providers.a.base_url: not an http or https URL (write http://host:port or https://host)",
        ),
        (
            "providers: {a: {type: ollama, model: m, temperature: 3}}",
            "llm.providers.a.temperature: not within 0 to 2 (leave it out if in doubt)",
        ),
        (
            "providers: {a: {type: ollama, model: m, input_price: -1}}",
            "llm.providers.a.input_price: not a price (US dollars for a million tokens)",
        ),
        ("limits: {batch_size: 0}", "llm.limits.batch_size: zero (give at least 1)"),
        ("bounds: {max_step: 11}", "llm.bounds.max_step: not within 0 to 10 (worth is counted from 0 to 10)"),
        ("limits: {max_cost_per_day: -1}", "llm.limits.max_cost_per_day: not an amount (give US dollars, such as 5)"),
    ] {
        assert_eq!(errors(&text(llm)), [expected], "{llm}");
    }
}

#[test]
fn a_key_comes_from_the_environment_or_a_file_and_shows_nowhere() {
    let literal = text(&format!("providers: {{a: {{model: m, api_key: {MARKER}}}}}"));
    let messages = errors(&literal);
    let expected = "llm.providers.a.api_key: a key written into the file (write ${env:NAME}, or use api_key_file)";
    assert_eq!(messages, [expected]);
    let given =
        text("chain: [a], providers: {a: {model: m, api_key: '${env:SECRET}', input_price: 1, output_price: 2}}");
    let config = loaded(&given).config;
    assert_eq!(config.llm.providers["a"].api_key.as_ref().unwrap().expose(), MARKER);
    assert!(!format!("{config:?}").contains(MARKER));
    let printed = render(&config);
    assert!(!printed.contains(MARKER) && printed.contains("redacted"), "{printed}");
    assert!(errors(&printed).is_empty(), "what is printed can be checked again");
    assert!(!render(&loaded(&text("")).config).contains("llm:"), "off by default, and not printed");
}

#[test]
fn what_is_unwise_is_said() {
    let key = "api_key: '${env:SECRET}'";
    for (llm, expected) in [
        (
            format!("chain: [a], providers: {{a: {{model: m, {key}}}}}"),
            "llm.providers.a.input_price: without prices max_cost_per_day counts nothing (set input_price and \
             output_price; limits.max_tokens_per_day holds in any case)",
        ),
        (
            format!("chain: [a], providers: {{a: {{model: m, base_url: 'http://llm.example/v1', {key}}}}}"),
            "llm.providers.a.base_url: the key travels in plain text (use https, or a host on this machine)",
        ),
    ] {
        assert!(warnings(&text(&llm)).contains(&expected.to_owned()), "{llm}: {:?}", warnings(&text(&llm)));
    }
    let local = format!("chain: [a], providers: {{a: {{model: m, base_url: 'http://127.0.0.1:8080/v1', {key}}}}}");
    assert!(warnings(&text(&local)).iter().all(|warning| !warning.starts_with("llm")));
}
