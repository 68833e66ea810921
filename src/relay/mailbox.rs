//! Mailboxes in memory: what a user's entries add up to.
//!
//! Purpose: give every entry of a user one place in one order (P5), and keep what follows from the entries:
//! conversations, unread counts, own latest sends, devices.
//! Flow: [`Mailbox::apply`] folds one row in. It is the same for a row that is being written and one
//! that is read back after a crash, so the state is a function of the log and the checkpoint it began from.
//! Invariants: rows are applied in order of position; `committed` never runs ahead of the disk.
//! Pure: time comes in as an argument.

use super::{ConversationState, SessionId, hash::Map, inbound::Known};
use crate::{
    model::{
        Change, Conversation, DeviceId, EntryRow, Epoch, Flags, Kind, Message, MessageId, Reign, Stamp,
        UserKey,
    },
    store::{ConversationRow, DeviceRow, MailboxRow, SentRow, Snapshot},
};
use std::collections::VecDeque;

/// Own sends remembered for each user. A client keeps at most 128 unanswered, so this covers several
/// devices that all lost their answers at once.
pub(super) const SENT_WINDOW: usize = 512;

/// Devices remembered for each user.
pub(super) const MAX_DEVICES: usize = 32;

/// How long after a mailbox or a device has come from another owner sends may be retries of what that one accepted.
pub(super) const DOUBT_US: u64 = 600_000_000;

/// Reigns that a mailbox remembers.
pub(super) const MAX_CHAIN: usize = 16;

/// A conversation in memory.
#[derive(Debug, Default)]
pub(super) struct Talk {
    pub row: ConversationRow,
    /// Position and time of the newest message from the peer that no device has acked yet.
    pub undelivered: Option<(Stamp, Stamp)>,
    dirty: bool,
}

/// One user's mailbox.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub user: UserKey,
    /// Position of the last entry, on disk or on its way there.
    pub last: Stamp,
    /// Position of the last entry that is on disk.
    pub committed: Stamp,
    /// Retention has removed entries up to here.
    pub trimmed: Stamp,
    pub devices: Vec<DeviceRow>,
    pub talks: Map<Conversation, Talk>,
    pub sessions: Vec<SessionId>,
    /// The reigns that its positions come from, this node's last; empty without peers.
    pub chain: Vec<Epoch>,
    /// What it holds of late, while parcels come that it may have.
    pub known: Option<Known>,
    /// Until then `known` is kept: what is on its way to a former owner may still come.
    pub known_until: Stamp,
    /// The store has a checkpoint of it, so that a look through the store finds it.
    pub stored: bool,
    /// It must not leave memory.
    pub pinned: bool,
    /// Until then a send may be a retry of one that a former owner accepted.
    pub doubtful_until: Stamp,
    /// Used since the eviction hand last came by.
    pub used: bool,
    sent: VecDeque<SentRow>,
    sent_index: Map<MessageId, SentRow>,
    undelivered: Vec<Conversation>,
    dirty_talks: Vec<Conversation>,
    dirty: bool,
}

impl Mailbox {
    /// Takes up the mailbox of `user` from what the store has.
    pub fn restore(user: UserKey, snapshot: Snapshot) -> Self {
        let stored = snapshot.mailbox.is_some();
        let row = snapshot.mailbox.unwrap_or_default();
        let mut mailbox = Self {
            user,
            last: row.last,
            committed: row.last,
            trimmed: row.trimmed,
            devices: row.devices,
            talks: super::hash::map(),
            sessions: Vec::new(),
            chain: snapshot.chain,
            known: None,
            known_until: Stamp::ZERO,
            stored,
            pinned: false,
            doubtful_until: row.doubtful_until,
            used: true,
            sent: VecDeque::new(),
            sent_index: super::hash::map(),
            undelivered: Vec::new(),
            dirty_talks: Vec::new(),
            dirty: false,
        };
        row.sent.into_iter().for_each(|sent| mailbox.remember(sent));
        for (conversation, row) in snapshot.conversations {
            mailbox.talks.insert(conversation, Talk { row, ..Talk::default() });
        }
        for (pos, row) in &snapshot.after {
            mailbox.apply(*pos, row);
        }
        mailbox.committed = mailbox.last;
        mailbox
    }

