//! Floor 3: the disk.
//!
//! Purpose: write what `relay` decided, so that what was acknowledged survives `kill -9` and power loss
//! (P1, P2), and read it back.
//! Flow: `relay` → [`Write`]s → [`GroupCommit`] (a thread of its own) → [`Store::commit`], one fsync a batch →
//! `done`. Reads go past all that, straight to [`Store`]'s other methods.
//! Invariants: a batch is written whole or not at all, and in order; nothing of a batch can be read before
//! it is durable.

pub mod codec;
mod commit;
pub mod doubles;
pub mod embedded;
pub mod memory;

pub use commit::{Batch, Committed, GroupCommit};
pub use embedded::{Embedded, Finding, Lost, Options, RepairReport, inspect, repair};

use crate::{
    gossip::{Fact, FactKey},
    model::{
        Conversation, DeviceId, Entry, EntryRow, Epoch, Kind, Log, Message, MessageId, NodeId, Parcel, Reign,
        Stamp, UserHash, UserKey,
    },
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};

/// One thing to write. A commit is a list of them, applied in order and together.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// A message into the log of its conversation; replaces the message of the same time and id.
    Body(Arc<Message>),
    /// An entry into a mailbox.
    Entry {
        /// Whose mailbox.
        user: UserKey,
        /// Its position.
        pos: Stamp,
        /// What it says.
        row: EntryRow,
    },
    /// The checkpoint of a mailbox: replaces its row.
    Mailbox {
        /// Whose mailbox.
        user: UserKey,
        /// The row.
        row: MailboxRow,
    },
    /// The checkpoint of a conversation of a user: replaces its row.
    Conversation {
        /// Whose.
        user: UserKey,
        /// Which.
        conversation: Conversation,
        /// The row.
        row: ConversationRow,
    },
    /// A fact of the directory: replaces one about the same, unless that is later.
    Fact {
        /// About what.
        key: FactKey,
        /// The fact.
        fact: Fact,
    },
    /// Who owns a mailbox: replaces its row.
    Claim {
        /// Whose mailbox.
        user: UserHash,
        /// The row.
        row: ClaimRow,
    },
    /// A parcel into the outbox for another node.
    Outbox {
        /// The node.
        peer: NodeId,
        /// Its place in the outbox, after those of all parcels that are there.
        number: u64,
        /// The parcel.
        parcel: Arc<Parcel>,
        /// Its message stands in its log, by this commit or an earlier one: the row need not hold it.
        logged: bool,
    },
    /// Removes parcels of an outbox, both ends included; some of them may be gone already.
    OutboxDone {
        /// The node.
        peer: NodeId,
        /// The first to go.
        from: u64,
        /// The last to go.
        upto: u64,
    },
    /// Removes a mailbox: entries, checkpoint, conversations. Messages stay in their logs.
    Forget {
        /// Whose mailbox.
        user: UserKey,
    },
    /// Removes a mailbox's entries up to and with `upto` (retention).
    TrimMailbox {
        /// Whose mailbox.
        user: UserKey,
        /// The last position to go.
        upto: Stamp,
    },
    /// Removes a log's messages up to and with the time `upto` (retention).
    TrimLog {
        /// Which log.
        log: Log,
        /// The last time to go.
        upto: Stamp,
    },
}

/// A device and how far it has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// The device.
    pub device: DeviceId,
    /// The last position it has acked.
    pub cursor: Stamp,
    /// When it was last here; the longest gone are forgotten first.
    pub seen: Stamp,
    /// When it came here first, without having been anywhere else; zero: it had been, or nobody knows.
    pub born: Stamp,
}

/// Who owns a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimRow {
    /// Owner and term.
    pub reign: Reign,
    /// When the owner last said so.
    pub stamp: Stamp,
    /// On the owner itself: the reigns that the mailbox's positions come from, oldest first, the owner's own last.
    pub chain: Vec<Epoch>,
}

/// Checkpoint of a mailbox: what can be worked out from its entries up to `last`, and what cannot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxRow {
    /// Position of the last entry that this checkpoint counts in.
    pub last: Stamp,
    /// Entries up to here were removed by retention.
    pub trimmed: Stamp,
    /// The user's devices.
    pub devices: Vec<DeviceRow>,
    /// Ids of the user's own latest sends, oldest first, with message time and position.
    pub sent: Vec<SentRow>,
    /// Until then a send may be a retry of one that a former owner accepted.
    pub doubtful_until: Stamp,
}

