//! The report as text for a terminal.
//!
//! Promises: one line per row; no character of a log reaches the terminal as a command.
//! Never: prints more than [`MAX_ROWS`] patterns.

use std::io::{self, Write};

use super::clean;
use super::time;
use crate::cli::history::sampled;
use crate::control_plane::analysis::report::{PatternReport, Report};
use crate::control_plane::insights::{bytes_text, money_text};

const MAX_ROWS: usize = 50;
const TEMPLATE_CHARS: usize = 110;
const SPARK_CELLS: usize = 24;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Writes the report.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let Report { messages, timed, signatures, .. } = report;
    writeln!(
        out,
        "{messages} messages, {} patterns of {signatures} signatures, {timed} with a time",
        report.patterns.len()
    )?;
    if let Some(span) = &report.span {
        let (first, last) = (time::text(span.first), time::text(span.last));
        writeln!(out, "{first} to {last} UTC, {} s a step, windows of {} s", span.step_seconds, span.window_seconds)?;
    }
    let severities: Vec<String> =
        report.severities.iter().map(|severity| format!("{} {}", severity.severity, severity.messages)).collect();
    writeln!(out, "{}\n", severities.join(", "))?;
    money(report, out)?;
    anomalies(report, out)?;
    writeln!(
        out,
        "{:16} {:>9} {:>6} {:>5} {:5} {}{}{:SPARK_CELLS$} TEMPLATE",
        "PATTERN",
        "MESSAGES",
        "SHARE",
        "SIGNS",
        "LEVEL",
        report.costs.as_ref().map_or("", |_| "  A MONTH "),
        report.sample.map_or("", |_| "    IN ALL, 95 % BETWEEN       "),
        "OVER TIME"
    )?;
    for pattern in report.patterns.iter().take(MAX_ROWS) {
        let share = 100.0 * pattern.messages as f64 / (*messages).max(1) as f64;
        let (over_time, template) = (spark(&pattern.series), clean(&pattern.template, TEMPLATE_CHARS));
        let (count, signs, level) = (pattern.messages, pattern.signatures, pattern.severity);
        let month = cost(report, pattern);
        let in_all = pattern.estimate.map_or_else(String::new, |found| {
            format!("{:>10.0} {:>9.0}-{:<9.0} ", found.messages, found.low.floor(), found.high.ceil())
        });
        writeln!(
            out,
            "{} {count:>9} {share:>5.1}% {signs:>5} {level:5} {month}{in_all}{over_time} {template}",
            pattern.id
        )?;
    }
    if report.patterns.len() > MAX_ROWS {
        writeln!(out, "… and {} patterns more: --format json has all", report.patterns.len() - MAX_ROWS)?;
    }
    Ok(())
}

fn cost(report: &Report, pattern: &PatternReport) -> String {
    let cost = report.costs.as_ref().zip(pattern.month);
    cost.map_or_else(String::new, |(costs, month)| format!("{:>9} ", money_text(&costs.currency, month)))
}

/// What it costs, and what a sample can say.
fn money(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if let Some(sample) = &report.sample {
        writeln!(out, "{}\ncounts and series below are those of the sample\n", sampled(sample))?;
    }
    if let Some(costs) = &report.costs {
        let (bytes, money) = (bytes_text(costs.month_bytes), money_text(&costs.currency, costs.month));
        writeln!(out, "a month at this rate: {bytes} of records, {money} (resource blocks not counted)\n")?;
    }
    Ok(())
}

fn anomalies(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.anomalies.is_empty() {
        return writeln!(out, "no anomalies\n");
    }
    writeln!(out, "{:14} {:19} {:>6} {:>10} {:>10} SUBJECT", "ANOMALY", "SINCE (UTC)", "SCORE", "EXPECTED", "SEEN")?;
    for anomaly in &report.anomalies {
        let (kind, since) = (anomaly.kind.as_str(), time::text(anomaly.since));
        let subject =
            if anomaly.subject.is_empty() { "the whole log".into() } else { clean(&anomaly.subject, TEMPLATE_CHARS) };
        let (score, expected, seen) = (anomaly.score, anomaly.expected, anomaly.seen);
        writeln!(out, "{kind:14} {since:19} {score:>6.1} {expected:>10.1} {seen:>10.1} {subject}")?;
    }
    writeln!(out, "(expected and seen: records per window)\n")
}

/// The series in [`SPARK_CELLS`] bars.
fn spark(series: &[u32]) -> String {
    let cells: Vec<u64> = (0..SPARK_CELLS)
        .map(|cell| {
            let (from, to) = (cell * series.len() / SPARK_CELLS, (cell + 1) * series.len() / SPARK_CELLS);
            series[from..to.max(from)].iter().map(|count| u64::from(*count)).sum()
        })
        .collect();
    let most = cells.iter().copied().max().unwrap_or(0).max(1);
    cells.iter().map(|count| BARS[(count * 8).div_ceil(most) as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_fit_any_series() {
        for series in [vec![], vec![1], vec![0; 50], (0..120).collect(), vec![u32::MAX; 7]] {
            assert_eq!(spark(&series).chars().count(), SPARK_CELLS);
        }
        assert!(spark(&(0..120).collect::<Vec<u32>>()).ends_with('█'));
    }
}
