//! Sending: from a command to the entries that it makes.
//!
//! Purpose: one message, once (P3), in the mailboxes of those concerned, in one commit.
//! Flow: rules → duplicate? → stamp → body, entry of the addressee, entry of the sender → after the commit, answer and
//! pushes.
//! Pure: time comes in as an argument.

use super::{
    Answer, Command, Effect, Frame, Input, Outgoing, Refused, Relay, ReplyTo, commits::After, mesh::Whose,
    slots::Slot,
};
use crate::{
    model::{
        Entry, EntryRow, Flags, Item, Kind, MAX_CLIENT_SKEW_US, Message, MessageId, Parcel, Stamp, UserHash,
        UserKey, What,
    },
    store::Write,
};
use std::{sync::Arc, time::Duration};

/// Where an addressee's mailbox is.
pub(super) enum Addressee {
    /// Being read: what needs it waits.
    Waits,
    Here(Slot),
    /// At another node, or to be put behind what waits for it.
    Away(UserHash),
}

/// Where a message goes, besides its sender's mailbox.
enum Target {
    Mailbox(Slot),
    Parcel(UserKey, UserHash, Option<Stamp>),
    /// Its mailbox has it, from then.
    Had(Stamp),
}

impl Relay {
    /// * `here`: the sender's mailbox, where it is known to be open.
    pub(super) fn send(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        (from, here): (UserKey, Option<Slot>),
        out: Outgoing,
        effects: &mut Vec<Effect>,
    ) {
        let peer = match self.may_send(now, to, &from, &out) {
            Ok(peer) => peer,
            Err(why) => return effects.push(Effect::Reply { to, answer: Err(why) }),
        };
        if out.flags.has(Flags::STATUS) {
            return self.pass(now, to, from, &peer, out, effects);
        }
        // System messages never come from a person, so there is nobody to keep a copy for.
        let copy = !out.flags.has(Flags::NO_SENDER_COPY) && out.kind != Kind::System;
        let again =
            |out: &Outgoing| Input::Command { to, user: from.clone(), command: Command::Send(out.clone()) };
        let mut sender = None;
        if copy {
            sender = self.mailbox_at(here, &from, || again(&out), effects);
            if sender.is_none() {
                return;
            }
        }
        let id = MessageId::of(&from, &out.cid);
        if let Some(slot) = sender
            && self.answer_duplicate(to, slot, id)
        {
            return;
        }
        let hash = self.number_of(&peer);
        if hash.is_some_and(|hash| self.is_out_of_room(&peer, hash)) {
            let why = Refused::Busy(Duration::from_secs(1));
            return effects.push(Effect::Reply { to, answer: Err(why) });
        }
        // Not before: what the sender sent earlier may wait for his mailbox.
        if let Some(hash) = hash
            && self.waits_for_peer(now, to, &from, (&peer, hash), &out)
        {
            return;
        }
        let since = sender.and_then(|slot| self.doubt(now, slot, &out));
        // A note to oneself is one entry.
        let own = sender.filter(|_| peer == from).map(Addressee::Here);
        let target =
            match own.unwrap_or_else(|| self.addressee(now, (&peer, hash), since, || again(&out), effects)) {
                Addressee::Waits => return,
                // The owner before this one delivered it, and its sender did not hear of that.
                Addressee::Here(slot) => match self.had(slot, id).filter(|_| sender != Some(slot)) {
                    Some(at) => Target::Had(at),
                    None => Target::Mailbox(slot),
                },
                Addressee::Away(hash) => Target::Parcel(peer, hash, since),
            };
        if self.commits.pending() >= self.limits.pending {
            let why = Refused::Busy(Duration::from_millis(200));
            return effects.push(Effect::Reply { to, answer: Err(why) });
        }
        let doubted = since.is_some();
        #[cfg(test)]
        let doubted = doubted && !self.broken(super::sabotage::Sabotage::DoubtsNotMarked);
        let flags = out.flags.with(Flags::DOUBTED, doubted);
        self.accept(now, to, id, from, Outgoing { flags, ..out }, sender, target);
    }

