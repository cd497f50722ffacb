//! Answers against the counts they are made of, whatever came late, twice, or was rolled up in between.

use std::collections::BTreeMap;
use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::store::{
    Batch, PatternQuery, PatternStats, Retention, SeriesQuery, Sort, StatsRow, Store, Timestamp,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::{minutes, on_each};

const RETENTION: Retention = Retention {
    fine: minutes(15),
    medium: minutes(24 * 60),
    coarse: minutes(5 * 24 * 60),
    batches: minutes(60 * 24),
    audit: minutes(60),
};

type Counts = [u64; 4];

/// What was told, and where buckets begin of each length.
#[derive(Default)]
struct Told {
    rows: Vec<(String, String, i64, Counts)>,
    first: [i64; 3],
}

impl Told {
    fn note(&mut self, row: &StatsRow, now: Timestamp) {
        let at = row.at.min(now).secs().div_euclid(10) * 10;
        let counts = [row.records, row.bytes, row.kept, row.kept_bytes];
        self.rows.push((row.service.clone(), row.pattern.clone(), at, counts));
    }

    fn roll_up(&mut self, now: Timestamp) {
        let cut = |age, unit| now.before(age).secs().div_euclid(unit) * unit;
        let hours = cut(RETENTION.coarse, 3600).max(self.first[2]);
        let medium = cut(RETENTION.medium, 3600).max(self.first[1]).max(hours);
        self.first = [cut(RETENTION.fine, 300).max(self.first[0]).max(medium), medium, hours];
    }

    /// The start of the bucket that has this time, if it is not forgotten.
    fn start(&self, at: i64) -> Option<i64> {
        let level = (0..3).find(|level| at >= self.first[*level])?;
        let seconds = [10, 300, 3600][level];
        Some(at.div_euclid(seconds) * seconds)
    }

    /// Sums over a span by what `key` says of service, pattern and start.
    fn sums<K: Ord>(&self, from: i64, to: i64, key: impl Fn(&str, &str, i64) -> Option<K>) -> BTreeMap<K, Counts> {
        let mut sums = BTreeMap::new();
        for (service, pattern, at, counts) in &self.rows {
            let start = self.start(*at).filter(|start| (from..to).contains(start));
            if let Some(key) = start.and_then(|start| key(service, pattern, start)) {
                let sum: &mut Counts = sums.entry(key).or_default();
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        sums
    }
}

fn row(random: &mut SmallRng, now: Timestamp) -> StatsRow {
    let late = [20, 1200, 2 * 86_400, 9 * 86_400][random.random_range(0..4)];
    let (records, bytes) = (random.random_range(1..1000u64), random.random_range(1..100_000u64));
    StatsRow {
        service: ["a", "b", "global"][random.random_range(0..3)].into(),
        severity: "info".into(),
        pattern: format!("p{}", random.random_range(0..5)),
        at: now.before(Duration::from_secs(random.random_range(0..late))),
        records,
        bytes,
        kept: random.random_range(0..=records),
        kept_bytes: random.random_range(0..=bytes),
        ..StatsRow::default()
    }
}

fn counts(found: &PatternStats) -> Counts {
    assert_eq!((found.records - found.kept, found.bytes - found.kept_bytes), (found.dropped, found.dropped_bytes));
    [found.records, found.bytes, found.kept, found.kept_bytes]
}

async fn patterns_are_exact(store: &Store, told: &Told, (from, to): (i64, i64), service: Option<&str>) {
    let (since, until) = (Timestamp::of_secs(from), Timestamp::of_secs(to));
    let own = service.map(str::to_owned);
    let query = PatternQuery {
        service: own,
        severity: None,
        id: None,
        from: since,
        to: until,
        sort: Sort::Dropped,
        after: None,
        limit: 100,
    };
    let found = store.patterns(&query).await.unwrap();
    let key = |s: &str, p: &str, _: i64| service.is_none_or(|only| only == s).then(|| (s.to_owned(), p.to_owned()));
    let expected = told.sums(from, to, key);
    assert!(found.is_sorted_by_key(|found| (std::cmp::Reverse(found.dropped), found.id)), "{from}..{to}");
    let by_key = found.iter().map(|found| ((found.service.clone(), found.pattern.clone()), counts(found)));
    assert_eq!(by_key.collect::<BTreeMap<_, _>>(), expected, "{from}..{to} of {service:?}");
    for one in found.iter().take(2) {
        let alone = store.pattern(one.id, since, until).await.unwrap().unwrap();
        assert_eq!(&alone, one, "{from}..{to}");
        let buckets = series(store, (from, to), 600, service, Some(one.id)).await;
        let sum = buckets.values().fold([0; 4], |sum: Counts, b| std::array::from_fn(|i| sum[i] + b[i]));
        assert_eq!(sum, counts(one), "{from}..{to}");
    }
}

async fn series(
    store: &Store,
    (from, to): (i64, i64),
    step: i64,
    service: Option<&str>,
    id: Option<i64>,
) -> BTreeMap<i64, Counts> {
    let (from, to) = (Timestamp::of_secs(from), Timestamp::of_secs(to));
    let query = SeriesQuery { service: service.map(str::to_owned), id, from, to, step, limit: 1 << 20 };
    let buckets = store.series(&query).await.unwrap();
    buckets.iter().map(|b| (b.start.secs(), [b.records, b.bytes, b.kept, b.kept_bytes])).collect()
}

async fn answers_are_exact(store: &Store, told: &Told, random: &mut SmallRng) {
    let now = store.now().secs();
    for reach in [900, 3600, 30 * 3600, 10 * 86_400] {
        let from = now - random.random_range(0..reach);
        let to = if random.random() { now + 10 } else { from + 1 + random.random_range(0..reach) };
        let service = [None, Some("a"), Some("global")][random.random_range(0..3)];
        patterns_are_exact(store, told, (from, to), service).await;
        let step = [10, 70, 300, 3600, 7200][random.random_range(0..5)];
        let key =
            |s: &str, _: &str, start: i64| service.is_none_or(|only| only == s).then(|| start.div_euclid(step) * step);
        let expected = told.sums(from, to, key);
        assert_eq!(series(store, (from, to), step, service, None).await, expected, "{from}..{to} by {step}");
    }
}

async fn tell_and_ask(store: Store, clock: Clock, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let (mut told, mut last) = (Told::default(), None::<Batch>);
    for turn in 0..40 {
        let rows = (0..random.random_range(1..30)).map(|_| row(&mut random, store.now())).collect();
        let batch = Batch { id: format!("{seed}-{turn}"), rows };
        batch.rows.iter().for_each(|row| told.note(row, store.now()));
        // A batch is sent again, also together with the next one.
        let again = last.replace(batch.clone()).filter(|_| random.random());
        let done = store.ingest(&[again.clone(), Some(batch)].into_iter().flatten().collect::<Vec<_>>(), &[]).await;
        assert_eq!(done.unwrap().repeated, u64::from(again.is_some()));
        clock.advance(Duration::from_secs([7, 300, 4000, 30_000][random.random_range(0..4)]));
        if random.random() {
            store.roll_up(&RETENTION).await.unwrap();
            told.roll_up(store.now());
        }
        if turn % 4 == 3 {
            answers_are_exact(&store, &told, &mut random).await;
        }
    }
}

#[tokio::test]
async fn sums_of_what_was_told_are_the_answers() {
    for seed in 1..4 {
        on_each(move |store, clock| tell_and_ask(store, clock, seed)).await;
    }
}

#[tokio::test]
async fn counts_beyond_all_measure_stop_at_a_bound() {
    on_each(|store, _| async move {
        let row = StatsRow { records: u64::MAX, bytes: u64::MAX, at: store.now(), ..StatsRow::default() };
        for n in 0..40 {
            let batch = Batch { id: n.to_string(), rows: vec![row.clone(); 4] };
            store.ingest(&[batch], &[]).await.unwrap();
        }
        let now = store.now().secs();
        let buckets = series(&store, (now - 10, now + 10), 10, None, None).await;
        assert_eq!(buckets[&now], [1 << 52, 1 << 52, 0, 0]);
    })
    .await;
}
