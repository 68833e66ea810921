//! The directory: replicated facts about users that every node must know.
//!
//! [`Directory`] holds those that decisions need (blocks, revocations, blacklists) in memory; names and
//! portraits are facts too but stay in the store, where whoever shows them reads them.

use super::Cell;
use crate::model::{Stamp, UserKey};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

/// What a fact is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FactKey {
    /// The user may not connect or send until the number (µs since 1970).
    Blocked(UserKey),
    /// The user's tokens issued before the number (µs since 1970) no longer connect.
    TokensBefore(UserKey),
    /// The user does not take private messages from the other user (id); the number is when he said so.
    Blacklist(UserKey, Arc<str>),
    /// Name to show.
    Name(UserKey),
    /// Address of a portrait.
    Portrait(UserKey),
    /// When the user was first registered (µs since 1970).
    Created(UserKey),
}

/// What a fact says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactValue {
    /// A number; the key says of what.
    Number(u64),
    /// A text.
    Text(Arc<str>),
}

/// A fact, as it is stored and spread.
pub type Fact = Cell<FactValue>;

/// The facts that decisions need, in memory.
#[derive(Debug, Default)]
pub struct Directory {
    facts: BTreeMap<FactKey, Fact>,
}

impl Directory {
    /// Whether [`Directory`] keeps facts of this sort in memory.
    #[must_use]
    pub const fn holds(key: &FactKey) -> bool {
        matches!(key, FactKey::Blocked(_) | FactKey::TokensBefore(_) | FactKey::Blacklist(..))
    }

    /// Takes a fact in; says whether it was news. Facts that it does not hold are always news.
    pub fn merge(&mut self, key: FactKey, fact: Fact) -> bool {
        if !Self::holds(&key) {
            return true;
        }
        match self.facts.entry(key) {
            Entry::Vacant(slot) => {
                slot.insert(fact);
                true
            }
            Entry::Occupied(mut slot) => slot.get_mut().merge(fact),
        }
    }

    fn number(&self, key: &FactKey) -> Option<u64> {
        match self.facts.get(key)?.value {
            Some(FactValue::Number(n)) => Some(n),
            _ => None,
        }
    }

    /// Until when `user` is blocked, if he is at `now`.
    #[must_use]
    pub fn blocked_until(&self, user: &UserKey, now: Stamp) -> Option<Stamp> {
        self.number(&FactKey::Blocked(user.clone())).map(Stamp).filter(|&until| until > now)
    }

    /// Whether a token of `user` issued at `issued` was revoked.
    #[must_use]
    pub fn revoked(&self, user: &UserKey, issued: Stamp) -> bool {
        self.number(&FactKey::TokensBefore(user.clone())).is_some_and(|before| issued.0 < before)
    }

    /// Whether `owner` has blacklisted `other`.
    #[must_use]
    pub fn blacklisted(&self, owner: &UserKey, other: &str) -> bool {
        // Most users blacklist nobody; the range look-up spares them the key's allocation.
        !self.facts.is_empty() && self.number(&FactKey::Blacklist(owner.clone(), other.into())).is_some()
    }

    /// Whom `owner` has blacklisted, the newest first.
    #[must_use]
    pub fn blacklist(&self, owner: &UserKey) -> Vec<Arc<str>> {
        let from = FactKey::Blacklist(owner.clone(), "".into());
        let mut found: Vec<(u64, Arc<str>)> = self
            .facts
            .range(from..)
            .map_while(|(key, fact)| match key {
                FactKey::Blacklist(of, other) if of == owner => Some((other, fact)),
                _ => None,
            })
            .filter_map(|(other, fact)| match fact.value {
                Some(FactValue::Number(since)) => Some((since, other.clone())),
                _ => None,
            })
            .collect();
        found.sort_by(|a, b| b.cmp(a));
        found.into_iter().map(|(_, other)| other).collect()
    }

    /// Users of `app` who are blocked at `now`, latest end first.
    #[must_use]
    pub fn blocked(&self, app: &str, now: Stamp) -> Vec<(UserKey, Stamp)> {
        let mut found: Vec<_> = self
            .facts
            .iter()
            .take_while(|(key, _)| matches!(key, FactKey::Blocked(_)))
            .filter_map(|(key, fact)| match (key, &fact.value) {
                (FactKey::Blocked(user), Some(FactValue::Number(until)))
                    if user.app() == app && *until > now.0 =>
                {
                    Some((user.clone(), Stamp(*until)))
                }
                _ => None,
            })
            .collect();
        found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        found
    }

    /// All facts that it holds.
    pub fn iter(&self) -> impl Iterator<Item = (&FactKey, &Fact)> {
        self.facts.iter()
    }

    /// How many facts it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserKey {
        UserKey::new("app", id).unwrap()
    }

    fn fact(stamp: u64, value: Option<u64>) -> Fact {
        Fact { stamp: Stamp(stamp), node: 0, value: value.map(FactValue::Number) }
    }

    #[test]
    fn blacklists_are_directed_and_newest_first() {
        let mut directory = Directory::default();
        for (at, other) in [(1, "bo"), (3, "cy"), (2, "di")] {
            directory.merge(FactKey::Blacklist(user("ann"), other.into()), fact(at, Some(at)));
        }
        directory.merge(FactKey::Blacklist(user("ann"), "di".into()), fact(4, None));
        directory.merge(FactKey::Blacklist(user("annabel"), "ed".into()), fact(4, Some(4)));
        let names: Vec<_> = directory.blacklist(&user("ann")).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["cy", "bo"]);
        assert!(directory.blacklisted(&user("ann"), "bo") && !directory.blacklisted(&user("bo"), "ann"));
        assert!(!directory.blacklisted(&user("ann"), "di"));
    }

    #[test]
    fn a_block_ends_and_an_older_fact_does_not_bring_it_back() {
        let mut directory = Directory::default();
        assert!(directory.merge(FactKey::Blocked(user("ann")), fact(10, Some(500))));
        assert_eq!(directory.blocked_until(&user("ann"), Stamp(499)), Some(Stamp(500)));
        assert_eq!(directory.blocked_until(&user("ann"), Stamp(500)), None);
        assert!(directory.merge(FactKey::Blocked(user("ann")), fact(11, None)));
        assert!(!directory.merge(FactKey::Blocked(user("ann")), fact(10, Some(500))));
        assert!(directory.blocked("app", Stamp(0)).is_empty());
    }

    #[test]
    fn only_tokens_issued_before_the_moment_are_revoked() {
        let mut directory = Directory::default();
        directory.merge(FactKey::TokensBefore(user("ann")), fact(1, Some(100)));
        assert!(directory.revoked(&user("ann"), Stamp(99)));
        assert!(!directory.revoked(&user("ann"), Stamp(100)));
        assert!(!directory.revoked(&user("bo"), Stamp(99)));
    }
}
