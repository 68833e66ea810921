//! A store in memory: for tests and the simulation, with the embedded store's meaning of every method.

use super::{
    ClaimRow, ConversationRow, EntryPage, Export, MailboxRow, Page, Profile, Snapshot, Store, StoreError,
    Write, codec::Pointer,
};
use crate::{
    gossip::{Directory, Fact, FactKey, FactValue},
    model::{
        Conversation, Entry, EntryRow, Kind, Log, Message, MessageId, NodeId, Parcel, Stamp, UserHash,
        UserKey, What,
    },
};
use parking_lot::RwLock;
use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
    sync::Arc,
};

#[derive(Clone, Default)]
struct Tables {
    bodies: BTreeMap<(Log, Stamp, MessageId), Arc<Message>>,
    entries: BTreeMap<(UserKey, Stamp), EntryRow>,
    mailboxes: BTreeMap<UserKey, MailboxRow>,
    conversations: BTreeMap<(UserKey, Conversation), ConversationRow>,
    facts: BTreeMap<FactKey, Fact>,
    claims: BTreeMap<UserHash, ClaimRow>,
    /// And whether the message is the one in its log.
    outbox: BTreeMap<(NodeId, u64), (Arc<Parcel>, bool)>,
    last: Stamp,
}

/// The store. Clones are independent copies.
#[derive(Default)]
pub struct MemoryStore(RwLock<Tables>);

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self(RwLock::new(self.0.read().clone()))
    }
}

impl MemoryStore {
    /// All entries of a mailbox, for checks.
    #[must_use]
    pub fn rows(&self, user: &UserKey) -> Vec<(Stamp, EntryRow)> {
        let tables = self.0.read();
        tables
            .entries
            .range((user.clone(), Stamp::ZERO)..=(user.clone(), Stamp::MAX))
            .map(|((_, pos), row)| (*pos, row.clone()))
            .collect()
    }
}

impl Tables {
    fn apply(&mut self, write: &Write) {
        match write.clone() {
            Write::Body(message) => {
                self.last = self.last.max(message.at);
                let log = message.log();
                self.bodies.insert((log, message.at, message.id), message);
            }
            Write::Entry { user, pos, row } => {
                self.last = self.last.max(pos);
                self.entries.insert((user, pos), row);
            }
            Write::Mailbox { user, row } => {
                self.mailboxes.insert(user, row);
            }
            Write::Conversation { user, conversation, row } => {
                self.conversations.insert((user, conversation), row);
            }
            Write::Fact { key, fact } => {
                self.last = self.last.max(fact.stamp);
                if self.facts.get(&key).is_none_or(|there| !there.beats(&fact)) {
                    self.facts.insert(key, fact);
                }
            }
            Write::Claim { user, row } => {
                self.last = self.last.max(row.stamp);
                self.last = row.chain.iter().map(|epoch| epoch.base).fold(self.last, Stamp::max);
                self.claims.insert(user, row);
            }
            Write::Outbox { peer, number, parcel, logged } => {
                self.outbox.insert((peer, number), (parcel, logged));
            }
            Write::OutboxDone { peer, from, upto } => {
                self.outbox.retain(|(of, number), _| *of != peer || *number < from || *number > upto);
            }
            Write::Forget { user } => {
                self.entries.retain(|(of, _), _| *of != user);
                self.conversations.retain(|(of, _), _| *of != user);
                self.mailboxes.remove(&user);
            }
            Write::TrimMailbox { user, upto } => {
                self.entries.retain(|(of, pos), _| *of != user || *pos > upto);
            }
            Write::TrimLog { log, upto } => {
                self.bodies.retain(|(of, at, _), _| *of != log || *at > upto);
            }
        }
    }

    fn what(&self, user: &UserKey, row: &EntryRow) -> Option<What> {
        match row {
            EntryRow::Message { id, at, conversation, ordinal, .. } => {
                let message = self.bodies.get(&(conversation.log(user), *at, *id))?.clone();
                Some(What::Message { message, ordinal: *ordinal })
            }
            EntryRow::Change(change) => Some(What::Change(change.clone())),
        }
    }
}

