//! A small OTLP server for tests: decodes every request, answers from a script, then takes everything.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonic::codec::CompressionEncoding;

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Success.
    Take,
    /// Success but for some records.
    Partial(i64),
    /// "Retry after 0 seconds".
    TryAgainNow,
    /// The client's fault.
    Malformed,
    /// 401.
    WrongToken,
    /// Never answers.
    Hang,
}

/// A request that was taken.
#[derive(Clone, Debug)]
pub struct Seen {
    pub request: ExportLogsServiceRequest,
    pub authorization: String,
    pub extra: String,
    pub gzip: bool,
}

#[derive(Default)]
struct State {
    script: Mutex<VecDeque<Answer>>,
    seen: Mutex<Vec<Seen>>,
    hanging: Notify,
}

impl State {
    async fn answer(&self, headers: &HeaderMap, encoding: &str, request: ExportLogsServiceRequest) -> Answer {
        let answer = self.script.lock().unwrap().pop_front().unwrap_or(Answer::Take);
        if answer == Answer::Hang {
            self.hanging.notify_one();
            std::future::pending::<()>().await;
        }
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        if matches!(answer, Answer::Take | Answer::Partial(_)) {
            let (authorization, extra) = (header("authorization"), header("x-extra"));
            self.seen.lock().unwrap().push(Seen { request, authorization, extra, gzip: header(encoding) == "gzip" });
        }
        answer
    }
}

fn partial(rejected: i64) -> ExportLogsServiceResponse {
    let partial = ExportLogsPartialSuccess { rejected_log_records: rejected, error_message: "too old".into() };
    ExportLogsServiceResponse { partial_success: Some(partial) }
}

/// Serves OTLP over HTTP and gRPC on two ports of its own until dropped.
pub struct Sink {
    state: Arc<State>,
    http: SocketAddr,
    grpc: SocketAddr,
    tasks: tokio::task::JoinSet<()>,
}

impl Sink {
    pub async fn start(script: Vec<Answer>) -> Self {
        let state = Arc::new(State { script: Mutex::new(script.into()), ..State::default() });
        let http_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (http, grpc) = (http_listener.local_addr().unwrap(), grpc_listener.local_addr().unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(serve_http(http_listener, Arc::clone(&state)));
        let service = LogsServiceServer::new(Grpc(Arc::clone(&state)))
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let incoming = tonic::transport::server::TcpIncoming::from(grpc_listener);
        tasks.spawn(async move {
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Sink { state, http, grpc, tasks }
    }

    pub fn http_url(&self) -> String {
        assert!(!self.tasks.is_empty());
        format!("http://{}", self.http)
    }

    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Everything taken so far, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Resolves once a request hangs.
    pub async fn hanging(&self) {
        self.state.hanging.notified().await;
    }
}

async fn serve_http(listener: TcpListener, state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| http(Arc::clone(&state), request));
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn http(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/logs");
    let (parts, body) = request.into_parts();
    let mut body = body.collect().await.unwrap().to_bytes().to_vec();
    if parts.headers.get("content-encoding").is_some_and(|value| value == "gzip") {
        let mut inflated = Vec::new();
        flate2::read::GzDecoder::new(&*body).read_to_end(&mut inflated).unwrap();
        body = inflated;
    }
    let json = parts.headers["content-type"] == "application/json";
    let decoded =
        if json { serde_json::from_slice(&body).unwrap() } else { ExportLogsServiceRequest::decode(&*body).unwrap() };
    let reply = |status, body: Vec<u8>| Response::builder().status(status).body(Full::from(body)).unwrap();
    Ok(match state.answer(&parts.headers, "content-encoding", decoded).await {
        // As PostHog does: JSON, whatever was sent.
        Answer::Take | Answer::Hang => reply(200, b"{}".to_vec()),
        Answer::Partial(rejected) => {
            let mut response = reply(200, partial(rejected).encode_to_vec());
            response.headers_mut().insert("content-type", "application/x-protobuf".parse().unwrap());
            response
        }
        Answer::TryAgainNow => {
            let mut response = reply(503, b"busy".to_vec());
            response.headers_mut().insert("retry-after", "0".parse().unwrap());
            response
        }
        Answer::Malformed => reply(400, b"malformed on purpose".to_vec()),
        Answer::WrongToken => reply(401, b"who are you".to_vec()),
    })
}

struct Grpc(Arc<State>);

/// google.rpc.Status with one RetryInfo that says zero seconds.
fn retry_now() -> Bytes {
    let type_url = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut any = vec![0x0a, type_url.len() as u8];
    any.extend_from_slice(type_url);
    any.extend_from_slice(&[0x12, 2, 0x0a, 0]);
    let mut status = vec![0x1a, any.len() as u8];
    status.extend(any);
    status.into()
}

#[tonic::async_trait]
impl LogsService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        match self.0.answer(&metadata.into_headers(), "grpc-encoding", request).await {
            Answer::Take | Answer::Hang => Ok(tonic::Response::new(ExportLogsServiceResponse::default())),
            Answer::Partial(rejected) => Ok(tonic::Response::new(partial(rejected))),
            Answer::TryAgainNow => Err(tonic::Status::with_details(tonic::Code::Unavailable, "busy", retry_now())),
            Answer::Malformed => Err(tonic::Status::invalid_argument("malformed on purpose")),
            Answer::WrongToken => Err(tonic::Status::unauthenticated("who are you")),
        }
    }
}
