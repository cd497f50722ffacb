//! Control planes on one store that hear of each other's changes through Redis, and what happens without it.

use std::sync::Arc;
use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::cache::Cache;
use lipservice::control_plane::cache::config::CacheConfig;
use lipservice::control_plane::mirror::Mirror;
use lipservice::control_plane::store::Store;
use lipservice::shutdown::Shutdown;
use lipservice::telemetry::{MetricSink, MetricSource as _};
use lipservice::units::SecretUrl;
use tokio::task::JoinHandle;

use super::store::{START, actor, new_version, sqlite_file};
use crate::gateway::PATIENCE;
use crate::support::servers::{self, Server};

const PASSWORD: &str = "hunter2";
/// Longer than any test: what is seen was heard, not asked for.
const NEVER: Duration = Duration::from_secs(86_400);

fn url(port: u16, password: &str) -> CacheConfig {
    CacheConfig { url: Some(SecretUrl::new(format!("redis://:{password}@127.0.0.1:{port}/0"))), ca_file: None }
}

async fn redis() -> Option<Server> {
    tokio::task::spawn_blocking(|| servers::redis(PASSWORD)).await.unwrap()
}

async fn with<T: Send + 'static>(server: Server, act: impl FnOnce(&mut Server) -> T + Send + 'static) -> Server {
    let acted = tokio::task::spawn_blocking(move || {
        let mut server = server;
        act(&mut server);
        server
    });
    acted.await.unwrap()
}

/// One of several control planes.
struct Plane {
    store: Store,
    cache: Arc<Cache>,
    mirror: Arc<Mirror>,
    stop: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

impl Plane {
    async fn start(store: Store, config: &CacheConfig) -> Plane {
        let cache = Cache::new(config).unwrap().unwrap();
        let stop = Shutdown::new();
        let connecting = tokio::spawn(Arc::clone(&cache).run(stop.clone()));
        let mirror = Mirror::with_cache(store.clone(), Some(Arc::clone(&cache))).await.unwrap();
        let following = tokio::spawn(Arc::clone(&mirror).follow_every(NEVER, stop.clone()));
        Plane { store, cache, mirror, stop, tasks: vec![connecting, following] }
    }

    /// Activates a new version, as an API does.
    async fn activate(&self, keep: &str) {
        let (version, _) = self.store.create_version(&new_version("shop", keep), &actor()).await.unwrap();
        self.store.activate("shop", version.number, "", &actor()).await.unwrap();
        self.mirror.refresh().await.unwrap();
        assert!(self.enforces(keep));
    }

    fn enforces(&self, keep: &str) -> bool {
        let view = self.mirror.view();
        view.active.first().is_some_and(|entry| entry.version.document["policies"][0]["log"]["keep"] == keep)
    }

