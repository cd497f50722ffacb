//! One HTTP client per exporter: connections kept, time bounded, answers bounded.
//!
//! Purpose: POST a protobuf body and hand back status, headers and a short body.
//! Promises: HTTP/1.1 over kept connections; TLS by rustls; redirects are not followed; at most 64 KiB of an answer are
//! read; proxies only from the usual environment variables.
//! Never: retries, or judges an answer.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::{Certificate, Client, Identity, Method, Request, Url, redirect};

use super::ExporterError;
use super::body::Body;
use super::compress;
use super::config::{ClientTlsConfig, Compression};
use crate::units::Secret;

const USER_AGENT: &str = concat!("lipservice/", env!("CARGO_PKG_VERSION"));
/// As much of an answer as is read; OTLP allows four MiB, but nothing in there is worth that.
const ANSWER_BYTES: usize = 64 << 10;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Below the 60 s after which common load balancers close, so that a request seldom meets a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Who the requests are from.
#[derive(Clone, Debug)]
pub(super) enum Identification {
    /// The same for all: in the configured headers, or not at all.
    Fixed,
    /// The token of each client.
    PassThrough,
}

/// A client for one URL.
#[derive(Debug)]
pub(super) struct HttpClient {
    client: Client,
    headers: HeaderMap,
    identification: Identification,
    compression: Compression,
    timeout: Duration,
}

/// What a client is made of.
pub(super) struct HttpSettings<'a> {
    pub(super) headers: &'a BTreeMap<String, Secret>,
    pub(super) token: Option<&'a Secret>,
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
        // Fails when another part was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .http1_only()
            .tcp_nodelay(true)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout))
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(settings.connections.max(1));
        let tls = settings.tls;
        if let Some(path) = &tls.ca_file {
            let roots = Certificate::from_pem_bundle(&read(path)?).map_err(|error| bad_pem(path, &error))?;
            builder = builder.tls_certs_only(roots);
        } else if !settings.is_tls {
            builder = builder.tls_certs_only([]);
        }
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            let mut pem = read(cert)?;
            pem.push(b'\n');
            pem.extend(read(key)?);
            builder = builder.identity(Identity::from_pem(&pem).map_err(|error| bad_pem(cert, &error))?);
        }
        let mut headers = fixed_headers(settings)?;
        let identified = headers.contains_key(header::AUTHORIZATION);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if let Some(encoding) = compress::encoding(settings.compression) {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        Ok(HttpClient {
            client: builder.build().map_err(|error| match tls.ca_file.as_ref().or(tls.cert_file.as_ref()) {
                Some(path) => bad_pem(path, &error),
                None => ExporterError::Client(chain(&error)),
            })?,
            headers,
            identification: match settings.pass_token && !identified {
                true => Identification::PassThrough,
                false => Identification::Fixed,
            },
            compression: settings.compression,
            timeout: settings.timeout,
        })
    }

    /// Whether requests carry the client's token, so that tokens must not be mixed.
    pub(super) fn passes_token(&self) -> bool {
        matches!(self.identification, Identification::PassThrough)
    }

    /// POSTs `body`, once.
    pub(super) async fn post(&self, url: &Url, body: &Body, token: Option<&str>) -> Result<Answer, SendError> {
        let mut headers = self.headers.clone();
        if let (Identification::PassThrough, Some(token)) = (&self.identification, token) {
            let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
            let mut bearer = bearer.map_err(|_| {
                SendError::Unauthorized("the client's token holds characters that no header can carry".into())
            })?;
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        let wire = compress::compress(body, self.compression).await?;
        let wire_bytes = wire.len();
        let mut request = Request::new(Method::POST, url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(wire.into_http());
        *request.timeout_mut() = Some(self.timeout);
        let mut response =
            self.client.execute(request).await.map_err(|error| SendError::Unreachable(chain(&error.without_url())))?;
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
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
        let mut bearer = bearer.map_err(|_| ExporterError::Token)?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    Ok(headers)
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
    std::fs::read(path).map_err(|error| ExporterError::File { path: path.to_owned(), why: error.to_string() })
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
