//! Many who ask at the same time whether the store has changed: they share a look, and each sees what was stored before.

use std::sync::Arc;

use futures_util::future::join_all;
use lipservice::clock::Clock;
use lipservice::control_plane::mirror::Mirror;
use lipservice::control_plane::store::{Fault, Store, StoreError};
use lipservice::telemetry::{MetricSink, MetricSource as _};

use sqlx::Connection as _;

use super::store::{START, actor, at, new_version, on_each};
use crate::support::servers;

/// Few enough to be polled together.
const ASKERS: usize = 20;

/// How often the store was asked.
fn looks(mirror: &Mirror) -> u64 {
    struct Looks(u64);
    impl MetricSink for Looks {
        fn counter(&mut self, name: &'static str, _: &'static str, _: &[(&'static str, &str)], value: u64) {
            if name == "lipservice_store_looks" {
                self.0 = value;
            }
        }
        fn gauge(&mut self, _: &'static str, _: &'static str, _: &[(&'static str, &str)], _: f64) {}
    }
    let mut looks = Looks(u64::MAX);
    mirror.collect(&mut looks);
    looks.0
}

/// Lets [`ASKERS`] ask while the table they ask for is locked, changes it so, and tells what they were answered and how often
/// the store was asked.
async fn asked_together(mirror: &Mirror, url: &str, change: &'static str) -> (Vec<Result<(), StoreError>>, u64) {
    let mut raw = sqlx::AnyConnection::connect(url).await.unwrap();
    let mut held = raw.begin().await.unwrap();
    sqlx::query("LOCK TABLE revisions IN ACCESS EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let before = looks(mirror);
    let mut asking = std::pin::pin!(join_all((0..ASKERS).map(|_| mirror.refresh())));
    tokio::select! {
        biased;
        _ = &mut asking => panic!("the table is not locked"),
        () = std::future::ready(()) => {}
    }
    sqlx::raw_sql(change).execute(&mut *held).await.unwrap();
    held.commit().await.unwrap();
    (asking.await, looks(mirror) - before)
}

#[tokio::test]
async fn those_who_ask_together_share_a_look_and_its_failure() {
    let Some(url) = servers::shared_database().await else { return };
    let store = Store::open(&at(url.clone()), Clock::manual(START)).await.unwrap();
    let mirror = Mirror::new(store.clone()).await.unwrap();
    let (answers, asked) = asked_together(&mirror, &url, "SELECT 1").await;
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    // The first one's, and one that began after all the others had asked.
    assert_eq!(asked, 2);

    let (answers, asked) = asked_together(&mirror, &url, "ALTER TABLE revisions RENAME TO hidden").await;
    assert!(answers.into_iter().all(|answer| answer.is_err_and(|error| error.fault() == Fault::Broken)));
    assert_eq!(asked, 2);
    // A failure is not remembered: whoever asks after it is told what is so then.
    let mut raw = sqlx::AnyConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("ALTER TABLE hidden RENAME TO revisions").execute(&mut raw).await.unwrap();
    mirror.refresh().await.unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sees_what_it_stored() {
    on_each(async |store, _| {
        let mirror = Mirror::new(store.clone()).await.unwrap();
        let write = |at: usize| {
            let (store, mirror) = (store.clone(), Arc::clone(&mirror));
            tokio::spawn(async move {
                for round in 0..5 {
                    let (service, keep) = (format!("s{at}"), format!("{round}%"));
                    let (version, _) = store.create_version(&new_version(&service, &keep), &actor()).await.unwrap();
                    store.activate(&service, version.number, "", &actor()).await.unwrap();
                    mirror.refresh().await.unwrap();
                    let view = mirror.view();
                    let seen = view.active.iter().find(|entry| entry.version.service == service).unwrap();
                    assert_eq!(seen.version.number, version.number, "{service}");
                }
            })
        };
        for writer in join_all((0..8).map(write)).await {
            writer.unwrap();
        }
    })
    .await;
}
