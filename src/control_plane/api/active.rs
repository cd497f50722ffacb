//! The policies in force, for gateways and SDKs.
//!
//! Purpose: `GET /v1/policies/active`, with ETag and a poll that stays open until something changes.
//! Promises: answered from memory; a change wakes every open poll it concerns at once; a poll that ends without a
//! change is a 304.
//! Never: reads the store, unless a client says `Cache-Control: no-cache`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as AxumBody;
use axum::extract::State;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::CanFollow;
use super::extract::Params;
use super::page;
use super::problem::{Failure, Kind};
use crate::control_plane::bundle::Bundle;

/// Longest open poll, in seconds.
const MAX_WAIT_SECONDS: u32 = 60;

/// Whose policies, and how long to wait for others.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ActiveParams {
    /// A service; the policies of all services when left out.
    #[serde(default)]
    #[param(max_length = 128)]
    service: Option<String>,
    /// With `If-None-Match`: seconds to wait for a change before the answer is 304.
    #[serde(default)]
    #[param(minimum = 0, maximum = 60)]
    wait: Option<u32>,
}

/// A document of the policy format.
#[derive(Debug, Serialize, ToSchema)]
pub struct ActivePolicies {
    /// Hash of the policies, also the ETag.
    hash: String,
    /// The policies.
    #[schema(value_type = Vec<Object>)]
    policies: Vec<Value>,
}

/// The policies in force.
#[utoipa::path(get, path = "/v1/policies/active", tag = "policies", params(ActiveParams,
    ("If-None-Match" = Option<String>, Header, description = "ETag of what the client has")),
    responses((status = 200, body = ActivePolicies), (status = 304, description = "What the client has is in force")))]
pub async fn active(
    _: CanFollow,
    State(api): State<Arc<Api>>,
    Params(params): Params<ActiveParams>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let wants_fresh = headers.get(CACHE_CONTROL).is_some_and(|value| value.as_bytes() == b"no-cache");
    if wants_fresh {
        api.mirror.refresh().await?;
    }
    let service = params.service.as_deref();
    if service.is_some_and(|service| service.len() > 128) {
        return Err(Failure::new(Kind::BadRequest, "service: longer than 128 bytes"));
    }
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known: Vec<&str> = known.flat_map(|value| value.split(',')).map(etag).collect();
    let wait = page::within("wait", params.wait.unwrap_or(0), 0, MAX_WAIT_SECONDS)?;
    let wait = Duration::from_secs(wait.into());
    let mut changes = api.mirror.subscribe();
    let deadline = tokio::time::sleep(wait);
    tokio::pin!(deadline);
    loop {
        changes.mark_unchanged();
        let bundle = api.mirror.view().bundle(service);
        if !known.iter().any(|tag| *tag == bundle.hash || *tag == "*") {
            return Ok(found(&bundle));
        }
        // Even a sleep of nothing lasts until the timer's next millisecond.
        if wait.is_zero() {
            return Ok(unchanged(&bundle));
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(unchanged(&bundle)) },
            () = &mut deadline => return Ok(unchanged(&bundle)),
            () = api.stop.triggered() => return Ok(unchanged(&bundle)),
        }
    }
}

/// A tag without its quotes and weakness.
fn etag(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"')
}

fn tagged(status: StatusCode, bundle: &Bundle, body: AxumBody) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", bundle.hash)) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn found(bundle: &Bundle) -> Response {
    let mut response = tagged(StatusCode::OK, bundle, AxumBody::from(bundle.body.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn unchanged(bundle: &Bundle) -> Response {
    tagged(StatusCode::NOT_MODIFIED, bundle, AxumBody::empty())
}
