//! Who may send: tokens, gateway authentication, origins.

use lipservice::clock::Clock;
use lipservice::data_plane::receiver::config::{AuthRef, BearerTokenAuthConfig, CorsConfig, OtlpReceiverConfig};
use lipservice::data_plane::receiver::{Authenticators, OtlpReceiver};
use lipservice::units::Secret;
use reqwest::Method;
use tonic::{Code, Request};

use super::grpc::{logs, logs_client};
use super::http::client;
use super::{config, soon, start, start_with};

fn authenticators() -> Authenticators {
    let config = BearerTokenAuthConfig { tokens: vec![Secret::new("door-key")], ..BearerTokenAuthConfig::default() };
    Authenticators::new([("bearertokenauth", &config)], &Clock::System).unwrap()
}

pub fn with_auth() -> OtlpReceiverConfig {
    let mut config = config();
    let auth = Some(AuthRef { authenticator: "bearertokenauth".into() });
    config.protocols.grpc.as_mut().unwrap().auth.clone_from(&auth);
    config.protocols.http.as_mut().unwrap().auth = auth;
    config
}

#[tokio::test]
async fn project_tokens_are_passed_on() {
    let running = start();
    let client = client();
    for (path, header) in [
        ("/v1/logs", None),
        ("/v1/logs", Some("Bearer phc_a")),
        ("/i/v1/logs?token=phc_b", None),
        ("/v1/logs", Some("Bearer phc_a")),
    ] {
        let mut request = client.post(running.url(path));
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        assert_eq!(soon(request.send()).await.unwrap().status(), 200);
    }
    let long = format!("Bearer {}", "x".repeat(300));
    let response = soon(client.post(running.url("/v1/logs")).header("authorization", long).send()).await.unwrap();
    assert_eq!(response.status(), 401);
    let mut grpc = logs_client(&running).await;
    let mut request = Request::new(logs(1, "x"));
    request.metadata_mut().insert("authorization", "Bearer phc_c".parse().unwrap());
    soon(grpc.export(request)).await.unwrap();
    drop((client, grpc));
    let recorder = running.stop().await;
    let tokens: Vec<_> = recorder.logs.lock().iter().map(|one| one.token.clone()).collect();
    let texts: Vec<_> = tokens.iter().map(|token| token.as_deref()).collect();
    assert_eq!(texts, [None, Some("phc_a"), Some("phc_b"), Some("phc_a"), Some("phc_c")]);
}

#[tokio::test]
async fn gateway_tokens_open_the_door_and_stay_here() {
    let running = start_with(&with_auth(), authenticators());
    let client = client();
    for (path, header, status) in [
        ("/v1/logs", None, 401),
        ("/v1/logs", Some("Bearer wrong"), 401),
        ("/v1/traces?token=wrong", None, 401),
        ("/v1/logs", Some("Bearer door-key"), 200),
        ("/v1/logs?token=phc_b", Some("Bearer door-key"), 200),
    ] {
        let mut request = client.post(running.url(path));
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{path} {header:?}");
        assert_eq!(response.headers().get("www-authenticate").is_some_and(|v| v == "Bearer"), status == 401);
    }
    let mut grpc = logs_client(&running).await;
    for (token, code) in
        [(None, Code::Unauthenticated), (Some("Bearer x"), Code::Unauthenticated), (Some("Bearer door-key"), Code::Ok)]
    {
        let mut request = Request::new(logs(1, "x"));
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        let answer = soon(grpc.export(request)).await;
        assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), code);
    }
    assert_eq!(running.metric("lipservice_receiver_auth_failures", &[]), 5.0);
    drop((client, grpc));
    let recorder = running.stop().await;
    let tokens: Vec<_> = recorder.logs.lock().iter().map(|one| one.token.clone()).collect();
    let texts: Vec<_> = tokens.iter().map(|token| token.as_deref()).collect();
    assert_eq!(texts, [None, Some("phc_b"), None]);
    assert_eq!(recorder.refused.lock().len(), 5);
}

#[test]
fn unknown_authenticators_are_an_error() {
    let error = OtlpReceiver::bind("otlp", &with_auth(), Authenticators::default(), &Clock::System);
    let message = error.unwrap_err().to_string();
    assert!(message.contains("receivers.otlp.protocols.grpc.auth.authenticator"), "{message}");
    assert!(message.contains("bearertokenauth"), "{message}");
}

fn with_cors(origins: &[&str], headers: &[&str]) -> OtlpReceiverConfig {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let mut config = with_auth();
    config.protocols.http.as_mut().unwrap().cors =
        Some(CorsConfig { allowed_origins: texts(origins), allowed_headers: texts(headers), max_age: 600 });
    config
}

#[tokio::test]
async fn preflights_need_no_token_and_tell_allowed_origins_only() {
    let running = start_with(&with_cors(&["https://*.example.com"], &["X-Extra"]), authenticators());
    let client = client();
    for (origin, allowed) in
        [("https://app.example.com", true), ("https://app.example.com.evil", false), ("null", false)]
    {
        let preflight = client
            .request(Method::OPTIONS, running.url("/i/v1/logs?token=phc_b"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type,x-other");
        let response = soon(preflight.send()).await.unwrap();
        assert_eq!(response.status(), 204);
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("access-control-allow-origin"), allowed.then(|| origin.to_owned()));
        assert_eq!(header("access-control-allow-methods"), allowed.then(|| "POST".to_owned()));
        assert_eq!(header("access-control-max-age"), allowed.then(|| "600".to_owned()));
        let headers = "Content-Type, Content-Encoding, Authorization, X-Extra";
        assert_eq!(header("access-control-allow-headers"), allowed.then(|| headers.to_owned()));
        assert!(header("vary").unwrap().starts_with("Origin"));
        assert_eq!(header("access-control-allow-credentials"), None);
        // The request itself: marked whether served or refused.
        for (query, status) in [("token=door-key", 200), ("token=wrong", 401)] {
            let post = client.post(running.url(&format!("/v1/logs?{query}"))).header("origin", origin);
            let response = soon(post.send()).await.unwrap();
            assert_eq!(response.status().as_u16(), status);
            let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(header("access-control-allow-origin"), allowed.then(|| origin.to_owned()));
            assert_eq!(header("vary").as_deref(), Some("Origin"));
        }
    }
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn without_cors_there_are_no_cors_headers() {
    let running = start();
    let client = client();
    let preflight = client
        .request(Method::OPTIONS, running.url("/v1/logs"))
        .header("origin", "https://a.example")
        .header("access-control-request-method", "POST");
    let response = soon(preflight.send()).await.unwrap();
    assert_eq!(response.status(), 405);
    assert!(!response.headers().contains_key("access-control-allow-origin"));
    drop(client);
    running.stop().await;
}
