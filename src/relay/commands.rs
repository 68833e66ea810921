//! Commands other than sending.

use super::{
    Answer, Command, ConversationState, Directive, Effect, Input, KickReason, ReadMark, Refused, Relay,
    ReplyTo, commits::After, mailbox::Mailbox, send::Addressee, slots::Slot,
};
use crate::{
    gossip::{FactKey, FactValue},
    model::{
        Change, Conversation, Entry, EntryRow, Flags, Item, Kind, Message, Parcel, Stamp, UserHash, UserKey,
        What,
    },
    store::Write,
};
use std::sync::Arc;

/// Entries on a user's blacklist at the most; source: server API facts, section 3.
const MAX_BLACKLIST: usize = 3_000;

impl Relay {
    pub(super) fn command(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        user: UserKey,
        command: Command,
        effects: &mut Vec<Effect>,
    ) {
        let mut here = None;
        if let ReplyTo::Session(session, _) = to {
            here = self.sessions.get(session).map(|session| session.slot);
            // What a session says after its mailbox has moved must not be taken when it comes back: what it said before was not.
            if here.is_none() && self.mesh.is_some() {
                return effects.push(Effect::Reply { to, answer: Err(Refused::Elsewhere) });
            }
        }
        let here = here.filter(|slot| self.slots.is_open(*slot));
        if let Command::Send(out) = &command
            && self.waits_behind(now, to, &user, out, effects)
        {
            return;
        }
        if needs_mailbox(&command)
            && self.waits_for_give(
                &user,
                || Input::Command { to, user: user.clone(), command: command.clone() },
                effects,
            )
        {
            return;
        }
        if here.is_none() && needs_mailbox(&command) && !self.is_for_here(now, to, &user, &command, effects) {
            return;
        }
        let answer = match command {
            Command::Send(out) => return self.send(now, to, (user, here), out, effects),
            Command::Read { conversation, upto, remove } => {
                return self.read(now, to, user, conversation, upto, remove, effects);
            }
            Command::Recall { original, extra } => {
                return self.recall(now, to, user, original, extra, effects);
            }
            Command::Find { log, id, between } => {
                return effects.push(Effect::Find { to, log, id, between });
            }
            Command::Direct(directive) => return self.direct(now, to, &user, directive, effects),
            Command::Block(other) => self.block(now, &user, other),
            Command::Unblock(other) => {
                let key = FactKey::Blacklist(user.clone(), other.clone());
                if self.directory.blacklisted(&user, &other) {
                    self.assert_fact(now, key, None);
                }
                Ok(())
            }
            Command::Blacklist => return reply(to, Answer::Users(self.directory.blacklist(&user)), effects),
            Command::Blocked => {
                return reply(to, Answer::Blocked(self.directory.blocked(user.app(), now)), effects);
            }
            Command::Online(users) => return reply(to, Answer::Users(self.online(&users)), effects),
            Command::Watch(users) => {
                let online = self.online(&users);
                if let ReplyTo::Session(session, _) = to {
                    self.watch(session, users);
                }
                return reply(to, Answer::Users(online), effects);
            }
            command @ (Command::Conversations { .. } | Command::Conversation(_) | Command::Unread) => {
                return self.look(to, user, command, effects);
            }
        };
        match answer {
            Ok(()) => self.answer_when_known(now, to, Answer::Done),
            Err(why) => effects.push(Effect::Reply { to, answer: Err(why) }),
        }
    }

    /// What is answered from memory.
    fn look(&mut self, to: ReplyTo, user: UserKey, command: Command, effects: &mut Vec<Effect>) {
        let again = || Input::Command { to, user: user.clone(), command: command.clone() };
        let Some(slot) = self.mailbox_for(&user, again, effects) else {
            return;
        };
        let Some(mailbox) = self.slots.get(slot) else {
            return;
        };
        let answer = match command {
            Command::Conversations { before, limit } => {
                let (mut list, more) = mailbox.list(before, limit);
                list.iter_mut().for_each(|state| self.add_delivered(&user, state));
                Answer::Conversations(list, more)
            }
            Command::Conversation(conversation) => {
                let mut state = mailbox.state(&conversation);
                state.iter_mut().for_each(|state| self.add_delivered(&user, state));
                Answer::Conversation(state)
            }
            _ => Answer::Unread(mailbox.unread()),
        };
        reply(to, answer, effects);
    }

    /// Cursors are written behind, so what a live session was told as delivered may not stand in the store yet.
    fn add_delivered(&self, user: &UserKey, state: &mut ConversationState) {
        if state.conversation.kind == Kind::Private
            && let Ok(peer) = user.sibling(&state.conversation.target)
        {
            let mailbox = self.slots.find(&peer).and_then(|slot| self.slots.get(slot));
            state.peer_delivered = mailbox.map(Mailbox::furthest);
        }
    }

