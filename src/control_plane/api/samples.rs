//! Samples of gateways, for a loop that no records flow past.
//!
//! Purpose: `POST /v1/samples`: some recent records of each pattern and its exact counts by window, told once.
//! Promises: a report counts once however often it is sent; what is taken is bounded, and what is refused names its place; without
//! a loop here nothing is taken.
//! Never: keeps anything itself; whoever runs the loop does.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::auth::CanIngest;
use super::extract::Body;
use super::problem::{Failure, Kind, Problem};

/// Rows of one report.
pub const MAX_SAMPLE_ROWS: usize = 10_000;
/// Records of one row, and windows.
const MAX_RECORDS: usize = 1_000;
const MAX_WINDOWS: usize = 10_000;
/// Learned patterns of one report.
pub const MAX_SAMPLE_PATTERNS: usize = 100_000;
/// Anomalous patterns of one report.
pub const MAX_SAMPLE_ANOMALOUS: usize = 10_000;
/// Windows from a tenth of a second to a day.
const WINDOWS_NS: std::ops::RangeInclusive<u64> = 100_000_000..=86_400_000_000_000;

/// What is new in the sample of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleReport {
    /// An id that no other report has, such as a UUID: a report that is sent again counts once.
    #[schema(min_length = 1, max_length = 128)]
    pub id: String,
    /// Id of the sender, chosen by itself at its start.
    #[schema(min_length = 1, max_length = 128)]
    pub replica: String,
    /// Length of its windows, in nanoseconds.
    #[schema(minimum = 100_000_000, maximum = 86_400_000_000_000i64)]
    pub window_ns: u64,
    /// Patterns with something new.
    #[schema(max_items = 10_000)]
    pub rows: Vec<SampleRow>,
    /// How the sender stands; in one report of those that are sent together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SampleState>,
}

/// What is new of one pattern.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleRow {
    /// `service.name`. It is cut when it is long.
    pub service: String,
    /// Severity band: `unset`, `trace`, `debug`, `info`, `warn`, `error` or `fatal`.
    pub severity: String,
    /// The pattern, 16 hex digits; null for records beyond the bound on patterns.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Arrival of its first record, in nanoseconds since the epoch.
    pub first_seen_ns: u64,
    /// Some of its records: each an OTLP request of one record, protobuf in base64.
    #[serde(default)]
    #[schema(max_items = 1_000)]
    pub records: Vec<String>,
    /// What came of it in windows that were not told before.
    #[serde(default)]
    #[schema(max_items = 10_000)]
    pub windows: Vec<SampleWindow>,
}

/// What came in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleWindow {
    /// Its number: its start divided by its length.
    pub window: u64,
    /// Records.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How a gateway stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleState {
    /// Records that came in since its start.
    pub received_records: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Records kept of them.
    pub kept_records: u64,
    /// Their bytes.
    pub kept_bytes: u64,
    /// Patterns that are anomalous now.
    #[serde(default)]
    #[schema(max_items = 10_000)]
    pub anomalous: Vec<SamplePattern>,
    /// The patterns it goes by, as a policy document publishes them; left out when they are those it told last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>, max_items = 100_000)]
    pub patterns: Option<Vec<Value>>,
}

/// A pattern of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SamplePattern {
    /// `service.name`.
    pub service: String,
    /// The pattern, 16 hex digits.
    pub pattern: String,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sampled {
    /// Whether it was added; false when it had been before.
    pub added: bool,
    /// Whether its sender had been heard here before. If not, what it told earlier is not here: it sends its records again.
    pub known: bool,
}

/// What holds the samples of gateways.
pub trait Samples: Send + Sync {
    /// Takes a report that is within its bounds.
    ///
    /// # Errors
    /// What is wrong, with its place.
    fn hear(&self, report: SampleReport) -> Result<Sampled, String>;
}

/// Within which bounds a report is.
fn check(report: &SampleReport) -> Result<(), String> {
    let is_id = |id: &str| (1..=128).contains(&id.len()) && !id.contains('\0');
    let most = |what: &str, found: usize, most: usize| match found > most {
        true => Err(format!("{what}: {found}, more than {most}")),
        false => Ok(()),
    };
    for (what, id) in [("id", &report.id), ("replica", &report.replica)] {
        is_id(id).then_some(()).ok_or_else(|| format!("{what}: not 1 to 128 bytes"))?;
    }
    if !WINDOWS_NS.contains(&report.window_ns) {
        return Err("window_ns: not from a tenth of a second to a day".to_owned());
    }
    most("rows", report.rows.len(), MAX_SAMPLE_ROWS)?;
    for (at, row) in report.rows.iter().enumerate() {
        most(&format!("rows[{at}].records"), row.records.len(), MAX_RECORDS)?;
        most(&format!("rows[{at}].windows"), row.windows.len(), MAX_WINDOWS)?;
    }
    let Some(state) = &report.state else { return Ok(()) };
    most("state.anomalous", state.anomalous.len(), MAX_SAMPLE_ANOMALOUS)?;
    let patterns = state.patterns.as_deref().unwrap_or_default();
    most("state.patterns", patterns.len(), MAX_SAMPLE_PATTERNS)?;
    match patterns.iter().position(|pattern| !pattern.is_object()) {
        Some(at) => Err(format!("state.patterns[{at}]: not an object")),
        None => Ok(()),
    }
}

/// Report what is new in a gateway's sample. The body may be compressed (`Content-Encoding: gzip`).
#[utoipa::path(post, path = "/v1/samples", tag = "generator", request_body = SampleReport,
    responses((status = 200, body = Sampled),
    (status = 404, body = Problem, content_type = "application/problem+json")))]
pub async fn take(
    _: CanIngest,
    State(api): State<Arc<Api>>,
    Body(report): Body<SampleReport>,
) -> Result<Json<Sampled>, Failure> {
    let wrong = |detail: String| Failure::new(Kind::InvalidBody, super::extract::shown(&detail));
    check(&report).map_err(wrong)?;
    let none = || Failure::new(Kind::NotFound, "no loop runs in this process; see generator: in docs/loop.md");
    let samples = Arc::clone(api.samples.get().ok_or_else(none)?);
    // Thousands of records are decoded and copied: not on a thread that serves.
    let heard = tokio::task::spawn_blocking(move || samples.hear(report)).await;
    heard.map_err(|_| Failure::broken("taking a sample failed"))?.map(Json).map_err(wrong)
}
