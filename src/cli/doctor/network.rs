//! Can an address be reached: its name, a connection, its certificate.
//!
//! Purpose: tell a wrong name from a closed port from a certificate nobody trusts, for each says another thing to do.
//! Promises: each step ends after ten seconds; only the beginning of the address is shown, never a path or query.
//! Never: sends anything but an empty `HEAD /` without credentials.

use std::time::Duration;

use reqwest::{Certificate, Identity, Url, redirect};
use url::Host;

use super::findings::{Findings, Status};
use crate::data_plane::exporter::config::ClientTlsConfig;

const LIMIT: Duration = Duration::from_secs(10);
/// A certificate file is not longer.
const MAX_PEM_BYTES: u64 = 1 << 20;

/// `scheme://host:port` as far as it can be shown.
pub fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Whether requests leave through a proxy, as far as the environment says.
fn has_proxy() -> bool {
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"];
    names.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// Checks the way to `url`, the setting `path`. Returns whether it can be reached.
pub async fn reach(findings: &mut Findings, path: &str, url: &Url, tls: &ClientTlsConfig) -> bool {
    if has_proxy() {
        findings.add(
            "dns",
            path,
            Status::Warn,
            "not checked: the environment names a proxy, which resolves names itself",
        );
    } else if let Err(says) = resolve(url).await {
        findings.add("dns", path, Status::Fail, says);
        return false;
    } else {
        findings.add("dns", path, Status::Ok, format!("{} is known", url.host_str().unwrap_or_default()));
    }
    match connect(url, tls).await {
        Ok(()) => {
            let (status, says) = encryption(url);
            findings.add("connection", path, status, says);
            true
        }
        Err(why) => {
            let says = format!("{} cannot be reached: {why}: {}", place(url), advice(&why));
            findings.add("connection", path, Status::Fail, says);
            false
        }
    }
}

async fn resolve(url: &Url) -> Result<(), String> {
    let Some(Host::Domain(name)) = url.host() else { return Ok(()) };
    let port = url.port_or_known_default().unwrap_or(443);
    let why = match tokio::time::timeout(LIMIT, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(mut found)) => match found.next() {
            Some(_) => return Ok(()),
            None => "it has no address".to_owned(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    Err(format!("the name {name} cannot be resolved ({why}): check its spelling and this machine's DNS"))
}

async fn connect(url: &Url, tls: &ClientTlsConfig) -> Result<(), String> {
    // Fails when another part was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().redirect(redirect::Policy::none()).timeout(LIMIT);
    if let Some(path) = &tls.ca_file {
        let roots = Certificate::from_pem_bundle(&read(path)?).map_err(|error| format!("{path}: {error}"))?;
        builder = builder.tls_certs_only(roots);
    } else if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        let mut pem = read(cert)?;
        pem.push(b'\n');
        pem.extend(read(key)?);
        builder = builder.identity(Identity::from_pem(&pem).map_err(|error| format!("{cert}: {error}"))?);
    }
    let client = builder.build().map_err(|error| innermost(&error))?;
    let mut bare = url.clone();
    bare.set_path("/");
    bare.set_query(None);
    // Whatever it answers, it is there and its certificate is trusted.
    client.head(bare).send().await.map(drop).map_err(|error| innermost(&error.without_url()))
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
    file.take(MAX_PEM_BYTES).read_to_end(&mut pem).map_err(|error| format!("{path}: {error}"))?;
    Ok(pem)
}

/// The last cause: the others only say that there is one.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn advice(why: &str) -> &'static str {
    let why = why.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| why.contains(word));
    if has(&["certificate", "issuer", "tls", "handshake", "invalidcontenttype", "corrupt message"]) {
        "check that it is https: there, and name your own authority in ca_file if its certificate is not a public one"
    } else if has(&["refused"]) {
        "check the port, and that something listens there"
    } else if has(&["in time"]) {
        "check firewalls and proxies on the way out"
    } else {
        "check host, port, firewalls and proxies"
    }
}

fn encryption(url: &Url) -> (Status, String) {
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => (Status::Ok, format!("{} answers, and its certificate is trusted", place(url))),
        _ if is_here => (Status::Ok, format!("{} answers", place(url))),
        _ => {
            let says = format!("{} answers, but tokens and logs go there in plain text: use https", place(url));
            (Status::Warn, says)
        }
    }
}