    /// Folds one row in. `pos` is above all before it.
    pub fn apply(&mut self, pos: Stamp, row: &EntryRow) {
        debug_assert!(pos > self.last, "{:?}: {pos} after {}", self.user, self.last);
        self.last = pos;
        if let Some(known) = &mut self.known {
            known.add(row);
            if known.is_full() {
                self.known = None;
            }
        }
        match row {
            EntryRow::Message { id, at, conversation, mine, flags, ordinal } => {
                let talk = self.touch(conversation);
                talk.row.counted = *ordinal;
                if flags.has(Flags::STORED) {
                    talk.row.last = pos;
                    talk.row.last_at = *at;
                    talk.row.last_id = id.0;
                }
                if *mine {
                    self.remember(SentRow { id: *id, at: *at, pos });
                } else {
                    let waits = talk.undelivered.replace((pos, *at)).is_some();
                    if !waits {
                        self.undelivered.push(conversation.clone());
                    }
                }
            }
            EntryRow::Change(Change::Read { conversation, upto, ordinal, removed }) => {
                let talk = self.touch(conversation);
                talk.row.read = talk.row.read.max(*upto);
                talk.row.read_ordinal = talk.row.read_ordinal.max(*ordinal);
                if *removed {
                    talk.row.removed = talk.row.last;
                }
            }
            EntryRow::Change(Change::Receipt { conversation, at }) => {
                let talk = self.touch(conversation);
                talk.row.peer_read = talk.row.peer_read.max(*at);
            }
            EntryRow::Change(Change::Recall { .. }) => {}
        }
    }

    /// The conversation's state, made if it is not there, and marked to be written.
    fn touch(&mut self, conversation: &Conversation) -> &mut Talk {
        if !self.talks.contains_key(conversation) {
            self.talks.insert(conversation.clone(), Talk::default());
        }
        let Some(talk) = self.talks.get_mut(conversation) else { unreachable!("just inserted") };
        if !talk.dirty {
            talk.dirty = true;
            self.dirty_talks.push(conversation.clone());
        }
        talk
    }

    fn remember(&mut self, sent: SentRow) {
        if self.sent.len() == SENT_WINDOW
            && let Some(oldest) = self.sent.pop_front()
        {
            self.sent_index.remove(&oldest.id);
        }
        self.sent.push_back(sent);
        self.sent_index.insert(sent.id, sent);
    }

    /// The user's own send of this id, if it is among the latest [`SENT_WINDOW`].
    pub fn sent(&self, id: MessageId) -> Option<SentRow> {
        self.sent_index.get(&id).copied()
    }

    /// The conversation of `message`, in the copy that the mailbox already has, so that its target is kept in memory once;
    /// and how many messages of it have counted.
    pub fn conversation_of(&self, message: &Message) -> (Conversation, u32) {
        let known = self.talks.get_key_value(&message.conversation_name(&self.user));
        known.map_or_else(
            || (message.conversation(&self.user), 0),
            |(known, talk)| (known.clone(), talk.row.counted),
        )
    }

    /// The device's row, made at `cursor` if it is not there. The longest gone gives way when there are too many.
    pub fn device(&mut self, device: &DeviceId, cursor: Stamp, now: Stamp) -> &mut DeviceRow {
        let at = self.devices.iter().position(|row| row.device == *device).unwrap_or_else(|| {
            if self.devices.len() >= MAX_DEVICES
                && let Some(oldest) = (0..self.devices.len()).min_by_key(|&i| self.devices[i].seen)
            {
                self.devices.swap_remove(oldest);
            }
            self.devices.push(DeviceRow { device: device.clone(), cursor, seen: now, born: Stamp::ZERO });
            self.devices.len() - 1
        });
        &mut self.devices[at]
    }

    /// How far the device that has got furthest has got.
    pub fn furthest(&self) -> Stamp {
        self.devices.iter().map(|row| row.cursor).max().unwrap_or_default()
    }

    /// Moves a device's cursor to `pos`. Gives the peers whose messages have now reached a device for the first
    /// time: conversation, and up to which message time.
    pub fn acked(&mut self, device: &DeviceId, pos: Stamp, now: Stamp) -> Vec<(Conversation, Stamp)> {
        let row = self.device(device, pos, now);
        row.seen = now;
        row.cursor = row.cursor.max(pos);
        let talks = &mut self.talks;
        let mut reached = Vec::new();
        self.undelivered.retain(|conversation| {
            let Some(talk) = talks.get_mut(conversation) else {
                return false;
            };
            match talk.undelivered {
                Some((newest, at)) if newest <= pos => {
                    talk.undelivered = None;
                    if conversation.kind == Kind::Private {
                        reached.push((conversation.clone(), at));
                    }
                    false
                }
                Some(_) => true,
                None => false,
            }
        });
        reached
    }

