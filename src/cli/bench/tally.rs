//! What the load counts while it runs.
//!
//! All clients of a run live on one thread and share one [`Shared`]; no locks, no atomics.

use hdrhistogram::Histogram;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    task::Waker,
    time::Instant,
};

/// Longest time that is told apart, in nanoseconds: one minute.
const LONGEST: u64 = 60_000_000_000;

/// Where the run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Sessions are being opened; nothing is sent.
    #[default]
    Opening,
    /// Load, not yet counted.
    Warming,
    /// Load, counted.
    Measuring,
    /// Nothing new is sent; what is under way arrives.
    Settling,
}

impl Phase {
    /// Whether messages are sent.
    pub(super) const fn is_load(self) -> bool {
        matches!(self, Self::Warming | Self::Measuring)
    }
}

/// What all clients of a run share.
pub(super) struct Shared {
    began: Instant,
    phase: Cell<Phase>,
    /// Clients that wait for the phase to change.
    waiting: RefCell<Vec<Waker>>,
    /// Sessions that are live.
    pub(super) live: Cell<usize>,
    /// Messages delivered while measuring.
    pub(super) delivered: Cell<u64>,
    /// Transport messages that came to receivers while measuring.
    pub(super) batches: Cell<u64>,
    /// Send to `ok`, in nanoseconds.
    pub(super) ack: RefCell<Histogram<u64>>,
    /// Send to receive, in nanoseconds.
    pub(super) end_to_end: RefCell<Histogram<u64>>,
    /// From leaving one node to being live at another, in nanoseconds.
    pub(super) away: RefCell<Histogram<u64>>,
    /// Refused sends by code.
    pub(super) refused: RefCell<BTreeMap<String, u64>>,
    /// Where sockets read to: one buffer for all, so that a session costs no memory for it.
    pub(super) scratch: RefCell<Vec<u8>>,
    /// Where messages are put together before they are framed.
    pub(super) message: RefCell<Vec<u8>>,
}

impl Shared {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// Never with these bounds; they are the histogram's to judge.
    pub(super) fn new() -> anyhow::Result<Self> {
        let times = || Histogram::new_with_bounds(1_000, LONGEST, 3);
        Ok(Self {
            began: Instant::now(),
            phase: Cell::default(),
            waiting: RefCell::default(),
            live: Cell::new(0),
            delivered: Cell::new(0),
            batches: Cell::new(0),
            ack: RefCell::new(times()?),
            end_to_end: RefCell::new(times()?),
            away: RefCell::new(times()?),
            refused: RefCell::default(),
            scratch: RefCell::new(vec![0; 256 << 10]),
            message: RefCell::default(),
        })
    }

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// The moment `at` nanoseconds after the run began.
    pub(super) fn instant(&self, at: u64) -> Instant {
        self.began + std::time::Duration::from_nanos(at)
    }

    /// Where the run is.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Goes on to `phase` and wakes all who wait for that.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Wakes this one when the phase changes.
    pub(super) fn wait(&self, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
    }

    /// Counts a delivery that was sent at `sent`.
    pub(super) fn deliver(&self, sent: u64, now: u64) {
        if self.phase.get() == Phase::Measuring {
            self.delivered.set(self.delivered.get() + 1);
            self.end_to_end.borrow_mut().saturating_record(now.saturating_sub(sent));
        }
    }

    /// Counts an `ok` to what was sent at `sent`.
    pub(super) fn acknowledge(&self, sent: u64, now: u64) {
        if self.phase.get() == Phase::Measuring {
            self.ack.borrow_mut().saturating_record(now.saturating_sub(sent));
        }
    }

    /// Counts a session that is live again, having left a node at `left`.
    pub(super) fn arrive(&self, left: u64, now: u64) {
        self.away.borrow_mut().saturating_record(now.saturating_sub(left));
    }

    /// Forgets the times so far and gives them: send to `ok`, send to receive.
    pub(super) fn take_times(&self) -> (Times, Times) {
        let take = |histogram: &RefCell<Histogram<u64>>| {
            let times = Times::of(&histogram.borrow());
            histogram.borrow_mut().reset();
            times
        };
        (take(&self.ack), take(&self.end_to_end))
    }

    /// Counts a refusal.
    pub(super) fn refuse(&self, code: &[u8]) {
        let code = String::from_utf8_lossy(code).into_owned();
        *self.refused.borrow_mut().entry(code).or_default() += 1;
    }
}

/// Times of one kind, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Times {
    /// How many.
    pub(super) count: u64,
    /// Half are at most this.
    pub(super) p50: f64,
    /// 99 of 100 are at most this.
    pub(super) p99: f64,
    /// The longest.
    pub(super) max: f64,
}

impl Times {
    /// Sums up nanoseconds.
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            p50: micros(histogram.value_at_quantile(0.5)),
            p99: micros(histogram.value_at_quantile(0.99)),
            max: micros(histogram.max()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up_and_those_out_of_bounds_count_as_the_longest() {
        let shared = Shared::new().unwrap();
        shared.deliver(0, 5_000_000); // not yet measured
        shared.enter(Phase::Measuring);
        for ms in 1..=100 {
            shared.deliver(1_000, 1_000 + ms * 1_000_000);
        }
        shared.acknowledge(0, u64::MAX);
        let times = Times::of(&shared.end_to_end.borrow());
        assert_eq!((times.count, shared.delivered.get()), (100, 100));
        assert!((times.p50 - 50_000.0).abs() < 100.0, "{times:?}");
        assert!((times.p99 - 99_000.0).abs() < 200.0, "{times:?}");
        assert!((times.max - 100_000.0).abs() < 200.0, "{times:?}");
        assert!(Times::of(&shared.ack.borrow()).max >= 60_000_000.0);
        assert_eq!(Times::of(&Shared::new().unwrap().ack.borrow()), Times::default());
    }

    #[test]
    fn refusals_are_counted_by_code() {
        let shared = Shared::new().unwrap();
        shared.refuse(b"busy");
        shared.refuse(b"busy");
        shared.refuse(b"rate_limited");
        let refused: Vec<_> = shared.refused.take().into_iter().collect();
        assert_eq!(refused, [("busy".into(), 2), ("rate_limited".into(), 1)]);
    }
}
