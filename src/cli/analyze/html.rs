//! The report as one HTML file.
//!
//! Purpose: something to open, send and print: summary, messages over time, anomalies, patterns, all in one file.
//! Promises: no script, no link, no font or image from elsewhere, and a policy in the file that forbids them; every text of
//! the log is escaped; readable in light and dark, on paper and on a telephone.
//! Never: lists more than [`MAX_PATTERNS`] patterns and [`MAX_ANOMALIES`] anomalies.

use std::fmt::Write;

use super::chart::{self, number};
use super::{clean, time};
use crate::cli::history::sampled;
use crate::control_plane::analysis::anomaly::{Anomaly, Kind};
use crate::control_plane::analysis::report::{PatternReport, Report, Span};
use crate::control_plane::insights::{bytes_text, money_text};

const MAX_PATTERNS: usize = 300;
const MAX_ANOMALIES: usize = 200;
const TEMPLATE_CHARS: usize = 400;
const EXAMPLE_CHARS: usize = 600;
const STYLE: &str = include_str!("style.css");

/// Text that means nothing to HTML, to a terminal or to the direction of writing.
pub fn escape(text: &str, max_chars: usize) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in clean(text, max_chars).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A template with its variable parts marked.
fn template(text: &str) -> String {
    if text.trim().is_empty() {
        return "<em>(empty)</em>".into();
    }
    escape(text, TEMPLATE_CHARS).replace("&lt;*&gt;", "<var>*</var>")
}

/// The whole page. `title` is the name of the log.
pub fn page(report: &Report, title: &str) -> String {
    let title = escape(title, 200);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title} – LipService</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<header><p class=\"brand\">LipService · log analysis</p><h1>{title}</h1></header>\n<main>\n"
    );
    summary(&mut out, report);
    over_time(&mut out, report);
    anomalies(&mut out, report);
    patterns(&mut out, report);
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

// Writing to a String cannot fail, so results of `write!` are dropped below.

fn summary(out: &mut String, report: &Report) {
    let merged = report.patterns.iter().filter(|pattern| pattern.signatures > 1).count();
    let errors: u64 =
        report.severities.iter().filter(|s| matches!(s.severity, "error" | "fatal")).map(|s| s.messages).sum();
    let mut tiles = vec![
        (number(report.messages), "messages".to_owned()),
        (number(report.patterns.len() as u64), format!("patterns, {} of several signatures", number(merged as u64))),
        (number(report.signatures as u64), "signatures".to_owned()),
        (number(errors), "messages of error or above".to_owned()),
        (number(report.anomalies.len() as u64), "anomalies".to_owned()),
    ];
    if let Some(costs) = &report.costs {
        let amount = escape(&money_text(&costs.currency, costs.month), 40);
        tiles.push((amount, format!("a month at this rate, {} of records", bytes_text(costs.month_bytes))));
    }
    out.push_str("<section class=\"tiles\">");
    for (value, meaning) in tiles {
        let _ = write!(out, "<div class=\"tile\"><b>{value}</b><span>{meaning}</span></div>");
    }
    out.push_str("</section>\n");
    if let Some(sample) = &report.sample {
        let _ = writeln!(
            out,
            "<p class=\"note\">This is {}. Counts and series are those of the sample.</p>",
            sampled(sample)
        );
    }
    if report.beyond > 0 {
        let _ = writeln!(
            out,
            "<p class=\"note\">{} messages have signatures beyond the bound and are in no pattern.</p>",
            number(report.beyond)
        );
    }
}

