//! 64 positions of a line at once.
//!
//! Purpose: where the runs of a window begin and end, which of them are words of letters alone, and where a mark has a rule
//! of its own, found for all of them together by carries in the sets.
//! Promises: a constant number of instructions; what it says holds for what begins before [`Window::limit`].
//! Never: reads a byte, or decides what varies.

use super::line::{DIGIT, EVENT, LETTER, Line, POINT, RUN, SLASH, SPACE};

/// The classes of 64 positions; bit 0 is position `base`, a multiple of eight.
pub(super) struct Window {
    pub(super) base: usize,
    pub(super) run: u64,
    pub(super) letter: u64,
    pub(super) digit: u64,
    pub(super) event: u64,
    pub(super) point: u64,
    pub(super) slash: u64,
    space: u64,
}

impl Window {
    #[inline(always)]
    pub(super) fn at(line: &Line, base: usize) -> Self {
        let set = |class| line.from(class, base);
        Window {
            base,
            run: set(RUN),
            letter: set(LETTER),
            digit: set(DIGIT),
            event: set(EVENT),
            point: set(POINT),
            slash: set(SLASH),
            space: set(SPACE),
        }
    }

    /// A run that begins before this place ends in the window, and what stands behind any place before it is in it too.
    #[inline(always)]
    pub(super) fn limit(&self) -> usize {
        64 - ((!self.run).leading_zeros() as usize).max(1)
    }

    /// Where runs begin. Right for place 0 only if no run goes on there.
    #[inline(always)]
    pub(super) fn starts(&self) -> u64 {
        self.run & !(self.run << 1)
    }

    /// The place behind the letters of each run that begins with some: one addition carries through them all.
    #[inline(always)]
    pub(super) fn behind_letters(&self, starts: u64) -> u64 {
        self.letter.wrapping_add(starts & self.letter) & !self.letter
    }

    /// Opening brackets.
    #[inline(always)]
    fn opening(&self) -> u64 {
        self.point & !self.run
    }

    /// Of the words that begin at `names` those that may be passed without a look at what stands around them: no bracket
    /// before them (at place 0 that is not known), and no `E` in front, which could be the end of an exception's name.
    #[inline(always)]
    pub(super) fn passable(&self, names: u64) -> u64 {
        names & !self.event & !(self.opening() << 1 | 1)
    }

    /// Marks with a rule of their own, empty brackets, and each `E`.
    #[inline(always)]
    pub(super) fn events(&self) -> u64 {
        let closing = self.slash & !self.run;
        self.event & !self.space & (self.letter | !self.run) | self.opening() & closing >> 1
    }

    /// Signs that may be cut off in front of a run or behind it.
    #[inline(always)]
    pub(super) fn leads(&self) -> u64 {
        self.event & self.run & !self.letter
    }

    /// Where the run of place `i` begins.
    #[inline(always)]
    pub(super) fn start_of_run(&self, i: usize) -> usize {
        (u64::BITS - (!self.run & below(i)).leading_zeros()) as usize
    }
}

/// The places before `i`, which is less than 64.
#[inline(always)]
pub(super) fn below(i: usize) -> u64 {
    (1 << (i & 63)) - 1
}

/// The places from `i` on, which is less than 64.
#[inline(always)]
pub(super) fn from(i: usize) -> u64 {
    u64::MAX << (i & 63)
}
