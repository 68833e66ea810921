//! Reads. Each takes a snapshot of the engine, so that it sees batches whole.

use super::{
    super::{EntryPage, MailboxRow, Page, Profile, StoreError, codec},
    Embedded,
    codec::Broken,
};
use crate::{
    gossip::{Fact, FactKey, FactValue},
    model::{Entry, EntryRow, Kind, Log, Message, MessageId, Stamp, UserHash, UserKey, What},
};
use fjall::{Keyspace, Readable, Slice, Snapshot};
use std::{
    ops::Bound::{self, Excluded, Included, Unbounded},
    sync::{Arc, atomic::Ordering},
};

/// Rows that one trim may remove.
const TRIM_AT_ONCE: usize = 1_000;

type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

impl Embedded {
    /// A view of all whole batches and nothing else.
    ///
    /// The engine's own snapshots are not quite that: it counts up what they see when a flush or merge ends too, also
    /// while a batch is being put into memory, and a snapshot taken then holds part of it (lsm-tree 3.1,
    /// `SuperVersions::upgrade_version`). So a snapshot is taken as it is only if it is not above what the writer saw
    /// between two commits; else, which is a few times a second at most, it is taken between two commits.
    pub(super) fn snapshot(&self) -> Snapshot {
        let snapshot = self.db.snapshot();
        if snapshot.seqno() <= self.whole.load(Ordering::Acquire) {
            return snapshot;
        }
        drop(snapshot);
        let _between = self.writer.lock();
        let snapshot = self.db.snapshot();
        self.whole.store(snapshot.seqno(), Ordering::Release);
        snapshot
    }

    /// A row by its key, decoded.
    pub(super) fn get<T>(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, Broken>,
    ) -> Result<Option<T>, StoreError> {
        let Some(value) = self.snapshot().get(keyspace, key).map_err(|error| self.engine(error))? else {
            return Ok(None);
        };
        decode(&value).map(Some).map_err(|broken| self.broken(keyspace, broken))
    }

    /// The rows of a range, in order; stops when `each` says so.
    pub(super) fn scan(
        &self,
        snapshot: &Snapshot,
        keyspace: &Keyspace,
        range: Range<'_>,
        backwards: bool,
        mut each: impl FnMut(&[u8], &Slice) -> Result<bool, Broken>,
    ) -> Result<(), StoreError> {
        let mut rows = snapshot.range::<&[u8], _>(keyspace, range);
        loop {
            let row = if backwards { rows.next_back() } else { rows.next() };
            let Some(row) = row else { return Ok(()) };
            let (key, value) = row.into_inner().map_err(|error| self.engine(error))?;
            if !each(&key, &value).map_err(|broken| self.broken(keyspace, broken))? {
                return Ok(());
            }
        }
    }

    pub(super) fn read_snapshot(&self, user: &UserKey) -> Result<super::Snapshot, StoreError> {
        let snapshot = self.snapshot();
        let mut key = Vec::new();
        codec::user_key(&mut key, user);
        let row = snapshot.get(&self.mailboxes, &key).map_err(|error| self.engine(error))?;
        let mailbox: Option<MailboxRow> = row
            .map(|row| codec::read_mailbox(&row))
            .transpose()
            .map_err(|broken| self.broken(&self.mailboxes, broken))?;
        let mut found = super::Snapshot::default();
        let claim = self.read_claim(&snapshot, UserHash::of(user))?;
        found.chain = claim.map(|row| row.chain).unwrap_or_default();
        let end = [&key[..], &[Kind::System.number() + 1]].concat();
        let range = (Included(&key[..]), Excluded(&end[..]));
        self.scan(&snapshot, &self.conversations, range, false, |key, value| {
            let (_, conversation) = codec::read_conversation_key(key)?;
            found.conversations.push((conversation, codec::read_conversation(value)?));
            Ok(true)
        })?;
        let after = mailbox.as_ref().map_or(Stamp::ZERO, |row| row.last);
        self.scan_entries(&snapshot, user, after, |pos, value| {
            found.after.push((pos, codec::read_entry(value)?));
            Ok(true)
        })?;
        found.mailbox = mailbox;
        Ok(found)
    }

