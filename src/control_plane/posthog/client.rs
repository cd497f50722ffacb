//! Requests to PostHog, and what comes of them.
//!
//! Purpose: one query, one answer: budget, tries, waits, size and time limits in one place.
//! Promises: clones share one budget; an answer is at most 128 MiB; a request ends after `timeout`; redirects are not
//! followed, so the key stays where it was sent; the key is in no fault.
//! Never: sends anything to be stored. All queries only read, so that repeating one is safe.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use parking_lot::Mutex;
use reqwest::{Certificate, Client as Http, Url, redirect};
use serde_json::{Value, json};

use super::answer::{self, HogQlAnswer, Table};
use super::budget::Budget;
use super::config::ReadConfig;
use super::fault::{Fault, FaultKind, Refusal};
use super::hogql::Refresh;
use super::query::{LogsPage, LogsQuery};
use super::retry::RetryPolicy;
use crate::clock::{Clock, UnixNanos};
use crate::reread::{self, Reread};
use crate::units::Secret;

const MAX_ANSWER_BYTES: usize = 128 << 20;
/// As much as is read of an answer that is not a success.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// So long a key's file is not looked at again: every request looks.
const KEY_INTERVAL: Duration = Duration::from_nanos(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at a query under way.
const POLL: Duration = Duration::from_secs(1);
/// Looks at a query under way.
const MAX_POLLS: u32 = 600;

/// Time and randomness.
pub trait Timer: Send + Sync {
    /// Now.
    fn now(&self) -> UnixNanos;
    /// Done after `wait`.
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// From 0 to 1.
    fn random(&self) -> f64;
}

/// The machine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemTimer;

impl Timer for SystemTimer {
    fn now(&self) -> UnixNanos {
        Clock::System.now()
    }
    fn sleep(&self, wait: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(wait))
    }
    fn random(&self) -> f64 {
        rand::random()
    }
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests sent, repetitions included.
    pub requests: u64,
    /// Requests that failed and were made again.
    pub repeated: u64,
    /// Bytes of answers.
    pub bytes: u64,
}

/// Hears of every wait: how long, and why.
pub type Notice = Arc<dyn Fn(Duration, &str) + Send + Sync>;

struct Shared {
    http: Http,
    base: Url,
    base_text: String,
    project: String,
    key: Reread<Secret>,
    timeout: Duration,
    retry: RetryPolicy,
    budget: Mutex<Budget>,
    timer: Arc<dyn Timer>,
    is_known: AtomicBool,
    requests: AtomicU64,
    repeated: AtomicU64,
    bytes: AtomicU64,
}

/// A client of one project. Cheap to clone; clones share the budget.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    notice: Option<Notice>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("base", &self.shared.base_text).finish_non_exhaustive()
    }
}

