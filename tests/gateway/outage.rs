//! PostHog fails in every way it can, under load: not a record goes missing.
//!
//! The outage lasts until the queue has pushed back on clients many times over, rather than a number of seconds. Sixty
//! seconds of it, under load and to the record, pass in simulated time: `exporter::simulation_tests`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{PATIENCE, Setup};
use crate::support::fake_posthog::{FakePostHog, Mode};
use crate::support::otlp::{record, request_of};

const CLIENTS: u64 = 4;
const RECORDS_PER_REQUEST: u64 = 50;

/// A client that sends numbered records and, told to wait, sends the same request again.
async fn send_all(url: String, client: reqwest::Client, me: u64, requests: u64, pushed_back: Arc<AtomicU64>) {
    for i in 0..requests {
        let records =
            (0..RECORDS_PER_REQUEST).map(|n| record(9, &format!("client={me} request={i} record={n}"))).collect();
        let body = request_of("web", records);
        loop {
            let request = client.post(&url).header("content-type", "application/x-protobuf").bearer_auth("phc_t");
            let answer = request.body(body.clone()).send().await.unwrap();
            match answer.status().as_u16() {
                200 => break,
                503 | 429 => {
                    assert!(answer.headers().contains_key("retry-after"), "a client is told when to retry");
                    pushed_back.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                other => panic!("{other}: {:?}", answer.text().await),
            }
        }
    }
}

/// Runs load through a fault that lasts until clients were pushed back `until` times.
async fn outage(begin: impl AsyncFnOnce(&FakePostHog), end: impl AsyncFnOnce(&FakePostHog), until: u64) {
    let setup = Setup::start("", "sending_queue: {max_size: 200kB}").await;
    let url = format!("http://{}/v1/logs", setup.gateway.http_addrs()[0]);
    let pushed_back = Arc::new(AtomicU64::new(0));
    begin(&setup.posthog).await;
    let mut clients = JoinSet::new();
    let requests = 100;
    for me in 0..CLIENTS {
        clients.spawn(send_all(url.clone(), super::client(), me, requests, Arc::clone(&pushed_back)));
    }
    let back = Arc::clone(&pushed_back);
    let full = async {
        while back.load(Ordering::SeqCst) < until {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, full).await.expect("the queue pushes back");
    end(&setup.posthog).await;
    timeout(PATIENCE, clients.join_all()).await.expect("clients get rid of everything");
    let report = timeout(PATIENCE, setup.gateway.shutdown(PATIENCE)).await.unwrap();
    assert!(report.balance(), "{report}");
    let sent = CLIENTS * requests * RECORDS_PER_REQUEST;
    assert_eq!(report.totals.kept.records, sent, "{report}");
    assert_eq!(report.exporters[0].stats.sent, sent, "{report}");
    assert_eq!(report.exporters[0].stats.failed.total(), 0, "{report}");
    assert_eq!(report.totals.refused.records, pushed_back.load(Ordering::SeqCst) * RECORDS_PER_REQUEST);
    let mut bodies: Vec<String> = setup.posthog.rows().into_iter().map(|row| row.body).collect();
    let rows = bodies.len() as u64;
    bodies.sort_unstable();
    bodies.dedup();
    assert_eq!(bodies.len() as u64, sent, "every record is at PostHog ({rows} rows)");
}

async fn healthy(fake: &FakePostHog) {
    fake.set_mode(Mode::Ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_down() {
    outage(async |fake| fake.go_down().await, async |fake| fake.come_up().await.unwrap(), 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_answers_429() {
    outage(async |fake| fake.set_mode(Mode::Status(429, Some("0".into()))), healthy, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_answers_500() {
    outage(async |fake| fake.set_mode(Mode::Status(500, None)), healthy, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_answers_503() {
    outage(async |fake| fake.set_mode(Mode::Status(503, None)), healthy, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_does_not_answer() {
    let end = async |fake: &FakePostHog| {
        fake.set_mode(Mode::Ok);
        fake.release();
    };
    outage(async |fake| fake.set_mode(Mode::Hold), end, 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_connections_break() {
    outage(async |fake| fake.set_mode(Mode::ResetBefore), healthy, 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_connections_break_after_it_stored_the_records() {
    outage(async |fake| fake.set_mode(Mode::ResetAfter), healthy, 200).await;
}
