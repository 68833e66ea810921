//! Presence: who owns each user, and whether he is online. Every node holds it whole.
//!
//! Purpose: answer "where is this user" from memory, and agree on the answer with every other node.
//!
//! A claim says that a node owns a user. Of two claims the higher (term, owner, stamp, online) wins: a term is raised
//! to move a user; owners that took one term in a partition are told apart by their numbers before their stamps are looked
//! at, so that they never flip each other; the stamp orders what one owner says under one term.
//!
//! Invariants: merging is a [`Table`]'s; the counts by owner are those of the rows at any moment.
//! Bounds: 32 bytes a user are the row itself, at most 48 with everything around it (measured: see
//! `presence_at_a_million`).

use super::{Merged, Row, Table, sync::Replica};
use crate::model::{NodeId, Reign, Stamp, UserHash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// That a node owns a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// Raised whenever the user gets another owner.
    pub term: u32,
    /// Who holds the user's mailbox.
    pub owner: NodeId,
    /// When the owner said so. At most [`Stamp::MAX`].
    pub stamp: Stamp,
    /// Whether any device of the user is connected anywhere.
    pub online: bool,
}

/// The highest term that a node believes.
const MAX_TERM: u32 = u32::MAX / 2;
/// The latest stamp that a node believes of another: half of [`Stamp::MAX`], in the year 2112. Whoever took in a later one could not go
/// on from there.
pub const LATEST: Stamp = Stamp(Stamp::MAX.0 / 2);

impl Claim {
    /// The reign that it speaks of.
    #[must_use]
    pub const fn reign(&self) -> Reign {
        Reign { term: self.term, owner: self.owner }
    }

    /// Whether it can be: some node owns it, and neither its term nor its stamp leaves no room for later ones.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.owner.0 != 0 && self.term <= MAX_TERM && self.stamp.0 <= LATEST.0
    }
}

/// A [`Claim`] as it is held and sent between nodes: 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ClaimRow {
    // In the order of precedence: the derived order is the claim's.
    term: u32,
    owner: NodeId,
    /// Stamp, and online in the lowest bit.
    when: u64,
}

impl From<Claim> for ClaimRow {
    fn from(claim: Claim) -> Self {
        let when = claim.stamp.min(Stamp::MAX).0 << 1 | u64::from(claim.online);
        Self { term: claim.term, owner: claim.owner, when }
    }
}

impl From<ClaimRow> for Claim {
    fn from(row: ClaimRow) -> Self {
        Self { term: row.term, owner: row.owner, stamp: Stamp(row.when >> 1), online: row.when & 1 == 1 }
    }
}

impl std::fmt::Debug for ClaimRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Claim::from(*self).fmt(f)
    }
}

impl Row for ClaimRow {
    /// Postcard: two `u32` of up to five bytes, a `u64` below 2^54 of up to eight.
    const COST: usize = 18;

    fn mark(&self) -> u64 {
        let mut bytes = [0_u8; 16];
        bytes[..4].copy_from_slice(&self.term.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.owner.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.when.to_le_bytes());
        xxh3_64(&bytes)
    }

    fn beats(&self, other: &Self) -> bool {
        self > other
    }

    fn sound(&self) -> bool {
        Claim::from(*self).is_sound()
    }
}

/// How many users a node owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// All of them.
    pub users: usize,
    /// Those online.
    pub online: usize,
}

/// The claims of all users.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    claims: Table<ClaimRow>,
    owners: BTreeMap<NodeId, Owned>,
}

impl Presence {
    /// Nobody claimed. `salt` as for [`Table::salted`].
    #[must_use]
    pub fn salted(salt: u64) -> Self {
        Self { claims: Table::salted(salt), owners: BTreeMap::new() }
    }

    /// The highest claim on `user` that was heard of.
    #[must_use]
    pub fn claim(&self, user: UserHash) -> Option<Claim> {
        self.claims.get(user.0).map(Claim::from)
    }

    /// Takes a claim in if it beats the one there.
    pub fn merge(&mut self, user: UserHash, claim: Claim) -> Merged<Claim> {
        match self.merge_row(user.0, claim.into()) {
            Merged::Stale => Merged::Stale,
            Merged::Same => Merged::Same,
            Merged::New => Merged::New,
            Merged::Replaced(old) => Merged::Replaced(old.into()),
        }
    }

    /// Forgets `user` here. A node that still has the claim brings it back with the next repair.
    pub fn forget(&mut self, user: UserHash) -> Option<Claim> {
        let row = self.claims.remove(user.0)?;
        self.count_out(row);
        Some(row.into())
    }

    fn count_in(&mut self, row: ClaimRow) {
        let owned = self.owners.entry(row.owner).or_default();
        owned.users += 1;
        owned.online += (row.when & 1) as usize;
    }

    fn count_out(&mut self, row: ClaimRow) {
        if let Some(owned) = self.owners.get_mut(&row.owner) {
            owned.users -= 1;
            owned.online -= (row.when & 1) as usize;
            if owned.users == 0 {
                self.owners.remove(&row.owner);
            }
        }
    }

    /// How many users `node` owns.
    #[must_use]
    pub fn owned(&self, node: NodeId) -> Owned {
        self.owners.get(&node).copied().unwrap_or_default()
    }

    /// All nodes that own users, by number.
    pub fn owners(&self) -> impl Iterator<Item = (NodeId, Owned)> {
        self.owners.iter().map(|(&node, &owned)| (node, owned))
    }

