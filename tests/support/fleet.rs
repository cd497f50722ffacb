//! A DaemonSet of agents in one process: each follows a control plane by an open poll and reports its counts.
//!
//! Purpose: the load and the timing of many gateways, for `examples/control_load` at full size and for a test in small.
//! Promises: every agent is the gateway's own client and follower; each batch has an id of its own; nothing is repeated
//! that was acknowledged.
//! Never: evaluates policies; "enforced" is when the agent was handed the version.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lipservice::control_plane::api::Report;
use lipservice::control_plane::client::Client;
use lipservice::control_plane::follow::Follower;
use lipservice::control_plane::store::{Batch, Replica, StatsRow, Timestamp};
use lipservice::shutdown::Shutdown;
use lipservice::units::Secret;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the fleet has done so far.
#[derive(Debug, Default)]
pub struct Done {
    /// Reports that were acknowledged.
    pub reports: AtomicU64,
    /// Reports that were not.
    pub failures: AtomicU64,
    /// Why the first of them was not.
    pub first_failure: OnceLock<String>,
    /// Versions handed to agents, over all agents.
    pub updates: AtomicU64,
}

/// Agents that run.
pub struct Fleet {
    pub done: Arc<Done>,
    /// Per agent: the hash in force and since when.
    enforced: Vec<watch::Receiver<(String, Instant)>>,
    stop: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

/// How agents behave.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Agents.
    pub agents: usize,
    /// Time between two reports; agents start at moments spread over it.
    pub every: Duration,
    /// Patterns in a report.
    pub patterns: usize,
    /// Reports an agent sends at most.
    pub reports: u64,
}

impl Fleet {
    /// Starts the agents; a token is needed where the control plane has one.
    pub fn start(control: SocketAddr, token: Option<&str>, habits: Habits) -> Fleet {
        let (done, stop) = (Arc::new(Done::default()), Shutdown::new());
        let (mut enforced, mut tasks) = (Vec::new(), Vec::new());
        for number in 0..habits.agents {
            let secret = token.map(|token| Secret::new(token.to_owned()));
            let client = Client::new(&format!("http://{control}"), secret, None).unwrap();
            let follower = Follower::new(client, "");
            let (tell, told) = watch::channel((String::new(), Instant::now()));
            enforced.push(told);
            let seen = Arc::clone(&done);
            let publish = move |fetched: lipservice::control_plane::client::Fetched| {
                seen.updates.fetch_add(1, Ordering::Relaxed);
                tell.send_replace((fetched.hash, Instant::now()));
            };
            tasks.push(tokio::spawn(Arc::clone(&follower).run(None, publish, stop.clone())));
            tasks.push(tokio::spawn(report(follower, number, habits, Arc::clone(&done), stop.clone())));
        }
        Fleet { done, enforced, stop, tasks }
    }

    /// Waits until every agent enforces `hash`; how long after `since` each did, the quickest first.
    pub async fn enforce(&mut self, hash: &str, since: Instant) -> Vec<Duration> {
        let mut delays = Vec::new();
        for told in &mut self.enforced {
            let (_, at) = *told.wait_for(|(known, _)| known == hash).await.unwrap();
            delays.push(at.saturating_duration_since(since));
        }
        delays.sort();
        delays
    }

    /// Waits until every agent has sent all its reports.
    pub async fn reported(&self, reports: u64) {
        while self.done.reports.load(Ordering::Relaxed) < reports {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn stop(self) {
        self.stop.trigger();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

async fn report(follower: Arc<Follower>, number: usize, habits: Habits, done: Arc<Done>, stop: Shutdown) {
    let mut pause = habits.every.mul_f64(number as f64 / habits.agents.max(1) as f64);
    for turn in 0..habits.reports {
        tokio::select! {
            () = stop.triggered() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = habits.every;
        let report = Report {
            replica: Some(Replica {
                id: format!("agent-{number}"),
                kind: "gateway".into(),
                version: "0.1.0".into(),
                policy_hash: String::new(),
                last_seen: Timestamp::default(),
                report_seconds: 10,
            }),
            batches: vec![Batch { id: format!("{number}-{turn}"), rows: rows(habits.patterns), sent_bytes: None }],
            anomalies: Vec::new(),
            trial: None,
        };
        // What was not acknowledged is sent again under the same id, as gateways do.
        while let Err(error) = follower.report(&report).await {
            done.failures.fetch_add(1, Ordering::Relaxed);
            done.first_failure.get_or_init(|| error.to_string());
            tokio::select! {
                () = stop.triggered() => return,
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
        done.reports.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts of the patterns that all agents share, as pods of one service do: one record each.
fn rows(patterns: usize) -> Vec<StatsRow> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let row = |n| StatsRow {
        service: format!("service-{}", n % 10),
        severity: "info".into(),
        pattern: format!("{n:016x}"),
        template: format!("order <*> of kind {n} placed"),
        example: format!("order 17 of kind {n} placed"),
        at: Timestamp::of(now.as_nanos() as u64),
        records: 1,
        bytes: 100,
        kept: 1,
        kept_bytes: 100,
    };
    (0..patterns).map(row).collect()
}
