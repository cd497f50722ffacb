//! The policies in force, kept up to date with their files.
//!
//! Purpose: load at start, watch, reload; report what is wrong.
//! Promises: a file that cannot be read or parsed keeps the last good set in force (at the start: what can be read);
//! rate limits and counters carry over; only one reload at a time.
//! Never: ends the gateway because of a policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, UnixNanos};
use crate::control_plane::rollout::offer::Received;
use crate::data_plane::pattern::Pattern;
use crate::data_plane::pipeline::Pipeline;
use crate::data_plane::pipeline::trial::{Mode, Trial};
use crate::data_plane::policy::{CompiledPolicy, Document, LoadError, PolicyWatch, load};
use crate::shutdown::Shutdown;
use crate::telemetry::{MetricSink, MetricSource};

/// How often policies are looked at when they cannot be watched.
const POLL: Duration = Duration::from_secs(30);

/// The policy files of one configuration, and what a control plane has put in force beside them.
pub(super) struct Policies {
    paths: Mutex<Vec<String>>,
    /// What is in force: the documents of the files, those of a control plane, and the patterns that were learned.
    sources: Mutex<Sources>,
    reloads: AtomicU64,
    failures: AtomicU64,
    unreadable: AtomicU64,
}

/// The last good of each kind.
#[derive(Default)]
struct Sources {
    files: Vec<Document>,
    published: Option<(String, Document)>,
    trial: Option<Received>,
    learned: Vec<Pattern>,
}

impl Sources {
    fn compile(&self, now: UnixNanos, previous: &CompiledPolicy) -> CompiledPolicy {
        let published = self.published.iter().map(|(_, document)| document.clone());
        let documents: Vec<Document> = self.files.iter().cloned().chain(published).collect();
        CompiledPolicy::compile_with(&documents, &self.patterns(), now, Some(previous))
    }

    /// Patterns beside those of the policies in force. Those of a version on trial are among them, so that both sides tell
    /// the same patterns apart.
    fn patterns(&self) -> Vec<Pattern> {
        let trial = self.trial.iter().filter_map(|trial| trial.document.as_ref());
        self.learned.iter().cloned().chain(trial.flat_map(CompiledPolicy::patterns_of)).collect()
    }

    /// The version on trial beside `policy`. One that does not compile is not tried: no counts come, and it goes back.
    fn compile_trial(&self, now: UnixNanos, policy: &CompiledPolicy, earlier: Option<&Trial>) -> Option<Trial> {
        let Received { id, mode, until, document } = self.trial.as_ref()?;
        let compiled = match document {
            None => CompiledPolicy::empty(),
            Some(document) => {
                let documents: Vec<Document> = self.files.iter().chain([document]).cloned().collect();
                // Where both decide, what is the same in both shares its rate limits; where one only counts, nothing.
                let state = match mode {
                    Mode::Canary(_) => Some(policy),
                    _ => earlier.filter(|earlier| earlier.mode == Mode::Shadow).map(|earlier| &earlier.policy),
                };
                CompiledPolicy::compile_beside(&documents, &self.patterns(), now, policy, state)
            }
        };
        if compiled.problems().len() > policy.problems().len() {
            tracing::error!(rollout = id.rollout, "the version on trial does not compile here and is not tried");
            return None;
        }
        Some(Trial::new(*id, *mode, until.nanos(), compiled, earlier))
    }

    /// Puts all of it in force: first the policies, then what is tried beside them.
    fn put(&self, policy: CompiledPolicy, pipeline: &Pipeline, now: UnixNanos) {
        let trial = self.compile_trial(now, &policy, pipeline.trial().as_deref());
        pipeline.set_policy(policy);
        if trial.is_some() || pipeline.trial().is_some() {
            pipeline.set_trial(trial);
        }
    }
}

impl Policies {
    pub(super) fn new(paths: &[String]) -> Self {
        Policies {
            paths: Mutex::new(paths.to_vec()),
            sources: Mutex::default(),
            reloads: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
        }
    }

    /// Changes the files, at a reload of the configuration.
    pub(super) fn set_paths(&self, paths: &[String]) {
        *self.paths.lock() = paths.to_vec();
    }

    /// The policies to start with: those of every path that can be read.
    pub(super) fn load_first(&self, now: UnixNanos) -> CompiledPolicy {
        let paths = self.paths.lock();
        let mut documents: Vec<Document> = Vec::new();
        for path in paths.iter() {
            match load(&[path]) {
                Ok(loaded) => documents.extend(loaded),
                Err(errors) => self.note(&errors, "started without these policies: nothing is dropped on their behalf"),
            }
        }
        let policy = CompiledPolicy::compile(&documents, now, None);
        log_problems(&policy);
        self.sources.lock().files = documents;
        policy
    }

