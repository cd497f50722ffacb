//! Is a candidate fit to be published?
//!
//! Purpose: every reason against a generated document, from its text and from its replay.
//! Promises: all findings at once, each with what was found; a document that passes drops no ERROR, lets no pattern
//! vanish, keeps to its budget and changes no rate by more than allowed.
//! Never: repairs.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::document::Explained;
use super::plan::Allowed;
use crate::control_plane::replay::Report;
use crate::data_plane::policy::{CompiledPolicy, Keep, Origin};

/// How far above its budget a replay may end: rounding and chance.
pub const BUDGET_SLACK: f64 = 0.01;

/// The check of the budget, the one that a candidate may fail because no candidate can pass it.
pub const BUDGET_CHECK: &str = "the budget is met";

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// Whether it passed, or was not judged.
    pub ok: bool,
    /// Whether it was looked at: what was not is no reason against the candidate, and none for it.
    pub is_judged: bool,
    /// What was found.
    pub detail: String,
}

/// What a candidate is reviewed against.
#[derive(Debug)]
pub struct Case<'a> {
    /// The candidate, compiled alone.
    pub compiled: &'a CompiledPolicy,
    /// Its rules as read back from its text.
    pub rules: &'a [Explained],
    /// Rates of the document before by service and pattern; `None` without one.
    pub before: Option<&'a HashMap<(String, u64), f64>>,
    /// Patterns that were seen, by service.
    pub known: &'a HashSet<(String, u64)>,
    /// The replay.
    pub report: &'a Report,
    /// Bytes allowed.
    pub allowed: &'a Allowed,
    /// Names of services by number, for `allowed`.
    pub services: &'a [String],
    /// Lowest rate allowed.
    pub least_rate: f64,
    /// Lowest share of the rate before; 0 for no bound.
    pub most_step: f64,
}

/// Reviews it.
pub fn review(case: &Case<'_>) -> Vec<Finding> {
    vec![
        schema(case),
        known(case),
        rates(case),
        change(case),
        vanished(case),
        errors(case),
        books(case),
        budget(case),
        anomalies(case),
    ]
}

/// Whether all passed.
pub fn passes(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.ok)
}

fn finding(check: &'static str, wrong: Vec<String>, fine: String) -> Finding {
    let ok = wrong.is_empty();
    let shown = wrong.len().min(5);
    let more = if wrong.len() > shown { format!(" and {} more", wrong.len() - shown) } else { String::new() };
    Finding { check, ok, is_judged: true, detail: if ok { fine } else { wrong[..shown].join("; ") + &more } }
}

fn schema(case: &Case<'_>) -> Finding {
    let mut wrong: Vec<String> = case.compiled.problems().iter().map(ToString::to_string).collect();
    if case.compiled.len() != case.rules.len() {
        wrong.push(format!("{} of {} rules are in force", case.compiled.len(), case.rules.len()));
    }
    finding("the document is valid", wrong, format!("{} rules", case.rules.len()))
}

fn known(case: &Case<'_>) -> Finding {
    let strangers =
        case.rules.iter().filter(|rule| !rule.pattern.as_ref().is_some_and(|pattern| case.known.contains(pattern)));
    let wrong = strangers.map(|rule| format!("{} names a pattern that was not seen", rule.id)).collect();
    finding("every rule is about a pattern that was seen", wrong, "all known".into())
}

/// Rates within their bounds, written by a program, protecting nothing and ordering nothing.
fn rates(case: &Case<'_>) -> Finding {
    let mut wrong = Vec::new();
    for index in 0..case.compiled.len() as u16 {
        let policy = case.compiled.policy(index);
        match policy.keep {
            Some(Keep::Percentage(p)) if p / 100.0 >= case.least_rate * 0.9 && p <= 100.0 => {}
            other => wrong.push(format!("{}: keep {other:?} is out of bounds", policy.id)),
        }
        if policy.origin != Origin::Generated || policy.protect || policy.expires_at.is_none() {
            wrong.push(format!("{} does not say that it is generated, or does not expire", policy.id));
        }
    }
    finding("rates are within their bounds", wrong, format!("{:.4} % and above", 100.0 * case.least_rate))
}

fn change(case: &Case<'_>) -> Finding {
    let Some(before) = case.before.filter(|_| case.most_step > 0.0) else {
        return finding("no rate falls too far at once", Vec::new(), "no policy before".into());
    };
    let fell = |rule: &&Explained| {
        let before = rule.pattern.as_ref().and_then(|pattern| before.get(pattern)).copied().unwrap_or(1.0);
        // Rates are rounded down by a sixteenth at most.
        rule.rate.is_some_and(|rate| rate < before * case.most_step * 0.9)
    };
    let wrong = case.rules.iter().filter(fell).map(|rule| format!("{} falls to {}", rule.id, rule.keep)).collect();
    finding("no rate falls too far at once", wrong, format!("none below {} of the one before", case.most_step))
}

fn vanished(case: &Case<'_>) -> Finding {
    let checks = &case.report.checks;
    let examples = checks.examples.iter().take(3).map(|e| format!("{} {:?}", e.service, e.template));
    let wrong = match checks.vanished_patterns {
        0 => Vec::new(),
        n => std::iter::once(format!("{n} patterns would vanish")).chain(examples).collect(),
    };
    finding("no pattern vanishes", wrong, format!("{} patterns keep records", case.report.patterns.len()))
}

fn errors(case: &Case<'_>) -> Finding {
    let wrong = match case.report.checks.error_records_lost {
        0 => Vec::new(),
        n => vec![format!("{n} records of ERROR or above would be lost")],
    };
    finding("no ERROR record is lost", wrong, "none".into())
}

fn books(case: &Case<'_>) -> Finding {
    let wrong = match case.report.checks.unaccounted_records {
        0 => Vec::new(),
        n => vec![format!("{n} records are neither kept nor reported")],
    };
    finding("every record is accounted for", wrong, format!("{} records", case.report.total.received.records))
}

/// Told, not judged: the gateway watches what comes in, whatever is sent.
fn anomalies(case: &Case<'_>) -> Finding {
    let check = "anomalies stay visible in what is sent (a note)";
    let detail = match &case.report.anomalies {
        None if case.report.is_in_parts => {
            "not judged: the history was read in parts, and what lies between them is not silence".into()
        }
        None => "nothing was watched".into(),
        Some(counts) => format!("{} of {} would be missed", counts.missed, counts.received),
    };
    Finding { check, ok: true, is_judged: case.report.anomalies.is_some(), detail }
}

fn budget(case: &Case<'_>) -> Finding {
    let mut wrong = Vec::new();
    let mut check = |name: &str, sent: f64, allowed: f64| {
        if sent > allowed * (1.0 + BUDGET_SLACK) {
            wrong.push(format!("{name} would send {:.1} % of its budget", 100.0 * sent / allowed.max(1.0)));
        }
    };
    let sent = |totals: &crate::control_plane::replay::Totals| totals.kept.bytes + totals.summaries.bytes;
    if let Some(allowed) = case.allowed.total {
        check("everything", sent(&case.report.total), allowed);
    }
    for (service, allowed) in case.services.iter().zip(&case.allowed.by_service) {
        if let (Some(allowed), Some(totals)) = (allowed, case.report.services.get(service)) {
            check(service, sent(totals), *allowed);
        }
    }
    finding(BUDGET_CHECK, wrong, format!("{:.1} % of the bytes are sent", 100.0 * case.report.kept_share()))
}
