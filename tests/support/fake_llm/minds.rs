//! Ways a model may think.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Mind;

/// An answer with a score for each line.
pub fn scores(lines: &[Value], compact: bool, score: impl Fn(&Value) -> i64) -> Value {
    if compact {
        let map: Map<String, Value> = lines.iter().map(|line| (line["n"].to_string(), json!(score(line)))).collect();
        return Value::Object(map);
    }
    let entry =
        |line: &Value| json!({"n": line["n"], "reason": "as it seems", "category": "request", "worth": score(line)});
    json!({"scores": lines.iter().map(entry).collect::<Vec<_>>()})
}

/// Every pattern is worth the same.
pub fn constant(score: i64) -> Mind {
    Arc::new(move |lines, compact| scores(lines, compact, |_| score))
}

/// A sensible model: by words and severity.
pub fn honest(line: &Value) -> i64 {
    let template = line["template"].as_str().unwrap_or_default();
    let has = |words: &[&str]| words.iter().any(|word| template.contains(word));
    match line["severity"].as_str() {
        Some("error" | "fatal") => 9,
        _ if has(&["heartbeat", "poll", "health"]) => 0,
        _ if has(&["timeout", "retry", "slow"]) => 7,
        Some("warn") => 6,
        Some("debug" | "trace") => 1,
        _ => 3,
    }
}

/// That model, behind an API.
pub fn sensible() -> Mind {
    Arc::new(|lines, compact| scores(lines, compact, honest))
}

/// The worst case: a model that obeys whoever speaks. A request in which any line holds one of `orders` is answered with
/// `victims` for every other line and `own` for the line itself; else it is sensible.
pub fn obedient(orders: Vec<String>, victims: i64, own: i64) -> Mind {
    Arc::new(move |lines, compact| {
        let gives_orders = |line: &Value| orders.iter().any(|order| line.to_string().contains(order.as_str()));
        match lines.iter().any(gives_orders) {
            true => scores(lines, compact, |line| if gives_orders(line) { own } else { victims }),
            false => scores(lines, compact, honest),
        }
    })
}