    /// Puts learned patterns in force beside the policies, if they are others than those that are.
    pub(super) fn publish(&self, learned: Vec<Pattern>, pipeline: &Pipeline, now: UnixNanos) {
        let mut sources = self.sources.lock();
        if sources.learned == learned {
            return;
        }
        sources.learned = learned;
        let policy = sources.compile(now, &pipeline.policy());
        tracing::info!(patterns = policy.catalogue().patterns().len(), "patterns published");
        sources.put(policy, pipeline, now);
    }

    /// What the files say, and the patterns that were learned.
    pub(super) fn local(&self) -> (Vec<Document>, Vec<Pattern>) {
        let sources = self.sources.lock();
        (sources.files.clone(), sources.learned.clone())
    }

    /// Hash of what the control plane has put in force; empty without one.
    pub(super) fn followed_hash(&self) -> String {
        self.sources.lock().published.as_ref().map(|(hash, _)| hash.clone()).unwrap_or_default()
    }

    /// Puts a control plane's document in force beside the files, and tries what it has on trial.
    pub(super) fn follow(
        &self,
        hash: &str,
        (document, trial): (Document, Option<Received>),
        pipeline: &Pipeline,
        now: UnixNanos,
    ) {
        let mut sources = self.sources.lock();
        sources.published = Some((hash.to_owned(), document));
        sources.trial = trial;
        self.apply(&sources, pipeline, now);
    }

    /// Compiles and swaps, under the lock of the sources: of two changes at once the later one stays.
    fn apply(&self, sources: &Sources, pipeline: &Pipeline, now: UnixNanos) {
        let policy = sources.compile(now, &pipeline.policy());
        log_problems(&policy);
        tracing::info!(policies = policy.len(), broken = policy.problems().len(), "policies reloaded");
        sources.put(policy, pipeline, now);
        self.reloads.fetch_add(1, Ordering::Relaxed);
    }

    /// Reads all files again; returns whether they were put in force.
    pub(super) fn reload(&self, pipeline: &Pipeline, now: UnixNanos) -> bool {
        let paths = self.paths.lock();
        match load(&paths) {
            Ok(documents) => {
                let mut sources = self.sources.lock();
                sources.files = documents;
                self.apply(&sources, pipeline, now);
                self.unreadable.store(0, Ordering::Relaxed);
                true
            }
            Err(errors) => {
                self.note(&errors, "policies not reloaded: the last good set stays in force");
                false
            }
        }
    }

    fn note(&self, errors: &[LoadError], consequence: &'static str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.unreadable.store(errors.len() as u64, Ordering::Relaxed);
        for error in errors {
            tracing::error!(%error, "a policy file cannot be used");
        }
        tracing::error!(files = errors.len(), "{consequence}");
    }

    /// Reloads whenever a file changes, until the signal.
    pub(super) async fn watch(self: Arc<Self>, pipeline: Arc<Pipeline>, clock: Clock, stop: Shutdown) {
        let paths = self.paths.lock().clone();
        if paths.is_empty() {
            return;
        }
        let watch = PolicyWatch::new(&paths).inspect_err(|error| tracing::warn!(%error, "policies are polled instead"));
        loop {
            let changed = async {
                match &watch {
                    Ok(watch) => watch.changed().await,
                    Err(_) => tokio::time::sleep(POLL).await,
                }
            };
            tokio::select! {
                () = stop.triggered() => return,
                () = changed => drop(self.reload(&pipeline, clock.now())),
            }
        }
    }
}

fn log_problems(policy: &CompiledPolicy) {
    for problem in policy.problems() {
        tracing::error!(
            policy = %problem.policy_id,
            source = %problem.source,
            errors = %problem.messages.join("; "),
            "a policy does not compile and is skipped"
        );
    }
}

impl MetricSource for Policies {
    fn collect(&self, out: &mut dyn MetricSink) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        out.counter("lipservice_policy_reloads", "Times policies were put in force.", &[], load(&self.reloads));
        let help = "Times policy files could not be used.";
        out.counter("lipservice_policy_reload_failures", help, &[], load(&self.failures));
        let help = "Policy files that cannot be used now; the last good set is in force.";
        out.gauge("lipservice_policy_files_broken", help, &[], load(&self.unreadable) as f64);
    }
}
