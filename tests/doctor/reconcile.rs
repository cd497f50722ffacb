//! The gateway compares what it sent with what the stand-in holds.

use lipservice::config::load_text;
use tokio::time::timeout;

use crate::gateway::{PATIENCE, Setup, client, start, yaml};
use crate::support::fake_posthog::{FakePostHog, Mode, PROJECT, READER};
use crate::support::otlp::{record, request_of};

const SETTINGS: &str = "enabled: true, interval: 20ms, delay: 0s";

/// A gateway that compares, and the directory of its key.
async fn setup(key: &str) -> (Setup, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, key).unwrap();
    let fake = std::sync::Arc::new(FakePostHog::start().await.unwrap());
    fake.read_side(|read| read.limits = (1_000_000, 1_000_000));
    let reading = format!(
        "posthog: {{host: '{}', project: {PROJECT}, api_key_file: '{}', max_attempts: 1, requests_per_minute: 1000000, \
         requests_per_hour: 1000000, reconcile: {{{SETTINGS}}}}}\n",
        fake.url(),
        path.display()
    );
    let gateway = start(&(yaml(&fake, "", "token: phc_test") + &reading)).await;
    (Setup { gateway, posthog: fake, client: client() }, directory)
}

async fn send(setup: &Setup, records: usize) {
    let records = (0..records).map(|i| record(9, &format!("order {i}"))).collect();
    assert_eq!(setup.post(request_of("shop", records)).await, 200);
}

/// Waits for a metric; every question to the stand-in is another look.
async fn shows(setup: &Setup, expected: &str) {
    let seen = setup.posthog.wait_until(|_| setup.gateway.metrics_text().contains(expected));
    let found = timeout(PATIENCE, seen).await;
    assert!(found.is_ok(), "{expected} in {}", setup.gateway.metrics_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_is_found() {
    let (setup, _directory) = setup(READER).await;
    send(&setup, 40).await;
    shows(&setup, "\nlipservice_posthog_sent_records 40\n").await;
    shows(&setup, "\nlipservice_posthog_found_records 40\n").await;
    let text = setup.gateway.metrics_text();
    assert!(text.contains("\nlipservice_posthog_failures 0\n"), "{text}");
    assert!(text.contains("\nlipservice_posthog_last_comparison_seconds "), "{text}");
    setup.gateway.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_dropped_in_silence_is_missed() {
    let (setup, _directory) = setup(READER).await;
    setup.posthog.set_mode(Mode::AcceptAndDrop);
    send(&setup, 40).await;
    shows(&setup, "\nlipservice_posthog_comparisons{verdict=\"missing\"} 1\n").await;
    let text = setup.gateway.metrics_text();
    assert!(text.contains("\nlipservice_posthog_sent_records 40\n"), "{text}");
    assert!(text.contains("\nlipservice_posthog_found_records 0\n"), "{text}");
    setup.gateway.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_api_that_fails_is_survived_and_asked_again() {
    let (setup, _directory) = setup(READER).await;
    setup.posthog.read_side(|read| read.faults.fail = 1.0);
    let failed = |fake: &FakePostHog| fake.read_side(|read| read.injected.get("fail").copied().unwrap_or_default());
    timeout(PATIENCE, setup.posthog.wait_until(|fake| failed(fake) >= 3)).await.unwrap();
    setup.posthog.read_side(|read| read.faults.fail = 0.0);
    send(&setup, 10).await;
    shows(&setup, "\nlipservice_posthog_found_records 10\n").await;
    let text = setup.gateway.metrics_text();
    assert!(!text.contains("\nlipservice_posthog_failures 0\n"), "{text}");
    setup.gateway.shutdown(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_stops_no_record() {
    let (setup, _directory) = setup("phc_token").await;
    send(&setup, 10).await;
    let arrived = setup.posthog.wait_until(|fake| fake.row_count() == 10);
    timeout(PATIENCE, arrived).await.unwrap();
    let report = setup.gateway.shutdown(PATIENCE).await;
    assert!(report.balance(), "{report}");
}

#[test]
fn settings_that_cannot_work() {
    let posthog = "exporters: {posthog: {token: '${env:T}'}, posthog/b: {token: '${env:T}'}, debug: {}}\n";
    let with = |exporters: &str, reading: &str| {
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{}}}}}}}}\n{posthog}service: {{pipelines: {{logs: {{receivers: [otlp], \
             exporters: [{exporters}]}}}}}}\nposthog: {{{reading}}}\n"
        );
        load_text(&text, "a.yaml", &|_| Some("phc_x".into())).map(drop).map_err(|errors| errors.to_string())
    };
    let on = "project: 1, api_key_file: key, reconcile: {enabled: true";
    let all = "posthog, posthog/b, debug";
    for (reading, part) in [
        ("reconcile: {enabled: true, exporter: posthog}".to_owned(), "posthog.reconcile.enabled: without a project"),
        (format!("{on}}}"), "posthog.reconcile.exporter: several posthog exporters"),
        (format!("{on}, exporter: other}}"), "posthog.reconcile.exporter: no such exporter"),
        (format!("{on}, exporter: posthog, tolerance: 5.0}}"), "posthog.reconcile.tolerance: not a share"),
        (format!("{on}, exporter: posthog, interval: 0s}}"), "posthog.reconcile.interval: no time at all"),
    ] {
        let errors = with(all, &reading).unwrap_err();
        assert!(errors.contains(part), "{part} in {errors}");
    }
    assert_eq!(with(all, &format!("{on}, exporter: posthog/b}}")), Ok(()));
}
