//! One HTTP client per exporter: connections kept, time bounded, answers bounded.
//!
//! Purpose: POST a protobuf body and hand back status, headers and a short body.
//! Promises: HTTP/1.1 over kept connections; TLS by rustls; redirects are not followed; at most 64 KiB of an answer are
//! read; proxies only from the usual environment variables; certificates and tokens in files are renewed with them,
//! while requests under way end on the connection they have.
//! Never: retries, or judges an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::{Certificate, Client, Identity, Method, Request, Url, redirect};

use super::ExporterError;
use super::body::Body;
use super::compress;
use super::config::{ClientTlsConfig, Compression};
use crate::clock::Clock;
use crate::reread::{self, Renewable, Reread};
use crate::units::Secret;

const USER_AGENT: &str = concat!("lipservice/", env!("CARGO_PKG_VERSION"));
/// As much of an answer as is read; OTLP allows four MiB, but nothing in there is worth that.
const ANSWER_BYTES: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the 60 s after which common load balancers close, so that a request seldom meets a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a token file is looked at, while requests are made.
const TOKEN_INTERVAL: Duration = Duration::from_secs(1);

/// Who the requests are from.
#[derive(Clone, Debug)]
pub(super) enum Identification {
    /// The same for all: in the configured headers, or not at all.
    Fixed,
    /// The same for all: what a file holds now.
    File(Arc<Reread<HeaderValue>>),
    /// The token of each client.
    PassThrough,
}

/// A client for one URL.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Arc<Reread<Client>>,
    headers: HeaderMap,
    identification: Identification,
    compression: Compression,
    timeout: Duration,
}

/// What a client is made of.
pub(super) struct HttpSettings<'a> {
    /// The exporter's name in the configuration.
    pub(super) name: &'a str,
    pub(super) clock: &'a Clock,
    pub(super) headers: &'a BTreeMap<String, Secret>,
    pub(super) token: Option<&'a Secret>,
    pub(super) token_file: Option<&'a String>,
    /// What is wrong with a token, as far as can be seen.
    pub(super) judge_token: fn(&str) -> Result<(), ExporterError>,
    pub(super) pass_token: bool,
    pub(super) compression: Compression,
    pub(super) timeout: Duration,
    pub(super) tls: &'a ClientTlsConfig,
    /// Whether any URL is `https:`; without, no certificates are loaded.
    pub(super) is_tls: bool,
    pub(super) connections: usize,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Length of the request's body on the wire.
    pub(super) wire_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The destination could not be reached or did not answer in time: may pass.
    #[error("{0}")]
    Unreachable(String),
    /// The request cannot be made: the token is missing or is not one.
    #[error("{0}")]
    Unauthorized(String),
    /// Could not compress.
    #[error("cannot compress the body: {0}")]
    Compress(#[from] std::io::Error),
}

impl HttpClient {
    /// Builds the client.
    ///
    /// # Errors
    /// Headers that are none, certificate files that cannot be read.
    pub(super) fn new(settings: &HttpSettings<'_>) -> Result<Self, ExporterError> {
        let path = format!("exporters.{}", settings.name);
        let headers = fixed_headers(settings)?;
        let identification = match settings.token_file {
            Some(file) => Identification::File(bearer_of_file(file, settings, &path)?),
            None if settings.pass_token && !headers.contains_key(header::AUTHORIZATION) => Identification::PassThrough,
            None => Identification::Fixed,
        };
        let tls = settings.tls;
        let files = [&tls.ca_file, &tls.cert_file, &tls.key_file].into_iter().flatten().cloned().collect();
        let (own, is_tls, connections) = (tls.clone(), settings.is_tls, settings.connections);
        let connect_timeout = CONNECT_TIMEOUT.min(settings.timeout);
        let make = move || client(&own, is_tls, connections, connect_timeout);
        let client = Reread::new(&format!("{path}.tls"), files, tls.reload_interval.0, settings.clock, make)?;
        Ok(HttpClient {
            client: Arc::new(client),
            headers,
            identification,
            compression: settings.compression,
            timeout: settings.timeout,
        })
    }

    /// What it made of files.
    pub(super) fn files(&self) -> Vec<Arc<dyn Renewable>> {
        let mut files: Vec<Arc<dyn Renewable>> = Vec::new();
        if self.client.has_files() {
            files.push(Arc::clone(&self.client) as _);
        }
        if let Identification::File(bearer) = &self.identification {
            files.push(Arc::clone(bearer) as _);
        }
        files
    }

    /// Whether requests carry the client's token, so that tokens must not be mixed.
    pub(super) fn passes_token(&self) -> bool {
        matches!(self.identification, Identification::PassThrough)
    }

