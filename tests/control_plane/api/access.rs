//! Who may ask for what.

use std::time::Duration;

use lipservice::clock::Clock;
use lipservice::control_plane::api::config::ApiConfig;
use lipservice::control_plane::api::{Bound, ServeError};
use lipservice::control_plane::store::Scope;
use serde_json::json;

use super::super::store::{START, at, document};
use super::{Server, answer, config};

#[tokio::test]
async fn every_scope_opens_its_own_doors() {
    let server = Server::start().await.with_token(&[Scope::Admin]).await;
    let write = json!({ "document": document("1%") });
    let doors = [
        ("GET", "/v1/policies", json!(null), "read"),
        ("GET", "/v1/policies/active", json!(null), "read ingest"),
        ("GET", "/v1/patterns/known", json!(null), "read ingest"),
        ("PUT", "/v1/policies/global", write.clone(), "write"),
        ("GET", "/v1/policies/global/versions", json!(null), "read"),
        ("POST", "/v1/policies/validate", write, "read"),
        ("POST", "/v1/policies/global/activate", json!({ "version": 1 }), "write"),
        ("GET", "/v1/policies/global/rollout", json!(null), "read"),
        ("POST", "/v1/policies/global/rollout", json!({ "version": 1 }), "write"),
        ("POST", "/v1/policies/global/rollout/approve", json!({}), "write"),
        ("POST", "/v1/policies/global/rollout/abort", json!({}), "write"),
        ("DELETE", "/v1/policies/global", json!(null), "write"),
        ("POST", "/v1/stats", json!({ "batches": [] }), "ingest"),
        ("GET", "/v1/stats", json!(null), "read"),
        ("GET", "/v1/patterns", json!(null), "read"),
        ("GET", "/v1/services", json!(null), "read"),
        ("GET", "/v1/anomalies", json!(null), "read"),
        ("POST", "/v1/explain", json!({ "text": "a" }), "read"),
        ("GET", "/v1/status", json!(null), "read"),
        ("GET", "/v1/tokens", json!(null), ""),
        ("GET", "/v1/audit", json!(null), ""),
    ];
    for scope in Scope::ALL {
        let token = server.make_token(&[scope]).await;
        for (method, path, body, scopes) in &doors {
            let ask = |request: reqwest::RequestBuilder| match body.is_null() {
                true => request,
                false => request.json(body),
            };
            let url = server.url(path);
            let method = http::Method::from_bytes(method.as_bytes()).unwrap();
            let with = answer(ask(server.http.request(method.clone(), &url).bearer_auth(&token))).await.status;
            let may = scope == Scope::Admin || scopes.split(' ').any(|name| name == scope.as_str());
            assert_eq!(with == 403, !may, "{} {method} {path}: {with}", scope.as_str());
            assert!(with < 500 && with != 401);
            let without = answer(ask(server.http.request(method, &url))).await;
            assert_eq!((without.status, &without.headers["www-authenticate"]), (401, &"Bearer".parse().unwrap()));
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let server = Server::start().await.with_token(&[Scope::Admin]).await;
    let made = server.send("POST", "/v1/tokens", &json!({ "name": "ci", "scopes": ["read"] })).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let token = made.body["token"].as_str().unwrap().to_owned();
    let id = made.body["entry"]["id"].as_str().unwrap().to_owned();
    let asked = |token: String| answer(server.http.get(server.url("/v1/services")).bearer_auth(token));
    assert_eq!(asked(token.clone()).await.status, 200);
    let listed = server.get("/v1/tokens").await.body.to_string();
    assert!(listed.contains(&id) && !listed.contains(&token[17..]), "{listed}");
    // Any part of a token, or one changed in a place, opens nothing.
    let mut wrong = vec![token[..token.len() - 1].to_owned(), format!("{token}x"), format!("lip_{id}_"), String::new()];
    wrong.push(format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { 'E' } else { 'A' }));
    for wrong in wrong {
        assert_eq!(asked(wrong.clone()).await.status, 401, "{wrong}");
    }
    let revoked = answer(server.request("DELETE", &format!("/v1/tokens/{id}"))).await;
    assert_eq!(revoked.status, 204);
    assert_eq!(asked(token).await.status, 401);
    assert_eq!(answer(server.request("DELETE", "/v1/tokens/0123456789ab")).await.status, 404);
    let own = &server.token.as_ref().unwrap()[4..16];
    let refused = answer(server.request("DELETE", &format!("/v1/tokens/{own}"))).await;
    assert_eq!(refused.status, 409, "nobody locks himself out: {}", refused.body);
    assert_eq!(server.get("/v1/tokens").await.status, 200);
    for body in [
        json!({ "name": "", "scopes": ["read"] }),
        json!({ "name": "x", "scopes": [] }),
        json!({ "name": "x", "scopes": ["all"] }),
        json!({ "name": "x", "scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z" }),
    ] {
        assert_eq!(server.send("POST", "/v1/tokens", &body).await.status, 422, "{body}");
    }
    // One that expires does so by the server's clock.
    let expires_at = "2026-01-01T00:10:00Z";
    let wanted = json!({ "name": "t", "scopes": ["read"], "expires_at": expires_at });
    let made = server.send("POST", "/v1/tokens", &wanted).await;
    let token = made.body["token"].as_str().unwrap().to_owned();
    assert_eq!(asked(token.clone()).await.status, 200);
    server.clock.advance(Duration::from_secs(600));
    assert_eq!(asked(token).await.status, 401);
    server.stop().await;
}

#[tokio::test]
async fn without_tokens_only_plain_hosts_are_answered() {
    let server = Server::start().await;
    for (host, status) in [("127.0.0.1:1", 200), ("localhost", 200), ("evil.example", 401)] {
        let asked = server.http.get(server.url("/v1/services")).header("host", host);
        assert_eq!(answer(asked).await.status, status, "{host}");
    }
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(answer(server.http.get(server.url(path)).header("host", "evil.example")).await.status, 200);
    }
    server.stop().await;
}

