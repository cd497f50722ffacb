//! OTLP/HTTP as exporters speak it.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use lipservice::data_plane::receiver::{Refusal, Signal, Transport};
use prost::Message;
use reqwest::{Client, Method, StatusCode};

use super::grpc::logs;
use super::{soon, start};

pub(super) fn client() -> Client {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

const PROTOBUF: &str = "application/x-protobuf";

pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut writer = ZlibEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn raw_deflate(plain: &[u8]) -> Vec<u8> {
    let mut writer = DeflateEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_encoding_path_and_size_arrives_as_the_same_bytes() {
    let running = start();
    let client = client();
    type Pack = fn(&[u8]) -> Vec<u8>;
    let encodings: [(Option<&str>, &str, Pack); 8] = [
        (None, "", <[u8]>::to_vec),
        (Some("identity"), "", <[u8]>::to_vec),
        (Some("gzip"), "", gzip),
        (Some("GZIP"), "", gzip),
        (Some("deflate"), "", zlib),
        (Some("deflate"), "", raw_deflate),
        (Some("zstd"), "", |plain| zstd::bulk::compress(plain, 1).unwrap()),
        (None, "?compression=gzip-js", gzip),
    ];
    let mut sent = Vec::new();
    for (records, path) in [(0, "/v1/logs"), (10, "/i/v1/logs"), (40_000, "/v1/logs/")] {
        let body = logs(records, &"y".repeat(256)).encode_to_vec();
        for (encoding, query, pack) in encodings {
            let mut request = client.post(running.url(path) + query).header("content-type", PROTOBUF).body(pack(&body));
            if let Some(encoding) = encoding {
                request = request.header("content-encoding", encoding);
            }
            let response = soon(request.send()).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{encoding:?} {records}");
            assert_eq!(response.headers()["content-type"], PROTOBUF);
            assert_eq!(soon(response.bytes()).await.unwrap().len(), 0, "an empty response message");
            sent.push(body.clone());
        }
    }
    drop(client);
    let recorder = running.stop().await;
    let received = recorder.logs.lock();
    assert!(received.iter().all(|one| one.transport == Transport::Http));
    assert!(received.iter().map(|one| &one.body).eq(sent.iter()), "same bytes in the same order");
}

#[tokio::test]
async fn refusals_become_statuses() {
    let running = start();
    let client = client();
    let wait = Duration::from_millis(2500);
    let cases = [
        (Refusal::Malformed("bad ü".into()), 400, 3, None),
        (Refusal::TooLarge("raise x".into()), 413, 8, None),
        (Refusal::Busy { message: "full".into(), retry_after: wait }, 503, 14, Some("3")),
        (Refusal::Unsupported("configure".into()), 404, 12, None),
        (Refusal::Unauthenticated("no".into()), 401, 16, None),
        (Refusal::Failed("ours".into()), 500, 13, None),
    ];
    for (refusal, http, code, retry_after) in cases {
        *running.recorder.refuse_logs.lock() = Some(refusal.clone());
        let body = logs(1, "x").encode_to_vec();
        let request = client.post(running.url("/v1/logs")).header("content-type", PROTOBUF).body(body);
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status().as_u16(), http);
        assert_eq!(response.headers()["content-type"], PROTOBUF);
        assert_eq!(response.headers().get("retry-after").map(|value| value.to_str().unwrap()), retry_after);
        assert_eq!(response.headers().contains_key("www-authenticate"), http == 401);
        let status = RpcStatus::decode(soon(response.bytes()).await.unwrap()).unwrap();
        assert_eq!((status.code, status.message), (code, refusal.to_string()));
    }
    drop(client);
    running.stop().await;
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[tokio::test]
async fn what_is_not_served_is_refused_with_what_is() {
    let running = start();
    let client = client();
    type Case<'a> = (Method, &'a str, Option<&'a str>, Option<&'a str>, u16, &'a str);
    let cases: [Case<'_>; 10] = [
        (Method::GET, "/v1/logs", None, None, 405, "POST"),
        (Method::OPTIONS, "/v1/logs", None, None, 405, "POST"),
        (Method::POST, "/", Some(PROTOBUF), None, 404, "/v1/logs"),
        (Method::POST, "/v2/logs", Some("application/json"), None, 404, "/v1/logs"),
        (Method::POST, "/opentelemetry.proto.collector.logs.v1.LogsService/Export", None, None, 404, "4317"),
        (Method::POST, "/v1/logs", Some("text/plain"), None, 415, "application/x-protobuf"),
        (Method::POST, "/v1/logs", Some("application/grpc"), None, 415, "4317"),
        (Method::POST, "/v1/logs", Some(PROTOBUF), Some("br"), 415, "gzip"),
        (Method::POST, "/v1/logs", Some(PROTOBUF), Some("gzip, gzip"), 415, "gzip"),
        (Method::POST, "/v1/logs", Some(PROTOBUF), Some("gzip"), 400, "gzip"),
    ];
    for (method, path, content_type, encoding, status, hint) in cases {
        let mut request = client.request(method.clone(), running.url(path)).body("{}");
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let response = soon(request.send()).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{method} {path} {content_type:?} {encoding:?}");
        assert_eq!(response.headers().contains_key("allow"), status == 405);
        assert_eq!(response.headers().contains_key("accept-encoding"), status == 415 && encoding.is_some());
        let body = soon(response.bytes()).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains(hint), "{path} {status}: {body:?}");
    }
    drop(client);
    let recorder = running.stop().await;
    let refused = recorder.refused.lock();
    assert_eq!(*refused, vec![(Signal::Logs, Transport::Http); 5], "those that were meant as logs");
}

#[tokio::test]
async fn json_arrives_as_protobuf_and_is_answered_in_json() {
    let running = start();
    let client = client();
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;
    let post = |content_type: Option<&str>, body: &str| {
        let request = client.post(running.url("/v1/logs")).body(body.to_owned());
        content_type.map_or(request.try_clone().unwrap(), |value| request.header("content-type", value))
    };
    for content_type in [Some("application/json"), Some("Application/JSON; charset=utf-8"), None] {
        let response = soon(post(content_type, json).send()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        assert_eq!(soon(response.text()).await.unwrap(), "{}");
    }
    let response = soon(post(Some("application/json"), r#"{"resourceLogs": 5}"#).send()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-type"]),
        (400, &"application/json".parse().unwrap())
    );
    let status: serde_json::Value = serde_json::from_str(&soon(response.text()).await.unwrap()).unwrap();
    assert_eq!(status["code"], 3);
    assert!(status["message"].as_str().unwrap().contains("resourceLogs"), "{status}");
    // Without a Content-Type, what does not begin with `{` is protobuf.
    let protobuf = logs(1, "x").encode_to_vec();
    let bare = client.post(running.url("/v1/logs")).body(protobuf.clone());
    assert_eq!(soon(bare.send()).await.unwrap().headers()["content-type"], PROTOBUF);
    drop(client);
    let recorder = running.stop().await;
    assert!(recorder.logs.lock().iter().all(|one| one.body == protobuf));
    assert_eq!((recorder.logs.lock().len(), recorder.refused.lock().len()), (4, 1));
}
