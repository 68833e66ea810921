//! Parcels of peers, into mailboxes of this node.
//!
//! Purpose: each parcel enters its mailbox once (P3), and its sender hears that it is durable when it is (P2).
//! Flow: `parcel` → the mailbox, or back to the sender with the word who owns it → after the commit, `Done`.
//! A parcel that may have come before waits until the mailbox's entries since it was made have been read.
//! Invariants: `Done` names a number only when all up to it are durable here or were returned.
//! Pure: time comes in as an argument.

use super::{
    Effect, Frame, Input, Relay,
    commits::After,
    hash::{Map, map},
    mesh::Whose,
    slots::Slot,
};
use crate::{
    model::{Change, EntryRow, Item, MessageId, NodeId, Parcel, Stamp, UserHash, UserKey},
    store::Write,
};
use std::{collections::VecDeque, sync::Arc};

/// How long ids are kept in memory after they were needed.
const KEEP_US: u64 = 60_000_000;

/// Ids that a mailbox remembers to know a parcel again; past that it reads them anew when needed.
const MAX_KNOWN: usize = 100_000;

/// What has come over the present link from one peer.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Names the link.
    link: Stamp,
    /// Numbers in the order in which they came, and whether they are dealt with.
    open: VecDeque<(u64, bool)>,
    /// The highest number that came.
    last: u64,
    /// The highest number dealt with, all before it included.
    done: u64,
    told: u64,
    /// Users of whom a parcel was returned: those sent after it must not be taken before it.
    returned: Map<UserHash, ()>,
}

impl Inbound {
    pub fn new(link: Stamp) -> Self {
        Self { link, open: VecDeque::new(), last: 0, done: 0, told: 0, returned: map() }
    }

    /// Whether what came over `link` comes again over another.
    pub fn is_over(&self, link: Stamp) -> bool {
        self.link != link
    }

    fn begin(&mut self, number: u64) {
        if number > self.last {
            self.last = number;
            self.open.push_back((number, false));
        }
    }

    fn done(&mut self, (first, last): (u64, u64)) {
        let from = self.open.partition_point(|(number, _)| *number < first);
        for (_, is_done) in self.open.range_mut(from..).take_while(|(number, _)| *number <= last) {
            *is_done = true;
        }
        while let Some((number, true)) = self.open.front() {
            self.done = *number;
            self.open.pop_front();
        }
    }
}

/// Ids in a mailbox after a position.
#[derive(Debug)]
pub(super) struct Known {
    since: Stamp,
    /// And when they were accepted.
    messages: Map<MessageId, Stamp>,
    recalls: Map<MessageId, ()>,
}

impl Known {
    pub fn new(since: Stamp, rows: &[(Stamp, EntryRow)]) -> Self {
        let mut known = Self { since, messages: map(), recalls: map() };
        rows.iter().for_each(|(_, row)| known.add(row));
        known
    }

    pub fn add(&mut self, row: &EntryRow) {
        match row {
            EntryRow::Message { id, at, .. } => {
                self.messages.insert(*id, *at);
            }
            EntryRow::Change(Change::Recall { id, .. }) => {
                self.recalls.insert(*id, ());
            }
            EntryRow::Change(_) => {}
        }
    }

    /// When the message of that id was accepted, if it is here.
    pub fn at(&self, id: MessageId) -> Option<Stamp> {
        self.messages.get(&id).copied()
    }

    pub fn is_full(&self) -> bool {
        self.messages.len() > MAX_KNOWN
    }
}

impl Relay {
    /// A parcel has come.
    pub(super) fn parcel(
        &mut self,
        now: Stamp,
        from: NodeId,
        number: u64,
        parcel: Arc<Parcel>,
        anew: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(inbound) = mesh.inbound.get_mut(&from) else {
            return; // its link is gone; it comes again
        };
        inbound.begin(number);
        if anew {
            inbound.returned.remove(&UserHash::of(&parcel.to));
        }
        let link = inbound.link;
        self.arrived(now, from, link, number, parcel, effects);
    }

