//! OTLP/HTTP: POST to the signal's path, protobuf or JSON, over HTTP/1.1 and HTTP/2.
//!
//! Purpose: a request's body as one buffer, the answer in the request's own format.
//! Promises: format by Content-Type, compression by Content-Encoding; what is not known is refused with what is.
//! A request without Content-Type is JSON if it begins with `{` (no protobuf request can), else protobuf.
//! Never: guesses against a header, or reads a body over the limit.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use super::answer::Answer;
use super::auth::{query_value, scheme};
use super::body::{Assembly, Reader};
use super::buffer::{Reservation, Slot};
use super::cors::Cors;
use super::inflate::{ACCEPTED_ENCODINGS, Encoding};
use super::intake::{Connection, Port, Taken};
use super::status::{Fault, Outcome};
use super::{Refusal, Signal};

/// In which format a request came and is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
    /// Not known: answers are text.
    Unknown,
}

/// Answers one request on the HTTP port.
pub(super) async fn answer(connection: Arc<Connection>, request: Request<Incoming>) -> Response<Answer> {
    let running = connection.begin();
    let (head, body) = request.into_parts();
    let cors = connection.port.cors.as_ref();
    if let Some(cors) = cors.filter(|_| head.method == Method::OPTIONS && Cors::is_preflight(&head.headers)) {
        let mut answer = Response::new(Answer::default());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        cors.preflight(&head.headers, answer.headers_mut());
        return answer;
    }
    let signal = signal_of(head.uri.path());
    let declared = body.size_hint().exact();
    let mut reader = Reader::new(body, connection.body_deadline(), connection.port.read_timeout);
    let mut format = format_of(&head.headers);
    let served = serve(&connection, &head, signal, declared, &mut reader, &mut format).await;
    let answer = reply(&connection.port, &head.headers, signal, format, &served);
    if served.is_err() {
        let waits_for_continue = head.headers.contains_key(EXPECT);
        tokio::spawn(async move {
            reader.discard(waits_for_continue).await;
            drop(running);
        });
    }
    answer
}

async fn serve(
    connection: &Arc<Connection>,
    head: &Parts,
    signal: Option<Signal>,
    declared: Option<u64>,
    reader: &mut Reader,
    format: &mut Format,
) -> Result<(), Fault> {
    let port = &connection.port;
    let signal = signal.ok_or_else(|| unknown_path(head.uri.path()))?;
    if head.method != Method::POST {
        *format = Format::Unknown;
        return Err(Fault::Method(format!("{} is not served here; send OTLP with POST", head.method)));
    }
    let prepared = async {
        let admitted = Admitted::of(connection, head, declared)?;
        let mut assembly = Assembly::new(&port.pool, &port.in_flight);
        let expected = declared.and_then(|size| usize::try_from(size).ok());
        while let Some(data) = reader.next().await? {
            if assembly.len() + data.len() > port.limit.bytes {
                return Err(port.limit.exceeded("as sent").into());
            }
            assembly.push(data, expected.unwrap_or(port.limit.bytes))?;
        }
        let (body, held) = assembly.finish();
        Ok::<_, Fault>(admitted.take(signal, body, held))
    };
    let whole = prepared.await.inspect_err(|_| connection.consumer.refused(signal, port.transport))?;
    *format = whole.format;
    let _slot = whole.slot;
    connection.deliver(whole.body, None).await
}

/// A request whose head is in order, and the place it holds among those that are served.
pub(super) struct Admitted {
    format: Format,
    encoding: Encoding,
    token: Option<Arc<str>>,
    slot: Slot,
}

/// A request with its body.
pub(super) struct Whole {
    pub(super) format: Format,
    pub(super) body: Taken,
    /// To be held until the request is answered.
    pub(super) slot: Slot,
}

impl Admitted {
    /// Lets a request in by its head; `declared` is its Content-Length. Counts and tells nothing, so it may be asked again.
    ///
    /// # Errors
    /// What is wrong with it, or that there is no place.
    pub(super) fn of(connection: &Connection, head: &Parts, declared: Option<u64>) -> Result<Self, Fault> {
        let port = &connection.port;
        let format = format_of(&head.headers);
        let slot = port.slots.try_take();
        let token = connection.admit(&head.headers, head.uri.query())?;
        let slot = slot.ok_or_else(|| port.slots.busy())?;
        if format == Format::Unknown && head.headers.contains_key(CONTENT_TYPE) {
            return Err(unknown_type(&head.headers));
        }
        let encoding = encoding_of(&head.headers, head.uri.query())?;
        if declared.is_some_and(|size| size > port.limit.bytes as u64) {
            return Err(port.limit.exceeded("as sent").into());
        }
        port.in_flight.check(declared.unwrap_or(0))?;
        Ok(Admitted { format, encoding, token, slot })
    }

