//! Errors as RFC 9457 problem details.
//!
//! Promises: each kind of problem has one `type` and one status, and both stay; a fault of ours is logged and says
//! nothing of its cause to the client.
//! Never: shows a statement, a path of this machine, or a secret.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control_plane::store::{Fault, StoreError};
use crate::control_plane::validate::Violation;

/// What is wrong, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be read.
    BadRequest,
    /// A token is missing or not known.
    Unauthenticated,
    /// The token does not allow this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The address does not have this method.
    MethodNotAllowed,
    /// The present state does not allow it.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// The body is not JSON by its header.
    UnsupportedMediaType,
    /// The body is JSON but not what is asked for.
    InvalidBody,
    /// A policy that cannot be used.
    InvalidPolicy,
    /// Too many requests.
    RateLimited,
    /// The body did not come in time.
    Timeout,
    /// The store is away.
    Unavailable,
    /// A defect.
    Internal,
}

impl Kind {
    /// Status, name, title.
    fn facts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request cannot be read"),
            Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "A valid token is needed"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token does not allow this"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
            Kind::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "This address does not have the method")
            }
            Kind::Conflict => (StatusCode::CONFLICT, "conflict", "The present state does not allow this"),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Kind::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body must be application/json")
            }
            Kind::InvalidBody => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid-body", "The body is not what is asked for")
            }
            Kind::InvalidPolicy => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-policy", "The policy cannot be used"),
            Kind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate-limited", "Too many requests"),
            Kind::Timeout => (StatusCode::REQUEST_TIMEOUT, "timeout", "The body did not come in time"),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The store does not answer"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something is wrong here"),
        }
    }

    /// Its status.
    pub fn status(self) -> StatusCode {
        self.facts().0
    }
}

/// A problem, as sent.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Problem {
    /// A name that stays: `urn:lipservice:problem:…`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What it is about this time.
    pub detail: String,
    /// What is wrong with a document, place by place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
}

/// An answer that is a problem.
#[derive(Clone, Debug)]
pub struct Failure {
    kind: Kind,
    detail: String,
    errors: Vec<Violation>,
}

impl Failure {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Failure { kind, detail: detail.into(), errors: Vec::new() }
    }

    /// A defect, written into the log.
    pub fn broken(what: &str) -> Self {
        tracing::error!(what, "a request failed");
        Failure::new(Kind::Internal, "see the server's log")
    }

    /// A policy that cannot be used.
    pub fn invalid_policy(errors: Vec<Violation>) -> Self {
        let detail = match &errors[..] {
            [one] if one.path.is_empty() => one.reason.clone(),
            [one] => format!("{}: {}", one.path, one.reason),
            _ => format!("{} faults", errors.len()),
        };
        Failure { kind: Kind::InvalidPolicy, detail, errors }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error.fault() {
            Fault::NotFound => Failure::new(Kind::NotFound, error.to_string()),
            Fault::Conflict => match error {
                StoreError::Conflict(message) => Failure::new(Kind::Conflict, message),
                _ => Failure::new(Kind::Conflict, "it was changed at the same time; read it again"),
            },
            Fault::Unavailable => {
                tracing::warn!(%error, "the store does not answer");
                Failure::new(Kind::Unavailable, "the store is away, full or read-only; the policies in force stay")
            }
            Fault::Broken => {
                tracing::error!(%error, "a request failed");
                Failure::new(Kind::Internal, "see the server's log")
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind.facts();
        let problem = Problem {
            kind: format!("urn:lipservice:problem:{name}"),
            title: title.into(),
            status: status.as_u16(),
            detail: self.detail,
            errors: self.errors,
        };
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match self.kind {
            Kind::Unauthenticated => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Kind::RateLimited | Kind::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}
