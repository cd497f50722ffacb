//! The read side: `POST /api/projects/<id>/logs/query/`, `POST /api/projects/<id>/query/`, `GET /api/projects/<id>/query/<id>/`.
//!
//! As strict as PostHog's source is: a personal API key (401), its scopes and projects (403), the project (404), the wrapper
//! `query` and its keys (400), 1,000 rows a page of logs, 50,000 of HogQL, 240 requests a minute and 1,200 an hour (429 with
//! Retry-After). Logs come in the order of (timestamp, uuid), and the cursor is that pair. Faults are drawn by a seed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, header};
use serde_json::{Value as Json, json};

use super::rows::Row;
use super::{Answer, Reset, Shared, State, cut_off, header_of, now_nanos, plain, whole};

const MOST_QUERY_BYTES: usize = 1 << 20;
/// A personal API key.
#[derive(Clone, Debug)]
pub struct Key {
    /// `phx_…`
    pub text: String,
    /// Such as `logs:read`.
    pub scopes: Vec<String>,
    /// Projects it may read; all when empty.
    pub projects: Vec<u64>,
}

/// The key that every stand-in knows: it may read everything.
pub const READER: &str = "phx_reader";
/// The project that every stand-in has.
pub const PROJECT: u64 = 1;

/// What goes wrong, as shares of requests.
#[derive(Clone, Debug, Default)]
pub struct ReadFaults {
    /// Seed of what goes wrong when.
    pub seed: u64,
    /// 429.
    pub busy: f64,
    /// Its Retry-After in seconds; none when left out.
    pub retry_after: Option<String>,
    /// 500.
    pub fail: f64,
    /// The connection breaks in the middle of the body.
    pub reset: f64,
    /// The page before is answered again.
    pub duplicate: f64,
    /// The answer takes its time.
    pub slow: f64,
    /// So long.
    pub slow_by: Duration,
}

/// Answers of another form than today's.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Drift {
    /// As today.
    #[default]
    None,
    /// Rows without this field or column.
    Without(&'static str),
    /// Rows in which it is called otherwise.
    Renamed(&'static str, &'static str),
    /// A page of HTML.
    Html,
    /// Every query takes too long.
    TooSlow,
    /// Queries for rows of more than this many seconds take too long.
    TooSlowBeyond(u64),
}

/// Settings and state of the read side.
pub struct ReadSide {
    pub keys: Vec<Key>,
    pub projects: Vec<u64>,
    /// Requests a minute and an hour.
    pub limits: (usize, usize),
    pub faults: ReadFaults,
    pub drift: Drift,
    /// Rows that appear once so many requests were made, received at that moment.
    pub late: VecDeque<(u64, Row)>,
    /// Read requests so far.
    pub requests: u64,
    /// Faults so far, by name.
    pub injected: BTreeMap<&'static str, u64>,
    sent: VecDeque<Instant>,
    queued: HashMap<String, (bool, Json)>,
    /// The page before of each kind of query.
    before: HashMap<&'static str, Bytes>,
    /// Indices of rows in the order of (timestamp, uuid), and how many rows there were.
    sorted: Vec<u32>,
}

impl Default for ReadSide {
    fn default() -> Self {
        let all = ["logs:read", "query:read"].map(str::to_owned).to_vec();
        ReadSide {
            keys: vec![Key { text: READER.into(), scopes: all, projects: Vec::new() }],
            projects: vec![PROJECT],
            limits: (240, 1_200),
            faults: ReadFaults::default(),
            drift: Drift::None,
            late: VecDeque::new(),
            requests: 0,
            injected: BTreeMap::new(),
            sent: VecDeque::new(),
            queued: HashMap::new(),
            before: HashMap::new(),
            sorted: Vec::new(),
        }
    }
}

/// `2026-11-22T21:50:54.123456Z`
pub fn iso(micros: u64) -> String {
    let time = std::time::UNIX_EPOCH + Duration::from_micros(micros);
    let mut text = String::new();
    let _ = write!(text, "{}", humantime::format_rfc3339_micros(time));
    text
}

fn error(status: u16, kind: &str, code: &str, detail: &str) -> Answer {
    json_answer(status, &json!({ "type": kind, "code": code, "detail": detail, "attr": null }))
}

