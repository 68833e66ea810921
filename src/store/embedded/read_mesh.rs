//! Reads that only a node with peers needs: claims, outboxes, whole mailboxes.

use super::{
    super::{ClaimRow, Export, StoreError, codec},
    Embedded,
    codec::{Broken, Gone, Packed},
    outbox::Unpacker,
};
use crate::gossip::{Fact, FactKey};
use crate::model::{EntryRow, NodeId, Parcel, Stamp, UserHash, UserKey};
use fjall::{Readable, Snapshot};
use std::ops::Bound::{Excluded, Included, Unbounded};

/// Behind a keyspace's own mark, which is the shortest key with a zero first.
const FIRST: &[u8] = &[0, 0];

impl Embedded {
    pub(super) fn read_claim(
        &self,
        snapshot: &Snapshot,
        user: UserHash,
    ) -> Result<Option<ClaimRow>, StoreError> {
        let mut key = Vec::with_capacity(16);
        codec::claim_key(&mut key, user);
        let row = snapshot.get(&self.claims, &key).map_err(|error| self.engine(error))?;
        row.map(|row| codec::read_claim(&row)).transpose().map_err(|broken| self.broken(&self.claims, broken))
    }

    pub(super) fn read_claims(&self, each: &mut dyn FnMut(UserHash, ClaimRow)) -> Result<(), StoreError> {
        self.scan(&self.snapshot(), &self.claims, (Included(FIRST), Unbounded), false, |key, value| {
            each(codec::read_claim_key(key)?, codec::read_claim(value)?);
            Ok(true)
        })
    }

    pub(super) fn read_facts_after(
        &self,
        after: Option<&FactKey>,
        limit: usize,
    ) -> Result<Vec<(FactKey, Fact)>, StoreError> {
        let (mut from, mut found) = (FIRST.to_vec(), Vec::new());
        if let Some(after) = after {
            codec::fact_key(&mut from, after);
        }
        self.scan(&self.snapshot(), &self.facts, (Excluded(&from[..]), Unbounded), false, |key, value| {
            found.push((codec::read_fact_key(key)?, codec::read_fact(value)?));
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    pub(super) fn read_outboxes(
        &self,
        each: &mut dyn FnMut(NodeId, u64, Option<Parcel>),
    ) -> Result<(), StoreError> {
        let snapshot = self.snapshot();
        let mut failed = None;
        let mut found = |peer, number, packed| {
            let parcel = match packed {
                Packed::Whole(parcel) => Ok(Some(parcel)),
                Packed::Pointer(pointer) => self
                    .read_message(&snapshot, &pointer.log(), pointer.at, pointer.id)
                    .map(|message| message.map(|message| pointer.parcel(message))),
            };
            match parcel {
                Ok(parcel) => each(peer, number, parcel),
                Err(error) => _ = failed.get_or_insert(error),
            }
        };
        let mut packs = Unpacker::default();
        let all = (Included(FIRST), Unbounded);
        self.scan(&snapshot, &self.outbox, all, false, |key, value| {
            packs.row(key, value, &mut found)?;
            Ok(true)
        })?;
        packs.end(&Gone::default(), &mut found);
        failed.map_or(Ok(()), Err)
    }

    pub(super) fn read_export(
        &self,
        user: &UserKey,
        after: Stamp,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Export, StoreError> {
        let snapshot = self.snapshot();
        let mut page = Export { last: after, ..Export::default() };
        let (mut bytes, mut failed) = (0, None);
        self.scan_entries(&snapshot, user, after, |pos, value| {
            if page.rows.len() == limit || bytes > max_bytes {
                page.more = true;
                return Ok(false);
            }
            let row = codec::read_entry(value)?;
            let mut message = None;
            if let EntryRow::Message { id, at, conversation, .. } = &row {
                match self.read_message(&snapshot, &conversation.log(user), *at, *id) {
                    Ok(found) => message = found,
                    Err(error) => {
                        failed = Some(error);
                        return Ok(false);
                    }
                }
            }
            bytes += message.as_ref().map_or(64, |message| message.content.json().len() + 256);
            page.last = pos;
            page.rows.push((pos, row, message));
            Ok(true)
        })?;
        failed.map_or(Ok(page), Err)
    }

    pub(super) fn read_mailboxes(
        &self,
        resume: Option<&UserKey>,
        limit: usize,
    ) -> Result<Vec<UserKey>, StoreError> {
        let mut key = Vec::new();
        let from = match resume {
            Some(user) => {
                codec::user_key(&mut key, user);
                Excluded(&key[..])
            }
            None => Included(FIRST),
        };
        let mut found = Vec::new();
        self.scan(&self.snapshot(), &self.mailboxes, (from, Unbounded), false, |key, _| {
            if found.len() == limit {
                return Ok(false);
            }
            found.push(read_user(key)?);
            Ok(true)
        })?;
        Ok(found)
    }
}

/// User of a mailbox's key: what an entry's key is without its position.
fn read_user(key: &[u8]) -> Result<UserKey, Broken> {
    let entry = [key, &Stamp::ZERO.0.to_be_bytes()].concat();
    Ok(codec::read_entry_key(&entry)?.0)
}