impl Client {
    /// A client with these settings. Make one for the whole process: its budget is the process's.
    ///
    /// # Errors
    /// [`FaultKind::Setting`]: what is missing, or cannot work.
    pub fn new(config: &ReadConfig, timer: Arc<dyn Timer>) -> Result<Client, Fault> {
        // Fails when another part was first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = base_url(&config.host)?;
        let project = config.project.ok_or_else(|| {
            setting("posthog.project is missing: give the number in the project's address (/project/<number>)")
        })?;
        let mut builder = Http::builder()
            .user_agent(concat!("lipservice/", env!("CARGO_PKG_VERSION")))
            .tcp_nodelay(true)
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT.min(config.timeout.0));
        if let Some(path) = &config.ca_file {
            let wrong = |why: String| setting(format!("posthog.ca_file: {path}: {why}"));
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let roots = Certificate::from_pem_bundle(&pem).map_err(|error| wrong(error.to_string()))?;
            builder = builder.tls_certs_only(roots);
        } else if base.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        let shared = Shared {
            http: builder.build().map_err(|error| setting(format!("posthog: {error}")))?,
            base_text: base.as_str().trim_end_matches('/').to_owned(),
            base,
            project: project.to_string(),
            key: key(config)?,
            timeout: config.timeout.0,
            retry: RetryPolicy {
                max_attempts: config.max_attempts.max(1),
                initial: config.initial_interval.0,
                max: config.max_interval.0,
            },
            budget: Mutex::new(Budget::new(config.requests_per_minute, config.requests_per_hour)),
            timer,
            is_known: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        };
        Ok(Client { shared: Arc::new(shared), notice: None })
    }

    /// This client, telling `notice` of every wait.
    #[must_use]
    pub fn with_notice(mut self, notice: Notice) -> Client {
        self.notice = Some(notice);
        self
    }

    /// Where it asks, without a slash at the end.
    pub fn base(&self) -> &str {
        &self.shared.base_text
    }

    /// Whose logs.
    pub fn project(&self) -> &str {
        &self.shared.project
    }

    /// What was done so far, by all clones.
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { requests, repeated, bytes, .. } = &*self.shared;
        Counts { requests: get(requests), repeated: get(repeated), bytes: get(bytes) }
    }

    /// Its time and randomness.
    pub fn timer(&self) -> &dyn Timer {
        &*self.shared.timer
    }

    /// A page of logs. Needs the scope `logs:read`.
    ///
    /// # Errors
    /// [`Fault`], after all tries.
    pub async fn logs(&self, query: &LogsQuery) -> Result<LogsPage, Fault> {
        let body = query.body();
        self.ask(Method::POST, &["logs", "query", ""], Some(&body), &|body| answer::logs(body, self.base())).await
    }

    /// A HogQL query. Needs the scope `query:read`.
    ///
    /// # Errors
    /// [`Fault`], after all tries.
    pub async fn hogql(&self, query: &str, refresh: Refresh) -> Result<Table, Fault> {
        let body = json!({ "query": { "kind": "HogQLQuery", "query": query }, "refresh": refresh.as_str() });
        let read = |body: &[u8]| answer::hogql(body, self.base());
        let mut found = self.ask(Method::POST, &["query", ""], Some(&body), &read).await?;
        for _ in 0..MAX_POLLS {
            let id = match found {
                HogQlAnswer::Done(table) => return Ok(table),
                HogQlAnswer::Waiting(id) => id,
            };
            self.wait(POLL, "PostHog is at work on the query").await;
            found = self.ask(Method::GET, &["query", &id, ""], None, &read).await?;
        }
        Err(Fault::new(FaultKind::TooHeavy, format!("still under way after {MAX_POLLS} looks")))
    }

    async fn wait(&self, wait: Duration, why: &str) {
        if let Some(notice) = &self.notice {
            notice(wait, why);
        }
        self.shared.timer.sleep(wait).await;
    }

    /// Asks until there is an answer that can be read, or a fault that a repetition cannot cure.
    async fn ask<T>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&Value>,
        read: &(dyn Fn(&[u8]) -> Result<T, Fault> + Sync),
    ) -> Result<T, Fault> {
        let mut failures = 0;
        loop {
            self.book().await;
            let fault = match self.once(method.clone(), path, body).await {
                Ok(answer) => match read(&answer) {
                    Ok(value) => return Ok(value),
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            failures += 1;
            let is_known = self.shared.is_known.load(Ordering::Relaxed);
            let Some(wait) = self.shared.retry.wait(&fault, failures, is_known, self.shared.timer.random()) else {
                return Err(fault);
            };
            self.shared.repeated.fetch_add(1, Ordering::Relaxed);
            let why = match fault.kind {
                FaultKind::Busy => "PostHog is asked too often",
                FaultKind::Server => "PostHog fails",
                _ => "the connection broke",
            };
            self.wait(wait, why).await;
        }
    }

    /// Waits for a place in the budget.
    async fn book(&self) {
        loop {
            let taken = self.shared.budget.lock().take(self.shared.timer.now());
            match taken {
                Ok(()) => return,
                Err(wait) => self.wait(wait, "the budget of requests is used up").await,
            }
        }
    }

    async fn once(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Vec<u8>, Fault> {
        let Shared { http, base, base_text, project, key, timeout, .. } = &*self.shared;
        let mut url = base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "projects", project]).extend(path);
        }
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", key.current().expose()))
            .map_err(|_| setting("posthog.api_key holds characters that no header can carry"))?;
        bearer.set_sensitive(true);
        let mut request = http.request(method, url).timeout(*timeout).header(header::AUTHORIZATION, bearer);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let mut response = request.send().await.map_err(|error| {
            let why = innermost(&error);
            match error.is_connect() {
                true => Fault::new(FaultKind::Unreachable, format!("{base_text} ({why})")),
                false => Fault::new(FaultKind::Broken, why),
            }
        })?;
        self.shared.is_known.store(true, Ordering::Relaxed);
        let status = response.status();
        let most = if status.is_success() { MAX_ANSWER_BYTES } else { MAX_REFUSAL_BYTES };
        let mut answer = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if answer.len() + chunk.len() > most => {
                    if status.is_success() {
                        return Err(Fault::new(FaultKind::TooHeavy, format!("an answer over {most} bytes")));
                    }
                    break;
                }
                Ok(Some(chunk)) => answer.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(_) if !status.is_success() => break,
                Err(error) => return Err(Fault::new(FaultKind::Broken, innermost(&error))),
            }
        }
        self.shared.bytes.fetch_add(answer.len() as u64, Ordering::Relaxed);
        if status.is_success() {
            return Ok(answer);
        }
        let headers: HeaderMap = std::mem::take(response.headers_mut());
        let refusal = Refusal { status: status.as_u16(), headers: &headers, body: &answer };
        Err(Fault::of_status(&refusal, base_text, project, self.shared.timer.now()))
    }
}

