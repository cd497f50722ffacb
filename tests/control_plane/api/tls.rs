//! The API over TLS, and a certificate that is renewed.

use std::path::Path;
use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::api::config::ApiConfig;
use lipservice::data_plane::receiver::config::TlsConfig;
use rcgen::{CertificateParams, KeyPair};

use super::{START, Server, at, config};

/// A certificate that is its own authority, and its key.
fn certificate() -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (made.pem(), key.serialize_pem())
}

fn write(dir: &Path, (certificate, key): &(String, String)) -> TlsConfig {
    let file = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name).to_str().unwrap().to_owned()
    };
    TlsConfig { cert_file: file("cert.pem", certificate), key_file: file("key.pem", key), ..TlsConfig::default() }
}

/// Whether a client that trusts this certificate alone is answered, on a connection of its own.
async fn answers(server: &Server, (certificate, _): &(String, String)) -> bool {
    let trusted = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([trusted]).build().unwrap();
    let url = format!("https://localhost:{}/health/live", server.address.port());
    client.get(url).send().await.is_ok_and(|answer| answer.status() == 200)
}

#[tokio::test]
async fn a_renewed_certificate_is_served() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), certificate(), certificate());
    let config = ApiConfig { tls: Some(write(dir.path(), &old)), ..config() };
    let server = Server::over(&at("sqlite::memory:"), config, Clock::manual(START)).await;
    assert!(answers(&server, &old).await && !answers(&server, &new).await);
    std::fs::write(dir.path().join("cert.pem"), "nothing").unwrap();
    server.clock.advance(Duration::from_secs(60));
    assert!(answers(&server, &old).await, "a broken file changes nothing");
    write(dir.path(), &new);
    server.clock.advance(Duration::from_secs(60));
    assert!(answers(&server, &new).await && !answers(&server, &old).await);
    server.stop().await;
}
