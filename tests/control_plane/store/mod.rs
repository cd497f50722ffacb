//! The store: one suite, run against SQLite and against a real PostgreSQL server.

mod anomalies;
mod catalogue;
mod levels;
mod migrations;
mod policies;
mod statistics;
mod tokens;

use std::future::Future;
use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::store::config::StoreConfig;
use lipservice::control_plane::store::{Actor, NewVersion, Store, VersionOrigin};
use lipservice::units::SecretUrl;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::servers;

/// 2026-01-01T00:00:00Z, on the bounds of all buckets.
pub const START: u64 = 1_767_225_600_000_000_000;

/// Settings for a URL.
pub fn at(url: impl Into<String>) -> StoreConfig {
    StoreConfig { url: Some(SecretUrl::new(url.into())), ..StoreConfig::default() }
}

/// A new database in a file.
pub fn sqlite_file() -> (StoreConfig, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (at(format!("sqlite:{}", directory.path().join("store.db").display())), directory)
}

/// Runs a test on each engine there is, with an empty store and a clock that stands at [`START`].
pub async fn on_each<F, Fut>(test: F)
where
    F: Fn(Store, Clock) -> Fut,
    Fut: Future<Output = ()>,
{
    let (file, _directory) = sqlite_file();
    let mut stores = vec![file, at("sqlite::memory:")];
    stores.extend(servers::shared_database().await.map(at));
    for config in stores {
        let clock = Clock::manual(START);
        let store = Store::open(&config, clock.clone()).await.unwrap();
        test(store.clone(), clock).await;
        store.close().await;
    }
}

pub fn actor() -> Actor {
    Actor { name: "ann".into(), request_id: "r-1".into() }
}

/// A document with one policy that keeps this.
pub fn document(keep: &str) -> Value {
    json!({ "policies": [{ "id": "p", "name": "P", "log": {
        "match": [{ "log_field": "body", "contains": "x" }], "keep": keep,
    } }] })
}

pub fn new_version(service: &str, keep: &str) -> NewVersion {
    NewVersion {
        service: service.into(),
        document: document(keep),
        policies: 1,
        origin: VersionOrigin::Human,
        reason: format!("keep {keep}"),
        expires_at: None,
        parent: None,
    }
}

pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}
