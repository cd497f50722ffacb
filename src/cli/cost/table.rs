//! The bill as text for people.
//!
//! Purpose: the month first, then where it goes, then what could be saved.
//! Promises: what is a guess says so; no control character of a log reaches the terminal.
//! Never: computes; it prints what the API answers.

use std::fmt::Write;

use serde_json::Value;

use crate::cli::simulate::shown;
use crate::control_plane::insights::{bytes_text, money_text};

/// Characters of a name and of a template in a table.
const NAME_CHARS: usize = 24;
const TEMPLATE_CHARS: usize = 60;

/// The page.
pub fn page(costs: &Value, proposals: &Value, top: usize) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut out, costs, proposals, top);
    out
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn text(value: &Value, chars: usize) -> String {
    shown(value.as_str().unwrap_or("-"), chars)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An amount of bytes and money.
fn amount(currency: &str, value: &Value) -> String {
    format!("{:>9}  {:>10}", bytes_text(number(&value["bytes"])), money_text(currency, number(&value["money"])))
}

fn write_page(out: &mut String, costs: &Value, proposals: &Value, top: usize) -> std::fmt::Result {
    let currency = text(&costs["currency"], 8);
    let (total, ledger) = (&costs["total"], &costs["ledger"]);
    writeln!(
        out,
        "{}: day {:.1} of {}",
        text(&costs["month"], 10),
        number(&costs["days_passed"]),
        number(&costs["days_in_month"])
    )?;
    if costs["is_complete"] != true {
        writeln!(out, "note            history begins within the month: sums to date hold only what was seen")?;
    }
    if costs["is_overhead_measured"] != true {
        writeln!(out, "note            no destination has reported bytes yet: bytes of records alone are counted")?;
    }
    writeln!(out, "today           {}", amount(&currency, &total["today"]))?;
    writeln!(out, "month to date   {}", amount(&currency, &total["month_to_date"]))?;
    writeln!(out, "  all sent      {}", amount(&currency, &total["month_to_date_unsampled"]))?;
    projection(out, &currency, "month's end", &total["projection"])?;
    projection(out, &currency, "  all sent", &total["projection_unsampled"])?;
    let trend = &total["trend"];
    if trend["days"].as_u64().is_some_and(|days| days >= 3) {
        let change = number(&trend["change_a_day_bytes"]);
        let sign = if change < 0.0 { "-" } else { "+" };
        writeln!(
            out,
            "trend           {}{} a day, {} a day on average over {} days",
            sign,
            bytes_text(change.abs()),
            bytes_text(number(&trend["mean_bytes"])),
            trend["days"]
        )?;
    }
    let money = |value: &Value| value.as_f64().map_or("-".into(), |amount| money_text(&currency, amount));
    writeln!(
        out,
        "saved           {} to date, {} at the month's end",
        money(&ledger["saved_to_date"]),
        money(&ledger["saved_projected"])
    )?;
    let llm = &ledger["llm"];
    if number(&llm["month_to_date"]) > 0.0 {
        writeln!(
            out,
            "language models ${:.2} to date, ${:.2} at the month's end: {} left",
            number(&llm["month_to_date"]),
            number(&llm["projected"]),
            money(&ledger["net_projected"])
        )?;
    }
    services(out, &currency, list(&costs["services"]), top)?;
    parts(out, &currency, costs, top)?;
    recommendations(out, &currency, list(proposals))
}

fn projection(out: &mut String, currency: &str, name: &str, projection: &Value) -> std::fmt::Result {
    if projection.is_null() {
        return Ok(());
    }
    let money = |side: &str| money_text(currency, number(&projection[side]["money"]));
    let expected = amount(currency, &projection["expected"]);
    writeln!(out, "{name:<15} {expected}  (90 %: {} to {})", money("low"), money("high"))
}

fn services(out: &mut String, currency: &str, services: &[Value], top: usize) -> std::fmt::Result {
    if services.is_empty() || top == 0 {
        return Ok(());
    }
    writeln!(out, "\n{:<24} {:>9}  {:>10}  {:>10}", "service", "to date", "", "month's end")?;
    for service in services.iter().take(top) {
        let end = &service["projection"]["expected"]["money"];
        writeln!(
            out,
            "{:<24} {}  {:>10}",
            text(&service["name"], NAME_CHARS),
            amount(currency, &service["month_to_date"]),
            end.as_f64().map_or("-".into(), |money| money_text(currency, money))
        )?;
    }
    Ok(())
}

fn parts(out: &mut String, currency: &str, costs: &Value, top: usize) -> std::fmt::Result {
    let seconds = std::time::Duration::from_secs(number(&costs["span_seconds"]) as u64);
    let row = |out: &mut String, name: &str, share: &Value, rest: &str| {
        let (received, sent) = (number(&share["received_bytes"]), number(&share["sent_bytes"]));
        writeln!(
            out,
            "{name:<24} {:>9} {:>9} {:>10}  {rest}",
            bytes_text(received),
            bytes_text(sent),
            money_text(currency, number(&share["money_a_month"]))
        )
    };
    writeln!(
        out,
        "\n{:<24} {:>9} {:>9} {:>10}  over {}",
        "severity",
        "in",
        "sent",
        "a month",
        humantime::format_duration(seconds)
    )?;
    for share in list(&costs["severities"]) {
        row(out, &text(&share["severity"], NAME_CHARS), share, "")?;
    }
    if top > 0 {
        writeln!(out, "\n{:<24} {:>9} {:>9} {:>10}  pattern", "service", "in", "sent", "a month")?;
    }
    for share in list(&costs["patterns"]).iter().take(top) {
        let rest = format!("{} {}", text(&share["severity"], 8), text(&share["template"], TEMPLATE_CHARS));
        row(out, &text(&share["service"], NAME_CHARS), share, &rest)?;
    }
    Ok(())
}

fn recommendations(out: &mut String, currency: &str, proposals: &[Value]) -> std::fmt::Result {
    for (number_of, proposal) in proposals.iter().enumerate() {
        let heading = if number_of == 0 { "\n" } else { "" };
        writeln!(
            out,
            "{heading}{:>2}. {}\n    saves {} and {} a month. {}",
            number_of + 1,
            text(&proposal["title"], 200),
            bytes_text(number(&proposal["saves_bytes_a_month"])),
            money_text(currency, number(&proposal["saves_money_a_month"])),
            text(&proposal["risk"], 300)
        )?;
    }
    if !proposals.is_empty() {
        writeln!(out, "each has a policy that does it: --format json")?;
    }
    Ok(())
}
