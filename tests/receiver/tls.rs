//! TLS and mTLS, good and bad.

use std::path::Path;
use std::sync::Arc;

use lipservice::clock::Clock;
use lipservice::data_plane::receiver::config::{OtlpReceiverConfig, TlsConfig};
use lipservice::data_plane::receiver::{Authenticators, OtlpReceiver};
use lipservice::units::Period;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use super::grpc::logs;
use super::raw::Socket;
use super::{Running, config, soon, start_with};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;

/// An authority, and what it signed.
pub struct Pki {
    pub ca: String,
    pub server: (String, String),
    pub client: (String, String),
}

pub fn pki() -> Pki {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
    };
    Pki { ca: ca_pem, server: signed("localhost"), client: signed("client") }
}

/// Writes the files and names them in the configuration of both protocols.
pub fn with_tls(dir: &Path, pki: &Pki, demand_client: bool) -> OtlpReceiverConfig {
    let file = |name: &str, text: &str| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name).to_string_lossy().into_owned()
    };
    let tls = TlsConfig {
        cert_file: file("server.pem", &pki.server.0),
        key_file: file("server.key", &pki.server.1),
        client_ca_file: demand_client.then(|| file("ca.pem", &pki.ca)),
        ..TlsConfig::default()
    };
    let mut config = config();
    config.protocols.grpc.as_mut().unwrap().tls = Some(tls.clone());
    config.protocols.http.as_mut().unwrap().tls = Some(tls);
    config
}

pub fn http_client(pki: &Pki, identity: bool) -> reqwest::Client {
    http_client_builder(pki, identity).build().unwrap()
}

pub fn http_client_builder(pki: &Pki, identity: bool) -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = reqwest::Certificate::from_pem(pki.ca.as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
    if identity {
        let pem = format!("{}{}", pki.client.0, pki.client.1);
        builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
    }
    builder
}

pub async fn over_http(running: &Running, client: &reqwest::Client) -> Result<u16, reqwest::Error> {
    let url = format!("https://localhost:{}/v1/logs", running.http.port());
    Ok(soon(client.post(url).send()).await?.status().as_u16())
}

pub async fn over_grpc(running: &Running, pki: &Pki, identity: bool) -> bool {
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&pki.ca)).domain_name("localhost");
    if identity {
        tls = tls.identity(Identity::from_pem(&pki.client.0, &pki.client.1));
    }
    let endpoint = Channel::from_shared(format!("https://localhost:{}", running.grpc.port())).unwrap();
    let Ok(channel) = soon(endpoint.tls_config(tls).unwrap().connect()).await else { return false };
    soon(LogsServiceClient::new(channel).export(logs(1, "x"))).await.is_ok()
}

#[tokio::test]
async fn tls_serves_both_protocols_and_nothing_in_the_clear() {
    let (dir, pki) = (tempfile::tempdir().unwrap(), pki());
    let running = start_with(&with_tls(dir.path(), &pki, false), Authenticators::default());
    let client = http_client(&pki, false);
    assert_eq!(over_http(&running, &client).await.unwrap(), 200);
    assert!(over_grpc(&running, &pki, false).await);
    let stranger = self::pki();
    assert!(over_http(&running, &http_client(&stranger, false)).await.is_err(), "the client does not trust it");
    let mut plain = Socket::connect(running.http).await;
    plain.send("POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(!plain.rest().await.contains("HTTP/"), "no answer in the clear");
    assert!(running.metric("lipservice_receiver_tls_failures", &["http"]) >= 1.0);
    assert_eq!(over_http(&running, &client).await.unwrap(), 200, "lives on");
    drop(client);
    let recorder = running.stop().await;
    assert_eq!(recorder.logs.lock().len(), 3);
}

#[tokio::test]
async fn idle_connections_end_in_order() {
    let (dir, pki) = (tempfile::tempdir().unwrap(), pki());
    let config = OtlpReceiverConfig { idle_timeout: Period::millis(50), ..with_tls(dir.path(), &pki, false) };
    let running = start_with(&config, Authenticators::default());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(pki.ca.as_bytes()).unwrap()).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    for request in ["", "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"] {
        let socket = Socket::connect(running.http).await.0;
        let mut stream = soon(connector.connect("localhost".try_into().unwrap(), socket)).await.unwrap();
        soon(stream.write_all(request.as_bytes())).await.unwrap();
        let mut answer = Vec::new();
        // Without a farewell under TLS this is an error: anybody may have cut the connection.
        while soon(stream.read_buf(&mut answer)).await.expect("ends in order") > 0 {}
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), !request.is_empty());
    }
    running.stop().await;
}

