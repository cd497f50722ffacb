//! The list of known patterns, and who shares rate limits.

use lipservice::clock::Clock;
use lipservice::control_plane::store::{Batch, Replica, StatsRow, Store, Timestamp};

use super::{at, minutes, on_each, sqlite_file};
use crate::support::servers;

fn batch(id: &str, patterns: impl Iterator<Item = String>, at: Timestamp) -> Batch {
    let row = |pattern| StatsRow {
        service: "shop".into(),
        severity: "info".into(),
        pattern,
        at,
        records: 1,
        ..StatsRow::default()
    };
    Batch { id: id.into(), rows: patterns.map(row).collect(), sent_bytes: None }
}

/// Patterns in the list from a number on.
async fn listed(store: &Store, from: i64, limit: u32) -> Vec<(i64, String)> {
    let found = store.catalogue(from, limit).await.unwrap();
    found.into_iter().map(|pattern| (pattern.id, pattern.pattern)).collect()
}

#[tokio::test]
async fn patterns_are_listed_in_the_order_of_their_first_reports() {
    on_each(|store, clock| async move {
        for (id, names) in [("1", ["b", "a"]), ("2", ["a", "c"]), ("3", ["b", "c"])] {
            let names = names.into_iter().map(str::to_owned);
            store.ingest(&[batch(id, names, store.now())], &[]).await.unwrap();
            // Long enough that what was seen again is written again.
            clock.advance(minutes(2));
        }
        let all = listed(&store, i64::MIN, 9).await;
        let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"], "of one report by name");
        assert!(all.is_sorted());
        assert_eq!(listed(&store, all[1].0, 1).await, all[1..2]);
        assert_eq!(listed(&store, all[2].0 + 1, 9).await, []);
    })
    .await;
}

/// Two control planes write new patterns at once; a reader that goes on behind what it has read last passes none by.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_reader_passes_no_pattern_by_while_two_write() {
    let (file, _directory) = sqlite_file();
    for config in [Some(file), servers::shared_database().await.map(at)].into_iter().flatten() {
        let open = || Store::open(&config, Clock::System);
        let (one, two, reader) = (open().await.unwrap(), open().await.unwrap(), open().await.unwrap());
        let write = |store: Store, name: &'static str| async move {
            for n in 0..40 {
                let names = (0..25).map(|pattern| format!("{name} {n} {pattern}"));
                store.ingest(&[batch(&format!("{name} {n}"), names, store.now())], &[]).await.unwrap();
            }
            store.close().await;
        };
        let writing = [tokio::spawn(write(one, "one")), tokio::spawn(write(two, "two"))];
        let (mut from, mut seen) = (i64::MIN, 0);
        loop {
            let is_over = writing.iter().all(|task| task.is_finished());
            let page = listed(&reader, from, 10_000).await;
            seen += page.len();
            from = page.last().map_or(from, |(id, _)| id + 1);
            if is_over {
                break;
            }
        }
        for task in writing {
            task.await.unwrap();
        }
        assert_eq!((seen, listed(&reader, i64::MIN, 10_000).await.len()), (2000, 2000));
        reader.close().await;
    }
}

#[tokio::test]
async fn those_share_who_say_so_and_report() {
    on_each(|store, clock| async move {
        let replica = |id: &str, report_seconds: u32| Replica {
            id: id.into(),
            kind: "gateway".into(),
            version: "0.1.0".into(),
            policy_hash: "h".into(),
            last_seen: Timestamp::default(),
            report_seconds,
        };
        let told = [replica("b", 10), replica("a", 60), replica("silent", 0), replica("c", u32::MAX)];
        store.ingest(&[], &told).await.unwrap();
        assert_eq!(store.sharers().await.unwrap(), ["a", "b", "c"]);
        let shown = store.replicas(minutes(5)).await.unwrap();
        assert_eq!(shown.iter().find(|replica| replica.id == "a").unwrap().report_seconds, 60);
        // Three reports, and the half minute within which a sign of life need not be written.
        clock.advance(minutes(1));
        assert_eq!(store.sharers().await.unwrap(), ["a", "b", "c"]);
        clock.advance(minutes(1));
        assert_eq!(store.sharers().await.unwrap(), ["a", "c"]);
        clock.advance(minutes(3));
        assert_eq!(store.sharers().await.unwrap(), ["c"], "an hour is believed");
        clock.advance(minutes(180));
        assert!(store.sharers().await.unwrap().is_empty());
        store.ingest(&[], &[replica("c", 10)]).await.unwrap();
        assert_eq!(store.sharers().await.unwrap(), ["c"]);
        store.ingest(&[], &[replica("c", 0)]).await.unwrap();
        assert!(store.sharers().await.unwrap().is_empty(), "ended");
    })
    .await;
}
