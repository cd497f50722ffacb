//! What logs cost, and what could cost less.
//!
//! Purpose: `GET /v1/costs` and `GET /v1/recommendations`, from stored statistics and the prices of the configuration.
//! Promises: the store is read by one question at a time and at most every [`FRESH`]; what is not among the largest services
//! and patterns is in the sums under `other`; savings are never made larger than what was measured.
//! Never: changes anything.
//!
//! Statistics hold bytes of records. What destinations took on top (blocks, annotations, summaries) is known for everything
//! together, and is spread over parts by their bytes. What would have been sent without sampling is counted without it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::CanRead;
use super::extract::Params;
use super::problem::Failure;
use crate::control_plane::insights::calendar::DAY_SECONDS;
use crate::control_plane::insights::cost::{self, Costs, DayBytes, Part, Usage};
use crate::control_plane::insights::recommend::{Protection, Recommendation, Scene, recommend};
use crate::control_plane::store::{
    BookAccount, Bucket, PatternQuery, PatternStats, SeriesQuery, Sort, Store, StoreError, Timestamp,
};
use crate::data_plane::pipeline::explain::explain;
use crate::data_plane::policy::CompiledPolicy;
use crate::data_plane::view::json as otlp;
use crate::data_plane::window::Sight;

/// How old an answer may be.
pub const FRESH: Duration = Duration::from_secs(10);
/// Days of history that are read: a month and the five weeks of a trend before it.
const HISTORY_DAYS: i64 = 70;
/// The span that parts are about.
const SPAN: Duration = Duration::from_secs(7 * 86_400);
/// Patterns read.
const MAX_PATTERNS: u32 = 10_000;
/// Services with an account of their own.
const MAX_SERVICES: usize = 50;
/// Examples that protections are held against.
const MAX_EXAMPLES: usize = 2_000;
/// Patterns and proposals in an answer at most.
const MAX_SHOWN: usize = 1_000;

/// What was read, and when.
pub struct Read {
    at: Timestamp,
    usage: Usage,
    patterns: Vec<PatternStats>,
}

/// The last reading.
pub type Cache = tokio::sync::Mutex<Option<Arc<Read>>>;

/// How many patterns.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CostParams {
    /// Patterns at most, the most expensive first; 50 when left out, never more than 1000.
    #[serde(default)]
    top: Option<usize>,
}

/// How many proposals.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct RecommendParams {
    /// Proposals at most, those that save most first; 20 when left out, never more than 1000.
    #[serde(default)]
    limit: Option<usize>,
}

/// Proposals.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recommendations {
    /// Sign of amounts.
    currency: String,
    /// The proposals.
    items: Vec<Recommendation>,
}

/// What logs cost: today, this month, at its end, and by service, severity and pattern.
#[utoipa::path(get, path = "/v1/costs", tag = "costs", params(CostParams), responses((status = 200, body = Costs)))]
pub async fn costs(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Params(params): Params<CostParams>,
) -> Result<Json<Costs>, Failure> {
    let read = api.usage().await?;
    let top = params.top.unwrap_or(50).min(MAX_SHOWN);
    Ok(Json(cost::costs(&read.usage, &api.config.prices, read.at.nanos(), top)))
}

/// What could be sent less, with what that saves and risks, and a policy that does it.
#[utoipa::path(get, path = "/v1/recommendations", tag = "costs", params(RecommendParams),
    responses((status = 200, body = Recommendations)))]
pub async fn recommendations(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Params(params): Params<RecommendParams>,
) -> Result<Json<Recommendations>, Failure> {
    let read = api.usage().await?;
    let limit = params.limit.unwrap_or(20).min(MAX_SHOWN);
    let working = Arc::clone(&api);
    let work = move || {
        let protections = working.protections(&read.patterns);
        let scene = Scene {
            parts: &read.usage.parts,
            seconds: read.usage.parts_seconds,
            summary_seconds: working.sampler.summary.interval.0.as_secs_f64(),
            protections: &protections,
            prices: &working.config.prices,
        };
        recommend(&scene, limit)
    };
    let items = tokio::task::spawn_blocking(work).await.map_err(|_| Failure::broken("proposing failed"))?;
    Ok(Json(Recommendations { currency: api.config.prices.currency.clone(), items }))
}

