//! How long questions about statistics take with a million rows in the store: the table of `docs/benchmarks.md`.
//!
//! `cargo run --release --example store_load -- sqlite:a.db sqlite:b.db` or with the URLs of two empty PostgreSQL databases: one
//! for each shape of statistics. Times are those of the store's functions, which the API's endpoints call, one question
//! after another.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use lipservice::clock::Clock;
use lipservice::control_plane::store::config::{RetentionConfig, StoreConfig};
use lipservice::control_plane::store::{
    Batch, PatternQuery, Retention, SeriesQuery, Sort, StatsRow, Store, StoreError, Timestamp,
};
use lipservice::units::SecretUrl;

/// 2026-01-31T10:17:40Z: on no bound but that of 10 s.
const NOW_SECS: i64 = 1_769_854_660;
/// Rows that are to be stored, before sums are made of them.
const ROWS: i64 = 1_000_000;
/// Times each question is asked.
const TURNS: usize = 40;
const MINUTE: i64 = 60;
const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
const SERVICES: i64 = 20;

/// What is in the store.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    /// Ages from which and to which there is a bucket every so many seconds.
    ages: &'static [(i64, i64, i64)],
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "a month of steady patterns",
        ages: &[(30 * DAY, DAY, HOUR), (DAY, 15 * MINUTE, 5 * MINUTE), (15 * MINUTE, 0, 10)],
    },
    Shape { name: "a burst of patterns in a quarter of an hour", ages: &[(15 * MINUTE, 0, 10)] },
];

impl Shape {
    fn buckets(&self) -> impl Iterator<Item = i64> {
        self.ages.iter().flat_map(|(from, to, step)| {
            let start = |age: i64| (NOW_SECS - age).div_euclid(*step) * step;
            (start(*from) + step..=start(*to)).step_by(usize::try_from(*step).unwrap_or(1))
        })
    }

    fn patterns(&self) -> i64 {
        ROWS / i64::try_from(self.buckets().count().max(1)).unwrap_or(1)
    }
}

fn row(pattern: i64, start: i64) -> StatsRow {
    let records = u64::try_from((pattern * 7919 + start / 10 * 104_729).rem_euclid(1000)).unwrap_or(0) + 1;
    StatsRow {
        service: format!("service-{}", pattern % SERVICES),
        severity: ["info", "warn", "error"][usize::try_from(pattern % 3).unwrap_or(0)].into(),
        pattern: format!("{pattern:016x}"),
        template: format!("request <*> of tenant <*> took <*> ms at step {pattern} of the checkout, retrying <*>"),
        example: format!("request 81f2 of tenant 17 took 32 ms at step {pattern} of the checkout, retrying 3"),
        at: Timestamp::of_secs(start),
        records,
        bytes: records * 180,
        kept: records / 5,
        kept_bytes: records * 36,
    }
}

async fn fill(store: &Store, shape: Shape) -> Result<(), StoreError> {
    // The bounds of retention are where they are in a store that has run for long.
    store.roll_up(&Retention::from(&RetentionConfig::default())).await?;
    let (started, patterns) = (Instant::now(), shape.patterns());
    let (mut rows, mut batches, mut filled) = (Vec::new(), 0, 0);
    for start in shape.buckets() {
        for pattern in 0..patterns {
            rows.push(row(pattern, start));
            if rows.len() == 10_000 {
                filled += rows.len();
                batches += 1;
                store
                    .ingest(
                        &[Batch { id: format!("{batches}"), rows: std::mem::take(&mut rows), sent_bytes: None }],
                        &[],
                    )
                    .await?;
            }
        }
    }
    filled += rows.len();
    store.ingest(&[Batch { id: "last".into(), rows, sent_bytes: None }], &[]).await?;
    let seconds = started.elapsed().as_secs_f64();
    println!("\n{filled} rows of {patterns} patterns, {}: {:.0} rows/s in\n", shape.name, filled as f64 / seconds);
    Ok(())
}

/// A question, asked of the store.
#[derive(Clone)]
enum Question {
    Patterns(PatternQuery),
    Pattern(i64, Timestamp, Timestamp),
    Series(SeriesQuery),
    Services,
}

