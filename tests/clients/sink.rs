//! A plain OTLP/HTTP server that takes all three signals and keeps what it was sent, in full.

use std::convert::Infallible;
use std::io::Read as _;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lipservice::data_plane::view::json;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::net::TcpListener;

/// A request as protobuf.
struct Taken {
    path: String,
    token: String,
    body: Vec<u8>,
}

/// The server; it ends with the test's runtime.
pub struct Sink {
    url: String,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Sink {
    pub async fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let taken = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&taken);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taken = Arc::clone(&all);
                let service = hyper::service::service_fn(move |request| take(request, Arc::clone(&taken)));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Sink { url, taken }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn logs(&self) -> Vec<ExportLogsServiceRequest> {
        self.at("/v1/logs")
    }

    pub fn span_names(&self) -> Vec<String> {
        let blocks = self.at::<ExportTraceServiceRequest>("/v1/traces").into_iter().flat_map(|r| r.resource_spans);
        let spans = blocks.flat_map(|block| block.scope_spans).flat_map(|scope| scope.spans);
        spans.map(|span| span.name).collect()
    }

    pub fn metric_names(&self) -> Vec<String> {
        let blocks = self.at::<ExportMetricsServiceRequest>("/v1/metrics").into_iter().flat_map(|r| r.resource_metrics);
        let metrics = blocks.flat_map(|block| block.scope_metrics).flat_map(|scope| scope.metrics);
        metrics.map(|metric| metric.name).collect()
    }

    /// The Authorization header of every logs request.
    pub fn tokens(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().filter(|taken| taken.path == "/v1/logs").map(|t| t.token.clone()).collect()
    }

    fn at<M: Message + Default>(&self, path: &str) -> Vec<M> {
        let taken = self.taken.lock().unwrap();
        taken.iter().filter(|taken| taken.path == path).map(|taken| M::decode(taken.body.as_slice()).unwrap()).collect()
    }
}

async fn take(request: Request<Incoming>, taken: Arc<Mutex<Vec<Taken>>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let header =
        |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let (path, token) = (request.uri().path().to_owned(), header("authorization"));
    let (encoding, kind) = (header("content-encoding"), header("content-type"));
    let wire = request.into_body().collect().await.unwrap().to_bytes();
    let mut body = Vec::new();
    match encoding.as_str() {
        "gzip" => drop(flate2::read::GzDecoder::new(&wire[..]).read_to_end(&mut body).unwrap()),
        _ => body.extend_from_slice(&wire),
    }
    if kind.starts_with("application/json") {
        let read = match path.as_str() {
            "/v1/traces" => json::decode_traces,
            "/v1/metrics" => json::decode_metrics,
            _ => json::decode,
        };
        body = read(&body).unwrap();
    }
    taken.lock().unwrap().push(Taken { path, token, body });
    Ok(Response::builder().header("content-type", kind).body(Full::default()).unwrap())
}
