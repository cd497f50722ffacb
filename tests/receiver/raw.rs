//! Clients that can do what proper ones never would: bytes on a socket, and HTTP/2 requests of any shape.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

/// No answer in these tests is longer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Bytes on a socket.
pub struct Socket(pub TcpStream);

impl Socket {
    pub async fn connect(address: SocketAddr) -> Self {
        Socket(soon(TcpStream::connect(address)).await.unwrap())
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// No more will be sent.
    pub async fn close_half(&mut self) {
        soon(self.0.shutdown()).await.unwrap();
    }

    /// Everything until the other side closes; a reset counts as closing.
    pub async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        while soon(self.0.read_buf(&mut text)).await.unwrap_or(0) > 0 {
            assert!(text.len() < MAX_ANSWER_BYTES);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Everything up to and with `end`.
    pub async fn through(&mut self, end: &str) -> String {
        let mut text = Vec::new();
        while !String::from_utf8_lossy(&text).contains(end) {
            let read = soon(self.0.read_buf(&mut text)).await.unwrap();
            assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&text));
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// An HTTP/2 connection without TLS.
pub async fn http2<B>(address: SocketAddr) -> SendRequest<B>
where
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let io = TokioIo::new(soon(TcpStream::connect(address)).await.unwrap());
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
    let (sender, connection) = soon(handshake).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A call of `path` as gRPC clients write it.
pub fn call<B>(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: B) -> Request<B> {
    let mut request = Request::post(format!("http://{address}{path}")).header("te", "trailers");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

/// Headers (trailers added) and body of an answer.
pub async fn whole(response: Response<Incoming>) -> (HeaderMap, Bytes) {
    let (head, body) = response.into_parts();
    let collected = soon(body.collect()).await.unwrap();
    let mut headers = head.headers;
    headers.extend(collected.trailers().cloned().unwrap_or_default());
    (headers, collected.to_bytes())
}

/// A body known beforehand.
pub fn full(bytes: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(bytes.into())
}
