//! The embedded store: [`Store`] on fjall, a log-structured merge tree in this process.
//!
//! Purpose: write a batch with one fsync at a few microseconds of CPU per message, and read it back.
//! Flow: [`Store::commit`] builds one engine batch: a row with the batch's number first, then the writes in order →
//! the engine appends it to its journal, calls fdatasync, and only then puts it where reads see it, all of it at
//! once. Tables are written and merged by one thread of the engine, from the journal's copy in memory.
//! Invariants: nothing is read before it is durable; a batch is there whole or not at all; batches are numbered
//! without gaps.
//!
//! `fdatasync` (`PersistMode::SyncData`) is enough: it writes the file's bytes and what is needed to find them, its
//! length and blocks, and leaves out only the times. The engine syncs the folder itself when it starts a new journal.

mod options;
mod read;
mod write;

pub use options::Options;

use super::{
    EntryPage, MailboxRow, Page, Profile, Snapshot, Store, StoreError, Write,
    codec::{self, BatchMark, Broken},
};
use crate::{
    gossip::{Fact, FactKey},
    model::{EntryRow, Kind, Log, Message, MessageId, Stamp, UserKey},
};
use fjall::{Database, Keyspace};
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use write::Writer;

/// The store. Closing it is dropping it.
pub struct Embedded {
    path: PathBuf,
    db: Database,
    bodies: Keyspace,
    entries: Keyspace,
    mailboxes: Keyspace,
    conversations: Keyspace,
    facts: Keyspace,
    meta: Keyspace,
    writer: Mutex<Writer>,
}

impl Embedded {
    /// Opens the store in the folder `path`, which is made (for this user only) when it is missing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Io`] when the folder cannot be used,
    /// [`StoreError::Damaged`] when something that was acknowledged is missing.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        make_folder(&path)?;
        let engine = |error| engine_error(&path, error);
        let db = options.builder(&path).open().map_err(engine)?;
        let keyspace = |name: &str| db.keyspace(name, || options::keyspace(name)).map_err(engine);
        let meta = keyspace("meta")?;
        let mark = match meta.get(codec::BATCH_KEY).map_err(engine)? {
            Some(row) => codec::read_batch(&row).map_err(|broken| broken_row(&path, "meta", broken))?,
            None => BatchMark::default(),
        };
        Ok(Self {
            bodies: keyspace("bodies")?,
            entries: keyspace("entries")?,
            mailboxes: keyspace("mailboxes")?,
            conversations: keyspace("conversations")?,
            facts: keyspace("facts")?,
            writer: Mutex::new(Writer::new(mark)),
            meta,
            db,
            path,
        })
    }

    fn engine(&self, error: fjall::Error) -> StoreError {
        engine_error(&self.path, error)
    }

    fn broken(&self, keyspace: &Keyspace, broken: Broken) -> StoreError {
        broken_row(keyspace.path(), keyspace.name(), broken)
    }
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StoreError::Io { path: path.into(), source })
}

/// What the engine's error means to whoever runs the node.
fn engine_error(path: &Path, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Locked => StoreError::Locked { path: path.into() },
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => {
            StoreError::Io { path: path.into(), source }
        }
        other => StoreError::Engine(other.to_string()),
    }
}

fn broken_row(folder: &Path, keyspace: &str, broken: Broken) -> StoreError {
    StoreError::Damaged {
        file: folder.into(),
        what: format!("a row of {keyspace} does not read back: {broken}"),
        advice: "Was it written by a newer version? Else run `hongyan repair`".into(),
    }
}

impl Store for Embedded {
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        self.write(writes)
    }

    fn last_stamp(&self) -> Result<Stamp, StoreError> {
        Ok(self.writer.lock().mark().last)
    }

    fn load(&self, user: &UserKey) -> Result<Snapshot, StoreError> {
        self.read_snapshot(user)
    }

    fn entries(
        &self,
        user: &UserKey,
        after: Stamp,
        limit: usize,
        max_bytes: usize,
    ) -> Result<EntryPage, StoreError> {
        self.read_entries(user, after, limit, max_bytes)
    }

    fn entry(&self, user: &UserKey, pos: Stamp) -> Result<Option<EntryRow>, StoreError> {
        let mut key = Vec::new();
        codec::entry_key(&mut key, user, pos);
        self.get(&self.entries, &key, codec::read_entry)
    }

    fn history(
        &self,
        log: &Log,
        page: Page,
        limit: usize,
        keep: &dyn Fn(&Message) -> bool,
    ) -> Result<(Vec<Arc<Message>>, bool), StoreError> {
        self.read_history(log, page, limit, keep)
    }

    fn message(&self, log: &Log, at: Stamp, id: MessageId) -> Result<Option<Arc<Message>>, StoreError> {
        self.read_message(&self.db.snapshot(), log, at, id)
    }

    fn facts(&self, each: &mut dyn FnMut(FactKey, Fact)) -> Result<(), StoreError> {
        self.read_facts(each)
    }

    fn profile(&self, user: &UserKey) -> Result<Profile, StoreError> {
        self.read_profile(user)
    }

    fn users(&self, app: &str, after: &str, limit: usize) -> Result<Vec<UserKey>, StoreError> {
        self.read_users(app, after, limit)
    }

    fn mailbox(&self, user: &UserKey) -> Result<Option<MailboxRow>, StoreError> {
        let mut key = Vec::new();
        codec::user_key(&mut key, user);
        self.get(&self.mailboxes, &key, codec::read_mailbox)
    }

    fn expired_mailboxes(
        &self,
        cutoff: Stamp,
        resume: Option<&UserKey>,
        limit: usize,
    ) -> Result<Vec<(UserKey, Stamp)>, StoreError> {
        self.find_expired_mailboxes(cutoff, resume, limit)
    }

    fn expired_logs(
        &self,
        kind: Kind,
        cutoff: Stamp,
        resume: Option<&Log>,
        limit: usize,
    ) -> Result<Vec<(Log, Stamp)>, StoreError> {
        self.find_expired_logs(kind, cutoff, resume, limit)
    }
}
