//! Commits.

use super::{
    super::{StoreError, Write, codec},
    Embedded, Witness,
    codec::{BatchMark, BatchRow, KEYSPACES, Touched},
    outbox::Outboxes,
};
use crate::gossip::{Fact, FactKey};
use crate::model::{Kind, Log, MessageId, Stamp, UserKey};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Readable, Slice};
use std::sync::atomic::Ordering;

/// What a commit needs and changes: one commit at a time.
pub(super) struct Writer {
    mark: BatchMark,
    touched: Touched,
    witness: Witness,
    /// After an error nobody knows what the journal holds, so nothing more is written.
    failed: bool,
    outboxes: Outboxes,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Writer {
    pub(super) fn new(witness: Witness, outboxes: Outboxes) -> Self {
        let said = witness.says();
        let (mark, touched) = (said.mark, said.touched);
        Self { mark, touched, witness, failed: false, outboxes, key: Vec::new(), value: Vec::new() }
    }

    /// The last committed batch.
    pub(super) fn mark(&self) -> BatchMark {
        self.mark
    }

    /// Leaves word that the store was closed in order.
    pub(super) fn close(&mut self) {
        if !self.failed
            && let Err(error) = self.witness.state(self.mark, self.touched, true)
        {
            tracing::warn!("the store's witness could not be written on closing: {error}");
        }
    }
}

/// The keyspaces that a write goes to, by their numbers.
fn keyspaces_of(write: &Write) -> &'static [usize] {
    match write {
        Write::Body(_) | Write::TrimLog { .. } => &[0],
        Write::Entry { .. } | Write::TrimMailbox { .. } => &[1],
        Write::Mailbox { .. } => &[2],
        Write::Conversation { .. } => &[3],
        Write::Fact { .. } => &[4],
        Write::Claim { .. } => &[5],
        Write::Outbox { .. } | Write::OutboxDone { .. } => &[6],
        Write::Forget { .. } => &[1, 2, 3],
    }
}

/// Stamp that a write brings.
fn stamp(write: &Write) -> Stamp {
    match write {
        Write::Body(message) => message.at,
        Write::Entry { pos, .. } => *pos,
        Write::Fact { fact, .. } => fact.stamp,
        Write::Claim { row, .. } => row.chain.iter().map(|epoch| epoch.base).fold(row.stamp, Stamp::max),
        _ => Stamp::ZERO,
    }
}

impl Embedded {
    pub(super) fn write(&self, writes: &[Write]) -> Result<(), StoreError> {
        if writes.is_empty() {
            return Ok(());
        }
        std::thread::sleep(self.pace.wait(self.db.write_buffer_size()));
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        if writer.failed {
            return Err(StoreError::Engine(
                "an earlier commit failed; restart the node to write again".into(),
            ));
        }
        let (mut mark, mut touched) = (writer.mark, writer.touched);
        mark.number += 1;
        for write in writes {
            mark.last = mark.last.max(stamp(write));
            keyspaces_of(write).iter().for_each(|&place| touched[place] = mark.number);
        }
        let row = BatchRow { mark, before: writer.touched };
        let batch = self.batch(writes, &row, writer);
        // The index of the outboxes is ahead of the disk then.
        writer.failed = batch.is_err();
        let mut batch = batch?;
        for (place, keyspace) in self.keyspaces().into_iter().enumerate() {
            if touched[place] == mark.number {
                batch.insert(keyspace, codec::MARK_KEY, codec::mark_value(mark));
            }
        }
        let done = batch.durability(Some(PersistMode::SyncData)).commit();
        writer.failed = done.is_err();
        done.map_err(|error| self.engine(error))?;
        self.whole.store(self.db.visible_seqno(), Ordering::Release);
        (writer.mark, writer.touched) = (mark, touched);
        let said = writer.witness.acked(mark, touched);
        writer.failed = said.is_err();
        said
    }

    fn keyspaces(&self) -> [&Keyspace; KEYSPACES.len()] {
        [
            &self.bodies,
            &self.entries,
            &self.mailboxes,
            &self.conversations,
            &self.facts,
            &self.claims,
            &self.outbox,
        ]
    }

