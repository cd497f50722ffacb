//! The least a gateway could do: read requests, send a fifth of their bytes on, look at nothing.
//!
//! Purpose: what sockets and HTTP libraries cost by themselves, measured as the gateway is, so that the difference is its work.
//! Promises: the same libraries and settings as the gateway's receivers, a thread for each core, requests out of 4 MB.
//! Never: puts a body together, or knows what a record is.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::gateway::{Ports, Usage, local, usage};

/// About what the gateway's exporter sends at once under load.
const OUT_BYTES: usize = 4 << 20;

/// A relay as a process of its own; killed when dropped.
pub struct Relay(Child);

impl Relay {
    /// Starts this program again as a relay and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started or does not listen in time.
    pub async fn start(ports: Ports, sink: SocketAddr) -> anyhow::Result<Self> {
        let addresses = format!("{},{},{sink}", local(ports.grpc), local(ports.http));
        let mut command = Command::new(std::env::current_exe()?);
        let child =
            command.arg("--relay").arg(addresses).stdin(Stdio::null()).spawn().context("cannot start a relay")?;
        let relay = Relay(child);
        let listens = async {
            while TcpStream::connect(local(ports.http)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), listens).await.context("the relay does not listen")?;
        Ok(relay)
    }

    /// What it has used.
    pub fn usage(&self) -> Usage {
        usage(self.0.id()).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Fails where it has ended already, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Is a relay until it is killed: two addresses to listen at and one to send to, with commas.
///
/// # Errors
/// Addresses that do not serve.
pub fn run(addresses: &str) -> anyhow::Result<()> {
    let addresses: Vec<SocketAddr> = addresses.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let [grpc, http, sink] = addresses[..] else { anyhow::bail!("three addresses are needed") };
    let handles: Vec<_> = (0..std::thread::available_parallelism()?.get())
        .map(|_| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
            Ok(handle)
        })
        .collect::<std::io::Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (out, full) = mpsc::channel(4);
        let shared = Arc::new(Out { waiting: Mutex::default(), full: out });
        let (grpc, http) = (TcpListener::bind(grpc).await?, TcpListener::bind(http).await?);
        let mut next = handles.iter().cycle();
        tokio::spawn(forward(sink, full));
        loop {
            let (stream, _) = tokio::select! { one = grpc.accept() => one?, one = http.accept() => one? };
            let (stream, shared) = (stream.into_std()?, Arc::clone(&shared));
            if let Some(handle) = next.next() {
                handle.spawn(serve(stream, shared));
            }
        }
    })
}

struct Out {
    waiting: Mutex<Vec<u8>>,
    full: mpsc::Sender<Vec<u8>>,
}

async fn serve(stream: std::net::TcpStream, out: Arc<Out>) -> std::io::Result<()> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_frame_size(1 << 20).initial_stream_window_size(2 << 20).initial_connection_window_size(4 << 20);
    builder.http1().max_buf_size(400 << 10);
    let service = service_fn(move |request| answer(request, Arc::clone(&out)));
    // A client that leaves ends its connection, no more.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    Ok(())
}

async fn answer(request: Request<Incoming>, out: Arc<Out>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let grpc =
        request.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let mut body = request.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        let full = {
            let mut waiting = out.waiting.lock();
            waiting.extend_from_slice(&data[..data.len() / 5]);
            (waiting.len() >= OUT_BYTES)
                .then(|| std::mem::replace(&mut *waiting, Vec::with_capacity(OUT_BYTES + (1 << 20))))
        };
        if let Some(full) = full {
            // Gone only when the process ends.
            let _ = out.full.send(full).await;
        }
    }
    if !grpc {
        return Ok(Response::new(Full::new(Bytes::new()).boxed()));
    }
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
    let mut answer = Response::new(body.boxed());
    answer.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(answer)
}

async fn forward(sink: SocketAddr, mut full: mpsc::Receiver<Vec<u8>>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(sink).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    while let Some(body) = full.recv().await {
        sender.ready().await?;
        let request = Request::post("/v1/logs").header("host", "sink").body(Full::new(Bytes::from(body)))?;
        sender.send_request(request).await?.into_body().collect().await?;
    }
    Ok(())
}
