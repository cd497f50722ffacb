//! Policies: versions, what is in force, history.
//!
//! Purpose: the addresses below `/v1/policies` that change or show versions.
//! Promises: a document is checked whole before anything is written; a refused one changes nothing; writing what is
//! there already, and activating what is active, succeed and change nothing.
//! Never: evaluates a policy.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::auth::{CanRead, CanWrite};
use super::extract::{At, Body, Params, clean};
use super::page::{Page, PageParams};
use super::problem::{Failure, Kind, Problem};
use super::{Api, diff};
use crate::control_plane::store::{
    Activation, Actor, GENERATED, GLOBAL, NewVersion, Timestamp, Version, VersionOrigin,
};
use crate::control_plane::validate::{Violation, check};

/// Longest name of a service, in bytes, as the windows cut it.
const MAX_SERVICE_BYTES: usize = 128;
/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 2000;

/// A version to write.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteVersion {
    /// The policies: a document of the policy format, as JSON.
    #[schema(value_type = Object)]
    document: Value,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 2000)]
    reason: String,
    /// Who wrote it: a person or a program. What a program wrote yields to what a person did.
    #[serde(default)]
    origin: VersionOrigin,
    /// From when on it is no longer in force.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// Number of the version it was made from; refused (409) when that is not the newest. 0 for none.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9223372036854775807i64)]
    parent: Option<i64>,
    /// Whether it is put in force at once.
    #[serde(default)]
    activate: bool,
}

/// The first version of a service's policies.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePolicies {
    /// Whose policies; for all services when left out.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    service: Option<String>,
    /// The policies: a document of the policy format, as JSON.
    #[schema(value_type = Object)]
    document: Value,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 2000)]
    reason: String,
    /// Who wrote it.
    #[serde(default)]
    origin: VersionOrigin,
    /// From when on it is no longer in force.
    #[serde(default)]
    expires_at: Option<Timestamp>,
    /// Whether it is put in force at once.
    #[serde(default)]
    activate: bool,
}

/// A document to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ValidateDocument {
    /// The policies: a document of the policy format. What is none is no bad request, but not valid.
    document: Value,
    /// Who wrote it.
    #[serde(default)]
    origin: VersionOrigin,
}

/// The result of a check.
#[derive(Debug, Serialize, ToSchema)]
pub struct Validated {
    /// Whether the document could become a version.
    valid: bool,
    /// Policies in it.
    policies: u64,
    /// What is wrong.
    errors: Vec<Violation>,
}

/// Which version to put in force.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActivateVersion {
    /// Its number.
    version: i64,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 2000)]
    reason: String,
}

/// Where to go back to.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollBack {
    /// A version's number; the one in force before the active one when left out.
    #[serde(default)]
    version: Option<i64>,
    /// Why.
    #[serde(default)]
    #[schema(max_length = 2000)]
    reason: String,
}

/// Policies of a service.
#[derive(Debug, Serialize, ToSchema)]
pub struct PolicySet {
    /// Its name in addresses: `global`, or `service:` and a name.
    set: String,
    /// The version in force; null for none.
    active: Option<i64>,
    /// The newest version. Its document is left out in lists.
    newest: Version,
}

/// A version as written.
#[derive(Debug, Serialize, ToSchema)]
pub struct Written {
    /// The version.
    version: Version,
    /// Whether it is new; false when the newest version says the same.
    created: bool,
    /// Whether it is in force now.
    active: bool,
}

/// What is in force now.
#[derive(Debug, Serialize, ToSchema)]
pub struct InForce {
    /// Its name in addresses.
    set: String,
    /// The version in force; null for none.
    active: Option<i64>,
    /// Whether this request changed it.
    changed: bool,
}

/// Two versions to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct DiffParams {
    /// The earlier one; the one in force when left out.
    #[serde(default)]
    from: Option<i64>,
    /// The later one; the newest when left out.
    #[serde(default)]
    to: Option<i64>,
}

/// The service of a set's name in an address.
pub(super) fn service_of(set: &str) -> Result<String, Failure> {
    if set == "global" {
        return Ok(GLOBAL.to_owned());
    }
    if set == "generated" {
        return Ok(GENERATED.to_owned());
    }
    match set.strip_prefix("service:") {
        Some(name) => service_name(name),
        None => Err(Failure::new(Kind::NotFound, "policies are called global, generated, or service: and a name")),
    }
}

fn service_name(name: &str) -> Result<String, Failure> {
    let fits =
        (1..=MAX_SERVICE_BYTES).contains(&name.len()) && !name.chars().any(char::is_control) && name != GENERATED;
    let wrong = || Failure::new(Kind::BadRequest, "a service has 1 to 128 bytes without control characters");
    fits.then(|| name.to_owned()).ok_or_else(wrong)
}

pub(super) fn set_of(service: &str) -> String {
    match service {
        GLOBAL => "global".into(),
        GENERATED => "generated".into(),
        _ => format!("service:{service}"),
    }
}

