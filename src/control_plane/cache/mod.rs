//! Redis between control planes on one store, where there is one.
//!
//! Purpose: tell the others of a change at once, and share the documents in force.
//! Promises: what comes from it is checked: a document by its digest, a change by the store's own count; without it, while it
//! is away or when it hangs, everything works as if none were configured. A question waits at most [`ANSWER_LIMIT`], and only
//! the first: after a failure none is asked until a connection stands again.
//! Never: holds anything that is not in the store; connects while someone waits.

pub mod config;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use parking_lot::Mutex;
use rand::Rng as _;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, TlsCertificates};
use tokio::sync::{Notify, watch};

use crate::control_plane::store::{Revisions, digest_of};
use crate::shutdown::Shutdown;
use crate::telemetry::{MetricSink, MetricSource};
use config::CacheConfig;

/// How long a question may take.
pub const ANSWER_LIMIT: Duration = Duration::from_millis(200);
/// How long connecting may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How often a connection that says nothing is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// The first pause before connecting again, and the longest; half of each is chance.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];
/// How long a document stays after it was asked for or written last.
const KEPT_SECONDS: u64 = 86_400;
/// Documents of one question.
const DOCUMENTS_AT_ONCE: usize = 64;
/// Longest document taken, in bytes: beyond what the API lets in by far.
const MAX_DOCUMENT_BYTES: usize = 64 << 20;
/// Where changes are told.
const CHANNEL: &str = "lipservice:changes";

/// The connection to Redis, and what is heard there.
#[derive(Debug)]
pub struct Cache {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
    broken: Notify,
    is_away: AtomicBool,
    told: watch::Sender<Revisions>,
    heard: watch::Sender<Option<Revisions>>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

/// A URL or certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The file with authorities.
    #[error("cache.ca_file: cannot read {path}: {source}")]
    CaFile {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The URL, or what is in the file.
    #[error("cache.url or cache.ca_file cannot be used: {0}")]
    Url(String),
}

impl Cache {
    /// The cache of these settings; `None` without a URL. Nothing is connected yet.
    ///
    /// # Errors
    /// [`CacheError`]. The URL does not show in it.
    pub fn new(config: &CacheConfig) -> Result<Option<Arc<Cache>>, CacheError> {
        let Some(url) = &config.url else { return Ok(None) };
        let client = match &config.ca_file {
            None => Client::open(url.expose()),
            Some(path) => {
                let pem = std::fs::read(path).map_err(|source| CacheError::CaFile { path: path.clone(), source })?;
                Client::build_with_tls(url.expose(), TlsCertificates { client_tls: None, root_cert: Some(pem) })
            }
        };
        let client = client.map_err(|error| CacheError::Url(error.category().to_owned()))?;
        Ok(Some(Arc::new(Cache {
            client,
            connection: Mutex::default(),
            broken: Notify::new(),
            is_away: AtomicBool::new(false),
            told: watch::Sender::default(),
            heard: watch::Sender::default(),
            counts: Counts::default(),
        })))
    }

    /// What other control planes say the store's counts of changes are. It may be wrong: ask the store.
    pub fn heard(&self) -> watch::Receiver<Option<Revisions>> {
        self.heard.subscribe()
    }

    /// Tells the other control planes, as soon as that is possible. Does not wait.
    pub fn tell(&self, revisions: Revisions) {
        self.told.send_if_modified(|told| std::mem::replace(told, revisions) != revisions);
    }

    /// Whether a connection stands.
    pub fn is_connected(&self) -> bool {
        self.connection.lock().is_some()
    }

