//! What a gateway tells its control plane, and what it hears with the answers.
//!
//! Purpose: report counts every interval and once more at the end; share rate limits with the gateways that the answer
//! names; keep up with the patterns that are known there.
//! Promises: a control plane that is away holds back nothing but a moment of the start, and what was heard last stays in
//! force; an answer that comes to nothing changes nothing.
//! Never: decides what is kept.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::control::Plane;
use super::feed::Feed;
use crate::control_plane::api::{Api, KnownPage, MAX_KNOWN, Report};
use crate::control_plane::config::{FollowConfig, RateLimits};
use crate::control_plane::follow::Follower;
use crate::control_plane::known::Known;
use crate::control_plane::report::{Reporter, trial_report};
use crate::control_plane::store::{Batch, Ingested, Replica, Timestamp};
use crate::data_plane::policy::Fleet;
use crate::shutdown::Shutdown;

/// How long the last report may take.
const LAST_REPORT: Duration = Duration::from_secs(2);
/// How long a start waits for what is known.
const START: Duration = Duration::from_secs(2);
/// Patterns of one report at most; the table's own bound is below it.
const MAX_REPORTED: usize = 1_000_000;
/// Pages of known patterns read in one go at most.
const MAX_PAGES: usize = 1_000;

/// Where reports go.
pub(super) enum Receiver {
    /// This process.
    Here(Arc<Api>),
    /// Another.
    There(Arc<Follower>),
}

/// A gateway's way to its control plane.
pub(super) struct Upstream {
    to: Receiver,
    id: String,
    interval: Duration,
    shares: bool,
    known: Arc<Known>,
    plane: Plane,
}

impl Upstream {
    pub(super) fn new(to: Receiver, settings: &FollowConfig, plane: Plane) -> Upstream {
        let path = match to {
            // What is known here is in the store.
            Receiver::Here(_) => String::new(),
            Receiver::There(_) if settings.state_file.is_empty() => String::new(),
            Receiver::There(_) => format!("{}.known", settings.state_file),
        };
        Upstream {
            to,
            id: uuid::Uuid::now_v7().to_string(),
            interval: settings.report_interval.0.max(Duration::from_millis(100)),
            shares: settings.rate_limits == RateLimits::Fleet,
            known: Known::new(settings.known_patterns, path),
            plane,
        }
    }

    /// What is known, to be shown.
    pub(super) fn known(&self) -> &Arc<Known> {
        &self.known
    }

    /// Makes what is known known here before the first record: from disk, then from the control plane. A control plane
    /// elsewhere is told at once that there is one more to share with.
    pub(super) async fn begin(&self) {
        self.plane.pipeline.table.set_known(self.known.last());
        let asking = async {
            let is_there = match self.to {
                Receiver::Here(_) => true,
                Receiver::There(_) => self.send(self.report(Vec::new(), false)).await,
            };
            if is_there {
                self.catch_up().await;
            }
        };
        let is_late = tokio::time::timeout(START, asking).await.is_err();
        if is_late {
            tracing::warn!("the control plane takes its time: what it knows of patterns is learned while records flow");
        }
        self.known.save(self.plane.clock.now(), false).await;
    }

    /// Reports every interval, and once more at the end.
    pub(super) async fn run(self, stop: Shutdown) {
        let (mut reporter, mut feed) = (Reporter::default(), Feed::default());
        loop {
            let ends = tokio::select! {
                () = stop.triggered() => true,
                () = tokio::time::sleep(self.interval) => false,
            };
            let telling = self.tell(&mut reporter, &mut feed, ends);
            match ends {
                true => drop(tokio::time::timeout(LAST_REPORT, telling).await),
                false => telling.await,
            }
            self.known.save(self.plane.clock.now(), ends).await;
            if ends {
                return;
            }
        }
    }

    async fn tell(&self, reporter: &mut Reporter, feed: &mut Feed, ends: bool) {
        let pipeline = &self.plane.pipeline;
        let snapshot = pipeline.table.snapshot(self.plane.clock.now(), MAX_REPORTED);
        let (at, found) = self.plane.anomalies.found();
        let anomalies = feed.take(&found, at);
        let trial = pipeline.trial_counts().map(|counts| trial_report(&counts));
        let batches = reporter.take(&snapshot, pipeline.sent_bytes());
        let report = Report { anomalies, trial, ..self.report(batches, ends) };
        if self.send(report).await {
            reporter.acknowledge();
            feed.acknowledge();
            // After the report, so that what was new here is known here, too, should this process end.
            self.catch_up().await;
        }
    }

    fn report(&self, batches: Vec<Batch>, ends: bool) -> Report {
        let kind = match self.to {
            Receiver::Here(_) => "all",
            Receiver::There(_) => "gateway",
        };
        let seconds = self.interval.as_millis().div_ceil(1000).min(u128::from(u32::MAX)) as u32;
        let replica = Replica {
            id: self.id.clone(),
            kind: kind.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy_hash: self.plane.policies.followed_hash(),
            last_seen: Timestamp::default(),
            report_seconds: if self.shares && !ends { seconds } else { 0 },
        };
        Report { replica: Some(replica), batches, anomalies: Vec::new(), trial: None }
    }

    /// Whether the report arrived.
    async fn send(&self, report: Report) -> bool {
        let answer = match &self.to {
            Receiver::Here(api) => api.ingest(report).await.ok(),
            Receiver::There(follower) => follower
                .report(&report)
                .await
                .inspect_err(|error| tracing::debug!(%error, "a report did not arrive; its counts come with the next"))
                .ok(),
        };
        if let Some(ingested) = &answer {
            self.share(ingested);
        }
        answer.is_some()
    }

    fn share(&self, ingested: &Ingested) {
        let named = ingested.gateways.zip(ingested.place).filter(|_| self.shares);
        let Some(fleet) = named.and_then(|(gateways, place)| Fleet::new(gateways, place)) else { return };
        let pipeline = &self.plane.pipeline;
        if pipeline.fleet() != fleet {
            tracing::info!(gateways = fleet.gateways(), "rate limits are shared");
            pipeline.set_fleet(fleet);
        }
    }

    /// Reads what is new of the patterns that are known.
    async fn catch_up(&self) {
        for _ in 0..MAX_PAGES {
            let now = self.plane.clock.now();
            let Some(cursor) = self.known.wanted(now) else { return };
            let Some(page) = self.ask(cursor.as_deref()).await else { return };
            let taken = self.known.take(page, now, rand::random());
            if let Some(known) = taken.known {
                self.plane.pipeline.table.set_known(known);
            }
            if !taken.more {
                return;
            }
        }
    }

    async fn ask(&self, cursor: Option<&str>) -> Option<KnownPage> {
        let failed = |why: String, is_refused| {
            tracing::debug!(why, "what the control plane knows of patterns could not be read");
            self.known.failed(is_refused);
        };
        match &self.to {
            Receiver::Here(api) => {
                api.known(cursor, Some(MAX_KNOWN)).await.map_err(|why| failed(format!("{why:?}"), false)).ok()
            }
            Receiver::There(follower) => {
                let is_refused = |status| status == Some(StatusCode::BAD_REQUEST);
                let answer = follower.known(cursor, MAX_KNOWN).await;
                answer.map_err(|why| failed(why.to_string(), is_refused(why.status()))).ok()
            }
        }
    }
}
