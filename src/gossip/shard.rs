//! A 256th of a table: the rows whose keys have the same top 8 bits.
//!
//! Purpose: keep rows, their index and their digest in step; [`super::table`] tells how they are laid out and why.
//! Invariants: a shard of more than [`Branch::LEAVES_FROM`] rows has an index of all of them and keeps its leaves; the
//! digest is that of the rows, at any moment.

use super::{
    Row,
    index::Index,
    summary::{Branch, trace},
};

/// A key, in words that need no padding before a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u32; 4]);

impl Key {
    pub(super) const fn of(key: u128) -> Self {
        Self([(key >> 96) as u32, (key >> 64) as u32, (key >> 32) as u32, key as u32])
    }

    pub(super) const fn whole(self) -> u128 {
        let [a, b, c, d] = self.0;
        (a as u128) << 96 | (b as u128) << 64 | (c as u128) << 32 | d as u128
    }

    /// The second byte: which leaf of its branch.
    pub(super) const fn leaf(self) -> u8 {
        (self.0[0] >> 16) as u8
    }

    /// A hash that nobody who does not know the salt can choose: the two halves, each with a secret added, multiplied,
    /// upper and lower half of the product folded (as in wyhash, Wang Yi).
    pub(super) const fn hash(self, salt: u64) -> u64 {
        let key = self.whole();
        let a = (key >> 64) as u64 ^ salt;
        let b = key as u64 ^ salt.rotate_left(32) ^ 0x9e37_79b9_7f4a_7c15;
        let product = a as u128 * b as u128;
        let folded = (product >> 64) as u64 ^ product as u64;
        // Once more: a product's upper bits alone are uneven where its factors are small, and home slots are upper bits.
        let product = folded as u128 * 0xd6e8_feb8_6659_fd93;
        (product >> 64) as u64 ^ product as u64
    }
}

/// A row under its key.
#[derive(Clone, Copy)]
pub(super) struct Held<R> {
    pub(super) key: Key,
    pub(super) row: R,
}

/// All rows whose keys have the same top 8 bits.
#[derive(Clone)]
pub(super) struct Shard<R> {
    /// In an order that follows from the merges and removals alone.
    pub(super) rows: Vec<Held<R>>,
    pub(super) index: Index,
    branch: Branch,
}

impl<R: Row> Shard<R> {
    pub(super) fn new() -> Self {
        Self { rows: Vec::new(), index: Index::default(), branch: Branch::default() }
    }

    /// Where the row of `key` stands.
    pub(super) fn find(&self, key: Key, salt: u64) -> Option<usize> {
        if self.index.is_unbuilt() {
            return self.rows.iter().position(|held| held.key == key);
        }
        self.index
            .find(key.hash(salt), |place| self.rows[place as usize].key == key)
            .map(|place| place as usize)
    }

    fn traces(rows: &[Held<R>]) -> impl Iterator<Item = (u8, u64)> {
        rows.iter().map(|held| (held.key.leaf(), trace(held.key.whole(), held.row.mark())))
    }

    /// Digests of its leaves.
    pub(super) fn leaves(&self) -> [u64; 256] {
        self.branch.leaves(Self::traces(&self.rows))
    }

    /// Adds a row whose key is not there.
    pub(super) fn push(&mut self, key: Key, row: R, salt: u64) {
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact((self.rows.len() / 8).max(4));
        }
        let place = self.rows.len();
        self.rows.push(Held { key, row });
        if self.index.fits(place + 1) {
            self.index.insert(key.hash(salt), place as u32);
        } else if place + 1 > Branch::LEAVES_FROM {
            self.rebuild(salt);
        }
        if place + 1 > Branch::LEAVES_FROM && self.branch.bytes() == 0 {
            self.branch.keep(Self::traces(&self.rows[..place]));
        }
        self.branch.toggle(key.leaf(), trace(key.whole(), row.mark()));
    }

    fn rebuild(&mut self, salt: u64) {
        self.index.rebuild(self.rows.iter().map(|held| held.key.hash(salt)));
    }

    /// Takes out the row at a place; the last one takes that place.
    pub(super) fn take_out(&mut self, place: usize, salt: u64) -> R {
        let last = self.rows.len() - 1;
        let key = self.rows[place].key;
        if !self.index.is_unbuilt() {
            let rows = &self.rows;
            self.index.remove(key.hash(salt), place as u32, |at| rows[at as usize].key.hash(salt));
            if place != last {
                self.index.moved(self.rows[last].key.hash(salt), last as u32, place as u32);
            }
        }
        let row = self.rows.swap_remove(place).row;
        self.branch.toggle(key.leaf(), trace(key.whole(), row.mark()));
        if self.rows.len() * 2 < self.rows.capacity() && self.rows.capacity() > 8 {
            self.rows.shrink_to(self.rows.len() + (self.rows.len() / 8).max(4));
            if self.rows.len() > Branch::LEAVES_FROM / 2 {
                self.rebuild(salt);
            } else {
                self.index.clear();
                self.branch.drop_leaves();
            }
        }
        row
    }

    /// Puts another row in place of the one at a place, and returns that.
    pub(super) fn replace(&mut self, place: usize, row: R) -> R {
        let held = &mut self.rows[place];
        let old = std::mem::replace(&mut held.row, row);
        let key = held.key.whole();
        self.branch.toggle(held.key.leaf(), trace(key, old.mark()) ^ trace(key, row.mark()));
        old
    }

    /// Digest of all its rows.
    pub(super) const fn digest(&self) -> u64 {
        self.branch.digest()
    }

    /// Memory held beside itself, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Held<R>>() + self.index.bytes() + self.branch.bytes()
    }
}

/// Some of the 256 leaves of a branch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Leaves([u64; 4]);

impl Leaves {
    pub(super) const fn add(&mut self, leaf: u8) {
        self.0[(leaf >> 6) as usize] |= 1 << (leaf & 63);
    }

    pub(super) const fn has(&self, leaf: u8) -> bool {
        self.0[(leaf >> 6) as usize] >> (leaf & 63) & 1 == 1
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0[0] | self.0[1] | self.0[2] | self.0[3] == 0
    }
}
