//! What users, and the server API, ask of the relay, and what they are told.
//!
//! Between nodes they travel as they are, in [`Frame::Ask`](super::Frame::Ask) and [`Frame::Answer`](super::Frame::Answer).

use crate::model::{Content, Conversation, Flags, Kind, Log, Message, MessageId, Push, Stamp, UserKey};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The client's id of the send: 1 to 64 bytes. The same again is the same message.
    pub cid: Arc<str>,
    /// Private or system; other kinds are refused.
    pub kind: Kind,
    /// User id of the addressee.
    pub to: Arc<str>,
    /// Message class.
    pub class: Arc<str>,
    /// Content.
    pub content: Content,
    /// [`Flags::COUNTED`], [`Flags::STORED`], [`Flags::STATUS`], [`Flags::MENTIONED`], [`Flags::NO_SENDER_COPY`].
    pub flags: Flags,
    /// For a push service.
    pub push: Option<Box<Push>>,
    /// Whether the addressee's blacklist counts: always for clients, on demand for the server API.
    pub check_blacklist: bool,
    /// It may have been accepted before, perhaps by another node: whoever asks has asked already and heard nothing.
    pub again: bool,
}

/// What a user, or the server API in a user's name, wants done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Send a message.
    Send(Outgoing),
    /// Mark a conversation as read.
    Read {
        /// Which one.
        conversation: Conversation,
        /// An entry of it, as the store has it: its position, the ordinal there and its message's time. `None`: all.
        upto: Option<ReadMark>,
        /// Also take it off the conversation list.
        remove: bool,
    },
    /// Take back a message, which the caller has read from the store and whose sender it has checked.
    Recall {
        /// The message as it stands.
        original: Arc<Message>,
        /// Something to say to it.
        extra: Arc<str>,
    },
    /// A message of a conversation of the user, as the owner of the user's mailbox has it.
    Find {
        /// The conversation's log.
        log: Log,
        /// The message's id.
        id: MessageId,
        /// Its time is after this, and at most the second.
        between: (Stamp, Stamp),
    },
    /// The user's conversations, newest first.
    Conversations {
        /// Those whose newest message stands before this position (exclusive).
        before: Stamp,
        /// At most so many.
        limit: usize,
    },
    /// One conversation.
    Conversation(Conversation),
    /// The sum of all unread counts.
    Unread,
    /// Put `other` on the user's blacklist.
    Block(Arc<str>),
    /// Take `other` off it.
    Unblock(Arc<str>),
    /// The user's blacklist.
    Blacklist,
    /// Which of these users are online (the caller has checked the ids).
    Online(Vec<UserKey>),
    /// Replace the session's watch list (session only); answers who is online.
    Watch(Vec<UserKey>),
    /// Change the directory (server API only).
    Direct(Directive),
    /// Users of the app who are blocked, with the end (server API only).
    Blocked,
}

/// Where a read watermark is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadMark {
    /// Position of an entry of the conversation.
    pub pos: Stamp,
    /// Ordinal of that entry.
    pub ordinal: u32,
    /// Time of that entry's message.
    pub at: Stamp,
}

