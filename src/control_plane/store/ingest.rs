//! Statistics from gateways and SDKs.
//!
//! Purpose: add counts of patterns to the buckets they belong to, of every length, and patterns to the catalogue.
//! Promises: a batch is added whole or not at all, and once: its id is written in the same transaction; rows of one
//! bucket add up; several batches can share a transaction.
//! Never: trusts sizes; texts are cut, counts bounded.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::levels::{Bounds, LEVELS, floor};
use super::sql::Sql;
use super::{BookAccount, Engine, Replica, Store, StoreError, Timestamp, Write, get, stored};

/// Rows of one batch at most.
pub const MAX_BATCH_ROWS: usize = 10_000;
/// Rows of one statement: seven values each stay far below both engines' limits of bound values.
const ROWS_PER_STATEMENT: usize = 500;
/// Ids of patterns remembered; beyond it all are forgotten and learned again.
const MAX_KNOWN: usize = 200_000;
/// Longest name of a service, severity or pattern, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// Longest template and example, in bytes.
const MAX_TEXT_BYTES: usize = 2048;
/// Largest count taken from one row.
const MAX_COUNT: u64 = 1 << 48;
/// Largest count of one bucket (4.5 PB): sums over two thousand buckets stay below what the engines can add.
const MAX_BUCKET: u64 = 1 << 52;
/// The sums of everything.
const GLOBAL_SCOPE: &str = "global";

/// The name that the sums of a service have.
pub(super) fn scope_of(service: Option<&str>) -> String {
    service.map_or_else(|| GLOBAL_SCOPE.to_owned(), |service| format!("service:{service}"))
}

/// Counts of patterns, told once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// An id that no other batch has, such as a UUID: a batch that is sent again counts once.
    #[schema(min_length = 1, max_length = 128)]
    pub id: String,
    /// The counts.
    #[schema(max_items = 10_000)]
    pub rows: Vec<StatsRow>,
    /// Bytes of bodies that the billed destination took since the report before, before compression; left out
    /// by those who send nothing themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_bytes: Option<u64>,
}

/// Counts of one pattern since the last report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StatsRow {
    /// `service.name`. As all texts here, it is cut when it is long.
    pub service: String,
    /// Severity band: `unset`, `trace`, `debug`, `info`, `warn`, `error` or `fatal`.
    pub severity: String,
    /// The pattern's id or signature; empty for records beyond the bound on patterns.
    pub pattern: String,
    /// The masked template.
    #[serde(default)]
    pub template: String,
    /// One text of the pattern.
    #[serde(default)]
    pub example: String,
    /// When: the bucket the counts are added to.
    pub at: Timestamp,
    /// Records seen. As all counts here, it is taken as 2^48 when it is larger.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records kept.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
}

/// What became of batches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ingested {
    /// Batches added.
    pub added: u64,
    /// Batches that had been added before, and were not again.
    pub repeated: u64,
    /// Rows added.
    pub rows: u64,
    /// How many gateways share rate limits, told to those that do (`replica.report_seconds`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateways: Option<u32>,
    /// Which of them the sender is, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<u32>,
    /// Of each batch, in order, whether it was added.
    #[serde(skip)]
    #[schema(ignore)]
    pub was_added: Vec<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    service: String,
    severity: String,
    pattern: String,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    records: u64,
    bytes: u64,
    kept: u64,
    kept_bytes: u64,
}

impl Sums {
    fn of(row: &StatsRow) -> Self {
        Sums {
            records: row.records.min(MAX_COUNT),
            bytes: row.bytes.min(MAX_COUNT),
            kept: row.kept.min(row.records).min(MAX_COUNT),
            kept_bytes: row.kept_bytes.min(row.bytes).min(MAX_COUNT),
        }
    }

    fn bind(&self, sql: &mut Sql) {
        sql.bind(stored(self.records)).next().bind(stored(self.bytes)).next();
        sql.bind(stored(self.kept)).next().bind(stored(self.kept_bytes));
    }

    fn add(&mut self, other: Sums) {
        let add = |to: &mut u64, more: u64| *to = (*to + more).min(MAX_BUCKET);
        add(&mut self.records, other.records);
        add(&mut self.bytes, other.bytes);
        add(&mut self.kept, other.kept);
        add(&mut self.kept_bytes, other.kept_bytes);
    }
}

struct Text {
    template: String,
    example: String,
    first: Timestamp,
    last: Timestamp,
}

/// Ids of patterns by key, with the time up to which `last_seen` is written.
#[derive(Debug, Default)]
pub(super) struct KnownPatterns(HashMap<Key, (i64, Timestamp)>);