    /// Waits until it has heard of a change.
    async fn sees(&self, keep: &str) {
        let mut changes = self.mirror.subscribe();
        let seen = async {
            while !self.enforces(keep) {
                changes.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{keep} was not heard of"));
    }

    async fn is_connected(&self, expected: bool) {
        let state = async {
            while self.cache.is_connected() != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, state).await.unwrap_or_else(|_| panic!("connected: not {expected}"));
    }

    fn metric(&self, name: &str) -> f64 {
        struct Find<'a>(&'a str, f64);
        impl MetricSink for Find<'_> {
            fn counter(&mut self, name: &'static str, _: &'static str, _: &[(&'static str, &str)], value: u64) {
                self.gauge(name, "", &[], value as f64);
            }
            fn gauge(&mut self, name: &'static str, _: &'static str, _: &[(&'static str, &str)], value: f64) {
                if name == self.0 {
                    self.1 = value;
                }
            }
        }
        let mut find = Find(name, f64::NAN);
        self.cache.collect(&mut find);
        find.1
    }

    async fn stop(self) {
        self.stop.trigger();
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

async fn store() -> (Store, tempfile::TempDir) {
    let (config, directory) = sqlite_file();
    (Store::open(&config, Clock::manual(START)).await.unwrap(), directory)
}

#[tokio::test]
async fn a_change_reaches_the_others_at_once_also_after_redis_died() {
    let Some(server) = redis().await else { return };
    let (store, _directory) = store().await;
    let config = url(server.port(), PASSWORD);
    let (one, two) = (Plane::start(store.clone(), &config).await, Plane::start(store.clone(), &config).await);
    for plane in [&one, &two] {
        plane.is_connected(true).await;
    }
    one.activate("1%").await;
    two.sees("1%").await;
    // The document came from Redis: the first left it there before it told the second.
    assert_eq!((two.metric("lipservice_cache_hits"), two.metric("lipservice_cache_errors")), (1.0, 0.0));
    two.activate("2%").await;
    one.sees("2%").await;

    let server = with(server, Server::crash).await;
    for plane in [&one, &two] {
        plane.is_connected(false).await;
    }
    // Without it everything goes on; the other one sees the change when it asks the store.
    one.activate("3%").await;
    assert!(!two.enforces("3%"));
    two.mirror.refresh().await.unwrap();
    assert!(two.enforces("3%"));
    one.activate("4%").await;

    let _server = with(server, Server::resume).await;
    // What was missed meanwhile is made up for when the connection stands again.
    two.sees("4%").await;
    for plane in [&one, &two] {
        plane.is_connected(true).await;
    }
    one.activate("5%").await;
    two.sees("5%").await;
    assert!(one.metric("lipservice_cache_errors") >= 1.0);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn what_redis_says_is_checked() {
    let Some(server) = redis().await else { return };
    let (store, _directory) = store().await;
    let config = url(server.port(), PASSWORD);
    let one = Plane::start(store.clone(), &config).await;
    one.is_connected(true).await;
    one.activate("1%").await;
    let digest = one.mirror.view().active[0].version.digest.clone();
    let client = redis::Client::open(config.url.as_ref().unwrap().expose()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // Someone else writes to Redis: another document, and news of what did not happen.
    let forged = super::store::document("none").to_string();
    let mut set = redis::cmd("SET");
    set.arg(format!("lipservice:document:{digest}")).arg(forged).query_async::<()>(&mut connection).await.unwrap();
    let two = Plane::start(store.clone(), &config).await;
    two.is_connected(true).await;
    assert!(two.enforces("1%"));
    assert_eq!(two.cache.documents(std::slice::from_ref(&digest)).await.len(), 0);
    assert_eq!(two.metric("lipservice_cache_errors"), 1.0);
    for news in ["99 99", "", "-1 x", "18446744073709551616 0"] {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("lipservice:changes").arg(news).query_async::<()>(&mut connection).await.unwrap();
    }
    two.activate("2%").await;
    one.sees("2%").await;
    let digest = two.mirror.view().active[0].version.digest.clone();
    let found = two.cache.documents(&[digest.clone(), "unknown".into()]).await;
    assert_eq!(found.keys().collect::<Vec<_>>(), [&digest]);
    assert!(two.metric("lipservice_cache_misses") >= 1.0);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_redis_that_cannot_be_used_breaks_nothing() {
    let Some(server) = redis().await else { return };
    let (store, _directory) = store().await;
    // A wrong password; nobody there; a server that takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for config in
        [url(server.port(), "wrong"), url(nobody, PASSWORD), url(silent.local_addr().unwrap().port(), PASSWORD)]
    {
        let plane = Plane::start(store.clone(), &config).await;
        for keep in ["1%", "2%"] {
            plane.activate(keep).await;
        }
        assert!(!plane.cache.is_connected());
        plane.stop().await;
    }
}

#[tokio::test]
async fn one_that_stops_answering_is_asked_once() {
    let Some(server) = redis().await else { return };
    let (store, _directory) = store().await;
    let plane = Plane::start(store, &url(server.port(), PASSWORD)).await;
    plane.is_connected(true).await;
    let client = redis::Client::open(format!("redis://:{PASSWORD}@127.0.0.1:{}/0", server.port())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    // Every client waits for the server for a minute; it is ended before.
    let mut pause = redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(60_000).arg("ALL").query_async::<()>(&mut connection).await.unwrap();
    plane.activate("1%").await;
    let errors = plane.metric("lipservice_cache_errors");
    assert!(errors >= 1.0 && !plane.cache.is_connected(), "{errors}");
    plane.activate("2%").await;
    plane.activate("3%").await;
    plane.stop().await;
}

#[test]
fn settings_that_cannot_work() {
    assert!(Cache::new(&CacheConfig::default()).unwrap().is_none());
    let tls =
        CacheConfig { url: Some(SecretUrl::new("rediss://:hunter2@localhost:1/0")), ca_file: Some("/none".into()) };
    let error = Cache::new(&tls).unwrap_err().to_string();
    assert!(error.contains("/none") && !error.contains("hunter2"), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "no certificate").unwrap();
    let tls = CacheConfig { ca_file: Some(file.path().display().to_string()), ..tls };
    let shown = format!("{tls:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    for wrong in ["http://h", "redis:", "localhost:6379", ""] {
        let text = format!("role: control_plane\napi: {{}}\ncache: {{url: '{wrong}'}}\n");
        let errors = lipservice::config::load_text(&text, "t", &|_| None).unwrap_err();
        assert!(errors.0.iter().any(|problem| problem.path == "cache.url"), "{wrong}: {errors}");
    }
}
