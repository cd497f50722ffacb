//! Certificates and tokens that are renewed on disk: by the clock of the test, over real handshakes.

use std::path::Path;
use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::data_plane::receiver::Authenticators;
use lipservice::data_plane::receiver::config::{BearerTokenAuthConfig, OtlpReceiverConfig};

use super::access::with_auth;
use super::http::client;
use super::tls::{Pki, http_client, over_grpc, over_http, pki, with_tls};
use super::{PATIENCE, Running, soon, start_by};

const MINUTE: Duration = Duration::from_secs(60);
/// Both listeners, for each has its own.
const BOTH: f64 = 2.0;

fn served(clock: &Clock, config: &OtlpReceiverConfig) -> Running {
    start_by(clock, config, Authenticators::default(), PATIENCE)
}

/// Whether a client that trusts (and is signed by) this authority gets through, by both protocols. A new client each time,
/// for an open connection keeps the certificate it began with.
async fn lets_in(running: &Running, pki: &Pki) -> bool {
    let http = over_http(running, &http_client(pki, true)).await.is_ok();
    let grpc = over_grpc(running, pki, true).await;
    assert_eq!(http, grpc, "both protocols alike");
    http
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_and_authority_hold_after_the_interval() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), pki(), pki());
    let clock = Clock::manual(0);
    let running = served(&clock, &with_tls(dir.path(), &old, true));
    assert!(lets_in(&running, &old).await);
    let _ = with_tls(dir.path(), &new, true);
    clock.advance(MINUTE - Duration::from_nanos(1));
    assert!(lets_in(&running, &old).await && !lets_in(&running, &new).await, "not before its time");
    clock.advance(Duration::from_nanos(1));
    assert!(lets_in(&running, &new).await && !lets_in(&running, &old).await);
    assert_eq!(running.metric("lipservice_file_reloads", &[]), BOTH);
    assert_eq!(running.metric("lipservice_file_reload_failures", &[]), 0.0);
    assert_eq!(running.metric("lipservice_file_reloads", &["receivers.otlp.protocols.grpc.tls"]), 1.0);
    running.stop().await;
}

#[tokio::test]
async fn broken_and_half_written_files_leave_the_last_good_ones() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), pki(), pki());
    let clock = Clock::manual(0);
    let running = served(&clock, &with_tls(dir.path(), &old, true));
    let broken = |running: &Running| running.metric("lipservice_files_broken", &[]);
    for (name, text) in [("server.key", "nothing"), ("server.key", &new.server.1), ("ca.pem", "")] {
        write(dir.path(), name, text);
        clock.advance(MINUTE);
        assert!(lets_in(&running, &old).await, "{name}");
        assert_eq!(broken(&running), BOTH, "{name}");
    }
    std::fs::remove_file(dir.path().join("server.pem")).unwrap();
    clock.advance(MINUTE);
    assert!(lets_in(&running, &old).await);
    assert_eq!(running.metric("lipservice_file_reload_failures", &[]), 4.0 * BOTH);
    assert_eq!(running.metric("lipservice_file_reloads", &[]), 0.0);
    let _ = with_tls(dir.path(), &new, true);
    clock.advance(MINUTE);
    assert!(lets_in(&running, &new).await);
    assert_eq!((running.metric("lipservice_file_reloads", &[]), broken(&running)), (BOTH, 0.0));
    running.stop().await;
}

#[tokio::test]
async fn an_open_connection_outlives_the_certificate_it_began_with() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), pki(), pki());
    let clock = Clock::manual(0);
    let running = served(&clock, &with_tls(dir.path(), &old, false));
    let open = http_client(&old, false);
    assert_eq!(over_http(&running, &open).await.unwrap(), 200);
    let _ = with_tls(dir.path(), &new, false);
    clock.advance(MINUTE);
    assert_eq!(over_http(&running, &http_client(&new, false)).await.unwrap(), 200);
    assert_eq!(over_http(&running, &open).await.unwrap(), 200);
    drop(open);
    running.stop().await;
}

#[tokio::test]
async fn tokens_of_a_file_come_and_go_with_it() {
    let (file, clock) = (tempfile::NamedTempFile::new().unwrap(), Clock::manual(0));
    std::fs::write(file.path(), "one\ntwo\n").unwrap();
    let filename = Some(file.path().to_str().unwrap().to_owned());
    let config = BearerTokenAuthConfig { filename, ..BearerTokenAuthConfig::default() };
    let auth = Authenticators::new([("bearertokenauth", &config)], &clock).unwrap();
    let running = start_by(&clock, &with_auth(), auth, PATIENCE);
    let client = client();
    let status = |token: &'static str| {
        let request = client.post(running.url("/v1/logs")).bearer_auth(token);
        async { soon(request.send()).await.unwrap().status().as_u16() }
    };
    assert_eq!((status("one").await, status("two").await, status("three").await), (200, 200, 401));
    std::fs::write(file.path(), "two\nthree\n").unwrap();
    assert_eq!((status("one").await, status("three").await), (200, 401), "not before its time");
    clock.advance(Duration::from_secs(1));
    assert_eq!((status("one").await, status("two").await, status("three").await), (401, 200, 200));
    // A file without a token would shut everybody out, or be half written.
    for broken in ["", "# none\n", "has a space\n"] {
        std::fs::write(file.path(), broken).unwrap();
        clock.advance(Duration::from_secs(1));
        assert_eq!((status("two").await, status("one").await), (200, 401), "{broken:?}");
    }
    let labels = ["extensions.bearertokenauth"];
    assert_eq!(running.metric("lipservice_file_reloads", &labels), 1.0);
    assert_eq!(running.metric("lipservice_file_reload_failures", &labels), 3.0);
    assert_eq!(running.metric("lipservice_files_broken", &labels), 1.0);
    drop(client);
    running.stop().await;
}
