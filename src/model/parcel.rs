//! What one node hands another for a mailbox that it does not own itself.

use super::{Conversation, Message, Stamp, UserKey};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something for a mailbox, on its way to the node that owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// What a parcel holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Item {
    /// A message for the mailbox's user.
    Message(Arc<Message>),
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
        message: Arc<Message>,
        /// User id of who took it back.
        by: Arc<str>,
        /// What he said to it; may be empty.
        extra: Arc<str>,
    },
}
