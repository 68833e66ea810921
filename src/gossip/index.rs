//! Finding a row by the hash of its key.
//!
//! Purpose: say in which place of a list of rows a key's row stands, at few bytes a row.
//!
//! A ring of `u32` slots with linear probing (Knuth, "The Art of Computer Programming" volume 3, section 6.4,
//! algorithms L and R). A slot holds the row's place in the list in its low bits and, in the bits left over, a tag:
//! further bits of the hash. A probe that meets another key's slot sees it by the tag, without a visit to the row, so
//! that the ring may be nearly full (7/8) and still costs about one visit a look-up. Home slots are
//! `hash · slots / 2^32` (Lemire, "Fast Random Integer Generation in an Interval", 2018), so that the ring need not be a
//! power of two and can grow by half.
//!
//! Removal moves later slots of the run back (Knuth's algorithm R): no tombstones, look-ups stay as short as if the row
//! had never been there. The list of rows is the caller's; what needs hashes of other rows takes a closure.

/// No row: never a valid slot, since a full ring's places need fewer than all ones.
const EMPTY: u32 = u32::MAX;

/// Places of rows by hash. Without any slots until [`Index::rebuild`].
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    slots: Vec<u32>,
}

impl Index {
    /// Smallest ring.
    const LEAST: usize = 32;

    /// Whether `rows` rows fit at a load of at most 7/8.
    pub(super) const fn fits(&self, rows: usize) -> bool {
        rows * 8 <= self.slots.len() * 7
    }

    /// Whether there are no slots: not built yet.
    pub(super) const fn is_unbuilt(&self) -> bool {
        self.slots.is_empty()
    }

    /// Memory held, in bytes.
    pub(super) const fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<u32>()
    }

    /// Bits of a slot that hold the place.
    fn mask(&self) -> u32 {
        u32::MAX >> (self.slots.len() as u32 - 1).leading_zeros()
    }

    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    fn after(&self, slot: usize) -> usize {
        if slot + 1 == self.slots.len() { 0 } else { slot + 1 }
    }

    /// The place of the row with `hash` that `is` the wanted one.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.slot(hash, is).map(|slot| self.slots[slot] & self.mask())
    }

    fn slot(&self, hash: u64, is: impl Fn(u32) -> bool) -> Option<usize> {
        let mask = self.mask();
        let tag = hash as u32 & !mask;
        let mut slot = self.home(hash);
        loop {
            let held = self.slots[slot];
            if held == EMPTY {
                return None;
            }
            if held & !mask == tag && is(held & mask) {
                return Some(slot);
            }
            slot = self.after(slot);
        }
    }

    /// Adds a row that is not there yet, for which there is room.
    pub(super) fn insert(&mut self, hash: u64, place: u32) {
        let mask = self.mask();
        let mut slot = self.home(hash);
        while self.slots[slot] != EMPTY {
            slot = self.after(slot);
        }
        self.slots[slot] = (hash as u32 & !mask) | place;
    }

    /// Says that the row with `hash` now stands at `to` instead of `from`.
    pub(super) fn moved(&mut self, hash: u64, from: u32, to: u32) {
        if let Some(slot) = self.slot(hash, |place| place == from) {
            self.slots[slot] = (hash as u32 & !self.mask()) | to;
        }
    }

    /// Takes out the row with `hash` at `place`; `hash_at` gives the hashes of other rows by place.
    pub(super) fn remove(&mut self, hash: u64, place: u32, hash_at: impl Fn(u32) -> u64) {
        let Some(mut hole) = self.slot(hash, |found| found == place) else { return };
        let mask = self.mask();
        let mut slot = self.after(hole);
        while self.slots[slot] != EMPTY {
            let home = self.home(hash_at(self.slots[slot] & mask));
            // It may fill the hole unless its home lies behind the hole, cyclically in (hole, slot].
            let stays = if hole < slot { hole < home && home <= slot } else { hole < home || home <= slot };
            if !stays {
                self.slots[hole] = self.slots[slot];
                hole = slot;
            }
            slot = self.after(slot);
        }
        self.slots[hole] = EMPTY;
    }

    /// Builds a ring anew for the rows with these hashes, in the order of their places, with half as much room again.
    pub(super) fn rebuild(&mut self, hashes: impl ExactSizeIterator<Item = u64>) {
        // Rows fill 7/8 of a ring at most; 12/7 of the rows is that ring, half as large again.
        let room = (hashes.len() * 12).div_ceil(7).max(Self::LEAST);
        self.slots.clear();
        if self.slots.capacity() < room || self.slots.capacity() > 2 * room {
            self.slots = Vec::with_capacity(room);
        }
        self.slots.resize(room, EMPTY);
        for (place, hash) in hashes.enumerate() {
            self.insert(hash, place as u32);
        }
    }

    /// Drops all slots.
    pub(super) fn clear(&mut self) {
        self.slots = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn removal_leaves_every_other_row_findable(
            // Few distinct home slots, so that runs are long and wrap around the end of the ring.
            hashes in proptest::collection::vec((0_u64..6, any::<u32>()), 1..28),
            order in any::<u64>(),
        ) {
            let hashes: Vec<u64> = hashes.iter().map(|(h, low)| ((29 + h) << 59) | u64::from(*low)).collect();
            let mut index = Index::default();
            index.rebuild(hashes.iter().copied());
            let mut gone = vec![false; hashes.len()];
            for step in 0..hashes.len() {
                let place = (order as usize).wrapping_mul(31).wrapping_add(step * 7) % hashes.len();
                if !gone[place] {
                    index.remove(hashes[place], place as u32, |at| hashes[at as usize]);
                    gone[place] = true;
                }
                for (at, &hash) in hashes.iter().enumerate() {
                    let found = index.find(hash, |place| place as usize == at);
                    prop_assert_eq!(found.is_none(), gone[at]);
                }
            }
        }
    }

    #[test]
    fn a_full_ring_holds_and_names_every_row() {
        let hash = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut index = Index::default();
        assert!(index.is_unbuilt() && !index.fits(1));
        index.rebuild((0..1_000).map(hash).collect::<Vec<_>>().into_iter());
        let mut rows = 1_000;
        while index.fits(rows + 1) {
            index.insert(hash(rows as u64), rows as u32);
            rows += 1;
        }
        assert!(rows >= 1_500, "{rows}");
        for n in 0..rows as u32 {
            assert_eq!(index.find(hash(u64::from(n)), |place| place == n), Some(n));
        }
        assert_eq!(index.find(hash(rows as u64), |_| false), None);
    }
}
