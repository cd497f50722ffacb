//! Reading PostHog's answers.
//!
//! Promises: an answer of another form is a fault that names what is missing; rows come out in the answer's order.
//! Never: judges statuses; those answers do not come here.

use serde::Deserialize;
use serde_json::Value;

use super::fault::{Fault, FaultKind};
use super::hogql::LOT;
use super::query::LogsPage;
use super::row::{RawRow, Row};

/// The result of a HogQL query.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Values by row.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// The number in the first row's column `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn number(&self, name: &str) -> Result<u64, Fault> {
        let at = self.columns.iter().position(|column| column == name);
        let value = at.and_then(|at| self.rows.first()?.get(at)?.as_u64());
        value.ok_or_else(|| Fault::new(FaultKind::Schema, format!("no number in column {name}")))
    }

    /// Rows selected by `hogql::rows` under the number `asked`; `None` when it is another query's answer.
    pub(super) fn into_rows(mut self, asked: u64) -> Result<Option<Vec<Row>>, Fault> {
        let mark = self.columns.pop().unwrap_or_default();
        if mark.starts_with("asked_") && mark != format!("asked_{asked}") {
            return Ok(None);
        }
        let has_lot = self.columns.last().is_some_and(|column| column == LOT);
        self.columns.truncate(self.columns.len() - usize::from(has_lot));
        let expected = RawRow::COLUMNS.iter().map(|(name, _)| *name);
        if let Some(missing) = expected.clone().find(|name| !self.columns.iter().any(|column| column == name)) {
            return Err(schema(format!("no column {missing}")));
        }
        if !expected.eq(self.columns.iter().map(String::as_str)) {
            return Err(schema("columns in another order".into()));
        }
        let read = |mut values: Vec<Value>| {
            values.pop();
            let lot = if has_lot { values.pop().and_then(|lot| lot.as_u64()) } else { Some(0) };
            let lot = lot.ok_or_else(|| schema(format!("no number in column {LOT}")))?;
            RawRow::from_values(values).and_then(RawRow::read).map(|row| Row { lot, ..row }).map_err(schema)
        };
        self.rows.into_iter().map(read).collect::<Result<Vec<Row>, Fault>>().map(Some)
    }
}

fn schema(what: String) -> Fault {
    Fault::new(FaultKind::Schema, what)
}

fn json<'a, T: Deserialize<'a>>(body: &'a [u8], base: &str) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => schema(error.to_string()),
        _ if !body.trim_ascii_start().starts_with(b"{") => {
            Fault::new(FaultKind::NotPostHog, format!("{base} answers something that is not JSON"))
        }
        _ => schema(format!("JSON that ends early or is broken: {error}")),
    })
}

#[derive(Deserialize)]
struct LogsAnswer {
    results: Vec<RawRow>,
    #[serde(rename = "hasMore")]
    has_more: bool,
    #[serde(rename = "nextCursor", default)]
    next_cursor: Option<String>,
}

/// Of the logs query API.
pub(super) fn logs(body: &[u8], base: &str) -> Result<LogsPage, Fault> {
    let answer: LogsAnswer = json(body, base)?;
    let rows: Result<Vec<Row>, String> = answer.results.into_iter().map(RawRow::read).collect();
    let next = answer.next_cursor.filter(|cursor| answer.has_more && !cursor.is_empty());
    if answer.has_more && next.is_none() {
        return Err(schema("hasMore without a nextCursor".into()));
    }
    Ok(LogsPage { rows: rows.map_err(schema)?, next })
}

/// What the query API says: a result, or where to ask for one.
pub(super) enum HogQlAnswer {
    /// Done.
    Done(Table),
    /// Under way, under this id.
    Waiting(String),
}

#[derive(Deserialize)]
struct Results {
    results: Option<Vec<Vec<Value>>>,
    columns: Option<Vec<String>>,
    error: Option<String>,
    query_status: Option<Status>,
}

#[derive(Deserialize)]
struct Status {
    id: String,
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    error: bool,
    #[serde(default)]
    error_message: Option<String>,
    #[serde(default)]
    results: Option<Box<Results>>,
}

/// Of the query API.
pub(super) fn hogql(body: &[u8], base: &str) -> Result<HogQlAnswer, Fault> {
    let answer: Results = json(body, base)?;
    if let Some(error) = answer.error {
        return Err(Fault::new(FaultKind::Refused, error));
    }
    if let Some(status) = answer.query_status {
        if status.error {
            let why = status.error_message.unwrap_or_else(|| "the query failed without a reason".into());
            let heavy = why.to_lowercase();
            let heavy = ["timed out", "timeout", "memory", "too long"].iter().any(|word| heavy.contains(word));
            return Err(Fault::new(if heavy { FaultKind::TooHeavy } else { FaultKind::Refused }, why));
        }
        return match (status.complete, status.results) {
            (true, Some(results)) => table(*results),
            (true, None) => Err(schema("a complete query without results".into())),
            (false, _) => Ok(HogQlAnswer::Waiting(status.id)),
        };
    }
    table(answer)
}

fn table(answer: Results) -> Result<HogQlAnswer, Fault> {
    match (answer.results, answer.columns) {
        (Some(rows), Some(columns)) => Ok(HogQlAnswer::Done(Table { columns, rows })),
        (None, _) => Err(schema("missing field `results`".into())),
        (_, None) => Err(schema("missing field `columns`".into())),
    }
}
