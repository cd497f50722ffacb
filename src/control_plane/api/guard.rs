//! What every request passes on its way in and out.
//!
//! Purpose: request ids, tokens, rates, counts.
//! Promises: a client's own request id is kept when it is short and plain; those without a valid token have rates too;
//! answers are counted.
//! Never: looks into bodies.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

use super::auth::{Peer, RequestId, caller};
use super::problem::{Failure, Kind};
use super::{Api, MAX_CLIENTS};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id taken from a client, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// Gives the request an id and counts the answer.
pub async fn identify(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let own = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    let is_plain =
        |id: &&str| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let id = own.filter(is_plain).map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    let class = usize::from(response.status().as_u16() / 100).clamp(1, 5) - 1;
    api.counters.answers[class].fetch_add(1, Ordering::Relaxed);
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Finds out who asks and holds them to their rate.
pub async fn admit(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0);
    let tokens = api.mirror.tokens();
    let found = caller(request.headers(), request.uri(), peer, &tokens, api.store.now());
    let key = match &found {
        Ok(caller) => caller.key.clone(),
        Err(_) => format!("unknown {peer}"),
    };
    if api.rates.len() > MAX_CLIENTS {
        api.rates.retain_recent();
    }
    if api.rates.check_key(&key).is_err() {
        api.counters.limited.fetch_add(1, Ordering::Relaxed);
        return Failure::new(Kind::RateLimited, "more than api.requests_per_second").into_response();
    }
    match found {
        Ok(caller) => {
            request.extensions_mut().insert(Arc::new(caller));
            next.run(request).await
        }
        Err(failure) => {
            api.counters.refused.fetch_add(1, Ordering::Relaxed);
            failure.into_response()
        }
    }
}
