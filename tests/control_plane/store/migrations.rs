//! Schemas: from each released one to the newest, and never back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::store::config::StoreConfig;
use lipservice::control_plane::store::{AnomalyQuery, PatternQuery, SeriesQuery, Sort, Store, StoreError, Timestamp};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Connection as _};

use super::{at, document, sqlite_file};
use crate::support::servers;

fn folder(engine: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(engine)
}

/// Databases with nothing in them, and the folder of their migrations.
async fn empty() -> Vec<(StoreConfig, String, &'static str, Option<tempfile::TempDir>)> {
    sqlx::any::install_default_drivers();
    let (file, directory) = sqlite_file();
    let url = format!("{}?mode=rwc", file.url.as_ref().unwrap().expose());
    let mut all = vec![(file, url, "sqlite", Some(directory))];
    all.extend(servers::shared_database().await.map(|url| (at(url.clone()), url, "postgres", None)));
    all
}

/// What release 0.1 wrote, as that release wrote it.
const DATA_OF_SCHEMA_1: &[&str] = &[
    "INSERT INTO policy_versions VALUES ('shop', 1, '{\"policies\":[{\"id\":\"p\",\"name\":\"P\",\"log\":{\"match\":\
     [{\"log_field\":\"body\",\"contains\":\"x\"}],\"keep\":\"1%\"}}]}', 'd', 1, 'ann', 'human', 'r', NULL, 1, NULL)",
    "INSERT INTO active_versions VALUES ('shop', 1, 2, 'ann')",
    "INSERT INTO activations (service, number, action, actor, reason, at) VALUES ('shop', 1, 'activate', 'ann', '', 2)",
    "INSERT INTO tokens VALUES ('a1', 'ci', 'digest', 'read,write', 3, 'ann', NULL, NULL)",
    "INSERT INTO audit_log (at, actor, action, target, detail, request_id) VALUES (4, 'ann', 'a', 't', '{}', '')",
    "INSERT INTO patterns (service, severity, pattern, template, example, first_seen, last_seen) \
     VALUES ('shop', 'info', 'p', 't', 'e', 5, 6)",
    "INSERT INTO ingested_batches VALUES ('b', 1)",
    "INSERT INTO anomalies (id, at, service, severity, pattern, kind, detail) \
     VALUES ('a', 7, 'shop', '', 'p', 'spike', '{\"score\":3}')",
    "UPDATE revisions SET revision = 5 WHERE name = 'policies'",
    "INSERT INTO replicas (id, kind, version, policy_hash, last_seen) VALUES ('g', 'gateway', '0.1', 'h', 9)",
];

/// Its statistics: a bucket of each length, one that came late, and one of another pattern.
const STATISTICS_OF_SCHEMA_1: &[&str] = &[
    "INSERT INTO patterns (service, severity, pattern, template, example, first_seen, last_seen) \
     VALUES ('shop', 'info', 'q', 't', 'e', 5, 6)",
    "INSERT INTO pattern_stats VALUES (1, 3600, 0, 1, 1, 1, 1)",
    "INSERT INTO pattern_stats VALUES (1, 300, 6900, 2, 2, 2, 2)",
    "INSERT INTO pattern_stats VALUES (1, 10, 7200, 4, 5, 0, 0)",
    "INSERT INTO pattern_stats VALUES (1, 10, 1800, 100, 200, 6, 7)",
    "INSERT INTO pattern_stats VALUES (2, 10, 7210, 3, 3, 3, 3)",
];
/// And those of schema 2, where a count is in each length at once.
const STATISTICS_OF_SCHEMA_2: &[&str] = &[
    "INSERT INTO patterns (service, severity, pattern, template, example, first_seen, last_seen) \
     VALUES ('shop', 'info', 'q', 't', 'e', 5, 6)",
    "UPDATE stats_bounds SET start = 7200 WHERE resolution = 10",
    "UPDATE stats_bounds SET start = 3600 WHERE resolution = 300",
    "INSERT INTO counts_10s VALUES (1, 7200, 4, 5, 0, 0), (2, 7210, 3, 3, 3, 3)",
    "INSERT INTO counts_5m VALUES (1, 6900, 2, 2, 2, 2), (1, 7200, 4, 5, 0, 0), (2, 7200, 3, 3, 3, 3)",
    "INSERT INTO counts_1h VALUES (1, 0, 101, 201, 7, 8), (1, 3600, 2, 2, 2, 2), (1, 7200, 4, 5, 0, 0), \
     (2, 7200, 3, 3, 3, 3)",
    "INSERT INTO counts_1d VALUES (1, 0, 107, 208, 9, 10), (2, 0, 3, 3, 3, 3)",
    "INSERT INTO scope_counts VALUES ('global', 10, 7200, 4, 5, 0, 0), ('global', 10, 7210, 3, 3, 3, 3), \
     ('global', 300, 6900, 2, 2, 2, 2), ('global', 300, 7200, 7, 8, 3, 3), ('global', 3600, 0, 101, 201, 7, 8), \
     ('global', 3600, 3600, 2, 2, 2, 2), ('global', 3600, 7200, 7, 8, 3, 3), ('global', 86400, 0, 110, 211, 12, 13)",
    "INSERT INTO scope_counts SELECT 'service:shop', resolution, start, records, bytes, kept, kept_bytes FROM \
     scope_counts",
];