impl Api {
    async fn usage(&self) -> Result<Arc<Read>, StoreError> {
        let mut cache = self.costs.lock().await;
        let now = self.store.now();
        if let Some(read) = cache.as_ref().filter(|read| read.at <= now && now < read.at.after(FRESH)) {
            return Ok(Arc::clone(read));
        }
        let read = Arc::new(read(&self.store, now).await?);
        *cache = Some(Arc::clone(&read));
        Ok(read)
    }

    /// Policies that protect, held against the examples of patterns.
    fn protections(&self, patterns: &[PatternStats]) -> Vec<Protection> {
        let (documents, learned) = self.documents();
        let now = self.store.now().nanos();
        let policy = CompiledPolicy::compile_with(&documents, &learned, now, None);
        let protects = |index: u16| policy.policy(index).protect;
        let mut matched: BTreeMap<u16, u64> =
            (0..policy.len() as u16).filter(|index| protects(*index)).map(|index| (index, 0)).collect();
        if matched.is_empty() {
            return Vec::new();
        }
        let mut looked_at = 0;
        let sight = Sight { seen: u64::MAX, kept_in_window: u64::MAX, is_known: true };
        for pattern in patterns.iter().filter(|pattern| !pattern.example.is_empty()).take(MAX_EXAMPLES) {
            let Ok(request) = otlp::decode(example(pattern).to_string().as_bytes()) else { continue };
            let rules = (&self.sampling.0, self.sampling.1);
            let Ok(Some(explained)) = explain(&policy, rules, &request, sight, now, 0) else { continue };
            looked_at += 1;
            for index in explained.matched {
                matched.entry(index).and_modify(|count| *count += 1);
            }
        }
        let protection = |(index, matched)| Protection { id: policy.policy(index).id.to_string(), matched, looked_at };
        matched.into_iter().map(protection).collect()
    }
}

/// A pattern's example as a request.
fn example(pattern: &PatternStats) -> serde_json::Value {
    let number = match pattern.severity.as_str() {
        "trace" => 1,
        "debug" => 5,
        "info" => 9,
        "warn" => 13,
        "error" => 17,
        "fatal" => 21,
        _ => 0,
    };
    let service = json!({ "key": "service.name", "value": { "stringValue": pattern.service } });
    json!({ "resourceLogs": [{
        "resource": { "attributes": [service] },
        "scopeLogs": [{ "logRecords": [{
            "severityNumber": number,
            "severityText": pattern.severity.to_ascii_uppercase(),
            "body": { "stringValue": pattern.example },
        }] }],
    }] })
}

async fn read(store: &Store, now: Timestamp) -> Result<Read, StoreError> {
    let today = store.today();
    let from = Timestamp::of_secs((today - HISTORY_DAYS) * DAY_SECONDS);
    // The running window counts too.
    let to = now.after(Duration::from_secs(10));
    let (overhead, is_measured) = overhead(store, today - HISTORY_DAYS).await?;
    let by_day = |service: Option<String>| {
        let query = SeriesQuery { service, id: None, from, to, step: DAY_SECONDS, limit: HISTORY_DAYS as u32 + 2 };
        async move {
            let buckets = store.series(&query).await?;
            Ok::<_, StoreError>(buckets.iter().map(|bucket| day(bucket, overhead)).collect::<Vec<_>>())
        }
    };
    let days = by_day(None).await?;
    let since = now.before(SPAN);
    let first = SeriesQuery { service: None, id: None, from: since, to, step: 300, limit: 1 };
    let began = store.series(&first).await?.first().map_or(now, |bucket| bucket.start.max(since));
    let query = PatternQuery {
        service: None,
        severity: None,
        id: None,
        from: since,
        to,
        sort: Sort::Bytes,
        after: None,
        limit: MAX_PATTERNS,
    };
    let patterns = store.patterns(&query).await?;
    let span = SeriesQuery { service: None, id: None, from: since, to, step: 2 * SPAN.as_secs() as i64, limit: 3 };
    let all = store.series(&span).await?;
    let mut services = Vec::new();
    for name in largest_services(&patterns) {
        let own = by_day(Some(name.clone())).await?;
        services.push((name, own));
    }
    services.extend(rest_of_days(&days, &services));
    let usage = Usage {
        began: began_of(&days, began),
        parts: parts(&patterns, &all, overhead),
        parts_seconds: ((now.nanos() - began.nanos()) as f64 / 1e9).max(300.0),
        days,
        services,
        overhead,
        is_measured,
        llm: llm(store, today - HISTORY_DAYS).await?,
    };
    Ok(Read { at: now, usage, patterns })
}

