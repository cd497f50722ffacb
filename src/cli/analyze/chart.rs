//! Charts as inline SVG.
//!
//! Promises: numbers only, no text of a log; colours come from the page's style, so that they follow light and dark.
//! Never: needs a script.

use std::fmt::Write;

use super::time;
use crate::control_plane::analysis::anomaly::Anomaly;
use crate::control_plane::analysis::report::{Report, Span};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 24.0;
const SPARK_WIDTH: f64 = 132.0;
const SPARK_HEIGHT: f64 = 26.0;
const SECOND: u64 = 1_000_000_000;

/// `12,345`.
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + 6);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Two significant places below ten, whole above.
pub fn decimal(value: f64) -> String {
    if value >= 10.0 { number(value.round() as u64) } else { format!("{value:.1}") }
}

/// The next round number: 1, 2 or 5 times a power of ten.
fn round_up(value: u64) -> u64 {
    let mut scale = 1u64;
    while value / 10 >= scale {
        scale *= 10;
    }
    [1, 2, 5, 10].into_iter().map(|step| scale.saturating_mul(step)).find(|round| *round >= value).unwrap_or(value)
}

/// Messages over time by severity, the more severe at the bottom where its height can be read, anomalies as marks on top.
pub fn stacked(report: &Report, span: &Span) -> String {
    let totals: Vec<u64> = (0..span.steps)
        .map(|step| report.severities.iter().map(|severity| u64::from(severity.series[step])).sum())
        .collect();
    let most = round_up(totals.iter().copied().max().unwrap_or(1).max(1));
    let (width, height) = (WIDTH - LEFT - 4.0, HEIGHT - TOP - BOTTOM);
    let bar = width / span.steps as f64;
    let mut out = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Messages over time by severity\">"
    );
    for part in 0..=2 {
        let y = TOP + height * (1.0 - f64::from(part) / 2.0);
        let label = number(most * part as u64 / 2);
        let _ =
            write!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", WIDTH - 4.0);
        let _ = write!(out, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, y + 4.0);
    }
    for (step, total) in totals.iter().enumerate().filter(|(_, total)| **total > 0) {
        let x = LEFT + step as f64 * bar;
        let at = time::text(span.start + step as u64 * span.step_seconds * SECOND);
        let _ = write!(out, "<g><title>{at}: {}</title>", number(*total));
        let mut y = TOP + height;
        for severity in report.severities.iter().rev() {
            let part = height * f64::from(severity.series[step]) / most as f64;
            if part > 0.0 {
                y -= part;
                let (class, drawn) = (severity.severity, (bar * 0.86).max(0.6));
                let _ = write!(
                    out,
                    "<rect class=\"sev-{class}\" x=\"{x:.2}\" y=\"{y:.2}\" width=\"{drawn:.2}\" height=\"{part:.2}\"/>"
                );
            }
        }
        out.push_str("</g>");
    }
    for anomaly in &report.anomalies {
        let x = LEFT + width * position(span, anomaly.since);
        let kind = anomaly.kind.as_str();
        let _ = write!(
            out,
            "<path class=\"mark {kind}\" d=\"M{x:.1} {TOP} l-4 -8 h8 z\"><title>{} {}</title></path>",
            kind.replace('_', " "),
            time::text(anomaly.since)
        );
    }
    axis(&mut out, span, width);
    out.push_str("</svg>\n");
    out
}

fn axis(out: &mut String, span: &Span, width: f64) {
    let length = span.step_seconds * SECOND * span.steps as u64;
    // The date where a day is more than a sixth of it, else the time.
    let by_day = length / SECOND > 6 * 86_400;
    for tick in 0..=4u64 {
        let at = time::text(span.start + length / 4 * tick);
        let label = if by_day { &at[..10] } else { &at[11..] };
        let anchor = ["start", "middle", "middle", "middle", "end"][tick as usize];
        let x = LEFT + width * tick as f64 / 4.0;
        let _ = write!(out, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>", HEIGHT - 6.0);
    }
}

/// Where a time lies in the span, from 0 to 1.
fn position(span: &Span, at: u64) -> f64 {
    let length = (span.step_seconds * SECOND) as f64 * span.steps as f64;
    (at.saturating_sub(span.start) as f64 / length).clamp(0.0, 1.0)
}

/// A small chart of a series, the time of an anomaly shaded.
pub fn spark(series: &[u32], span: &Span, anomaly: Option<&Anomaly>) -> String {
    let most = f64::from(series.iter().copied().max().unwrap_or(0).max(1));
    let bar = SPARK_WIDTH / series.len().max(1) as f64;
    let mut out = format!(
        "<svg class=\"spark\" viewBox=\"0 0 {SPARK_WIDTH} {SPARK_HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
    );
    if let Some(anomaly) = anomaly {
        let from = SPARK_WIDTH * position(span, anomaly.since);
        let to = anomaly.ended.map_or(SPARK_WIDTH, |ended| SPARK_WIDTH * position(span, ended));
        let wide = (to - from).max(2.0);
        let _ = write!(
            out,
            "<rect class=\"during\" x=\"{from:.1}\" y=\"0\" width=\"{wide:.1}\" height=\"{SPARK_HEIGHT}\"/>"
        );
    }
    let mut path = String::new();
    for (step, count) in series.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (x, tall) = (step as f64 * bar, ((SPARK_HEIGHT - 2.0) * f64::from(*count) / most).max(1.0));
        let _ = write!(path, "M{x:.1} {SPARK_HEIGHT}v-{tall:.1}h{:.1}v{tall:.1}z", (bar * 0.9).max(0.8));
    }
    let _ = write!(out, "<path d=\"{path}\"/></svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), text);
        }
        for (value, round) in [(1, 1), (3, 5), (11, 20), (50, 50), (501, 1_000), (u64::MAX, u64::MAX)] {
            assert_eq!(round_up(value), round);
        }
    }
}
