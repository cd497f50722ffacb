//! Costs and recommendations over HTTP, on each engine there is.

use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::insights::{GB, Prices};
use lipservice::control_plane::store::BookAccount;
use serde_json::{Value, json};

use super::super::store::{START, at, sqlite_file};
use super::{Server, config};
use crate::support::servers;

const MB: u64 = 1_000_000;
const DAY: Duration = Duration::from_secs(86_400);

async fn on_each<F, Fut>(test: F)
where
    F: Fn(Server) -> Fut,
    Fut: Future<Output = ()>,
{
    let (file, _directory) = sqlite_file();
    let mut stores = vec![file, at("sqlite::memory:")];
    stores.extend(servers::shared_database().await.map(at));
    for store in stores {
        let mut config = config();
        config.prices = Prices { free_gb: 1.0, ..Prices::default() };
        test(Server::over(&store, config, Clock::manual(START)).await).await;
    }
}

/// A day of a shop at the clock's time: most of it one INFO pattern, a health check, DEBUG of which a tenth is kept, errors.
async fn day(server: &Server) {
    let row = |pattern: &str, severity: &str, template: &str, bytes: u64, kept_bytes: u64| {
        json!({ "service": if pattern == "0000000000000009" { "search" } else { "shop" }, "severity": severity,
            "pattern": pattern, "template": template, "example": template.replace("<*>", "7"),
            "at": server.store.now(), "records": bytes / 200, "bytes": bytes, "kept": kept_bytes / 200,
            "kept_bytes": kept_bytes })
    };
    let rows = [
        row("0000000000000001", "info", "order <*> paid", 600 * MB, 600 * MB),
        row("0000000000000002", "info", "GET /healthz <*>", 200 * MB, 200 * MB),
        row("0000000000000003", "debug", "cache miss <*>", 100 * MB, 10 * MB),
        row("0000000000000004", "error", "payment <*> failed", 90 * MB, 90 * MB),
        row("0000000000000009", "info", "query <*>", 100 * MB, 100 * MB),
    ];
    // The destination took a tenth more than the records.
    let id = format!("day {}", server.store.now());
    let report = json!({ "batches": [{ "id": id, "rows": rows, "sent_bytes": 1_100 * MB }] });
    for _ in 0..2 {
        let answer = server.send("POST", "/v1/stats", &report).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

fn close(value: &Value, want: f64) {
    let got = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((got - want).abs() <= 1e-6 * want.abs().max(1e-3), "{got} {want}");
}

#[tokio::test]
async fn the_bill_of_a_month() {
    on_each(|server| async move {
        let empty = server.get("/v1/costs").await;
        assert_eq!((empty.status, &empty.body["total"]["projection"]), (200, &Value::Null), "{}", empty.body);
        assert_eq!(server.get("/v1/recommendations").await.body["items"], json!([]));
        // Ten whole days, and the morning of the eleventh.
        for _ in 0..10 {
            day(&server).await;
            server.clock.advance(DAY);
        }
        server.clock.advance(DAY / 2);
        server.store.book(BookAccount::LlmMicrodollars, 250_000).await.unwrap();
        let costs = server.get("/v1/costs?top=2").await.body;
        assert_eq!((&costs["month"], &costs["is_complete"]), (&json!("2026-01"), &json!(true)), "{costs}");
        assert_eq!(costs["is_overhead_measured"], true);
        close(&costs["overhead"], 1.1);
        let total = &costs["total"];
        close(&total["today"]["bytes"], 0.0);
        // 1.1 GB a day; 1 GB is free.
        close(&total["month_to_date"]["bytes"], 11.0 * GB);
        close(&total["month_to_date"]["money"], 10.0 * 0.25);
        close(&total["month_to_date_unsampled"]["bytes"], 11.0 * GB);
        // Half of today and twenty days are left.
        close(&total["projection"]["expected"]["bytes"], 11.0 * GB + 20.5 * 1.1 * GB);
        close(&costs["ledger"]["llm"]["month_to_date"], 0.25);
        let services: Vec<_> = costs["services"].as_array().unwrap().iter().collect();
        assert_eq!((&services[0]["name"], &services[1]["name"]), (&json!("shop"), &json!("search")), "{costs}");
        close(&services[0]["month_to_date"]["money"], 2.5 * 0.9);
        assert_eq!(costs["patterns"].as_array().unwrap().len(), 2);
        assert_eq!(costs["patterns"][0]["template"], "order <*> paid");
        let severities: Vec<_> = costs["severities"].as_array().unwrap().iter().map(|s| &s["severity"]).collect();
        assert_eq!(severities, ["info", "error", "debug"]);
        assert_eq!(server.get("/v1/costs?nonsense=1").await.status, 400);
        server.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_could_cost_less_and_a_policy_for_it() {
    on_each(|server| async move {
        let protect = |id: &str, contains: &str| {
            json!({ "id": id, "name": id, "protect": true,
                "log": { "match": [{ "log_field": "body", "contains": contains }], "keep": "all" } })
        };
        let document = json!({ "policies": [protect("pays", "payment"), protect("gone", "flux capacitor")] });
        let write = json!({ "document": document, "activate": true });
        assert_eq!(server.send("PUT", "/v1/policies/global", &write).await.status, 200);
        for _ in 0..3 {
            day(&server).await;
            server.clock.advance(DAY);
        }
        let found = server.get("/v1/recommendations").await.body;
        let items = found["items"].as_array().unwrap();
        let kinds: Vec<_> = items.iter().map(|item| (&item["kind"], &item["template"])).collect();
        let health = (&json!("health_check"), &json!("GET /healthz <*>"));
        let unused = (&json!("unused_protection"), &json!("global/gone"));
        assert!(kinds.contains(&health), "{found}");
        assert!(kinds.iter().any(|kind| kind.0 == unused.0 && kind.1.as_str().unwrap().ends_with("gone")), "{found}");
        assert_eq!(kinds.iter().filter(|kind| kind.0 == "unused_protection").count(), 1, "{found}");
        assert!(!found.to_string().contains("payment <*> failed"), "nothing is proposed for ERROR");
        for item in items {
            assert!(item["evidence"]["span_seconds"].as_f64().unwrap() > 0.0 && item["risk"].is_string(), "{item}");
            if item["policy"].is_null() {
                continue;
            }
            assert!(item["saves_money_a_month"].as_f64().unwrap() > 0.0, "{item}");
            let checked = json!({ "document": item["policy"] });
            let checked = server.send("POST", "/v1/policies/validate", &checked).await;
            assert_eq!(checked.status, 200, "{}", checked.body);
        }
        // 99 % of 220 MB a day.
        let health = items.iter().find(|item| item["kind"] == "health_check").unwrap();
        let saved = health["saves_bytes_a_month"].as_f64().unwrap();
        let whole = 0.99 * 0.22 * GB * 30.4375;
        assert!(saved < whole && saved > 0.9 * whole, "{saved} {whole}");
        assert_eq!(server.get("/v1/recommendations?limit=1").await.body["items"].as_array().unwrap().len(), 1);
        server.stop().await;
    })
    .await;
}