fn json_answer(status: u16, value: &Json) -> Answer {
    let mut answer = whole(status, value.to_string().into());
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

pub(super) fn bad(detail: &str) -> Answer {
    error(400, "validation_error", "invalid_input", detail)
}

/// What a request asks for.
enum Asked {
    Logs,
    HogQl,
    Status(String),
}

fn route(method: &Method, path: &str) -> Option<(u64, Asked)> {
    let rest = path.strip_prefix("/api/projects/")?.strip_suffix('/')?;
    let (project, rest) = rest.split_once('/')?;
    let asked = match (method.as_str(), rest) {
        ("POST", "logs/query") => Asked::Logs,
        ("POST", "query") => Asked::HogQl,
        ("GET", _) => Asked::Status(rest.strip_prefix("query/")?.to_owned()),
        _ => return None,
    };
    Some((project.parse().ok()?, asked))
}

/// Answers a request of the read side.
pub(super) async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Answer, Reset> {
    let Some((project, asked)) = route(request.method(), request.uri().path()) else {
        return Ok(error(404, "invalid_request", "not_found", "Endpoint not found."));
    };
    let key = header_of(&request, header::AUTHORIZATION);
    let Ok(body) = Limited::new(request.into_body(), MOST_QUERY_BYTES).collect().await else {
        return Ok(plain(413, "body too large"));
    };
    let body = body.to_bytes();
    let (planned, wait) = {
        let mut state = shared.state();
        if let Err(refused) = state.read.admit(&key, project, &asked) {
            return Ok(*refused);
        }
        state.read.requests += 1;
        state.reveal();
        let fault = state.read.draw();
        (fault, if fault == Some("slow") { state.read.faults.slow_by } else { Duration::ZERO })
    };
    match planned {
        Some("busy") => {
            let mut answer = error(429, "throttled_error", "throttled", "Request was throttled.");
            let after = shared.state().read.faults.retry_after.as_ref().and_then(|text| text.parse().ok());
            after.map(|after| answer.headers_mut().insert(header::RETRY_AFTER, after));
            return Ok(answer);
        }
        Some("fail") => return Ok(error(500, "server_error", "error", "A server error occurred.")),
        _ => tokio::time::sleep(wait).await,
    }
    let answered = settle(&asked, &body, shared, planned == Some("duplicate"));
    match (answered, planned) {
        (Ok(bytes), Some("reset")) => Ok(cut_off(bytes)),
        (Ok(bytes), _) => {
            let mut answer = whole(200, bytes);
            answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            Ok(answer)
        }
        (Err(refused), _) => Ok(*refused),
    }
}

fn settle(asked: &Asked, body: &[u8], shared: &Shared, is_duplicate: bool) -> Result<Bytes, Box<Answer>> {
    let mut state = shared.state();
    match &state.read.drift {
        Drift::Html => {
            let mut answer = plain(200, "<!doctype html><title>PostHog</title>");
            answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/html"));
            return Err(answer.into());
        }
        Drift::TooSlow => return Err(too_slow().into()),
        _ => {}
    }
    if let Asked::Status(id) = asked {
        let Some((looked, result)) = state.read.queued.get_mut(id) else {
            return Err(error(404, "invalid_request", "not_found", "Query not found.").into());
        };
        let complete = std::mem::replace(looked, true);
        let results = if complete { result.clone() } else { Json::Null };
        let status = json!({ "id": id, "complete": complete, "error": false, "results": results });
        return Ok(json!({ "query_status": status }).to_string().into());
    }
    let sent: Json = serde_json::from_slice(body).map_err(|_| bad("Malformed request."))?;
    let query = sent.get("query").ok_or_else(|| bad("query: This field is required."))?;
    let is_logs = matches!(asked, Asked::Logs);
    let (result, rows) = if is_logs { super::page::logs(&mut state, query)? } else { hogql(&mut state, query)? };
    let text = if is_logs { "logs" } else { query["query"].as_str().unwrap_or_default() };
    let kind = if is_logs {
        "logs"
    } else if text.contains("count()") {
        "counts"
    } else {
        "rows"
    };
    if !is_logs && sent["refresh"].as_str().is_some_and(|refresh| refresh.contains("async")) {
        let id = format!("query-{}", state.read.queued.len() + 1);
        state.read.queued.insert(id.clone(), (false, result));
        let status = json!({ "id": id, "complete": false, "error": false });
        return Ok(json!({ "query_status": status }).to_string().into());
    }
    let bytes = Bytes::from(result.to_string());
    if is_duplicate
        && kind != "counts"
        && let Some(before) = state.read.before.get(kind).cloned()
    {
        return Ok(before);
    }
    if rows > 0 {
        state.read.before.insert(kind, bytes.clone());
    }
    Ok(bytes)
}

fn too_slow() -> Answer {
    error(504, "server_error", "query_timeout", "Query has hit the max execution time before completing.")
}

impl ReadSide {
    /// Key, scope, project, limits: in the order in which PostHog looks at them.
    fn admit(&mut self, authorization: &str, project: u64, asked: &Asked) -> Result<(), Box<Answer>> {
        let denied = |detail: &str| Err(error(403, "authentication_error", "permission_denied", detail).into());
        let Some(text) = authorization.strip_prefix("Bearer ") else {
            let detail = "Authentication credentials were not provided.";
            return Err(error(401, "authentication_error", "not_authenticated", detail).into());
        };
        let Some(key) = self.keys.iter().find(|key| key.text == text.trim()) else {
            let detail = "Personal API key found in request Authorization header is invalid.";
            return Err(error(401, "authentication_error", "authentication_failed", detail).into());
        };
        if !self.projects.contains(&project) {
            return Err(error(404, "invalid_request", "not_found", "Project not found.").into());
        }
        let scope = if matches!(asked, Asked::Logs) { "logs:read" } else { "query:read" };
        if !key.scopes.iter().any(|found| found == scope || found == "*") {
            return denied(&format!("API key missing required scope '{scope}'"));
        }
        if !key.projects.is_empty() && !key.projects.contains(&project) {
            return denied(&format!("API key does not have access to the requested project: ID {project}."));
        }
        let now = Instant::now();
        while self.sent.front().is_some_and(|at| now - *at >= Duration::from_secs(3_600)) {
            self.sent.pop_front();
        }
        let minute = self.sent.iter().rev().take_while(|at| now - **at < Duration::from_secs(60)).count();
        if minute >= self.limits.0 || self.sent.len() >= self.limits.1 {
            *self.injected.entry("limit").or_default() += 1;
            let mut answer = error(429, "throttled_error", "throttled", "Request was throttled.");
            answer.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("60"));
            return Err(answer.into());
        }
        self.sent.push_back(now);
        Ok(())
    }

    /// What goes wrong with this request.
    fn draw(&mut self) -> Option<&'static str> {
        let hash = twox_hash::XxHash64::oneshot(self.faults.seed, &self.requests.to_le_bytes());
        let mut drawn = (hash >> 11) as f64 / (1u64 << 53) as f64;
        let ReadFaults { busy, fail, reset, duplicate, slow, .. } = self.faults;
        for (name, share) in
            [("busy", busy), ("fail", fail), ("reset", reset), ("duplicate", duplicate), ("slow", slow)]
        {
            if drawn < share {
                *self.injected.entry(name).or_default() += 1;
                return Some(name);
            }
            drawn -= share;
        }
        None
    }
}

