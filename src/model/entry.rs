//! Entries: what stands in a mailbox.

use super::{Conversation, Flags, Message, MessageId, Stamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One entry of a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its position; grows strictly within a mailbox (P5).
    pub pos: Stamp,
    /// What it says.
    pub what: What,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A message received or sent.
    Message {
        /// The message.
        message: Arc<Message>,
        /// How many counted messages from others this conversation has had in this mailbox, this one
        /// included. Unread counts are differences of these, so they cannot drift.
        ordinal: u32,
    },
    /// Anything else: small enough to stand in the row itself.
    Change(Change),
}

/// What an entry says that is not a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The user has read a conversation.
    Read {
        /// Which one.
        conversation: Conversation,
        /// Up to this position.
        upto: Stamp,
        /// The ordinal there.
        ordinal: u32,
        /// Whether it also left the conversation list.
        removed: bool,
    },
    /// The peer has read what the user sent.
    Receipt {
        /// Which conversation.
        conversation: Conversation,
        /// Up to and with the message of this time.
        at: Stamp,
    },
    /// A message was taken back.
    Recall {
        /// Which conversation.
        conversation: Conversation,
        /// Which message.
        id: MessageId,
        /// Its time.
        at: Stamp,
        /// User id of who took it back.
        by: Arc<str>,
        /// What he said to it; may be empty.
        extra: Arc<str>,
    },
}

/// An entry as it is written: small, pointing at the message instead of holding it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryRow {
    /// See [`What::Message`].
    Message {
        /// The message's id.
        id: MessageId,
        /// The message's time; with the conversation's log it finds the body.
        at: Stamp,
        /// The conversation as the mailbox's user sees it.
        conversation: Conversation,
        /// Whether the mailbox's user sent it.
        mine: bool,
        /// The message's flags.
        flags: Flags,
        /// See [`What::Message`].
        ordinal: u32,
    },
    /// See [`What::Change`].
    Change(Change),
}