    fn block(&mut self, now: Stamp, user: &UserKey, other: Arc<str>) -> Result<(), Refused> {
        user.sibling(&other).map_err(|bad| Refused::Invalid(format!("user {bad}")))?;
        if self.directory.blacklisted(user, &other) {
            return Ok(());
        }
        if self.directory.blacklist(user).len() >= MAX_BLACKLIST {
            return Err(Refused::Invalid(format!("a blacklist holds at most {MAX_BLACKLIST} users")));
        }
        self.assert_fact(now, FactKey::Blacklist(user.clone(), other), Some(FactValue::Number(now.0)));
        Ok(())
    }

    fn direct(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        user: &UserKey,
        directive: Directive,
        effects: &mut Vec<Effect>,
    ) {
        match directive {
            Directive::PutUser { name, portrait, create } => {
                if let Some(name) = name {
                    self.assert_fact(now, FactKey::Name(user.clone()), Some(FactValue::Text(name)));
                }
                if let Some(portrait) = portrait {
                    self.assert_fact(now, FactKey::Portrait(user.clone()), Some(FactValue::Text(portrait)));
                }
                if create {
                    self.assert_fact(now, FactKey::Created(user.clone()), Some(FactValue::Number(now.0)));
                }
            }
            Directive::Block { until } => {
                self.assert_fact(now, FactKey::Blocked(user.clone()), Some(FactValue::Number(until.0)));
                self.cut_off(now, user, until, effects);
            }
            Directive::Unblock => {
                if self.directory.blocked_until(user, now).is_some() {
                    self.assert_fact(now, FactKey::Blocked(user.clone()), None);
                }
            }
            // Revoked is revoked: an earlier moment brings no token back.
            Directive::ExpireTokens { before } if self.directory.revoked(user, before) => {}
            Directive::ExpireTokens { before } => {
                self.assert_fact(now, FactKey::TokensBefore(user.clone()), Some(FactValue::Number(before.0)));
            }
        }
        self.answer_when_known(now, to, Answer::Done);
    }