fn over_time(out: &mut String, report: &Report) {
    out.push_str("<section><h2>Messages over time</h2>\n");
    match &report.span {
        None => out
            .push_str("<p class=\"note\">No times were found in this log, so there is nothing over time to show.</p>"),
        Some(span) => {
            let (first, last) = (time::text(span.first), time::text(span.last));
            let untimed = match report.messages - report.timed {
                0 => String::new(),
                untimed => format!(" {} messages without a time are not in it.", number(untimed)),
            };
            let step = duration(span.step_seconds);
            let _ = writeln!(out, "<p class=\"note\">{first} to {last} UTC, {step} a bar.{untimed}</p>");
            out.push_str(&chart::stacked(report, span));
            out.push_str("<ul class=\"legend\">");
            for severity in &report.severities {
                let (name, count) = (severity.severity, number(severity.messages));
                let _ = write!(out, "<li><i class=\"sev-{name}\"></i>{name} <b>{count}</b></li>");
            }
            out.push_str("</ul>");
        }
    }
    out.push_str("</section>\n");
}

fn anomalies(out: &mut String, report: &Report) {
    let _ = writeln!(out, "<section><h2>Anomalies</h2>");
    let Some(span) = report.span.filter(|_| !report.anomalies.is_empty()) else {
        out.push_str("<p class=\"note\">None found. A log needs times, and sixty windows of them, before anything can be unusual.</p></section>\n");
        return;
    };
    let window = duration(span.window_seconds);
    let _ = writeln!(
        out,
        "<p class=\"note\">Expected and seen are records per window of {window}. A score of 6 means: by chance once in a \
         million windows.</p><div class=\"wide\"><table><thead><tr><th>What</th><th>When (UTC)</th><th class=\"n\">Score</th>\
         <th class=\"n\">Expected</th><th class=\"n\">Seen</th><th>Over time</th><th>Pattern</th></tr></thead><tbody>"
    );
    for anomaly in report.anomalies.iter().take(MAX_ANOMALIES) {
        anomaly_row(out, report, &span, anomaly);
    }
    out.push_str("</tbody></table></div>\n");
    if report.anomalies.len() > MAX_ANOMALIES {
        let _ = writeln!(out, "<p class=\"note\">{} more are not listed.</p>", report.anomalies.len() - MAX_ANOMALIES);
    }
    out.push_str("</section>\n");
}

fn anomaly_row(out: &mut String, report: &Report, span: &Span, anomaly: &Anomaly) {
    let pattern = anomaly.pattern.as_ref().and_then(|id| report.patterns.iter().find(|pattern| pattern.id == *id));
    let (kind, label) = (anomaly.kind.as_str(), anomaly.kind.as_str().replace('_', " "));
    let since = time::text(anomaly.since);
    let until =
        anomaly.ended.map_or_else(|| "to the end".to_owned(), |ended| format!("to {}", &time::text(ended)[11..]));
    let subject = match (pattern, anomaly.kind) {
        (Some(pattern), _) => format!("<a href=\"#p{}\"><code>{}</code></a>", pattern.id, template(&pattern.template)),
        (None, Kind::Deploy) => format!("{} new patterns", anomaly.patterns),
        (None, Kind::SeverityShift) => format!("share of {}", escape(&anomaly.subject, 100)),
        (None, _) => "the whole log".to_owned(),
    };
    let series = pattern.map(|pattern| chart::spark(&pattern.series, span, Some(anomaly))).unwrap_or_default();
    let (score, expected, seen) = (anomaly.score, chart::decimal(anomaly.expected), chart::decimal(anomaly.seen));
    let _ = writeln!(
        out,
        "<tr><td><span class=\"kind {kind}\">{label}</span></td><td class=\"when\">{since}<br><small>{until}</small></td>\
         <td class=\"n\">{score:.1}</td><td class=\"n\">{expected}</td><td class=\"n\">{seen}</td><td>{series}</td><td>{subject}</td></tr>"
    );
}

