//! How a request leaves: one POST, bounded in every way; and what time it is.
//!
//! Purpose: two seams, so that tests own the network and the clock: [`Transport`] and [`Timer`].
//! Promises: redirects are not followed (a key must not travel); at most 1 MiB of an answer is read; TLS by rustls;
//! proxies only from the usual environment variables; errors carry no URL and no header.
//! Never: retries.

use std::time::Duration;

use http::HeaderMap;
use reqwest::{Certificate, Client, redirect};

use super::BoxFuture;
use crate::clock::{Clock, UnixNanos};

/// As much of an answer as is read.
pub const MAX_ANSWER_BYTES: usize = 1 << 20;
const USER_AGENT: &str = concat!("lipservice/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A request. Its headers hold the key; it does not print.
#[derive(Clone)]
pub struct HttpRequest {
    /// Where to.
    pub url: String,
    /// All headers but those of the connection.
    pub headers: HeaderMap,
    /// JSON.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, whole.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportFault {
    /// No connection, or one that broke.
    #[error("{0}")]
    Unreachable(String),
    /// A body over [`MAX_ANSWER_BYTES`].
    #[error("an answer over {MAX_ANSWER_BYTES} bytes")]
    Oversized,
}

/// The network.
pub trait Transport: Send + Sync {
    /// POSTs once. Dropping the future abandons the request.
    fn post(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, TransportFault>>;
}

/// Time.
pub trait Timer: Send + Sync {
    /// Now.
    fn now(&self) -> UnixNanos;
    /// Done after `wait`.
    fn sleep(&self, wait: Duration) -> BoxFuture<'_, ()>;
}

/// The machine's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTimer;

impl Timer for SystemTimer {
    fn now(&self) -> UnixNanos {
        Clock::System.now()
    }
    fn sleep(&self, wait: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

/// The machine's network.
#[derive(Debug)]
pub struct Network {
    client: Client,
}

impl Network {
    /// A client that trusts the system's authorities, or those of a PEM bundle.
    ///
    /// # Errors
    /// A bundle that is none, in words.
    pub fn new(authorities: Option<&[u8]>) -> Result<Network, String> {
        // Fails when another part was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT);
        if let Some(pem) = authorities {
            let roots = Certificate::from_pem_bundle(pem).map_err(|error| chain(&error))?;
            builder = builder.tls_certs_only(roots);
        }
        Ok(Network { client: builder.build().map_err(|error| chain(&error))? })
    }
}

impl Transport for Network {
    fn post(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpAnswer, TransportFault>> {
        Box::pin(async move {
            let broken = |error: reqwest::Error| TransportFault::Unreachable(chain(&error.without_url()));
            let sent = self.client.post(request.url).headers(request.headers).body(request.body).send();
            let mut response = sent.await.map_err(broken)?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(broken)? {
                if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                    return Err(TransportFault::Oversized);
                }
                body.extend_from_slice(&chunk);
            }
            Ok(HttpAnswer { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
        })
    }
}

/// An error with its causes: reqwest's own text stops before the interesting part.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
