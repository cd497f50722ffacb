//! Statistics in and out.
//!
//! Purpose: `/v1/stats`, `/v1/patterns` and `/v1/services`.
//! Promises: what is answered with 200 is stored; a batch counts once however often it is sent; reports that come at
//! once share a transaction; when more wait than the queue holds, the answer is 503 and nothing was stored.
//! Never: keeps a report in memory after its answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{CanIngest, CanRead};
use super::events::Event;
use super::extract::{At, Body, Params, clean, shown};
use super::fleet;
use super::page::{self, Page, PageParams};
use super::problem::{Failure, Kind};
use crate::control_plane::store::{
    AnomalyRow, ArmRow, ArmSums, Batch, Bucket, Ingested, MAX_BATCH_ROWS, PatternId, PatternQuery, PatternStats,
    Replica, SeriesQuery, Sort, Store, StoreError, Timestamp, TrialRows,
};
use crate::shutdown::Shutdown;

/// Reports that wait at most.
const QUEUE: usize = 1024;
/// Rows of one transaction, about.
const MAX_TRANSACTION_ROWS: usize = 20_000;
/// Batches of one report.
const MAX_BATCHES: usize = 100;
/// Anomalies of one report.
pub const MAX_ANOMALIES: usize = 1000;
/// Rows of a trial in one report: twice the services a gateway tells apart by default.
const MAX_TRIAL_ROWS: usize = 20_000;
/// The span of a question that names none.
const DEFAULT_SPAN: Duration = Duration::from_secs(3600);
/// Longest bucket that can be asked for: a year.
const MAX_STEP_SECONDS: u32 = 31_536_000;
/// Buckets of one answer at most.
const MAX_BUCKETS: i64 = 1500;

/// Statistics of one sender.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Who sends, shown by `lipservice status`.
    #[serde(default)]
    pub replica: Option<Replica>,
    /// Counts. Each batch is stored whole, once.
    #[schema(max_items = 100)]
    pub batches: Vec<Batch>,
    /// What is new of anomalies; each is known by its id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1000)]
    pub anomalies: Vec<AnomalyRow>,
    /// What the policy on trial did, where there is one and the sender has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial: Option<TrialReport>,
}

/// What was decided in a stage of a rollout since the sender joined it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialReport {
    /// The rollout.
    pub rollout: i64,
    /// Its stage.
    pub stage: u32,
    /// By service and arm.
    #[schema(max_items = 20_000)]
    pub rows: Vec<TrialRow>,
}

/// What one side decided about the records of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrialRow {
    /// `service.name`.
    pub service: String,
    /// `baseline` for the version in force, `candidate` for the one on trial.
    pub arm: String,
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records kept.
    pub kept: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Records of ERROR and above that were lost.
    pub errors_lost: u64,
    /// Records of anomalous patterns.
    pub anomalous: u64,
    /// Of these, kept.
    pub anomalous_kept: u64,
}

impl TrialReport {
    /// As the store takes it.
    fn rows_of(self, replica: &str) -> TrialRows {
        let rows = self.rows.into_iter().map(ArmRow::from).collect();
        TrialRows { rollout: self.rollout, stage: self.stage, replica: replica.to_owned(), rows }
    }
}

impl From<TrialRow> for ArmRow {
    fn from(row: TrialRow) -> Self {
        let TrialRow { service, arm, records, bytes, kept, kept_bytes, errors_lost, anomalous, anomalous_kept } = row;
        let sums = ArmSums { records, bytes, kept, kept_bytes, errors_lost, anomalous, anomalous_kept };
        ArmRow { service, arm, sums }
    }
}

/// A report on its way into the store.
pub struct Incoming {
    report: Report,
    done: oneshot::Sender<Result<Ingested, Failure>>,
}

/// The way in.
pub fn queue() -> (mpsc::Sender<Incoming>, mpsc::Receiver<Incoming>) {
    mpsc::channel(QUEUE)
}

