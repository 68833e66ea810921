//! The presence table.

use crate::model::{NodeId, Reign, Stamp, UserHash};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who owns a user's mailbox, and whether the user is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The owner.
    pub owner: NodeId,
    /// Grows with each new owner.
    pub term: u32,
    /// When the owner said so; orders what one owner says in one term.
    pub stamp: Stamp,
    /// Whether the user has a session.
    pub online: bool,
}

impl Claim {
    fn rank(&self) -> (u32, NodeId, Stamp, bool) {
        (self.term, self.owner, self.stamp, self.online)
    }
    /// Whether this one replaces `other`.
    #[must_use]
    pub fn beats(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }
    /// The reign that it speaks of.
    #[must_use]
    pub const fn reign(&self) -> Reign {
        Reign { term: self.term, owner: self.owner }
    }
}

/// What became of a row that was merged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged<R> {
    /// Older than what is there.
    Stale,
    /// The same.
    Same,
    /// There was none.
    New,
    /// It replaced this one.
    Replaced(R),
}

/// All claims.
#[derive(Debug, Default)]
pub struct Presence(BTreeMap<UserHash, Claim>);

impl Presence {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// The claim on `user`.
    #[must_use]
    pub fn claim(&self, user: UserHash) -> Option<Claim> {
        self.0.get(&user).copied()
    }
    /// Takes a claim in.
    pub fn merge(&mut self, user: UserHash, claim: Claim) -> Merged<Claim> {
        match self.0.get_mut(&user) {
            None => {
                self.0.insert(user, claim);
                Merged::New
            }
            Some(old) if *old == claim => Merged::Same,
            Some(old) if claim.beats(old) => Merged::Replaced(std::mem::replace(old, claim)),
            Some(_) => Merged::Stale,
        }
    }
    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = (UserHash, Claim)> + '_ {
        self.0.iter().map(|(user, claim)| (*user, *claim))
    }
}
