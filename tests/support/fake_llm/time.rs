//! Simulated time: it passes only when nothing else can happen, and then at once to the next moment that matters.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lipservice::control_plane::generator::llm::provider::BoxFuture;
use lipservice::control_plane::generator::llm::provider::transport::Timer;

#[derive(Default)]
struct State {
    now: u64,
    waiting: Vec<(u64, u64)>,
    next_id: u64,
}

/// A clock of one's own, for futures that wait for nothing but it.
#[derive(Clone, Default)]
pub struct SimulatedTime(Arc<Mutex<State>>);

impl SimulatedTime {
    /// A clock that shows `now` nanoseconds.
    pub fn at(now: u64) -> SimulatedTime {
        SimulatedTime(Arc::new(Mutex::new(State { now, ..State::default() })))
    }

    /// Lets time pass while nobody waits.
    pub fn pass(&self, by: Duration) {
        self.0.lock().unwrap().now += by.as_nanos() as u64;
    }

    /// Runs a future to its end.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(result) = future.as_mut().poll(&mut context) {
                return result;
            }
            let mut state = self.0.lock().unwrap();
            let next = state.waiting.iter().map(|(at, _)| *at).min().expect("something waits for nothing");
            state.now = state.now.max(next);
        }
    }
}

struct Sleep {
    time: SimulatedTime,
    at: u64,
    id: u64,
}

impl Future for Sleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.time.0.lock().unwrap().now >= self.at { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.time.0.lock().unwrap().waiting.retain(|(_, id)| *id != self.id);
    }
}

impl Timer for SimulatedTime {
    fn now(&self) -> u64 {
        self.0.lock().unwrap().now
    }
    fn sleep(&self, wait: Duration) -> BoxFuture<'_, ()> {
        let mut state = self.0.lock().unwrap();
        let at = state.now.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX));
        let id = state.next_id;
        state.next_id += 1;
        state.waiting.push((at, id));
        Box::pin(Sleep { time: self.clone(), at, id })
    }
}
