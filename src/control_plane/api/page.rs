//! Long lists, page by page.
//!
//! Purpose: a cursor names the last item of a page; the next page begins behind it.
//! Promises: a list that changes meanwhile skips and repeats nothing that stayed; a cursor that was made up is a bad
//! request, no more.
//! Never: counts the whole list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Failure, Kind};

/// Items of a page when nothing is said.
const DEFAULT_LIMIT: u32 = 50;
/// Items of a page at most.
const MAX_LIMIT: u32 = 1000;

/// Which page.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct PageParams {
    /// `next` of the page before; the first page when left out.
    #[serde(default)]
    #[param(max_length = 2000)]
    pub cursor: Option<String>,
    /// Items at most, 50 when left out, never more than 1000.
    #[serde(default)]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}

impl PageParams {
    /// Items at most.
    ///
    /// # Errors
    /// As [`limit`].
    pub fn limit(&self) -> Result<u32, Failure> {
        limit(self.limit)
    }

    /// Behind which item the page begins.
    pub fn after<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        after(self.cursor.as_deref())
    }
}

/// Items at most.
///
/// # Errors
/// When more is asked for than a page holds, or nothing.
pub fn limit(asked: Option<u32>) -> Result<u32, Failure> {
    within("limit", asked.unwrap_or(DEFAULT_LIMIT), 1, MAX_LIMIT)
}

/// A parameter's number, if it lies within its bounds.
///
/// # Errors
/// When it does not.
pub fn within(name: &str, asked: u32, least: u32, most: u32) -> Result<u32, Failure> {
    match (least..=most).contains(&asked) {
        true => Ok(asked),
        false => Err(Failure::new(Kind::BadRequest, format!("{name}: not from {least} to {most}"))),
    }
}

/// What a cursor names.
pub fn after<T: DeserializeOwned>(cursor: Option<&str>) -> Result<Option<T>, Failure> {
    let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) else { return Ok(None) };
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let named = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    named.map(Some).ok_or_else(|| Failure::new(Kind::BadRequest, "cursor: not one that was given out here"))
}

/// A cursor that names this.
pub fn cursor<C: Serialize>(named: &C) -> Option<String> {
    serde_json::to_vec(named).ok().map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// A part of a list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; null at the end.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// A page from one item more than fit, if there is one more.
    pub fn new<C: Serialize>(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> C) -> Self {
        let has_more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let last = items.last().filter(|_| has_more);
        let next = last.and_then(|last| self::cursor(&cursor(last)));
        Page { items, next }
    }
}