    /// The writes as one batch of the engine. Of two rows for one key the later stands, as the engine replaces rows
    /// of one batch in order.
    fn batch(
        &self,
        writes: &[Write],
        row: &BatchRow,
        writer: &mut Writer,
    ) -> Result<OwnedWriteBatch, StoreError> {
        let Writer { outboxes, key, value, .. } = writer;
        let mut batch = OwnedWriteBatch::with_capacity(self.db.clone(), writes.len() + 6);
        batch.insert(&self.meta, codec::BATCH_KEY, codec::batch_value(row));
        for (i, write) in writes.iter().enumerate() {
            let mut encoded = Ok(());
            let keyspace = match write {
                Write::Body(message) => {
                    codec::message_key(key, message);
                    codec::body_value(value, message);
                    &self.bodies
                }
                Write::Entry { user, pos, row } => {
                    codec::entry_key(key, user, *pos);
                    codec::entry_value(value, row);
                    &self.entries
                }
                Write::Mailbox { user, row } => {
                    codec::user_key(key, user);
                    encoded = codec::mailbox_value(value, row);
                    &self.mailboxes
                }
                Write::Conversation { user, conversation, row } => {
                    codec::conversation_key(key, user, conversation);
                    encoded = codec::conversation_value(value, row);
                    &self.conversations
                }
                Write::Fact { key: about, fact } => {
                    codec::fact_key(key, about);
                    if self.is_outdated(about, fact, key, &writes[..i])? {
                        continue;
                    }
                    encoded = codec::fact_value(value, fact);
                    &self.facts
                }
                Write::Claim { user, row } => {
                    codec::claim_key(key, *user);
                    encoded = codec::claim_value(value, row);
                    &self.claims
                }
                Write::Outbox { peer, number, parcel, logged } => {
                    outboxes.put(&mut batch, &self.outbox, (*peer, *number), (parcel, *logged))?;
                    continue;
                }
                Write::OutboxDone { peer, from, upto } => {
                    outboxes.done(&mut batch, &self.outbox, *peer, (*from, *upto))?;
                    continue;
                }
                Write::Forget { user } => {
                    self.forget(&mut batch, user, &writes[..i], key)?;
                    continue;
                }
                Write::TrimMailbox { user, upto } => {
                    self.trim_mailbox(&mut batch, user, *upto, &writes[..i], key)?;
                    continue;
                }
                Write::TrimLog { log, upto } => {
                    self.trim_log(&mut batch, log, *upto, &writes[..i], key)?;
                    continue;
                }
            };
            encoded.map_err(|broken| StoreError::Engine(broken.to_string()))?;
            if key.len() > codec::MAX_KEY {
                return Err(StoreError::Engine(format!("a key of {} bytes is too long", key.len())));
            }
            batch.insert(keyspace, Slice::from(&key[..]), Slice::from(&value[..]));
        }
        outboxes.finish(&mut batch, &self.outbox)?;
        Ok(batch)
    }

    /// Whether a later fact about the same is there, or comes before in this batch.
    fn is_outdated(
        &self,
        about: &FactKey,
        fact: &Fact,
        key: &[u8],
        earlier: &[Write],
    ) -> Result<bool, StoreError> {
        let before = earlier.iter().any(
            |write| matches!(write, Write::Fact { key, fact: other } if key == about && other.beats(fact)),
        );
        if before {
            return Ok(true);
        }
        let there = self.facts.get(key).map_err(|error| self.engine(error))?;
        let there = there.map(|row| codec::read_fact(&row)).transpose();
        Ok(there.map_err(|broken| self.broken(&self.facts, broken))?.is_some_and(|there| there.beats(fact)))
    }

    fn forget(
        &self,
        batch: &mut OwnedWriteBatch,
        user: &UserKey,
        earlier: &[Write],
        key: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.trim_mailbox(batch, user, Stamp(u64::MAX), earlier, key)?;
        codec::user_key(key, user);
        batch.remove(&self.mailboxes, Slice::from(&key[..]));
        let end = [&key[..], &[Kind::System.number() + 1]].concat();
        self.remove_range(batch, &self.conversations, key, &end)?;
        for write in earlier {
            if let Write::Conversation { user: of, conversation, .. } = write
                && of == user
            {
                codec::conversation_key(key, user, conversation);
                batch.remove(&self.conversations, Slice::from(&key[..]));
            }
        }
        Ok(())
    }

    fn trim_mailbox(
        &self,
        batch: &mut OwnedWriteBatch,
        user: &UserKey,
        upto: Stamp,
        earlier: &[Write],
        key: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        codec::entry_key(key, user, Stamp::ZERO);
        let from = key.clone();
        codec::entry_key(key, user, upto);
        self.remove_range(batch, &self.entries, &from, key)?;
        for write in earlier {
            if let Write::Entry { user: of, pos, .. } = write
                && of == user
                && *pos <= upto
            {
                codec::entry_key(key, user, *pos);
                batch.remove(&self.entries, Slice::from(&key[..]));
            }
        }
        Ok(())
    }

    fn trim_log(
        &self,
        batch: &mut OwnedWriteBatch,
        log: &Log,
        upto: Stamp,
        earlier: &[Write],
        key: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        codec::log_key(key, log.as_bytes());
        let from = key.clone();
        codec::body_key(key, log.as_bytes(), upto, MessageId(u128::MAX));
        self.remove_range(batch, &self.bodies, &from, key)?;
        for write in earlier {
            if let Write::Body(message) = write
                && message.at <= upto
                && message.log() == *log
            {
                codec::message_key(key, message);
                batch.remove(&self.bodies, Slice::from(&key[..]));
            }
        }
        Ok(())
    }

    /// Removes all rows from `from` to `to`, both included.
    fn remove_range(
        &self,
        batch: &mut OwnedWriteBatch,
        keyspace: &Keyspace,
        from: &[u8],
        to: &[u8],
    ) -> Result<(), StoreError> {
        for row in self.db.snapshot().range(keyspace, from..=to) {
            batch.remove(keyspace, row.key().map_err(|error| self.engine(error))?);
        }
        Ok(())
    }
}
