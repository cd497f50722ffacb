//! Gateways that share rate limits.
//!
//! Purpose: tell each gateway that reports how many there are, and which of them it is.
//! Promises: places are dealt by the order of ids, so all that heard of the same gateways have different ones; one that comes
//! or ends counts at once here and within [`FRESH`] in another control plane; while the store is away the last word stands.
//! Never: shares anything out itself.

use std::sync::Arc;
use std::time::Duration;

use super::Api;
use crate::control_plane::store::{Ingested, Replica, Timestamp};

/// How old the list may be.
const FRESH: Duration = Duration::from_secs(5);

/// Ids of gateways, sorted, and when they were read.
#[derive(Debug, Default)]
pub struct Listed {
    read: Option<(Timestamp, Arc<Vec<String>>)>,
}

impl Api {
    /// The gateways that share, after `news` of some was written.
    pub(super) async fn fleet(&self, news: &[Replica]) -> Arc<Vec<String>> {
        let now = self.store.now();
        let listed = self.fleet.lock().read.clone();
        if let Some((at, ids)) = &listed {
            let is_listed = |replica: &Replica| ids.binary_search(&replica.id).is_ok() == (replica.report_seconds > 0);
            if *at <= now && now < at.after(FRESH) && news.iter().all(is_listed) {
                return Arc::clone(ids);
            }
        }
        match self.store.sharers().await {
            Ok(ids) => {
                let ids = Arc::new(ids);
                self.fleet.lock().read = Some((now, Arc::clone(&ids)));
                ids
            }
            Err(error) => {
                tracing::debug!(%error, "who shares rate limits could not be read");
                listed.map(|(_, ids)| ids).unwrap_or_default()
            }
        }
    }
}

/// Says to a sender who shares rate limits with it; nothing to one that does not.
pub fn answer(ids: &[String], sender: Option<&str>, ingested: &mut Ingested) {
    let place = sender.and_then(|sender| ids.binary_search_by(|id| id.as_str().cmp(sender)).ok());
    if let Some(place) = place {
        ingested.gateways = u32::try_from(ids.len()).ok();
        ingested.place = u32::try_from(place).ok();
    }
}
