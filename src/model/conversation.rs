//! Conversations: what a user sees (kind and target), and the log in which its messages stand.

use super::{BadId, UserKey, check_id};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Conversation kinds, with the numbers that clients and the server API use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Two users; the target is the other one.
    Private = 1,
    /// A small group made by clients; the target is its id.
    Discussion = 2,
    /// A group kept by the app's back end; the target is its id.
    Group = 3,
    /// A room without mailbox entries; the target is its id.
    Chatroom = 4,
    /// A customer service desk; the target is its id.
    CustomerService = 5,
    /// From the app to one user; the target is the sender's id.
    System = 6,
}

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Private,
            2 => Self::Discussion,
            3 => Self::Group,
            4 => Self::Chatroom,
            5 => Self::CustomerService,
            6 => Self::System,
            _ => return None,
        })
    }

    /// The number that clients use.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// A conversation as one user sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Conversation {
    /// Its kind.
    pub kind: Kind,
    /// The peer, the sender of system messages, or the id of the group: never the user himself.
    #[serde(deserialize_with = "super::shared::text")]
    pub target: Arc<str>,
}

/// The name of a [`Conversation`] that is not one's own: finds it in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationName<'a> {
    /// Its kind.
    pub kind: Kind,
    /// The peer, or the id of the group.
    pub target: &'a str,
}

impl hashbrown::Equivalent<Conversation> for ConversationName<'_> {
    fn equivalent(&self, conversation: &Conversation) -> bool {
        self.kind == conversation.kind && *self.target == *conversation.target
    }
}

impl Conversation {
    /// A conversation named from outside.
    ///
    /// # Errors
    /// When `target` is not an id.
    pub fn new(kind: Kind, target: &str) -> Result<Self, BadId> {
        check_id(target)?;
        Ok(Self { kind, target: target.into() })
    }

    /// Where the messages of this conversation of `user` stand.
    #[must_use]
    pub fn log(&self, user: &UserKey) -> Log {
        match self.kind {
            Kind::Private => Log::between(user, &self.target),
            Kind::System => Log::pair(self.kind, user.app(), &self.target, user.id()),
            _ => Log::group(self.kind, user.app(), &self.target),
        }
    }
}

/// The key of a conversation's log, the same for all who take part.
///
/// Bytes: kind, app, NUL, then for two parties `a` NUL `b` NUL (private: in order of the ids;
/// system: sender, receiver), else the id of the group and NUL. Never a prefix of another log's key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Log(Vec<u8>);

impl Log {
    /// The private messages between two users of one app.
    #[must_use]
    pub fn between(user: &UserKey, other: &str) -> Self {
        let (a, b) = if user.id() <= other { (user.id(), other) } else { (other, user.id()) };
        Self::pair(Kind::Private, user.app(), a, b)
    }

    /// The system messages from one user to another.
    #[must_use]
    pub fn system(from: &UserKey, to: &str) -> Self {
        Self::pair(Kind::System, from.app(), from.id(), to)
    }

    /// The messages of a group or room.
    #[must_use]
    pub fn group(kind: Kind, app: &str, id: &str) -> Self {
        Self::single(kind, app, id)
    }

    fn pair(kind: Kind, app: &str, a: &str, b: &str) -> Self {
        let mut key = Self::head(kind, app, a.len() + b.len() + 2);
        key.extend_from_slice(a.as_bytes());
        key.push(0);
        key.extend_from_slice(b.as_bytes());
        key.push(0);
        Self(key)
    }

    fn single(kind: Kind, app: &str, id: &str) -> Self {
        let mut key = Self::head(kind, app, id.len() + 1);
        key.extend_from_slice(id.as_bytes());
        key.push(0);
        Self(key)
    }

    fn head(kind: Kind, app: &str, rest: usize) -> Vec<u8> {
        // Room for the time and id that the store puts behind it, so that it need not grow.
        let mut key = Vec::with_capacity(2 + app.len() + rest + 24);
        key.push(kind.number());
        key.extend_from_slice(app.as_bytes());
        key.push(0);
        key
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes of the key, to be built upon.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_finds_its_conversation() {
        let known = Conversation { kind: Kind::Private, target: "bo".into() };
        let mut table = hashbrown::HashMap::with_hasher(ahash::RandomState::with_seed(1));
        table.insert(known, 1);
        let find = |kind, target| table.get(&ConversationName { kind, target });
        assert_eq!(find(Kind::Private, "bo"), Some(&1));
        assert_eq!((find(Kind::System, "bo"), find(Kind::Private, "b")), (None, None));
    }

    #[test]
    fn both_sides_of_a_private_conversation_share_one_log() {
        let ann = UserKey::new("app", "ann").unwrap();
        let bo = UserKey::new("app", "bo").unwrap();
        let with_bo = Conversation::new(Kind::Private, "bo").unwrap();
        let with_ann = Conversation::new(Kind::Private, "ann").unwrap();
        assert_eq!(with_bo.log(&ann), with_ann.log(&bo));
        let system = Conversation::new(Kind::System, "bo").unwrap();
        assert_ne!(system.log(&ann), with_bo.log(&ann));
    }

    #[test]
    fn no_log_is_the_prefix_of_another() {
        let a = UserKey::new("app", "a").unwrap();
        let one = Conversation::new(Kind::Private, "b").unwrap().log(&a);
        let two = Conversation::new(Kind::Private, "bb").unwrap().log(&a);
        assert!(!two.as_bytes().starts_with(one.as_bytes()));
    }
}
