//! Bounds on bytes, requests, connections and time.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use lipservice::data_plane::receiver::config::OtlpReceiverConfig;
use lipservice::units::{ByteSize, Period};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::sync::Notify;
use tonic::Code;

use super::grpc::{logs, logs_client, traces_client};
use super::http::client;
use super::raw::{Socket, call, http2, whole};
use super::{config, soon, start_with, until};

fn limited(change: impl FnOnce(&mut OtlpReceiverConfig)) -> OtlpReceiverConfig {
    let mut config = config();
    change(&mut config);
    config
}

#[tokio::test]
async fn requests_over_the_limit_as_sent() {
    let running = start_with(
        &limited(|config| {
            config.protocols.grpc.as_mut().unwrap().max_recv_msg_size = ByteSize(100_000);
            config.protocols.http.as_mut().unwrap().max_request_body_size = ByteSize(100_000);
        }),
        Default::default(),
    );
    let client = client();
    let post = |body: reqwest::Body| {
        client.post(running.url("/v1/logs")).header("content-type", "application/x-protobuf").body(body)
    };
    // At the limit, over it with and without a declared length (much over it, so that the client is still sending).
    let chunks = |count| {
        let chunk = Ok::<_, std::io::Error>(Bytes::from(vec![0x0a; 50_000]));
        reqwest::Body::wrap_stream(stream::iter(
            (0..count).map(move |_| Bytes::clone(chunk.as_ref().unwrap())).map(Ok::<_, std::io::Error>),
        ))
    };
    for (body, status) in [
        (vec![0; 100_000].into(), 200),
        (vec![0; 100_001].into(), 413),
        (vec![0; 20_000_000].into(), 413),
        (chunks(2), 200),
        (chunks(3), 413),
        (chunks(400), 413),
    ] {
        let response = soon(post(body).send()).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
    }
    let mut grpc = logs_client(&running).await;
    for size in [200_000, 20_000_000] {
        let status = soon(grpc.export(logs(1, &"x".repeat(size)))).await.unwrap_err();
        assert_eq!((status.code(), status.details()), (Code::ResourceExhausted, &b""[..]));
        assert!(status.message().contains("max_recv_msg_size"));
    }
    soon(grpc.export(logs(1, "small"))).await.unwrap();
    drop((client, grpc));
    let recorder = running.stop().await;
    assert_eq!((recorder.logs.lock().len(), recorder.refused.lock().len()), (3, 6));
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_over_both_protocols() {
    let running = start_with(&limited(|config| config.max_in_flight = ByteSize(150_000)), Default::default());
    let body = logs(1, &"x".repeat(100_000)).encode_to_vec();
    let head =
        format!("POST /v1/logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let mut half = Socket::connect(running.http).await;
    half.send(head).await;
    half.send(&body[..90_000]).await;
    until("90,000 bytes are held", || running.stats.in_flight_bytes() >= 90_000).await;
    let client = client();
    let post = |body: Vec<u8>| {
        client.post(running.url("/v1/logs")).header("content-type", "application/x-protobuf").body(body)
    };
    let response = soon(post(body.clone()).send()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert!(String::from_utf8_lossy(&soon(response.bytes()).await.unwrap()).contains("max_in_flight"));
    let mut grpc = logs_client(&running).await;
    let status = soon(grpc.export(logs(1, &"x".repeat(100_000)))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!status.details().is_empty(), "RetryInfo");
    // More than would ever fit is not worth a retry.
    let response = soon(post(vec![0; 200_000]).send()).await.unwrap();
    assert_eq!(response.status().as_u16(), 413);
    half.send(&body[90_000..]).await;
    assert!(half.rest().await.starts_with("HTTP/1.1 200"));
    soon(grpc.export(logs(1, &"x".repeat(100_000)))).await.unwrap();
    drop((client, grpc));
    let recorder = running.stop().await;
    assert_eq!((recorder.logs.lock().len(), recorder.refused.lock().len()), (2, 3));
}

#[tokio::test]
async fn requests_at_once_are_bounded() {
    let running = start_with(
        &limited(|config| {
            config.protocols.grpc.as_mut().unwrap().max_concurrent_requests = 1;
            config.protocols.http.as_mut().unwrap().max_concurrent_requests = 1;
        }),
        Default::default(),
    );
    let gate = Arc::new(Notify::new());
    *running.recorder.gate.lock() = Some(Arc::clone(&gate));
    let mut first = traces_client(&running).await;
    let held = tokio::spawn(async move { soon(first.export(ExportTraceServiceRequest::default())).await });
    soon(running.recorder.begun.notified()).await;
    let status = soon(logs_client(&running).await.export(logs(1, "x"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("max_concurrent_requests"), "{status}");
    // HTTP has places of its own.
    let client = client();
    let (url, body) = (running.url("/v1/traces"), logs(1, "x").encode_to_vec());
    let post = |url: &str| client.post(url).header("content-type", "application/x-protobuf").body(body.clone());
    let also_held = tokio::spawn(post(&url).send());
    soon(running.recorder.begun.notified()).await;
    let response = soon(post(&running.url("/v1/logs")).send()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().contains_key("retry-after")), (503, true));
    gate.notify_waiters();
    soon(held).await.unwrap().unwrap();
    assert_eq!(soon(also_held).await.unwrap().unwrap().status(), 200);
    *running.recorder.gate.lock() = None;
    assert_eq!(soon(post(&running.url("/v1/logs")).send()).await.unwrap().status(), 200);
    drop(client);
    running.stop().await;
}

#[tokio::test]
async fn slow_bodies_are_cut_off() {
    let short = Period::millis(50);
    let running = start_with(&limited(|config| config.read_timeout = short), Default::default());
    let mut socket = Socket::connect(running.http).await;
    socket.send("POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf").await;
    let answer = socket.through("read_timeout").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut grpc = http2(running.grpc).await;
    let beginning = stream::iter([Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 9])))]);
    let body = StreamBody::new(Box::pin(beginning.chain(stream::pending())));
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let (headers, _) = whole(soon(grpc.send_request(call(running.grpc, path, &[], body))).await.unwrap()).await;
    assert_eq!(headers["grpc-status"], "4", "{headers:?}");
    drop((socket, grpc));
    let recorder = running.stop().await;
    assert_eq!(recorder.refused.lock().len(), 2);
}