    /// Since when the addressee may have a message that this mailbox knows nothing of: set when an owner before this one may
    /// have accepted it without having handed that on, because it died or had not heard that it was succeeded.
    fn doubt(&self, now: Stamp, slot: Slot, out: &Outgoing) -> Option<Stamp> {
        let mailbox = self.slots.get(slot)?;
        let own = mailbox.chain.last()?;
        // A ULID begins with the time at which the client made it; nobody accepted it before.
        let made = out.cid.parse::<MessageId>().ok().map(MessageId::made);
        if out.again {
            return Some(made.map_or(Stamp::ZERO, |made| Stamp(made.0.saturating_sub(MAX_CLIENT_SKEW_US))));
        }
        if let Some(at) = mailbox.recovered_at() {
            match made {
                Some(made) if made.0 <= at.0.saturating_add(MAX_CLIENT_SKEW_US) => {
                    return Some(Stamp(made.0.saturating_sub(MAX_CLIENT_SKEW_US)));
                }
                Some(_) => {}
                None => return Some(Stamp::ZERO),
            }
        }
        let since = Stamp(own.base.0.saturating_sub(MAX_CLIENT_SKEW_US));
        (now < mailbox.doubtful_until).then_some(since)
    }

    /// When the message that this mailbox has under that id was accepted, as far as that is in memory.
    pub(super) fn had(&self, slot: Slot, id: MessageId) -> Option<Stamp> {
        self.slots.get(slot)?.known.as_ref()?.at(id)
    }

    /// The number by which nodes speak of a user; a node alone needs none.
    pub(super) fn number_of(&self, user: &UserKey) -> Option<UserHash> {
        self.mesh.is_some().then(|| UserHash::of(user))
    }

    /// Where the mailbox of `user` is, to put something into it.
    ///
    /// * `hash`: see [`Self::number_of`].
    pub(super) fn addressee(
        &mut self,
        now: Stamp,
        (user, hash): (&UserKey, Option<UserHash>),
        since: Option<Stamp>,
        input: impl FnOnce() -> Input,
        effects: &mut Vec<Effect>,
    ) -> Addressee {
        let (Some(mesh), Some(hash)) = (&self.mesh, hash) else {
            return self.mailbox_for(user, input, effects).map_or(Addressee::Waits, Addressee::Here);
        };
        // What waits for the same mailbox goes first.
        if mesh.outbox.is_waiting(hash) {
            return Addressee::Away(hash);
        }
        match self.whose_known(user, hash) {
            Whose::Mine => {}
            Whose::Nobody if self.registrar(user) == self.node => self.take_over(now, user),
            Whose::Nobody | Whose::Peer(_) => return Addressee::Away(hash),
        }
        // Where it would have to wait, it goes the way of parcels: a command that waits for one mailbox could be overtaken while
        // it has to wait for the sender's own once more.
        match self.slots.find(user) {
            Some(slot) if since.is_none_or(|since| self.knows(slot, since)) => Addressee::Here(slot),
            _ => Addressee::Away(hash),
        }
    }

    /// The rules; gives the addressee.
    fn may_send(&self, now: Stamp, to: ReplyTo, from: &UserKey, out: &Outgoing) -> Result<UserKey, Refused> {
        let client = matches!(to, ReplyTo::Session(..));
        match out.kind {
            Kind::Private => {}
            Kind::System if !client => {}
            kind => return Err(Refused::Unsupported { kind }),
        }
        let peer = from.sibling(&out.to).map_err(|bad| Refused::Invalid(format!("target {bad}")))?;
        if client && let Some(until) = self.directory.blocked_until(from, now) {
            return Err(Refused::UserBlocked { until });
        }
        if out.check_blacklist && self.directory.blacklisted(&peer, from.id()) {
            return Err(Refused::Blacklisted { to: out.to.clone() });
        }
        Ok(peer)
    }