impl Store for MemoryStore {
    fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut tables = self.0.write();
        writes.iter().for_each(|write| tables.apply(write));
        Ok(())
    }

    fn last_stamp(&self) -> Result<Stamp, StoreError> {
        Ok(self.0.read().last)
    }

    fn load(&self, user: &UserKey) -> Result<Snapshot, StoreError> {
        let tables = self.0.read();
        let mailbox = tables.mailboxes.get(user).cloned();
        let last = mailbox.as_ref().map_or(Stamp::ZERO, |row| row.last);
        Ok(Snapshot {
            mailbox,
            conversations: tables
                .conversations
                .iter()
                .filter(|((of, _), _)| of == user)
                .map(|((_, conversation), row)| (conversation.clone(), row.clone()))
                .collect(),
            after: tables
                .entries
                .range((Excluded((user.clone(), last)), Included((user.clone(), Stamp::MAX))))
                .map(|((_, pos), row)| (*pos, row.clone()))
                .collect(),
            chain: tables.claims.get(&UserHash::of(user)).map(|row| row.chain.clone()).unwrap_or_default(),
        })
    }

    fn entries(
        &self,
        user: &UserKey,
        after: Stamp,
        limit: usize,
        max_bytes: usize,
    ) -> Result<EntryPage, StoreError> {
        let tables = self.0.read();
        let mut page = EntryPage { last: after, ..EntryPage::default() };
        let mut bytes = 0;
        let range = (Excluded((user.clone(), after)), Included((user.clone(), Stamp::MAX)));
        for ((_, pos), row) in tables.entries.range(range) {
            if page.entries.len() == limit || bytes > max_bytes {
                page.more = true;
                break;
            }
            page.last = *pos;
            if let Some(what) = tables.what(user, row) {
                if let What::Message { message, .. } = &what {
                    bytes += message.content.json().len();
                }
                page.entries.push(Entry { pos: *pos, what });
            }
        }
        Ok(page)
    }

    fn entry(&self, user: &UserKey, pos: Stamp) -> Result<Option<EntryRow>, StoreError> {
        Ok(self.0.read().entries.get(&(user.clone(), pos)).cloned())
    }

    fn history(
        &self,
        log: &Log,
        page: Page,
        limit: usize,
        keep: &dyn Fn(&Message) -> bool,
    ) -> Result<(Vec<Arc<Message>>, bool), StoreError> {
        let tables = self.0.read();
        let key = |at, id| (log.clone(), at, MessageId(id));
        let range = match page {
            Page::Before(at) => (Included(key(Stamp::ZERO, 0)), Excluded(key(at, 0))),
            Page::After(at) => (Excluded(key(at, u128::MAX)), Included(key(Stamp::MAX, u128::MAX))),
        };
        let kept = tables.bodies.range(range).map(|(_, message)| message).filter(|message| keep(message));
        let mut found: Vec<_> = match page {
            Page::Before(_) => kept.rev().take(limit + 1).cloned().collect(),
            Page::After(_) => kept.take(limit + 1).cloned().collect(),
        };
        let more = found.len() > limit;
        found.truncate(limit);
        if matches!(page, Page::Before(_)) {
            found.reverse();
        }
        Ok((found, more))
    }

    fn message(&self, log: &Log, at: Stamp, id: MessageId) -> Result<Option<Arc<Message>>, StoreError> {
        Ok(self.0.read().bodies.get(&(log.clone(), at, id)).cloned())
    }

    fn facts(&self, each: &mut dyn FnMut(FactKey, Fact)) -> Result<(), StoreError> {
        for (key, fact) in self.0.read().facts.iter().filter(|(key, _)| Directory::holds(key)) {
            each(key.clone(), fact.clone());
        }
        Ok(())
    }

    fn facts_after(&self, after: Option<&FactKey>, limit: usize) -> Result<Vec<(FactKey, Fact)>, StoreError> {
        let tables = self.0.read();
        let from = after.map_or(Unbounded, Excluded);
        let rows = tables.facts.range((from, Unbounded)).take(limit);
        Ok(rows.map(|(key, fact)| (key.clone(), fact.clone())).collect())
    }

    fn profile(&self, user: &UserKey) -> Result<Profile, StoreError> {
        let tables = self.0.read();
        let value = |key| tables.facts.get(&key).and_then(|fact| fact.value.clone());
        let text = |key| match value(key) {
            Some(FactValue::Text(text)) => text,
            _ => "".into(),
        };
        Ok(Profile {
            name: text(FactKey::Name(user.clone())),
            portrait: text(FactKey::Portrait(user.clone())),
            created: match value(FactKey::Created(user.clone())) {
                Some(FactValue::Number(at)) => Some(Stamp(at)),
                _ => None,
            },
        })
    }

    fn users(&self, app: &str, after: &str, limit: usize) -> Result<Vec<UserKey>, StoreError> {
        let tables = self.0.read();
        Ok(tables
            .facts
            .iter()
            .filter_map(|(key, fact)| match key {
                FactKey::Created(user) if user.app() == app && user.id() > after && fact.value.is_some() => {
                    Some(user.clone())
                }
                _ => None,
            })
            .take(limit)
            .collect())
    }

    fn mailbox(&self, user: &UserKey) -> Result<Option<MailboxRow>, StoreError> {
        Ok(self.0.read().mailboxes.get(user).cloned())
    }

    fn claims(&self, each: &mut dyn FnMut(UserHash, ClaimRow)) -> Result<(), StoreError> {
        self.0.read().claims.iter().for_each(|(user, row)| each(*user, row.clone()));
        Ok(())
    }

    fn outboxes(&self, each: &mut dyn FnMut(NodeId, u64, Option<Parcel>)) -> Result<(), StoreError> {
        let tables = self.0.read();
        for ((peer, number), (parcel, logged)) in &tables.outbox {
            // As the embedded store does it, so that a simulation notices what is not in its log.
            let parcel = match Pointer::of(parcel).filter(|_| *logged) {
                Some(at) => {
                    tables.bodies.get(&(at.log(), at.at, at.id)).map(|found| at.parcel(found.clone()))
                }
                None => Some(Parcel::clone(parcel)),
            };
            each(*peer, *number, parcel);
        }
        Ok(())
    }

    fn export(
        &self,
        user: &UserKey,
        after: Stamp,
        limit: usize,
        max_bytes: usize,
    ) -> Result<Export, StoreError> {
        let tables = self.0.read();
        let mut page = Export { last: after, ..Export::default() };
        let mut bytes = 0;
        let range = (Excluded((user.clone(), after)), Included((user.clone(), Stamp::MAX)));
        for ((_, pos), row) in tables.entries.range(range) {
            if page.rows.len() == limit || bytes > max_bytes {
                page.more = true;
                break;
            }
            page.last = *pos;
            let message = match tables.what(user, row) {
                Some(What::Message { message, .. }) => Some(message),
                _ => None,
            };
            bytes += message.as_ref().map_or(64, |message| message.content.json().len() + 256);
            page.rows.push((*pos, row.clone(), message));
        }
        Ok(page)
    }

    fn mailboxes(&self, resume: Option<&UserKey>, limit: usize) -> Result<Vec<UserKey>, StoreError> {
        let tables = self.0.read();
        let from = resume.map_or(Unbounded, |user| Excluded(user.clone()));
        Ok(tables.mailboxes.range((from, Unbounded)).take(limit).map(|(user, _)| user.clone()).collect())
    }

    fn expired_mailboxes(
        &self,
        cutoff: Stamp,
        resume: Option<&UserKey>,
        limit: usize,
    ) -> Result<Vec<(UserKey, Stamp)>, StoreError> {
        let tables = self.0.read();
        let from = resume.map_or(Unbounded, |user| Excluded((user.clone(), Stamp::MAX)));
        let mut found: BTreeMap<UserKey, (Stamp, usize)> = BTreeMap::new();
        for (user, pos) in
            tables.entries.range((from, Unbounded)).map(|(key, _)| key).filter(|(_, pos)| *pos < cutoff)
        {
            if found.len() == limit && !found.contains_key(user) {
                break;
            }
            let (upto, count) = found.entry(user.clone()).or_default();
            if *count < 1_000 {
                (*upto, *count) = (*pos, *count + 1);
            }
        }
        Ok(found.into_iter().map(|(user, (upto, _))| (user, upto)).collect())
    }

    fn expired_logs(
        &self,
        kind: Kind,
        cutoff: Stamp,
        resume: Option<&Log>,
        limit: usize,
    ) -> Result<Vec<(Log, Stamp)>, StoreError> {
        let tables = self.0.read();
        let from = resume.map_or(Unbounded, |log| Excluded((log.clone(), Stamp::MAX, MessageId(u128::MAX))));
        let mut found: BTreeMap<Log, (Stamp, usize)> = BTreeMap::new();
        for ((log, at, _), message) in tables.bodies.range((from, Unbounded)) {
            if message.kind != kind || *at >= cutoff {
                continue;
            }
            if found.len() == limit && !found.contains_key(log) {
                break;
            }
            let (upto, count) = found.entry(log.clone()).or_default();
            if *count < 1_000 {
                (*upto, *count) = (*at, *count + 1);
            }
        }
        Ok(found.into_iter().map(|(log, (upto, _))| (log, upto)).collect())
    }
}
