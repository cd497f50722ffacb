//! Plain requests over HTTP/1.1 go a shorter way than others: what a client sees and the consumer gets is the same on both.

use bytes::Bytes;
use lipservice::data_plane::receiver::{Refusal, Signal, Transport};
use lipservice::units::ByteSize;
use prost::Message;
use rand::{Rng, SeedableRng};
use tokio::io::AsyncReadExt;

use super::grpc::logs;
use super::http::gzip;
use super::raw::Socket;
use super::{Running, config, soon, start, start_with, tls, until};

/// A header that changes nothing but the way.
const GENERAL: &str = "Connection: keep-alive, X-Other\r\n";
const PROTOBUF: &str = "Content-Type: application/x-protobuf\r\n";

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST /v1/logs HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The next answer on a connection: its status line, headers but for the date, body.
async fn answer(socket: &mut Socket) -> (String, Vec<String>, Vec<u8>) {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(soon(socket.0.read_u8()).await.expect("an answer"));
    }
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.trim_end().split("\r\n").map(str::to_owned);
    let status = lines.next().unwrap();
    let (dates, mut headers): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("date: "));
    assert_eq!((dates.len(), dates[0].len()), (1, "date: Sun, 06 Nov 1994 08:49:37 GMT".len()), "{text}");
    headers.sort();
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let mut body = vec![0; length.parse().unwrap()];
    soon(socket.0.read_exact(&mut body)).await.unwrap();
    (status, headers, body)
}

