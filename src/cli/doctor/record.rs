//! One marked record there and back.
//!
//! Purpose: find what no answer of PostHog's shows: records that it acknowledges and then drops.
//! Promises: one record of some 200 bytes; the way out is the exporter's own; the wait is bounded.
//! Never: sends anything of the user's.

use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::time::Instant;

use super::findings::{Findings, Status};
use crate::clock::Clock;
use crate::control_plane::posthog::{Client, Fault, FaultKind, Marked, ReadApi, holds};
use crate::data_plane::exporter::config::ExporterConfig;
use crate::data_plane::exporter::{Outcome, probe};

/// `service.name` of the record.
const SERVICE: &str = "lipservice-doctor";
/// Between the first two looks; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// OpenTelemetry's number of INFO.
const INFO: i32 = 9;

/// A record that no one has sent before.
pub fn marked() -> Marked {
    let id: u128 = rand::random();
    Marked {
        body: format!("lipservice doctor looks whether this record arrives: {id:032x}"),
        service: SERVICE.into(),
        time: Clock::System.now(),
    }
}

fn request(marked: &Marked) -> Bytes {
    let text = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    let name = KeyValue { key: "service.name".into(), value: text(&marked.service), ..KeyValue::default() };
    let record = LogRecord {
        time_unix_nano: marked.time,
        observed_time_unix_nano: marked.time,
        severity_number: INFO,
        severity_text: "INFO".into(),
        body: text(&marked.body),
        ..LogRecord::default()
    };
    let block = ResourceLogs {
        resource: Some(Resource { attributes: vec![name], ..Resource::default() }),
        scope_logs: vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![block] }.encode_to_vec().into()
}

/// Sends the record by the exporter at `path`. Returns whether it was acknowledged.
pub async fn send(
    findings: &mut Findings,
    path: &str,
    config: &ExporterConfig,
    token: Option<&str>,
    marked: &Marked,
) -> bool {
    let (status, says) = match probe(config, request(marked), token).await {
        Ok(Some(outcome)) => judge(outcome),
        Ok(None) => return false,
        Err(error) => (Status::Fail, format!("{path} cannot be used: {error}")),
    };
    findings.add("record sent", path, status, says);
    status == Status::Ok
}

fn judge(outcome: Outcome) -> (Status, String) {
    match outcome {
        Outcome::Delivered { rejected: 0, .. } => (Status::Ok, "the destination acknowledged one marked record".into()),
        Outcome::Delivered { .. } => {
            (Status::Fail, "the destination took the request and rejected the record: its own log may say why".into())
        }
        Outcome::Transient { why, .. } | Outcome::Suspect { why } => {
            (Status::Fail, format!("{why}: the gateway would try again; look at the destination if it goes on"))
        }
        Outcome::Cut { why, .. } | Outcome::Refused { why, .. } => (Status::Fail, why),
    }
}

/// Looks for the record until it is there or `wait` is over.
///
/// # Errors
/// As [`holds`].
async fn look(client: &Client, api: ReadApi, marked: &Marked, wait: Duration) -> Result<Option<Duration>, Fault> {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if holds(client, api, marked).await? {
            return Ok(Some(start.elapsed()));
        }
        let left = wait.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        client.timer().sleep(pause.min(left)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Looks for the record that the exporter at `path` sent, for `wait`; a look that hangs is given as long again.
pub async fn find(
    findings: &mut Findings,
    path: &str,
    (client, api): (&Client, ReadApi),
    marked: &Marked,
    wait: Duration,
) {
    let limit = wait.saturating_mul(2).max(Duration::from_secs(30));
    let found = tokio::time::timeout(limit, look(client, api, marked, wait)).await;
    let (status, says) = match found {
        Ok(Ok(Some(after))) => (Status::Ok, format!("PostHog stored it; found after {:.1} s", after.as_secs_f64())),
        Ok(Ok(None)) => (Status::Fail, lost(path, client.project(), wait)),
        Ok(Err(fault)) => of_fault(&fault),
        Err(_) => (Status::Warn, format!("not checked: PostHog's read API gave no answer in {} s", limit.as_secs())),
    };
    findings.add("record found", path, status, says);
}

fn lost(path: &str, project: &str, wait: Duration) -> String {
    format!(
        "PostHog answered 200, but the record was not there {} s later: it drops records silently when the token is not that of \
         project {project} or the quota is used up; compare {path}.token with Settings > Project, look at Billing and at drop \
         rules of Logs, or give it longer with --wait",
        wait.as_secs()
    )
}

/// What a fault of the read API means here.
pub fn of_fault(fault: &Fault) -> (Status, String) {
    match fault.kind {
        FaultKind::Busy | FaultKind::Server | FaultKind::Broken | FaultKind::TooHeavy => {
            (Status::Warn, format!("not checked: {fault}"))
        }
        _ => (Status::Fail, fault.to_string()),
    }
}
