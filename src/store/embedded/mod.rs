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
//!
//! Nothing is lost without a word: `witness.rs` tells what is remembered outside the engine, `survey.rs` what is checked
//! before the engine may open its files, which it would truncate. [`repair()`] accepts a loss.

mod damage;
mod journal;
mod options;
mod outbox;
mod pace;
mod read;
mod read_mesh;
mod repair;
mod survey;
mod tables;
mod witness;
mod write;

pub use journal::fuzz_journal;
pub use options::Options;
pub use repair::{RepairReport, inspect, repair};
pub use survey::{Finding, Lost};

use super::{
    ClaimRow, EntryPage, Export, MailboxRow, Page, Profile, Snapshot, Store, StoreError, Write,
    codec::{self, BatchMark, Broken, KEYSPACES, Touched},
};
use crate::{
    gossip::{Fact, FactKey},
    model::{EntryRow, Kind, Log, Message, MessageId, NodeId, Parcel, Stamp, UserHash, UserKey},
};
use damage::{engine_error, open_engine};
use fjall::{Database, Keyspace};
use outbox::Outboxes;
use pace::Pace;
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};
use witness::Witness;
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
    claims: Keyspace,
    outbox: Keyspace,
    meta: Keyspace,
    damaged: damage::Located,
    pace: Pace,
    /// What a snapshot may see at most so that it sees batches whole.
    whole: AtomicU64,
    /// Dropped last: it holds the lock.
    writer: Mutex<Writer>,
}

impl Embedded {
    /// Opens the store in the folder `path`, which is made (for this user only) when it is missing.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Io`] when the folder cannot be used,
    /// [`StoreError::Damaged`] when something that was acknowledged is missing or does not read; nothing is changed
    /// then, and [`repair()`] goes on without it.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self, StoreError> {
        let path = path.as_ref().to_path_buf();
        make_folder(&path)?;
        let (witness, found) = Witness::open(&path)?;
        let survey = survey::survey(&path, &found, &repair::accepted(&path)?)?;
        if let Some(finding) = survey.findings.first() {
            return Err(finding.error());
        }
        Self::start(path, options, witness, &survey)
    }

    /// Starts the engine on files that were checked.
    fn start(
        path: PathBuf,
        options: &Options,
        mut witness: Witness,
        survey: &survey::Survey,
    ) -> Result<Self, StoreError> {
        let torn = survey.torn.as_ref().map(|(journal, bytes)| repair::cut(journal, bytes)).transpose()?;
        let db = open_engine(&path, options)?;
        let open = |name: &str| {
            db.keyspace(name, || options::keyspace(name, options.memtable))
                .map_err(|error| engine_error(&path, error))
        };
        let row =
            |keyspace: &Keyspace, key: &[u8]| keyspace.get(key).map_err(|error| engine_error(&path, error));
        let meta = open("meta")?;
        let mark = match row(&meta, codec::BATCH_KEY)? {
            Some(row) => codec::read_batch(&row).map_err(|broken| broken_row(&path, "meta", broken))?.mark,
            None => BatchMark::default(),
        };
        if mark != survey.mark {
            return Err(StoreError::Damaged {
                file: path,
                what: format!("batch {} was there before opening, {} after", survey.mark.number, mark.number),
                advice: "Keep the folder as it is and report this".into(),
            });
        }
        let mut touched = Touched::default();
        let [bodies, entries, mailboxes, conversations, facts, claims, outbox] = KEYSPACES.map(open);
        let all = [bodies?, entries?, mailboxes?, conversations?, facts?, claims?, outbox?];
        for (keyspace, touched) in all.iter().zip(&mut touched) {
            if let Some(row) = row(keyspace, codec::MARK_KEY)? {
                let read = codec::read_mark(&row);
                *touched =
                    read.map_err(|broken| broken_row(keyspace.path(), keyspace.name(), broken))?.number;
            }
        }
        witness.state(survey.highest, touched, false)?;
        if let Some(torn) = torn {
            // It held nothing that was acknowledged, and all the rest is there.
            let _ = std::fs::remove_file(torn);
        }
        let [bodies, entries, mailboxes, conversations, facts, claims, outbox] = all;
        let mut outboxes = Outboxes::default();
        for row in outbox.iter() {
            let (key, value) = row.into_inner().map_err(|error| engine_error(&path, error))?;
            if key != codec::MARK_KEY {
                let known = outboxes.know(&key, &value);
                known.map_err(|broken| broken_row(outbox.path(), outbox.name(), broken))?;
            }
        }
        let writer = Mutex::new(Writer::new(witness, outboxes));
        let (damaged, whole) = (damage::Located::default(), AtomicU64::new(db.visible_seqno()));
        Ok(Self {
            path,
            db,
            bodies,
            entries,
            mailboxes,
            conversations,
            facts,
            claims,
            outbox,
            meta,
            damaged,
            pace: Pace::new(options.memtable),
            whole,
            writer,
        })
    }

    /// What an error of the engine means, with the file that it does not name.
    fn engine(&self, error: fjall::Error) -> StoreError {
        self.damaged.explain(&self.path, error)
    }

    fn broken(&self, keyspace: &Keyspace, broken: Broken) -> StoreError {
        broken_row(keyspace.path(), keyspace.name(), broken)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.writer.get_mut().close();
    }
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StoreError::Io { path: path.into(), source })
}

fn broken_row(folder: &Path, keyspace: &str, broken: Broken) -> StoreError {
    StoreError::Damaged {
        file: folder.into(),
        what: format!("a row of {keyspace} does not read back: {broken}"),
        advice: "If a newer version wrote it, use that; else restore a copy".into(),
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
        self.read_message(&self.snapshot(), log, at, id)
    }

    fn facts(&self, each: &mut dyn FnMut(FactKey, Fact)) -> Result<(), StoreError> {
        self.read_facts(each)
    }

    fn facts_after(&self, after: Option<&FactKey>, limit: usize) -> Result<Vec<(FactKey, Fact)>, StoreError> {
        self.read_facts_after(after, limit)
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

    fn claims(&self, each: &mut dyn FnMut(UserHash, ClaimRow)) -> Result<(), StoreError> {
        self.read_claims(each)
    }

    fn outboxes(&self, each: &mut dyn FnMut(NodeId, u64, Option<Parcel>)) -> Result<(), StoreError> {
        self.read_outboxes(each)
    }

    fn export(
        &self,
        user: &UserKey,
        after: Stamp,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Export, StoreError> {
        self.read_export(user, after, limit, max_bytes)
    }

    fn mailboxes(&self, resume: Option<&UserKey>, limit: usize) -> Result<Vec<UserKey>, StoreError> {
        self.read_mailboxes(resume, limit)
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
