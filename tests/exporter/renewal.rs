//! Certificates and tokens of exporters that are renewed on disk, by the clock of the test.

use std::path::Path;

use lipservice::data_plane::exporter::ExporterError;
use lipservice::data_plane::exporter::config::ClientTlsConfig;
use lipservice::telemetry::MetricSink;

use super::tls::{pki, serve, tls_files};
use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Reloads, failures, and whether the files are broken now.
#[derive(Debug, Default, PartialEq)]
struct Counts(f64, f64, f64);

impl MetricSink for Counts {
    fn counter(&mut self, name: &'static str, _: &'static str, _: &[(&'static str, &str)], value: u64) {
        match name {
            "lipservice_file_reloads" => self.0 += value as f64,
            "lipservice_file_reload_failures" => self.1 += value as f64,
            other => panic!("{other}"),
        }
    }
    fn gauge(&mut self, name: &'static str, _: &'static str, _: &[(&'static str, &str)], value: f64) {
        assert_eq!(name, "lipservice_files_broken");
        self.2 += value;
    }
}

fn counts(exporter: &Exporter) -> Counts {
    let mut counts = Counts::default();
    exporter.files().iter().for_each(|files| files.collect(&mut counts));
    counts
}

async fn until(exporter: &Exporter, what: &str, holds: impl Fn(&ExporterStats) -> bool) {
    let wait = async {
        while !holds(&exporter.stats()) {
            tokio::task::yield_now().await;
        }
    };
    let came = tokio::time::timeout(PATIENCE, wait).await;
    assert!(came.is_ok(), "never came: {what}: {:?}", exporter.stats());
}

/// What the server trusts and is trusted by comes only with the renewal; the records wait for it.
#[tokio::test]
async fn a_renewed_client_certificate_and_authority_are_used() {
    let (dir, ours, strangers) = (tempfile::tempdir().unwrap(), pki(), pki());
    let port = serve(&ours).await;
    let clock = Clock::manual(0);
    let tls = tls_files(dir.path(), &strangers);
    let url = format!("https://localhost:{port}");
    let mut config =
        OtlpHttpConfig { endpoint: url, retry_on_failure: impatient(), tls: tls.clone(), ..OtlpHttpConfig::default() };
    config.batch.timeout = Period::millis(1);
    let exporter = Exporter::start("otlp_http", &ExporterConfig::OtlpHttp(config), clock.clone(), 1).unwrap();
    submit(&exporter, 0..10, None);
    until(&exporter, "a refusal", |stats| stats.requests_transient > 1).await;
    let _ = tls_files(dir.path(), &ours);
    clock.advance(MINUTE - Duration::from_nanos(1));
    let before = exporter.stats().requests_transient;
    until(&exporter, "another refusal", |stats| stats.requests_transient > before + 1).await;
    assert_eq!((exporter.stats().sent, counts(&exporter)), (0, Counts(0.0, 0.0, 0.0)), "not before its time");
    clock.advance(Duration::from_nanos(1));
    until(&exporter, "the records", |stats| stats.sent == 10).await;
    assert_eq!(counts(&exporter), Counts(1.0, 0.0, 0.0));
    // A broken file changes nothing.
    std::fs::write(dir.path().join("client.key"), "nothing").unwrap();
    clock.advance(MINUTE);
    submit(&exporter, 10..20, None);
    assert_eq!(drained(&exporter).await.sent, 20);
    assert_eq!(counts(&exporter), Counts(1.0, 1.0, 1.0));
}

fn with_token_file(fake: &FakePostHog, path: &Path) -> ExporterConfig {
    let token_file = Some(path.to_str().unwrap().to_owned());
    ExporterConfig::PostHog(PostHogConfig { token: None, token_file, ..posthog(fake) })
}

#[tokio::test]
async fn a_renewed_token_is_sent_and_a_broken_one_is_not() {
    let (fake, file, clock) = (fake().await, tempfile::NamedTempFile::new().unwrap(), Clock::manual(0));
    std::fs::write(file.path(), "phc_one\n").unwrap();
    let exporter = Exporter::start("posthog", &with_token_file(&fake, file.path()), clock.clone(), 1).unwrap();
    let steps = [
        (None, Duration::ZERO, "phc_one"),
        (Some("phc_two"), SECOND - Duration::from_nanos(1), "phc_one"),
        (None, Duration::from_nanos(1), "phc_two"),
        (Some(""), SECOND, "phc_two"),
        (Some("phx_personal"), SECOND, "phc_two"),
        (Some("phc_\u{1}"), SECOND, "phc_two"),
        (Some(" phc_three \n\n"), SECOND, "phc_three"),
    ];
    for (sent, (content, later, token)) in (1u32..).zip(steps) {
        content.iter().for_each(|text| std::fs::write(file.path(), text).unwrap());
        clock.advance(later);
        // The client's own token is not passed on.
        submit(&exporter, sent - 1..sent, Some("phc_client"));
        until(&exporter, "the record", |stats| stats.sent == u64::from(sent)).await;
        assert_eq!(fake.rows().last().unwrap().token, token, "{content:?}");
    }
    assert_eq!(counts(&exporter), Counts(2.0, 3.0, 0.0));
    drained(&exporter).await;
}

#[tokio::test]
async fn a_token_file_that_cannot_be_used_is_an_error_at_the_start() {
    let (fake, file) = (fake().await, tempfile::NamedTempFile::new().unwrap());
    let start = |path: &Path| Exporter::start("posthog", &with_token_file(&fake, path), Clock::System, 1).err();
    assert!(matches!(start(file.path()), Some(ExporterError::File { why, .. }) if why == "no token in it"));
    assert!(matches!(start(Path::new("/missing")), Some(ExporterError::File { path, .. }) if path == "/missing"));
    std::fs::write(file.path(), "phx_personal").unwrap();
    assert_eq!(start(file.path()), Some(ExporterError::PersonalKey));
    std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
    assert_eq!(start(file.path()), Some(ExporterError::Token));
}

#[tokio::test]
async fn an_exporter_without_files_has_none_to_show() {
    let fake = fake().await;
    for exporter in [start(posthog(&fake)), start_otlp(otlp(&fake))] {
        assert!(exporter.files().is_empty());
        drained(&exporter).await;
    }
    let tls = ClientTlsConfig::default();
    assert_eq!(tls.reload_interval, Period::secs(60));
}