/// One of a user's own sends, remembered so that the same send again is the same message (P3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRow {
    /// Message id.
    pub id: MessageId,
    /// Message time.
    pub at: Stamp,
    /// Position in the sender's mailbox; zero when the sender keeps no copy.
    pub pos: Stamp,
}

/// Checkpoint of a conversation of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationRow {
    /// Position of the newest stored message; zero: none.
    pub last: Stamp,
    /// Its time.
    pub last_at: Stamp,
    /// Its id.
    pub last_id: u128,
    /// Counted messages from others so far.
    pub counted: u32,
    /// How far the user has read (position).
    pub read: Stamp,
    /// `counted` at that position.
    pub read_ordinal: u32,
    /// Off the list unless something newer than this position came.
    pub removed: Stamp,
    /// How far the peer has read (message time).
    pub peer_read: Stamp,
}

/// What `relay` needs to take up a mailbox.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The checkpoint; `None` for a user without one.
    pub mailbox: Option<MailboxRow>,
    /// The conversations' checkpoints.
    pub conversations: Vec<(Conversation, ConversationRow)>,
    /// All entries after the checkpoint, oldest first.
    pub after: Vec<(Stamp, EntryRow)>,
    /// See [`ClaimRow::chain`].
    pub chain: Vec<Epoch>,
}

/// Part of a mailbox with the messages that its entries point at, to be handed to another node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Export {
    /// Position, entry, and its message unless it has none or retention has removed it.
    pub rows: Vec<ExportRow>,
    /// The last position looked at.
    pub last: Stamp,
    /// Whether there are entries after `last`.
    pub more: bool,
}

/// One row of an [`Export`].
pub type ExportRow = (Stamp, EntryRow, Option<Arc<Message>>);

/// A page of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// The newest messages before this time (exclusive).
    Before(Stamp),
    /// The oldest messages after this time (exclusive).
    After(Stamp),
}

/// Name and portrait of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Name to show; may be empty.
    pub name: Arc<str>,
    /// Address of a portrait; may be empty.
    pub portrait: Arc<str>,
    /// When the user was first registered; `None` when it never was.
    pub created: Option<Stamp>,
}

/// What went wrong with the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the folder open.
    #[error("{} is in use by another process; give this one a data folder of its own (--data)", path.display())]
    Locked {
        /// The data folder.
        path: PathBuf,
    },
    /// Something that was written does not read back.
    #[error("{} is damaged: {what}. {advice}", file.display())]
    Damaged {
        /// The file, or the folder when the engine does not say which file.
        file: PathBuf,
        /// What was found, and what is lost.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
    /// The engine refused for another reason; nothing of the batch may be acknowledged.
    #[error("store: {0}")]
    Engine(String),
}

