//! Connections, and no more at once than there is room for.
//!
//! Purpose: the accept loop of the small HTTP servers: the API, metrics and health. The receivers have their own, which refuses
//! where this one waits, and spreads connections over threads.
//! Promises: beyond the room connections wait in the kernel's queue; an error of the system is waited out, not spun on; after
//! the signal nothing is accepted, and open connections have `close_time` to finish.
//! Never: reads a byte.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::shutdown::Shutdown;

/// Out of file descriptors, most often: the next attempt would fail at once too.
const PAUSE: Duration = Duration::from_millis(100);

/// What a server grants.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// What connects here, in the log.
    pub name: &'static str,
    /// Connections at once.
    pub connections: usize,
    /// Time for those that are open at the end.
    pub close_time: Duration,
}

/// Accepts connections until the signal, each served by a task of its own, then lets the open ones finish.
pub async fn listen<F, C>(listener: TcpListener, room: Room, stop: Shutdown, serve: F)
where
    F: Fn(TcpStream, SocketAddr) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(room.connections.max(1)));
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.triggered() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer, place)) => {
                let serving = serve(stream, peer);
                open.spawn(async move {
                    serving.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, server = room.name, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let finished = async { while open.join_next().await.is_some() {} };
    // What has not finished by then is closed by dropping the set.
    let _ = tokio::time::timeout(room.close_time, finished).await;
}

type Accepted = (TcpStream, SocketAddr, OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}
