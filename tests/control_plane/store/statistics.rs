//! Ingest, queries, roll-up, retention.

use std::time::Duration;

use lipservice::control_plane::store::config::RetentionConfig;
use lipservice::control_plane::store::{
    Batch, PatternQuery, PatternStats, Retention, SeriesQuery, Sort, StatsRow, Store, Timestamp,
};

use super::{START, minutes, on_each};

fn row(service: &str, pattern: &str, at: Timestamp, records: u64, kept: u64) -> StatsRow {
    StatsRow {
        service: service.into(),
        severity: "info".into(),
        pattern: pattern.into(),
        template: format!("template of {pattern}"),
        example: format!("example of {pattern}"),
        at,
        records,
        bytes: records.saturating_mul(100),
        kept,
        kept_bytes: kept.saturating_mul(100),
    }
}

fn batch(id: &str, rows: Vec<StatsRow>) -> Batch {
    Batch { id: id.into(), rows, sent_bytes: None }
}

fn whole(sort: Sort) -> PatternQuery {
    let (from, to) = (Timestamp::default(), Timestamp::of(START).after(minutes(1 << 20)));
    PatternQuery { service: None, severity: None, id: None, from, to, sort, after: None, limit: 100 }
}

async fn totals(store: &Store) -> (u64, u64, u64) {
    let found = store.patterns(&whole(Sort::Bytes)).await.unwrap();
    let sum = |value: fn(&PatternStats) -> u64| found.iter().map(value).sum();
    (sum(|p| p.records), sum(|p| p.bytes), sum(|p| p.kept))
}

#[tokio::test]
async fn a_batch_counts_once() {
    on_each(|store, _| async move {
        let now = store.now();
        // Two rows of one bucket add up; a count kept beyond those seen is no count.
        let rows = vec![row("a", "p", now, 5, 2), row("a", "p", now, 1, 9), row("b", "p", now, 7, 7)];
        let one = batch("1", rows);
        let done = store.ingest(std::slice::from_ref(&one), &[]).await.unwrap();
        assert_eq!((done.added, done.repeated, done.rows), (1, 0, 2));
        let done = store.ingest(&[one.clone(), batch("2", vec![row("a", "p", now, 10, 0)]), one], &[]).await.unwrap();
        assert_eq!((done.added, done.repeated, done.rows), (1, 2, 1));
        assert_eq!(totals(&store).await, (23, 2300, 10));
        assert_eq!(store.services(None, 10).await.unwrap(), ["a", "b"]);
        assert_eq!(store.services(Some("a"), 10).await.unwrap(), ["b"]);
    })
    .await;
}

