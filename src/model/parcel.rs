//! What one node hands another for a mailbox that it does not own itself.

use super::{Conversation, Kind, Message, Stamp, UserKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::sync::Arc;

/// Something for a mailbox, on its way to the node that owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Whose mailbox.
    pub to: UserKey,
    /// Whose doing it is: what one user sends another keeps its order.
    pub from: UserKey,
    /// What it is.
    pub item: Item,
    /// Set when the mailbox may have it already: then its owner looks at all that came after this position.
    pub since: Option<Stamp>,
}

/// A parcel as it is written. The usual one, with a private message for its addressee, does not name the two users again.
#[derive(Serialize, Deserialize)]
struct Written<Item, Key> {
    item: Item,
    since: Option<Stamp>,
    /// To whom and from whom, where the item does not say it.
    users: Option<(Key, Key)>,
}

impl Parcel {
    /// Whether the parcel is a private message for its addressee, from its sender: then the message names both.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let Item::Message(message) = &self.item else { return false };
        message.kind == Kind::Private
            && message.from == self.from
            && message.from.app() == self.to.app()
            && *message.to == *self.to.id()
    }
}

impl Serialize for Parcel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let users = (!self.is_plain()).then_some((&self.to, &self.from));
        Written { item: &self.item, since: self.since, users }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Parcel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { item, since, users } = Written::<Item, UserKey>::deserialize(deserializer)?;
        let (to, from) = match (users, &item) {
            (Some(users), _) => users,
            (None, Item::Message(message)) if message.kind == Kind::Private => {
                let to = message.from.sibling(&message.to);
                (to.map_err(|bad| D::Error::custom(format!("addressee {bad}")))?, message.from.clone())
            }
            (None, _) => return Err(D::Error::custom("the parcel names nobody")),
        };
        Ok(Self { to, from, item, since })
    }
}

/// What a parcel holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// A message for the mailbox's user.
    Message(#[serde(deserialize_with = "super::shared::value")] Arc<Message>),
    /// The user's messages of a conversation were read up to and with the one of this time.
    Receipt {
        /// The conversation, as the mailbox's user sees it.
        conversation: Conversation,
        /// The time of the last message that was read.
        at: Stamp,
    },
    /// A message was taken back.
    Recall {
        /// The message as it stands now.
        #[serde(deserialize_with = "super::shared::value")]
        message: Arc<Message>,
        /// User id of who took it back.
        by: Arc<str>,
        /// What he said to it; may be empty.
        extra: Arc<str>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Content, Flags, MessageId};

    fn parcel(kind: Kind, from: &str, to: &str, for_user: &str) -> Parcel {
        let user = |id| UserKey::new("app", id).unwrap();
        let message = Message {
            id: MessageId(7),
            kind,
            from: user(from),
            to: to.into(),
            at: Stamp(5),
            class: "RC:TxtMsg".into(),
            content: Content::empty(),
            flags: Flags::STORED,
            cid: "c".into(),
            push: None,
        };
        Parcel { to: user(for_user), from: user(from), item: Item::Message(Arc::new(message)), since: None }
    }

    #[test]
    fn the_usual_parcel_names_its_users_once_and_all_read_back() {
        let written = |parcel: &Parcel| postcard::to_allocvec(parcel).unwrap();
        let usual = parcel(Kind::Private, "ann", "bo", "bo");
        assert!(usual.is_plain());
        let ann = |bytes: &[u8]| bytes.windows(7).filter(|part| *part == b"app\0ann").count();
        assert_eq!(ann(&written(&usual)), 1);
        let receipt = Item::Receipt {
            conversation: Conversation { kind: Kind::Private, target: "ann".into() },
            at: Stamp(3),
        };
        for other in [
            parcel(Kind::Private, "ann", "bo", "cy"),
            parcel(Kind::System, "ann", "bo", "bo"),
            Parcel { from: usual.to.clone(), ..usual.clone() },
            Parcel { item: receipt, since: Some(Stamp(1)), ..usual.clone() },
        ] {
            assert!(!other.is_plain());
            assert_eq!(postcard::from_bytes(&written(&other)), Ok(other));
        }
        assert_eq!(postcard::from_bytes(&written(&usual)), Ok(usual));
    }

    #[test]
    fn a_parcel_that_names_nobody_and_a_bad_addressee_are_refused() {
        let system = parcel(Kind::System, "ann", "bo", "bo");
        let control = parcel(Kind::Private, "ann", "b\no", "bo");
        for Parcel { item, since, .. } in [system, control] {
            let written = Written::<_, UserKey> { item, since, users: None };
            assert!(postcard::from_bytes::<Parcel>(&postcard::to_allocvec(&written).unwrap()).is_err());
        }
    }
}