    /// With its body, which says the format where the head did not.
    pub(super) fn take(self, signal: Signal, body: Bytes, held: Reservation) -> Whole {
        let Admitted { mut format, encoding, token, slot } = self;
        if format == Format::Unknown {
            let is_json = encoding == Encoding::Identity && body.trim_ascii_start().first() == Some(&b'{');
            format = if is_json { Format::Json } else { Format::Protobuf };
        }
        let body = Taken { signal, encoding, is_json: format == Format::Json, token, body, held };
        Whole { format, body, slot }
    }
}

/// Counts a request that was served and makes the answer to it.
pub(super) fn reply(
    port: &Port,
    headers: &HeaderMap,
    signal: Option<Signal>,
    format: Format,
    served: &Result<(), Fault>,
) -> Response<Answer> {
    port.stats.request(signal, served.as_ref().map_or_else(Fault::outcome, |()| Outcome::Ok));
    let mut answer = match served {
        Ok(()) => success(format),
        Err(fault) => {
            let tokens = port.tokens.as_ref().map(|door| door.current());
            failure(fault, format, scheme(tokens.as_deref()))
        }
    };
    if let Some(cors) = &port.cors {
        cors.mark(headers, answer.headers_mut());
    }
    answer
}

/// The signal that a path stands for.
pub(super) fn signal_of(path: &str) -> Option<Signal> {
    match path.strip_prefix("/i").unwrap_or(path).trim_end_matches('/') {
        "/v1/logs" => Some(Signal::Logs),
        "/v1/traces" => Some(Signal::Traces),
        "/v1/metrics" => Some(Signal::Metrics),
        _ => None,
    }
}

fn unknown_path(path: &str) -> Fault {
    let shown: String = path.chars().take(200).collect();
    Fault::NotFound(if path.starts_with("/opentelemetry.proto.collector.") {
        format!("{shown} is OTLP/gRPC; send it to the receiver's `grpc` endpoint, by default port 4317")
    } else {
        format!(
            "nothing is served at {shown}; OTLP is taken by POST at /v1/logs, /v1/traces and /v1/metrics, and at the \
             same paths under /i"
        )
    })
}

/// The format that Content-Type names; unknown without one.
fn format_of(headers: &HeaderMap) -> Format {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    let is = |known: &str| essence.eq_ignore_ascii_case(known);
    match () {
        () if is("application/x-protobuf") || is("application/protobuf") => Format::Protobuf,
        () if is("application/json") => Format::Json,
        () => Format::Unknown,
    }
}

fn unknown_type(headers: &HeaderMap) -> Fault {
    let value = headers.get(CONTENT_TYPE);
    let hint = match value.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        true => "; for OTLP/gRPC use the receiver's `grpc` endpoint, by default port 4317",
        false => "",
    };
    Fault::MediaType(format!(
        "unknown Content-Type {:?}; send application/x-protobuf or application/json{hint}",
        value.unwrap_or(&HeaderValue::from_static(""))
    ))
}

/// Compression by Content-Encoding; without that header `?compression=gzip` (or `gzip-js`) says the same.
fn encoding_of(headers: &HeaderMap, query: Option<&str>) -> Result<Encoding, Fault> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else {
        let hint = query.and_then(|query| query_value(query, "compression"));
        return Ok(if matches!(hint, Some("gzip" | "gzip-js")) { Encoding::Gzip } else { Encoding::Identity });
    };
    let known = value.to_str().ok().and_then(Encoding::from_name).filter(|_| values.next().is_none());
    known.ok_or_else(|| {
        Fault::Encoding(format!(
            "unknown Content-Encoding {:?}; this receiver takes one of {ACCEPTED_ENCODINGS}",
            headers.get_all(CONTENT_ENCODING).iter().collect::<Vec<_>>()
        ))
    })
}

/// 200 and an empty Export response.
fn success(format: Format) -> Response<Answer> {
    let body = if format == Format::Json { Bytes::from_static(b"{}") } else { Bytes::new() };
    let mut answer = Response::new(Answer::from(body));
    answer.headers_mut().insert(CONTENT_TYPE, format.content_type());
    answer
}

/// The fault's status, headers, and body in the request's format.
fn failure(fault: &Fault, format: Format, scheme: &str) -> Response<Answer> {
    let row = fault.outcome().row();
    let body = match format {
        Format::Protobuf => fault.status_protobuf(),
        Format::Json => fault.status_json().into_bytes(),
        Format::Unknown => format!("{fault}\n").into_bytes(),
    };
    let mut answer = Response::new(Answer::from(Bytes::from(body)));
    *answer.status_mut() = StatusCode::from_u16(row.1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, format.content_type());
    if let Some(seconds) = fault.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match fault {
        Fault::Encoding(_) => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED_ENCODINGS));
        }
        Fault::Method(_) => {
            headers.insert(ALLOW, HeaderValue::from_static("POST, OPTIONS"));
        }
        Fault::Refused(Refusal::Unauthenticated(_)) => {
            let challenge = HeaderValue::from_str(scheme).unwrap_or(HeaderValue::from_static("Bearer"));
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        _ => {}
    }
    answer
}

impl Format {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
            Format::Unknown => "text/plain; charset=utf-8",
        })
    }
}
