//! A gateway's side of a control plane elsewhere.
//!
//! Purpose: keep up with the policies in force by an open poll; keep the last good ones on disk; send reports.
//! Promises: a new version is handed on within a round trip of its activation; a control plane that is away changes
//! nothing but the age of what is in force; the file is replaced whole or not at all.
//! Never: compiles a policy.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::api::{KnownPage, SampleReport, Sampled};
use super::client::{Client, ClientError, Fetched};
use super::store::Ingested;
use crate::shutdown::Shutdown;
use crate::telemetry::{MetricSink, MetricSource};

/// How long one poll stays open.
const WAIT: Duration = Duration::from_secs(30);
/// Pause after the first failure; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause, less a random part, so that a thousand gateways do not come back at once.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Largest state file.
const MAX_STATE_BYTES: u64 = 64 << 20;

/// Follows one control plane.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    state_file: String,
    connected: AtomicBool,
    updates: AtomicU64,
    failures: AtomicU64,
    sampled: AtomicU64,
    unsampled: AtomicU64,
}

impl Follower {
    /// A follower that keeps the last good policies in `state_file`; an empty name keeps none.
    pub fn new(client: Client, state_file: &str) -> Arc<Follower> {
        Arc::new(Follower {
            client,
            state_file: state_file.to_owned(),
            connected: AtomicBool::new(false),
            updates: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            sampled: AtomicU64::new(0),
            unsampled: AtomicU64::new(0),
        })
    }

    /// The last good policies of an earlier run, if there are any.
    pub fn last_good(&self) -> Option<Fetched> {
        if self.state_file.is_empty() {
            return None;
        }
        let fits = std::fs::metadata(&self.state_file).is_ok_and(|found| found.len() <= MAX_STATE_BYTES);
        let body = fits.then(|| std::fs::read(&self.state_file).ok()).flatten()?;
        let tree: Value = serde_json::from_slice(&body).ok()?;
        Some(Fetched { hash: tree.get("hash")?.as_str()?.to_owned(), body })
    }

    /// Calls `publish` with every change, beginning from what `known` names, until the signal.
    pub async fn run(self: Arc<Self>, known: Option<String>, publish: impl Fn(Fetched) + Send, stop: Shutdown) {
        let (mut known, mut pause) = (known, MIN_PAUSE);
        loop {
            let polled = tokio::select! {
                () = stop.triggered() => return,
                // Right after a failure the answer comes at once, which says that the connection works.
                polled = self.client.active(known.as_deref(), if self.is_connected() { WAIT } else { Duration::ZERO }) => polled,
            };
            match polled {
                Ok(fetched) => {
                    pause = MIN_PAUSE;
                    if !self.connected.swap(true, Ordering::Relaxed) {
                        tracing::info!("following the control plane");
                    }
                    if let Some(fetched) = fetched {
                        known = Some(fetched.hash.clone());
                        self.updates.fetch_add(1, Ordering::Relaxed);
                        self.keep(&fetched.body).await;
                        publish(fetched);
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    let jitter = 0.5 + rand::random::<f64>() / 2.0;
                    tokio::select! {
                        () = stop.triggered() => return,
                        () = tokio::time::sleep(pause.mul_f64(jitter)) => {}
                    }
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Sends a report.
    ///
    /// # Errors
    /// When it did not arrive, or was not taken.
    pub async fn report(&self, report: &super::api::Report) -> Result<Ingested, ClientError> {
        self.client.send(Method::POST, &["stats"], report).await
    }

    /// Asks which patterns were reported, behind a cursor.
    ///
    /// # Errors
    /// When there is no answer that can be read.
    pub async fn known(&self, cursor: Option<&str>, limit: u32) -> Result<KnownPage, ClientError> {
        let limit = limit.to_string();
        let query = [("limit", limit.as_str()), ("cursor", cursor.unwrap_or_default())];
        self.client.get(&["patterns", "known"], &query).await
    }

    /// Hands over a part of this gateway's sample.
    ///
    /// # Errors
    /// When it did not arrive, or was not taken.
    pub async fn sample(&self, report: &SampleReport) -> Result<Sampled, ClientError> {
        self.client.send_packed(Method::POST, &["samples"], report).await
    }

    /// Notes log records that were handed over.
    pub fn note_sampled(&self, log_records: u64) {
        self.sampled.fetch_add(log_records, Ordering::Relaxed);
    }

    /// Notes a part of the sample that did not arrive.
    pub fn note_unsampled(&self) {
        self.unsampled.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the last poll was answered.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    fn failed(&self, error: &ClientError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if self.connected.swap(false, Ordering::Relaxed) {
            tracing::warn!(%error, "the control plane is away: the last good policies stay in force");
        } else {
            tracing::debug!(%error, "the control plane is still away");
        }
    }

    async fn keep(&self, body: &[u8]) {
        if self.state_file.is_empty() {
            return;
        }
        if let Err(error) = replace(Path::new(&self.state_file), body).await {
            tracing::warn!(%error, file = self.state_file, "the policies could not be kept for the next start");
        }
    }
}

/// Writes beside the file, then renames.
pub(super) async fn replace(path: &Path, body: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = tokio::fs::File::create(&beside).await?;
    tokio::io::AsyncWriteExt::write_all(&mut file, body).await?;
    file.sync_all().await?;
    tokio::fs::rename(&beside, path).await
}

impl MetricSource for Follower {
    fn collect(&self, out: &mut dyn MetricSink) {
        let connected = f64::from(u8::from(self.is_connected()));
        out.gauge("lipservice_control_connected", "Whether the control plane answers (1).", &[], connected);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        out.counter("lipservice_control_updates", "Policies taken from the control plane.", &[], load(&self.updates));
        let help = "Polls the control plane did not answer.";
        out.counter("lipservice_control_failures", help, &[], load(&self.failures));
        let help = "Log records of its sample that a gateway handed over.";
        out.counter("lipservice_control_sampled_log_records", help, &[], load(&self.sampled));
        let help = "Parts of its sample that did not arrive; they are sent again.";
        out.counter("lipservice_control_sample_failures", help, &[], load(&self.unsampled));
    }
}
