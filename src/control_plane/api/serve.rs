//! The API's listener.
//!
//! Purpose: bind early, serve late, stop in order; plain or with TLS as the receivers.
//! Promises: beyond loopback it starts only with a token in the store or `insecure: true`; connections, head sizes and
//! times are bounded; at the end open requests finish, waiting ones are answered at once.
//! Never: looks into requests.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::auth::Peer;
use super::config::ApiConfig;
use super::{Api, router};
use crate::clock::Clock;
use crate::data_plane::receiver::{ReceiverError, ServerTls, server_tls};
use crate::listen::{Room, listen};
use crate::reread::Renewable;
use crate::shutdown::Shutdown;

/// Time for a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Time for a request's head, which is also how long a connection may stay idle. Well above what clients keep idle ones for:
/// were it the time between two reports, one in ten would meet a connection that is just being closed.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// Time for open requests at the end.
const CLOSE_TIME: Duration = Duration::from_secs(3);
/// A connection's read and write buffer on HTTP/1.
const BUFFER_BYTES: usize = 64 << 10;
/// Requests at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 200;

/// Why the API cannot listen. The operator's fault or the machine's.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address.
    #[error("api.endpoint: cannot listen on {address}: {source} (is another gateway running?)")]
    Listen {
        /// Its value.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Reachable from outside without a lock.
    #[error(
        "api.endpoint: {address} can be reached from other machines, and no token exists: make one with `lipservice \
         token create`, or listen on 127.0.0.1, or write api.insecure: true"
    )]
    Exposed {
        /// The address.
        address: SocketAddr,
    },
    /// TLS files.
    #[error(transparent)]
    Tls(#[from] ReceiverError),
}

/// The API with its address, not yet serving.
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerTls>>,
}

impl Bound {
    /// Binds the address and reads the files.
    ///
    /// # Errors
    /// What does not serve. `has_tokens` says whether a token exists.
    pub fn new(config: &ApiConfig, has_tokens: bool, clock: &Clock) -> Result<Bound, ServeError> {
        let tls = config.tls.as_ref().map(|tls| server_tls(tls, "api.tls", clock)).transpose()?;
        let failed = |source| ServeError::Listen { address: config.endpoint.clone(), source };
        let listener = TcpListener::bind(&config.endpoint).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() && !has_tokens && !config.insecure {
            return Err(ServeError::Exposed { address });
        }
        Ok(Bound { listener, address, tls })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it made of files: the certificate.
    pub fn files(&self) -> Option<Arc<dyn Renewable>> {
        self.tls.clone().map(|tls| tls as _)
    }

    /// Serves until the signal.
    pub async fn serve(self, api: Arc<Api>, stop: Shutdown) {
        let listener = match tokio::net::TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "the API cannot listen"),
        };
        let room = Room { name: "api", connections: api.config.max_connections, close_time: CLOSE_TIME };
        let router = TowerToHyperService::new(router(&api));
        let (tls, closing) = (self.tls, stop.clone());
        let serve = move |stream: TcpStream, peer| {
            let (router, tls, stop) = (router.clone(), tls.clone(), closing.clone());
            async move {
                let _ = stream.set_nodelay(true);
                match tls {
                    None => connection(stream, peer, router, stop).await,
                    Some(tls) => match tokio::time::timeout(HANDSHAKE_TIME, tls.current().accept(stream)).await {
                        Ok(Ok(stream)) => connection(stream, peer, router, stop).await,
                        _ => tracing::debug!("a TLS handshake with the API failed"),
                    },
                }
            }
        };
        listen(listener, room, stop, serve).await;
    }
}

async fn connection<S>(stream: S, peer: SocketAddr, router: TowerToHyperService<axum::Router>, stop: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer.ip()));
        let answer = router.call(request);
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(BUFFER_BYTES);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS).max_header_list_size(16 << 10);
    let running = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(running);
    let result = tokio::select! {
        result = running.as_mut() => result,
        () = stop.triggered() => {
            running.as_mut().graceful_shutdown();
            running.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the API ended early");
    }
}
