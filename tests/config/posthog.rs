//! `posthog:` as people meet it: mistakes and the messages they get, and a key that shows nowhere.

use lipservice::config::render;

use super::{MARKER, errors, loaded};

const REST: &str = "receivers: {otlp: {protocols: {http: }}}\nexporters: {debug: }\n\
    service: {pipelines: {logs: {receivers: [otlp], exporters: [debug]}}}";

fn text(posthog: &str) -> String {
    format!("{REST}\nposthog: {{{posthog}}}")
}

#[test]
fn each_mistake_has_its_message() {
    for (posthog, expected) in [
        ("host: usa", "posthog.host: not an http or https URL (write http://host:port or https://host)"),
        ("api_key: phx_x", "posthog.api_key: a key written into the file (write ${env:NAME}, or use api_key_file)"),
        ("api_key: '${env:SECRET}', api_key_file: k", "posthog.api_key_file: a second key (give one of the two)"),
        ("requests_per_minute: 0", "posthog.requests_per_minute: zero (give at least 1)"),
        (
            "requests_per_hour: 2000000",
            "posthog.requests_per_hour: over a million (PostHog allows 240 a minute and 1,200 an hour)",
        ),
        ("max_interval: 1ms", "posthog.max_interval: shorter than initial_interval (give at least initial_interval)"),
        ("timeout: 0s", "posthog.timeout: no time at all (give a duration such as 10s)"),
    ] {
        assert_eq!(errors(&text(posthog)), [expected], "{posthog}");
    }
}

#[test]
fn a_key_comes_from_the_environment_and_shows_nowhere() {
    let config = loaded(&text("project: 7, api_key: '${env:SECRET}'")).config;
    assert_eq!(config.posthog.api_key.as_ref().unwrap().expose(), MARKER);
    let printed = render(&config);
    assert!(!printed.contains(MARKER) && !format!("{config:?}").contains(MARKER), "{printed}");
    assert!(errors(&printed).is_empty(), "what is printed can be checked again");
    assert!(!render(&loaded(&text("")).config).contains("posthog:"), "not printed unless set");
}
