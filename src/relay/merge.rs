//! Making one mailbox of two.
//!
//! Purpose: after an owner was succeeded although it lived, all that either side accepted is in one mailbox once (P2, P3), and
//! no device misses or gets anything twice that it need not (P6).
//! Algorithm: rows of theirs whose message is among mine are dropped. If mine began empty, what is left of theirs up to the
//! lowest cursor that a device of mine had there keeps its positions: those devices have it, and it lies before all that
//! is mine. Everything else of theirs is appended at new positions ("late"). A late message that was read on their side no
//! longer counts; ordinals of mine move up by what was put before them.
//! Pure, and without state.

use super::{
    frames::Rest,
    hash::{Map, map},
    mailbox::{MAX_CHAIN, Mailbox, SENT_WINDOW},
};
use crate::{
    model::{Change, Clock, Conversation, EntryRow, Epoch, Flags, Message, MessageId, Stamp},
    store::{ConversationRow, DeviceRow, ExportRow, MailboxRow},
};
use std::{collections::BTreeMap, sync::Arc};

/// The other mailbox.
#[derive(Debug)]
pub(super) struct Theirs {
    pub rows: Vec<ExportRow>,
    pub rest: Rest,
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// Rows to be written at these positions.
    pub rows: Vec<(Stamp, EntryRow)>,
    /// Rows to be appended, in order.
    pub late: Vec<(EntryRow, Option<Arc<Message>>)>,
    /// The checkpoint before the late rows.
    pub mailbox: MailboxRow,
    /// Those of all conversations.
    pub conversations: Vec<(Conversation, ConversationRow)>,
    pub chain: Vec<Epoch>,
}

fn counts(mine: bool, flags: Flags) -> bool {
    !mine && flags.has(Flags::COUNTED)
}

/// Works out what makes `mailbox`, whose rows are `mine`, and `theirs` one.
pub(super) fn plan(mine: &[(Stamp, EntryRow)], mailbox: &Mailbox, theirs: Theirs, forgets_ids: bool) -> Plan {
    let Theirs { rows, rest } = theirs;
    let (my_row, my_talks) = mailbox.whole();
    // A mailbox that was taken over without its rows has none from before.
    let recovered = mailbox.recovered_at();
    let base = recovered.unwrap_or_else(|| mailbox.chain.last().map_or(Stamp::ZERO, |epoch| epoch.base));
    let began_empty = recovered.is_some() && mine.first().is_none_or(|(pos, _)| *pos > base);
    let mut ids: Map<MessageId, ()> = map();
    let mut changes: Vec<&Change> = Vec::new();
    for (_, row) in mine {
        match row {
            EntryRow::Message { id, .. } => {
                ids.insert(*id, ());
            }
            EntryRow::Change(change) => changes.push(change),
        }
    }
    if forgets_ids {
        ids.clear();
    }
    let limit = if began_empty {
        lowest_cursor(&my_row.devices, &rest.mailbox.devices).min(base)
    } else {
        Stamp::ZERO
    };

    let mut talks: BTreeMap<Conversation, ConversationRow> = my_talks.into_iter().collect();
    let mut theirs: BTreeMap<Conversation, Numbering> = BTreeMap::new();
    let (mut kept, mut late) = (Vec::new(), Vec::new());
    for (conversation, row) in &rest.conversations {
        theirs.insert(conversation.clone(), Numbering::of(row));
    }
    for (pos, row, message) in rows {
        match row {
            EntryRow::Message { id, at, conversation, mine, flags, ordinal } => {
                let numbering = theirs.entry(conversation.clone()).or_default();
                let counts = counts(mine, flags);
                let read = ordinal <= numbering.read;
                numbering.begin(ordinal, counts);
                if ids.contains_key(&id) {
                    continue;
                }
                if pos <= limit {
                    let ordinal = numbering.keep(counts, read);
                    kept.push((pos, EntryRow::Message { id, at, conversation, mine, flags, ordinal }));
                } else {
                    let flags = flags.with(Flags::COUNTED, flags.has(Flags::COUNTED) && !read);
                    late.push((EntryRow::Message { id, at, conversation, mine, flags, ordinal }, message));
                }
            }
            EntryRow::Change(change) if pos <= limit => kept.push((pos, EntryRow::Change(change))),
            // What was read on the other side no longer counts. Its watermark means nothing here, but for what keeps its place.
            EntryRow::Change(Change::Read { conversation, .. }) => {
                theirs.entry(conversation).or_default().read_late = true;
            }
            EntryRow::Change(change) if changes.contains(&&change) => {}
            EntryRow::Change(change) => late.push((EntryRow::Change(change), None)),
        }
    }

    let mut out = kept;
    if began_empty {
        let shift =
            |conversation: &Conversation| theirs.get(conversation).map_or(0, |numbering| numbering.count);
        for (pos, row) in mine {
            let mut row = row.clone();
            let moved = match &mut row {
                EntryRow::Message { conversation, ordinal, .. }
                | EntryRow::Change(Change::Read { conversation, ordinal, .. }) => {
                    let by = shift(conversation);
                    *ordinal += by;
                    by > 0
                }
                EntryRow::Change(_) => false,
            };
            if moved {
                out.push((*pos, row));
            }
        }
        for (conversation, row) in rest.conversations {
            let numbering = theirs.get(&conversation).copied().unwrap_or_default();
            let newest = newest_kept(&out, &conversation, base);
            let name = conversation.clone();
            let talk = talks.entry(conversation).or_default();
            let read_here = talk.read_ordinal > 0;
            talk.counted += numbering.count;
            talk.read_ordinal =
                if read_here { talk.read_ordinal + numbering.count } else { numbering.kept_read };
            talk.read = talk.read.max(row.read.min(limit));
            talk.peer_read = talk.peer_read.max(row.peer_read);
            talk.removed = talk.removed.max(row.removed.min(limit));
            if numbering.read_late && numbering.kept_read > 0 {
                let (upto, ordinal) = (row.read.min(limit), numbering.kept_read);
                let change = Change::Read { conversation: name, upto, ordinal, removed: false };
                late.push((EntryRow::Change(change), None));
            }
            if talk.last == Stamp::ZERO
                && let Some((pos, at, id)) = newest
            {
                (talk.last, talk.last_at, talk.last_id) = (pos, at, id.0);
            }
        }
    } else {
        for (conversation, row) in rest.conversations {
            let talk = talks.entry(conversation).or_default();
            talk.peer_read = talk.peer_read.max(row.peer_read);
        }
    }

    let mut chain = mailbox.chain.clone();
    if began_empty && let Some(at) = chain.iter().rposition(|epoch| epoch.recovered) {
        let since = chain.split_off(at);
        chain = rest.chain;
        chain.extend(since);
        chain.drain(..chain.len().saturating_sub(MAX_CHAIN));
    }
    let last = out.iter().map(|(pos, _)| *pos).fold(my_row.last, Stamp::max);
    let mut sent: Vec<_> = rest.mailbox.sent.into_iter().filter(|row| row.pos <= limit).collect();
    sent.retain(|row| !my_row.sent.iter().any(|mine| mine.id == row.id));
    sent.extend(my_row.sent.iter().copied());
    sent.drain(..sent.len().saturating_sub(SENT_WINDOW));
    let trimmed = if began_empty { rest.mailbox.trimmed.max(my_row.trimmed) } else { my_row.trimmed };
    let mut devices = my_row.devices;
    for row in rest.mailbox.devices {
        if !devices.iter().any(|mine| mine.device == row.device) {
            // What it has of theirs says nothing about rows of mine that lie among them.
            let cursor = if began_empty { row.cursor.min(base) } else { trimmed };
            devices.push(DeviceRow { cursor, born: Stamp::ZERO, ..row });
        }
    }
    let doubtful_until = my_row.doubtful_until.max(rest.mailbox.doubtful_until);
    let mailbox = MailboxRow { last, trimmed, devices, sent, doubtful_until };
    Plan { rows: out, late, mailbox, conversations: talks.into_iter().collect(), chain }
}

