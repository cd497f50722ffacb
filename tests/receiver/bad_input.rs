//! Hostile and broken requests: a clear answer, nothing consumed, and the receiver lives on.

use http::HeaderMap;
use lipservice::data_plane::receiver::Signal;
use lipservice::units::ByteSize;
use prost::Message;
use rand::{Rng, SeedableRng};

use super::grpc::logs;
use super::http::{client, gzip};
use super::raw::{Socket, call, full, http2, whole};
use super::{Running, config, soon, start, start_with};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

fn framed(flag: u8, declared: usize, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![flag];
    framed.extend((declared as u32).to_be_bytes());
    framed.extend(message);
    framed
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn broken_grpc_calls() {
    let running = start();
    let message = logs(3, "x").encode_to_vec();
    let size = message.len();
    let packed = gzip(&message);
    type Case<'a> = (&'a str, Vec<u8>, &'a [(&'a str, &'a str)], &'a str, &'a str);
    let gzip_header: &[(&str, &str)] = &[("grpc-encoding", "gzip")];
    let snappy: &[(&str, &str)] = &[("grpc-encoding", "snappy")];
    let proto: &[(&str, &str)] = &[("content-type", "application/grpc+proto")];
    let cases: [Case<'_>; 15] = [
        ("no message", vec![], &[], "13", "after 0 bytes"),
        ("half a prefix", vec![0, 0, 0], &[], "13", "after 3 bytes"),
        ("cut", framed(0, size, &message[..size - 1]), &[], "13", "in the middle"),
        ("declared too long", framed(0, size + 1, &message), &[], "13", "in the middle"),
        ("declared too short", framed(0, size - 1, &message), &[], "13", "more bytes"),
        ("two messages", framed(0, size, &message).repeat(2), &[], "13", "more bytes"),
        ("strange flag", framed(2, size, &message), &[], "13", "compressed flag is 2"),
        ("compressed without a name", framed(1, packed.len(), &packed), &[], "13", "grpc-encoding"),
        ("unknown encoding", framed(1, packed.len(), &packed), snappy, "12", "snappy"),
        ("not gzip", framed(1, size, &message), gzip_header, "3", "gzip"),
        ("cut gzip", framed(1, packed.len() - 9, &packed[..packed.len() - 9]), gzip_header, "3", "gzip"),
        ("4 GiB declared", framed(0, usize::MAX, &message), &[], "8", "max_recv_msg_size"),
        ("flag 0 although gzip is named", framed(0, size, &message), gzip_header, "0", ""),
        ("empty request", framed(0, 0, &[]), &[], "0", ""),
        ("+proto", framed(0, size, &message), proto, "0", ""),
    ];
    let mut client = http2(running.grpc).await;
    let mut expected_refusals = 0;
    for (name, body, headers, status, hint) in cases {
        let response = soon(client.send_request(call(running.grpc, EXPORT, headers, full(body)))).await.unwrap();
        assert_eq!(response.status(), 200, "{name}");
        let (headers, body) = whole(response).await;
        assert_eq!(text(&headers, "grpc-status"), status, "{name}: {headers:?}");
        assert!(text(&headers, "grpc-message").contains(hint), "{name}: {headers:?}");
        assert_eq!(text(&headers, "grpc-accept-encoding"), "identity,gzip,deflate,zstd");
        assert!(!headers.contains_key("grpc-status-details-bin"), "{name}: none of these should be retried");
        assert_eq!(body.as_ref(), if status == "0" { &[0; 5][..] } else { &[] }, "{name}");
        expected_refusals += usize::from(status != "0");
    }
    drop(client);
    assert_eq!(running.metric("lipservice_receiver_requests", &["grpc", "logs", "OK"]), 3.0);
    assert_eq!(running.metric("lipservice_receiver_requests", &["grpc", "logs", "framing"]), 8.0);
    let recorder = running.stop().await;
    assert_eq!((recorder.logs.lock().len(), recorder.refused.lock().len()), (3, expected_refusals));
}

#[tokio::test]
async fn other_methods_and_protocols_on_the_grpc_port() {
    let running = start();
    let mut client = http2(running.grpc).await;
    for path in ["/", "/x.Y/Z", "/opentelemetry.proto.collector.logs.v1.LogsService/Import"] {
        let response = soon(client.send_request(call(running.grpc, path, &[], full("")))).await.unwrap();
        let (headers, _) = whole(response).await;
        assert_eq!(text(&headers, "grpc-status"), "12", "{path}");
        assert!(text(&headers, "grpc-message").contains("LogsService"), "{headers:?}");
    }
    let json: &[(&str, &str)] = &[("content-type", "application/json")];
    let response = soon(client.send_request(call(running.grpc, "/v1/logs", json, full("{}")))).await.unwrap();
    assert_eq!(response.status(), 415);
    assert!(String::from_utf8_lossy(&whole(response).await.1).contains("4318"));
    let mut get = call(running.grpc, EXPORT, &[], full(""));
    *get.method_mut() = http::Method::GET;
    assert_eq!(soon(client.send_request(get)).await.unwrap().status(), 405);
    let mut http1 = Socket::connect(running.grpc).await;
    http1.send("POST /v1/logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}").await;
    let answer = http1.rest().await;
    assert!(answer.starts_with("HTTP/1.1 415") && answer.contains("4318"), "{answer}");
    drop(client);
    let recorder = running.stop().await;
    assert!(recorder.refused.lock().is_empty(), "none of these was logs");
}

fn post(length: impl std::fmt::Display, extra: &str) -> String {
    format!("POST /v1/logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{extra}\r\n")
}

#[tokio::test]
async fn broken_http_requests() {
    let running = start();
    let body = logs(3, "x").encode_to_vec();
    let chunked = "POST /v1/logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let long = format!("GET /v1/logs HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(2 << 20));
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("not HTTP", b"\x16\x03\x01\x02\x00 hello\r\n\r\n".to_vec(), "HTTP/1.1 400"),
        ("two lengths", post(5, "Content-Length: 6\r\n").into(), "HTTP/1.1 400"),
        ("no number", post("five", "").into(), "HTTP/1.1 400"),
        ("too large a number", post("99999999999999999999999", "").into(), "HTTP/1.1 400"),
        ("declared over the limit", post(70 << 20, "").into(), "HTTP/1.1 413"),
        ("the same, waiting for a go", post(70 << 20, "Expect: 100-continue\r\n").into(), "HTTP/1.1 413"),
        ("bad chunk", format!("{chunked}zz\r\nhello\r\n0\r\n\r\n").into(), "HTTP/1.1 400"),
        ("endless headers", long.into(), "HTTP/1.1 431"),
        ("bad query token", "POST /v1/logs?token=%00\u{e9} HTTP/1.1\r\nHost: x\r\n\r\n".into(), "HTTP/1.1 4"),
    ];
    for (name, bytes, status) in cases {
        let mut socket = Socket::connect(running.http).await;
        // The other side may close before it has read all.
        let _ = soon(tokio::io::AsyncWriteExt::write_all(&mut socket.0, &bytes)).await;
        let _ = soon(tokio::io::AsyncWriteExt::shutdown(&mut socket.0)).await;
        let answer = socket.rest().await;
        assert!(answer.starts_with(status), "{name}: {answer:?}");
    }
    // Cut in the middle of the body: nobody is left to answer to, nothing is consumed.
    let mut socket = Socket::connect(running.http).await;
    socket.send(post(body.len(), "")).await;
    socket.send(&body[..body.len() - 1]).await;
    socket.close_half().await;
    socket.rest().await;
    // Half closed after the whole: answered.
    let mut socket = Socket::connect(running.http).await;
    socket.send(post(body.len(), "")).await;
    socket.send(&body).await;
    socket.close_half().await;
    assert!(socket.rest().await.starts_with("HTTP/1.1 200"));
    // `Expect: 100-continue` is honoured.
    let mut socket = Socket::connect(running.http).await;
    socket.send(post(body.len(), "Expect: 100-continue\r\n")).await;
    socket.through("100 Continue\r\n\r\n").await;
    socket.send(&body).await;
    assert!(socket.rest().await.starts_with("HTTP/1.1 200"));
    let recorder = running.stop().await;
    assert!(recorder.logs.lock().iter().all(|one| one.body == body));
    assert_eq!(recorder.logs.lock().len(), 2);
    assert!(recorder.refused.lock().iter().all(|(signal, _)| *signal == Signal::Logs));
}