    /// The users that `node` owns. One pass over all claims; to spread it over time see [`Self::owned_in`].
    pub fn owned_by(&self, node: NodeId) -> impl Iterator<Item = (UserHash, Claim)> {
        (0..=255).flat_map(move |part| self.owned_in(part, node))
    }

    /// The users that `node` owns in one of 256 parts of the table.
    pub fn owned_in(&self, part: u8, node: NodeId) -> impl Iterator<Item = (UserHash, Claim)> {
        let claims = self.claims.branch(part).filter(move |(_, row)| row.owner == node);
        claims.map(|(key, row)| (UserHash(key), row.into()))
    }

    /// All claims.
    pub fn iter(&self) -> impl Iterator<Item = (UserHash, Claim)> {
        self.claims.iter().map(|(key, row)| (UserHash(key), row.into()))
    }

    /// How many users are known.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether no user is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Memory held, in bytes, spare room included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.claims.bytes() + self.owners.len() * size_of::<(NodeId, Owned)>()
    }
}

impl Replica for Presence {
    type Row = ClaimRow;

    fn table(&self) -> &Table<ClaimRow> {
        &self.claims
    }

    fn merge_row(&mut self, key: u128, row: ClaimRow) -> Merged<ClaimRow> {
        let merged = self.claims.merge(key, row);
        match merged {
            Merged::New => self.count_in(row),
            // Most changes leave the owner what he was.
            Merged::Replaced(old) if old.owner == row.owner => {
                if let Some(owned) = self.owners.get_mut(&row.owner) {
                    owned.online = owned.online + (row.when & 1) as usize - (old.when & 1) as usize;
                }
            }
            Merged::Replaced(old) => {
                self.count_in(row);
                self.count_out(old);
            }
            Merged::Stale | Merged::Same => {}
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim(term: u32, owner: u32, stamp: u64, online: bool) -> Claim {
        Claim { term, owner: NodeId(owner), stamp: Stamp(stamp), online }
    }

    fn claims() -> impl Strategy<Value = Claim> {
        (0_u32..3, 1_u32..4, 0_u64..4, any::<bool>()).prop_map(|(t, o, s, on)| claim(t, o, s, on))
    }

    proptest! {
        #[test]
        fn a_row_is_its_claim_and_has_its_order(a in claims(), b in claims()) {
            prop_assert_eq!(Claim::from(ClaimRow::from(a)), a);
            let beats = ClaimRow::from(a).beats(&b.into());
            prop_assert_eq!(beats, (a.term, a.owner, a.stamp, a.online) > (b.term, b.owner, b.stamp, b.online));
            prop_assert_eq!(a == b, ClaimRow::from(a).mark() == ClaimRow::from(b).mark());
        }

        #[test]
        fn counts_are_those_of_the_rows(all in proptest::collection::vec((0_u128..20, claims()), 0..200)) {
            let mut presence = Presence::default();
            for (n, &(user, claim)) in all.iter().enumerate() {
                presence.merge(UserHash(user), claim);
                if n % 7 == 0 {
                    presence.forget(UserHash(user));
                }
            }
            let mut counted = BTreeMap::<NodeId, Owned>::new();
            for (_, claim) in presence.iter() {
                let owned = counted.entry(claim.owner).or_default();
                owned.users += 1;
                owned.online += usize::from(claim.online);
            }
            for node in (0..5).map(NodeId) {
                prop_assert_eq!(presence.owned(node), counted.get(&node).copied().unwrap_or_default());
                prop_assert_eq!(presence.owned_by(node).count(), presence.owned(node).users);
            }
            prop_assert_eq!(presence.owners().collect::<BTreeMap<_, _>>(), counted);
        }
    }

    #[test]
    fn owners_of_one_term_never_flip_each_other() {
        let (user, mut presence) = (UserHash(9), Presence::default());
        presence.merge(user, claim(4, 2, 10, true));
        assert_eq!(presence.merge(user, claim(4, 1, 99, true)), Merged::Stale);
        assert_eq!(presence.merge(user, claim(4, 2, 11, false)), Merged::Replaced(claim(4, 2, 10, true)));
        assert_eq!(presence.merge(user, claim(5, 1, 0, false)), Merged::Replaced(claim(4, 2, 11, false)));
        assert_eq!(presence.claim(user).unwrap().owner, NodeId(1));
        assert_eq!((presence.owned(NodeId(2)), presence.owned(NodeId(1)).users), (Owned::default(), 1));
    }

    #[test]
    fn a_claim_that_leaves_no_room_for_later_ones_is_none() {
        let sound = claim(MAX_TERM, 1, LATEST.0, true);
        assert!(sound.is_sound() && ClaimRow::from(sound).sound());
        for bad in [claim(MAX_TERM + 1, 1, 0, true), claim(1, 0, 0, true), claim(1, 1, LATEST.0 + 1, false)] {
            assert!(!bad.is_sound() && !ClaimRow::from(bad).sound(), "{bad:?}");
        }
    }

    #[test]
    fn a_row_costs_no_more_on_the_wire_than_it_says() {
        let row = ClaimRow::from(claim(u32::MAX, u32::MAX, u64::MAX, true));
        assert!(!row.sound());
        let bytes = postcard::to_stdvec(&row).unwrap();
        assert_eq!(bytes.len(), ClaimRow::COST);
        assert_eq!(postcard::from_bytes::<ClaimRow>(&bytes).unwrap(), row);
        assert_eq!(size_of::<ClaimRow>(), 16);
    }
}