impl State {
    /// Lets late rows appear that are due.
    fn reveal(&mut self) {
        while self.read.late.front().is_some_and(|(due, _)| *due <= self.read.requests) {
            if let Some((_, mut row)) = self.read.late.pop_front() {
                row.observed_time_unix_nano = now_nanos();
                self.rows.push(row);
                *self.read.injected.entry("late").or_default() += 1;
            }
        }
    }

    /// All rows in the order of (timestamp, uuid).
    pub(super) fn in_order(&mut self) -> Vec<&Row> {
        let (rows, sorted) = (&self.rows, &mut self.read.sorted);
        if sorted.len() != rows.len() {
            if sorted.len() > rows.len() {
                sorted.clear();
            }
            sorted.extend(sorted.len() as u32..rows.len() as u32);
            sorted.sort_by_key(|at| (rows[*at as usize].micros(), rows[*at as usize].id));
        }
        sorted.iter().map(|at| &rows[*at as usize]).collect()
    }
}

pub(super) fn span(drift: &Drift, seconds: u64) -> Result<(), Box<Answer>> {
    match drift {
        Drift::TooSlowBeyond(most) if seconds > *most => Err(too_slow().into()),
        _ => Ok(()),
    }
}

/// A table as PostHog answers, and how many rows it has.
fn hogql(state: &mut State, query: &Json) -> Result<(Json, usize), Box<Answer>> {
    match query["kind"].as_str() {
        Some("HogQLQuery") => {}
        Some("LogsQuery") => {
            let detail = "You don't have viewer access to logs.";
            return Err(error(403, "authentication_error", "permission_denied", detail).into());
        }
        _ => return Err(bad("Unknown query kind.").into()),
    }
    let select = super::sql::parse(query["query"].as_str().unwrap_or_default()).map_err(|why| bad(&why))?;
    if !select.is_count() {
        span(&state.read.drift, select.seconds())?;
    }
    let drift = state.read.drift.clone();
    let mut found = select.run(&state.in_order()).map_err(|why| bad(&why))?;
    match drift {
        Drift::Without(name) => {
            if let Some(at) = found.columns.iter().position(|column| column == name) {
                found.columns.remove(at);
                found.rows.iter_mut().for_each(|row| drop(row.remove(at)));
            }
        }
        Drift::Renamed(from, to) => found.columns.iter_mut().filter(|c| *c == from).for_each(|c| *c = to.to_owned()),
        _ => {}
    }
    let rows = found.rows.len();
    Ok((json!({ "columns": found.columns, "results": found.rows, "hasMore": false, "is_cached": false }), rows))
}