/// The first day's midnight, or the very first bucket where it is of that day.
fn began_of(days: &[DayBytes], first: Timestamp) -> Option<u64> {
    let midnight = Timestamp::of_secs(days.first()?.day * DAY_SECONDS);
    let is_same = first.secs().div_euclid(DAY_SECONDS) == days.first()?.day;
    Some(if is_same { first.nanos() } else { midnight.nanos() })
}

/// What destinations took for each byte of a record.
async fn overhead(store: &Store, from: i64) -> Result<(f64, bool), StoreError> {
    let sum = |days: Vec<(i64, u64)>| days.into_iter().map(|(_, bytes)| bytes as f64).sum::<f64>();
    let sent = sum(store.books(BookAccount::SentBytes, from).await?);
    let records = sum(store.books(BookAccount::RecordBytes, from).await?);
    Ok(if sent > 0.0 && records > 0.0 { (sent / records, true) } else { (1.0, false) })
}

async fn llm(store: &Store, from: i64) -> Result<Vec<(i64, f64)>, StoreError> {
    let days = store.books(BookAccount::LlmMicrodollars, from).await?;
    Ok(days.into_iter().map(|(day, micros)| (day, micros as f64 / 1e6)).collect())
}

fn day(bucket: &Bucket, overhead: f64) -> DayBytes {
    let sent = bucket.kept_bytes as f64 * overhead;
    // Without sampling there would be no summaries: records alone are what is certain.
    let received = (bucket.bytes as f64).max(sent);
    DayBytes { day: bucket.start.secs().div_euclid(DAY_SECONDS), received, sent }
}

fn largest_services(patterns: &[PatternStats]) -> Vec<String> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for pattern in patterns {
        *sizes.entry(&pattern.service).or_default() += pattern.bytes;
    }
    let mut sizes: Vec<(&str, u64)> = sizes.into_iter().collect();
    sizes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    sizes.into_iter().take(MAX_SERVICES).map(|(name, _)| name.to_owned()).collect()
}

/// What the services listed leave of all days.
fn rest_of_days(days: &[DayBytes], services: &[(String, Vec<DayBytes>)]) -> Option<(String, Vec<DayBytes>)> {
    let rest = |all: &DayBytes| {
        let own = services.iter().flat_map(|(_, days)| days).filter(|day| day.day == all.day);
        let (received, sent) = own.fold((0.0, 0.0), |sum, day| (sum.0 + day.received, sum.1 + day.sent));
        DayBytes { day: all.day, received: (all.received - received).max(0.0), sent: (all.sent - sent).max(0.0) }
    };
    let rest: Vec<DayBytes> = days.iter().map(rest).collect();
    // Rounding is not a service.
    let matters = rest.iter().zip(days).any(|(rest, all)| rest.received > 1e-6 * all.received);
    matters.then(|| ("other".to_owned(), rest))
}

fn parts(patterns: &[PatternStats], all: &[Bucket], overhead: f64) -> Vec<Part> {
    let part = |pattern: &PatternStats| Part {
        service: pattern.service.clone(),
        severity: pattern.severity.clone(),
        pattern: pattern.pattern.clone(),
        template: pattern.template.clone(),
        example: pattern.example.clone(),
        records: pattern.records as f64,
        kept: pattern.kept as f64,
        received: pattern.bytes as f64 * overhead,
        sent: pattern.kept_bytes as f64 * overhead,
    };
    let mut parts: Vec<Part> = patterns.iter().map(part).collect();
    let sum = |of: &dyn Fn(&Bucket) -> u64| all.iter().map(of).sum::<u64>();
    let listed = |of: &dyn Fn(&PatternStats) -> u64| patterns.iter().map(of).sum::<u64>();
    let rest = |all: u64, listed: u64| all.saturating_sub(listed) as f64;
    let records = rest(sum(&|b| b.records), listed(&|p| p.records));
    if records > 0.0 {
        parts.push(Part {
            severity: "other".into(),
            records,
            kept: rest(sum(&|b| b.kept), listed(&|p| p.kept)),
            received: rest(sum(&|b| b.bytes), listed(&|p| p.bytes)) * overhead,
            sent: rest(sum(&|b| b.kept_bytes), listed(&|p| p.kept_bytes)) * overhead,
            ..Part::default()
        });
    }
    parts
}