#[tokio::test]
async fn silent_connections_are_closed() {
    let running = start_with(&limited(|config| config.idle_timeout = Period::millis(50)), Default::default());
    for address in [running.http, running.grpc] {
        for beginning in [
            "",
            "POST /v1/logs HTT",
            "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ] {
            let mut socket = Socket::connect(address).await;
            socket.send(beginning).await;
            socket.rest().await;
        }
    }
    // Kept alive until it is idle; then closed.
    let mut socket = Socket::connect(running.http).await;
    socket.send("POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    assert!(socket.rest().await.starts_with("HTTP/1.1 200"));
    // Not while a request is waiting for its answer.
    let gate = Arc::new(Notify::new());
    *running.recorder.gate.lock() = Some(Arc::clone(&gate));
    let mut traces = traces_client(&running).await;
    let held = tokio::spawn(async move { soon(traces.export(ExportTraceServiceRequest::default())).await });
    soon(running.recorder.begun.notified()).await;
    // One that came later is closed meanwhile.
    Socket::connect(running.grpc).await.rest().await;
    gate.notify_waiters();
    soon(held).await.unwrap().unwrap();
    running.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_over_both_protocols() {
    let running = start_with(&limited(|config| config.max_connections = 1), Default::default());
    let first = Socket::connect(running.grpc).await;
    until("the first is open", || running.stats.connections() == 1).await;
    assert_eq!(Socket::connect(running.http).await.rest().await, "");
    assert_eq!(running.metric("lipservice_receiver_connections_refused", &["http"]), 1.0);
    drop(first);
    until("it is closed", || running.stats.connections() == 0).await;
    let mut socket = Socket::connect(running.http).await;
    socket.send("POST /v1/logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
    assert!(socket.rest().await.starts_with("HTTP/1.1 200"));
    running.stop().await;
}