/// A store. All methods block; call them from threads that may.
pub trait Store: Send + Sync + 'static {
    /// Writes all `writes` together and durably; returns after the fsync.
    ///
    /// # Errors
    /// After an error it is unknown whether the writes will be there after a restart; the store refuses all later
    /// commits, and the node has to stop.
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError>;

    /// The highest stamp ever committed (position, time or fact), so that a clock can start above it.
    ///
    /// # Errors
    /// When it cannot be read.
    fn last_stamp(&self) -> Result<Stamp, StoreError>;

    /// What `relay` needs to take up the mailbox of `user`.
    ///
    /// # Errors
    /// When something cannot be read.
    fn load(&self, user: &UserKey) -> Result<Snapshot, StoreError>;

    /// Entries of `user` after position `after` (exclusive), oldest first, with their messages: at most `limit`, and
    /// no more once `max_bytes` of content are passed. `more` is false only at the mailbox's end. Entries whose message
    /// retention has removed are left out; `last` is the last position looked at (`after` when there was none).
    ///
    /// # Errors
    /// When something cannot be read.
    fn entries(
        &self,
        user: &UserKey,
        after: Stamp,
        limit: usize,
        max_bytes: usize,
    ) -> Result<EntryPage, StoreError>;

    /// The row of the entry of `user` at exactly `pos`.
    ///
    /// # Errors
    /// When it cannot be read.
    fn entry(&self, user: &UserKey, pos: Stamp) -> Result<Option<EntryRow>, StoreError>;

    /// Messages of a log, oldest first, at most `limit` that `keep` lets pass, and whether there are more such.
    ///
    /// # Errors
    /// When something cannot be read.
    fn history(
        &self,
        log: &Log,
        page: Page,
        limit: usize,
        keep: &dyn Fn(&Message) -> bool,
    ) -> Result<(Vec<Arc<Message>>, bool), StoreError>;

    /// The message of a log with this time and id.
    ///
    /// # Errors
    /// When it cannot be read.
    fn message(&self, log: &Log, at: Stamp, id: MessageId) -> Result<Option<Arc<Message>>, StoreError>;

    /// All facts that [`crate::gossip::Directory::holds`], handed one by one to `each`.
    ///
    /// # Errors
    /// When one cannot be read.
    fn facts(&self, each: &mut dyn FnMut(FactKey, Fact)) -> Result<(), StoreError>;

    /// The message of that id whose time is after the first and at most the second.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn find(
        &self,
        log: &Log,
        id: MessageId,
        (after, upto): (Stamp, Stamp),
    ) -> Result<Option<Arc<Message>>, StoreError> {
        // The first message past the window ends the search as well.
        let keep = |message: &Message| message.id == id || message.at > upto;
        let (found, _) = self.history(log, Page::After(after), 1, &keep)?;
        Ok(found.into_iter().next().filter(|message| message.id == id && message.at <= upto))
    }

    /// All facts behind `after`, in the store's own order, at most `limit`: what a peer is told.
    ///
    /// # Errors
    /// When one cannot be read.
    fn facts_after(&self, after: Option<&FactKey>, limit: usize) -> Result<Vec<(FactKey, Fact)>, StoreError>;

    /// Name and portrait of a user.
    ///
    /// # Errors
    /// When they cannot be read.
    fn profile(&self, user: &UserKey) -> Result<Profile, StoreError>;

    /// Registered users of `app` whose id is greater than `after`, in order of their ids.
    ///
    /// # Errors
    /// When they cannot be read.
    fn users(&self, app: &str, after: &str, limit: usize) -> Result<Vec<UserKey>, StoreError>;

    /// The mailbox's checkpoint alone.
    ///
    /// # Errors
    /// When it cannot be read.
    fn mailbox(&self, user: &UserKey) -> Result<Option<MailboxRow>, StoreError>;

    /// All claims, handed one by one to `each`.
    ///
    /// # Errors
    /// When one cannot be read.
    fn claims(&self, each: &mut dyn FnMut(UserHash, ClaimRow)) -> Result<(), StoreError>;

    /// All parcels of all outboxes, in order of their numbers, handed one by one to `each`; `None` in place of one whose message
    /// retention has removed.
    ///
    /// # Errors
    /// When one cannot be read.
    fn outboxes(&self, each: &mut dyn FnMut(NodeId, u64, Option<Parcel>)) -> Result<(), StoreError>;

    /// Like [`Self::entries`], for another node: nothing is left out.
    ///
    /// # Errors
    /// When something cannot be read.
    fn export(
        &self,
        user: &UserKey,
        after: Stamp,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Export, StoreError>;

    /// Users with a mailbox here behind `resume`, in an order of the store's own that never changes.
    ///
    /// # Errors
    /// When they cannot be read.
    fn mailboxes(&self, resume: Option<&UserKey>, limit: usize) -> Result<Vec<UserKey>, StoreError>;

    /// Mailboxes with entries before `cutoff`, behind `resume` in an order of the store's own that never changes: for at
    /// most `limit` of them the user and a position to trim to, with at most 1,000 entries up to it.
    ///
    /// # Errors
    /// When something cannot be read.
    fn expired_mailboxes(
        &self,
        cutoff: Stamp,
        resume: Option<&UserKey>,
        limit: usize,
    ) -> Result<Vec<(UserKey, Stamp)>, StoreError>;

    /// Logs of `kind` with messages before `cutoff`, behind `resume`, likewise.
    ///
    /// # Errors
    /// When something cannot be read.
    fn expired_logs(
        &self,
        kind: Kind,
        cutoff: Stamp,
        resume: Option<&Log>,
        limit: usize,
    ) -> Result<Vec<(Log, Stamp)>, StoreError>;
}

/// Part of a mailbox; see [`Store::entries`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The last position that was looked at.
    pub last: Stamp,
    /// Whether there are entries after `last`.
    pub more: bool,
}
