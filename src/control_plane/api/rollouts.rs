//! Rollouts: start, look, approve, abort.
//!
//! Purpose: `/v1/policies/{set}/rollout`.
//! Promises: what is answered with 200 or 201 is stored and audited; an order that says nothing changes nothing.
//! Never: takes a step that the traffic must decide; the leader does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::{CanRead, CanWrite};
use super::extract::{At, Body};
use super::policies::{reason, service_of, set_of};
use super::problem::{Failure, Problem};
use crate::control_plane::rollout::drive::{carry_out, latest, observe};
use crate::control_plane::rollout::{Command, Mode, Phase, Prediction, Rollout, Start, Stepped, start as begin};
use crate::control_plane::store::{Actor, ArmSums, Timestamp};

/// A rollout to start.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRollout {
    /// The version's number; it must not be in force.
    version: i64,
    /// `shadow`, `canary` or `live`.
    #[serde(default)]
    mode: Mode,
    /// Whether it waits to be approved first.
    #[serde(default)]
    manual: bool,
    /// What is expected of it. What is left out is not judged; lost ERROR records always are.
    #[serde(default)]
    prediction: Prediction,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 2000)]
    reason: String,
}

/// A rollout and what was seen in its present stage, or its last.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolloutStatus {
    /// The policies' name in addresses.
    set: String,
    /// The phase.
    phase: Phase,
    /// Percentage of the traffic that the version decides about.
    percentage: f64,
    /// Why it ended early, in words; null when it did not.
    why: Option<String>,
    /// When it goes back by itself, if nothing more comes.
    until: Timestamp,
    /// The version in force, or what it would have done where the other is only counted.
    baseline: ArmSums,
    /// The version that is rolled out.
    candidate: ArmSums,
    /// Everything.
    rollout: Rollout,
}

impl Api {
    async fn rollout_status(&self, rollout: Rollout) -> Result<RolloutStatus, Failure> {
        let total = observe(&self.store, &rollout).await?.total();
        Ok(RolloutStatus {
            set: set_of(&rollout.service),
            phase: rollout.state.phase,
            percentage: rollout.percentage(),
            why: rollout.state.why.as_ref().map(ToString::to_string),
            until: rollout.state.deadline,
            baseline: total.baseline,
            candidate: total.candidate,
            rollout,
        })
    }

    /// Tells everyone of a step that a request took.
    async fn stepped(&self, stepped: Stepped) -> Result<RolloutStatus, Failure> {
        if let Err(error) = self.mirror.refresh().await {
            tracing::warn!(%error, "a step is stored, and is told as soon as the store answers");
        }
        self.driver.note(&stepped);
        self.events.stepped(&stepped);
        self.rollout_status(stepped.rollout).await
    }

    async fn command(&self, set: &str, command: Command, actor: &Actor) -> Result<Json<RolloutStatus>, Failure> {
        let stepped = carry_out(&self.store, &service_of(set)?, &command, actor).await?;
        Ok(Json(self.stepped(stepped).await?))
    }
}

/// Roll a version out: count what it would do, let it decide about growing shares, put it in force; or go back.
#[utoipa::path(post, path = "/v1/policies/{set}/rollout", tag = "rollouts", params(("set" = String, Path)),
    request_body = StartRollout, responses((status = 201, body = RolloutStatus),
    (status = 409, body = Problem, content_type = "application/problem+json")))]
pub async fn start(
    CanWrite(actor): CanWrite,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
    Body(wanted): Body<StartRollout>,
) -> Result<Response, Failure> {
    let StartRollout { version, mode, manual, prediction, reason: why } = wanted;
    let wanted = Start { service: service_of(&set)?, version, mode, manual, prediction, reason: reason(&why)? };
    let rollout = begin(&api.store, &wanted, &api.rollout, &actor).await?;
    let changed_active = rollout.state.phase == Phase::Live;
    let status = api.stepped(Stepped { rollout, changed_active }).await?;
    Ok((StatusCode::CREATED, Json(status)).into_response())
}

/// The latest rollout and what was seen in its stage.
#[utoipa::path(get, path = "/v1/policies/{set}/rollout", tag = "rollouts", params(("set" = String, Path)),
    responses((status = 200, body = RolloutStatus)))]
pub async fn status(
    _: CanRead,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
) -> Result<Json<RolloutStatus>, Failure> {
    let rollout = latest(&api.store, &service_of(&set)?).await?;
    Ok(Json(api.rollout_status(rollout).await?))
}

/// Let a rollout that waits go on.
#[utoipa::path(post, path = "/v1/policies/{set}/rollout/approve", tag = "rollouts", params(("set" = String, Path)),
    responses((status = 200, body = RolloutStatus)))]
pub async fn approve(
    CanWrite(actor): CanWrite,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
) -> Result<Json<RolloutStatus>, Failure> {
    api.command(&set, Command::Approve, &actor).await
}

/// Stop a rollout and go back to the version before.
#[utoipa::path(post, path = "/v1/policies/{set}/rollout/abort", tag = "rollouts", params(("set" = String, Path)),
    responses((status = 200, body = RolloutStatus)))]
pub async fn abort(
    CanWrite(actor): CanWrite,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
) -> Result<Json<RolloutStatus>, Failure> {
    api.command(&set, Command::Abort { by: actor.name.clone() }, &actor).await
}
