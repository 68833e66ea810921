//! Sending: from a command to the entries that it makes.
//!
//! Purpose: one message, once (P3), in the mailboxes of those concerned, in one commit.
//! Flow: rules → duplicate? → stamp → body, entry of the addressee, entry of the sender → after the commit, answer and
//! pushes.
//! Pure: time comes in as an argument.

use super::{Answer, Command, Effect, Input, Outgoing, Refused, Relay, ReplyTo, commits::After, slots::Slot};
use crate::{
    model::{Entry, EntryRow, Flags, Kind, Message, MessageId, Stamp, UserKey, What},
    store::Write,
};
use std::{sync::Arc, time::Duration};

impl Relay {
    pub(super) fn send(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        from: UserKey,
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
            sender = self.mailbox_for(&from, || again(&out), effects);
            if sender.is_none() {
                return;
            }
        }
        let Some(addressee) = self.mailbox_for(&peer, || again(&out), effects) else {
            return;
        };
        let id = MessageId::of(&from, &out.cid);
        if let Some(slot) = sender
            && self.answer_duplicate(to, slot, id)
        {
            return;
        }
        if self.commits.pending() >= self.limits.pending {
            let why = Refused::Busy(Duration::from_millis(200));
            return effects.push(Effect::Reply { to, answer: Err(why) });
        }
        self.accept(now, to, id, from, out, sender, addressee);
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
        addressee: Slot,
    ) {
        // One stamp is the message's time and its position in every mailbox of this node: the clock is above
        // every position that this node ever gave.
        let at = self.clock.tick(now);
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
        self.commits.write(Write::Body(message.clone()));
        let answer = Answer::Sent { id, at, place: None, dup: false };
        #[cfg(test)]
        if self.broken(super::sabotage::Sabotage::AckBeforeFsync) {
            self.early.push(Effect::Reply { to, answer: Ok(answer.clone()) });
        }
        match sender {
            Some(slot) => {
                self.append_message(now, slot, &message, true, Some((to, answer)));
                if slot != addressee {
                    self.append_message(now, addressee, &message, false, None);
                }
            }
            None => {
                self.append_message(now, addressee, &message, false, None);
                self.commits.after(After::Reply { to, answer: Ok(answer) });
            }
        }
    }

    fn append_message(
        &mut self,
        now: Stamp,
        slot: Slot,
        message: &Arc<Message>,
        mine: bool,
        answer: Option<(ReplyTo, Answer)>,
    ) {
        let Some(mailbox) = self.slots.get(slot) else {
            return;
        };
        let conversation = mailbox.intern(message.conversation(&mailbox.user));
        let ordinal = mailbox.next_ordinal(&conversation, !mine && message.flags.has(Flags::COUNTED));
        let row = EntryRow::Message {
            id: message.id,
            at: message.at,
            conversation,
            mine,
            flags: message.flags,
            ordinal,
        };
        self.append(now, slot, message.at, row);
        let entry = Entry { pos: message.at, what: What::Message { message: message.clone(), ordinal } };
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
        let Some(mailbox) = self.slots.find(peer).and_then(|slot| self.slots.get(slot)) else {
            return;
        };
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
        for &session in &mailbox.sessions {
            if self.sessions.get(session).is_some_and(|state| state.live) {
                effects.push(Effect::Pass { session, message: message.clone() });
            }
        }
    }
}