fn setting(what: impl AsRef<str>) -> Fault {
    Fault::new(FaultKind::Setting, what)
}

/// The address that is asked. The hosts that logs are sent to are taken for their neighbours.
fn base_url(host: &str) -> Result<Url, Fault> {
    let text = match host.trim().trim_end_matches('/') {
        "us" | "https://us.i.posthog.com" | "https://app.posthog.com" => "https://us.posthog.com",
        "eu" | "https://eu.i.posthog.com" => "https://eu.posthog.com",
        other => other,
    };
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(setting(format!(
            "posthog.host is {host:?}: write us, eu, or a URL such as https://posthog.example.com"
        ))),
    }
}

/// The personal API key. One in a file may be renewed while a gateway runs.
fn key(config: &ReadConfig) -> Result<Reread<Secret>, Fault> {
    let (given, file) = (config.api_key.clone(), config.api_key_file.clone().filter(|_| config.api_key.is_none()));
    let paths = file.clone().into_iter().collect();
    let make = move || match (&given, &file) {
        (Some(key), _) => checked(key),
        (None, Some(path)) => checked(&read_key(path)?),
        (None, None) => {
            let how = "posthog.api_key is missing: make a personal API key under Settings > Personal API keys in \
                       PostHog and set POSTHOG_PERSONAL_API_KEY, or name a file in posthog.api_key_file";
            Err(setting(how))
        }
    };
    Reread::new("posthog.api_key_file", paths, KEY_INTERVAL, &Clock::System, make)
}

fn checked(key: &Secret) -> Result<Secret, Fault> {
    let text = key.expose().trim();
    if text.is_empty() {
        return Err(setting("posthog.api_key is empty: set it to a personal API key (phx_...)"));
    }
    if text.starts_with("phc_") {
        let how = "posthog.api_key is a project token (phc_...), which can only send: reading needs a personal API \
                   key (phx_...) from Settings > Personal API keys";
        return Err(setting(how));
    }
    Ok(Secret::new(text))
}

/// A key from a file: its first line.
fn read_key(path: &str) -> Result<Secret, Fault> {
    let fault = |why: String| setting(format!("posthog.api_key_file: {path}: {why}"));
    let bytes = reread::read(path).map_err(|error| fault(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| fault("not text".to_owned()))?;
    Ok(Secret::new(text.lines().next().unwrap_or_default().trim()))
}

/// The last cause: reqwest's own words say little.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    // Where reqwest itself is the last cause, its words hold the URL.
    cause.to_string().split(" for url").next().unwrap_or_default().to_owned()
}
