//! Is it there: one known record, or how many were received in a span of time.
//!
//! Purpose: the two questions that tell whether PostHog keeps what it acknowledges.
//! Promises: one request each (and the client's repetitions); every query bounds `timestamp`.
//! Never: waits for what is not there yet; the caller knows how long that may take.

use std::time::Duration;

use super::client::Client;
use super::config::ReadApi;
use super::fault::Fault;
use super::hogql::{Refresh, literal, moment};
use super::query::{LogsQuery, Order};
use crate::clock::UnixNanos;

/// PostHog puts its own time in the place of one further than 24 h from it; an hour more for clocks that differ.
const FURTHEST: Duration = Duration::from_secs(25 * 3_600);
/// How far the time of a record just sent may lie from the time it is stored with.
const NEAR: Duration = Duration::from_secs(3_600);
/// Of one service within two hours, of which one record is looked for.
const MOST_MARKED: usize = 1_000;

/// A record that can be told from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Its body, which no other record has.
    pub body: String,
    /// Its `service.name`.
    pub service: String,
    /// Its time.
    pub time: UnixNanos,
}

/// Whether PostHog has this record.
///
/// # Errors
/// As [`Client::hogql`] and [`Client::logs`].
pub async fn holds(client: &Client, api: ReadApi, marked: &Marked) -> Result<bool, Fault> {
    let (from, to) = (earlier(marked.time, NEAR), later(marked.time, NEAR));
    let (body, service) = (literal(&marked.body), literal(&marked.service));
    match api {
        ReadApi::Hogql => {
            let query = format!(
                "select count() as rows from logs where timestamp >= {} and timestamp < {} and service_name = {service} and \
                 body = {body}",
                time(from),
                time(to),
            );
            Ok(client.hogql(&query, Refresh::Blocking).await?.number("rows")? > 0)
        }
        ReadApi::Logs => {
            let query = LogsQuery {
                from,
                to,
                services: vec![marked.service.clone()],
                order: Order::Latest,
                limit: MOST_MARKED,
                ..LogsQuery::default()
            };
            Ok(client.logs(&query).await?.rows.iter().any(|row| row.body == marked.body))
        }
    }
}

/// How many records PostHog received in `from..to` of its own time. The records' own times may lie up to `max_age` before
/// that; older ones are not counted. Needs the scope `query:read`.
///
/// # Errors
/// As [`Client::hogql`].
pub async fn count_received(client: &Client, from: UnixNanos, to: UnixNanos, max_age: Duration) -> Result<u64, Fault> {
    let query = format!(
        "select count() as rows from logs where timestamp >= {} and timestamp < {} and observed_timestamp >= {} and \
         observed_timestamp < {}",
        time(earlier(from, max_age.min(FURTHEST))),
        time(later(to, FURTHEST)),
        time(from),
        time(to),
    );
    client.hogql(&query, Refresh::Blocking).await?.number("rows")
}

fn time(at: UnixNanos) -> String {
    format!("toDateTime('{}', 6, 'UTC')", moment(at))
}

fn earlier(at: UnixNanos, by: Duration) -> UnixNanos {
    at.saturating_sub(by.as_nanos() as u64)
}

fn later(at: UnixNanos, by: Duration) -> UnixNanos {
    at.saturating_add(by.as_nanos() as u64)
}