#[tokio::test]
async fn noise_on_either_port_changes_nothing() {
    let running = start();
    let mut random = rand::rngs::SmallRng::seed_from_u64(1);
    for round in 0..40 {
        let address = if round % 2 == 0 { running.grpc } else { running.http };
        let mut noise: Vec<u8> = match round % 4 {
            0 | 1 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            2 => post(1000, "").into(),
            _ => Vec::new(),
        };
        let length = random.random_range(0..3000);
        noise.extend((0..length).map(|_| random.random::<u8>()));
        let mut socket = Socket::connect(address).await;
        let _ = soon(tokio::io::AsyncWriteExt::write_all(&mut socket.0, &noise)).await;
        let _ = soon(tokio::io::AsyncWriteExt::shutdown(&mut socket.0)).await;
        socket.rest().await;
    }
    alive(&running).await;
    running.stop().await;
}

async fn alive(running: &Running) {
    let before = running.recorder.logs.lock().len();
    let request = client().post(running.url("/v1/logs")).header("content-type", "application/x-protobuf");
    let response = soon(request.body(logs(1, "alive").encode_to_vec()).send()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(running.recorder.logs.lock().len(), before + 1);
}

/// One GiB of zeros in about a megabyte: gzip as many members, as one member with an honest and with a lying size, zstd.
fn bombs() -> [(&'static str, &'static str, Vec<u8>); 4] {
    let zeros = vec![0; 4 << 20];
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut writer, &zeros).unwrap();
    let member = writer.finish().unwrap();
    let mut flate = flate2::Compress::new(flate2::Compression::best(), false);
    let mut block = Vec::with_capacity(1 << 20);
    flate.compress_vec(&zeros, &mut block, flate2::FlushCompress::Full).unwrap();
    // A header, the same flushed block over and over, an empty last block; the checksum is never reached.
    let one = |size: u32| {
        let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        (0..256).for_each(|_| bomb.extend(&block));
        bomb.extend([3, 0, 0, 0, 0, 0]);
        bomb.extend(size.to_le_bytes());
        bomb
    };
    let zstd = zstd::stream::encode_all(std::io::Read::take(std::io::repeat(0), 1 << 30), 1).unwrap();
    [
        ("many members", "gzip", member.repeat(256)),
        ("honest", "gzip", one(1 << 30)),
        ("lying", "gzip", one(5)),
        ("zstd", "zstd", zstd),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_stop_at_the_limit() {
    let mut config = config();
    config.protocols.grpc.as_mut().unwrap().max_recv_msg_size = ByteSize::mib(8);
    config.protocols.http.as_mut().unwrap().max_request_body_size = ByteSize::mib(8);
    // Room for the limit and what was sent, so a bomb that grew past the limit would be told "busy" instead.
    config.max_in_flight = ByteSize::mib(12);
    let running = start_with(&config, Default::default());
    let client = client();
    let mut grpc = http2(running.grpc).await;
    for (name, encoding, bomb) in bombs() {
        let request = client.post(running.url("/v1/logs")).header("content-type", "application/x-protobuf");
        let response = soon(request.header("content-encoding", encoding).body(bomb.clone()).send()).await.unwrap();
        assert_eq!(response.status(), 413, "{name}");
        let body = soon(response.bytes()).await.unwrap();
        assert!(String::from_utf8_lossy(&body).contains("max_request_body_size"), "{name}: {body:?}");
        let message = framed(1, bomb.len(), &bomb);
        let request = call(running.grpc, EXPORT, &[("grpc-encoding", encoding)], full(message));
        let (headers, _) = whole(soon(grpc.send_request(request)).await.unwrap()).await;
        assert_eq!(text(&headers, "grpc-status"), "8", "{name}: {headers:?}");
        assert!(text(&headers, "grpc-message").contains("max_recv_msg_size"), "{headers:?}");
    }
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(peak_kib < 1 << 20, "a bomb of 1 GiB was held in memory: peak {peak_kib} KiB");
    } else {
        eprintln!("SKIPPED: no /proc here, so the peak of memory is not checked");
    }
    drop((client, grpc));
    let recorder = running.stop().await;
    assert_eq!((recorder.logs.lock().len(), recorder.refused.lock().len()), (0, 8));
}
