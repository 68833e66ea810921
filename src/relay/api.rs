//! What goes into the relay and what comes out of it.

use super::frames::Frame;
use crate::{
    gossip::{Fact, FactKey},
    model::{
        Content, Conversation, DeviceId, Entry, EntryRow, Flags, Kind, Log, Message, MessageId, NodeId,
        Parcel, Push, Reign, Stamp, UserHash, UserKey,
    },
    store::{ClaimRow, Export, Snapshot, Write},
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// A session, unique on its node until the node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A caller without a session (the server API) that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Who gets the answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReplyTo {
    /// The request `r` of a session.
    Session(SessionId, u64),
    /// A ticket.
    Ticket(Ticket),
    /// The question of that number of another node.
    Peer(NodeId, u64),
}

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

/// A session asks to be let in; its token was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The new session.
    pub session: SessionId,
    /// Its user.
    pub user: UserKey,
    /// Its device.
    pub device: DeviceId,
    /// When its token was issued.
    pub token_issued: Stamp,
    /// The last position that the device says it has.
    pub cursor: Option<Stamp>,
    /// Under which reign it was given that position; `None`: it does not say.
    pub reign: Option<Reign>,
    /// Entries pushed and not acked before the relay pauses; 1 to 1024.
    pub window: u16,
    /// Whether it wants to hear when its user's messages reach a device.
    pub delivered: bool,
    /// Its client is at another node, which took this one for the mailbox's owner: if it is not, the session is turned away.
    pub carried: bool,
}

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// A session asks to be let in.
    Open(Open),
    /// A welcomed session has sent all entries up to `at` and asks to go live there.
    Attach {
        /// The session.
        session: SessionId,
        /// The last position that was sent to it.
        at: Stamp,
    },
    /// A session is gone.
    Close {
        /// The session.
        session: SessionId,
    },
    /// A device has handled all up to `pos`.
    Ack {
        /// The session.
        session: SessionId,
        /// The position.
        pos: Stamp,
    },
    /// More waits for a live session than its bound allows: pushes to it were dropped, it has to read on.
    Lag {
        /// The session.
        session: SessionId,
    },
    /// A user wants something.
    Command {
        /// Who gets the answer.
        to: ReplyTo,
        /// The user.
        user: UserKey,
        /// What is wanted.
        command: Command,
    },
    /// The store has read what [`Effect::Load`] asked for.
    Loaded {
        /// Whose mailbox.
        user: UserKey,
        /// What it found.
        snapshot: Box<Snapshot>,
    },
    /// The store could not read what [`Effect::Load`] asked for.
    LoadFailed {
        /// Whose mailbox.
        user: UserKey,
    },
    /// The commits up to this number are durable.
    Committed {
        /// The number.
        seq: u64,
    },
    /// Retention wants a mailbox's entries up to `upto` gone.
    Trim {
        /// Whose mailbox.
        user: UserKey,
        /// The last position to go.
        upto: Stamp,
    },
    /// Retention wants a log's messages up to the time `upto` gone.
    TrimLog {
        /// Which log.
        log: Log,
        /// The last time to go.
        upto: Stamp,
    },
    /// A fact read from the store at the start.
    Fact {
        /// About what.
        key: FactKey,
        /// The fact.
        fact: Fact,
    },
    /// A claim read from the store at the start.
    Claim {
        /// On whose mailbox.
        user: UserHash,
        /// The row.
        row: ClaimRow,
    },
    /// A parcel that the store holds at the start, in order of the numbers.
    Posted {
        /// For which node.
        peer: NodeId,
        /// Its number.
        number: u64,
        /// The parcel.
        parcel: Arc<Parcel>,
    },
    /// A node is there and lives.
    MemberUp {
        /// The node.
        peer: NodeId,
    },
    /// A node is taken for dead, or has left.
    MemberDown {
        /// The node.
        peer: NodeId,
    },
    /// The link to a node is up; frames from it follow.
    LinkUp {
        /// The node.
        peer: NodeId,
    },
    /// The link to a node is gone, with all frames that were on it.
    LinkDown {
        /// The node.
        peer: NodeId,
    },
    /// A frame has come over a link.
    Frame {
        /// From which node.
        from: NodeId,
        /// The frame.
        frame: Frame,
    },
    /// The store has read what [`Effect::Export`] asked for.
    Exported {
        /// Whose mailbox.
        user: UserKey,
        /// The transfer.
        number: u64,
        /// What it found; `None`: it could not be read.
        page: Option<Box<Export>>,
    },
    /// The store has read what [`Effect::Rows`] asked for.
    Rows {
        /// Whose mailbox.
        user: UserKey,
        /// From where on (exclusive).
        after: Stamp,
        /// The rows; `None`: they could not be read.
        rows: Option<Vec<(Stamp, EntryRow)>>,
    },
    /// The store has read what [`Effect::Facts`] asked for.
    Facts {
        /// The node that is to hear them.
        peer: NodeId,
        /// The facts; none: there are no more.
        facts: Vec<(FactKey, Fact)>,
    },
    /// A parcel of a peer whose mailbox is open.
    Arrived {
        /// From which node.
        from: NodeId,
        /// Over which link.
        link: Stamp,
        /// Its number.
        number: u64,
        /// The parcel.
        parcel: Arc<Parcel>,
    },
    /// The mailbox of a user for whom parcels were held back is open.
    Redeliver {
        /// The user.
        user: UserKey,
    },
    /// A user with a mailbox in the store, found by a look through it.
    Holds {
        /// The user.
        user: UserKey,
    },
    /// That was the end of the look through the store.
    Looked,
    /// A mailbox that is to be given away is in memory.
    Leave {
        /// Whose mailbox.
        user: UserKey,
    },
    /// Give all mailboxes away and take no more.
    Drain {
        /// How long that may take, in microseconds: so long the users who are here are spread over.
        within: u64,
    },
    /// Time has passed.
    Tick,
}

