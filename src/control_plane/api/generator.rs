//! The loop that writes policies: how it goes, what it did, and asking it for a run.
//!
//! Promises: asking is an entry in the audit log by the run itself; without a loop in this process the answer says so.
//! Never: runs anything here.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth::{CanRead, CanWrite};
use super::extract::Params;
use super::page::{Page, PageParams};
use super::problem::{Failure, Kind, Problem};
use crate::control_plane::store::AuditEntry;

/// The loop, as the API sees it.
pub trait Loop: Send + Sync {
    /// How it goes.
    fn status(&self) -> Value;
    /// Asks for a run as soon as may be.
    fn want(&self);
}

/// How the loop goes.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoopStatus {
    /// Whether it runs in this process, what its last run did and why, what it sees now, and how scoring by a language
    /// model stands.
    #[schema(value_type = Object)]
    generator: Value,
}

/// Asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Asked {
    /// Always `asked`: the run begins within a second where this process leads.
    status: String,
}

fn here(api: &Api) -> Result<&Arc<dyn Loop>, Failure> {
    let none = || Failure::new(Kind::NotFound, "no loop runs in this process; see generator: in docs/loop.md");
    api.generator.get().ok_or_else(none)
}

/// How the loop that writes policies goes.
#[utoipa::path(get, path = "/v1/generator", tag = "generator", responses((status = 200, body = LoopStatus),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
pub async fn status(_: CanRead, State(api): State<Arc<Api>>) -> Result<Json<LoopStatus>, Failure> {
    Ok(Json(LoopStatus { generator: here(&api)?.status() }))
}

/// Ask for a run now.
#[utoipa::path(post, path = "/v1/generator/runs", tag = "generator", responses((status = 202, body = Asked),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
pub async fn ask(_: CanWrite, State(api): State<Arc<Api>>) -> Result<(StatusCode, Json<Asked>), Failure> {
    here(&api)?.want();
    Ok((StatusCode::ACCEPTED, Json(Asked { status: "asked".into() })))
}

/// Runs that ended, with their reports, the latest first.
#[utoipa::path(get, path = "/v1/generator/runs", tag = "generator", params(PageParams),
    responses((status = 200, body = Page<AuditEntry>)))]
pub async fn runs(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<AuditEntry>>, Failure> {
    let limit = page.limit();
    let entries = api.store.runs(page.after()?, limit + 1).await?;
    Ok(Json(Page::new(entries, limit, |entry| entry.seq)))
}
