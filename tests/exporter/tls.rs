//! TLS towards the destination: a private authority, a client certificate, and what happens without.

use std::convert::Infallible;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use lipservice::data_plane::exporter::config::ClientTlsConfig;
use lipservice::data_plane::exporter::{ExporterError, FailReason};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::*;

struct Pair {
    cert_pem: String,
    key: KeyPair,
}

pub struct Pki {
    ca_pem: String,
    server: Pair,
    client: Pair,
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
        Pair { cert_pem: params.signed_by(&key, &issuer).unwrap().pem(), key }
    };
    Pki { ca_pem, server: signed("localhost"), client: signed("client") }
}

/// A server that demands a client certificate and answers 200 to everything; returns its port.
pub async fn serve(pki: &Pki) -> u16 {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(&pki.ca_pem)).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pki.server.key.serialize_der()));
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![der(&pki.server.cert_pem)], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async {
                    let _ = request.into_body().collect().await;
                    Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from_static(b"{}"))))
                });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    port
}

pub fn tls_files(folder: &Path, pki: &Pki) -> ClientTlsConfig {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        Some(path.to_str().unwrap().to_owned())
    };
    ClientTlsConfig {
        ca_file: write("ca.pem", &pki.ca_pem),
        cert_file: write("client.pem", &pki.client.cert_pem),
        key_file: write("client.key", &pki.client.key.serialize_pem()),
        ..ClientTlsConfig::default()
    }
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let pki = pki();
    let port = serve(&pki).await;
    let tls = tls_files(folder.path(), &pki);
    let without_identity = ClientTlsConfig { cert_file: None, key_file: None, ..tls.clone() };
    let url = format!("https://localhost:{port}");
    for (tls, sent) in [(tls, 10), (without_identity, 0)] {
        let mut otlp = OtlpHttpConfig { endpoint: url.clone(), tls: tls.clone(), ..OtlpHttpConfig::default() };
        otlp.batch.timeout = Period::millis(1);
        otlp.retry_on_failure.enabled = false;
        let token = Some(Secret::new("phc_test"));
        let mut posthog = PostHogConfig { host: url.clone(), token, tls, ..PostHogConfig::default() };
        (posthog.batch, posthog.retry_on_failure) = (otlp.batch.clone(), otlp.retry_on_failure.clone());
        for exporter in [start_otlp(otlp), start(posthog)] {
            submit(&exporter, 0..10, None);
            let stats = drained(&exporter).await;
            assert_eq!((stats.sent, stats.failed.count(FailReason::GaveUp)), (sent, 10 - sent), "{}", exporter.name());
        }
    }
}

#[tokio::test]
async fn files_that_are_no_certificates_are_an_error_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.pem");
    std::fs::write(&bad, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n").unwrap();
    let bad = bad.to_str().unwrap().to_owned();
    for (tls, path) in [
        (ClientTlsConfig { ca_file: Some(bad.clone()), ..ClientTlsConfig::default() }, bad.as_str()),
        (ClientTlsConfig { ca_file: Some("/missing.pem".into()), ..ClientTlsConfig::default() }, "/missing.pem"),
        (
            ClientTlsConfig { cert_file: Some(bad.clone()), key_file: Some(bad.clone()), ..ClientTlsConfig::default() },
            bad.as_str(),
        ),
    ] {
        let config = OtlpHttpConfig { endpoint: "https://localhost:1".into(), tls, ..OtlpHttpConfig::default() };
        let error = Exporter::start("otlp_http", &ExporterConfig::OtlpHttp(config), Clock::System, 1).err();
        assert!(matches!(&error, Some(ExporterError::File { path: at, .. }) if at == path), "{error:?}");
    }
}
