//! TLS and mTLS for the listeners.
//!
//! Purpose: PEM files to a server configuration, again when they change.
//! Promises: every error names the setting, the file and what is wrong with it; TLS 1.2 and 1.3, h2 and http/1.1 by ALPN;
//! renewed files hold for the next handshake, open connections stay.
//! Never: falls back to plain text.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::ReceiverError;
use super::config::TlsConfig;
use crate::clock::Clock;
use crate::reread::{self, Reread};

/// What takes TLS connections: ask for the current one at each handshake.
pub type ServerTls = Reread<TlsAcceptor>;

/// An acceptor for a `tls:` section that stands at `path` in the configuration.
///
/// # Errors
/// The setting that does not serve, by name.
pub fn server_tls(config: &TlsConfig, path: &str, clock: &Clock) -> Result<Arc<ServerTls>, ReceiverError> {
    let files = [Some(&config.cert_file), Some(&config.key_file), config.client_ca_file.as_ref()];
    let files = files.into_iter().flatten().cloned().collect();
    let (own, setting) = (config.clone(), path.to_owned());
    let make = move || acceptor(&own, &setting);
    Ok(Arc::new(Reread::new(path, files, config.reload_interval.0, clock, make)?))
}

fn acceptor(config: &TlsConfig, path: &str) -> Result<TlsAcceptor, ReceiverError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(&config.cert_file, &format!("{path}.cert_file"))?;
    let key_setting = format!("{path}.key_file");
    let key = read(&config.key_file, &key_setting)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|error| wrong(&key_setting, &config.key_file, format!("no private key in PEM: {error}")))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(path, "", error.to_string()))?;
    let builder = match &config.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let setting = format!("{path}.client_ca_file");
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file, &setting)? {
                roots.add(certificate).map_err(|error| wrong(&setting, file, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| wrong(&setting, file, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|error| {
        let what = format!("the key does not fit the certificate in {}: {error}", config.cert_file);
        wrong(&key_setting, &config.key_file, what)
    })?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(server)))
}

fn wrong(setting: &str, file: &str, what: String) -> ReceiverError {
    ReceiverError::Tls { setting: setting.to_owned(), path: file.to_owned(), what }
}

fn read(file: &str, setting: &str) -> Result<Vec<u8>, ReceiverError> {
    if file.is_empty() {
        return Err(wrong(setting, file, "not set".into()));
    }
    reread::read(file).map_err(|error| wrong(setting, file, error.to_string()))
}

fn certificates(file: &str, setting: &str) -> Result<Vec<CertificateDer<'static>>, ReceiverError> {
    let certificates = CertificateDer::pem_slice_iter(&read(file, setting)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(setting, file, error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong(setting, file, "no certificate in PEM".into()));
    }
    Ok(certificates)
}
