//! What one control plane does for all.
//!
//! Purpose: become the leader, and as such roll statistics up and take the steps of rollouts.
//! Promises: of several control planes on one database one leads; one that loses its lock stops at once; a database that
//! is away costs a pause, no more.
//! Never: serves: every control plane does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::rollout::{Driver, Stepped};
use super::store::{Leadership, Retention, Store, StoreError};
use crate::shutdown::Shutdown;
use crate::telemetry::{MetricSink, MetricSource};

/// How often the leader works, and the others try to lead.
const INTERVAL: Duration = Duration::from_secs(10);

/// Is told of steps.
pub type Tell = Box<dyn Fn(Stepped) + Send + Sync>;

/// Whether this process leads, and what it did.
#[derive(Debug, Default)]
pub struct Leader {
    /// Takes the steps of rollouts.
    pub driver: Arc<Driver>,
    leads: AtomicBool,
    rolled: AtomicU64,
    failures: AtomicU64,
}

impl Leader {
    /// Whether this process leads now.
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Relaxed)
    }

    /// Leads when it can, until the signal; `tell` hears of steps of rollouts.
    pub async fn run(self: Arc<Self>, store: Store, retention: Retention, tell: Tell, stop: Shutdown) {
        let mut held: Option<Leadership> = None;
        loop {
            match self.turn(&store, &retention, &tell, held.take()).await {
                Ok(still) => held = still,
                Err(error) => {
                    self.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "the leader could not do its work");
                }
            }
            self.leads.store(held.is_some(), Ordering::Relaxed);
            tokio::select! {
                () = stop.triggered() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
        self.leads.store(false, Ordering::Relaxed);
        if let Some(held) = held {
            held.release().await;
        }
    }

    async fn turn(
        &self,
        store: &Store,
        retention: &Retention,
        tell: &Tell,
        held: Option<Leadership>,
    ) -> Result<Option<Leadership>, StoreError> {
        let mut held = match held {
            Some(held) => held,
            None => match store.try_lead().await? {
                Some(held) => held,
                None => return Ok(None),
            },
        };
        if !held.is_held().await {
            return Ok(None);
        }
        if let Some(stepped) = self.driver.turn(store).await? {
            tell(stepped);
        }
        let done = store.roll_up(retention).await?;
        self.rolled.fetch_add(done.rolled, Ordering::Relaxed);
        Ok(Some(held))
    }
}

impl MetricSource for Leader {
    fn collect(&self, out: &mut dyn MetricSink) {
        self.driver.collect(out);
        let leads = f64::from(u8::from(self.leads()));
        out.gauge("lipservice_control_leads", "Whether this process leads the control planes (1).", &[], leads);
        let rolled = self.rolled.load(Ordering::Relaxed);
        out.counter("lipservice_store_rolled_buckets", "Buckets of statistics added up to coarser ones.", &[], rolled);
        let failures = self.failures.load(Ordering::Relaxed);
        out.counter("lipservice_store_roll_up_failures", "Times a roll-up failed.", &[], failures);
    }
}
