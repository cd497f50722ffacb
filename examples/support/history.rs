//! A day of the shop's logs as PostHog holds them.
//!
//! Purpose: a history of any size for the stand-in, of the demo's traffic. Promises: equal seeds, counts and ends give
//! equal rows, ids included; times lie in the 23 hours before `end`, in order, busier in the evening.
//! Never: sends anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::encode::record;
use super::fake_posthog::Row;
use super::templates::{SERVICES, TEMPLATES};
use super::timeline::{Plan, Traffic};
use super::traffic::{Value, resource};

const SECOND: u64 = 1_000_000_000;
const DAY_SECONDS: u64 = 86_400;

/// The machine's time.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// About `count` rows: the timeline of as many seconds as that takes, stretched over the day before `end`.
pub fn rows(seed: u64, count: u64, end: u64) -> Vec<Row> {
    let per_second = (count / 4_000).clamp(100, 2_000);
    let mut traffic = Traffic::new(seed, Plan { records_per_second: per_second, seconds: (count / per_second).max(1) });
    let resources: Vec<Arc<BTreeMap<String, String>>> = (0..SERVICES.len())
        .map(|service| Arc::new(resource(service).into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
        .collect();
    let mut rows = Vec::with_capacity(count as usize);
    let mut second = 0;
    while rows.len() < count as usize {
        for event in traffic.second(second) {
            if rows.len() == count as usize {
                break;
            }
            // The square root: few in the morning, many in the evening.
            let share = (rows.len() as f64 / count as f64).sqrt();
            let ago = (DAY_SECONDS - 3_600) as f64 * (1.0 - share) + 60.0;
            let time = (end - (ago * SECOND as f64) as u64) / 1_000 * 1_000;
            let id = Row::id_of(seed.wrapping_add(1), rows.len() as u64);
            rows.push(row(id, event, time, &resources));
        }
        second += 1;
    }
    rows
}

fn row(id: u128, event: super::traffic::Event, time: u64, resources: &[Arc<BTreeMap<String, String>>]) -> Row {
    let service = TEMPLATES[event.template].service;
    // Three of ten: the rows stay in memory.
    let few = event.attributes.iter().filter(|(key, _)| matches!(*key, "url.path" | "duration_ms" | "user.id"));
    let attributes = few.map(|(key, value)| {
        let text = match value {
            Value::Text(text) => text.clone(),
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
        };
        ((*key).to_owned(), text)
    });
    let attributes = attributes.collect();
    let record = record(event, time);
    let hex = |id: &[u8], len: usize| match id.len() == len {
        true => id.iter().map(|byte| format!("{byte:02X}")).collect(),
        false => "0".repeat(2 * len),
    };
    Row {
        id,
        observed_time_unix_nano: time + SECOND,
        sent_time_unix_nano: time,
        time_unix_nano: time,
        body: match record.body.and_then(|body| body.value) {
            Some(opentelemetry_proto::tonic::common::v1::any_value::Value::StringValue(text)) => text,
            _ => String::new(),
        },
        level: match record.severity_number {
            5 => "debug",
            13 => "warn",
            17 => "error",
            _ => "info",
        }
        .to_owned(),
        severity_text: record.severity_text,
        severity_number: record.severity_number,
        trace_id: hex(&record.trace_id, 16),
        span_id: hex(&record.span_id, 8),
        service_name: SERVICES[service].to_owned(),
        attributes,
        resource_attributes: Arc::clone(&resources[service]),
        instrumentation_scope: "shop.logging".to_owned(),
        ..Row::default()
    }
}