    /// If the sender has sent this before: the same answer again, once the first is durable.
    fn answer_duplicate(&mut self, to: ReplyTo, sender: Slot, id: MessageId) -> bool {
        #[cfg(test)]
        if self.broken(super::sabotage::Sabotage::RetryStoredTwice) {
            return false;
        }
        let Some(sent) = self.slots.get(sender).and_then(|mailbox| mailbox.sent(id)) else {
            return false;
        };
        let answer = Answer::Sent { id, at: sent.at, place: None, dup: true };
        self.commits.after(After::Reply { to, answer: Ok(answer) });
        true
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is one message")]
    fn accept(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        id: MessageId,
        from: UserKey,
        out: Outgoing,
        sender: Option<Slot>,
        target: Target,
    ) {
        // One stamp is the message's time and its position in every mailbox of this node: the clock is above
        // every position that this node ever gave. One that its addressee has keeps its time and stands in the log already.
        let pos = self.clock.tick(now);
        let had = if let Target::Had(at) = target { Some(at) } else { None };
        let at = had.unwrap_or(pos);
        let flags = out.flags.with(Flags::NO_SENDER_COPY, sender.is_none());
        let message = Arc::new(Message {
            id,
            kind: out.kind,
            from,
            to: out.to,
            at,
            class: out.class,
            content: out.content,
            flags,
            cid: out.cid,
            push: out.push,
        });
        if had.is_none() && (sender.is_some() || matches!(target, Target::Mailbox(_))) {
            self.commits.write(Write::Body(message.clone()));
        }
        let answer = Answer::Sent { id, at, place: None, dup: false };
        #[cfg(test)]
        if self.broken(super::sabotage::Sabotage::AckBeforeFsync) {
            self.early.push(Effect::Reply { to, answer: Ok(answer.clone()) });
        }
        let answer = match sender {
            Some(slot) => {
                self.append_message(now, slot, pos, &message, true, Some((to, answer)));
                None
            }
            None => Some(answer),
        };
        match target {
            Target::Mailbox(slot) if sender == Some(slot) => {}
            Target::Mailbox(slot) => self.append_message(now, slot, at, &message, false, None),
            Target::Parcel(user, hash, since) => {
                let from = message.from.clone();
                let parcel = Parcel { to: user, from, item: Item::Message(message), since };
                self.post(now, Arc::new(parcel), hash, sender.is_some());
            }
            Target::Had(_) => {}
        }
        if let Some(answer) = answer {
            self.commits.after(After::Reply { to, answer: Ok(answer) });
        }
    }

    /// Puts a message of the other mailbox behind the others; `flags` are those of its row.
    pub(super) fn append_merged(
        &mut self,
        now: Stamp,
        slot: Slot,
        pos: Stamp,
        message: &Arc<Message>,
        mine: bool,
        flags: Flags,
    ) {
        self.append_row(now, slot, pos, message, mine, flags, None);
    }

    pub(super) fn append_message(
        &mut self,
        now: Stamp,
        slot: Slot,
        pos: Stamp,
        message: &Arc<Message>,
        mine: bool,
        answer: Option<(ReplyTo, Answer)>,
    ) {
        self.append_row(now, slot, pos, message, mine, message.flags, answer);
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is one row")]
    fn append_row(
        &mut self,
        now: Stamp,
        slot: Slot,
        pos: Stamp,
        message: &Arc<Message>,
        mine: bool,
        flags: Flags,
        answer: Option<(ReplyTo, Answer)>,
    ) {
        let Some(mailbox) = self.slots.get(slot) else {
            return;
        };
        let (conversation, counted) = mailbox.conversation_of(message);
        let ordinal = counted.saturating_add(u32::from(!mine && flags.has(Flags::COUNTED)));
        let row = EntryRow::Message { id: message.id, at: message.at, conversation, mine, flags, ordinal };
        self.append(now, slot, pos, row);
        let entry = Entry { pos, what: What::Message { message: message.clone(), ordinal } };
        self.commits.after(After::Entry { slot, entry, answer });
    }

    /// A status message: to the live sessions of the addressee, and nowhere else.
    fn pass(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        from: UserKey,
        peer: &UserKey,
        out: Outgoing,
        effects: &mut Vec<Effect>,
    ) {
        let (id, at) = (MessageId::of(&from, &out.cid), self.clock.tick(now));
        effects.push(Effect::Reply { to, answer: Ok(Answer::Passed { id, at }) });
        let message = Arc::new(Message {
            id,
            kind: out.kind,
            from,
            to: out.to,
            at,
            class: out.class,
            content: out.content,
            flags: out.flags,
            cid: out.cid,
            push: None,
        });
        match self.whose(peer) {
            Whose::Peer(owner) if self.mesh.as_ref().is_some_and(|mesh| mesh.is_linked(owner)) => {
                let frame = Frame::Pass { user: peer.clone(), message };
                effects.push(Effect::Send { to: owner, frame });
            }
            _ => self.pass_on(peer, &message, effects),
        }
    }

    /// Hands a status message to the live sessions of `user` here.
    pub(super) fn pass_on(&self, user: &UserKey, message: &Arc<Message>, effects: &mut Vec<Effect>) {
        let Some(mailbox) = self.slots.find(user).and_then(|slot| self.slots.get(slot)) else {
            return;
        };
        for &session in &mailbox.sessions {
            if self.sessions.get(session).is_some_and(|state| state.live) {
                effects.push(Effect::Pass { session, message: message.clone() });
            }
        }
    }
}