    /// Documents by their digest, as many as are there.
    pub async fn documents(&self, digests: &[String]) -> HashMap<String, String> {
        let mut found = HashMap::new();
        for digests in digests.chunks(DOCUMENTS_AT_ONCE) {
            let mut question = redis::cmd("MGET");
            for digest in digests {
                question.arg(key(digest));
            }
            let Some(texts) = self.ask::<Vec<Option<String>>>(&question).await else { break };
            for (digest, text) in digests.iter().zip(texts) {
                match text {
                    // Whoever writes there cannot put anything in force.
                    Some(text) if text.len() <= MAX_DOCUMENT_BYTES && digest_of(&text) == *digest => {
                        self.counts.hits.fetch_add(1, Ordering::Relaxed);
                        found.insert(digest.clone(), text);
                    }
                    Some(_) => {
                        self.counts.errors.fetch_add(1, Ordering::Relaxed);
                        tracing::warn!(%digest, "Redis holds something else than the document it should; it is not used");
                    }
                    None => {
                        self.counts.misses.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        found
    }

    /// Leaves documents for the other control planes.
    pub async fn keep(&self, documents: &HashMap<String, String>) {
        for (digest, text) in documents.iter().filter(|(_, text)| text.len() <= MAX_DOCUMENT_BYTES) {
            let mut command = redis::cmd("SET");
            command.arg(key(digest)).arg(text).arg("EX").arg(KEPT_SECONDS);
            if self.ask::<()>(&command).await.is_none() {
                return;
            }
        }
    }

    /// Asks if a connection stands. A failure ends the connection: the next question does not wait.
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> Option<T> {
        let mut connection = self.connection.lock().clone()?;
        match within(ANSWER_LIMIT, command.query_async(&mut connection)).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.failed(error);
                self.broken.notify_one();
                None
            }
        }
    }

    fn failed(&self, error: RedisError) {
        self.counts.errors.fetch_add(1, Ordering::Relaxed);
        self.connection.lock().take();
        if !self.is_away.swap(true, Ordering::Relaxed) {
            // The category, not the text: a server's answer may quote what was sent to it.
            let error = error.category();
            tracing::warn!(error, "Redis does not answer; changes by others are noticed by asking the store");
        }
    }

    /// Connects, listens and tells, again and again, until the signal.
    pub async fn run(self: Arc<Self>, stop: Shutdown) {
        let mut pause = PAUSES[0];
        loop {
            let session = async {
                let (connection, listener) = self.connect().await?;
                pause = PAUSES[0];
                self.session(connection, listener).await
            };
            tokio::select! {
                () = stop.triggered() => return,
                result = session => if let Err(error) = result {
                    self.failed(error);
                },
            }
            let jittered = pause / 2 + pause.mul_f64(rand::rng().random_range(0.0..0.5));
            pause = (pause * 2).min(PAUSES[1]);
            tokio::select! {
                () = stop.triggered() => return,
                () = tokio::time::sleep(jittered) => {}
            }
        }
    }

    async fn connect(&self) -> RedisResult<(MultiplexedConnection, PubSub)> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_LIMIT))
            .set_response_timeout(Some(ANSWER_LIMIT));
        within(CONNECT_LIMIT, async {
            let connection = self.client.get_multiplexed_async_connection_with_config(&settings).await?;
            let mut listener = self.client.get_async_pubsub().await?;
            listener.subscribe(CHANNEL).await?;
            Ok((connection, listener))
        })
        .await
    }

    /// Lasts as long as the connections.
    async fn session(&self, mut connection: MultiplexedConnection, listener: PubSub) -> RedisResult<()> {
        tracing::info!("connected to Redis");
        self.is_away.store(false, Ordering::Relaxed);
        let (mut listener, mut messages) = listener.split();
        *self.connection.lock() = Some(connection.clone());
        let mut told = self.told.subscribe();
        // What was told while no connection stood is told now, and what others told then is asked for.
        told.mark_changed();
        self.heard.send_replace(None);
        loop {
            let asked = tokio::select! {
                changed = told.changed() => {
                    let Revisions { policies, tokens } = *told.borrow_and_update();
                    if changed.is_err() {
                        return Ok(());
                    }
                    let mut command = redis::cmd("PUBLISH");
                    command.arg(CHANNEL).arg(format!("{policies} {tokens}"));
                    within(ANSWER_LIMIT, command.query_async::<()>(&mut connection)).await
                }
                message = messages.next() => match message {
                    Some(message) => {
                        self.heard.send_replace(message.get_payload::<String>().ok().as_deref().and_then(revisions));
                        Ok(())
                    }
                    None => return Err(closed()),
                },
                () = self.broken.notified() => match self.is_connected() {
                    true => Ok(()),
                    false => return Err(closed()),
                },
                () = tokio::time::sleep(PING_INTERVAL) => {
                    within(ANSWER_LIMIT, listener.ping::<redis::Value>()).await?;
                    within(ANSWER_LIMIT, redis::cmd("PING").query_async::<()>(&mut connection)).await
                }
            };
            asked?;
        }
    }
}

async fn within<T>(limit: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = |_| RedisError::from((redis::ErrorKind::Io, "it did not answer in time"));
    tokio::time::timeout(limit, answer).await.map_err(late)?
}

fn closed() -> RedisError {
    RedisError::from((redis::ErrorKind::Io, "it closed the connection"))
}

fn key(digest: &str) -> String {
    format!("lipservice:document:{digest}")
}

fn revisions(text: &str) -> Option<Revisions> {
    let (policies, tokens) = text.split_once(' ')?;
    Some(Revisions { policies: policies.parse().ok()?, tokens: tokens.parse().ok()? })
}

impl MetricSource for Cache {
    fn collect(&self, out: &mut dyn MetricSink) {
        let connected = f64::from(u8::from(self.is_connected()));
        out.gauge("lipservice_cache_connected", "Whether a connection to Redis stands (1).", &[], connected);
        let Counts { hits, misses, errors } = &self.counts;
        for (name, help, count) in [
            ("lipservice_cache_hits", "Documents that were found in Redis.", hits),
            ("lipservice_cache_misses", "Documents that were asked of Redis and not there.", misses),
            ("lipservice_cache_errors", "Questions that Redis did not answer, or answered wrongly.", errors),
        ] {
            out.counter(name, help, &[], count.load(Ordering::Relaxed));
        }
    }
}
