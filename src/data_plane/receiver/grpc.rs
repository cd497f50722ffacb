//! OTLP/gRPC: the three Export methods, with gRPC's framing over hyper's HTTP/2.
//!
//! Purpose: a unary call's message as one buffer, its answer as trailers.
//! Promises: a length prefix over the limit is refused before its message is read; unknown methods and encodings are
//! UNIMPLEMENTED with what is known; retryable refusals carry RetryInfo.
//! Never: decodes a message, streams, or serves reflection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use super::Signal;
use super::answer::Answer;
use super::body::{Assembly, Reader};
use super::buffer::Reservation;
use super::inflate::{ACCEPTED_ENCODINGS, Encoding};
use super::intake::{Connection, Taken};
use super::status::{Fault, Outcome};

/// Length of the prefix of a message: a flag and a size.
const PREFIX_BYTES: usize = 5;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Answers one request on the gRPC port.
pub(super) async fn answer(connection: Arc<Connection>, request: Request<Incoming>) -> Response<Answer> {
    let running = connection.begin();
    if let Some(answer) = not_grpc(&request) {
        connection.port.stats.request(None, Outcome::MediaType);
        return answer;
    }
    let (head, body) = request.into_parts();
    let signal = signal_of(head.uri.path());
    let mut reader = Reader::new(body, connection.body_deadline(), connection.port.read_timeout);
    let served = call(&connection, &head, signal, &mut reader).await;
    connection.port.stats.request(signal, served.as_ref().map_or_else(Fault::outcome, |()| Outcome::Ok));
    match served {
        Ok(()) => success(),
        Err(fault) => {
            tokio::spawn(async move {
                reader.discard(false).await;
                drop(running);
            });
            failure(&fault)
        }
    }
}

async fn call(
    connection: &Arc<Connection>,
    head: &http::request::Parts,
    signal: Option<Signal>,
    reader: &mut Reader,
) -> Result<(), Fault> {
    let port = &connection.port;
    let signal = signal.ok_or_else(|| unknown_method(head.uri.path()))?;
    let _slot = port.slots.try_take();
    let prepared = async {
        let token = connection.admit(&head.headers, None)?;
        let _slot = _slot.as_ref().ok_or_else(|| port.slots.busy())?;
        let encoding = encoding_of(&head.headers)?;
        let (body, held, is_compressed) = message(connection, reader).await?;
        let encoding = match (is_compressed, encoding) {
            (false, _) => Encoding::Identity,
            (true, Encoding::Identity) => {
                return Err(Fault::Framing(
                    "the message is marked as compressed, but no `grpc-encoding` says how".into(),
                ));
            }
            (true, encoding) => encoding,
        };
        Ok(Taken { signal, encoding, is_json: false, token, body, held })
    };
    let taken = prepared.await.inspect_err(|_| connection.consumer.refused(signal, port.transport))?;
    connection.deliver(taken, timeout_of(&head.headers)).await
}

/// Reads the one message of a unary call: its bytes, their reservation, and the compressed flag.
async fn message(connection: &Connection, reader: &mut Reader) -> Result<(Bytes, Reservation, bool), Fault> {
    let port = &connection.port;
    let mut assembly = Assembly::new(&port.pool, &port.in_flight);
    let mut expected = PREFIX_BYTES;
    let mut is_compressed = None;
    while let Some(data) = reader.next().await? {
        assembly.push(data, expected)?;
        if is_compressed.is_none()
            && let Some([flag, size @ ..]) = assembly.head::<PREFIX_BYTES>()
        {
            let size = u32::from_be_bytes(*size) as usize;
            if *flag > 1 {
                return Err(Fault::Framing(format!("the message's compressed flag is {flag}, neither 0 nor 1")));
            }
            if size > port.limit.bytes {
                return Err(port.limit.exceeded("as sent").into());
            }
            port.in_flight.check(size as u64)?;
            is_compressed = Some(*flag == 1);
            expected = PREFIX_BYTES + size;
        }
        if is_compressed.is_some() && assembly.len() > expected {
            return Err(Fault::Framing("more bytes than the one message an Export call takes".into()));
        }
    }
    match is_compressed {
        Some(is_compressed) if assembly.len() == expected => {
            let (mut body, held) = assembly.finish();
            Ok((body.split_off(PREFIX_BYTES), held, is_compressed))
        }
        _ => Err(Fault::Framing(format!(
            "the call ended after {} bytes, in the middle of its message of {expected}",
            assembly.len()
        ))),
    }
}

/// What a request that is not gRPC is told: most often an OTLP/HTTP exporter pointed at the wrong port.
fn not_grpc(request: &Request<Incoming>) -> Option<Response<Answer>> {
    let content_type = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let is_grpc = content_type.strip_prefix(b"application/grpc").is_some_and(|rest| {
        let rest = rest.strip_prefix(b"+proto").unwrap_or(rest);
        rest.is_empty() || rest.starts_with(b";")
    });
    let status = if request.version() != Version::HTTP_2 || !is_grpc {
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    } else if request.method() != Method::POST {
        StatusCode::METHOD_NOT_ALLOWED
    } else {
        return None;
    };
    let text = "this port speaks OTLP/gRPC (HTTP/2, content-type application/grpc); send OTLP/HTTP to the receiver's \
                `http` endpoint, by default port 4318\n";
    let mut answer = Response::new(Answer::from(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    Some(answer)
}

fn signal_of(path: &str) -> Option<Signal> {
    match path.strip_prefix("/opentelemetry.proto.collector.")? {
        "logs.v1.LogsService/Export" => Some(Signal::Logs),
        "trace.v1.TraceService/Export" => Some(Signal::Traces),
        "metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        _ => None,
    }
}

fn unknown_method(path: &str) -> Fault {
    let shown: String = path.chars().take(200).collect();
    Fault::NotFound(format!(
        "unknown method {shown}; this receiver serves Export of opentelemetry.proto.collector.logs.v1.LogsService, \
         trace.v1.TraceService and metrics.v1.MetricsService"
    ))
}

fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Fault> {
    let Some(value) = headers.get(GRPC_ENCODING) else { return Ok(Encoding::Identity) };
    value.to_str().ok().and_then(Encoding::from_name).ok_or_else(|| {
        Fault::Encoding(format!("unknown grpc-encoding {value:?}; this receiver takes {ACCEPTED_ENCODINGS}"))
    })
}

/// `grpc-timeout`: up to 8 digits and a unit. An unreadable one is no deadline.
fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

fn head() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(5);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_ENCODINGS));
    headers
}

/// An empty Export response: a message of no bytes, then the trailers.
fn success() -> Response<Answer> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let mut answer = Response::new(Answer::with_trailers(Bytes::from_static(&[0; PREFIX_BYTES]), trailers));
    *answer.headers_mut() = head();
    answer
}

/// A refusal: headers only.
fn failure(fault: &Fault) -> Response<Answer> {
    let mut headers = head();
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(fault.outcome().row().2)));
    // Both are ASCII by construction.
    if let Ok(message) = HeaderValue::try_from(fault.grpc_message()) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if let Some(details) = fault.grpc_details().and_then(|details| HeaderValue::try_from(details).ok()) {
        headers.insert(GRPC_DETAILS, details);
    }
    let mut answer = Response::new(Answer::default());
    *answer.headers_mut() = headers;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("99999999m", Some(Duration::from_millis(99_999_999))),
            ("5u", Some(Duration::from_micros(5))),
            ("6n", Some(Duration::from_nanos(6))),
            ("100000000S", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1s", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, text.parse().unwrap());
            assert_eq!(timeout_of(&headers), expected, "{text}");
        }
    }
}
