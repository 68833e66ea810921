//! Digests of a table: what two nodes compare to learn where their tables differ.
//!
//! Purpose: say in a few bytes what a table holds, at every level of detail, and keep that up to date at no cost.
//!
//! Every row has a *trace*, a 64-bit hash of its key and its content. The top 16 bits of a key name its *leaf*; 256
//! leaves with the same top 8 bits are a *branch*; all branches are the table. The digest of a leaf, a branch or a
//! table is the XOR of the traces in it, so a changed row is taken out and put in again in constant time, in any order
//! (the incremental hash of Bellare and Micciancio, "A New Paradigm for Collision-free Hashing", 1997, section 3, in its
//! cheapest form; digest trees over key ranges: DeCandia et al., "Dynamo", 2007, section 4.7).
//!
//! Bounds: two tables that differ by chance agree in a digest once in 2^64. XOR is no defence against somebody who
//! chooses all rows on both sides; here he would have to choose which rows a link loses.
//!
//! A branch of fewer than [`Branch::LEAVES_FROM`] rows does not keep its leaves, they are summed up when asked for.
//! All 65,536 are 512 KiB, and there when a table has some 4,096 rows; a small node never has them.

use xxhash_rust::xxh3::xxh3_64;

/// Hash of a row: XXH3-64 of the key, big end first, and the mark of its content, little end first.
#[must_use]
pub(super) fn trace(key: u128, mark: u64) -> u64 {
    let mut bytes = [0_u8; 24];
    bytes[..16].copy_from_slice(&key.to_be_bytes());
    bytes[16..].copy_from_slice(&mark.to_le_bytes());
    xxh3_64(&bytes)
}

/// The leaf of a key: its top 16 bits.
#[must_use]
pub const fn leaf_of(key: u128) -> u16 {
    (key >> 112) as u16
}

/// Digests of one branch.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    digest: u64,
    leaves: Option<Box<[u64; 256]>>,
}

impl Branch {
    /// Rows from which a branch keeps its leaves: 4,096 of a whole table.
    pub(super) const LEAVES_FROM: usize = 16;

    /// Puts a row in, or takes one out that is in.
    pub(super) fn toggle(&mut self, leaf: u8, trace: u64) {
        self.digest ^= trace;
        if let Some(leaves) = &mut self.leaves {
            leaves[usize::from(leaf)] ^= trace;
        }
    }

    /// Digest of all its rows; zero when there are none.
    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    /// Digests of its leaves; `rows` are leaf and trace of all its rows, asked for only when the digests are not kept.
    pub(super) fn leaves(&self, rows: impl Iterator<Item = (u8, u64)>) -> [u64; 256] {
        self.leaves.as_ref().map_or_else(|| sum(rows), |kept| **kept)
    }

    /// Keeps the leaves from now on; `rows` as for [`Self::leaves`].
    pub(super) fn keep(&mut self, rows: impl Iterator<Item = (u8, u64)>) {
        self.leaves.get_or_insert_with(|| Box::new(sum(rows)));
    }

    /// Keeps the leaves no longer.
    pub(super) fn drop_leaves(&mut self) {
        self.leaves = None;
    }

    /// Memory held beside itself, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.leaves.as_ref().map_or(0, |leaves| size_of_val(&**leaves))
    }
}

fn sum(rows: impl Iterator<Item = (u8, u64)>) -> [u64; 256] {
    let mut leaves = [0; 256];
    for (leaf, trace) in rows {
        leaves[usize::from(leaf)] ^= trace;
    }
    leaves
}

/// What a table holds, in 256 digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary(pub(super) Box<[u64; 256]>);

impl Summary {
    /// Digest of each branch, by the top 8 bits of the keys in it.
    #[must_use]
    pub fn branches(&self) -> &[u64; 256] {
        &self.0
    }

    /// Digest of the whole.
    #[must_use]
    pub fn root(&self) -> u64 {
        self.0.iter().fold(0, |all, branch| all ^ branch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_fixed_for_all_versions_to_come() {
        // Nodes of different versions compare digests: a change here breaks repair between them.
        assert_eq!(trace(0, 0), xxh3_64(&[0; 24]));
        assert_eq!(trace(1 << 120, 2), {
            let mut bytes = [0; 24];
            (bytes[0], bytes[16]) = (1, 2);
            xxh3_64(&bytes)
        });
        assert_eq!(leaf_of(0xabcd << 112 | 77), 0xabcd);
    }

    #[test]
    fn leaves_kept_and_leaves_summed_up_agree_and_what_leaves_leaves_no_trace() {
        let rows: Vec<(u8, u64)> = (0..40_u64).map(|n| ((n % 7) as u8, trace(u128::from(n), n))).collect();
        let mut branch = Branch::default();
        for (done, &(leaf, trace)) in rows.iter().enumerate() {
            branch.toggle(leaf, trace);
            if done == 20 {
                branch.keep(rows[..=done].iter().copied());
            }
        }
        assert_eq!(branch.leaves(std::iter::empty()), sum(rows.iter().copied()));
        for &(leaf, trace) in &rows {
            branch.toggle(leaf, trace);
        }
        assert_eq!((branch.digest(), branch.leaves(std::iter::empty())), (0, [0; 256]));
        assert_eq!(branch.bytes(), 2_048);
    }
}