    /// Ends all sessions of a user.
    pub(super) fn cut_off(&mut self, now: Stamp, user: &UserKey, until: Stamp, effects: &mut Vec<Effect>) {
        let Some(mailbox) = self.slots.find(user).and_then(|slot| self.slots.get(slot)) else {
            return;
        };
        for session in mailbox.sessions.clone() {
            effects.push(Effect::Kick { session, why: KickReason::Blocked { until } });
            self.close(now, session, effects);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one command")]
    fn read(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        user: UserKey,
        conversation: Conversation,
        upto: Option<ReadMark>,
        remove: bool,
        effects: &mut Vec<Effect>,
    ) {
        let again = || Input::Command {
            to,
            user: user.clone(),
            command: Command::Read { conversation: conversation.clone(), upto, remove },
        };
        let Some(slot) = self.mailbox_for(&user, again, effects) else {
            return;
        };
        let Some(mailbox) = self.slots.get(slot) else {
            return;
        };
        let Some(talk) = mailbox.talks.get(&conversation) else {
            return reply(to, Answer::Read { unread: 0, place: None }, effects);
        };
        let all = ReadMark { pos: mailbox.last, ordinal: talk.row.counted, at: talk.row.last_at };
        let mark = upto.filter(|mark| mark.pos <= all.pos && mark.ordinal <= all.ordinal).unwrap_or(all);
        let news = mark.ordinal > talk.row.read_ordinal;
        let unread = all.ordinal.saturating_sub(mark.ordinal.max(talk.row.read_ordinal));
        let hides = remove && talk.row.last > talk.row.removed;
        if !hides && (mark.pos <= talk.row.read || (!news && upto.is_none())) {
            let unread = super::mailbox::unread(&talk.row);
            return reply(to, Answer::Read { unread, place: None }, effects);
        }
        // Who sent the messages hears that they were read; nobody is told twice, or of nothing.
        let mut teller = None;
        if news
            && conversation.kind == Kind::Private
            && *conversation.target != *user.id()
            && let Ok(peer) = user.sibling(&conversation.target)
        {
            let again = || Input::Command {
                to,
                user: user.clone(),
                command: Command::Read { conversation: conversation.clone(), upto, remove },
            };
            match self.addressee(now, (&peer, self.number_of(&peer)), None, again, effects) {
                Addressee::Waits => return,
                addressee => teller = Some((peer, addressee)),
            }
        }
        let pos = self.clock.tick(now);
        let change = Change::Read { conversation, upto: mark.pos, ordinal: mark.ordinal, removed: remove };
        self.change(now, slot, pos, change, Some((to, Answer::Read { unread, place: None })));
        let conversation = Conversation { kind: Kind::Private, target: user.id().into() };
        match teller {
            Some((_, Addressee::Here(peer))) => {
                self.change(now, peer, pos, Change::Receipt { conversation, at: mark.at }, None);
            }
            Some((peer, Addressee::Away(hash))) => {
                let item = Item::Receipt { conversation, at: mark.at };
                let parcel = Parcel { to: peer, from: user, item, since: None };
                self.post(now, Arc::new(parcel), hash, false);
            }
            Some((_, Addressee::Waits)) | None => {}
        }
    }

    fn recall(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        user: UserKey,
        original: Arc<Message>,
        extra: Arc<str>,
        effects: &mut Vec<Effect>,
    ) {
        if original.from != user {
            let why = Refused::Invalid("only the sender can take a message back".into());
            return effects.push(Effect::Reply { to, answer: Err(why) });
        }
        if original.flags.has(Flags::RECALLED) {
            return reply(to, Answer::Recalled { place: None }, effects);
        }
        let Ok(peer) = user.sibling(&original.to) else {
            let why = Refused::Unsupported { kind: original.kind };
            return effects.push(Effect::Reply { to, answer: Err(why) });
        };
        let again = || Input::Command {
            to,
            user: user.clone(),
            command: Command::Recall { original: original.clone(), extra: extra.clone() },
        };
        let copy = !original.flags.has(Flags::NO_SENDER_COPY);
        let mut mine = None;
        if copy {
            mine = self.mailbox_for(&user, again, effects);
            if mine.is_none() {
                return;
            }
        }
        let own = mine.filter(|_| peer == user).map(Addressee::Here);
        // They may have it from an earlier owner, of another time.
        let since = original.doubted().map(|doubted| doubted.0);
        let hash = self.number_of(&peer);
        let theirs = match own.unwrap_or_else(|| self.addressee(now, (&peer, hash), since, again, effects)) {
            Addressee::Waits => return,
            Addressee::Here(slot) => Some(slot),
            Addressee::Away(_) => None,
        };
        let recalled = Arc::new(original.recalled());
        self.take_back(&recalled, original.at);
        let pos = self.clock.tick(now);
        let by: Arc<str> = user.id().into();
        let change = |owner: &UserKey, at| Change::Recall {
            conversation: original.conversation(owner),
            id: original.id,
            at,
            by: by.clone(),
            extra: extra.clone(),
        };
        match theirs {
            Some(_) if theirs == mine => {}
            Some(slot) => {
                let at = self.had(slot, original.id).filter(|_| since.is_some()).unwrap_or(original.at);
                if at != original.at {
                    self.take_back(&recalled, at);
                }
                self.change(now, slot, pos, change(&peer, at), None);
            }
            None => {
                let item = Item::Recall { message: recalled, by: by.clone(), extra: extra.clone() };
                let parcel = Parcel { to: peer.clone(), from: user.clone(), item, since };
                self.post(now, Arc::new(parcel), UserHash::of(&peer), false);
            }
        }
        match mine {
            Some(slot) => {
                let answer = Answer::Recalled { place: None };
                self.change(now, slot, pos, change(&user, original.at), Some((to, answer)));
            }
            None => self.commits.after(After::Reply { to, answer: Ok(Answer::Recalled { place: None }) }),
        }
    }

    /// Empties the message, in the copy that was accepted at `at`.
    pub(super) fn take_back(&mut self, recalled: &Arc<Message>, at: Stamp) {
        let message = if recalled.at == at {
            recalled.clone()
        } else {
            // Of two copies one is marked at least, and which does not matter once both are empty.
            let flags = recalled.flags.with(Flags::DOUBTED, true);
            Arc::new(Message { at, flags, ..Message::clone(recalled) })
        };
        self.commits.write(Write::Body(message));
    }

    /// Puts a change at the end of a mailbox, and tells of it once it is durable.
    pub(super) fn change(
        &mut self,
        now: Stamp,
        slot: Slot,
        pos: Stamp,
        change: Change,
        answer: Option<(ReplyTo, Answer)>,
    ) {
        self.append(now, slot, pos, EntryRow::Change(change.clone()));
        self.commits.after(After::Entry { slot, entry: Entry { pos, what: What::Change(change) }, answer });
    }
}

/// Whether a command is about the mailbox of the user who gave it.
fn needs_mailbox(command: &Command) -> bool {
    match command {
        Command::Send(out) => {
            let kept = !out.flags.has(Flags::NO_SENDER_COPY) && !out.flags.has(Flags::STATUS);
            kept && out.kind != Kind::System
        }
        Command::Read { .. }
        | Command::Recall { .. }
        | Command::Find { .. }
        | Command::Conversations { .. }
        | Command::Conversation(_)
        | Command::Unread => true,
        _ => false,
    }
}

fn reply(to: ReplyTo, answer: Answer, effects: &mut Vec<Effect>) {
    effects.push(Effect::Reply { to, answer: Ok(answer) });
}
