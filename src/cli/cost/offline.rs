//! The bill of recorded traffic, as if it went on like that.
//!
//! Promises: bytes are those of a replay (`docs/simulate.md`): bodies, blocks, annotations and summaries.
//! Never: sends anything; knows of a month more than the recording says.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::Value;

use crate::cli::requests::Traffic;
use crate::cli::simulate::{ReplayArgs, compile, documents, replay};
use crate::control_plane::insights::calendar::{Day, day_of};
use crate::control_plane::insights::cost::{self, DayBytes, Part, Usage};
use crate::control_plane::insights::recommend::{Scene, recommend};
use crate::control_plane::replay::{CellProfile, Outcome, Report};
use crate::data_plane::policy::CompiledPolicy;
use crate::data_plane::view::LogIndex;
use crate::data_plane::window::PatternKey;

/// The bill and what could be saved, as the API answers.
pub fn costs(
    traffic: &Traffic,
    args: &ReplayArgs,
    policies: &[PathBuf],
    (top, limit): (u16, u16),
) -> anyhow::Result<(Value, Value)> {
    let (settings, prices) = (args.settings()?, args.prices()?);
    let policy = compile(&documents(policies)?);
    let summary_seconds = settings.sampler.summary.interval.0.as_secs_f64();
    let outcome = replay(traffic, &settings, policy, CompiledPolicy::default())?;
    let report = Report::of(&outcome, &prices);
    let days = days(traffic, &report)?;
    let total = &report.total;
    // Days are split between services as the whole recording is.
    let share = |totals: &crate::control_plane::replay::Totals| {
        let (received, sent) = (totals.received.bytes, totals.kept.bytes + totals.summaries.bytes);
        let all = total.kept.bytes + total.summaries.bytes;
        let (received, sent) = (received / total.received.bytes.max(1.0), sent / all.max(1.0));
        days.iter().map(|day| DayBytes { received: day.received * received, sent: day.sent * sent, ..*day }).collect()
    };
    let usage = Usage {
        began: Some(outcome.profile.first),
        services: report.services.iter().map(|(name, totals)| (name.clone(), share(totals))).collect(),
        parts: parts(&report, &outcome),
        parts_seconds: report.seconds,
        overhead: outcome.arrived_bytes as f64 / (outcome.profile.seen().bytes as f64).max(1.0),
        is_measured: true,
        days,
        llm: Vec::new(),
    };
    let costs = cost::costs(&usage, &prices, outcome.profile.last, usize::from(top));
    let scene =
        Scene { parts: &usage.parts, seconds: report.seconds, summary_seconds, protections: &[], prices: &prices };
    let proposals = recommend(&scene, usize::from(limit));
    Ok((serde_json::to_value(costs)?, serde_json::to_value(proposals)?))
}

/// Billed bytes by day: as many as the replay says, spread as the requests came; where parts of a history were read, as many
/// more as all of it has.
fn days(traffic: &Traffic, report: &Report) -> anyhow::Result<Vec<DayBytes>> {
    let (mut index, mut by_day, mut latest) = (LogIndex::default(), BTreeMap::<Day, f64>::new(), 0);
    for request in traffic.requests()? {
        let request = request.with_context(|| format!("reading {}", traffic.name()))?;
        index.read(&request).context("reading a request")?;
        let times = index.records.iter().map(|record| record.time_unix_nano);
        // Time does not step back, as in the replay.
        latest = latest.max(times.max().unwrap_or(0));
        *by_day.entry(day_of(latest)).or_default() += request.len() as f64;
    }
    let all: f64 = by_day.values().sum();
    let total = &report.total;
    let scale = traffic.coverage().map_or(1.0, |coverage| 1.0 / coverage.share.max(f64::MIN_POSITIVE));
    let (received, sent) = (total.received.bytes * scale, (total.kept.bytes + total.summaries.bytes) * scale);
    let day = |(day, bytes): (Day, f64)| {
        let share = bytes / all.max(1.0);
        DayBytes { day, received: received * share, sent: sent * share }
    };
    Ok(by_day.into_iter().map(day).collect())
}

fn parts(report: &Report, outcome: &Outcome) -> Vec<Part> {
    let example = |(key, cell): (&PatternKey, &CellProfile)| {
        let service = outcome.services.name(key.service).to_string();
        ((service, key.band.as_str(), key.pattern.to_string()), cell.example.to_string())
    };
    let examples: HashMap<(String, &str, String), String> = outcome.profile.cells.iter().map(example).collect();
    let part = |row: &crate::control_plane::replay::Row| Part {
        service: row.service.clone(),
        severity: row.severity.to_owned(),
        pattern: row.pattern.clone(),
        template: row.template.clone(),
        example: examples.get(&(row.service.clone(), row.severity, row.pattern.clone())).cloned().unwrap_or_default(),
        records: row.totals.received.records as f64,
        kept: row.totals.kept.records as f64,
        received: row.totals.received.bytes,
        sent: row.totals.kept.bytes + row.totals.summaries.bytes,
    };
    report.patterns.iter().map(part).collect()
}
