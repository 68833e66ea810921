//! A replicated table: one row for each key hash, the same on every node in the end.
//!
//! Purpose: hold millions of small rows in little memory, merge rows in any order any number of times, and know at any
//! moment where the table differs from another node's ([`super::summary`]).
//!
//! Algorithm. Rows stand in 256 shards by the top 8 bits of their key. A shard is a dense list of (key, row) and an
//! [`super::index`] into it; shards grow on their own, each by an eighth, so that little is ever spare and no growth stops the
//! node for longer than a 256th of the table takes. A shard of up to 16 rows has no index, it is
//! searched; an empty table holds nothing. A shard is also a branch of the digest, so all rows of a leaf (the top 16
//! bits) stand in one shard and are found by one pass over consecutive memory.
//!
//! The slot of a row follows from its key and a salt of the table's own, not from the key alone: user ids are chosen by
//! others, who could choose thousands with the same leading bits, but not with the same slots. Nothing else depends
//! on the salt; two tables with different salts are iterated over in the same order.
//!
//! Invariants: `merge` is commutative, associative and idempotent (Shapiro et al., "A comprehensive study of CRDTs",
//! 2011, section 3: a join semilattice); the digest of a table follows from its rows alone. `remove` is outside of this: a row
//! removed here comes back from any node that still has it.

use super::{
    shard::{Key, Leaves, Shard},
    summary::{Summary, leaf_of, trace},
};

/// What a table says of one key.
pub trait Row: Copy + Eq {
    /// Bytes on the wire of one row without its key, at most; messages are bounded by it.
    const COST: usize;

    /// Hash of all of its content: equal for equal rows, and by chance alone for others.
    fn mark(&self) -> u64;

    /// Whether it replaces `other`. A strict total order: of two rows either they are equal or one beats the other.
    fn beats(&self, other: &Self) -> bool;

    /// Whether it can be: rows from other nodes that cannot are left out.
    fn sound(&self) -> bool {
        true
    }
}

/// What came of a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged<R> {
    /// The table has a row that beats it; nothing changed.
    Stale,
    /// The table has this very row; nothing changed.
    Same,
    /// There was no row; now there is.
    New,
    /// It replaced this row.
    Replaced(R),
}

impl<R> Merged<R> {
    /// Whether the table changed.
    #[must_use]
    pub const fn changed(&self) -> bool {
        matches!(self, Self::New | Self::Replaced(_))
    }
}

/// Rows by key hash. Keys must be evenly spread hashes, such as the first 16 bytes of a SHA-256.
#[derive(Clone)]
pub struct Table<R> {
    /// 256, or none while nothing was ever merged.
    shards: Vec<Shard<R>>,
    len: usize,
    salt: u64,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self { shards: Vec::new(), len: 0, salt: 0 }
    }
}