/// Statistics are carried over: each count once, in every length.
async fn statistics_are_there(store: &Store, what: &str) {
    let query = |from, to| PatternQuery {
        service: None,
        severity: None,
        id: None,
        from: Timestamp::of_secs(from),
        to: Timestamp::of_secs(to),
        sort: Sort::Bytes,
        after: None,
        limit: 10,
    };
    // Late counts stand in the hour they belong to, as short buckets are gone there.
    for (from, to, records) in
        [(0, 1 << 40, 110), (0, 3600, 101), (1, 3600, 0), (3600, 7200, 2), (7210, 7220, 3), (0, 7201, 107)]
    {
        let found = store.patterns(&query(from, to)).await.unwrap();
        assert_eq!(found.iter().map(|found| found.records).sum::<u64>(), records, "{what}: {from}..{to}");
        for service in [None, Some("shop".to_owned())] {
            let (from, to) = (Timestamp::of_secs(from), Timestamp::of_secs(to));
            let query = SeriesQuery { service, id: None, from, to, step: 3600, limit: 100 };
            let series = store.series(&query).await.unwrap();
            assert_eq!(series.iter().map(|bucket| bucket.records).sum::<u64>(), records, "{what}: {from}..{to}");
        }
    }
    let pattern = &store.patterns(&query(0, 1 << 40)).await.unwrap()[0];
    assert_eq!((pattern.records, pattern.bytes, pattern.kept, pattern.kept_bytes), (107, 208, 9, 10), "{what}");
    assert_eq!((pattern.pattern.as_str(), pattern.template.as_str()), ("p", "t"), "{what}");
}

#[tokio::test]
async fn every_released_schema_is_brought_up_to_date() {
    let names = std::fs::read_dir(folder("sqlite")).unwrap().map(|entry| entry.unwrap().file_name());
    let numbers = names.map(|name| name.to_str().unwrap()[..4].parse::<i64>().unwrap());
    for released in numbers {
        for (config, url, engine, _directory) in empty().await {
            let mut connection = AnyConnection::connect(&url).await.unwrap();
            let migrator = Migrator::new(folder(engine)).await.unwrap();
            migrator.run_to(released, &mut connection).await.unwrap();
            let statistics = if released < 2 { STATISTICS_OF_SCHEMA_1 } else { STATISTICS_OF_SCHEMA_2 };
            for sql in DATA_OF_SCHEMA_1.iter().chain(statistics) {
                sqlx::query(*sql).execute(&mut connection).await.unwrap();
            }
            connection.close().await.unwrap();
            // The second opening finds nothing to do.
            Store::open(&config, Clock::System).await.unwrap().close().await;
            let store = Store::open(&config, Clock::System).await.unwrap();
            let active = store.active().await.unwrap();
            assert_eq!((active.len(), &active[0].version.document), (1, &document("1%")), "{engine}");
            assert_eq!(store.tokens().await.unwrap()[0].name, "ci");
            assert_eq!(store.audit_log(None, 9).await.unwrap().len(), 1);
            assert_eq!(store.revisions().await.unwrap().policies, 5);
            let anomalies = store.anomalies(&AnomalyQuery { limit: 9, ..AnomalyQuery::default() }).await.unwrap();
            assert_eq!(
                (anomalies.len(), anomalies[0].kind.as_str(), anomalies[0].score),
                (1, "spike", 3.0),
                "{engine}"
            );
            let replicas = store.replicas(Duration::from_nanos(u64::MAX)).await.unwrap();
            assert_eq!((replicas.len(), replicas[0].report_seconds), (1, 0), "{engine}: it shares with nobody");
            assert!(store.sharers().await.unwrap().is_empty());
            assert_eq!(store.catalogue(i64::MIN, 9).await.unwrap().len(), 2, "{engine}: known before");
            statistics_are_there(&store, &format!("{engine} from {released}")).await;
            store.close().await;
        }
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_untouched() {
    for (config, url, engine, _directory) in empty().await {
        Store::open(&config, Clock::System).await.unwrap().close().await;
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     SELECT 9999, 'newer', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
        sqlx::query(newer).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let error = Store::open(&config, Clock::System).await.unwrap_err();
        assert!(matches!(error, StoreError::Newer { found: 9999, .. }), "{engine}: {error}");
    }
}

#[tokio::test]
async fn many_processes_may_start_at_once() {
    for (config, _, engine, _directory) in empty().await {
        let starting: Vec<_> = (0..6)
            .map(|_| {
                let config = config.clone();
                tokio::spawn(async move { Store::open(&config, Clock::System).await })
            })
            .collect();
        for task in starting {
            let store = task.await.unwrap().unwrap_or_else(|error| panic!("{engine}: {error}"));
            store.ping().await.unwrap();
            store.close().await;
        }
    }
}

#[test]
fn both_engines_have_the_same_steps() {
    let names = |engine| {
        let mut names: Vec<_> = std::fs::read_dir(folder(engine)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("sqlite"), names("postgres"));
}

#[tokio::test]
async fn urls_that_lead_nowhere() {
    for (url, part) in [
        ("mysql://h/d", "store.url must begin with sqlite: or postgres://"),
        ("sqlite:", "store.url must begin with"),
        ("sqlite:/nonexistent/folder/store.db", "cannot open the store sqlite:/nonexistent/folder/store.db"),
        ("postgres://u:hunter2@127.0.0.1:1/d", "cannot open the store postgres://u:***@127.0.0.1:1/d"),
    ] {
        let error = Store::open(&at(url), Clock::System).await.unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("hunter2"), "{url}: {error}");
    }
}