    /// A parcel that has come over that link is to be dealt with, perhaps after a wait.
    pub(super) fn arrived(
        &mut self,
        now: Stamp,
        from: NodeId,
        link: Stamp,
        number: u64,
        parcel: Arc<Parcel>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(inbound) = mesh.inbound.get_mut(&from).filter(|inbound| inbound.link == link) else {
            return; // its link is gone: it comes again, after those before it
        };
        // A mailbox that is open is this node's: nearly always that is all there is to it.
        if !inbound.returned.is_empty() || self.slots.find(&parcel.to).is_none() {
            let hash = UserHash::of(&parcel.to);
            if inbound.returned.contains_key(&hash) {
                return self.send_back(from, link, number, hash, effects);
            }
            match self.whose_known(&parcel.to, hash) {
                Whose::Mine => {}
                Whose::Nobody => self.take_over(now, &parcel.to),
                Whose::Peer(_) => return self.send_back(from, link, number, hash, effects),
            }
        }
        // What is held back for a mailbox that could not be read goes first.
        if self.is_unreadable(now, &parcel.to, effects) {
            return self.take_charge(now, from, link, number, &parcel);
        }
        let again = || Input::Arrived { from, link, number, parcel: parcel.clone() };
        let Some(slot) = self.knowing(&parcel.to, parcel.since, again, effects) else { return };
        self.receive(now, slot, &parcel);
        #[cfg(test)]
        if self.broken(super::sabotage::Sabotage::DoneBeforeFsync) {
            return self.received(from, link, (number, number));
        }
        self.commits.received(from, link, number);
    }

    fn send_back(
        &mut self,
        from: NodeId,
        link: Stamp,
        number: u64,
        user: UserHash,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(claim) = mesh.presence.claim(user) else {
            return;
        };
        if let Some(inbound) = mesh.inbound.get_mut(&from) {
            inbound.returned.insert(user, ());
        }
        effects.push(Effect::Send { to: from, frame: Frame::Return { number, claim } });
        self.received(from, link, (number, number));
    }

    /// Parcels are durable here, or were returned: from the first of the numbers to the last.
    pub(super) fn received(&mut self, from: NodeId, link: Stamp, numbers: (u64, u64)) {
        let inbound = self.mesh.as_mut().and_then(|mesh| mesh.inbound.get_mut(&from));
        if let Some(inbound) = inbound.filter(|inbound| inbound.link == link) {
            inbound.done(numbers);
        }
    }

    /// Tells peers how far their parcels have been dealt with.
    pub(super) fn acknowledge(&mut self, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        for (&peer, inbound) in &mut mesh.inbound {
            if inbound.done > inbound.told {
                inbound.told = inbound.done;
                effects.push(Effect::Send { to: peer, frame: Frame::Done { upto: inbound.done } });
            }
        }
    }

    /// The mailbox of `user`, with the ids of all its entries after `since` in memory. `None`: `input` waits.
    pub(super) fn knowing(
        &mut self,
        user: &UserKey,
        since: Option<Stamp>,
        input: impl FnOnce() -> Input,
        effects: &mut Vec<Effect>,
    ) -> Option<Slot> {
        let mut input = Some(input);
        let slot = self.mailbox_for(user, || input.take().map_or(Input::Tick, |input| input()), effects)?;
        let Some(since) = since else { return Some(slot) };
        if self.knows(slot, since) {
            return Some(slot);
        }
        self.slots.freeze(slot);
        if let Some(input) = input {
            self.slots.park(user, input());
        }
        // After what is under way is durable: nothing is added meanwhile.
        let ask = Effect::Rows { user: user.clone(), after: since };
        self.commits.after(After::Effect(ask));
        None
    }

    /// Whether the ids of all entries of that mailbox after `since` are in memory.
    pub(super) fn knows(&self, slot: Slot, since: Stamp) -> bool {
        #[cfg(test)]
        if self.broken(super::sabotage::Sabotage::UnsureNotLookedUp) {
            return true;
        }
        let known = self.slots.get(slot).and_then(|mailbox| mailbox.known.as_ref());
        known.is_some_and(|known| known.since <= since)
    }

