//! What the demo prints: a line a second, and a report at the end, for 80 columns.
//!
//! Purpose: numbers that can be read at a glance. Promises: no escape codes unless asked; every claim in the report
//! stands beside the two numbers it compares.
//! Never: computes what it shows; that is in `books.rs`.

use std::time::Duration;

use super::books::{Books, Line};
use super::gateway::{Gateway, local};
use super::scrape::Totals;
use super::templates::{SERVICES, TEMPLATES};
use super::timeline::Plan;
use super::writer::Bytes;

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    /// Whether to use them.
    pub on: bool,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
    fn verdict(self, good: bool) -> String {
        if good { self.with("32", "yes") } else { self.with("1;31", "NO") }
    }
}

/// One second of the run, all sums since its start.
pub struct Second {
    /// Counted from 1.
    pub number: u64,
    /// What the gateway says.
    pub totals: Totals,
    /// OTLP bytes the services sent.
    pub bytes_in: u64,
    /// Bytes PostHog would bill.
    pub bytes_out: u64,
    /// Whether the incident is on.
    pub incident: bool,
}

/// The whole run.
pub struct Result {
    /// What was sent and stored.
    pub books: Books,
    /// What the gateway said before it stopped.
    pub totals: Totals,
    /// Records it gave up at the exporter.
    pub failed: u64,
    /// Flushes of an SDK that were not acknowledged.
    pub undelivered: u64,
    /// OTLP bytes the services sent.
    pub bytes_in: u64,
    /// Bytes PostHog would bill.
    pub bytes_out: u64,
    /// Length of the run.
    pub elapsed: Duration,
    /// Whether Ctrl-C ended it.
    pub interrupted: bool,
    /// Whether the gateway ended in order.
    pub drained: bool,
    /// Policies that the loop put in force.
    pub published: u64,
    /// The bytes up to the first of them.
    pub before: Option<Bytes>,
    /// Whether the run was long enough for the bill to have fallen.
    pub must_fall: bool,
}

impl Result {
    fn accounted(&self) -> bool {
        self.books.sent == self.books.kept + self.books.dropped && self.books.unknown == 0 && self.undelivered == 0
    }
    fn own_books(&self) -> bool {
        let Totals { received, kept, dropped, refused } = self.totals;
        received == kept + dropped + refused && self.failed == 0
    }
    fn all_messages(&self) -> bool {
        self.books.messages_sent == self.books.messages_kept
    }
    fn all_errors(&self) -> bool {
        self.books.errors_sent == self.books.errors_kept
    }
    fn all_exact(&self) -> bool {
        let (exact, all) = self.books.exact_messages();
        exact == all
    }

    /// What is billed since the first policy went into force is less than two thirds of what was billed before.
    fn has_fallen(&self) -> bool {
        let all = Bytes { sent: self.bytes_in, billed: self.bytes_out };
        self.before.is_some_and(|before| all.since(before).billed_percent() * 1.5 < before.billed_percent())
    }