/// Up to where no device of mine needs to be given anything of theirs: each has it, or, being new, would have started there.
fn lowest_cursor(mine: &[DeviceRow], theirs: &[DeviceRow]) -> Stamp {
    let furthest = theirs.iter().map(|row| row.cursor).max().unwrap_or_default();
    let cursor = |mine: &DeviceRow| {
        let theirs = theirs.iter().find(|row| row.device == mine.device).map(|row| row.cursor);
        // One that they do not know is owed what they have had since it came first, clocks that are off counted in.
        theirs.unwrap_or(furthest.min(Stamp(mine.born.0.saturating_sub(Clock::MAX_AHEAD_US))))
    };
    mine.iter().map(cursor).min().unwrap_or(Stamp::MAX)
}

fn newest_kept(
    rows: &[(Stamp, EntryRow)],
    of: &Conversation,
    base: Stamp,
) -> Option<(Stamp, Stamp, MessageId)> {
    rows.iter().rev().filter(|(pos, _)| *pos <= base).find_map(|(pos, row)| match row {
        EntryRow::Message { id, at, conversation, flags, .. }
            if conversation == of && flags.has(Flags::STORED) =>
        {
            Some((*pos, *at, *id))
        }
        _ => None,
    })
}

/// The ordinals of one conversation of theirs.
#[derive(Clone, Copy, Debug, Default)]
struct Numbering {
    /// How far it was read there.
    read: u32,
    begun: bool,
    /// Counted messages up to the last one that was kept, those before the first row included.
    count: u32,
    /// Those of them that were read.
    kept_read: u32,
    /// It was read after what keeps its place.
    read_late: bool,
}

impl Numbering {
    fn of(row: &ConversationRow) -> Self {
        // Without any row all that it ever counted lies before.
        Self {
            read: row.read_ordinal,
            begun: false,
            count: row.counted,
            kept_read: row.read_ordinal,
            read_late: false,
        }
    }

    fn begin(&mut self, ordinal: u32, counts: bool) {
        if !self.begun {
            self.begun = true;
            self.count = ordinal.saturating_sub(u32::from(counts));
            self.kept_read = self.read.min(self.count);
        }
    }

    fn keep(&mut self, counts: bool, read: bool) -> u32 {
        self.count += u32::from(counts);
        self.kept_read += u32::from(counts && read);
        self.count
    }
}
