//! Pages of the logs query API; see `read`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::read::{Drift, bad, iso, span};
use super::rows::Row;
use super::{Answer, State};

const MOST_LOGS: usize = 1_000;
const KEYS: [&str; 11] = [
    "dateRange",
    "severityLevels",
    "serviceNames",
    "orderBy",
    "searchTerm",
    "filterGroup",
    "limit",
    "after",
    "liveLogsCheckpoint",
    "excludeAttributes",
    "resourceFingerprint",
];

fn moment(query: &Json, key: &str) -> Result<u64, Box<Answer>> {
    let text = query["dateRange"][key].as_str().unwrap_or_default();
    let nanos = lipservice::data_plane::policy::parse_timestamp(text);
    Ok(nanos.ok_or_else(|| bad(&format!("dateRange.{key}: Enter a valid date.")))? / 1_000)
}

fn texts(query: &Json, key: &str) -> Vec<String> {
    query[key].as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
}

/// A page of logs as PostHog answers, and how many rows it has.
pub(super) fn logs(state: &mut State, query: &Json) -> Result<(Json, usize), Box<Answer>> {
    let map = query.as_object().ok_or_else(|| bad("query: Expected an object."))?;
    if let Some(unknown) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(bad(&format!("query.{unknown}: Extra inputs are not permitted.")).into());
    }
    let (from, to) = (moment(query, "date_from")?, moment(query, "date_to")?);
    span(&state.read.drift, to.saturating_sub(from) / 1_000_000)?;
    let limit = query["limit"].as_u64().unwrap_or(100) as usize;
    if limit == 0 || limit > MOST_LOGS {
        return Err(bad("query.limit: Ensure this value is less than or equal to 1000.").into());
    }
    let earliest = match query["orderBy"].as_str() {
        Some("earliest") => true,
        None | Some("latest") => false,
        _ => return Err(bad("query.orderBy: Input should be 'latest' or 'earliest'.").into()),
    };
    let (services, levels) = (texts(query, "serviceNames"), texts(query, "severityLevels"));
    let search = query["searchTerm"].as_str().map(str::to_lowercase);
    let received = query["liveLogsCheckpoint"].as_str().and_then(lipservice::data_plane::policy::parse_timestamp);
    let after = query["after"].as_str().map(cursor).transpose()?;
    let filters = query["filterGroup"].as_array().cloned().unwrap_or_default();
    let drift = state.read.drift.clone();
    let all = state.in_order();
    let is_wanted = |row: &&&Row| {
        let place = (row.micros(), row.uuid());
        let behind = after.as_ref().is_none_or(|after| if earliest { place > *after } else { place < *after });
        behind
            && (services.is_empty() || services.contains(&row.service_name))
            && (levels.is_empty() || levels.contains(&row.level))
            && search.as_ref().is_none_or(|search| row.body.to_lowercase().contains(search))
            && received.is_none_or(|received| row.observed_time_unix_nano >= received)
            && filters.iter().all(|filter| matches(filter, row))
    };
    let first = after.as_ref().map_or(from, |(at, _)| if earliest { from.max(*at) } else { from });
    let start = all.partition_point(|row| row.micros() < first);
    let end = all.partition_point(|row| row.micros() < to).max(start);
    let span = all[start..end].iter();
    let found: Vec<&&Row> = match earliest {
        true => span.filter(is_wanted).take(limit + 1).collect(),
        false => span.rev().filter(is_wanted).take(limit + 1).collect(),
    };
    let has_more = found.len() > limit;
    let rows = &found[..found.len().min(limit)];
    let next = rows.last().filter(|_| has_more).map(|row| {
        let place = json!({ "timestamp": iso(row.micros()), "uuid": row.uuid() });
        STANDARD.encode(place.to_string())
    });
    let results: Vec<Json> = rows.iter().map(|row| log(row, &drift)).collect();
    let count = results.len();
    Ok((
        json!({ "query": query, "results": results, "hasMore": has_more, "nextCursor": next, "maxExportableLogs": 5000 }),
        count,
    ))
}

fn cursor(text: &str) -> Result<(u64, String), Box<Answer>> {
    let read = || {
        let place: Json = serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()?;
        let at = lipservice::data_plane::policy::parse_timestamp(place["timestamp"].as_str()?)? / 1_000;
        Some((at, place["uuid"].as_str()?.to_owned()))
    };
    read().ok_or_else(|| bad("Invalid cursor format").into())
}

/// `exact` on an attribute of the record.
fn matches(filter: &Json, row: &Row) -> bool {
    let key = filter["key"].as_str().unwrap_or_default();
    filter["operator"] == "exact"
        && filter["type"] == "log_attribute"
        && row.attributes.get(key).map(String::as_str) == filter["value"].as_str()
}

fn log(row: &Row, drift: &Drift) -> Json {
    let mut log = json!({
        "uuid": row.uuid(),
        "timestamp": iso(row.micros()),
        "observed_timestamp": iso(row.observed_time_unix_nano / 1_000),
        "body": row.body,
        "severity_text": row.level,
        "severity_number": row.severity_number,
        "level": row.level,
        "trace_id": row.trace_id,
        "span_id": row.span_id,
        "attributes": row.attributes,
        "resource_attributes": *row.resource_attributes,
        "resource_fingerprint": "0",
        "instrumentation_scope": row.instrumentation_scope,
        "event_name": row.event_name,
    });
    if let Some(map) = log.as_object_mut() {
        match drift {
            Drift::Without(name) => drop(map.shift_remove(*name)),
            Drift::Renamed(from, to) => {
                if let Some(value) = map.shift_remove(*from) {
                    map.insert((*to).to_owned(), value);
                }
            }
            _ => {}
        }
    }
    log
}
