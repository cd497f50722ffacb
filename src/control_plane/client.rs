//! The API as its clients see it: gateways and the command line.
//!
//! Purpose: one request, one answer; problems as errors that can be read.
//! Promises: answers are bounded in size and time; the token does not print.
//! Never: repeats a request; callers know when that is right.

use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{Method, StatusCode};
use reqwest::{Certificate, Client as Http, RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::units::Secret;

/// Time for an answer, beside what an open poll waits.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was idle for longer is not used again: the control plane closes them after 75 s, proxies commonly after 60.
const IDLE: Duration = Duration::from_secs(30);
/// Largest answer read.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// Why there is no answer, or none that helps.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The settings.
    #[error("{0}")]
    Setting(String),
    /// The control plane cannot be reached.
    #[error("the control plane does not answer: {0}")]
    Away(String),
    /// It refuses.
    #[error("{status}: {detail}{}", lines(errors))]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Why.
        detail: String,
        /// What is wrong with a document, `path: reason`.
        errors: Vec<String>,
    },
    /// Its answer cannot be read.
    #[error("the answer cannot be read: {0}")]
    Answer(String),
}

fn lines(errors: &[String]) -> String {
    errors.iter().map(|error| format!("\n  {error}")).collect()
}

impl ClientError {
    /// The status of a refusal.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            ClientError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A document as the control plane gives it out.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Its hash.
    pub hash: String,
    /// `{"hash": …, "policies": […]}`
    pub body: Vec<u8>,
}

/// A client of one control plane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    base: Url,
    token: Option<Secret>,
}

impl Client {
    /// A client for `endpoint`.
    ///
    /// # Errors
    /// A URL or certificate file that does not serve.
    pub fn new(endpoint: &str, token: Option<Secret>, ca_file: Option<&str>) -> Result<Client, ClientError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wrong = |what: String| ClientError::Setting(what);
        let mut base = Url::parse(endpoint).map_err(|error| wrong(format!("{endpoint}: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(wrong(format!("{endpoint}: not an http or https URL")));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let mut builder = Http::builder()
            .user_agent(concat!("lipservice/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            .connect_timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        if let Some(path) = ca_file {
            let pem = std::fs::read(path).map_err(|error| wrong(format!("{path}: {error}")))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(format!("{path}: {error}")))?;
            builder = builder.tls_certs_only(roots);
        } else if base.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| wrong(error.to_string()))?;
        Ok(Client { http, base, token })
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url).timeout(TIMEOUT);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, ClientError> {
        answer(send(self.request(Method::GET, path, query)).await?).await
    }

    /// Sends something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        answer(send(self.request(method, path, &[]).json(body)).await?).await
    }

    /// Sends something large, compressed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send_packed<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let wrong = |error: String| ClientError::Setting(format!("the body cannot be written: {error}"));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        serde_json::to_writer(&mut packed, body).map_err(|error| wrong(error.to_string()))?;
        let packed = packed.finish().map_err(|error| wrong(error.to_string()))?;
        let request = self.request(method, path, &[]).body(packed);
        let request = request.header(CONTENT_TYPE, "application/json").header(CONTENT_ENCODING, "gzip");
        answer(send(request).await?).await
    }

    /// The policies in force, or `None` when `known` still are after `wait`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn active(&self, known: Option<&str>, wait: Duration) -> Result<Option<Fetched>, ClientError> {
        let seconds = wait.as_secs().to_string();
        let mut request = self.request(Method::GET, &["policies", "active"], &[("wait", &seconds)]);
        request = request.timeout(wait + TIMEOUT);
        if let Some(known) = known {
            request = request.header(http::header::IF_NONE_MATCH, format!("\"{known}\""));
        }
        let response = send(request).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let body = read(refused(response).await?).await?;
        let tree: Value = serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()))?;
        match tree.get("hash").and_then(Value::as_str) {
            Some(hash) => Ok(Some(Fetched { hash: hash.to_owned(), body })),
            None => Err(ClientError::Answer("no hash in it; is this a LipService API?".into())),
        }
    }
}

async fn send(request: RequestBuilder) -> Result<Response, ClientError> {
    request.send().await.map_err(|error| {
        let at = error.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let error = error.without_url();
        // The client's own words say little; the last cause does.
        let mut cause: &dyn std::error::Error = &error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        ClientError::Away(format!("{at}: {cause}"))
    })
}

async fn read(mut response: Response) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| ClientError::Away(error.to_string()))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(ClientError::Answer(format!("more than {MAX_ANSWER_BYTES} bytes")));
        }
    }
    Ok(body)
}

/// The response itself, if it is a success.
async fn refused(response: Response) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem: Value = serde_json::from_slice(&read(response).await?).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let errors = problem["errors"].as_array().into_iter().flatten();
    let errors = errors.map(|error| match text(&error["path"]) {
        path if path.is_empty() => text(&error["reason"]),
        path => format!("{path}: {}", text(&error["reason"])),
    });
    Err(ClientError::Refused { status, detail: text(&problem["detail"]), errors: errors.collect() })
}

async fn answer<T: DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let body = read(refused(response).await?).await?;
    let body = if body.is_empty() { b"null".to_vec() } else { body };
    serde_json::from_slice(&body).map_err(|error| ClientError::Answer(error.to_string()))
}