impl KnownPatterns {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// How stale `last_seen` may be in the catalogue.
const LAST_SEEN_STEP: std::time::Duration = std::time::Duration::from_secs(60);

pub(super) fn cut(text: &str, max_bytes: usize) -> String {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    // PostgreSQL's text cannot hold the zero character.
    text[..end].replace('\0', "\u{fffd}")
}

impl Store {
    /// Adds batches, and signs of life of those who sent them, in one transaction.
    ///
    /// # Errors
    /// When the database does not answer; nothing was added then.
    pub async fn ingest(&self, batches: &[Batch], replicas: &[Replica]) -> Result<Ingested, StoreError> {
        let now = self.now();
        let mut ingested = Ingested::default();
        let mut sent = (0u64, 0u64);
        let mut patterns: BTreeMap<Key, Text> = BTreeMap::new();
        let mut sums: BTreeMap<(Key, i64), Sums> = BTreeMap::new();
        let mut write = self.write().await?;
        for batch in batches {
            let is_first = write.is_first(&batch.id, now).await?;
            ingested.was_added.push(is_first);
            if !is_first {
                ingested.repeated += 1;
                continue;
            }
            ingested.added += 1;
            if let Some(bytes) = batch.sent_bytes {
                sent.0 += bytes.min(MAX_COUNT);
                sent.1 += batch.rows.iter().map(|row| row.kept_bytes.min(MAX_COUNT)).sum::<u64>();
            }
            for row in &batch.rows {
                let key = Key {
                    service: cut(&row.service, MAX_NAME_BYTES),
                    severity: cut(&row.severity, MAX_NAME_BYTES),
                    pattern: cut(&row.pattern, MAX_NAME_BYTES),
                };
                // A clock that runs ahead must not write buckets that no retention reaches.
                let at = row.at.min(now);
                let start = floor(at.secs().max(0), LEVELS[0].seconds);
                note(&mut patterns, &key, row, at);
                sums.entry((key, start)).or_default().add(Sums::of(row));
            }
        }
        ingested.rows = sums.len() as u64;
        let ids = write.pattern_ids(&patterns, &self.known, self.engine).await?;
        if !sums.is_empty() {
            let bounds = Store::bounds(&mut write.tx).await?;
            write.add(&sums, &ids, &bounds).await?;
        }
        if sent != (0, 0) {
            write.book(self.today(), BookAccount::SentBytes, sent.0).await?;
            write.book(self.today(), BookAccount::RecordBytes, sent.1).await?;
        }
        for replica in replicas {
            write.note_replica(replica, now).await?;
        }
        write.commit().await?;
        let mut known = self.known.lock();
        if known.0.len() + ids.len() > MAX_KNOWN {
            known.clear();
        }
        for (key, id) in ids {
            let last = patterns.get(&key).map(|text| text.last).unwrap_or_default();
            let entry = known.0.entry(key).or_insert((id, last));
            if entry.1.after(LAST_SEEN_STEP) <= last {
                entry.1 = last;
            }
        }
        Ok(ingested)
    }
}

fn note(patterns: &mut BTreeMap<Key, Text>, key: &Key, row: &StatsRow, at: Timestamp) {
    match patterns.get_mut(key) {
        Some(text) => {
            text.first = text.first.min(at);
            text.last = text.last.max(at);
        }
        None => {
            let (template, example) = (cut(&row.template, MAX_TEXT_BYTES), cut(&row.example, MAX_TEXT_BYTES));
            patterns.insert(key.clone(), Text { template, example, first: at, last: at });
        }
    }
}

impl Write<'_> {
    /// Notes a batch's id; false when it is known.
    async fn is_first(&mut self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let sql = "INSERT INTO ingested_batches (id, received_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
        let done = sqlx::query(sql).bind(cut(id, MAX_NAME_BYTES)).bind(now.stored()).execute(&mut *self.tx).await?;
        Ok(done.rows_affected() > 0)
    }