    /// The conversation as its user has it.
    pub fn state(&self, conversation: &Conversation) -> Option<ConversationState> {
        self.talks.get(conversation).map(|talk| state(conversation, &talk.row))
    }

    /// Conversations on the list whose newest message stands before `before`, newest first, and whether there are more.
    pub fn list(&self, before: Stamp, limit: usize) -> (Vec<ConversationState>, bool) {
        let mut found: Vec<_> = self
            .talks
            .iter()
            .filter(|(_, talk)| talk.row.last > talk.row.removed && talk.row.last < before)
            .map(|(conversation, talk)| state(conversation, &talk.row))
            .collect();
        found.sort_unstable_by_key(|state| std::cmp::Reverse(state.last));
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }

    /// Sum of all unread counts.
    pub fn unread(&self) -> u64 {
        self.talks.values().map(|talk| u64::from(unread(&talk.row))).sum()
    }

    /// The reign under which its positions are given now.
    pub fn reign(&self) -> Option<Reign> {
        self.chain.last().map(|epoch| epoch.reign)
    }

    /// Whether it had other owners before this node.
    pub fn had_others(&self) -> bool {
        self.chain.len() > 1 || self.recovered_at().is_some()
    }

    /// Where an owner last took it over without what the owner before had. What that one had lies below, when it comes, or
    /// is not known here.
    pub fn recovered_at(&self) -> Option<Stamp> {
        self.chain.iter().rev().find(|epoch| epoch.recovered).map(|epoch| epoch.base)
    }

    /// Where the stream goes on for a device that has all up to `cursor`, a position given under `reign`, and whether that
    /// lies before what it says it has. `known` is the device's cursor as it stands here.
    pub fn bound(&self, cursor: Stamp, reign: Option<Reign>, known: Option<Stamp>) -> (Stamp, bool) {
        let Some(own) = self.chain.last() else { return (cursor, false) };
        let bound = match reign {
            Some(reign) if reign == own.reign => return (cursor, false),
            Some(reign) => match self.chain.iter().position(|epoch| epoch.reign == reign) {
                // What that owner gave and was handed on lies below where its successor began.
                Some(at) => self.chain[at + 1].base,
                // Its positions say nothing about what is here, but for what the device is known to have of it.
                None => known.unwrap_or(self.trimmed),
            },
            None => own.base.max(known.unwrap_or_default()),
        };
        (cursor.min(bound), cursor > bound)
    }

    /// The checkpoint of everything.
    pub fn whole(&self) -> (MailboxRow, Vec<(Conversation, ConversationRow)>) {
        let mut rows: Vec<_> =
            self.talks.iter().map(|(conversation, talk)| (conversation.clone(), talk.row.clone())).collect();
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        (self.row(), rows)
    }

    fn row(&self) -> MailboxRow {
        MailboxRow {
            last: self.last,
            trimmed: self.trimmed,
            devices: self.devices.clone(),
            sent: self.sent.iter().copied().collect(),
            doubtful_until: self.doubtful_until,
        }
    }

    /// Whether a checkpoint would write anything.
    pub const fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The mailbox's checkpoint, and those of the conversations that changed since the last.
    pub fn checkpoint(&mut self) -> (MailboxRow, Vec<(Conversation, ConversationRow)>) {
        (self.dirty, self.stored) = (false, true);
        let rows = std::mem::take(&mut self.dirty_talks)
            .into_iter()
            .filter_map(|conversation| {
                let talk = self.talks.get_mut(&conversation)?;
                talk.dirty = false;
                Some((conversation, talk.row.clone()))
            })
            .collect();
        (self.row(), rows)
    }

    /// Marks the checkpoint as in need of writing.
    pub const fn mark_dirty(&mut self) {
        self.dirty = true;
    }
}

/// Unread messages of a conversation: the difference of two ordinals, so it cannot drift.
pub(super) const fn unread(row: &ConversationRow) -> u32 {
    row.counted.saturating_sub(row.read_ordinal)
}

