//! Schemas: from each released one to the newest, and never back.

use std::path::{Path, PathBuf};

use lipservice::clock::Clock;
use lipservice::control_plane::store::config::StoreConfig;
use lipservice::control_plane::store::{AnomalyQuery, PatternQuery, Sort, Store, StoreError, Timestamp};
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, Connection as _};

use super::{START, at, document, minutes, sqlite_file};
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
    "INSERT INTO pattern_stats VALUES (1, 10, 0, 7, 8, 9, 10)",
    "INSERT INTO ingested_batches VALUES ('b', 1)",
    "INSERT INTO anomalies (id, at, service, severity, pattern, kind, detail) \
     VALUES ('a', 7, 'shop', '', 'p', 'spike', '{\"score\":3}')",
    "UPDATE revisions SET revision = 5 WHERE name = 'policies'",
];

#[tokio::test]
async fn every_released_schema_is_brought_up_to_date() {
    let newest = std::fs::read_dir(folder("sqlite")).unwrap().count() as i64;
    for released in 1..=newest {
        for (config, url, engine, _directory) in empty().await {
            let mut connection = AnyConnection::connect(&url).await.unwrap();
            let migrator = Migrator::new(folder(engine)).await.unwrap();
            migrator.run_to(released, &mut connection).await.unwrap();
            for sql in DATA_OF_SCHEMA_1 {
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
            let query = PatternQuery {
                service: None,
                severity: None,
                id: None,
                from: Timestamp::default(),
                to: Timestamp::of(START).after(minutes(1)),
                sort: Sort::Bytes,
                after: None,
                limit: 10,
            };
            let pattern = &store.patterns(&query).await.unwrap()[0];
            assert_eq!((pattern.records, pattern.bytes, pattern.template.as_str()), (7, 8, "t"));
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