    /// The entries of a mailbox that were asked for.
    pub(super) fn looked_back(
        &mut self,
        now: Stamp,
        user: &UserKey,
        after: Stamp,
        rows: Option<Vec<(Stamp, EntryRow)>>,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_merging(user) {
            return self.merge_rows(now, user, rows, effects);
        }
        let Some(slot) = self.slots.frozen(user) else { return };
        if self.is_going(user) {
            return;
        }
        let failed = rows.is_none();
        if let (Some(rows), Some(mailbox)) = (rows, self.slots.get_mut(slot)) {
            mailbox.known = Some(Known::new(after, &rows));
            mailbox.known_until = Stamp(now.0.saturating_add(KEEP_US));
        }
        let mut parked = self.slots.thaw(slot);
        if failed {
            parked.retain(|input| self.is_kept(now, input));
        }
        if let Some(claim) = self.claim_of(user).filter(|claim| claim.owner != self.node) {
            self.yield_to(now, user, claim.owner, effects);
        }
        self.again(now, parked, effects);
    }

    /// Whether that mailbox could not be read when something came for it, and parcels are held back for it still.
    ///
    /// Only then is a parcel taken charge of: of a mailbox that moves, later parcels would overtake it.
    fn is_unreadable(&mut self, now: Stamp, user: &UserKey, effects: &mut Vec<Effect>) -> bool {
        let unread = |mesh: &super::mesh::Mesh| !mesh.unreadable.is_empty();
        if !self.mesh.as_deref().is_some_and(unread) {
            return false;
        }
        let hash = UserHash::of(user);
        let is_open = self.slots.find(user).is_some();
        let Some(mesh) = self.mesh.as_mut().filter(|mesh| mesh.unreadable.contains_key(&hash)) else {
            return false;
        };
        if is_open {
            mesh.unreadable.remove(&hash);
            self.redeliver(now, user, effects);
            return false;
        }
        true
    }

    /// The mailbox that `input` waits for cannot be read. Whether somebody has to hear of that: parcels are held back, and come
    /// round again.
    pub(super) fn is_kept(&mut self, now: Stamp, input: &Input) -> bool {
        match input {
            Input::Arrived { from, link, number, parcel } => {
                if let Some(mesh) = &mut self.mesh {
                    mesh.unreadable.insert(UserHash::of(&parcel.to), ());
                }
                self.take_charge(now, *from, *link, *number, parcel);
                false
            }
            Input::Redeliver { .. } => false,
            _ => true,
        }
    }

    /// Puts what a parcel holds into a mailbox, unless it is there.
    pub(super) fn receive(&mut self, now: Stamp, slot: Slot, parcel: &Parcel) {
        let Some(mailbox) = self.slots.get(slot) else { return };
        let known = mailbox.known.as_ref();
        match &parcel.item {
            Item::Message(message) => {
                if known.is_some_and(|known| known.at(message.id).is_some()) {
                    return;
                }
                self.hear(now, message.at);
                self.commits.write(Write::Body(message.clone()));
                let pos = self.clock.tick(now);
                self.append_message(now, slot, pos, message, false, None);
            }
            Item::Receipt { conversation, at } => {
                let read = mailbox.talks.get(conversation).map(|talk| talk.row.peer_read);
                if read.is_some_and(|read| read >= *at) {
                    return;
                }
                let pos = self.clock.tick(now);
                let change = Change::Receipt { conversation: conversation.clone(), at: *at };
                self.change(now, slot, pos, change, None);
            }
            Item::Recall { message, by, extra } => {
                if known.is_some_and(|known| known.recalls.contains_key(&message.id)) {
                    return;
                }
                let conversation = message.conversation(&parcel.to);
                let at = known.and_then(|known| known.at(message.id)).unwrap_or(message.at);
                self.take_back(message, at);
                let pos = self.clock.tick(now);
                let change =
                    Change::Recall { conversation, id: message.id, at, by: by.clone(), extra: extra.clone() };
                self.change(now, slot, pos, change, None);
            }
        }
    }
}
