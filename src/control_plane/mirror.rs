//! What the API answers from memory: the policies in force and the tokens.
//!
//! Purpose: keep a copy of what is asked for often, and wake those who wait for a change.
//! Promises: a change made here is seen at once, one made by another process within [`POLL`], or at once with a cache; what
//! is in force is what the store says, with or without a cache; while the store is away the last copy stays; each change
//! wakes every waiter once; those who ask at the same time share one look at the store.
//! Never: writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::watch;

use super::bundle::{Bundle, bundle};
use super::cache::Cache;
use super::rollout::{Offer, Rollout};
use super::store::{ActiveVersion, Revisions, Store, StoreError, Timestamp, Token, document_from};
use crate::shutdown::Shutdown;
use crate::telemetry::{MetricSink, MetricSource};

/// How often the store is asked whether another process has changed anything.
pub const POLL: Duration = Duration::from_millis(500);
/// Services whose documents are kept ready; further ones are made for each question.
const MAX_BUNDLES: usize = 10_000;

/// The policies in force at one moment.
#[derive(Debug, Default)]
pub struct View {
    /// Everything in force.
    pub active: Vec<ActiveVersion>,
    /// The version on trial beside it.
    pub offer: Option<Offer>,
    bundles: DashMap<Option<String>, Arc<Bundle>>,
    revision: Option<u64>,
    next_expiry: Option<Timestamp>,
}

impl View {
    fn new(active: Vec<ActiveVersion>, offer: Option<Offer>, revision: u64) -> Self {
        let next_expiry = active.iter().filter_map(|entry| entry.version.expires_at).min();
        View { active, offer, bundles: DashMap::new(), revision: Some(revision), next_expiry }
    }

    /// The document for a service, or for all.
    pub fn bundle(&self, service: Option<&str>) -> Arc<Bundle> {
        // A service without policies of its own gets what any such service gets: one copy serves all.
        let own = service.filter(|service| self.active.iter().any(|entry| entry.version.service == *service));
        let key = service.map(|_| own.unwrap_or_default().to_owned());
        if let Some(found) = self.bundles.get(&key) {
            return Arc::clone(&found);
        }
        let made = Arc::new(bundle(&self.active, self.offer.as_ref(), key.as_deref()));
        if self.bundles.len() < MAX_BUNDLES {
            self.bundles.insert(key, Arc::clone(&made));
        }
        made
    }
}

/// Tokens by their public part.
#[derive(Debug, Default)]
pub struct Tokens {
    by_id: HashMap<String, Token>,
    revision: Option<u64>,
}

impl Tokens {
    /// Whether there ever was one. Revoking the last one does not open the door again.
    pub fn exist(&self) -> bool {
        !self.by_id.is_empty()
    }

    /// The token with this public part.
    pub fn get(&self, id: &str) -> Option<&Token> {
        self.by_id.get(id)
    }
}

/// One look at the store, which those who asked before it began share.
#[derive(Debug)]
struct Look {
    number: u64,
    outcome: Result<(), Arc<StoreError>>,
}

/// The copy.
#[derive(Debug)]
pub struct Mirror {
    store: Store,
    cache: Option<Arc<Cache>>,
    view: ArcSwap<View>,
    tokens: ArcSwap<Tokens>,
    changed: watch::Sender<u64>,
    /// Looks begun; a look that begins after a question sees all that was stored before it.
    begun: AtomicU64,
    /// The last look that ended; held during a look.
    looking: tokio::sync::Mutex<Look>,
    failures: AtomicU64,
}