fn state(conversation: &Conversation, row: &ConversationRow) -> ConversationState {
    ConversationState {
        conversation: conversation.clone(),
        last: row.last,
        last_at: row.last_at,
        last_id: MessageId(row.last_id),
        unread: unread(row),
        read: row.read,
        peer_read: row.peer_read,
        peer_delivered: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(target: &str) -> Conversation {
        Conversation::new(Kind::Private, target).unwrap()
    }

    fn rows() -> impl Strategy<Value = Vec<EntryRow>> {
        let row = (0_u8..4, 0_u8..3, any::<bool>(), 0_u64..40, any::<bool>());
        proptest::collection::vec(row, 0..60).prop_map(|all| {
            let mut counted = [0_u32; 3];
            let mut rows = Vec::new();
            for (i, (sort, peer, flag, back, removed)) in all.into_iter().enumerate() {
                let conversation = with(["bo", "cy", "di"][peer as usize]);
                let pos = i as u64 + 1;
                let counted = &mut counted[peer as usize];
                rows.push(match sort {
                    0 | 1 => {
                        let mine = sort == 0;
                        *counted += u32::from(!mine && flag);
                        EntryRow::Message {
                            id: MessageId(u128::from(pos)),
                            at: Stamp(pos),
                            conversation,
                            mine,
                            flags: Flags::STORED.with(Flags::COUNTED, flag),
                            ordinal: *counted,
                        }
                    }
                    2 => EntryRow::Change(Change::Read {
                        conversation,
                        upto: Stamp(pos.saturating_sub(back)),
                        ordinal: counted.saturating_sub(back as u32),
                        removed,
                    }),
                    _ => EntryRow::Change(Change::Receipt {
                        conversation,
                        at: Stamp(pos.saturating_sub(back)),
                    }),
                });
            }
            rows
        })
    }

    proptest! {
        #[test]
        fn a_checkpoint_and_the_rows_after_it_add_up_to_the_whole_log(rows in rows(), cut in 0_usize..60) {
            let user = UserKey::new("app", "ann").unwrap();
            let cut = cut.min(rows.len());
            let numbered: Vec<_> = rows.into_iter().enumerate().map(|(i, row)| (Stamp(i as u64 + 1), row)).collect();
            let mut whole = Mailbox::restore(user.clone(), Snapshot::default());
            for (pos, row) in &numbered { whole.apply(*pos, row); }

            let mut first = Mailbox::restore(user.clone(), Snapshot::default());
            for (pos, row) in &numbered[..cut] { first.apply(*pos, row); }
            let (mailbox, conversations) = first.checkpoint();
            let mut again = Mailbox::restore(
                user,
                Snapshot { mailbox: Some(mailbox), conversations, after: numbered[cut..].to_vec(), ..Snapshot::default() },
            );
            prop_assert_eq!(again.list(Stamp::MAX, 100), whole.list(Stamp::MAX, 100));
            prop_assert_eq!(again.unread(), whole.unread());
            prop_assert_eq!(again.last, whole.last);
            prop_assert_eq!(again.checkpoint().0.sent, whole.checkpoint().0.sent);
        }
    }

    #[test]
    fn unread_counts_what_others_sent_after_the_watermark() {
        let mut mailbox = Mailbox::restore(UserKey::new("app", "ann").unwrap(), Snapshot::default());
        for n in 1..=5_u32 {
            let counted = mailbox.talks.get(&with("bo")).map_or(0, |talk| talk.row.counted);
            let ordinal = counted + u32::from(n != 3);
            let flags = Flags::STORED.with(Flags::COUNTED, n != 3);
            let id = MessageId(u128::from(n));
            let at = Stamp(u64::from(n));
            mailbox.apply(
                at,
                &EntryRow::Message { id, at, conversation: with("bo"), mine: false, flags, ordinal },
            );
        }
        assert_eq!(mailbox.unread(), 4);
        mailbox.apply(
            Stamp(9),
            &EntryRow::Change(Change::Read {
                conversation: with("bo"),
                upto: Stamp(4),
                ordinal: 3,
                removed: false,
            }),
        );
        assert_eq!(mailbox.unread(), 1);
        assert_eq!(mailbox.acked(&"phone".into(), Stamp(4), Stamp(10)), []);
        assert_eq!(mailbox.acked(&"phone".into(), Stamp(5), Stamp(10)), [(with("bo"), Stamp(5))]);
    }

    #[test]
    fn the_longest_gone_device_is_forgotten_first() {
        let mut mailbox = Mailbox::restore(UserKey::new("app", "ann").unwrap(), Snapshot::default());
        for n in 0..=MAX_DEVICES as u64 {
            mailbox.device(&format!("d{n}").into(), Stamp(n), Stamp(100 + n));
        }
        assert_eq!(mailbox.devices.len(), MAX_DEVICES);
        assert!(mailbox.devices.iter().all(|row| &*row.device != "d0"));
    }
}
