//! The threads that connections live on.
//!
//! Purpose: one single-threaded runtime for each core; a connection stays on the thread it was given, with its streams,
//! timers and the work on its requests, so that nothing of a request wakes another thread or leaves a core's cache.
//! Promises: a new connection goes to the thread with the fewest open ones; threads end after the last connection.
//! Never: moves a connection, or runs what belongs to no connection.
//!
//! Measured against one runtime that steals work (docs/benchmarks.md): gRPC at a million records a minute takes a third
//! less processor time. The price: one connection uses one core at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The threads of one receiver.
#[derive(Debug)]
pub(super) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    open: Arc<AtomicUsize>,
}

/// A connection's place on a thread; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub handle: Handle,
    open: Arc<AtomicUsize>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// Starts `threads` threads; 0 means one for each core the process may use.
    ///
    /// # Errors
    /// The operating system gives no thread or no event queue.
    pub fn start(threads: usize) -> std::io::Result<Self> {
        let threads = match threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let mut started = Workers { workers: Vec::with_capacity(threads), stop: CancellationToken::new() };
        for _ in 0..threads {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (handle, stop) = (runtime.handle().clone(), started.stop.clone());
            let run = move || runtime.block_on(stop.cancelled());
            std::thread::Builder::new().name("lipservice-recv".into()).spawn(run)?;
            started.workers.push(Worker { handle, open: Arc::default() });
        }
        Ok(started)
    }

    /// A place on the thread with the fewest connections.
    pub fn place(&self) -> Option<Place> {
        let worker = self.workers.iter().min_by_key(|worker| worker.open.load(Ordering::Relaxed))?;
        worker.open.fetch_add(1, Ordering::Relaxed);
        Some(Place { handle: worker.handle.clone(), open: Arc::clone(&worker.open) })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        // Not joined: the last to let go may be a connection, on one of these threads.
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_and_given_back() {
        let workers = Workers::start(2).unwrap();
        let (first, second) = (workers.place().unwrap(), workers.place().unwrap());
        assert_ne!(first.handle.id(), second.handle.id());
        let freed = first.handle.id();
        drop(first);
        assert_eq!(workers.place().unwrap().handle.id(), freed);
    }

    #[test]
    fn a_future_runs_on_its_thread_and_is_dropped_with_the_last_connection() {
        let workers = Workers::start(1).unwrap();
        let place = workers.place().unwrap();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        place.handle.spawn(async move {
            tell.send(std::thread::current().name().map(str::to_owned)).unwrap();
            std::future::pending::<()>().await;
        });
        assert_eq!(told.recv().unwrap().as_deref(), Some("lipservice-recv"));
        drop(workers);
        assert!(told.recv().is_err(), "the future and its sender went with the runtime");
    }
}
