//! When each fact was last written: what nodes compare to repair their directories.
//!
//! Purpose: facts stand in the store and may be large; to find the ones another node lacks, a node needs of each only
//! who wrote it when. That is a row of 12 bytes under a hash of the fact's key.
//!
//! Keys are chosen by app back ends. The hash is the first 16 bytes of a SHA-256, so nobody can make two keys with one
//! hash, of which one would hide the other. Whoever keeps facts must be able to find them by this hash.

use super::{FactKey, Merged, Row, Table};
use crate::model::{NodeId, Stamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_64;

/// The number of a fact's key: the first 16 bytes of the SHA-256 of its postcard form.
#[must_use]
pub fn fact_hash(key: &FactKey) -> u128 {
    // Writing into a growing vector cannot fail; a key has nothing that postcard cannot write.
    let digest = Sha256::digest(postcard::to_stdvec(key).unwrap_or_default());
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(bytes)
}

/// Who wrote a fact when; the order of [`super::Cell`]: later wins, then the higher node.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactMark {
    /// Upper and lower half of the stamp: two words pack closer to a key than one of eight bytes would.
    stamp: [u32; 2],
    node: u32,
}

impl FactMark {
    /// Written at `stamp` by `node`.
    #[must_use]
    pub const fn new(stamp: Stamp, node: NodeId) -> Self {
        Self { stamp: [(stamp.0 >> 32) as u32, stamp.0 as u32], node: node.0 }
    }

    /// When it was written.
    #[must_use]
    pub const fn stamp(self) -> Stamp {
        Stamp((self.stamp[0] as u64) << 32 | self.stamp[1] as u64)
    }

    /// Who wrote it.
    #[must_use]
    pub const fn node(self) -> NodeId {
        NodeId(self.node)
    }
}

impl std::fmt::Debug for FactMark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.node(), self.stamp())
    }
}

impl Row for FactMark {
    /// Of the fact that is sent in its stead, roughly: it sets the pace, not the size of messages.
    const COST: usize = 240;

    fn mark(&self) -> u64 {
        let mut bytes = [0_u8; 12];
        bytes[..8].copy_from_slice(&self.stamp().0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.node.to_le_bytes());
        xxh3_64(&bytes)
    }

    fn beats(&self, other: &Self) -> bool {
        (self.stamp, self.node) > (other.stamp, other.node)
    }

    fn sound(&self) -> bool {
        self.stamp() <= Stamp::MAX
    }
}

/// The marks of all facts of a node.
#[derive(Clone, Debug, Default)]
pub struct FactMarks(Table<FactMark>);

impl FactMarks {
    /// No facts. `salt` as for [`Table::salted`].
    #[must_use]
    pub fn salted(salt: u64) -> Self {
        Self(Table::salted(salt))
    }

    /// Takes in that the fact `key` (see [`fact_hash`]) was written. Says whether that is the latest heard of.
    ///
    /// To be called when the fact itself has been taken in: a mark says that the node has the fact.
    pub fn merge(&mut self, key: u128, mark: FactMark) -> Merged<FactMark> {
        self.0.merge(key, mark)
    }

    /// When the fact `key` was written, if it is here.
    #[must_use]
    pub fn get(&self, key: u128) -> Option<FactMark> {
        self.0.get(key)
    }

    /// What [`super::Repair::compare`] takes.
    #[must_use]
    pub const fn table(&self) -> &Table<FactMark> {
        &self.0
    }

    /// How many facts there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Memory held, in bytes, spare room included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gossip::{Cell, FactValue},
        model::UserKey,
    };
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn marks_have_the_order_of_the_facts(a in (0_u64..9, 0_u32..3), b in (0_u64..9, 0_u32..3), high in any::<bool>()) {
            let up = u64::from(high) << 40;
            let cell = |(stamp, node)| Cell { stamp: Stamp(stamp + up), node, value: Some(FactValue::Number(1)) };
            let mark = |(stamp, node)| FactMark::new(Stamp(stamp + up), NodeId(node));
            prop_assert_eq!(mark(a).beats(&mark(b)), cell(a).beats(&cell(b)));
            prop_assert_eq!((mark(a).stamp().0, mark(a).node().0), (a.0 + up, a.1));
            prop_assert_eq!(mark(a).mark() == mark(b).mark(), a == b);
        }
    }

    #[test]
    fn every_part_of_a_key_is_in_its_hash() {
        let user = |app, id| UserKey::new(app, id).unwrap();
        let keys = [
            FactKey::Name(user("app", "ann")),
            FactKey::Portrait(user("app", "ann")),
            FactKey::Name(user("ap", "pann")),
            FactKey::Blacklist(user("app", "ann"), "bo".into()),
            FactKey::Blacklist(user("app", "ann"), "b".into()),
        ];
        let hashes: std::collections::BTreeSet<u128> = keys.iter().map(fact_hash).collect();
        assert_eq!(hashes.len(), keys.len());
        // Fixed for all versions to come: nodes compare it.
        assert_eq!(fact_hash(&keys[0]) >> 120, u128::from(Sha256::digest(b"\x03\x07app\0ann")[0]));
    }
}