    /// POSTs `body`, once.
    pub(super) async fn post(&self, url: &Url, body: &Body, token: Option<&str>) -> Result<Answer, SendError> {
        let mut headers = self.headers.clone();
        match (&self.identification, token) {
            (Identification::PassThrough, Some(token)) => {
                let bearer = bearer(token).map_err(|_| {
                    SendError::Unauthorized("the client's token holds characters that no header can carry".into())
                })?;
                headers.insert(header::AUTHORIZATION, bearer);
            }
            (Identification::File(bearer), _) => {
                headers.insert(header::AUTHORIZATION, HeaderValue::clone(&bearer.current()));
            }
            _ => {}
        }
        let wire = compress::compress(body, self.compression).await?;
        let wire_bytes = wire.len();
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(wire.into_http());
        *request.timeout_mut() = Some(self.timeout);
        let client = self.client.current();
        let mut response =
            client.execute(request).await.map_err(|error| SendError::Unreachable(chain(&error.without_url())))?;
        let mut answer = Vec::new();
        // A body that breaks off takes nothing away from the status that came before it.
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = ANSWER_BYTES - answer.len();
            answer.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        Ok(Answer { status, headers, body: answer, wire_bytes })
    }
}

fn fixed_headers(settings: &HttpSettings<'_>) -> Result<HeaderMap, ExporterError> {
    let mut headers = HeaderMap::new();
    for (name, value) in settings.headers {
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| ExporterError::Header(name.clone()))?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| ExporterError::Header(name.clone()))?;
        value.set_sensitive(true);
        headers.insert(key, value);
    }
    if let Some(token) = settings.token {
        (settings.judge_token)(token.expose())?;
        headers.insert(header::AUTHORIZATION, bearer(token.expose())?);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    if let Some(encoding) = compress::encoding(settings.compression) {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(headers)
}

fn bearer(token: &str) -> Result<HeaderValue, ExporterError> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ExporterError::Token)?;
    bearer.set_sensitive(true);
    Ok(bearer)
}

/// The token in a file, without the line break that editors leave, as a header.
fn bearer_of_file(
    file: &str,
    settings: &HttpSettings<'_>,
    path: &str,
) -> Result<Arc<Reread<HeaderValue>>, ExporterError> {
    let (own, judge) = (file.to_owned(), settings.judge_token);
    let make = move || {
        let token = String::from_utf8(read(&own)?).map_err(|_| ExporterError::Token)?;
        let token = token.trim();
        if token.is_empty() {
            return Err(ExporterError::File { path: own.clone(), why: "no token in it".into() });
        }
        judge(token)?;
        bearer(token)
    };
    let setting = format!("{path}.token_file");
    Ok(Arc::new(Reread::new(&setting, vec![file.to_owned()], TOKEN_INTERVAL, settings.clock, make)?))
}

fn client(
    tls: &ClientTlsConfig,
    is_tls: bool,
    connections: usize,
    connect_timeout: Duration,
) -> Result<Client, ExporterError> {
    // Fails when another part was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(USER_AGENT)
        .http1_only()
        .tcp_nodelay(true)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(connect_timeout)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(connections.max(1));
    if let Some(path) = &tls.ca_file {
        let roots = Certificate::from_pem_bundle(&read(path)?).map_err(|error| bad_pem(path, &error))?;
        builder = builder.tls_certs_only(roots);
    } else if !is_tls {
        builder = builder.tls_certs_only([]);
    }
    if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
        let mut pem = read(cert)?;
        pem.push(b'\n');
        pem.extend(read(key)?);
        builder = builder.identity(Identity::from_pem(&pem).map_err(|error| bad_pem(cert, &error))?);
    }
    builder.build().map_err(|error| match tls.ca_file.as_ref().or(tls.cert_file.as_ref()) {
        Some(path) => bad_pem(path, &error),
        None => ExporterError::Client(chain(&error)),
    })
}

/// Parses a URL that requests can go to.
///
/// # Errors
/// Anything but `http:` and `https:`.
pub(super) fn parse_url(text: &str) -> Result<Url, ExporterError> {
    let bad = |why: String| ExporterError::Url { url: text.to_owned(), why };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(_)) => Ok(url),
        _ => Err(bad("it must begin with http:// or https:// and name a host".into())),
    }
}

fn read(path: &str) -> Result<Vec<u8>, ExporterError> {
    reread::read(path).map_err(|error| ExporterError::File { path: path.to_owned(), why: error.to_string() })
}

fn bad_pem(path: &str, error: &reqwest::Error) -> ExporterError {
    ExporterError::File { path: path.to_owned(), why: chain(error) }
}

/// An error with its causes: reqwest's own text stops before the interesting part.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
