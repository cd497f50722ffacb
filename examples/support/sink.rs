//! The cheapest possible destination: reads requests, counts them, says yes.
//!
//! Purpose: let the gateway forward to something that costs the machine almost nothing.
//! Promises: loopback; bodies are read as they come and dropped.
//! Never: decodes anything.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// What came in.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests.
    pub requests: AtomicU64,
    /// Bytes of bodies on the wire.
    pub bytes: AtomicU64,
}

/// Starts a sink; it runs as long as the runtime.
///
/// # Errors
/// When no port can be had.
pub async fn start() -> std::io::Result<(SocketAddr, Arc<Counts>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let counts = Arc::new(Counts::default());
    let shared = Arc::clone(&counts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counts = Arc::clone(&shared);
            let service = service_fn(move |request| take(request, Arc::clone(&counts)));
            tokio::spawn(async move {
                // A client that leaves is no concern of a sink.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok((address, counts))
}

async fn take(request: Request<Incoming>, counts: Arc<Counts>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
    counts.requests.fetch_add(1, Ordering::Relaxed);
    Ok(Response::new(Full::new(Bytes::from_static(b"{}"))))
}
