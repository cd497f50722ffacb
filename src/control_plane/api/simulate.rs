//! What a policy would do to records that come along with it.
//!
//! Purpose: `POST /v1/simulate`: the report of `lipservice simulate`, over HTTP.
//! Promises: the gateway's own pipeline with this process's sampler settings; the same body gives the same report; work is
//! done off the threads that serve, [`MAX_AT_ONCE`] at a time, and what is more is told to come again.
//! Never: stores or sends what it is shown.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::Api;
use super::auth::CanRead;
use super::extract::{Body, shown};
use super::problem::{Failure, Kind};
use crate::control_plane::replay::{Replay, Report, Settings};
use crate::control_plane::validate::check;
use crate::data_plane::policy::{CompiledPolicy, Document};
use crate::data_plane::view::json as otlp;

/// Replays under way at once.
const MAX_AT_ONCE: usize = 2;
/// Requests of one body.
const MAX_REQUESTS: usize = 100_000;
/// Patterns in an answer when nothing is said, and at most.
const DEFAULT_TOP: usize = 100;
const MAX_TOP: usize = 10_000;

/// Records and a policy.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Simulation {
    /// The policy document; the policies in force when left out.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    document: Option<Value>,
    /// OTLP JSON requests (`{"resourceLogs": […]}`) in the order they came. Each arrives at the time of its latest record.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 100_000)]
    requests: Vec<Box<RawValue>>,
    /// Seed of the randomness of records without a trace id; 1 when left out.
    #[serde(default)]
    seed: Option<u64>,
    /// Patterns listed at most, the largest first; 100 when left out, never more than 10,000.
    #[serde(default)]
    top: Option<usize>,
}

/// Room for replays.
pub fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_AT_ONCE))
}

/// Replay records under a policy.
#[utoipa::path(post, path = "/v1/simulate", tag = "costs", request_body = Simulation,
    responses((status = 200, body = Report)))]
pub async fn simulate(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Body(wanted): Body<Simulation>,
) -> Result<Json<Report>, Failure> {
    if wanted.requests.is_empty() || wanted.requests.len() > MAX_REQUESTS {
        return Err(Failure::new(Kind::InvalidBody, format!("requests: 1 to {MAX_REQUESTS}")));
    }
    let busy = || Failure::new(Kind::RateLimited, "as many simulations as there is room for are under way");
    let permit = Arc::clone(&api.simulations).try_acquire_owned().map_err(|_| busy())?;
    let work = move || {
        // Held to the end of the work, also when the client has gone.
        let _permit = permit;
        api.replay(&wanted)
    };
    let report = tokio::task::spawn_blocking(work).await.map_err(|_| Failure::broken("a simulation failed"))?;
    report.map(Json)
}

impl Api {
    fn replay(&self, wanted: &Simulation) -> Result<Report, Failure> {
        let policy = self.policy_of(wanted.document.as_ref())?;
        let settings = Settings {
            sampler: self.sampler.clone(),
            seed: wanted.seed.unwrap_or(Settings::default().seed),
            anomalies: Some(Default::default()),
            ..Settings::default()
        };
        let mut replay = Replay::new(&settings, policy, CompiledPolicy::default());
        for (at, request) in wanted.requests.iter().enumerate() {
            let wrong = |error: String| Failure::new(Kind::InvalidBody, format!("requests[{at}]: {}", shown(&error)));
            // The codec reads null as an empty message; a request is none.
            if !request.get().starts_with('{') {
                return Err(wrong("not an object".into()));
            }
            let body = otlp::decode(request.get().as_bytes()).map_err(|error| wrong(error.to_string()))?;
            replay.feed(Bytes::from(body)).map_err(|error| wrong(error.to_string()))?;
        }
        let outcome = replay.finish().map_err(|error| Failure::broken(&error.to_string()))?;
        let mut report = Report::of(&outcome, &self.config.prices);
        report.patterns.truncate(wanted.top.unwrap_or(DEFAULT_TOP).min(MAX_TOP));
        Ok(report)
    }

    fn policy_of(&self, document: Option<&Value>) -> Result<CompiledPolicy, Failure> {
        let (documents, learned) = match document {
            Some(document) => {
                let checked = check(document, Default::default(), &self.limits, &[]);
                let checked = checked.map_err(Failure::invalid_policy)?;
                (vec![Document::from_value("document", checked.document)], (self.local)().1)
            }
            None => self.documents(),
        };
        Ok(CompiledPolicy::compile_with(&documents, &learned, self.store.now().nanos(), None))
    }
}