/// One thing to do, in the order given.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Write these, then say [`Input::Committed`] with this number.
    Commit {
        /// Grows by one with each commit.
        seq: u64,
        /// What to write.
        writes: Vec<Write>,
    },
    /// Read what this user's mailbox needs, then say [`Input::Loaded`].
    Load(UserKey),
    /// Read the next part of a mailbox, then say [`Input::Exported`].
    Export {
        /// Whose mailbox.
        user: UserKey,
        /// The transfer.
        number: u64,
        /// From where on (exclusive).
        after: Stamp,
    },
    /// Look for a message in the store, then answer with [`Answer::Found`].
    Find {
        /// For whom.
        to: ReplyTo,
        /// Where.
        log: Log,
        /// Which.
        id: MessageId,
        /// Its time is after the first and at most the second.
        between: (Stamp, Stamp),
    },
    /// Read all rows of a mailbox, then say [`Input::Rows`].
    Rows {
        /// Whose mailbox.
        user: UserKey,
        /// From where on (exclusive).
        after: Stamp,
    },
    /// Read the facts behind `after`, some hundred at the most, then say [`Input::Facts`].
    Facts {
        /// The node that is to hear them.
        peer: NodeId,
        /// The last one that it was told.
        after: Option<FactKey>,
    },
    /// Look through the store: say [`Input::Holds`] for every mailbox in it, then [`Input::Looked`].
    Look,
    /// Hand a frame to the link; without a link it is dropped.
    Send {
        /// To which node.
        to: NodeId,
        /// The frame.
        frame: Frame,
    },
    /// The session's user is served by another node, which is reached through the link: carry it there.
    Carry {
        /// The session.
        session: SessionId,
        /// The node.
        to: NodeId,
    },
    /// Let a session in: send it entries after `start` from the store, then ask with [`Input::Attach`].
    Welcome {
        /// The session.
        session: SessionId,
        /// Where its stream starts.
        start: Stamp,
        /// Why the stream does not go on from where the device was; `None`: it does.
        why: Option<NotResumed>,
        /// Whose positions the stream has; `None` without peers.
        reign: Option<Reign>,
    },
    /// Turn a session away.
    TurnAway {
        /// The session.
        session: SessionId,
        /// Why.
        why: Refused,
    },
    /// The session is live: nothing is missing up to `pos`, and pushes follow.
    Live {
        /// The session.
        session: SessionId,
        /// The mailbox's end.
        pos: Stamp,
    },
    /// The session is not live (any more): send it what stands in the store after the last position sent, then ask
    /// again with [`Input::Attach`].
    ReadOn {
        /// The session.
        session: SessionId,
    },
    /// An entry for a live session.
    Push {
        /// The session.
        session: SessionId,
        /// The last position handed to it before.
        prev: Stamp,
        /// The entry.
        entry: Entry,
    },
    /// A status message for a session.
    Pass {
        /// The session.
        session: SessionId,
        /// The message.
        message: Arc<Message>,
    },
    /// A device of the peer has what the session's user sent.
    Delivered {
        /// The session.
        session: SessionId,
        /// Which conversation.
        conversation: Conversation,
        /// Up to and with the message of this time.
        at: Stamp,
    },
    /// A watched user came or went.
    Presence {
        /// The session that watches.
        session: SessionId,
        /// Who.
        user: UserKey,
        /// Whether it is online now.
        online: bool,
    },
    /// End a session.
    Kick {
        /// The session.
        session: SessionId,
        /// Why.
        why: KickReason,
    },
    /// The answer to a command.
    Reply {
        /// For whom.
        to: ReplyTo,
        /// The answer.
        answer: Result<Answer, Refused>,
    },
}

/// Why a stream does not go on from the device's cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotResumed {
    /// No cursor is known for the device.
    NewDevice,
    /// Retention has removed entries after the cursor.
    Trimmed,
    /// The cursor is past the mailbox's end.
    Ahead,
    /// Some positions that the device has were given by an owner that had been replaced: the stream starts before them, and
    /// some messages come again.
    Forked,
}

/// Why a session was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KickReason {
    /// Another session of the same device took its place.
    Replaced,
    /// The user was blocked.
    Blocked {
        /// Until when.
        until: Stamp,
    },
    /// The mailbox has moved to another node.
    Moved {
        /// The node.
        to: NodeId,
    },
}