/// Writes reports as they come, those that wait together in one transaction, until the signal.
pub async fn write(api: Arc<Api>, mut queue: mpsc::Receiver<Incoming>, stop: Shutdown) {
    loop {
        let first = tokio::select! {
            first = queue.recv() => first,
            () = stop.triggered() => {
                // What was accepted is stored; nothing more is accepted.
                queue.close();
                queue.recv().await
            }
        };
        let Some(first) = first else { return };
        let mut waiting = vec![first];
        let mut rows: usize = rows_of(&waiting[0]);
        while rows < MAX_TRANSACTION_ROWS
            && let Ok(next) = queue.try_recv()
        {
            rows += rows_of(&next);
            waiting.push(next);
        }
        store(&api, waiting).await;
    }
}

fn rows_of(incoming: &Incoming) -> usize {
    incoming.report.batches.iter().map(|batch| batch.rows.len()).sum()
}

async fn store(api: &Api, waiting: Vec<Incoming>) {
    let (mut batches, mut replicas, mut anomalies, mut answers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut trials = Vec::new();
    for Incoming { report, done } in waiting {
        if let (Some(trial), Some(replica)) = (report.trial, &report.replica) {
            trials.push(trial.rows_of(&replica.id));
        }
        let id = report.replica.as_ref().map(|replica| replica.id.clone());
        answers.push((report.batches.len(), id, done));
        batches.extend(report.batches);
        let sender = report.replica.as_ref().map(|replica| replica.id.clone()).unwrap_or_default();
        anomalies.extend(report.anomalies.into_iter().map(|row| AnomalyRow { replica: sender.clone(), ..row }));
        replicas.extend(report.replica.filter(|replica| api.is_news(replica)));
    }
    // Counts of a trial are told again with each report: those that find no store now come with the next.
    if let Err(error) = api.store.note_trials(&trials).await {
        tracing::debug!(%error, "counts of a rollout were not stored");
    }
    let stored = match api.note_anomalies(&anomalies).await {
        Ok(()) => api.store.ingest(&batches, &replicas).await,
        Err(error) => Err(error),
    };
    match stored {
        Ok(ingested) => {
            let mut was_added = ingested.was_added.iter().copied();
            let mut stored = batches.iter();
            let fleet = api.fleet(&replicas).await;
            for (count, id, done) in answers {
                let mut own = Ingested::default();
                for (added, batch) in was_added.by_ref().take(count).zip(stored.by_ref()) {
                    own.added += u64::from(added);
                    own.repeated += u64::from(!added);
                    own.rows += if added { batch.rows.len() as u64 } else { 0 };
                }
                fleet::answer(&fleet, id.as_deref(), &mut own);
                // A sender that went away sends again, and is told it was a repetition.
                let _ = done.send(Ok(own));
            }
            for (batch, _) in batches.iter().zip(&ingested.was_added).filter(|(_, added)| **added) {
                api.events.decisions(&batch.rows);
            }
        }
        Err(error) => {
            api.forget_news(&replicas);
            let failure = Failure::from(error);
            for (_, _, done) in answers {
                let _ = done.send(Err(failure.clone()));
            }
        }
    }
}

impl Api {
    /// Stores what is told of anomalies, and tells those who listen what is new of it.
    async fn note_anomalies(&self, anomalies: &[AnomalyRow]) -> Result<(), StoreError> {
        if anomalies.is_empty() {
            return Ok(());
        }
        let changes = self.store.note_anomalies(anomalies).await?;
        for (change, anomaly) in changes.into_iter().flatten() {
            self.events.publish(Event::Anomaly { change, anomaly: Box::new(anomaly) });
        }
        Ok(())
    }

    /// Stores a report.
    pub async fn ingest(&self, report: Report) -> Result<Ingested, Failure> {
        let (done, answer) = oneshot::channel();
        let busy = || Failure::new(Kind::Unavailable, "too many reports wait; send it again");
        self.reports.try_send(Incoming { report, done }).map_err(|_| busy())?;
        answer.await.map_err(|_| busy())?
    }
}

fn is_odd(row: &TrialRow) -> bool {
    !matches!(row.arm.as_str(), "baseline" | "candidate")
}

/// Report statistics.
#[utoipa::path(post, path = "/v1/stats", tag = "statistics", request_body = Report,
    responses((status = 200, body = Ingested)))]
