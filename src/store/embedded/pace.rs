//! Slowing commits down while the engine cannot write its tables as fast as messages come.
//!
//! Purpose: one thread of the engine writes memtables as tables and merges those. While a long merge goes on, nothing
//! else is written, and what is committed meanwhile stays in memory. Under a load that leaves the merge little of the
//! CPU this grew past 2 GiB in a minute. A commit that waits leaves the CPU to the merge, and lets whoever sends wait
//! for his ack (P8) instead of the node run out of memory.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Commits wait from this many memtables on: four of each of the two large keyspaces.
const FREE: u64 = 8;
/// By how many memtables more the wait grows by [`STEP`].
const MORE: u64 = 8;
/// How long a commit waits when that many more are held.
const STEP: Duration = Duration::from_millis(100);
/// How long it waits at the most; senders do not give up before.
const LONGEST: Duration = Duration::from_secs(1);

/// How long commits wait.
#[derive(Debug)]
pub(super) struct Pace {
    memtable: u64,
    slow: AtomicBool,
}

impl Pace {
    /// * `memtable`: bytes of one memtable of the large keyspaces.
    pub(super) fn new(memtable: u64) -> Self {
        Self { memtable: memtable.max(1), slow: AtomicBool::new(false) }
    }

    /// How long the next commit waits when memtables hold `held` bytes in all.
    ///
    /// Grows with what is held, so that memory settles where as much is written as comes.
    pub(super) fn wait(&self, held: u64) -> Duration {
        let over = held.saturating_sub(self.memtable.saturating_mul(FREE));
        if over == 0 {
            self.slow.store(false, Ordering::Relaxed);
            return Duration::ZERO;
        }
        if !self.slow.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                held_mib = held >> 20,
                "messages come faster than the store can write its tables; commits wait until it has caught up. If this \
                 comes back, the disk or the CPU is too slow for the load"
            );
        }
        let steps = over as f64 / self.memtable.saturating_mul(MORE) as f64;
        Duration::from_secs_f64((STEP.as_secs_f64() * steps).min(LONGEST.as_secs_f64()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_wait_the_longer_the_more_is_held_and_a_second_at_the_most() {
        let pace = Pace::new(10);
        let wait = |held| pace.wait(held).as_millis();
        assert_eq!([0, 80, 81, 120, 160, 240].map(wait), [0, 0, 1, 50, 100, 200]);
        assert_eq!(wait(u64::MAX), 1_000);
        assert!(pace.slow.load(Ordering::Relaxed));
        assert_eq!((wait(80), pace.slow.load(Ordering::Relaxed)), (0, false));
        assert_eq!(Pace::new(0).wait(u64::MAX), LONGEST);
    }
}
