//! Two small HTTP servers: metrics and patterns on one address, health on another.
//!
//! Purpose: answer GET for `/metrics`, `/patterns`, `/anomalies`, `/`, `/health/live` and `/health/ready`.
//! Promises: connections, header sizes and header times are bounded; request bodies are not read; health is answered
//! while the gateway starts and drains, until its own signal.
//! Never: decides whether the gateway is ready; whoever owns the [`HealthReporter`] says so.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::metrics::Sources;
use super::process;
use crate::listen::{Room, listen};
use crate::shutdown::Shutdown;

/// Connections served at once by each server; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Longest time for a request's head, and for a connection to stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open connections may take to finish once the signal is given.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Rows listed when the request does not say how many.
const DEFAULT_LISTED: usize = 50;
/// Rows listed at most.
const MAX_LISTED: usize = 1000;

/// The format that `Sources::render` writes.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// Whether the gateway should get traffic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not all pipelines run yet.
    Starting,
    /// Everything works.
    Ready,
    /// Running, but should not get traffic now: why, for people.
    Unavailable(String),
    /// Sending what was accepted; ends soon.
    Draining,
}

/// The two ends of the gateway's health.
pub type HealthReporter = watch::Sender<Health>;

/// A reporter that says [`Health::Starting`].
pub fn health() -> (HealthReporter, watch::Receiver<Health>) {
    watch::channel(Health::Starting)
}

type Answer = Response<Full<Bytes>>;

/// Serves `/metrics`, `/patterns?limit=` and `/anomalies?limit=` until the signal.
pub fn serve_metrics(listener: TcpListener, sources: Sources, stop: Shutdown) -> impl Future<Output = ()> + Send {
    serve(listener, stop, move |path, query| match path {
        "/metrics" => answer(StatusCode::OK, PROMETHEUS_TEXT, sources.render()),
        "/patterns" => listed(query, |limit| sources.patterns_json(limit)),
        "/anomalies" => listed(query, |limit| sources.anomalies_json(limit)),
        _ => not_found("/metrics, /patterns and /anomalies"),
    })
}

/// Serves `/`, `/health/live` and `/health/ready` until the signal.
pub fn serve_health(
    listener: TcpListener,
    health: watch::Receiver<Health>,
    stop: Shutdown,
) -> impl Future<Output = ()> + Send {
    serve(listener, stop, move |path, _| match path {
        "/" | "/health/live" => status(StatusCode::OK, "live", None),
        "/health/ready" => match &*health.borrow() {
            Health::Ready => status(StatusCode::OK, "ready", None),
            Health::Starting => status(StatusCode::SERVICE_UNAVAILABLE, "starting", None),
            Health::Draining => status(StatusCode::SERVICE_UNAVAILABLE, "draining", None),
            Health::Unavailable(reason) => status(StatusCode::SERVICE_UNAVAILABLE, "unavailable", Some(reason)),
        },
        _ => not_found("/, /health/live and /health/ready"),
    })
}

/// The answer of `list` for the request's limit.
fn listed(query: &str, list: impl Fn(usize) -> Option<String>) -> Answer {
    let limit = url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == "limit")
        .map_or(Ok(DEFAULT_LISTED), |(_, value)| value.parse());
    match limit {
        Ok(limit @ 1..=MAX_LISTED) => match list(limit) {
            Some(rows) => answer(StatusCode::OK, JSON, rows),
            None => error(StatusCode::SERVICE_UNAVAILABLE, "no pipeline runs yet"),
        },
        _ => error(StatusCode::BAD_REQUEST, "limit must be a number from 1 to 1000"),
    }
}

fn status(code: StatusCode, status: &str, reason: Option<&String>) -> Answer {
    let mut body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": process::uptime_seconds(),
    });
    if let (Some(reason), Some(object)) = (reason, body.as_object_mut()) {
        object.insert("reason".into(), reason.clone().into());
    }
    answer(code, JSON, body.to_string())
}

fn not_found(served: &str) -> Answer {
    error(StatusCode::NOT_FOUND, &format!("served here: {served}"))
}

fn error(code: StatusCode, message: &str) -> Answer {
    answer(code, JSON, json!({ "error": message }).to_string())
}

fn answer(code: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    answer
}

/// Accepts connections until the signal, then lets the open ones finish their request.
async fn serve<H>(listener: TcpListener, stop: Shutdown, handler: H)
where
    H: Fn(&str, &str) -> Answer + Send + Sync + 'static,
{
    let handler = Arc::new(handler);
    let room = Room { name: "telemetry", connections: MAX_CONNECTIONS, close_time: CLOSE_TIMEOUT };
    let closing = stop.clone();
    listen(listener, room, stop, move |stream, _| connection(stream, Arc::clone(&handler), closing.clone())).await;
}

async fn connection<H>(stream: TcpStream, handler: Arc<H>, stop: Shutdown)
where
    H: Fn(&str, &str) -> Answer + Send + Sync + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = match *request.method() {
            Method::GET | Method::HEAD => handler(request.uri().path(), request.uri().query().unwrap_or_default()),
            _ => {
                let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are served here");
                answer.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
                answer
            }
        };
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stop.triggered() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a telemetry connection ended early");
    }
}
