//! Queries of the logs query API.
//!
//! Purpose: `POST /api/projects/<project>/logs/query/`, a page at a time by cursor.
//! Promises: `limit` is at most what PostHog allows; times are to the microsecond.
//! Never: sends.

use serde_json::{Value, json};

use super::hogql::moment;
use super::row::Row;
use crate::clock::UnixNanos;

/// Rows of a page at most.
pub const MAX_LOGS_ROWS: usize = 1_000;

/// Which rows come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The earliest.
    #[default]
    Earliest,
    /// The latest.
    Latest,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogsQuery {
    /// From this time on.
    pub from: UnixNanos,
    /// Before this time.
    pub to: UnixNanos,
    /// Of these services; of all when empty.
    pub services: Vec<String>,
    /// Received since.
    pub observed_from: Option<UnixNanos>,
    /// Text in the body, whatever its case.
    pub search: Option<String>,
    /// Attributes of the record that have these values.
    pub attributes: Vec<(String, String)>,
    /// Order.
    pub order: Order,
    /// Rows at most.
    pub limit: usize,
    /// Cursor of the page before.
    pub after: Option<String>,
}

impl LogsQuery {
    /// The request's body.
    pub fn body(&self) -> Value {
        let iso = |time: UnixNanos| moment(time).replace(' ', "T") + "Z";
        let mut query = json!({
            "dateRange": { "date_from": iso(self.from), "date_to": iso(self.to) },
            "orderBy": if self.order == Order::Earliest { "earliest" } else { "latest" },
            "limit": self.limit.clamp(1, MAX_LOGS_ROWS),
            "severityLevels": [],
            "serviceNames": self.services,
        });
        if let Some(observed) = self.observed_from {
            query["liveLogsCheckpoint"] = iso(observed).into();
        }
        if let Some(search) = &self.search {
            query["searchTerm"] = search.as_str().into();
        }
        if !self.attributes.is_empty() {
            let filter = |(key, value): &(String, String)| json!({ "key": key, "type": "log_attribute", "operator": "exact", "value": value });
            query["filterGroup"] = self.attributes.iter().map(filter).collect();
        }
        if let Some(after) = &self.after {
            query["after"] = after.as_str().into();
        }
        json!({ "query": query })
    }
}

/// A page.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogsPage {
    /// Rows in the order asked for.
    pub rows: Vec<Row>,
    /// Cursor of the next page, if there is one.
    pub next: Option<String>,
}