pub async fn ingest(
    _: CanIngest,
    State(api): State<Arc<Api>>,
    Body(report): Body<Report>,
) -> Result<Json<Ingested>, Failure> {
    let wrong = |detail: String| Err(Failure::new(Kind::InvalidBody, detail));
    if report.batches.len() > MAX_BATCHES {
        return wrong(format!("batches: {}, more than {MAX_BATCHES}", report.batches.len()));
    }
    if report.anomalies.len() > MAX_ANOMALIES {
        return wrong(format!("anomalies: {}, more than {MAX_ANOMALIES}", report.anomalies.len()));
    }
    let is_id = |id: &str| (1..=128).contains(&id.len()) && !id.contains('\0');
    if !report.anomalies.iter().all(|anomaly| is_id(&anomaly.id)) {
        return wrong("anomalies: an id has 1 to 128 bytes".into());
    }
    if report.trial.as_ref().is_some_and(|trial| trial.rows.len() > MAX_TRIAL_ROWS || trial.rows.iter().any(is_odd)) {
        return wrong(format!(
            "trial: more than {MAX_TRIAL_ROWS} rows, or an arm that is neither baseline nor candidate"
        ));
    }
    for batch in &report.batches {
        if !is_id(&batch.id) {
            return wrong("batches: an id has 1 to 128 bytes".into());
        }
        if batch.rows.len() > MAX_BATCH_ROWS {
            return wrong(format!("batch {}: {} rows, more than {MAX_BATCH_ROWS}", shown(&batch.id), batch.rows.len()));
        }
    }
    api.ingest(report).await.map(Json)
}

/// Which patterns.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PatternParams {
    /// Of this service alone.
    #[serde(default)]
    service: Option<String>,
    /// Of this severity band alone.
    #[serde(default)]
    severity: Option<String>,
    /// Order, the largest first; by bytes when left out.
    #[serde(default)]
    #[param(inline)]
    sort: Option<Sort>,
    /// Counts from here on; an hour before `to` when left out.
    #[serde(default)]
    from: Option<Timestamp>,
    /// Counts before here; now when left out.
    #[serde(default)]
    to: Option<Timestamp>,
    /// `next` of the page before; the first page when left out.
    #[serde(default)]
    #[param(max_length = 2000)]
    cursor: Option<String>,
    /// Items at most, 50 when left out, never more than 1000.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Where a page of patterns ended: the span stays the same from page to page.
#[derive(Serialize, Deserialize)]
struct PatternCursor {
    value: i64,
    id: PatternId,
    from: Timestamp,
    to: Timestamp,
}

fn span(store: &Store, from: Option<Timestamp>, to: Option<Timestamp>) -> Result<(Timestamp, Timestamp), Failure> {
    // The running window counts too.
    let to = to.unwrap_or_else(|| store.now().after(Duration::from_secs(10)));
    let from = from.unwrap_or_else(|| to.before(DEFAULT_SPAN));
    match from < to {
        true => Ok((from, to)),
        false => Err(Failure::new(Kind::BadRequest, "from: not before to")),
    }
}

/// Patterns by volume over a span of time.
#[utoipa::path(get, path = "/v1/patterns", tag = "statistics", params(PatternParams),
    responses((status = 200, body = Page<PatternStats>)))]
pub async fn patterns(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Params(params): Params<PatternParams>,
) -> Result<Json<Page<PatternStats>>, Failure> {
    let after: Option<PatternCursor> = page::after(params.cursor.as_deref())?;
    let (from, to) = match &after {
        Some(after) => (after.from, after.to),
        None => span(&api.store, params.from, params.to)?,
    };
    let (limit, sort) = (page::limit(params.limit)?, params.sort.unwrap_or_default());
    let query = PatternQuery {
        service: params.service.map(|text| clean(&text)),
        severity: params.severity.map(|text| clean(&text)),
        id: None,
        from,
        to,
        sort,
        after: after.map(|after| (after.value, after.id)),
        limit: limit + 1,
    };
    let found = api.store.patterns(&query).await?;
    Ok(Json(Page::new(found, limit, |last| PatternCursor { value: sort.value(last), id: last.id, from, to })))
}

