//! Change policies and configuration while records flow.

use std::sync::Arc;

use tokio::time::timeout;

use super::{PATIENCE, Setup, client, parse, policies, start, yaml};
use crate::support::fake_posthog::{FakePostHog, Mode};
use crate::support::otlp::{record, request_of};

const NONE: &str = "policies: [{id: none, name: none, log: {match: [{log_field: body, contains: noise}], keep: none}}]";
const ALL: &str = "policies: []";

/// Waits until metrics show `line`.
async fn shows(setup: &Setup, line: &str) {
    let seen = async {
        while !setup.gateway.metrics_text().contains(line) {
            tokio::task::yield_now().await;
        }
    };
    let shown = timeout(PATIENCE, seen).await;
    assert!(shown.is_ok(), "{line} is not in\n{}", setup.gateway.metrics_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_policy_file_takes_effect_and_a_broken_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::start(&policies(dir.path(), ALL), "").await;
    let noise = || request_of("web", vec![record(9, "noise")]);
    setup.post(noise()).await;
    policies(dir.path(), NONE);
    shows(&setup, "lipservice_policy_reloads 1").await;
    setup.post(noise()).await;
    policies(dir.path(), "policies: [unclosed");
    shows(&setup, "lipservice_policy_reload_failures 1").await;
    setup.post(noise()).await;
    shows(&setup, "lipservice_policy_files_broken 1").await;
    assert_eq!(setup.gateway.pipeline().table.len(), 1, "windows survive");
    let report = setup.gateway.shutdown(PATIENCE).await;
    assert_eq!((report.totals.kept.records, report.totals.dropped.records), (1, 2), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_exporter_delivers_what_it_has() {
    let mut setup = Setup::start("", "").await;
    let other = FakePostHog::start().await.unwrap();
    setup.posthog.set_mode(Mode::Hold);
    setup.post(request_of("web", vec![record(9, "to the first")])).await;
    let http = setup.gateway.http_addrs();
    setup.gateway.reload(parse(&yaml(&other, "", ""))).await.unwrap();
    assert_eq!(setup.gateway.http_addrs(), http, "a receiver that did not change goes on");
    setup.post(request_of("web", vec![record(9, "to the second")])).await;
    timeout(PATIENCE, other.wait_until(|fake| fake.row_count() == 1)).await.unwrap();
    setup.posthog.set_mode(Mode::Ok);
    setup.posthog.release();
    let report = setup.gateway.shutdown(PATIENCE).await;
    assert!(report.balance(), "{report}");
    assert_eq!(report.totals.received.records, 2, "the books survive");
    assert_eq!(report.exporters.iter().map(|exporter| exporter.stats.sent).sum::<u64>(), 2, "{report}");
    assert_eq!(setup.posthog.rows()[0].body, "to the first");
    assert_eq!(other.rows()[0].body, "to the second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_changes_nothing() {
    let mut setup = Setup::start("", "").await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let text = yaml(&setup.posthog, "", "").replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1);
    let error = setup.gateway.reload(parse(&text)).await.unwrap_err();
    assert!(error.to_string().contains("receivers.otlp"), "{error}");
    assert_eq!(setup.post(request_of("web", vec![record(9, "still here")])).await, 200);
    let report = setup.gateway.shutdown(PATIENCE).await;
    assert_eq!(report.exporters[0].stats.sent, 1, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_receiver_is_replaced_and_settings_take_effect() {
    let mut setup = Setup::start("", "").await;
    let text = yaml(&setup.posthog, "default_percentage: 0, novelty_records: 0, floor_records: 0", "").replacen(
        "http: {endpoint: '127.0.0.1:0'}",
        "http: {endpoint: '127.0.0.1:0', max_request_body_size: 100}",
        1,
    );
    let before = setup.gateway.http_addrs();
    setup.gateway.reload(parse(&text)).await.unwrap();
    assert_ne!(setup.gateway.http_addrs(), before);
    let large = request_of("web", vec![record(9, &"x".repeat(200))]);
    assert_eq!(setup.post(large).await, 413);
    assert_eq!(setup.post(request_of("web", vec![record(9, "dropped")])).await, 200);
    let report = setup.gateway.shutdown(PATIENCE).await;
    assert_eq!(report.totals.dropped.records, 1, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_destinations_get_every_record() {
    let setup = Setup::start("", "").await;
    let second = FakePostHog::start().await.unwrap();
    let text = yaml(&setup.posthog, "", "")
        .replacen(
            "exporters:\n",
            &format!(
                "exporters:\n  otlp_http/second: {{endpoint: '{}', pass_token: true, batch: {{timeout: 5ms}}}}\n",
                second.url()
            ),
            1,
        )
        .replacen("exporters: [posthog]", "exporters: [posthog, otlp_http/second]", 1);
    let Setup { mut gateway, posthog, client } = setup;
    gateway.reload(parse(&text)).await.unwrap();
    let setup = Setup { gateway, posthog, client };
    setup.post(request_of("web", vec![record(9, "a"), record(9, "b")])).await;
    let report = setup.gateway.shutdown(PATIENCE).await;
    assert!(report.balance(), "{report}");
    assert_eq!((setup.posthog.row_count(), second.row_count()), (2, 2), "{report}");
}

/// Whether a client that trusts this certificate alone gets through, on a connection of its own.
async fn lets_in(setup: &Setup, certificate: &str) -> bool {
    let trusted = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap();
    let url = format!("https://localhost:{}/v1/logs", setup.gateway.http_addrs()[0].port());
    client.post(url).send().await.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_reads_the_files_of_what_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let write = || {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        made.cert.pem()
    };
    let old = write();
    let posthog = Arc::new(FakePostHog::start().await.unwrap());
    let path = dir.path().display();
    let tls = format!("tls: {{cert_file: '{path}/cert.pem', key_file: '{path}/key.pem', reload_interval: 0s}}");
    let http = "http: {endpoint: '127.0.0.1:0'";
    let text = yaml(&posthog, "", "").replacen(http, &format!("{http}, {tls}"), 1);
    let mut setup = Setup { gateway: start(&text).await, posthog, client: client() };
    let new = write();
    assert!(lets_in(&setup, &old).await && !lets_in(&setup, &new).await);
    setup.gateway.reload(parse(&text)).await.unwrap();
    assert!(lets_in(&setup, &new).await && !lets_in(&setup, &old).await);
    shows(&setup, "lipservice_file_reloads{setting=\"receivers.otlp.protocols.http.tls\"} 1").await;
    setup.gateway.shutdown(PATIENCE).await;
}