pub(super) fn reason(text: &str) -> Result<String, Failure> {
    let long = || Failure::new(Kind::InvalidBody, "reason: longer than 2000 bytes");
    let text = clean(text);
    (text.len() <= MAX_REASON_BYTES).then_some(text).ok_or_else(long)
}

impl Api {
    async fn write_version(&self, service: String, wanted: WriteVersion, actor: &Actor) -> Result<Written, Failure> {
        let view = self.mirror.view();
        let others = view.active.iter().filter(|entry| entry.version.service == GLOBAL && service != GLOBAL);
        let others: Vec<Value> = others.map(|entry| entry.version.document.clone()).collect();
        let checked = check(&wanted.document, wanted.origin, &self.limits, &others).map_err(Failure::invalid_policy)?;
        if wanted.expires_at.is_some_and(|at| at <= self.store.now()) {
            let path = "expires_at".to_owned();
            let violation = Violation { path, reason: "lies in the past".into() };
            return Err(Failure::invalid_policy(vec![violation]));
        }
        let new = NewVersion {
            service,
            document: checked.document,
            policies: checked.policies,
            origin: wanted.origin,
            reason: reason(&wanted.reason)?,
            expires_at: wanted.expires_at,
            parent: wanted.parent,
        };
        let (version, created) = self.store.create_version(&new, actor).await?;
        if wanted.activate && self.store.activate(&new.service, version.number, &new.reason, actor).await? {
            self.changed(&new.service).await;
        }
        let active = self.store.active_number(&new.service).await? == Some(version.number);
        Ok(Written { version, created, active })
    }

    async fn in_force(&self, service: &str, changed: bool) -> Result<Json<InForce>, Failure> {
        if changed {
            self.changed(service).await;
        }
        let active = self.store.active_number(service).await?;
        Ok(Json(InForce { set: set_of(service), active, changed }))
    }

    async fn newest(&self, service: &str) -> Result<Version, Failure> {
        let newest = self.store.versions(service, None, 1).await?.pop();
        let none = || Failure::new(Kind::NotFound, format!("{} has no policies", set_of(service)));
        let newest = newest.ok_or_else(none)?;
        Ok(self.store.version(service, newest.number).await?)
    }
}

/// Policies of all services.
#[utoipa::path(get, path = "/v1/policies", tag = "policies", params(PageParams),
    responses((status = 200, body = Page<PolicySet>)))]
pub async fn list(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<PolicySet>>, Failure> {
    let (after, limit) = (page.after::<String>()?, page.limit()?);
    let versions = api.store.newest_versions(after.as_deref(), limit + 1).await?;
    let mut sets = Vec::new();
    for newest in versions {
        let active = api.store.active_number(&newest.service).await?;
        sets.push(PolicySet { set: set_of(&newest.service), active, newest });
    }
    Ok(Json(Page::new(sets, limit, |set| set.newest.service.clone())))
}

/// Write the first version for a service, or for all.
#[utoipa::path(post, path = "/v1/policies", tag = "policies", request_body = CreatePolicies,
    responses((status = 201, body = Written), (status = 409, body = Problem, content_type = "application/problem+json")))]
pub async fn create(
    CanWrite(actor): CanWrite,
    State(api): State<Arc<Api>>,
    Body(wanted): Body<CreatePolicies>,
) -> Result<Response, Failure> {
    let CreatePolicies { service, document, reason, origin, expires_at, activate } = wanted;
    let service = service.as_deref().map(service_name).transpose()?.unwrap_or_default();
    let wanted = WriteVersion { document, reason, origin, expires_at, parent: Some(0), activate };
    let written = api.write_version(service, wanted, &actor).await?;
    Ok((StatusCode::CREATED, Json(written)).into_response())
}

/// The newest version for a service, with its document.
#[utoipa::path(get, path = "/v1/policies/{set}", tag = "policies", params(("set" = String, Path,
    description = "`global`, or `service:` and a name")), responses((status = 200, body = PolicySet)))]
pub async fn read(_: CanRead, State(api): State<Arc<Api>>, At(set): At<String>) -> Result<Json<PolicySet>, Failure> {
    let service = service_of(&set)?;
    let newest = api.newest(&service).await?;
    Ok(Json(PolicySet { set, active: api.store.active_number(&service).await?, newest }))
}

/// Write a new version. Versions never change: an update is another version.
#[utoipa::path(put, path = "/v1/policies/{set}", tag = "policies", params(("set" = String, Path,
    description = "`global`, or `service:` and a name")), request_body = WriteVersion,
    responses((status = 200, body = Written)))]
pub async fn update(
    CanWrite(actor): CanWrite,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
    Body(wanted): Body<WriteVersion>,
) -> Result<Json<Written>, Failure> {
    Ok(Json(api.write_version(service_of(&set)?, wanted, &actor).await?))
}

