//! What goes into the relay and what comes out of it.

mod request;

pub use request::*;

use super::frames::Frame;
use crate::{
    gossip::{Fact, FactKey},
    model::{
        Conversation, DeviceId, Entry, EntryRow, Log, Message, MessageId, NodeId, Parcel, Reign, Stamp,
        UserHash, UserKey,
    },
    store::{ClaimRow, Export, Snapshot, Write},
};
use std::sync::Arc;

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
        /// The parcel; `None` when retention has removed its message.
        parcel: Option<Arc<Parcel>>,
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