fn patterns(out: &mut String, report: &Report) {
    out.push_str(
        "<section><h2>Patterns</h2>\n<div class=\"wide\"><table><thead><tr><th class=\"n\">Messages</th>\
         <th class=\"n\">Share</th><th>Severity</th><th>Over time</th><th>Template</th></tr></thead><tbody>\n",
    );
    let most = report.patterns.first().map_or(1, |pattern| pattern.messages).max(1);
    for pattern in report.patterns.iter().take(MAX_PATTERNS) {
        pattern_row(out, report, pattern, most);
    }
    out.push_str("</tbody></table></div>\n");
    let rest: Vec<_> = report.patterns.iter().skip(MAX_PATTERNS).collect();
    if !rest.is_empty() {
        let messages: u64 = rest.iter().map(|pattern| pattern.messages).sum();
        let (patterns, messages) = (number(rest.len() as u64), number(messages));
        let _ = writeln!(
            out,
            "<p class=\"note\">{patterns} more patterns with {messages} messages are not listed; --format json has all.</p>"
        );
    }
    out.push_str("</section>\n");
}

fn pattern_row(out: &mut String, report: &Report, pattern: &PatternReport, most: u64) {
    let share = 100.0 * pattern.messages as f64 / report.messages.max(1) as f64;
    let bar = 100.0 * pattern.messages as f64 / most as f64;
    let series = report.span.map(|span| chart::spark(&pattern.series, &span, None)).unwrap_or_default();
    let PatternReport { id, severity, signatures, .. } = pattern;
    let (messages, template_html) = (number(pattern.messages), template(&pattern.template));
    let _ = write!(
        out,
        "<tr id=\"p{id}\"><td class=\"n\">{messages}</td><td class=\"n\">{share:.1}&nbsp;%<div class=\"bar\"><i style=\"width:{bar:.1}%\"></i></div></td>\
         <td><span class=\"sev sev-{severity}\">{severity}</span></td><td>{series}</td><td><details><summary><code>{template_html}</code></summary>\
         <dl><dt>Id</dt><dd><code>{id}</code></dd><dt>Example</dt><dd><code>{}</code></dd>",
        escape(&pattern.example, EXAMPLE_CHARS)
    );
    if let Some((costs, month)) = report.costs.as_ref().zip(pattern.month) {
        let (amount, bytes) = (escape(&money_text(&costs.currency, month), 40), bytes_text(pattern.bytes as f64));
        let _ = write!(out, "<dt>A month</dt><dd>{amount} ({bytes} in this log)</dd>");
    }
    if let Some(found) = pattern.estimate {
        let (all, low, high) = (found.messages.round(), found.low.floor(), found.high.ceil());
        let all = [all, low, high].map(|count| number(count as u64));
        let _ = write!(out, "<dt>In all</dt><dd>{} (95 %: {} to {})</dd>", all[0], all[1], all[2]);
    }
    if *signatures > 1 {
        let _ = write!(out, "<dt>Cluster of {signatures} signatures</dt><dd><ul>");
        for member in &pattern.members {
            let _ = write!(out, "<li><code>{}</code></li>", template(member));
        }
        if *signatures > pattern.members.len() {
            let _ = write!(out, "<li>and {} more</li>", signatures - pattern.members.len());
        }
        out.push_str("</ul></dd>");
    }
    out.push_str("</dl></details></td></tr>\n");
}

/// `5 s`, `10 min`, `6 h`, `7 days`.
fn duration(seconds: u64) -> String {
    match seconds {
        s if s.is_multiple_of(86_400) => format!("{} d", s / 86_400),
        s if s.is_multiple_of(3_600) => format!("{} h", s / 3_600),
        s if s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text() {
        for (text, escaped) in [
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("a\" onload='x' & b", "a&quot; onload=&#39;x&#39; &amp; b"),
            ("x\u{202e}y\u{1b}[31mz\0", "xy[31mz"),
        ] {
            assert_eq!(escape(text, 100), escaped);
        }
        assert_eq!(template("got <*> <b>"), "got <var>*</var> &lt;b&gt;");
        assert_eq!(template("&lt;*&gt;"), "&amp;lt;*&amp;gt;");
        assert_eq!(escape(&"<".repeat(1_000), 10).matches("&lt;").count(), 10);
    }
}
