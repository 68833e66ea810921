//! Hybrid logical time in microseconds.
//!
//! A [`Stamp`] is wall time while wall time behaves, and a counter where it does not: it never
//! steps back and is never given twice by one [`Clock`] (Kulkarni et al., "Logical Physical
//! Clocks", 2014, with the logical part folded into the microseconds). Positions and message
//! times are stamps; all are below 2^53, so they fit a JavaScript number.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A moment or a position, in microseconds since 1970. Zero is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// Before everything.
    pub const ZERO: Self = Self(0);
    /// The last stamp that a JavaScript number holds exactly.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Milliseconds since 1970, rounded down.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 / 1_000
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stamp from elsewhere lies further ahead of this node's wall clock than the bound allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stamp is {ahead_ms} ms ahead of this node's clock, the bound is {bound_ms} ms; check the clocks")]
pub struct Skew {
    /// How far ahead it is, in milliseconds.
    pub ahead_ms: u64,
    /// The bound it broke, in milliseconds.
    pub bound_ms: u64,
}

/// Gives strictly growing stamps. One per node.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// How far ahead of wall time a stamp from elsewhere may be: 60 s.
    pub const MAX_AHEAD_US: u64 = 60_000_000;

    /// A clock whose first stamp is above `last`.
    #[must_use]
    pub const fn after(last: Stamp) -> Self {
        Self { last }
    }

    /// The next stamp: `now`, or one microsecond after the stamp before, whichever is later.
    pub fn tick(&mut self, now: Stamp) -> Stamp {
        self.last = Stamp(now.0.max(self.last.0 + 1));
        self.last
    }

    /// The last stamp given or observed.
    #[must_use]
    pub const fn last(&self) -> Stamp {
        self.last
    }

    /// Makes sure that later stamps are above `seen`, which was read from this node's own store.
    pub fn recover(&mut self, seen: Stamp) {
        self.last = self.last.max(seen);
    }

    /// Makes sure that later stamps are above `seen`, which came from outside.
    ///
    /// # Errors
    /// [`Skew`] when `seen` is more than [`Self::MAX_AHEAD_US`] ahead of `now`; nothing changes then.
    pub fn observe(&mut self, now: Stamp, seen: Stamp) -> Result<(), Skew> {
        let ahead = seen.0.saturating_sub(now.0);
        if ahead > Self::MAX_AHEAD_US {
            return Err(Skew { ahead_ms: ahead / 1_000, bound_ms: Self::MAX_AHEAD_US / 1_000 });
        }
        self.recover(seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_when_wall_time_stands_still_or_steps_back() {
        let mut clock = Clock::default();
        let first = clock.tick(Stamp(1_000));
        let second = clock.tick(Stamp(1_000));
        let third = clock.tick(Stamp(5));
        assert!(first < second && second < third);
        assert_eq!(clock.tick(Stamp(9_000)), Stamp(9_000));
    }

    #[test]
    fn a_stamp_from_far_ahead_is_refused_and_changes_nothing() {
        let mut clock = Clock::after(Stamp(10));
        assert!(clock.observe(Stamp(100), Stamp(100 + Clock::MAX_AHEAD_US + 1_000)).is_err());
        assert_eq!(clock.last(), Stamp(10));
        clock.observe(Stamp(100), Stamp(5_000)).unwrap();
        assert_eq!(clock.tick(Stamp(100)), Stamp(5_001));
    }
}
