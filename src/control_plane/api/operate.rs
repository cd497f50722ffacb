//! Tokens, the audit log, anomalies, status, health.
//!
//! Promises: health and readiness need no token and tell nothing but that; a token is in an answer once, when made.
//! Never: changes policies.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::{Caller, CanAdminister, CanRead};
use super::extract::{At, Body, Params, clean};
use super::page::{self, Page, PageParams};
use super::problem::{Failure, Kind, Problem};
use crate::control_plane::store::{AnomalyQuery, AnomalyRow, AuditEntry, NewToken, Replica, Scope, Timestamp, Token};

/// A replica that has not reported for so long is not shown.
const REPLICA_AGE: Duration = Duration::from_secs(120);
/// Longest name of a token, in bytes.
const MAX_NAME_BYTES: usize = 100;

/// A token to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// For people, and for the audit log.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// What it allows.
    #[schema(min_items = 1)]
    scopes: Vec<Scope>,
    /// From when on it no longer serves.
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

/// A token that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedToken {
    /// The token, shown this once.
    token: String,
    /// What is known of it later.
    entry: Token,
}

/// Make a token.
#[utoipa::path(post, path = "/v1/tokens", tag = "administration", request_body = CreateToken,
    responses((status = 201, body = CreatedToken)))]
pub async fn create_token(
    CanAdminister(actor): CanAdminister,
    State(api): State<Arc<Api>>,
    Body(wanted): Body<CreateToken>,
) -> Result<Response, Failure> {
    let wrong = |detail: &str| Err(Failure::new(Kind::InvalidBody, detail));
    if !(1..=MAX_NAME_BYTES).contains(&wanted.name.len()) || wanted.name.chars().any(char::is_control) {
        return wrong("name: 1 to 100 bytes without control characters");
    }
    if wanted.scopes.is_empty() {
        return wrong("scopes: none");
    }
    if wanted.expires_at.is_some_and(|at| at <= api.store.now()) {
        return wrong("expires_at: lies in the past");
    }
    let new = NewToken { name: wanted.name, scopes: wanted.scopes, expires_at: wanted.expires_at };
    let (token, entry) = api.store.create_token(&new, random(), &actor).await?;
    api.mirror.refresh().await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token, entry })).into_response())
}

/// The randomness of a token.
pub fn random() -> [u8; 38] {
    use rand::RngCore as _;
    let mut random = [0; 38];
    // Of the operating system, and reseeded from there: ThreadRng is a cryptographic generator.
    rand::rng().fill_bytes(&mut random);
    random
}

/// All tokens, without their secrets.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenList {
    /// The newest first.
    items: Vec<Token>,
}

/// Tokens, the newest first, without their secrets.
#[utoipa::path(get, path = "/v1/tokens", tag = "administration", responses((status = 200, body = TokenList)))]
pub async fn tokens(_: CanAdminister, State(api): State<Arc<Api>>) -> Result<Json<TokenList>, Failure> {
    Ok(Json(TokenList { items: api.store.tokens().await? }))
}

/// Revoke a token. A token cannot revoke itself, so that nobody locks himself out.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "administration", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
pub async fn revoke_token(
    CanAdminister(actor): CanAdminister,
    Extension(caller): Extension<Arc<Caller>>,
    State(api): State<Arc<Api>>,
    At(id): At<String>,
) -> Result<StatusCode, Failure> {
    if caller.key == id {
        let detail = "a token cannot revoke itself: use another token, or `lipservice token revoke` beside the store";
        return Err(Failure::new(Kind::Conflict, detail));
    }
    let unknown = || Failure::new(Kind::NotFound, "there is no such token");
    let is_id = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(()).ok_or_else(unknown)?;
    api.store.revoke_token(&id, &actor).await?;
    api.mirror.refresh().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who changed what, the latest first.
#[utoipa::path(get, path = "/v1/audit", tag = "administration", params(PageParams),
    responses((status = 200, body = Page<AuditEntry>)))]
pub async fn audit(
    _: CanAdminister,
    State(api): State<Arc<Api>>,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<AuditEntry>>, Failure> {
    let limit = page.limit()?;
    let entries = api.store.audit_log(page.after()?, limit + 1).await?;
    Ok(Json(Page::new(entries, limit, |entry| entry.seq)))
}

/// Which anomalies.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct AnomalyParams {
    /// Of this service alone.
    #[serde(default)]
    service: Option<String>,
    /// Of this kind alone: `new_pattern`, `deploy`, `spike`, `silence` or `severity_shift`.
    #[serde(default)]
    kind: Option<String>,
    /// Noticed from here on.
    #[serde(default)]
    since: Option<Timestamp>,
    /// Only those that go on (`true`), or only those that are over (`false`).
    #[serde(default)]
    open: Option<bool>,
    /// `next` of the page before; the first page when left out.
    #[serde(default)]
    #[param(max_length = 2000)]
    cursor: Option<String>,
    /// Items at most, 50 when left out, never more than 1000.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// Anomalies, the latest first.
#[utoipa::path(get, path = "/v1/anomalies", tag = "statistics", params(AnomalyParams),
    responses((status = 200, body = Page<AnomalyRow>)))]
pub async fn anomalies(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Params(params): Params<AnomalyParams>,
) -> Result<Json<Page<AnomalyRow>>, Failure> {
    let limit = page::limit(params.limit)?;
    let before: Option<(Timestamp, String)> = page::after(params.cursor.as_deref())?;
    let query = AnomalyQuery {
        service: params.service.map(|text| clean(&text)),
        kind: params.kind.map(|text| clean(&text)),
        since: params.since,
        open: params.open,
        before: before.map(|(at, id)| (at, clean(&id))),
        limit: limit + 1,
    };
    let found = api.store.anomalies(&query).await?;
    Ok(Json(Page::new(found, limit, |last| (last.at, last.id.clone()))))
}

/// How the control plane is.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    /// Release of this control plane.
    version: String,
    /// `sqlite` or `postgres`.
    store: String,
    /// Hash of the policies of all services.
    policy_hash: String,
    /// Policies in force.
    policies: u64,
    /// What reported within two minutes, the latest first.
    replicas: Vec<Replica>,
}

/// What runs, and which policies it enforces.
#[utoipa::path(get, path = "/v1/status", tag = "operation", responses((status = 200, body = Status)))]
pub async fn status(_: CanRead, State(api): State<Arc<Api>>) -> Result<Json<Status>, Failure> {
    let bundle = api.mirror.view().bundle(None);
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        store: format!("{:?}", api.store.engine()).to_lowercase(),
        policy_hash: bundle.hash.clone(),
        policies: bundle.policies as u64,
        replicas: api.store.replicas(REPLICA_AGE).await?,
    }))
}

/// Whether it works.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `live` or `ready`.
    status: String,
}

/// Whether the process lives. Needs no token.
#[utoipa::path(get, path = "/health/live", tag = "operation", security(()), responses((status = 200, body = Health)))]
pub async fn live() -> Json<Health> {
    Json(Health { status: "live".into() })
}

/// Whether the store answers. Needs no token.
#[utoipa::path(get, path = "/health/ready", tag = "operation", security(()), responses((status = 200, body = Health),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub async fn ready(State(api): State<Arc<Api>>) -> Result<Json<Health>, Failure> {
    api.store.ping().await?;
    Ok(Json(Health { status: "ready".into() }))
}