/// Over which time.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SpanParams {
    /// Counts from here on; an hour before `to` when left out.
    #[serde(default)]
    from: Option<Timestamp>,
    /// Counts before here; now when left out.
    #[serde(default)]
    to: Option<Timestamp>,
}

/// One pattern with an example, and its sums over a span of time.
#[utoipa::path(get, path = "/v1/patterns/{id}", tag = "statistics", params(("id" = i64, Path), SpanParams),
    responses((status = 200, body = PatternStats)))]
pub async fn pattern(
    _: CanRead,
    State(api): State<Arc<Api>>,
    At(id): At<PatternId>,
    Params(params): Params<SpanParams>,
) -> Result<Json<PatternStats>, Failure> {
    let (from, to) = span(&api.store, params.from, params.to)?;
    let found = api.store.pattern(id, from, to).await?;
    found.map(Json).ok_or_else(|| Failure::new(Kind::NotFound, format!("there is no pattern {id}")))
}

/// Which counts over time.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct SeriesParams {
    /// Of this service alone.
    #[serde(default)]
    service: Option<String>,
    /// Of this pattern alone: its `id`.
    #[serde(default)]
    pattern: Option<PatternId>,
    /// Counts from here on; an hour before `to` when left out.
    #[serde(default)]
    from: Option<Timestamp>,
    /// Counts before here; now when left out.
    #[serde(default)]
    to: Option<Timestamp>,
    /// Seconds of a bucket, rounded up to a multiple of 10; made longer when there would be more than 1500.
    #[serde(default)]
    #[param(minimum = 1, maximum = 31_536_000)]
    step: Option<u32>,
}

/// Counts over time.
#[derive(Debug, Serialize, ToSchema)]
pub struct Series {
    /// Seconds of a bucket. Counts older than the retention of fine ones stand at the start of 5 minutes or an hour.
    step: i64,
    /// Buckets with records, the earliest first.
    buckets: Vec<Bucket>,
}

/// Records and bytes, seen and kept, over time.
#[utoipa::path(get, path = "/v1/stats", tag = "statistics", params(SeriesParams),
    responses((status = 200, body = Series)))]
pub async fn series(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Params(params): Params<SeriesParams>,
) -> Result<Json<Series>, Failure> {
    let (from, to) = span(&api.store, params.from, params.to)?;
    let least = (to.secs() - from.secs()) / MAX_BUCKETS + 1;
    let step = i64::from(page::within("step", params.step.unwrap_or(10), 1, MAX_STEP_SECONDS)?).max(least);
    let step = (step + 9) / 10 * 10;
    let service = params.service.map(|text| clean(&text));
    let limit = MAX_BUCKETS as u32 + 2;
    let query = SeriesQuery { service, id: params.pattern, from, to, step, limit };
    Ok(Json(Series { step, buckets: api.store.series(&query).await? }))
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
pub struct Service {
    /// `service.name`.
    name: String,
    /// The version of its own policies in force; null for none.
    active: Option<i64>,
}

/// Services that sent records or have policies.
#[utoipa::path(get, path = "/v1/services", tag = "statistics", params(PageParams),
    responses((status = 200, body = Page<Service>)))]
pub async fn services(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<Service>>, Failure> {
    let (after, limit) = (page.after::<String>()?, page.limit()?);
    let names = api.store.services(after.map(|name| clean(&name)).as_deref(), limit + 1).await?;
    let view = api.mirror.view();
    let active = |name: &str| {
        let found = view.active.iter().find(|entry| entry.version.service == name);
        found.map(|entry| entry.version.number)
    };
    let services = names.into_iter().map(|name| Service { active: active(&name), name }).collect();
    Ok(Json(Page::new(services, limit, |service: &Service| service.name.clone())))
}