    pub(super) fn scan_entries(
        &self,
        snapshot: &Snapshot,
        user: &UserKey,
        after: Stamp,
        mut each: impl FnMut(Stamp, &Slice) -> Result<bool, Broken>,
    ) -> Result<(), StoreError> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        codec::entry_key(&mut from, user, after);
        codec::entry_key(&mut to, user, Stamp(u64::MAX));
        let range = (Excluded(&from[..]), Included(&to[..]));
        self.scan(snapshot, &self.entries, range, false, |key, value| {
            each(codec::read_entry_pos(key)?, value)
        })
    }

    pub(super) fn read_entries(
        &self,
        user: &UserKey,
        after: Stamp,
        limit: usize,
        max_bytes: usize,
    ) -> Result<EntryPage, StoreError> {
        let snapshot = self.snapshot();
        let mut page = EntryPage { last: after, ..EntryPage::default() };
        let mut bytes = 0;
        let mut failed = None;
        self.scan_entries(&snapshot, user, after, |pos, value| {
            if page.entries.len() == limit || bytes > max_bytes {
                page.more = true;
                return Ok(false);
            }
            let row = codec::read_entry(value)?;
            let what = match &row {
                EntryRow::Message { id, at, conversation, ordinal, .. } => {
                    match self.read_message(&snapshot, &conversation.log(user), *at, *id) {
                        Ok(message) => message.map(|message| {
                            bytes += message.content.json().len();
                            What::Message { message, ordinal: *ordinal }
                        }),
                        Err(error) => {
                            failed = Some(error);
                            return Ok(false);
                        }
                    }
                }
                EntryRow::Change(change) => Some(What::Change(change.clone())),
            };
            page.last = pos;
            page.entries.extend(what.map(|what| Entry { pos, what }));
            Ok(true)
        })?;
        failed.map_or(Ok(page), Err)
    }

    pub(super) fn read_message(
        &self,
        snapshot: &Snapshot,
        log: &Log,
        at: Stamp,
        id: MessageId,
    ) -> Result<Option<Arc<Message>>, StoreError> {
        let mut key = Vec::with_capacity(log.as_bytes().len() + 24);
        codec::body_key(&mut key, log.as_bytes(), at, id);
        let Some(value) = snapshot.get(&self.bodies, &key).map_err(|error| self.engine(error))? else {
            return Ok(None);
        };
        let message = codec::read_body(&key, &value).map_err(|broken| self.broken(&self.bodies, broken))?;
        Ok(Some(Arc::new(message)))
    }

    pub(super) fn read_history(
        &self,
        log: &Log,
        page: Page,
        limit: usize,
        keep: &dyn Fn(&Message) -> bool,
    ) -> Result<(Vec<Arc<Message>>, bool), StoreError> {
        let (mut from, mut to) = (Vec::new(), Vec::new());
        let backwards = match page {
            Page::Before(at) => {
                codec::body_key(&mut from, log.as_bytes(), Stamp::ZERO, MessageId(0));
                codec::body_key(&mut to, log.as_bytes(), at, MessageId(0));
                true
            }
            Page::After(at) => {
                codec::body_key(&mut from, log.as_bytes(), at, MessageId(u128::MAX));
                codec::body_key(&mut to, log.as_bytes(), Stamp(u64::MAX), MessageId(u128::MAX));
                false
            }
        };
        let range = if backwards {
            (Included(&from[..]), Excluded(&to[..]))
        } else {
            (Excluded(&from[..]), Included(&to[..]))
        };
        let (mut found, mut more) = (Vec::new(), false);
        self.scan(&self.snapshot(), &self.bodies, range, backwards, |key, value| {
            let message = codec::read_body(key, value)?;
            if keep(&message) {
                more = found.len() == limit;
                if !more {
                    found.push(Arc::new(message));
                }
            }
            Ok(!more)
        })?;
        if backwards {
            found.reverse();
        }
        Ok((found, more))
    }

    pub(super) fn read_facts(&self, each: &mut dyn FnMut(FactKey, Fact)) -> Result<(), StoreError> {
        let (from, to) = ([codec::TAG_BLOCKED], [codec::TAG_NAME]);
        let range = (Included(&from[..]), Excluded(&to[..]));
        self.scan(&self.snapshot(), &self.facts, range, false, |key, value| {
            each(codec::read_fact_key(key)?, codec::read_fact(value)?);
            Ok(true)
        })
    }

    pub(super) fn read_profile(&self, user: &UserKey) -> Result<Profile, StoreError> {
        let snapshot = self.snapshot();
        let mut key = Vec::new();
        let mut fact = |about| -> Result<Option<FactValue>, StoreError> {
            codec::fact_key(&mut key, &about);
            let Some(row) = snapshot.get(&self.facts, &key).map_err(|error| self.engine(error))? else {
                return Ok(None);
            };
            let fact = codec::read_fact(&row).map_err(|broken| self.broken(&self.facts, broken))?;
            Ok(fact.value)
        };
        let text = |value| match value {
            Some(FactValue::Text(text)) => text,
            _ => "".into(),
        };
        Ok(Profile {
            name: text(fact(FactKey::Name(user.clone()))?),
            portrait: text(fact(FactKey::Portrait(user.clone()))?),
            created: match fact(FactKey::Created(user.clone()))? {
                Some(FactValue::Number(at)) => Some(Stamp(at)),
                _ => None,
            },
        })
    }

    pub(super) fn read_users(
        &self,
        app: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<UserKey>, StoreError> {
        let start = [&[codec::TAG_CREATED], app.as_bytes()].concat();
        let from = [&start[..], &[0], after.as_bytes()].concat();
        let to = [&start[..], &[1]].concat();
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let range = (Excluded(&from[..]), Excluded(&to[..]));
        self.scan(&self.snapshot(), &self.facts, range, false, |key, value| {
            if codec::read_fact(value)?.value.is_some()
                && let FactKey::Created(user) = codec::read_fact_key(key)?
            {
                found.push(user);
            }
            Ok(found.len() < limit)
        })?;
        Ok(found)
    }

    /// Walks groups of rows (a mailbox, a log) in key order: of each group the first rows before `cutoff`, then a
    /// jump to the next group. `split` gives the length of the group's part of a key, and the row's time.
    fn expired(
        &self,
        keyspace: &Keyspace,
        mut from: Vec<u8>,
        end: Option<&[u8]>,
        cutoff: Stamp,
        limit: usize,
        split: impl Fn(&[u8]) -> Result<(usize, Stamp), Broken>,
    ) -> Result<Vec<(Vec<u8>, Stamp)>, StoreError> {
        let snapshot = self.snapshot();
        let mut found: Vec<(Vec<u8>, Stamp)> = Vec::new();
        while found.len() < limit {
            let mut group: Option<(Vec<u8>, Stamp, usize)> = None;
            let range = (Included(&from[..]), end.map_or(Unbounded, Excluded));
            self.scan(&snapshot, keyspace, range, false, |key, _| {
                let (len, at) = split(key)?;
                let (name, upto, count) = group.get_or_insert_with(|| (key[..len].to_vec(), Stamp::ZERO, 0));
                if **name != key[..len] || at >= cutoff || *count == TRIM_AT_ONCE {
                    return Ok(false);
                }
                (*upto, *count) = (at, *count + 1);
                Ok(true)
            })?;
            let Some((name, upto, count)) = group else { break };
            from.clear();
            from.extend_from_slice(&name);
            from.extend_from_slice(&[0xff; 25]);
            if count > 0 {
                found.push((name, upto));
            }
        }
        Ok(found)
    }

    pub(super) fn find_expired_mailboxes(
        &self,
        cutoff: Stamp,
        resume: Option<&UserKey>,
        limit: usize,
    ) -> Result<Vec<(UserKey, Stamp)>, StoreError> {
        // Behind the keyspace's own mark, which is the shortest key with a zero first.
        let mut from = vec![0; 2];
        if let Some(user) = resume {
            codec::entry_key(&mut from, user, Stamp(u64::MAX));
            from.push(0);
        }
        let split = |key: &[u8]| {
            let len = key.len().checked_sub(8).ok_or(Broken("a key is too short"))?;
            Ok((len, codec::read_entry_pos(key)?))
        };
        let found = self.expired(&self.entries, from, None, cutoff, limit, split)?;
        let user = |(mut key, upto): (Vec<u8>, Stamp)| {
            key.extend_from_slice(&[0; 8]);
            Ok((codec::read_entry_key(&key)?.0, upto))
        };
        found
            .into_iter()
            .map(user)
            .collect::<Result<_, _>>()
            .map_err(|broken| self.broken(&self.entries, broken))
    }

    pub(super) fn find_expired_logs(
        &self,
        kind: Kind,
        cutoff: Stamp,
        resume: Option<&Log>,
        limit: usize,
    ) -> Result<Vec<(Log, Stamp)>, StoreError> {
        let mut from = vec![kind.number()];
        match resume {
            Some(log) if log.as_bytes().first() > Some(&kind.number()) => return Ok(Vec::new()),
            Some(log) if log.as_bytes().first() == Some(&kind.number()) => {
                codec::log_key(&mut from, log.as_bytes());
                from.extend_from_slice(&[0xff; 25]);
            }
            _ => {}
        }
        let end = [kind.number() + 1];
        let split = |key: &[u8]| {
            let len = codec::log_len(key)?;
            Ok((len, codec::read_entry_pos(&key[..len + 8])?))
        };
        let found = self.expired(&self.bodies, from, Some(&end), cutoff, limit, split)?;
        let log = |(key, upto): (Vec<u8>, Stamp)| Ok((codec::read_log(&key)?, upto));
        found
            .into_iter()
            .map(log)
            .collect::<Result<_, _>>()
            .map_err(|broken| self.broken(&self.bodies, broken))
    }
}