impl Question {
    async fn ask(&self, store: &Store) -> Result<usize, StoreError> {
        Ok(match self {
            Question::Patterns(query) => store.patterns(query).await?.len(),
            Question::Pattern(id, from, to) => usize::from(store.pattern(*id, *from, *to).await?.is_some()),
            Question::Series(query) => store.series(query).await?.len(),
            Question::Services => store.services(None, 51).await?.len(),
        })
    }
}

fn patterns(from: i64, to: i64, sort: Sort) -> PatternQuery {
    let (from, to) = (Timestamp::of_secs(from), Timestamp::of_secs(to));
    PatternQuery { service: None, severity: None, id: None, from, to, sort, after: None, limit: 51 }
}

fn series(from: i64, step: i64, service: Option<&str>, id: Option<i64>) -> SeriesQuery {
    let (from, to) = (Timestamp::of_secs(from), Timestamp::of_secs(NOW_SECS + 10));
    SeriesQuery { service: service.map(str::to_owned), id, from, to, step, limit: 1502 }
}

async fn questions(store: &Store) -> Result<Vec<(&'static str, Question)>, StoreError> {
    use Question::{Pattern, Patterns, Series, Services};
    let (to, hour) = (NOW_SECS + 10, NOW_SECS + 10 - HOUR);
    let first = patterns(hour, to, Sort::Bytes);
    let page = store.patterns(&first).await?;
    let after = page.last().map(|last| (Sort::Bytes.value(last), last.id));
    let id = page.first().map_or(0, |first| first.id);
    let of_service = |query: PatternQuery| PatternQuery { service: Some("service-7".into()), ..query };
    Ok(vec![
        ("patterns by bytes, last hour (no parameters)", Patterns(first.clone())),
        ("the page after it", Patterns(PatternQuery { after, ..first.clone() })),
        ("patterns by kept, last hour", Patterns(patterns(hour, to, Sort::Kept))),
        ("patterns by dropped, last hour", Patterns(patterns(hour, to, Sort::Dropped))),
        ("of one service", Patterns(of_service(first.clone()))),
        ("of one severity", Patterns(PatternQuery { severity: Some("error".into()), ..first })),
        ("patterns by records, last day", Patterns(patterns(to - DAY, to, Sort::Records))),
        ("patterns by bytes, 30 days", Patterns(patterns(to - 30 * DAY, to, Sort::Bytes))),
        ("patterns, 20 days, neither end whole", Patterns(patterns(to - 25 * DAY, to - 5 * DAY - 50, Sort::Bytes))),
        ("patterns, 14 minutes, neither end whole", Patterns(patterns(to - 860, to - 20, Sort::Bytes))),
        ("one pattern, 30 days", Pattern(id, Timestamp::of_secs(to - 30 * DAY), Timestamp::of_secs(to))),
        ("over time, last hour by 10 s", Series(series(hour, 10, None, None))),
        ("over time, 30 days", Series(series(to - 30 * DAY, 1730, None, None))),
        ("over time, one service, 30 days", Series(series(to - 30 * DAY, HOUR, Some("service-7"), None))),
        ("over time, one pattern, 30 days", Series(series(to - 30 * DAY, HOUR, None, Some(id)))),
        ("services", Services),
    ])
}

async fn measure(store: &Store) -> Result<(), StoreError> {
    println!("| question | rows | p50 ms | p99 ms |\n|---|--:|--:|--:|");
    for (name, question) in questions(store).await? {
        let mut times = Vec::with_capacity(TURNS);
        let mut rows = 0;
        for _ in 0..TURNS {
            let started = Instant::now();
            rows = question.ask(store).await?;
            times.push(started.elapsed());
        }
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("| {name} | {rows} | {:.1} | {:.1} |", ms(times[TURNS / 2]), ms(times[TURNS * 99 / 100]));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    anyhow::ensure!(urls.len() == SHAPES.len(), "two URLs of empty databases, one for each shape");
    for (shape, url) in SHAPES.into_iter().zip(urls) {
        let config = StoreConfig { url: Some(SecretUrl::new(url)), ..StoreConfig::default() };
        let clock = Clock::manual(u64::try_from(NOW_SECS)? * 1_000_000_000);
        let store = Store::open(&config, clock).await.context("an empty database")?;
        fill(&store, shape).await?;
        measure(&store).await?;
        store.close().await;
    }
    Ok(())
}