#[tokio::test]
async fn batches_at_once_add_up() {
    on_each(|store, _| async move {
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let store = store.clone();
                tokio::spawn(async move {
                    for n in 0..5 {
                        let now = store.now();
                        let mut rows: Vec<_> = (0..20).map(|p| row("a", &format!("p{p}"), now, 1, 1)).collect();
                        if task % 2 == 0 {
                            rows.reverse();
                        }
                        // Half of the ids are used by two tasks.
                        let id = format!("{}-{n}", if n < 2 { task / 2 } else { task + 10 });
                        store.ingest(&[batch(&id, rows)], &[]).await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(totals(&store).await.0, (4 * 2 + 8 * 3) * 20);
    })
    .await;
}

#[tokio::test]
async fn patterns_by_volume_page_by_page() {
    on_each(|store, _| async move {
        let now = store.now();
        let rows = [(30, 1), (10, 10), (20, 5), (20, 20), (5, 0)];
        let rows = rows.iter().enumerate().map(|(n, (seen, kept))| row("a", &format!("p{n}"), now, *seen, *kept));
        store.ingest(&[batch("1", rows.collect())], &[]).await.unwrap();
        for (sort, expected) in [
            (Sort::Bytes, ["p0", "p2", "p3", "p1", "p4"]),
            (Sort::Records, ["p0", "p2", "p3", "p1", "p4"]),
            (Sort::Kept, ["p3", "p1", "p2", "p0", "p4"]),
            (Sort::Dropped, ["p0", "p2", "p4", "p1", "p3"]),
        ] {
            let mut query = PatternQuery { limit: 2, ..whole(sort) };
            let mut found = Vec::new();
            loop {
                let page = store.patterns(&query).await.unwrap();
                let Some(last) = page.last() else { break };
                query.after = Some((sort.value(last), last.id));
                found.extend(page);
            }
            let mut names: Vec<_> = found.iter().map(|found| found.pattern.as_str()).collect();
            // Equal ones come in the order of their first sight, which within a batch is that of their names.
            names.dedup();
            assert_eq!(names, expected, "{sort:?}");
        }
        let first = &store.patterns(&PatternQuery { to: now.after(minutes(1)), from: now, ..whole(Sort::Bytes) }).await;
        let first = &first.as_ref().unwrap()[0];
        assert_eq!((first.template.as_str(), first.example.as_str()), ("template of p0", "example of p0"));
        assert_eq!((first.records, first.dropped, first.records_per_second), (30, 29, 0.5));
    })
    .await;
}

#[tokio::test]
async fn questions_are_narrowed() {
    on_each(|store, clock| async move {
        let first = store.now();
        store.ingest(&[batch("1", vec![row("a", "p", first, 1, 0), row("b", "p", first, 2, 0)])], &[]).await.unwrap();
        clock.advance(minutes(10));
        let mut error = row("b", "q", store.now(), 4, 0);
        error.severity = "error".into();
        store.ingest(&[batch("2", vec![error, row("b", "p", store.now(), 8, 0)])], &[]).await.unwrap();
        let all = whole(Sort::Bytes);
        let id = store.patterns(&all).await.unwrap()[0].id;
        let later = Timestamp::of(START).after(minutes(5));
        for (name, query, records) in [
            ("all", all.clone(), 15),
            ("service", PatternQuery { service: Some("a".into()), ..all.clone() }, 1),
            ("severity", PatternQuery { severity: Some("error".into()), ..all.clone() }, 4),
            ("id", PatternQuery { id: Some(id), ..all.clone() }, 10),
            ("from", PatternQuery { from: later, ..all.clone() }, 12),
            ("to", PatternQuery { to: later, ..all.clone() }, 3),
            ("nobody", PatternQuery { service: Some("c".into()), ..all }, 0),
        ] {
            let found = store.patterns(&query).await.unwrap();
            assert_eq!(found.iter().map(|found| found.records).sum::<u64>(), records, "{name}");
        }
        let series = |id, step| SeriesQuery {
            service: None,
            id,
            from: Timestamp::of(START),
            to: Timestamp::of(START).after(minutes(60)),
            step,
            limit: 100,
        };
        let buckets = store.series(&series(None, 60)).await.unwrap();
        let buckets: Vec<_> = buckets.iter().map(|bucket| (bucket.start, bucket.records)).collect();
        assert_eq!(buckets, [(first, 3), (first.after(minutes(10)), 12)]);
        let buckets = store.series(&series(Some(id), 3600)).await.unwrap();
        assert_eq!((buckets.len(), buckets[0].records, buckets[0].bytes), (1, 10, 1000));
    })
    .await;
}

#[tokio::test]
async fn roll_up_keeps_every_count() {
    on_each(|store, clock| async move {
        let retention = Retention::from(&RetentionConfig::default());
        // Three hours of windows, so that there is something of each age.
        for n in 0..180u64 {
            let rows = vec![row("a", "p", store.now(), n + 1, n), row("a", &format!("q{}", n % 3), store.now(), 1, 1)];
            store.ingest(&[batch(&n.to_string(), rows)], &[]).await.unwrap();
            clock.advance(minutes(1));
            if n % 50 == 49 {
                store.roll_up(&retention).await.unwrap();
            }
        }
        let expected = totals(&store).await;
        assert_eq!(expected.0, 180 * 181 / 2 + 180);
        let short = Retention { medium: minutes(90), ..retention };
        for (name, retention) in [("fine", retention), ("medium", short)] {
            let done = store.roll_up(&retention).await.unwrap();
            assert!(done.rolled > 0 && done.forgotten == 0, "{name}: {done:?}");
            assert_eq!(totals(&store).await, expected, "{name}");
            assert_eq!(store.roll_up(&retention).await.unwrap().rolled, 0, "{name}: twice");
        }
        // A late row for an hour that was rolled up is added to it.
        store.ingest(&[batch("late", vec![row("a", "p", Timestamp::of(START), 1000, 0)])], &[]).await.unwrap();
        store.roll_up(&short).await.unwrap();
        assert_eq!(totals(&store).await.0, expected.0 + 1000);
    })
    .await;
}

#[tokio::test]
async fn what_is_old_is_forgotten() {
    on_each(|store, clock| async move {
        let retention = Retention {
            fine: minutes(10),
            medium: minutes(60),
            coarse: minutes(240),
            batches: minutes(30),
            audit: minutes(60),
        };
        let (old, now) = (store.now(), |store: &Store| store.now());
        store.ingest(&[batch("1", vec![row("a", "p", old, 1, 0), row("a", "gone", old, 1, 0)])], &[]).await.unwrap();
        clock.advance(minutes(120));
        store.roll_up(&retention).await.unwrap();
        // The id of the first batch is forgotten by now, so the batch counts again.
        store.ingest(&[batch("1", vec![row("a", "p", now(&store), 2, 0)])], &[]).await.unwrap();
        assert_eq!(totals(&store).await.0, 4);
        clock.advance(minutes(200));
        let done = store.roll_up(&retention).await.unwrap();
        assert_eq!((done.forgotten, done.patterns), (2, 1));
        let left = store.patterns(&whole(Sort::Bytes)).await.unwrap();
        assert_eq!((left.len(), left[0].records), (1, 2));
        // A pattern that was forgotten can come again.
        store.ingest(&[batch("3", vec![row("a", "gone", now(&store), 5, 0)])], &[]).await.unwrap();
        assert_eq!(totals(&store).await.0, 7);
    })
    .await;
}

#[tokio::test]
async fn clocks_that_jump_lose_nothing() {
    on_each(|store, clock| async move {
        let ahead = store.now().after(Duration::from_secs(86_400));
        // A gateway whose clock is a day ahead counts into the present, not into a bucket no retention reaches.
        store.ingest(&[batch("1", vec![row("a", "p", ahead, 3, 0)])], &[]).await.unwrap();
        let query = PatternQuery { to: store.now().after(minutes(1)), ..whole(Sort::Bytes) };
        assert_eq!(store.patterns(&query).await.unwrap()[0].records, 3);
        // One that lives in 1970 is counted as long as retention lets it.
        store.ingest(&[batch("2", vec![row("a", "p", Timestamp::default(), 4, 0)])], &[]).await.unwrap();
        assert_eq!(totals(&store).await.0, 7);
        clock.advance(minutes(1));
        store.roll_up(&Retention::from(&RetentionConfig::default())).await.unwrap();
        assert_eq!(totals(&store).await.0, 3);
    })
    .await;
}

#[tokio::test]
async fn hostile_texts_are_bounded() {
    on_each(|store, _| async move {
        let mut hostile = row(&"s".repeat(1000), "nul\0 \u{1b}[2J", store.now(), u64::MAX, u64::MAX);
        hostile.bytes = u64::MAX;
        hostile.template = "é".repeat(5000);
        store.ingest(&[batch(&"i".repeat(5000), vec![hostile; 3])], &[]).await.unwrap();
        let found = &store.patterns(&whole(Sort::Bytes)).await.unwrap()[0];
        assert_eq!((found.service.len(), found.template.len()), (256, 2048));
        assert_eq!(found.records, 3 << 48);
    })
    .await;
}