impl Mirror {
    /// A copy of the store as it is now.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn new(store: Store) -> Result<Arc<Mirror>, StoreError> {
        Mirror::with_cache(store, None).await
    }

    /// A copy of the store as it is now, of a process that shares a cache with others.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn with_cache(store: Store, cache: Option<Arc<Cache>>) -> Result<Arc<Mirror>, StoreError> {
        let mirror = Mirror {
            store,
            cache,
            view: ArcSwap::default(),
            tokens: ArcSwap::default(),
            changed: watch::channel(0).0,
            begun: AtomicU64::new(0),
            looking: tokio::sync::Mutex::new(Look { number: 0, outcome: Ok(()) }),
            failures: AtomicU64::new(0),
        };
        mirror.refresh().await?;
        Ok(Arc::new(mirror))
    }

    /// The policies in force.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// The tokens.
    pub fn tokens(&self) -> Arc<Tokens> {
        self.tokens.load_full()
    }

    /// Resolves after the next change.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The counts of changes this copy has.
    fn revisions(&self) -> Revisions {
        let (policies, tokens) = (self.view.load().revision, self.tokens.load().revision);
        Revisions { policies: policies.unwrap_or(0), tokens: tokens.unwrap_or(0) }
    }

    /// Looks at the store, or waits for a look of somebody else's that begins after this question: however many ask, the
    /// store is asked by one at a time.
    ///
    /// # Errors
    /// When the store does not answer; the copy stays as it is.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let begun = self.begun.load(Ordering::SeqCst);
        let mut last = self.looking.lock().await;
        if last.number <= begun {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let outcome = self.look().await.map_err(Arc::new);
            if let (Ok(()), Some(cache)) = (&outcome, &self.cache) {
                // After the look: by now the documents are where the others look for them.
                cache.tell(self.revisions());
            }
            *last = Look { number, outcome };
        }
        match &last.outcome {
            Ok(()) => Ok(()),
            Err(error) => Err(StoreError::Shared(Arc::clone(error))),
        }
    }

    async fn look(&self) -> Result<(), StoreError> {
        let Revisions { policies, tokens } = self.store.revisions().await?;
        if self.tokens.load().revision != Some(tokens) {
            let by_id = self.store.tokens().await?.into_iter().map(|token| (token.id.clone(), token)).collect();
            self.tokens.store(Arc::new(Tokens { by_id, revision: Some(tokens) }));
        }
        let view = self.view.load();
        let expired = view.next_expiry.is_some_and(|at| at <= self.store.now());
        if view.revision == Some(policies) && !expired {
            return Ok(());
        }
        // Read after the revision: should another change come between, the next look reads again.
        let new = View::new(self.active(&view.active).await?, offer_in(&self.store).await?, policies);
        let has_changed = new.active != view.active || new.offer != view.offer;
        self.view.store(Arc::new(new));
        if has_changed {
            self.changed.send_modify(|serial| *serial += 1);
        }
        Ok(())
    }

    /// What is in force by the store, with documents from where they are nearest: here, in the cache, in the store.
    async fn active(&self, last: &[ActiveVersion]) -> Result<Vec<ActiveVersion>, StoreError> {
        let mut active = self.store.active_heads().await?;
        let known = last.iter().map(|entry| (&entry.version.digest, &entry.version.document));
        let known: HashMap<_, _> = known.collect();
        let missing = |texts: &HashMap<String, String>, entry: &ActiveVersion| {
            !known.contains_key(&entry.version.digest) && !texts.contains_key(&entry.version.digest)
        };
        let mut texts = HashMap::new();
        if let Some(cache) = &self.cache {
            let wanted = active.iter().filter(|entry| missing(&texts, entry)).map(|entry| entry.version.digest.clone());
            texts = cache.documents(&wanted.collect::<Vec<_>>()).await;
        }
        let wanted = active.iter().filter(|entry| missing(&texts, entry)).map(|entry| &entry.version);
        let stored = self.store.documents(wanted).await?;
        if let Some(cache) = &self.cache {
            cache.keep(&stored).await;
        }
        texts.extend(stored);
        for entry in &mut active {
            let digest = &entry.version.digest;
            entry.version.document = match known.get(digest) {
                Some(document) => (*document).clone(),
                None => document_from(texts.get(digest))?,
            };
        }
        Ok(active)
    }

    /// Looks at the store again and again, until the signal.
    pub async fn follow(self: Arc<Self>, stop: Shutdown) {
        self.follow_every(POLL, stop).await;
    }

    /// Looks at the store so often, and whenever another process says that there is something new.
    pub async fn follow_every(self: Arc<Self>, period: Duration, stop: Shutdown) {
        let mut heard = self.cache.as_ref().map(|cache| cache.heard());
        let mut timer = tokio::time::interval(period);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.triggered() => return,
                _ = timer.tick() => {}
                said = news(&mut heard) => if said.is_some_and(|said| said == self.revisions()) {
                    continue;
                }
            }
            if let Err(error) = self.refresh().await {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "the store does not answer; the last policies stay in force");
            }
        }
    }
}

/// What the open rollout offers. One that this release cannot read offers nothing: what is in force does not depend on it.
async fn offer_in(store: &Store) -> Result<Option<Offer>, StoreError> {
    let Some(row) = store.open_rollout().await? else { return Ok(None) };
    let Ok(Rollout { id, service, plan, state, .. }) = Rollout::of(row).inspect_err(|error| tracing::error!(%error))
    else {
        return Ok(None);
    };
    let version = store.version(&service, plan.candidate).await?;
    Ok(Offer::of(id, &plan, &state, version))
}

/// What another process says next; never without a cache.
async fn news(heard: &mut Option<watch::Receiver<Option<Revisions>>>) -> Option<Revisions> {
    if let Some(receiver) = heard
        && receiver.changed().await.is_ok()
    {
        return *receiver.borrow_and_update();
    }
    *heard = None;
    std::future::pending().await
}

impl MetricSource for Mirror {
    fn collect(&self, out: &mut dyn MetricSink) {
        let help = "Times the store was asked for changes.";
        out.counter("lipservice_store_looks", help, &[], self.begun.load(Ordering::Relaxed));
        let help = "Times the store did not answer when asked for changes.";
        out.counter("lipservice_store_failures", help, &[], self.failures.load(Ordering::Relaxed));
        let policies = self.view.load().active.iter().map(|entry| entry.version.policies).sum::<u64>();
        out.gauge("lipservice_control_active_policies", "Policies in force in the store.", &[], policies as f64);
    }
}
