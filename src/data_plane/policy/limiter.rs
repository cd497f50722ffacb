//! Rate limits: at most N records a window, here or over all gateways that share them.
//!
//! Purpose: count what a policy let through in the present window.
//! Promises: never more than the limit in one window, whatever the number of threads; gateways that agree on who they are let
//! through together what one alone would; lock-free; time is an argument.
//! Never: reads a clock, remembers more than one window.
//!
//! Windows are fixed and aligned to the Unix epoch: nothing is lost on a restart, and replicas with the same clock turn
//! the window over together. Across a boundary up to twice the limit can pass within one window's length.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::UnixNanos;

/// Who shares rate limits: how many gateways, and which of them this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fleet {
    gateways: u32,
    place: u32,
}

impl Fleet {
    /// Nobody else.
    pub const ALONE: Fleet = Fleet { gateways: 1, place: 0 };

    /// The gateway at `place`, from 0, of so many; `None` when there is no such place.
    pub fn new(gateways: u32, place: u32) -> Option<Fleet> {
        (place < gateways).then_some(Fleet { gateways, place })
    }

    /// How many share.
    pub fn gateways(self) -> u32 {
        self.gateways
    }

    /// The fleet as a number, to be kept in an atomic one.
    pub fn to_bits(self) -> u64 {
        u64::from(self.gateways) << 32 | u64::from(self.place)
    }

    /// The fleet that a number stands for.
    pub fn from_bits(bits: u64) -> Fleet {
        Fleet::new((bits >> 32) as u32, bits as u32).unwrap_or(Fleet::ALONE)
    }

    /// How many of a window's `limit` places are this gateway's. Places are numbered through all windows and dealt out in
    /// turn, so a part of a place is one place every so many windows:
    ///
    /// | 1 a window, 3 gateways | window 0 | 1 | 2 | 3 |
    /// |---|---|---|---|---|
    /// | gateway 0, 1, 2 | 1, 0, 0 | 0, 1, 0 | 0, 0, 1 | 1, 0, 0 |
    #[inline]
    fn places(self, window: u32, limit: u32) -> u32 {
        if self.gateways == 1 {
            return limit;
        }
        // Of the places below `end`, those of this gateway. None of these numbers reaches 2^64.
        let (gateways, place) = (u64::from(self.gateways), u64::from(self.place));
        let below = |end: u64| (end + (gateways - 1 - place)) / gateways;
        let first = u64::from(window) * u64::from(limit);
        (below(first + u64::from(limit)) - below(first)) as u32
    }
}

/// When a record is decided on, and who shares rate limits then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// When.
    pub now: UnixNanos,
    /// Who shares.
    pub fleet: Fleet,
}

impl From<UnixNanos> for Turn {
    fn from(now: UnixNanos) -> Self {
        Turn { now, fleet: Fleet::ALONE }
    }
}

/// The state of one policy's rate limit.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: u32,
    window_nanos: u64,
    /// The window's number in the upper half, records let through in the lower.
    state: AtomicU64,
}

impl Limiter {
    /// A limiter with an empty window.
    pub fn new(limit: u32, window: Duration) -> Self {
        let window_nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(1);
        Limiter { limit, window_nanos, state: AtomicU64::new(0) }
    }

    /// Whether this limits as `limit` a `window` does, so that its state can go on.
    pub fn is_same(&self, limit: u32, window: Duration) -> bool {
        self.limit == limit && u128::from(self.window_nanos) == window.as_nanos()
    }

    /// Records per second, to compare limits.
    pub fn rate(&self) -> f64 {
        f64::from(self.limit) / self.window_nanos as f64 * 1e9
    }

    /// Takes one place of this gateway in the present window; `None` when it has none left. The token gives the place back.
    pub fn try_take(&self, turn: Turn) -> Option<u32> {
        let present = (turn.now / self.window_nanos) as u32;
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let (window, count) = Self::window_and_count(state, present);
            if count >= turn.fleet.places(window, self.limit) {
                return None;
            }
            let next = u64::from(window) << 32 | u64::from(count + 1);
            match self.state.compare_exchange_weak(state, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(window),
                Err(seen) => state = seen,
            }
        }
    }

    /// Gives back what [`Limiter::try_take`] took, when another limit refused the record.
    pub fn give_back(&self, window: u32) {
        let give = |state: u64| ((state >> 32) as u32 == window && state as u32 > 0).then(|| state - 1);
        // A window that has passed has no places left to give back: nothing to do.
        let _ = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    /// A thread whose clock reading is a moment old still counts in the window that has begun since; a clock that was set
    /// back further starts a new window, or the limit would hold for all that time.
    fn window_and_count(state: u64, present: u32) -> (u32, u32) {
        let window = (state >> 32) as u32;
        let is_same = window == present || window == present.wrapping_add(1);
        if is_same { (window, state as u32) } else { (present, 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records that each gateway of a fleet lets through in each window, of more than it may.
    fn passed(gateways: u32, limit: u32, windows: std::ops::Range<u64>) -> Vec<Vec<u32>> {
        let fleet = |place| Fleet::new(gateways, place).unwrap();
        let limiters: Vec<_> = (0..gateways).map(|place| (fleet(place), Limiter::new(limit, SECOND))).collect();
        let in_window = |window: u64| {
            let turn = |fleet| Turn { now: window * 1_000_000_000 + 7, fleet };
            let taken =
                |(fleet, limiter): &(Fleet, Limiter)| (0..=limit).map_while(|_| limiter.try_take(turn(*fleet))).count();
            limiters.iter().map(|limiter| taken(limiter) as u32).collect()
        };
        windows.map(in_window).collect()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_fleet_passes_the_limit_in_every_window_and_each_gateway_its_part_of_many() {
        for (gateways, limit) in [(1, 10), (2, 10), (2, 5), (3, 10), (10, 1), (7, 3), (10, 25)] {
            let start = 1_767_225_600;
            let windows = passed(gateways, limit, start..start + u64::from(gateways));
            for window in &windows {
                assert_eq!(window.iter().sum::<u32>(), limit, "{gateways} gateways, {limit}: {window:?}");
            }
            for place in 0..gateways as usize {
                let own: u32 = windows.iter().map(|window| window[place]).sum();
                assert_eq!(own, limit, "as many windows as gateways: {gateways} gateways, {limit}, {place}");
            }
        }
        assert_eq!(passed(3, 1, 0..4), [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]);
    }

    #[test]
    fn the_largest_numbers_are_dealt_out_too() {
        for place in [0, 1, u32::MAX - 1] {
            let fleet = Fleet::new(u32::MAX, place).unwrap();
            assert_eq!(fleet.places(u32::MAX, u32::MAX), 1);
        }
        assert_eq!(Fleet::new(2, 0).unwrap().places(u32::MAX, u32::MAX), u32::MAX / 2);
        assert_eq!(Fleet::new(2, 1).unwrap().places(u32::MAX, u32::MAX), u32::MAX / 2 + 1);
    }

    #[test]
    fn a_fleet_is_a_number_and_back() {
        for fleet in [Fleet::ALONE, Fleet { gateways: 10, place: 9 }] {
            assert_eq!(Fleet::from_bits(fleet.to_bits()), fleet);
        }
        assert_eq!((Fleet::new(0, 0), Fleet::new(3, 3)), (None, None));
        assert_eq!(Fleet::from_bits(0), Fleet::ALONE);
    }
}
