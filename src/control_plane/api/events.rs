//! What happens, as it happens.
//!
//! Purpose: server-sent events of versions put in force, steps of rollouts, decisions by pattern, and anomalies.
//! Promises: bounded: a reader that is too slow loses the oldest events, is told how many, and they are counted; nobody
//! who publishes ever waits.
//! Never: is a record: what must not be lost is in the store.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event as SseEvent, KeepAlive};
use futures_util::stream::{Stream, unfold};
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use super::Api;
use super::auth::CanRead;
use super::problem::{Failure, Kind};
use crate::control_plane::rollout::Stepped;
use crate::control_plane::store::{AnomalyRow, StatsRow};

/// Events kept for slow readers.
const CAPACITY: usize = 1024;
/// Readers at once.
const MAX_READERS: usize = 256;
/// A sign of life, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Other policies are in force for a service.
    Version {
        /// Whose policies; empty for all services.
        service: String,
        /// The version in force; null for none.
        number: Option<i64>,
    },
    /// A rollout took a step.
    Rollout {
        /// Its number.
        id: i64,
        /// Whose policies; empty for all services.
        service: String,
        /// The version.
        version: i64,
        /// Its phase now.
        phase: String,
        /// Percentage of the traffic that the version decides about.
        percentage: f64,
        /// Why it ended early; null when it did not.
        why: Option<String>,
    },
    /// A gateway decided about records of a pattern.
    Decisions {
        /// Whose records.
        service: String,
        /// Their severity band.
        severity: String,
        /// Their pattern.
        pattern: String,
        /// Kept since the last such event of this gateway.
        kept: u64,
        /// Dropped since then.
        dropped: u64,
    },
    /// Something unusual was noticed.
    Anomaly(AnomalyRow),
}

impl Event {
    fn name(&self) -> &'static str {
        match self {
            Event::Version { .. } => "version",
            Event::Rollout { .. } => "rollout",
            Event::Decisions { .. } => "decisions",
            Event::Anomaly(_) => "anomaly",
        }
    }
}

/// Where events come together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Event>,
    lagged: Arc<AtomicU64>,
}

impl Default for Events {
    fn default() -> Self {
        Events { sender: broadcast::channel(CAPACITY).0, lagged: Arc::default() }
    }
}

impl Events {
    /// Tells everyone who listens.
    pub fn publish(&self, event: Event) {
        // An error says that nobody listens.
        let _ = self.sender.send(event);
    }

    /// Tells of a step of a rollout, and of the version it put in force.
    pub fn stepped(&self, stepped: &Stepped) {
        let rollout = &stepped.rollout;
        let (plan, state) = (&rollout.plan, &rollout.state);
        self.publish(Event::Rollout {
            id: rollout.id,
            service: rollout.service.clone(),
            version: plan.candidate,
            phase: state.phase.as_str().to_owned(),
            percentage: rollout.percentage(),
            why: state.why.as_ref().map(ToString::to_string),
        });
        if stepped.changed_active {
            let number = if state.why.is_some() { plan.parent } else { Some(plan.candidate) };
            self.publish(Event::Version { service: rollout.service.clone(), number });
        }
    }

    /// Tells what gateways decided.
    pub(super) fn decisions(&self, rows: &[StatsRow]) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        for row in rows {
            self.publish(Event::Decisions {
                service: row.service.clone(),
                severity: row.severity.clone(),
                pattern: row.pattern.clone(),
                kept: row.kept,
                dropped: row.records.saturating_sub(row.kept),
            });
        }
    }

    /// Events that slow readers lost.
    pub fn lagged(&self) -> u64 {
        self.lagged.load(Ordering::Relaxed)
    }
}

/// Server-sent events: `version`, `rollout`, `decisions`, `anomaly`, and `lagged` when some were lost.
#[utoipa::path(get, path = "/v1/events", tag = "operation",
    responses((status = 200, body = String, content_type = "text/event-stream")))]
pub async fn events(
    _: CanRead,
    State(api): State<Arc<Api>>,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, Failure> {
    if api.events.sender.receiver_count() >= MAX_READERS {
        return Err(Failure::new(Kind::Unavailable, "too many readers of events"));
    }
    let (receiver, stop, lagged) = (api.events.sender.subscribe(), api.stop.clone(), Arc::clone(&api.events.lagged));
    let stream = unfold((receiver, stop, lagged), |(mut receiver, stop, lagged)| async move {
        let received = tokio::select! {
            received = receiver.recv() => received,
            () = stop.triggered() => return None,
        };
        let event = match received {
            Ok(event) => {
                let data = serde_json::to_string(&event).unwrap_or_default();
                SseEvent::default().event(event.name()).data(data)
            }
            Err(RecvError::Lagged(lost)) => {
                lagged.fetch_add(lost, Ordering::Relaxed);
                SseEvent::default().event("lagged").data(json!({ "lost": lost }).to_string())
            }
            Err(RecvError::Closed) => return None,
        };
        Some((Ok(event), (receiver, stop, lagged)))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}