/// Put nothing in force for a service. Its versions stay.
#[utoipa::path(delete, path = "/v1/policies/{set}", tag = "policies", params(("set" = String, Path,
    description = "`global`, or `service:` and a name")), responses((status = 200, body = InForce)))]
pub async fn deactivate(
    CanWrite(actor): CanWrite,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
) -> Result<Json<InForce>, Failure> {
    let service = service_of(&set)?;
    let changed = api.store.deactivate(&service, "", &actor).await?;
    api.in_force(&service, changed).await
}

/// Versions of a service, the newest first, without documents.
#[utoipa::path(get, path = "/v1/policies/{set}/versions", tag = "policies", params(("set" = String, Path), PageParams),
    responses((status = 200, body = Page<Version>)))]
pub async fn versions(
    _: CanRead,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<Version>>, Failure> {
    let limit = page.limit()?;
    let versions = api.store.versions(&service_of(&set)?, page.after()?, limit + 1).await?;
    Ok(Json(Page::new(versions, limit, |version| version.number)))
}

/// One version with its document.
#[utoipa::path(get, path = "/v1/policies/{set}/versions/{version}", tag = "policies",
    params(("set" = String, Path), ("version" = i64, Path)), responses((status = 200, body = Version)))]
pub async fn version(
    _: CanRead,
    State(api): State<Arc<Api>>,
    At((set, number)): At<(String, i64)>,
) -> Result<Json<Version>, Failure> {
    Ok(Json(api.store.version(&service_of(&set)?, number).await?))
}

/// What was put in force when, by whom and why; the latest first.
#[utoipa::path(get, path = "/v1/policies/{set}/history", tag = "policies", params(("set" = String, Path), PageParams),
    responses((status = 200, body = Page<Activation>)))]
pub async fn history(
    _: CanRead,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
    Params(page): Params<PageParams>,
) -> Result<Json<Page<Activation>>, Failure> {
    let limit = page.limit()?;
    let entries = api.store.activations(&service_of(&set)?, page.after()?, limit + 1).await?;
    Ok(Json(Page::new(entries, limit, |entry| entry.seq)))
}

/// What differs between two versions, policy by policy.
#[utoipa::path(get, path = "/v1/policies/{set}/diff", tag = "policies", params(("set" = String, Path), DiffParams),
    responses((status = 200, body = diff::Diff)))]
pub async fn compare(
    _: CanRead,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
    Params(params): Params<DiffParams>,
) -> Result<Json<diff::Diff>, Failure> {
    let service = service_of(&set)?;
    let to = match params.to {
        Some(number) => api.store.version(&service, number).await?,
        None => api.newest(&service).await?,
    };
    let from = match params.from {
        Some(number) => Some(number),
        None => api.store.active_number(&service).await?,
    };
    let before = match from {
        Some(number) => api.store.version(&service, number).await?.document,
        None => Value::Null,
    };
    Ok(Json(diff::diff(from, &before, Some(to.number), &to.document)))
}

/// Check a document without writing it.
#[utoipa::path(post, path = "/v1/policies/validate", tag = "policies", request_body = ValidateDocument,
    responses((status = 200, body = Validated)))]
pub async fn validate(
    _: CanRead,
    State(api): State<Arc<Api>>,
    Body(wanted): Body<ValidateDocument>,
) -> Json<Validated> {
    Json(match check(&wanted.document, wanted.origin, &api.limits, &[]) {
        Ok(checked) => Validated { valid: true, policies: checked.policies, errors: Vec::new() },
        Err(errors) => Validated { valid: false, policies: 0, errors },
    })
}

/// Put a version in force.
#[utoipa::path(post, path = "/v1/policies/{set}/activate", tag = "policies", params(("set" = String, Path)),
    request_body = ActivateVersion, responses((status = 200, body = InForce)))]
pub async fn activate(
    CanWrite(actor): CanWrite,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
    Body(wanted): Body<ActivateVersion>,
) -> Result<Json<InForce>, Failure> {
    let service = service_of(&set)?;
    let changed = api.store.activate(&service, wanted.version, &reason(&wanted.reason)?, &actor).await?;
    api.in_force(&service, changed).await
}

/// Put an earlier version in force again.
#[utoipa::path(post, path = "/v1/policies/{set}/rollback", tag = "policies", params(("set" = String, Path)),
    request_body = RollBack, responses((status = 200, body = InForce)))]
pub async fn roll_back(
    CanWrite(actor): CanWrite,
    State(api): State<Arc<Api>>,
    At(set): At<String>,
    Body(wanted): Body<RollBack>,
) -> Result<Json<InForce>, Failure> {
    let service = service_of(&set)?;
    let before = api.store.active_number(&service).await?;
    let number = api.store.roll_back(&service, wanted.version, &reason(&wanted.reason)?, &actor).await?;
    api.in_force(&service, before != Some(number)).await
}