#[tokio::test]
async fn mtls_demands_a_certificate_of_the_authority() {
    let (dir, pki) = (tempfile::tempdir().unwrap(), pki());
    let running = start_with(&with_tls(dir.path(), &pki, true), Authenticators::default());
    let client = http_client(&pki, true);
    assert_eq!(over_http(&running, &client).await.unwrap(), 200);
    assert!(over_grpc(&running, &pki, true).await);
    assert!(over_http(&running, &http_client(&pki, false)).await.is_err());
    assert!(!over_grpc(&running, &pki, false).await);
    let stranger = Pki { ca: pki.ca.clone(), server: pki.server.clone(), client: self::pki().client };
    assert!(over_http(&running, &http_client(&stranger, true)).await.is_err());
    assert!(!over_grpc(&running, &stranger, true).await);
    drop(client);
    let recorder = running.stop().await;
    assert_eq!(recorder.logs.lock().len(), 2);
}

#[test]
fn files_that_do_not_serve_are_named() {
    let (dir, pki) = (tempfile::tempdir().unwrap(), pki());
    let config = with_tls(dir.path(), &pki, true);
    let path = "receivers.otlp.protocols.grpc.tls";
    let other_key = pki.client.1.as_str();
    for (file, content, hints) in [
        ("server.pem", None, ["cert_file", "server.pem"]),
        ("server.pem", Some("nothing"), ["cert_file", "no certificate"]),
        ("server.key", None, ["key_file", "server.key"]),
        ("server.key", Some("nothing"), ["key_file", "no private key"]),
        ("server.key", Some(other_key), ["key_file", "does not fit"]),
        ("ca.pem", None, ["client_ca_file", "ca.pem"]),
        ("ca.pem", Some(""), ["client_ca_file", "no certificate"]),
    ] {
        let whole = std::fs::read(dir.path().join(file)).unwrap();
        match content {
            None => std::fs::remove_file(dir.path().join(file)).unwrap(),
            Some(text) => std::fs::write(dir.path().join(file), text).unwrap(),
        }
        let message =
            OtlpReceiver::bind("otlp", &config, Authenticators::default(), &Clock::System).unwrap_err().to_string();
        for hint in hints.iter().chain([&path]) {
            assert!(message.contains(hint), "{file}: {message}");
        }
        std::fs::write(dir.path().join(file), whole).unwrap();
    }
    assert!(OtlpReceiver::bind("otlp", &config, Authenticators::default(), &Clock::System).is_ok());
}

#[test]
fn addresses_that_do_not_serve_are_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [taken.local_addr().unwrap().to_string(), "nowhere".into(), "127.0.0.1:99999".into()] {
        let mut config = config();
        config.protocols.http.as_mut().unwrap().endpoint.clone_from(&address);
        let message =
            OtlpReceiver::bind("otlp/2", &config, Authenticators::default(), &Clock::System).unwrap_err().to_string();
        assert!(
            message.contains("receivers.otlp/2.protocols.http.endpoint") && message.contains(&address),
            "{message}"
        );
    }
    let message = OtlpReceiver::bind("otlp", &OtlpReceiverConfig::default(), Authenticators::default(), &Clock::System)
        .unwrap_err();
    assert!(message.to_string().contains("protocols.grpc"), "{message}");
}
