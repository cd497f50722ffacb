//! Reports of a replay as text for people.
//!
//! Purpose: what matters first: bytes and money, then what was lost, then where it went.
//! Promises: no control character of a log reaches the terminal; lines stay readable at 120 columns.
//! Never: leaves out a failed check.

use std::fmt::Write;

use crate::control_plane::insights::{Prices, bytes_text};
use crate::control_plane::replay::{Report, Totals};

/// Characters of a template in a table.
const TEMPLATE_CHARS: usize = 60;
/// Characters of a service's name in a table.
const SERVICE_CHARS: usize = 18;

/// The report as text, with the `top` largest patterns.
pub fn report(report: &Report, prices: &Prices, top: usize) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_report(&mut out, report, prices, top);
    out
}

fn write_report(out: &mut String, report: &Report, prices: &Prices, top: usize) -> std::fmt::Result {
    let total = &report.total;
    let sent = total.kept.bytes + total.summaries.bytes;
    writeln!(
        out,
        "{} records over {} in {} patterns",
        total.received.records,
        humantime::format_duration(std::time::Duration::from_secs(report.seconds.round() as u64)),
        report.patterns.len()
    )?;
    writeln!(
        out,
        "billed   {} -> {} ({:.1} %), of it summaries {}",
        bytes_text(total.received.bytes),
        bytes_text(sent),
        100.0 * report.kept_share(),
        bytes_text(total.summaries.bytes)
    )?;
    writeln!(out, "a month  {} -> {} at this rate", prices.text(total.month_before), prices.text(total.month_after))?;
    writeln!(out, "records  {} kept, {} summaries", total.kept.records, total.summaries.records)?;
    let traces = &report.traces;
    if traces.traces > 0 {
        writeln!(
            out,
            "traces   {} whole, {} in part, {} gone, of {}",
            traces.whole, traces.broken, traces.gone, traces.traces
        )?;
    }
    checks(out, report)?;
    anomalies(out, report)?;
    writeln!(out)?;
    groups(out, "service", report.services.iter().map(|(name, totals)| (name.as_str(), totals)), prices)?;
    writeln!(out)?;
    groups(out, "severity", report.severities.iter().map(|(name, totals)| (*name, totals)), prices)?;
    writeln!(out)?;
    patterns(out, report, top)
}

fn checks(out: &mut String, report: &Report) -> std::fmt::Result {
    let checks = &report.checks;
    for (name, count) in [
        ("patterns that would vanish", checks.vanished_patterns),
        ("ERROR records lost", checks.error_records_lost),
        ("records unaccounted for", checks.unaccounted_records),
    ] {
        writeln!(out, "{:8} {name}: {count}", if count == 0 { "ok" } else { "FAILED" })?;
    }
    if report.ordered_dropped > 0 {
        writeln!(out, "{:8} patterns dropped whole by order of a human policy: {}", "note", report.ordered_dropped)?;
    }
    for example in &checks.examples {
        let (service, template) = (shown(&example.service, SERVICE_CHARS), shown(&example.template, TEMPLATE_CHARS));
        writeln!(out, "         {} {service} {} {} {template}", example.records, example.severity, example.pattern)?;
    }
    Ok(())
}

/// Not a check: the gateway itself watches what comes in. It says what somebody would miss who reads what goes out.
fn anomalies(out: &mut String, report: &Report) -> std::fmt::Result {
    let Some(anomalies) = &report.anomalies else {
        return match report.is_in_parts {
            true => writeln!(out, "{:8} anomalies are not judged: the history was read in parts", "note"),
            false => Ok(()),
        };
    };
    if anomalies.received == 0 && anomalies.invented == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "{:8} anomalies in what came in: {}; of these not visible in what goes out: {}; visible there alone: {}",
        "note", anomalies.received, anomalies.missed, anomalies.invented
    )?;
    for missed in anomalies.examples.iter().take(5) {
        let (service, template) = (shown(&missed.service, SERVICE_CHARS), shown(&missed.template, TEMPLATE_CHARS));
        writeln!(out, "         {} {service} {:.0} for {:.0} {template}", missed.kind, missed.seen, missed.expected)?;
    }
    Ok(())
}

fn groups<'a>(
    out: &mut String,
    title: &str,
    groups: impl Iterator<Item = (&'a str, &'a Totals)>,
    prices: &Prices,
) -> std::fmt::Result {
    writeln!(
        out,
        "{title:<18} {:>12} {:>12} {:>10} {:>10} {:>7} {:>10}",
        "records", "kept", "bytes", "sent", "kept", "a month"
    )?;
    for (name, totals) in groups {
        let sent = totals.kept.bytes + totals.summaries.bytes;
        writeln!(
            out,
            "{:<18} {:>12} {:>12} {:>10} {:>10} {:>6.1}% {:>10}",
            shown(name, SERVICE_CHARS),
            totals.received.records,
            totals.kept.records,
            bytes_text(totals.received.bytes),
            bytes_text(sent),
            100.0 * sent / totals.received.bytes.max(1.0),
            prices.text(totals.month_after),
        )?;
    }
    Ok(())
}

fn patterns(out: &mut String, report: &Report, top: usize) -> std::fmt::Result {
    if top == 0 {
        return Ok(());
    }
    writeln!(
        out,
        "{:<18} {:<5} {:>10} {:>9} {:>10} {:>7}  pattern",
        "service", "", "records", "kept", "bytes", "error"
    )?;
    for row in report.patterns.iter().take(top) {
        writeln!(
            out,
            "{:<18} {:<5} {:>10} {:>9} {:>10} {:>6.1}%  {}",
            shown(&row.service, SERVICE_CHARS),
            row.severity,
            row.totals.received.records,
            row.totals.kept.records,
            bytes_text(row.totals.received.bytes),
            100.0 * row.standard_error,
            shown(&row.template, TEMPLATE_CHARS),
        )?;
    }
    if report.patterns.len() > top {
        writeln!(out, "and {} more (--top N shows more, --format json all)", report.patterns.len() - top)?;
    }
    writeln!(out, "error: standard error of the count from weights alone; with summaries counts are exact")
}

/// Text from a log, cut and without control characters.
pub fn shown(text: &str, chars: usize) -> String {
    let clean = |c: char| if c.is_control() || is_bidi(c) { ' ' } else { c };
    match text.char_indices().nth(chars) {
        Some((end, _)) => text[..end].chars().map(clean).chain(['…']).collect(),
        None => text.chars().map(clean).collect(),
    }
}

/// Marks that make a terminal show text in another order.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn nothing_of_a_log_moves_the_cursor() {
        assert_eq!(shown("a\u{1b}[2Jb\u{202e}c\nd", 20), "a [2Jb c d");
        assert_eq!(shown("äöü", 2), "äö…");
    }
}
