//! Parts of a request, with problems in place of the framework's own errors.
//!
//! Promises: whatever a client sends, the answer is a problem and never a 5xx; a body must come within a time, and be what is
//! described, or the answer names the place that is not.
//! Never: knows what the parts mean.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::problem::{Failure, Kind};
use super::{Api, strict};

/// Time a client has for its body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Longest part of a client's own text in an answer, in characters.
const MAX_ECHO: usize = 300;

/// A body of JSON.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Api>> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &Arc<Api>) -> Result<Self, Failure> {
        let is_json = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(|value| {
            let essence = value.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        });
        if !is_json {
            return Err(Failure::new(Kind::UnsupportedMediaType, "send Content-Type: application/json"));
        }
        let encoding = request.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
        let bytes = tokio::time::timeout(BODY_TIME, Bytes::from_request(request, state)).await;
        let late = |_| Failure::new(Kind::Timeout, "the body took too long");
        let bytes = bytes.map_err(late)?.map_err(|error: BytesRejection| match error.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => Failure::new(Kind::BadRequest, "the body broke off"),
        })?;
        let bytes = match encoding.as_deref() {
            None | Some(b"identity") => bytes,
            Some(b"gzip") => inflate(&bytes, state.config.max_body_size.as_usize())?,
            Some(_) => return Err(Failure::new(Kind::UnsupportedMediaType, "send it as it is, or as gzip")),
        };
        strict::from_slice(&bytes).map(Body).map_err(|(place, error)| {
            let place = if place.is_empty() { place } else { format!("{place}: ") };
            let detail = shown(&format!("{place}{error}"));
            match error.is_data() {
                true => Failure::new(Kind::InvalidBody, detail),
                false => Failure::new(Kind::BadRequest, format!("not JSON: {detail}")),
            }
        })
    }
}

fn too_large() -> Failure {
    Failure::new(Kind::TooLarge, "more than api.max_body_size")
}

/// What was compressed; no more of it than a body may have.
fn inflate(bytes: &[u8], most: usize) -> Result<Bytes, Failure> {
    let mut inflated = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes).take(most as u64 + 1).read_to_end(&mut inflated);
    read.map_err(|_| Failure::new(Kind::BadRequest, "the body is not gzip"))?;
    (inflated.len() <= most).then(|| Bytes::from(inflated)).ok_or_else(too_large)
}

/// Parameters behind the question mark.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Params(value)),
            Err(error) => Err(Failure::new(Kind::BadRequest, shown(&error.body_text()))),
        }
    }
}

/// Parts of the path.
pub struct At<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(At(value)),
            Err(error) => Err(Failure::new(Kind::BadRequest, shown(&error.body_text()))),
        }
    }
}

/// A client's own text, cut and without control characters.
pub fn shown(text: &str) -> String {
    text.chars().take(MAX_ECHO).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A client's own text as the store can hold it: PostgreSQL refuses the zero character.
pub fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