    /// The ids of patterns; those that are new or were not seen for a while are written.
    async fn pattern_ids(
        &mut self,
        patterns: &BTreeMap<Key, Text>,
        known: &parking_lot::Mutex<KnownPatterns>,
        engine: Engine,
    ) -> Result<HashMap<Key, i64>, StoreError> {
        let mut ids = HashMap::with_capacity(patterns.len());
        let mut stale: Vec<(&Key, &Text)> = Vec::new();
        {
            let known = known.lock();
            for (key, text) in patterns {
                match known.0.get(key) {
                    Some((id, written)) if text.last < written.after(LAST_SEEN_STEP) => {
                        ids.insert(key.clone(), *id);
                    }
                    _ => stale.push((key, text)),
                }
            }
        }
        if !stale.is_empty() {
            self.take_turn(engine).await?;
        }
        for rows in stale.chunks(ROWS_PER_STATEMENT) {
            let mut sql = Sql::new(
                "INSERT INTO patterns (service, severity, pattern, template, example, first_seen, last_seen) ",
            );
            sql.values(rows, |sql, (key, text)| {
                sql.bind(key.service.clone()).next().bind(key.severity.clone()).next().bind(key.pattern.clone()).next();
                sql.bind(text.template.clone()).next().bind(text.example.clone()).next();
                sql.bind(text.first.stored()).next().bind(text.last.stored());
            });
            sql.push(
                " ON CONFLICT (service, severity, pattern) DO UPDATE SET \
                 last_seen = CASE WHEN excluded.last_seen > patterns.last_seen THEN excluded.last_seen \
                 ELSE patterns.last_seen END RETURNING id, service, severity, pattern",
            );
            for row in sql.build()?.persistent(false).fetch_all(&mut *self.tx).await? {
                let key = Key {
                    service: get(&row, "service")?,
                    severity: get(&row, "severity")?,
                    pattern: get(&row, "pattern")?,
                };
                ids.insert(key, get(&row, "id")?);
            }
        }
        Ok(ids)
    }

    /// Adds sums of the shortest buckets to those of every length.
    async fn add(
        &mut self,
        sums: &BTreeMap<(Key, i64), Sums>,
        ids: &HashMap<Key, i64>,
        bounds: &Bounds,
    ) -> Result<(), StoreError> {
        // Sorted: in one order everywhere, so that two transactions cannot wait for each other.
        let mut of_scopes: BTreeMap<(String, i64, i64), Sums> = BTreeMap::new();
        for (index, level) in LEVELS.iter().enumerate() {
            let mut of_patterns: BTreeMap<(i64, i64), Sums> = BTreeMap::new();
            for ((key, start), sums) in sums {
                let start = floor(*start, level.seconds);
                if let Some(id) = ids.get(key).filter(|_| bounds.has(index, start)) {
                    of_patterns.entry((*id, start)).or_default().add(*sums);
                    let scopes = [scope_of(None), scope_of(Some(&key.service))];
                    for scope in scopes.into_iter().filter(|_| level.has_scopes) {
                        of_scopes.entry((scope, level.seconds, start)).or_default().add(*sums);
                    }
                }
            }
            let rows: Vec<_> = of_patterns.into_iter().collect();
            for rows in rows.chunks(ROWS_PER_STATEMENT) {
                let mut sql = Sql::new("INSERT INTO ");
                sql.push(level.table).push(" AS t (pattern_id, start, records, bytes, kept, kept_bytes) ");
                sql.values(rows, |sql, ((id, start), sums)| {
                    sql.bind(*id).next().bind(*start).next();
                    sums.bind(sql);
                });
                sql.push(" ON CONFLICT (pattern_id, start)").push(ADD_ON_CONFLICT);
                sql.build()?.persistent(false).execute(&mut *self.tx).await?;
            }
        }
        let rows: Vec<_> = of_scopes.into_iter().collect();
        for rows in rows.chunks(ROWS_PER_STATEMENT) {
            let mut sql =
                Sql::new("INSERT INTO scope_counts AS t (scope, resolution, start, records, bytes, kept, kept_bytes) ");
            sql.values(rows, |sql, ((scope, resolution, start), sums)| {
                sql.bind(scope.clone()).next().bind(*resolution).next().bind(*start).next();
                sums.bind(sql);
            });
            sql.push(" ON CONFLICT (scope, resolution, start)").push(ADD_ON_CONFLICT);
            sql.build()?.persistent(false).execute(&mut *self.tx).await?;
        }
        Ok(())
    }
}

/// What an insert does with a bucket that is there: add, up to [`MAX_BUCKET`].
const ADD_ON_CONFLICT: &str = " DO UPDATE SET \
     records = CASE WHEN t.records + excluded.records > 4503599627370496 THEN 4503599627370496 \
     ELSE t.records + excluded.records END, \
     bytes = CASE WHEN t.bytes + excluded.bytes > 4503599627370496 THEN 4503599627370496 \
     ELSE t.bytes + excluded.bytes END, \
     kept = CASE WHEN t.kept + excluded.kept > 4503599627370496 THEN 4503599627370496 \
     ELSE t.kept + excluded.kept END, \
     kept_bytes = CASE WHEN t.kept_bytes + excluded.kept_bytes > 4503599627370496 THEN 4503599627370496 \
     ELSE t.kept_bytes + excluded.kept_bytes END";
