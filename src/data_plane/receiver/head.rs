//! The head of an HTTP/1.1 request, where it is of the plain kind that exporters send.
//!
//! Purpose: tell requests whose body can be read straight into its buffer from all others.
//! Promises: what it takes hyper would take too, with the same path, headers and length of body (a test compares them);
//! whatever two readers could understand in two ways (chunks, a second length, an upgrade, a line that is not in
//! order) is not of the plain kind.
//! Never: answers, or says what is wrong with what it does not take.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{Method, Request, Uri};

/// More headers than exporters send. What has more goes the other way, which allows 100.
const MAX_HEADERS: usize = 48;

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(super) enum Head {
    /// No whole head yet.
    Partial,
    /// A head of the plain kind.
    Plain(Box<Plain>),
    /// Anything else, whether in order or not.
    Other,
}

/// A POST of HTTP/1.1 with one body of known length, on a connection that stays open.
#[derive(Debug)]
pub(super) struct Plain {
    /// Method, path, headers.
    pub(super) parts: Parts,
    /// Length of the head, with the empty line that ends it.
    pub(super) head_bytes: usize,
    /// Length of the body.
    pub(super) body_bytes: usize,
}

impl Head {
    /// Reads the head at the beginning of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Head {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let head_bytes = match request.parse(bytes) {
            Ok(httparse::Status::Partial) => return Head::Partial,
            Ok(httparse::Status::Complete(size)) => size,
            Err(_) => return Head::Other,
        };
        match plain(&request, bytes, head_bytes) {
            Some(plain) => Head::Plain(Box::new(plain)),
            None => Head::Other,
        }
    }
}

