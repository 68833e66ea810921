//! A disk that finishes commits when it likes, and at a crash loses those that it has not finished.

use super::rng::Rng;
use crate::store::{Store, Write, memory::MemoryStore};
use std::collections::VecDeque;

#[derive(Default)]
pub struct Disk {
    pub store: MemoryStore,
    flight: VecDeque<(u64, Vec<Write>)>,
}

impl Disk {
    pub fn submit(&mut self, seq: u64, writes: Vec<Write>) {
        self.flight.push_back((seq, writes));
    }

    pub fn is_busy(&self) -> bool {
        !self.flight.is_empty()
    }

    /// Finishes one or more commits with one fsync; gives the number of the last.
    pub fn sync(&mut self, rng: &mut Rng) -> Option<u64> {
        let count = 1 + rng.below(self.flight.len());
        let mut last = None;
        for _ in 0..count {
            let Some((seq, writes)) = self.flight.pop_front() else {
                break;
            };
            self.store.commit(&writes).expect("memory");
            last = Some(seq);
        }
        last
    }

    /// Power goes: of the commits under way the first few may have reached the platter, the rest are gone.
    pub fn crash(&mut self, rng: &mut Rng) {
        for _ in 0..rng.below(self.flight.len() + 1) {
            let Some((_, writes)) = self.flight.pop_front() else {
                break;
            };
            self.store.commit(&writes).expect("memory");
        }
        self.flight.clear();
    }
}