    /// Whether every claim of the report holds.
    pub fn holds(&self) -> bool {
        self.accounted()
            && self.own_books()
            && self.all_messages()
            && self.all_errors()
            && self.all_exact()
            && (self.has_fallen() || !self.must_fall)
            && self.drained
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { 100.0 * part / whole } else { 0.0 }
}

fn dollars(bytes: u64, dollars_per_gb: f64) -> f64 {
    bytes as f64 / 1e9 * dollars_per_gb
}

/// Where everything is.
pub fn welcome(paint: Paint, gateway: &Gateway, posthog: &str, scores: &str, plan: Plan) {
    let ports = gateway.ports;
    println!("{}", paint.bold("LipService demo: seven services -> gateway -> stand-in for PostHog"));
    println!("  OTLP      grpc http://{}   http http://{}/v1/logs", local(ports.grpc), local(ports.http));
    println!("  metrics   http://{}/metrics", local(ports.metrics));
    println!("  health    http://{}/health/ready", local(ports.health));
    println!("  PostHog   {posthog}/i/v1/logs (a model of it, in this process)");
    println!("  API       http://{}/docs (the loop: /v1/generator)", local(ports.api));
    println!("  worth     said by {scores}");
    println!("  own log   {}", gateway.log.display());
    println!("It starts without a policy: everything is kept until the loop has written one.");
    println!("In another terminal:  lipservice top --endpoint http://{}", local(ports.metrics));
    println!("{} records/s for {} s; Ctrl-C ends it early.", grouped(plan.records_per_second), plan.seconds);
    println!();
}

/// One line; the headings every 20.
pub fn second(paint: Paint, now: &Second, books: &Books, dollars_per_gb: f64) {
    if now.number % 20 == 1 {
        let heading = format!(
            "{:>4} {:>8} {:>7} {:>8} {:>6} {:>6} {:>6} {:>8} {:>8} {:>9}",
            "SEC", "IN", "KEPT", "DROPPED", "MB IN", "MB OUT", "SAVED", "MONEY", "PATTERNS", "ERRORS"
        );
        println!("{}", paint.bold(&heading));
    }
    let saved = now.bytes_in.saturating_sub(now.bytes_out);
    let patterns = format!("{}/{}", books.messages_kept.len(), books.messages_sent.len());
    let errors = format!("{}/{}", books.errors_kept, books.errors_sent);
    let line = format!(
        "{:>4} {:>8} {:>7} {:>8} {:>6.1} {:>6.1} {:>5.1}% {:>8} {patterns:>8} {errors:>9}",
        now.number,
        now.totals.received,
        now.totals.kept,
        now.totals.dropped,
        now.bytes_in as f64 / 1e6,
        now.bytes_out as f64 / 1e6,
        percent(saved as f64, now.bytes_in as f64),
        format!("${:.4}", dollars(saved, dollars_per_gb)),
    );
    println!("{}", if now.incident { paint.with("31", &line) } else { line });
}

/// Something happened.
pub fn news(paint: Paint, text: &str) {
    println!("     {}", paint.with("36", text));
}

/// The report.
pub fn print(paint: Paint, result: &Result, dollars_per_gb: f64) {
    println!();
    let how = if result.interrupted { "ended early" } else { "complete" };
    println!("{}", paint.bold(&format!("Report of {:.0} s ({how})", result.elapsed.as_secs_f64())));
    table(paint, &result.books);
    accounts(paint, result);
    money(paint, result, dollars_per_gb);
    let verdict = if result.holds() { paint.with("1;32", "ok") } else { paint.with("1;31", "FAILED") };
    println!("\nResult: {verdict}");
}

const SHOWN: usize = 15;

/// A message with `*` for its values.
fn shown(text: &str) -> String {
    let parts = text.split('{').enumerate().map(|(index, part)| match part.split_once('}') {
        Some((_, rest)) if index > 0 => format!("*{rest}"),
        _ => part.to_owned(),
    });
    parts.collect()
}

fn table(paint: Paint, books: &Books) {
    println!("\nThe {SHOWN} largest patterns; ESTIMATE from the kept logs alone, COUNTED with summaries:");
    let heading = format!(
        "{:<16} {:>7} {:>6} {:>6} {:>8} {:>7}  {}",
        "SERVICE", "SENT", "KEPT", "SHARE", "ESTIMATE", "COUNTED", "MESSAGE"
    );
    println!("{}", paint.bold(&heading));
    let messages = books.by_message();
    for (label, line) in messages.iter().take(SHOWN) {
        let template = &TEMPLATES[*label];
        // A rate limit is not a probability: its kept logs stand for no fixed number of others.
        let estimate = if line.rate_limited { "-".to_owned() } else { format!("{:.0}", line.estimate) };
        println!(
            "{:<16} {:>7} {:>6} {:>5.1}% {estimate:>8} {:>7}  {:.24}",
            SERVICES[template.service],
            line.sent,
            line.kept,
            percent(line.kept as f64, line.sent as f64),
            line.kept + line.dropped,
            shown(template.text),
        );
    }
    if let Some(rest) = messages.get(SHOWN..).filter(|rest| !rest.is_empty()) {
        let rest = rest.iter().fold(Line::default(), |sum, (_, line)| Line {
            sent: sum.sent + line.sent,
            kept: sum.kept + line.kept,
            dropped: sum.dropped + line.dropped,
            ..sum
        });
        println!(
            "{:<16} {:>7} {:>6} {:>5.1}% {:>8} {:>7}",
            format!("{} more", messages.len() - SHOWN),
            rest.sent,
            rest.kept,
            percent(rest.kept as f64, rest.sent as f64),
            "",
            rest.kept + rest.dropped
        );
    }
}

fn accounts(paint: Paint, result: &Result) {
    let books = &result.books;
    let Totals { received, kept, dropped, refused } = result.totals;
    println!("\n{}", paint.bold("Is everything accounted for?"));
    println!(
        "  by the books outside: sent {} = arrived {} + dropped {}: {}",
        grouped(books.sent),
        grouped(books.kept),
        grouped(books.dropped),
        paint.verdict(result.accounted())
    );
    println!("    (dropped as {} summary records at PostHog say; {} unknown rows)", books.summaries, books.unknown);
    println!(
        "    (patterns learned on the way, of several signatures each, that summaries name: {})",
        books.learned.len()
    );
    println!("    (flushes of an SDK that were not acknowledged: {})", result.undelivered);
    println!(
        "  by the gateway: received {} = kept {} + dropped {} + refused {refused},",
        grouped(received),
        grouped(kept),
        grouped(dropped),
    );
    println!("    failed at the exporter {}: {}", result.failed, paint.verdict(result.own_books()));
    let (exact, all) = books.exact_messages();
    println!("  exact count of every kind of message: {exact} of {all}: {}", paint.verdict(result.all_exact()));
    println!(
        "  every kind of message arrived: {} of {}: {}",
        books.messages_kept.len(),
        books.messages_sent.len(),
        paint.verdict(result.all_messages())
    );
    println!(
        "  every error arrived: {} of {}: {}",
        books.errors_kept,
        books.errors_sent,
        paint.verdict(result.all_errors())
    );
    println!("  the gateway drained and ended in order: {}", paint.verdict(result.drained));
}

fn money(paint: Paint, result: &Result, dollars_per_gb: f64) {
    let (sent, billed) = (result.bytes_in, result.bytes_out);
    let per_month = 30.0 * 86_400.0 / result.elapsed.as_secs_f64().max(1.0);
    let month = |bytes: u64| dollars(bytes, dollars_per_gb) * per_month;
    println!("\n{} (${dollars_per_gb}/GB of uncompressed OTLP; free tier not counted)", paint.bold("Money"));
    println!(
        "  {:.1} MB sent, {:.1} MB billed, summaries included: {:.1}% saved",
        sent as f64 / 1e6,
        billed as f64 / 1e6,
        percent(sent.saturating_sub(billed) as f64, sent as f64)
    );
    if let Some(before) = result.before {
        let since = Bytes { sent, billed }.since(before);
        println!(
            "  before the first of {} policies {:.1}% of the bytes were billed, since then {:.1}%: {}",
            result.published,
            before.billed_percent(),
            since.billed_percent(),
            paint.verdict(result.has_fallen())
        );
    } else {
        println!("  no policy went into force");
    }
    let saved = format!("${:.0} saved a month", month(sent) - month(billed));
    println!(
        "  at this rate ${:.0} a month without, ${:.0} with: {}",
        month(sent),
        month(billed),
        paint.with("32", &saved)
    );
}
