//! Buffers for bodies, used again, and the account of how many bytes of requests are held.
//!
//! Purpose: assemble and inflate multi-megabyte bodies without fresh, page-faulting memory for each.
//! Promises: what the pool keeps is bounded in number and bytes; a reservation gives back what it took when dropped;
//! taking never waits, it succeeds or says what is full.
//! Never: reads sockets, or knows what a body means.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Refusal;
use crate::units::ByteSize;

/// Buffers kept for the next request: this many at most,
const MAX_FREE_BUFFERS: usize = 8;
/// none larger than this,
const MAX_FREE_BUFFER_BYTES: usize = 16 << 20;
/// and no more than this together.
const MAX_FREE_BYTES: usize = 32 << 20;
/// A body that is to come to this much at most gets its memory at once.
const EAGER_BYTES: usize = 8 << 20;
/// Below this size the allocator is as fast as the pool.
const SMALL_BYTES: usize = 32 << 10;
/// When a client that met a full gateway should try again.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Free buffers.
#[derive(Debug, Default)]
pub(super) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// An empty buffer, with room for `size_hint` bytes if the pool has one.
    pub(super) fn take(self: &Arc<Self>, size_hint: usize) -> Buffer {
        if size_hint <= SMALL_BYTES {
            return Buffer { bytes: Vec::new(), used: 0, pool: None };
        }
        let mut free = self.free.lock();
        let best = (0..free.len()).min_by_key(|&i| {
            let size = free[i].capacity();
            // The smallest that is large enough; failing that the largest.
            if size >= size_hint { (0, size) } else { (1, usize::MAX - size) }
        });
        let bytes = best.map(|i| free.swap_remove(i)).unwrap_or_default();
        Buffer { bytes, used: 0, pool: Some(Arc::clone(self)) }
    }

    fn put_back(&self, bytes: Vec<u8>) {
        if bytes.capacity() > MAX_FREE_BUFFER_BYTES || bytes.capacity() <= SMALL_BYTES {
            return;
        }
        let mut free = self.free.lock();
        let held: usize = free.iter().map(Vec::capacity).sum();
        if free.len() < MAX_FREE_BUFFERS && held + bytes.capacity() <= MAX_FREE_BYTES {
            free.push(bytes);
        }
    }
}

/// A growing body. The vector's length marks how far it was ever initialised, `used` how much of it is this body's, so
/// that a buffer used again need not be zeroed.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    used: usize,
    pool: Option<Arc<BufferPool>>,
}

impl Buffer {
    /// Bytes of this body so far.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// The `size` bytes after this body, to be written to; [`Buffer::advance`] makes them part of it.
    pub(super) fn space(&mut self, size: usize) -> &mut [u8] {
        let end = self.used + size;
        if self.bytes.is_empty() {
            // Fresh zeroed memory comes untouched from the system.
            self.bytes = vec![0; end];
        } else if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.used..end]
    }

    /// Takes `size` written bytes into the body.
    pub(super) fn advance(&mut self, size: usize) {
        self.used = (self.used + size).min(self.bytes.len());
    }

    /// Appends, growing towards `expected` bytes in all: at once where that is no more than [`EAGER_BYTES`], else in steps
    /// that double. Memory nobody wrote to is not resident, so a sender that claims much and sends little costs addresses.
    pub(super) fn extend(&mut self, data: &[u8], expected: usize) {
        let end = self.used + data.len();
        self.reserve(end, expected);
        let reused = data.len().min(self.bytes.len() - self.used);
        self.bytes[self.used..self.used + reused].copy_from_slice(&data[..reused]);
        self.bytes.extend_from_slice(&data[reused..]);
        self.used = end;
    }

    /// Memory behind this body, for some of what it lacks to `expected` bytes in all; [`Buffer::advance`] makes it part of it.
    /// A buffer used again has room for all; a fresh one is cleared as it fills, and so costs no more than was sent, twice.
    pub(super) fn room(&mut self, expected: usize) -> &mut [u8] {
        if self.used == self.bytes.len() {
            let end = expected.min(2 * self.used.max(SMALL_BYTES));
            self.reserve(end, expected);
            self.bytes.resize(end, 0);
        }
        let end = self.bytes.len().min(expected);
        &mut self.bytes[self.used..end]
    }

    fn reserve(&mut self, end: usize, expected: usize) {
        if self.bytes.capacity() < end {
            let steps = if expected <= EAGER_BYTES { expected } else { expected.min(2 * self.bytes.capacity()) };
            self.bytes.reserve_exact(size_class(end.max(steps)) - self.bytes.len());
        }
    }

    /// The body, shared from now on; its memory returns to the pool with the last share.
    pub(super) fn freeze(mut self) -> Bytes {
        if self.pool.is_none() {
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.truncate(self.used);
            return Bytes::from(bytes);
        }
        Bytes::from_owner(self)
    }
}

/// The size to allocate for `size` bytes: the next of eight steps between two powers of two, so that bodies of about the
/// same size fit into each other's buffers.
fn size_class(size: usize) -> usize {
    let step = (size.next_power_of_two() / 16).max(1);
    size.div_ceil(step) * step
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.put_back(std::mem::take(&mut self.bytes));
        }
    }
}

/// The bytes of requests that the receiver holds, against `max_in_flight`.
#[derive(Debug)]
pub(super) struct InFlight {
    held: AtomicU64,
    capacity: u64,
}

impl InFlight {
    /// Room for `capacity` bytes.
    pub(super) fn new(capacity: ByteSize) -> Arc<Self> {
        Arc::new(InFlight { held: AtomicU64::new(0), capacity: capacity.0 })
    }