/// A change of the directory, about the user that the command names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Directive {
    /// Register the user or change what is given.
    PutUser {
        /// New name.
        name: Option<Arc<str>>,
        /// New portrait.
        portrait: Option<Arc<str>>,
        /// Whether the user is to count as registered from now on, if it was not yet.
        create: bool,
    },
    /// Cut the user off until then.
    Block {
        /// Until when.
        until: Stamp,
    },
    /// Let the user in again.
    Unblock,
    /// Tokens of the user issued before `before` no longer connect.
    ExpireTokens {
        /// The moment.
        before: Stamp,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// A message is on disk.
    Sent {
        /// Its id.
        id: MessageId,
        /// Its time.
        at: Stamp,
        /// Its place in the sender's mailbox, when there is one.
        place: Option<Place>,
        /// Whether it was there before.
        dup: bool,
    },
    /// A status message went out.
    Passed {
        /// Its id.
        id: MessageId,
        /// Its time.
        at: Stamp,
    },
    /// Read; so many are left unread.
    Read {
        /// Unread messages left in the conversation.
        unread: u32,
        /// Its place in the mailbox, when anything changed.
        place: Option<Place>,
    },
    /// Taken back.
    Recalled {
        /// Its place in the recaller's mailbox.
        place: Option<Place>,
    },
    /// Conversations, newest first, and whether there are more.
    Conversations(Vec<ConversationState>, bool),
    /// One conversation, if there is one.
    Conversation(Option<ConversationState>),
    /// Sum of unread counts.
    Unread(u64),
    /// The message that was looked for.
    Found(Option<Arc<Message>>),
    /// User ids.
    Users(Vec<Arc<str>>),
    /// Blocked users and until when.
    Blocked(Vec<(UserKey, Stamp)>),
    /// Done, durably.
    Done,
}

impl Answer {
    /// Its place in the mailbox, when it has one.
    #[must_use]
    pub const fn place(&self) -> Option<Place> {
        match self {
            Self::Sent { place, .. } | Self::Read { place, .. } | Self::Recalled { place } => *place,
            _ => None,
        }
    }

    /// The same answer, with its place in the mailbox.
    #[must_use]
    pub fn placed(self, at: Place) -> Self {
        match self {
            Self::Sent { id, at: time, dup, .. } => Self::Sent { id, at: time, place: Some(at), dup },
            Self::Read { unread, .. } => Self::Read { unread, place: Some(at) },
            Self::Recalled { .. } => Self::Recalled { place: Some(at) },
            other => other,
        }
    }
}

/// Where in the mailbox of the one who asked an answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The entry's position.
    pub pos: Stamp,
    /// The last position handed to this session before it; `None` when the session is not live, and will
    /// get the entry with its next page.
    pub prev: Option<Stamp>,
}

/// A conversation as its user has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationState {
    /// Which one.
    pub conversation: Conversation,
    /// Position of the newest stored message.
    pub last: Stamp,
    /// Its time.
    pub last_at: Stamp,
    /// Its id.
    pub last_id: MessageId,
    /// Unread messages.
    pub unread: u32,
    /// The user's own watermark (position).
    pub read: Stamp,
    /// The peer's watermark (message time).
    pub peer_read: Stamp,
    /// How far the peer's devices have got, when its mailbox is in memory: newer than what the store has of it.
    pub peer_delivered: Option<Stamp>,
}

/// Why a command was refused. No variant leaves a trace in the store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refused {
    /// The addressee has the sender on its blacklist.
    #[error("{to} does not take messages from the sender")]
    Blacklisted {
        /// The addressee.
        to: Arc<str>,
    },
    /// The user is blocked by the server API.
    #[error("the user is blocked until {until} (microseconds since 1970)")]
    UserBlocked {
        /// Until when.
        until: Stamp,
    },
    /// The token was issued before the user's tokens were revoked.
    #[error("the token was revoked; get a new one from the app's back end")]
    TokenRevoked,
    /// The kind of conversation is not one that this node takes from this caller.
    #[error("conversation kind {} is not supported here", kind.number())]
    Unsupported {
        /// The kind.
        kind: Kind,
    },
    /// A field is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The thing named is not there.
    #[error("{0}")]
    NotFound(String),
    /// The node has more to do than its bounds allow; nothing was stored.
    #[error("the node is busy, try again in {0:?}")]
    Busy(Duration),
    /// The disk failed; the node is stopping.
    #[error("the node cannot reach its store")]
    Failed,
    /// The user's mailbox is on another node; nothing was stored.
    #[error("the user is served by another node now")]
    Elsewhere,
    /// The session or node ended before the answer came.
    #[error("the session ended")]
    Ended,
}