fn general(running: &Running) -> f64 {
    running.metric("lipservice_receiver_connections_general", &["http"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ways_answer_alike() {
    let mut config = config();
    config.protocols.http.as_mut().unwrap().max_request_body_size = ByteSize::mib(4);
    let cors = serde_json::json!({ "allowed_origins": ["https://app.example"] });
    config.protocols.http.as_mut().unwrap().cors = Some(serde_json::from_value(cors).unwrap());
    let running = start_with(&config, Default::default());
    let (small, large) = (logs(2, "x").encode_to_vec(), logs(3000, &"y".repeat(1000)).encode_to_vec());
    let json = br#" {"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;
    let busy = Refusal::Busy { message: "full".into(), retry_after: std::time::Duration::from_secs(3) };
    type Case<'a> = (&'a str, Vec<u8>, Option<Refusal>, u16, usize);
    let cases: [Case<'_>; 15] = [
        (PROTOBUF, small.clone(), None, 200, 1),
        (PROTOBUF, large.clone(), None, 200, 1),
        (PROTOBUF, Vec::new(), None, 200, 1),
        ("", small.clone(), None, 200, 1),
        ("", json.to_vec(), None, 200, 1),
        ("Content-Type: application/json\r\nOrigin: https://app.example\r\n", json.to_vec(), None, 200, 1),
        ("Content-Type: application/json\r\n", b"{\"resourceLogs\": 5}".to_vec(), None, 400, 0),
        ("Content-Encoding: gzip\r\nAuthorization: Bearer phc_x\r\n", gzip(&large), None, 200, 1),
        ("Content-Encoding: gzip\r\n", small.clone(), None, 400, 0),
        ("Content-Encoding: gzip\r\n", gzip(&vec![0; 5 << 20]), None, 413, 0),
        ("Content-Encoding: br\r\n", small.clone(), None, 415, 0),
        ("Content-Type: text/plain\r\n", large.clone(), None, 415, 0),
        (PROTOBUF, vec![0; (4 << 20) + 1], None, 413, 0),
        (PROTOBUF, small.clone(), Some(busy), 503, 0),
        (PROTOBUF, small.clone(), Some(Refusal::Unauthenticated("no".into())), 401, 0),
    ];
    for (headers, body, refusal, status, taken) in cases {
        *running.recorder.refuse_logs.lock() = refusal;
        let mut seen = Vec::new();
        for way in ["", GENERAL] {
            // Twice on one connection: a refusal ends neither way.
            let mut socket = Socket::connect(running.http).await;
            let request = post(&(headers.to_owned() + way), &body);
            for _ in 0..2 {
                socket.send(&request).await;
                let answer = answer(&mut socket).await;
                assert!(answer.0.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}{way}: {answer:?}");
                let logs = std::mem::take(&mut *running.recorder.logs.lock());
                let refused = std::mem::take(&mut *running.recorder.refused.lock());
                assert_eq!(logs.len(), taken, "{headers}{way}");
                let token = logs.first().and_then(|one| one.token.clone());
                seen.push((answer, refused, token, logs.first().map(|one| one.body.clone())));
            }
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{headers}: {seen:?}");
    }
    running.stop().await;
}

#[tokio::test]
async fn requests_arrive_whole_and_in_order_in_whatever_pieces() {
    for seed in 0..8 {
        let running = start();
        let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
        let sizes = [0, 1, 80, 8 << 10, 9000, 70_000, 0, 300_000, 5, 5, 1 << 20, 3];
        let bodies: Vec<Bytes> = sizes.iter().map(|size| vec![random.random(); *size].into()).collect();
        let mut stream: Vec<u8> = bodies.iter().flat_map(|body| post(PROTOBUF, body)).collect();
        // Half of the time the connection then turns to what only the general way serves, and stays with it.
        let turns = seed % 2 == 1;
        let mut expected = bodies.clone();
        if turns {
            let chunked = format!("POST /v1/logs HTTP/1.1\r\nHost: x\r\n{PROTOBUF}Transfer-Encoding: chunked\r\n\r\n");
            stream.extend([chunked.as_bytes(), b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"].concat());
            stream.extend(post(PROTOBUF, b"last"));
            expected.extend([Bytes::from_static(b"abcde"), Bytes::from_static(b"last")]);
        }
        let address = running.http;
        let (reading, mut writing) = Socket::connect(address).await.0.into_split();
        let sending = tokio::spawn(async move {
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let most = if random.random_bool(0.5) { 200 } else { 100_000 };
                let (piece, after) = rest.split_at(random.random_range(1..=most).min(rest.len()));
                soon(tokio::io::AsyncWriteExt::write_all(&mut writing, piece)).await.unwrap();
                tokio::task::yield_now().await;
                rest = after;
            }
            writing
        });
        let received = || running.recorder.logs.lock().len();
        until("all have come", || received() == expected.len()).await;
        drop((soon(sending).await.unwrap(), reading));
        assert_eq!(general(&running), f64::from(u8::from(turns)));
        let recorder = running.stop().await;
        let bodies: Vec<Bytes> = recorder.logs.lock().iter().map(|one| one.body.clone()).collect();
        assert_eq!(bodies, expected, "seed {seed}");
    }
}

#[tokio::test]
async fn a_body_that_may_not_be_held_is_refused_the_general_way_and_the_connection_goes_on() {
    let mut config = config();
    config.max_in_flight = ByteSize(150_000);
    let running = start_with(&config, Default::default());
    let body = vec![7; 100_000];
    let request = post(PROTOBUF, &body);
    let mut holds = Socket::connect(running.http).await;
    holds.send(&request[..90_000]).await;
    until("it is held", || running.stats.in_flight_bytes() >= 80_000).await;
    let mut meets_it = Socket::connect(running.http).await;
    meets_it.send(&request).await;
    let (status, headers, _) = answer(&mut meets_it).await;
    assert!(status.starts_with("HTTP/1.1 503"), "{status}");
    assert!(headers.contains(&"retry-after: 1".to_owned()), "{headers:?}");
    holds.send(&request[90_000..]).await;
    assert!(answer(&mut holds).await.0.starts_with("HTTP/1.1 200"));
    meets_it.send(&request).await;
    assert!(answer(&mut meets_it).await.0.starts_with("HTTP/1.1 200"));
    assert_eq!(general(&running), 1.0, "the one that met a full account");
    assert_eq!(running.metric("lipservice_receiver_requests", &["http", "logs"]), 3.0);
    drop((holds, meets_it));
    let recorder = running.stop().await;
    assert_eq!(*recorder.refused.lock(), [(Signal::Logs, Transport::Http)]);
    assert!(recorder.logs.lock().iter().all(|one| one.body == body));
}

#[tokio::test]
async fn on_shutdown_idle_connections_close_and_a_request_under_way_is_answered() {
    let running = start();
    let mut idle = Socket::connect(running.http).await;
    idle.send(post(PROTOBUF, b"")).await;
    assert!(answer(&mut idle).await.0.starts_with("HTTP/1.1 200"));
    let mut under_way = Socket::connect(running.http).await;
    let request = post(PROTOBUF, &[1; 50_000]);
    under_way.send(&request[..20_000]).await;
    until("it has begun", || running.stats.in_flight_bytes() > 0).await;
    running.shutdown.trigger();
    assert_eq!(idle.rest().await, "");
    under_way.send(&request[20_000..]).await;
    let (status, headers, _) = answer(&mut under_way).await;
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
    assert!(headers.contains(&"connection: close".to_owned()), "{headers:?}");
    assert_eq!(under_way.rest().await, "");
    assert_eq!(running.stop().await.logs.lock().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_tls_and_from_a_real_client_too() {
    let (dir, pki) = (tempfile::tempdir().unwrap(), tls::pki());
    let running = start_with(&tls::with_tls(dir.path(), &pki, false), Default::default());
    // Left to itself it takes HTTP/2 under TLS.
    let client = tls::http_client_builder(&pki, false).http1_only().build().unwrap();
    let body = logs(3000, &"y".repeat(500)).encode_to_vec();
    let url = format!("https://localhost:{}/v1/logs", running.http.port());
    for _ in 0..3 {
        let request = client.post(&url).header("content-type", "application/x-protobuf").body(body.clone());
        let answer = soon(request.send()).await.unwrap();
        assert_eq!((answer.status().as_u16(), soon(answer.bytes()).await.unwrap().len()), (200, 0));
    }
    assert_eq!(general(&running), 0.0);
    drop(client);
    let recorder = running.stop().await;
    assert!(recorder.logs.lock().iter().all(|one| one.body == body));
    assert_eq!(recorder.logs.lock().len(), 3);
}