#[tokio::test]
async fn beyond_loopback_a_token_or_a_word_is_needed() {
    let open = |insecure| ApiConfig { endpoint: "0.0.0.0:0".into(), insecure, ..config() };
    let bound = |config: &ApiConfig, has_tokens| Bound::new(config, has_tokens, &Clock::System);
    assert!(matches!(bound(&open(false), false), Err(ServeError::Exposed { .. })));
    assert!(bound(&open(false), true).is_ok() && bound(&open(true), false).is_ok());
    assert!(bound(&config(), false).is_ok());
}

#[tokio::test]
async fn rates_and_sizes_are_bounded() {
    let config = ApiConfig { requests_per_second: 5, max_body_size: lipservice::units::ByteSize(1000), ..config() };
    let server = Server::over(&at("sqlite::memory:"), config, Clock::manual(START)).await;
    let large = server.send("POST", "/v1/explain", &json!({ "text": "x".repeat(2000) })).await;
    assert_eq!((large.status, &large.body["type"]), (413, &json!("urn:lipservice:problem:too-large")));
    let mut statuses = Vec::new();
    for _ in 0..50 {
        statuses.push(server.get("/v1/services").await.status);
    }
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    // Health is not held to a rate.
    assert_eq!(server.get("/health/live").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn request_ids_are_kept_when_they_are_plain() {
    let server = Server::start().await;
    for (own, kept) in [("abc-1", true), (&"x".repeat(65), false), ("with space", false)] {
        let asked = answer(server.http.get(server.url("/v1/services")).header("x-request-id", own)).await;
        assert_eq!(asked.headers["x-request-id"] == own, kept, "{own}");
    }
    let body = json!({ "document": document("1%") });
    answer(server.http.put(server.url("/v1/policies/global")).header("x-request-id", "mine").json(&body)).await;
    assert_eq!(server.get("/v1/audit").await.body["items"][0]["request_id"], "mine");
    server.stop().await;
}