impl<R> std::fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Millions of rows are nothing to print.
        f.debug_struct("Table").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<R: Row> Table<R> {
    /// An empty table.
    ///
    /// * `salt`: any number that those who choose keys do not know.
    #[must_use]
    pub fn salted(salt: u64) -> Self {
        Self { salt, ..Self::default() }
    }

    fn shard(&self, key: u128) -> Option<&Shard<R>> {
        self.shards.get((key >> 120) as usize)
    }

    /// The row of `key`.
    #[must_use]
    pub fn get(&self, key: u128) -> Option<R> {
        let shard = self.shard(key)?;
        shard.find(Key::of(key), self.salt).map(|place| shard.rows[place].row)
    }

    /// Takes a row in if it beats the one there.
    pub fn merge(&mut self, key: u128, row: R) -> Merged<R> {
        if self.shards.is_empty() {
            self.shards = (0..256).map(|_| Shard::new()).collect();
        }
        let shard = &mut self.shards[(key >> 120) as usize];
        let words = Key::of(key);
        let Some(place) = shard.find(words, self.salt) else {
            shard.push(words, row, self.salt);
            self.len += 1;
            return Merged::New;
        };
        let old = shard.rows[place].row;
        if old == row {
            return Merged::Same;
        }
        if !row.beats(&old) {
            return Merged::Stale;
        }
        Merged::Replaced(shard.replace(place, row))
    }

    /// Takes the row of `key` out. Memory is given back when a shard is less than half full.
    pub fn remove(&mut self, key: u128) -> Option<R> {
        let salt = self.salt;
        let shard = self.shards.get_mut((key >> 120) as usize)?;
        let place = shard.find(Key::of(key), salt)?;
        self.len -= 1;
        Some(shard.take_out(place, salt))
    }

    /// How many rows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Memory held, in bytes, spare room included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let shards = self.shards.capacity() * size_of::<Shard<R>>();
        size_of::<Self>() + shards + self.shards.iter().map(Shard::bytes).sum::<usize>()
    }

    /// All rows, by branch; within a branch in an order that follows from the merges and removals alone.
    pub fn iter(&self) -> impl Iterator<Item = (u128, R)> {
        self.shards.iter().flat_map(|shard| shard.rows.iter()).map(|held| (held.key.whole(), held.row))
    }

    /// The rows whose keys have these top 8 bits.
    pub fn branch(&self, branch: u8) -> impl Iterator<Item = (u128, R)> {
        let shard = self.shards.get(usize::from(branch));
        shard.into_iter().flat_map(|shard| shard.rows.iter()).map(|held| (held.key.whole(), held.row))
    }

    /// The rows whose keys have these top 16 bits. One pass over the branch: a 256th of the keys.
    pub fn leaf(&self, leaf: u16) -> impl Iterator<Item = (u128, R)> {
        let mut wanted = Leaves::default();
        wanted.add(leaf as u8);
        let branch = (leaf >> 8) as u8;
        self.select(branch, wanted).map(move |(at, _)| self.row_at(branch, at))
    }

    /// The rows of a branch that are in the leaves `wanted`: where they stand, for [`Self::row_at`], and their traces.
    pub(super) fn select(&self, branch: u8, wanted: Leaves) -> impl Iterator<Item = (u32, (u16, u64))> {
        let shard = self.shards.get(usize::from(branch));
        let rows = shard.map_or(&[][..], |shard| &shard.rows);
        let wanted = (0..).zip(rows).filter(move |(_, held)| wanted.has(held.key.leaf()));
        wanted.map(|(at, held)| {
            let key = held.key.whole();
            (at, (leaf_of(key), trace(key, held.row.mark())))
        })
    }

    /// A row that [`Self::select`] named, in the same branch of the same unchanged table.
    pub(super) fn row_at(&self, branch: u8, at: u32) -> (u128, R) {
        let held = &self.shards[usize::from(branch)].rows[at as usize];
        (held.key.whole(), held.row)
    }

    /// Digest of a branch.
    #[must_use]
    pub(super) fn digest(&self, branch: u8) -> u64 {
        self.shards.get(usize::from(branch)).map_or(0, Shard::digest)
    }

    /// Digests of the leaves of a branch.
    #[must_use]
    pub(super) fn leaves(&self, branch: u8) -> [u64; 256] {
        self.shards.get(usize::from(branch)).map_or([0; 256], Shard::leaves)
    }

    /// Digests of the whole. Equal for tables with equal rows, however they came to be.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary(Box::new(std::array::from_fn(|branch| self.digest(branch as u8))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A number is its own content; the greater wins.
    impl Row for u32 {
        const COST: usize = 5;
        fn mark(&self) -> u64 {
            u64::from(*self)
        }
        fn beats(&self, other: &Self) -> bool {
            self > other
        }
    }

    /// Keys in few branches and few leaves of them, so that shards pass every threshold.
    fn keys() -> impl Strategy<Value = u128> {
        (0_u128..2, 0_u128..3, 0_u128..40).prop_map(|(branch, leaf, rest)| branch << 120 | leaf << 112 | rest)
    }

    fn rows() -> impl Strategy<Value = Vec<(u128, u32)>> {
        proptest::collection::vec((keys(), 0_u32..9), 0..400)
    }

    fn check(table: &Table<u32>, model: &BTreeMap<u128, u32>) {
        assert_eq!(table.len(), model.len());
        assert_eq!(table.iter().collect::<BTreeMap<_, _>>(), *model);
        for (&key, &row) in model {
            assert_eq!(table.get(key), Some(row));
            assert_eq!(table.get(key ^ 1 << 60), None);
        }
        let mut seen = 0;
        for leaf in [0, 1, 2, 0x100, 0x101, 0x102, 0x200] {
            let found: BTreeMap<_, _> = table.leaf(leaf).collect();
            assert!(found.keys().all(|&key| key >> 112 == u128::from(leaf)));
            let digest = found.iter().fold(0, |all, (&key, row)| all ^ trace(key, row.mark()));
            assert_eq!(table.leaves((leaf >> 8) as u8)[usize::from(leaf & 255)], digest);
            seen += found.len();
        }
        assert_eq!(seen, model.len(), "leaves together hold every row once");
        let root = model.iter().fold(0, |all, (&key, row)| all ^ trace(key, row.mark()));
        assert_eq!(table.summary().root(), root);
    }

    proptest! {
        #[test]
        fn merges_in_any_order_and_repetition_end_as_the_model(all in rows(), turn in any::<usize>()) {
            let mut model = BTreeMap::new();
            for &(key, row) in &all {
                model.entry(key).and_modify(|old: &mut u32| *old = row.max(*old)).or_insert(row);
            }
            let mut forwards = Table::salted(7);
            for &(key, row) in &all {
                let before = forwards.get(key);
                let expected = match before {
                    None => Merged::New,
                    Some(old) if old == row => Merged::Same,
                    Some(old) if old > row => Merged::Stale,
                    Some(old) => Merged::Replaced(old),
                };
                assert_eq!(forwards.merge(key, row), expected);
            }
            let mut shuffled = all.clone();
            shuffled.rotate_left(turn.checked_rem(all.len()).unwrap_or(0));
            shuffled.reverse();
            shuffled.extend(&all);
            let mut backwards = Table::default();
            for (key, row) in shuffled {
                backwards.merge(key, row);
            }
            check(&forwards, &model);
            check(&backwards, &model);
            prop_assert_eq!(forwards.summary(), backwards.summary());
        }

        #[test]
        fn removal_keeps_everything_else_findable(all in rows(), gone in proptest::collection::vec(keys(), 0..400)) {
            let mut table = Table::default();
            let mut model = BTreeMap::new();
            for (n, &(key, row)) in all.iter().enumerate() {
                table.merge(key, row);
                model.entry(key).and_modify(|old: &mut u32| *old = row.max(*old)).or_insert(row);
                if let Some(key) = gone.get(n) {
                    prop_assert_eq!(table.remove(*key), model.remove(key));
                }
            }
            check(&table, &model);
            for key in model.keys().copied().collect::<Vec<_>>() {
                prop_assert_eq!(table.remove(key), model.remove(&key));
            }
            check(&table, &model);
        }
    }

    #[test]
    fn keys_chosen_with_the_same_leading_bits_cost_no_more_than_others() {
        let chosen = |n: u64| 0xabcd_u128 << 112 | u128::from(n);
        let mut table = Table::salted(0x5eed);
        for n in 0..50_000 {
            table.merge(chosen(n), 1);
        }
        let shard = &table.shards[0xab];
        let longest = (0..50_000)
            .map(|n| {
                let visits = std::cell::Cell::new(0);
                shard.index.find(Key::of(chosen(n)).hash(0x5eed), |place| {
                    visits.set(visits.get() + 1);
                    shard.rows[place as usize].key == Key::of(chosen(n))
                });
                visits.get()
            })
            .max();
        assert!(longest < Some(8), "{longest:?} rows visited in one look-up");
    }

    #[test]
    fn a_small_table_is_small_and_an_empty_one_is_nothing() {
        let mut table = Table::<u32>::default();
        assert!(table.bytes() < 64 && table.is_empty() && table.get(1).is_none());
        let key = |n: u64| u128::from(trace(0, n)) << 64 | u128::from(n);
        (0..100).for_each(|n| assert_eq!(table.merge(key(n), 1), Merged::New));
        assert!(table.bytes() < 32 << 10, "{}", table.bytes());
        (100..4_000).for_each(|n| assert_eq!(table.merge(key(n), 1), Merged::New));
        let full = table.bytes();
        (0..4_000).for_each(|n| assert_eq!(table.remove(key(n)), Some(1)));
        assert!(table.bytes() < full / 4, "{} of {full}", table.bytes());
    }
}
