//! Which patterns were ever reported, for gateways: what one has seen is no news at another.
//!
//! Purpose: `GET /v1/patterns/known`, fingerprints in the order of first reports, behind a cursor that serves again later.
//! Promises: a cursor of another store, or of a pattern that was forgotten, begins from the start and says so; fingerprints
//! are those that gateways make, of the texts as the store has them.
//! Never: says what is new anywhere; gateways decide that.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::auth::CanFollow;
use super::extract::Params;
use super::page;
use super::problem::Failure;
use crate::control_plane::store::{Catalogued, PatternId};
use crate::data_plane::signature::VERSION;
use crate::data_plane::window::known::fingerprint;

/// Fingerprints of a page at most.
pub const MAX_KNOWN: u32 = 10_000;
/// And when nothing is said.
const DEFAULT_KNOWN: u32 = 1_000;

/// Which patterns.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct KnownParams {
    /// `next` of the page before, however long ago; the first page when left out.
    #[serde(default)]
    #[param(max_length = 2000)]
    cursor: Option<String>,
    /// Fingerprints at most, 1000 when left out, never more than 10000.
    #[serde(default)]
    #[param(minimum = 1, maximum = 10_000)]
    limit: Option<u32>,
}

/// Patterns that were reported, in the order of first reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KnownPage {
    /// Version of signatures that the fingerprints are of: with another one they say nothing.
    pub signature_version: u32,
    /// Whether these are the first of all. Then what was known before is void: no cursor was given, or it is none of this store
    /// any more.
    pub from_start: bool,
    /// Of each pattern the XXH64, with the version as seed, of service, severity band and pattern with zero bytes between
    /// them: 16 hex digits.
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    #[serde(with = "hex")]
    pub items: Vec<u64>,
    /// Give it back as `cursor`: at once while there is `more`, later to see what is new. Null while there is nothing.
    pub next: Option<String>,
    /// Whether there is more now.
    pub more: bool,
}

/// The pattern a page ended with.
#[derive(Serialize, Deserialize)]
struct KnownCursor {
    id: PatternId,
    /// Tells a pattern of another store, and a number that is in use again.
    fingerprint: u64,
}

fn fingerprint_of(pattern: &Catalogued) -> u64 {
    fingerprint(&pattern.service, &pattern.severity, &pattern.pattern)
}

impl Api {
    /// A page of what was reported.
    ///
    /// # Errors
    /// A cursor or limit that was not given out here; a store that does not answer.
    pub async fn known(&self, cursor: Option<&str>, limit: Option<u32>) -> Result<KnownPage, Failure> {
        let limit = page::within("limit", limit.unwrap_or(DEFAULT_KNOWN), 1, MAX_KNOWN)?;
        let mut after: Option<KnownCursor> = page::after(cursor)?;
        let mut found = Vec::new();
        if let Some(last) = &after {
            // With the pattern the page before ended with, if it is still that one, and one to see whether there is more.
            found = self.store.catalogue(last.id, limit + 2).await?;
            let is_same = |first: &Catalogued| first.id == last.id && fingerprint_of(first) == last.fingerprint;
            match found.first().is_some_and(is_same) {
                true => drop(found.remove(0)),
                false => after = None,
            }
        }
        if after.is_none() {
            found = self.store.catalogue(PatternId::MIN, limit + 1).await?;
        }
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        let from_start = after.is_none();
        let last = found.last().map(|last| KnownCursor { id: last.id, fingerprint: fingerprint_of(last) }).or(after);
        Ok(KnownPage {
            signature_version: VERSION,
            from_start,
            items: found.iter().map(fingerprint_of).collect(),
            next: last.and_then(|last| page::cursor(&last)),
            more,
        })
    }
}

/// Fingerprints of every pattern that was ever reported and is not forgotten, in the order of first reports.
#[utoipa::path(get, path = "/v1/patterns/known", tag = "statistics", params(KnownParams),
    responses((status = 200, body = KnownPage)))]
pub async fn known(
    _: CanFollow,
    State(api): State<Arc<Api>>,
    Params(params): Params<KnownParams>,
) -> Result<Json<KnownPage>, Failure> {
    api.known(params.cursor.as_deref(), params.limit).await.map(Json)
}

/// Numbers as 16 hex digits each, as patterns are written elsewhere.
mod hex {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(numbers: &[u64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(numbers.iter().map(|number| format!("{number:016x}")))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        let number = |text: &String| u64::from_str_radix(text, 16).map_err(D::Error::custom);
        texts.iter().map(number).collect()
    }
}
