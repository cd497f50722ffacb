//! What a person reads when something is wrong: one sentence, whose fault it is, what to do.

use std::sync::Arc;

use lipservice::control_plane::posthog::{Client, FaultKind, LogsQuery, ReadApi, ReadConfig, SystemTimer};
use lipservice::units::{Period, Secret};

use super::{config, day, fetch, posthog, wanted};
use crate::support::fake_posthog::{Drift, FakePostHog, Key};

fn key(text: &str, scopes: &[&str], projects: &[u64]) -> Key {
    Key {
        text: text.into(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        projects: projects.to_vec(),
    }
}

async fn said(config: &ReadConfig) -> String {
    let directory = tempfile::tempdir().unwrap();
    let error = fetch(config, &wanted(directory.path(), config.api)).await.unwrap_err().to_string();
    error.replace(&config.host, "HOST")
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_scopes_and_projects() {
    let posthog = posthog(day(10)).await;
    posthog.read_side(|read| {
        read.keys.push(key("phx_logs", &["logs:read"], &[]));
        read.keys.push(key("phx_query", &["query:read"], &[]));
        read.keys.push(key("phx_other", &["logs:read", "query:read"], &[7]));
    });
    let base = config(&posthog);
    let with = |text: &str, api| ReadConfig { api_key: Some(Secret::new(text)), api, ..base.clone() };
    for (config, expected) in [
        (
            with("phx_wrong", ReadApi::Hogql),
            "PostHog at HOST does not know this personal API key: make one there under Settings > Personal API keys (it \
             begins with phx_), and check that posthog.host is the region of the project",
        ),
        (
            with("phx_logs", ReadApi::Hogql),
            "the personal API key lacks the scope query:read: add it under Settings > Personal API keys in PostHog",
        ),
        (
            with("phx_query", ReadApi::Logs),
            "the personal API key lacks the scope logs:read: add it under Settings > Personal API keys in PostHog",
        ),
        (
            with("phx_other", ReadApi::Hogql),
            "PostHog has no project 1 for this key: take the number from the project's address (/project/<number>), and \
             check under Settings > Personal API keys that the key may read it",
        ),
        (
            ReadConfig { project: Some(404), ..base.clone() },
            "PostHog has no project 404 for this key: take the number from the project's address (/project/<number>), and \
             check under Settings > Personal API keys that the key may read it",
        ),
        (
            with("phc_token", ReadApi::Logs),
            "posthog.api_key is a project token (phc_...), which can only send: reading needs a personal API key \
             (phx_...) from Settings > Personal API keys",
        ),
        (
            ReadConfig { api_key: None, ..base.clone() },
            "posthog.api_key is missing: make a personal API key under Settings > Personal API keys in PostHog and set \
             POSTHOG_PERSONAL_API_KEY, or name a file in posthog.api_key_file",
        ),
        (
            ReadConfig { project: None, ..base.clone() },
            "posthog.project is missing: give the number in the project's address (/project/<number>)",
        ),
    ] {
        assert_eq!(said(&config).await, expected);
    }
    let requests = posthog.read_side(|read| read.requests);
    assert_eq!(requests, 0, "none of this is tried again, or was admitted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_may_be_renewed_while_the_client_lives() {
    let posthog = posthog(day(10)).await;
    posthog.read_side(|read| read.keys = vec![key("phx_old", &["logs:read"], &[])]);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key");
    std::fs::write(&file, "phx_old\n").unwrap();
    let api_key_file = Some(file.display().to_string());
    let config = ReadConfig { api_key: None, api_key_file, max_attempts: 1, ..config(&posthog) };
    let client = Client::new(&config, Arc::new(SystemTimer)).unwrap();
    let asks = async || client.logs(&LogsQuery::default()).await.map(drop).map_err(|fault| fault.kind);
    assert_eq!(asks().await, Ok(()));
    posthog.read_side(|read| read.keys = vec![key("phx_new", &["logs:read"], &[])]);
    assert_eq!(asks().await, Err(FaultKind::Key));
    std::fs::write(&file, "phx_new\n").unwrap();
    assert_eq!(asks().await, Ok(()));
    // A file that cannot be used for a moment, or any longer, leaves the last key in force.
    for unusable in ["", "phc_token"] {
        std::fs::write(&file, unusable).unwrap();
        assert_eq!(asks().await, Ok(()), "{unusable:?}");
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(asks().await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts() {
    let posthog = posthog(Vec::new()).await;
    let base = config(&posthog);
    let with = |host: &str| ReadConfig { host: host.into(), ..base.clone() };
    // Reserved never to exist (RFC 6761).
    let unknown = said(&with("http://nowhere.invalid")).await;
    assert!(unknown.starts_with("cannot reach HOST ("), "{unknown}");
    assert!(
        unknown.ends_with("); check posthog.host (us, eu, or the URL of your own PostHog), DNS and proxy"),
        "{unknown}"
    );
    let text = said(&with("usa")).await;
    assert_eq!(text, "posthog.host is \"HOST\": write us, eu, or a URL such as https://posthog.example.com");
    // An address that takes logs in, or is something else altogether.
    let expected = "HOST answers HTTP 404, which is not how PostHog's API answers: posthog.host must be the address that \
                    people open in a browser, not the one that logs are sent to";
    assert_eq!(said(&with(&format!("{}/i/v1", posthog.url()))).await, expected);
    posthog.read_side(|read| read.drift = Drift::Html);
    let expected = "HOST answers something that is not JSON, which is not how PostHog's API answers: posthog.host must be \
                    the address that people open in a browser, not the one that logs are sent to";
    assert_eq!(said(&base).await, expected);
    posthog.go_down().await;
    let away = said(&base).await;
    assert!(away.starts_with("cannot reach HOST (") && away.contains("efused"), "{away}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_another_form() {
    let posthog = posthog(day(10)).await;
    let base = config(&posthog);
    for (api, drift, detail) in [
        (ReadApi::Hogql, Drift::Without("uuid"), "no column uuid"),
        (ReadApi::Hogql, Drift::Renamed("body", "message"), "no column body"),
        (ReadApi::Logs, Drift::Without("timestamp"), "missing field `timestamp`"),
        (ReadApi::Logs, Drift::Renamed("attributes", "tags"), "missing field `attributes`"),
    ] {
        posthog.read_side(|read| read.drift = drift.clone());
        let text = said(&ReadConfig { api, ..base.clone() }).await;
        assert!(
            text.starts_with(&format!("PostHog's answer is not of the form this version reads ({detail}")),
            "{text}"
        );
        let what_to_do = "): its API may have changed; update lipservice, or report this sentence";
        assert!(text.ends_with(what_to_do), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_to_the_end_and_then_said() {
    let posthog = posthog(day(10)).await;
    let base = ReadConfig { max_attempts: 3, ..config(&posthog) };
    for (change, expected) in [
        (
            (1.0, 0.0, 0.0),
            "PostHog is asked too often (HTTP 429: Request was throttled.): lower posthog.requests_per_minute or requests_per_hour, or try again in an hour; other programs that use the same key count too",
        ),
        ((0.0, 1.0, 0.0), "PostHog fails (HTTP 500: A server error occurred.): try again later"),
        ((0.0, 0.0, 1.0), "the connection to PostHog breaks ("),
    ] {
        posthog.read_side(|read| {
            (read.faults.busy, read.faults.fail, read.faults.reset) = change;
            read.requests = 0;
        });
        let text = said(&base).await;
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(posthog.read_side(|read| read.requests), 3, "{text}");
    }
    posthog.read_side(|read| {
        read.faults = Default::default();
        read.drift = Drift::TooSlow;
    });
    let expected = "one query is too much for PostHog (HTTP 504: Query has hit the max execution time before completing.): \
                    ask for less with --service or a shorter --since";
    assert_eq!(said(&base).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_ends_at_the_time_limit() {
    let posthog = FakePostHog::start().await.unwrap();
    posthog.read_side(|read| {
        (read.faults.slow, read.faults.slow_by) = (1.0, std::time::Duration::from_secs(3_600));
    });
    let config = ReadConfig { timeout: Period::millis(20), max_attempts: 2, ..config(&posthog) };
    let client = Client::new(&config, Arc::new(SystemTimer)).unwrap();
    let fault = client.logs(&LogsQuery::default()).await.unwrap_err();
    assert_eq!((fault.kind, client.counts().repeated), (FaultKind::Broken, 1));
    assert_eq!(
        fault.to_string(),
        "the connection to PostHog breaks (no answer in time): try again, or raise posthog.timeout"
    );
}