fn plain(request: &httparse::Request<'_, '_>, bytes: &[u8], head_bytes: usize) -> Option<Plain> {
    let path = request.path.filter(|path| path.starts_with('/'))?;
    if request.method != Some("POST") || request.version != Some(1) {
        return None;
    }
    // One allocation that all headers share.
    let shared = Bytes::copy_from_slice(bytes.get(..head_bytes)?);
    // Where a part of the head stands in `bytes`, and so in `shared`.
    let share = |part: &[u8]| {
        let start = (part.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
        (start + part.len() <= shared.len()).then(|| shared.slice(start..start + part.len()))
    };
    let mut whole = Request::new(());
    *whole.method_mut() = Method::POST;
    *whole.uri_mut() = Uri::from_maybe_shared(share(path.as_bytes())?).ok()?;
    let headers = whole.headers_mut();
    headers.reserve(request.headers.len());
    for header in request.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        // An empty value stands nowhere in particular.
        let value = if header.value.is_empty() { Bytes::new() } else { share(header.value)? };
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    if [TRANSFER_ENCODING, EXPECT, UPGRADE].iter().any(|name| headers.contains_key(name)) {
        return None;
    }
    let stays = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
    if !headers.get_all(CONNECTION).iter().all(stays) {
        return None;
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let (Some(length), None) = (lengths.next(), lengths.next()) else { return None };
    let body_bytes = digits(length.as_bytes())?;
    let (parts, ()) = whole.into_parts();
    Some(Plain { parts, head_bytes, body_bytes })
}

/// A number of nothing but digits.
fn digits(text: &[u8]) -> Option<usize> {
    let all = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    all.then(|| std::str::from_utf8(text).ok()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::{BodyExt, Empty};
    use hyper::body::Body as _;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use parking_lot::Mutex;
    use proptest::prelude::*;
    use proptest::sample::select;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// What hyper makes of the first request in `bytes`: head, declared length, body; and whether it goes on afterwards.
    async fn by_hyper(bytes: &[u8]) -> (Option<(Parts, Option<u64>, Bytes)>, bool) {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let first = Arc::new(Mutex::new(None));
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let first = Arc::clone(&first);
            async move {
                let (parts, body) = request.into_parts();
                let declared = body.size_hint().exact();
                let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
                first.lock().get_or_insert((parts, declared, body));
                Ok::<_, std::convert::Infallible>(http::Response::new(Empty::<Bytes>::new()))
            }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        let serving = builder.half_close(true).serve_connection(TokioIo::new(server), service);
        let mut answer = Vec::new();
        let asking = async {
            // It may close before all is sent.
            let _ = client.write_all(bytes).await;
            let _ = client.shutdown().await;
            while client.read_buf(&mut answer).await.unwrap_or(0) > 0 {}
        };
        let _ = tokio::join!(serving, asking);
        let goes_on = answer.starts_with(b"HTTP/1.1 200") && !String::from_utf8_lossy(&answer).contains("close");
        (first.lock().take(), goes_on)
    }

    const LINES: &[&str] = &[
        "POST /v1/logs HTTP/1.1\r\n",
        "POST /v1/logs HTTP/1.1\r\n",
        "POST /v1/logs HTTP/1.1\r\n",
        "POST /v1/logs?token=a%20b&c HTTP/1.1\r\n",
        "POST /v1/logs#x HTTP/1.1\r\n",
        "POST /v1/l\u{f6}gs HTTP/1.1\r\n",
        "\r\nPOST /v1/logs HTTP/1.1\r\n",
        "POST /v1/logs HTTP/1.1\n",
        "POST  /v1/logs  HTTP/1.1\r\n",
        "POST http://x/v1/logs HTTP/1.1\r\n",
        "POST * HTTP/1.1\r\n",
        "POST //x/v1/logs HTTP/1.1\r\n",
        "post /v1/logs HTTP/1.1\r\n",
        "GET /v1/logs HTTP/1.1\r\n",
        "POST /v1/logs HTTP/1.0\r\n",
        "PRI * HTTP/2.0\r\n",
    ];
    const HEADERS: &[&str] = &[
        "Host: x\r\n",
        "Content-Type: application/x-protobuf\r\n",
        "Authorization: Bearer t\r\n",
        "Content-Length: 5\r\n",
        "content-length:\t 7 \t\r\n",
        "CONTENT-LENGTH: 0005\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length:\r\n",
        "Content-Length : 5\r\n",
        "Content_Length: 6\r\n",
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Connection: keep-alive\r\n",
        "Connection: close\r\n",
        "Connection: Keep-Alive, X\r\n",
        "Connection:\r\n",
        "Expect: 100-continue\r\n",
        "Expect: what\r\n",
        "Upgrade: h2c\r\n",
        "X-Empty:\r\n",
        "X-Twice: 1\r\nx-twice: 2\r\n",
        "X-Fold: a\r\n b\r\n",
        "X-Control: \u{1}\r\n",
        "X-Bytes: \u{e9}\r\n",
        " X-Space: y\r\n",
        "X-Return: a\rContent-Length: 6\r\n",
        ": nameless\r\n",
    ];

    fn heads() -> impl Strategy<Value = Vec<u8>> {
        let headers = prop_oneof![
            proptest::collection::vec(select(HEADERS), 0..6),
            // Mostly in order.
            proptest::collection::vec(select(&HEADERS[..4]), 2..6),
        ];
        let slip = proptest::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>(), any::<bool>()));
        (select(LINES), headers, slip).prop_map(|(line, headers, slip)| {
            let mut head = [line, &headers.concat(), "\r\n"].concat().into_bytes();
            if let Some((at, byte, replaces)) = slip {
                let at = at.index(head.len());
                head.splice(at..at + usize::from(replaces), [byte]);
            }
            head
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn what_it_takes_hyper_takes_likewise(head in heads()) {
            let mut bytes = head.clone();
            bytes.extend_from_slice(b"body!body!");
            let Head::Plain(plain) = Head::read(&bytes) else { return Ok(()) };
            let Plain { parts, head_bytes, body_bytes } = *plain;
            let end = head_bytes + body_bytes;
            prop_assume!(end <= bytes.len());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (request, goes_on) = runtime.block_on(by_hyper(&bytes[..end]));
            let (theirs, declared, body) = request.expect("hyper takes it");
            prop_assert_eq!((&theirs.method, &theirs.uri, theirs.version), (&parts.method, &parts.uri, parts.version));
            prop_assert_eq!(&theirs.headers, &parts.headers);
            prop_assert_eq!((declared, body.as_ref()), (Some(body_bytes as u64), &bytes[head_bytes..end]));
            prop_assert!(goes_on, "the connection stays open");
        }

        #[test]
        fn a_head_in_pieces_is_partial_until_it_is_whole(cut in any::<prop::sample::Index>()) {
            let head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX: y\r\n\r\n";
            prop_assert!(matches!(Head::read(&head[..cut.index(head.len())]), Head::Partial));
            prop_assert!(matches!(Head::read(head), Head::Plain(plain) if plain.head_bytes == head.len()));
        }
    }

    #[test]
    fn only_what_has_one_meaning_is_plain() {
        let taken = |line: &str, headers: &str| {
            matches!(Head::read(format!("{line} HTTP/1.1\r\n{headers}\r\n").as_bytes()), Head::Plain(_))
        };
        for (headers, expected) in [
            ("Content-Length: 5\r\n", true),
            ("Host: x\r\nConnection: Keep-Alive\r\ncontent-length: 0\r\n", true),
            ("", false),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", false),
            ("Content-Length: 5, 5\r\n", false),
            ("Content-Length: +5\r\n", false),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", false),
            ("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", false),
            ("Content-Length: 5\r\nExpect: 100-continue\r\n", false),
            ("Content-Length: 5\r\nUpgrade: h2c\r\n", false),
            ("Content-Length: 5\r\nConnection: close\r\n", false),
            ("Content-Length: 5\r\nConnection: keep-alive\r\nConnection: close\r\n", false),
            ("Content-Length: 5\r\nX: a\r\n b\r\n", false),
        ] {
            assert_eq!(taken("POST /v1/logs", headers), expected, "{headers:?}");
        }
        assert!(!taken("GET /v1/logs", "Content-Length: 5\r\n"));
        assert!(!taken("POST http://x/v1/logs", "Content-Length: 5\r\n"));
        let many = "X: y\r\n".repeat(MAX_HEADERS) + "Content-Length: 5\r\n";
        assert!(!taken("POST /v1/logs", &many));
    }
}