    /// Bytes held now.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether a request of this size could ever be held.
    ///
    /// # Errors
    /// `TooLarge` if not even alone.
    pub(super) fn check(&self, total: u64) -> Result<(), Refusal> {
        if total <= self.capacity {
            return Ok(());
        }
        Err(Refusal::TooLarge(format!(
            "the request takes more than `max_in_flight` ({}), the bound for all requests together; send smaller batches or raise it",
            ByteSize(self.capacity)
        )))
    }
}

/// A request's part of [`InFlight`]; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    account: Arc<InFlight>,
    bytes: u64,
}

impl Reservation {
    /// Nothing yet.
    pub(super) fn new(account: &Arc<InFlight>) -> Self {
        Reservation { account: Arc::clone(account), bytes: 0 }
    }

    /// Bytes taken so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more until it holds `total` bytes.
    ///
    /// # Errors
    /// `Busy` when others hold too much, `TooLarge` when this request alone would not fit.
    pub(super) fn grow_to(&mut self, total: u64) -> Result<(), Refusal> {
        let Some(more) = total.checked_sub(self.bytes).filter(|more| *more > 0) else { return Ok(()) };
        let capacity = self.account.capacity;
        self.account.check(total)?;
        let taken = self.account.held.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |held| {
            held.checked_add(more).filter(|sum| *sum <= capacity)
        });
        match taken {
            Ok(_) => {
                self.bytes = total;
                Ok(())
            }
            Err(_) => Err(Refusal::Busy {
                message: format!(
                    "the requests being received hold `max_in_flight` ({}) already; retry later",
                    ByteSize(capacity)
                ),
                retry_after: BUSY_RETRY_AFTER,
            }),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.account.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Places for requests served at once, against `max_concurrent_requests`.
#[derive(Debug)]
pub(super) struct Slots {
    taken: AtomicUsize,
    capacity: usize,
}

impl Slots {
    /// This many places.
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Slots { taken: AtomicUsize::new(0), capacity })
    }

    /// Places taken now.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// One place, if there is one.
    pub(super) fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let free = |taken: usize| (taken < self.capacity).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Relaxed, free).ok().map(|_| Slot(Arc::clone(self)))
    }

    /// What a request without a place is told.
    pub(super) fn busy(&self) -> Refusal {
        Refusal::Busy {
            message: format!(
                "`max_concurrent_requests` ({}) requests are being served already; retry later",
                self.capacity
            ),
            retry_after: BUSY_RETRY_AFTER,
        }
    }
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_show_nothing_old() {
        let pool = Arc::new(BufferPool::default());
        let mut first = pool.take(100_000);
        first.extend(&[7; 100_000], 100_000);
        let body = first.freeze();
        let share = body.slice(10..20);
        drop(body);
        assert!(pool.free.lock().is_empty(), "still shared");
        drop(share);
        assert_eq!(pool.free.lock().len(), 1);
        let mut second = pool.take(50_000);
        second.extend(&[1, 2, 3], 50_000);
        second.space(2).copy_from_slice(&[4, 5]);
        second.advance(2);
        assert_eq!(second.freeze(), Bytes::from_static(&[1, 2, 3, 4, 5]));
    }

    #[test]
    fn a_body_of_known_size_is_never_moved_and_fits_its_likes() {
        let pool = Arc::new(BufferPool::default());
        let mut buffer = pool.take(5_000_000);
        buffer.extend(&[1; 1000], 5_000_000);
        let place = buffer.as_ref().as_ptr();
        (0..4999).for_each(|_| buffer.extend(&[1; 1000], 5_000_000));
        assert_eq!((buffer.as_ref().as_ptr(), buffer.len()), (place, 5_000_000));
        drop(buffer);
        let mut next = pool.take(5_100_000);
        next.extend(&[2; 1000], 5_100_000);
        assert_eq!(next.as_ref().as_ptr(), place, "the same memory, as the size is of the same class");
        for (size, class) in [(1, 1), (33_000, 36_864), (5_000_000, 5_242_880), (8 << 20, 8 << 20)] {
            assert_eq!(size_class(size), class);
        }
    }

    #[test]
    fn a_claim_beyond_reason_is_not_allocated() {
        let mut buffer = Arc::new(BufferPool::default()).take(64 << 20);
        buffer.extend(&[0; 1000], 64 << 20);
        assert!(buffer.bytes.capacity() < 4000);
    }

    #[test]
    fn the_pool_is_bounded() {
        let pool = Arc::new(BufferPool::default());
        for size in [40_000, 17 << 20, 15 << 20, 15 << 20, 15 << 20] {
            pool.put_back(Vec::with_capacity(size));
        }
        assert_eq!(pool.free.lock().len(), 3, "not the 17 MiB one, nor the last");
        for _ in 0..20 {
            pool.put_back(Vec::with_capacity(40_000));
        }
        assert_eq!(pool.free.lock().len(), MAX_FREE_BUFFERS);
    }

    #[test]
    fn reservations_add_up_and_come_back() {
        let account = InFlight::new(ByteSize(100));
        let mut first = Reservation::new(&account);
        let mut second = Reservation::new(&account);
        assert!(first.grow_to(60).is_ok());
        assert!(first.grow_to(50).is_ok(), "never shrinks");
        assert!(matches!(second.grow_to(41), Err(Refusal::Busy { .. })));
        assert!(second.grow_to(40).is_ok());
        assert!(matches!(second.grow_to(101), Err(Refusal::TooLarge(_))));
        drop(first);
        assert_eq!(account.held_bytes(), 40);
    }

    #[test]
    fn slots_are_counted() {
        let slots = Slots::new(1);
        let first = slots.try_take();
        assert!(first.is_some() && slots.try_take().is_none());
        drop(first);
        assert_eq!(slots.taken(), 0);
    }
}
