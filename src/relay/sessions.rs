//! Sessions: letting devices in, the attach gate, pushes, cursors.
//!
//! Purpose: every device gets every entry once and in order, whatever its speed (P6, P7).
//! Flow: `open` says where the stream starts; the driver sends pages from the store, then asks to `attach`; a live
//! session gets pushes; one that does not ack for a window is sent back to the store (`ReadOn`), and comes again.
//! Invariants: a session goes live only at or past the mailbox's committed end; a push names the position handed over
//! before it; a cursor moves by the device's ack alone.
//! Pure: time comes in as an argument.

use super::{
    Answer, Effect, Frame, Input, KickReason, NotResumed, Open, Place, Refused, Relay, ReplyTo, SessionId,
    commits::After,
    hash::{Map, map},
    mailbox::DOUBT_US,
    mesh::Whose,
    slots::Slot,
};
use crate::model::{Conversation, DeviceId, Entry, Stamp, UserKey};
use std::collections::VecDeque;

/// Entries on their way to a device at the most, whatever it asks for.
const MAX_WINDOW: u16 = 1_024;

#[derive(Debug)]
pub(super) struct Session {
    pub slot: Slot,
    pub device: DeviceId,
    /// Gets pushes.
    pub live: bool,
    /// Wants to hear of deliveries.
    pub delivered: bool,
    /// Last position handed to it while live.
    sent: Stamp,
    /// Positions pushed and not acked.
    unacked: VecDeque<Stamp>,
    window: usize,
    /// Whom it watches.
    pub watching: Vec<UserKey>,
}

impl Session {
    fn handed(&mut self, pos: Stamp) -> Stamp {
        self.unacked.push_back(pos);
        std::mem::replace(&mut self.sent, pos)
    }
}

#[derive(Debug)]
pub(super) struct Sessions(Map<SessionId, Session>);

impl Sessions {
    pub fn new() -> Self {
        Self(map())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, session: SessionId) -> Option<&Session> {
        self.0.get(&session)
    }

    pub fn get_mut(&mut self, session: SessionId) -> Option<&mut Session> {
        self.0.get_mut(&session)
    }
}

impl Relay {
    pub(super) fn open(&mut self, now: Stamp, open: Open, effects: &mut Vec<Effect>) {
        if let Some(why) = self.barred(now, &open) {
            effects.push(Effect::TurnAway { session: open.session, why });
            return;
        }
        let user = open.user.clone();
        if open.carried && self.whose(&user) != Whose::Mine {
            effects.push(Effect::TurnAway { session: open.session, why: Refused::Elsewhere });
            return;
        }
        let Some(slot) = self.home(now, &user, || Input::Open(open.clone()), effects) else {
            return;
        };
        if let Some(cursor) = open.cursor {
            self.hear(now, cursor);
        }
        let first = self.slots.get(slot).is_some_and(|mailbox| mailbox.sessions.is_empty());
        self.replace_same_device(slot, &open.device, effects);
        let Some(mailbox) = self.slots.get_mut(slot) else {
            return;
        };
        let known = mailbox.devices.iter().find(|row| row.device == open.device).map(|row| row.cursor);
        let end = mailbox.chain.last().map_or(mailbox.last, |epoch| epoch.base.max(mailbox.last));
        let (cursor, forked) = match open.cursor {
            Some(cursor) => {
                let (cursor, forked) = mailbox.bound(cursor, open.reign, known);
                (Some(cursor), forked)
            }
            // New here, but not to an owner before: it is owed what has come since. That owner may have forgotten it in a
            // crash, and may have taken in more before it gave the mailbox away.
            None if known.is_none() && open.reign.is_some() && open.reign != mailbox.reign() => {
                let (cursor, forked) = mailbox.bound(Stamp::MAX, open.reign, None);
                (Some(cursor.min(mailbox.furthest())), forked)
            }
            None => (known, false),
        };
        #[cfg(test)]
        let cursor = if self.sabotage == Some(super::sabotage::Sabotage::CursorOfAnyReign) {
            open.cursor.or(known)
        } else {
            cursor
        };
        let (start, why) = match cursor {
            None => (mailbox.furthest().max(mailbox.trimmed), Some(NotResumed::NewDevice)),
            Some(cursor) if cursor > end => {
                (known.unwrap_or_default().min(mailbox.last).max(mailbox.trimmed), Some(NotResumed::Ahead))
            }
            Some(cursor) if cursor < mailbox.trimmed => (mailbox.trimmed, Some(NotResumed::Trimmed)),
            Some(cursor) => (cursor, forked.then_some(NotResumed::Forked)),
        };
        let reign = mailbox.reign();
        // One that says nothing may have been anywhere.
        let elsewhere = open.reign.map_or(mailbox.had_others(), |open| Some(open) != reign);
        let doubted = elsewhere && mailbox.doubtful_until < Stamp(now.0.saturating_add(DOUBT_US / 2));
        if doubted {
            mailbox.doubtful_until = Stamp(now.0.saturating_add(DOUBT_US));
        }
        mailbox.sessions.push(open.session);
        self.stale(now, slot);
        if let Some(mailbox) = self.slots.get_mut(slot) {
            let row = mailbox.device(&open.device, start, now);
            row.seen = now;
            if known.is_none() && open.cursor.is_none() && open.reign.is_none() {
                row.born = now;
            }
        }
        let session = Session {
            slot,
            device: open.device,
            live: false,
            delivered: open.delivered,
            sent: start,
            unacked: VecDeque::new(),
            window: usize::from(open.window.clamp(1, MAX_WINDOW)),
            watching: Vec::new(),
        };
        self.sessions.0.insert(open.session, session);
        let welcome = Effect::Welcome { session: open.session, start, why, reign };
        if known.is_some() && !doubted {
            effects.push(welcome);
        } else {
            // Once welcomed, a device is known for good: where its stream began must survive a crash, and so must the doubt
            // about what it sends.
            self.checkpoint(slot);
            self.commits.after(After::Effect(welcome));
        }
        if first {
            self.watchers.tell(&user, true, effects);
            self.announce(now, &user, true);
        }
    }

    fn barred(&self, now: Stamp, open: &Open) -> Option<Refused> {
        if let Some(until) = self.directory.blocked_until(&open.user, now) {
            return Some(Refused::UserBlocked { until });
        }
        self.directory.revoked(&open.user, open.token_issued).then_some(Refused::TokenRevoked)
    }

    fn replace_same_device(&mut self, slot: Slot, device: &DeviceId, effects: &mut Vec<Effect>) {
        let Some(mailbox) = self.slots.get(slot) else {
            return;
        };
        let sessions = &self.sessions;
        let same = |id: &&SessionId| sessions.get(**id).is_some_and(|session| session.device == *device);
        let Some(old) = mailbox.sessions.iter().find(same).copied() else {
            return;
        };
        effects.push(Effect::Kick { session: old, why: KickReason::Replaced });
        // The user is not gone: no presence is told.
        if let Some(session) = self.sessions.0.remove(&old) {
            self.unwatch(old, &session.watching);
        }
        if let Some(mailbox) = self.slots.get_mut(slot) {
            mailbox.sessions.retain(|id| *id != old);
        }
    }

    pub(super) fn attach(&mut self, session: SessionId, at: Stamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.sessions.get(session) else {
            return;
        };
        let Some(mailbox) = self.slots.get(state.slot) else {
            return;
        };
        #[cfg(test)]
        let gate = self.broken(super::sabotage::Sabotage::LiveBeforeTail) || at >= mailbox.committed;
        #[cfg(not(test))]
        let gate = at >= mailbox.committed;
        if !gate {
            effects.push(Effect::ReadOn { session });
            return;
        }
        if let Some(state) = self.sessions.get_mut(session) {
            state.live = true;
            state.sent = at;
            state.unacked.clear();
            effects.push(Effect::Live { session, pos: at });
        }
    }

    pub(super) fn lag(&mut self, session: SessionId, effects: &mut Vec<Effect>) {
        if let Some(state) = self.sessions.get_mut(session)
            && std::mem::take(&mut state.live)
        {
            state.unacked = VecDeque::new();
            effects.push(Effect::ReadOn { session });
        }
    }

    pub(super) fn close(&mut self, now: Stamp, session: SessionId, effects: &mut Vec<Effect>) {
        let Some(state) = self.sessions.0.remove(&session) else {
            return self.seek_no_more(session);
        };
        self.unwatch(session, &state.watching);
        self.stale(now, state.slot);
        let Some(mailbox) = self.slots.get_mut(state.slot) else {
            return;
        };
        mailbox.sessions.retain(|id| *id != session);
        if let Some(row) = mailbox.devices.iter_mut().find(|row| row.device == state.device) {
            row.seen = now;
        }
        if mailbox.sessions.is_empty() {
            let user = mailbox.user.clone();
            self.watchers.tell(&user, false, effects);
            self.announce(now, &user, false);
        }
    }

    pub(super) fn ack(&mut self, now: Stamp, session: SessionId, pos: Stamp, effects: &mut Vec<Effect>) {
        let Some(state) = self.sessions.get_mut(session) else {
            return;
        };
        while state.unacked.front().is_some_and(|first| *first <= pos) {
            state.unacked.pop_front();
        }
        let (slot, device) = (state.slot, state.device.clone());
        self.stale(now, slot);
        let Some(mailbox) = self.slots.get_mut(slot) else {
            return;
        };
        // A device cannot have what is not on disk; whatever it says, its cursor stays in the mailbox.
        let pos = pos.min(mailbox.committed);
        let user = mailbox.user.clone();
        for (conversation, at) in mailbox.acked(&device, pos, now) {
            self.tell_delivered(&user, &conversation, at, effects);
        }
    }

    /// Tells the peer's live sessions that its messages up to `at` have reached a device of `user`.
    fn tell_delivered(
        &self,
        user: &UserKey,
        conversation: &Conversation,
        at: Stamp,
        effects: &mut Vec<Effect>,
    ) {
        let Ok(peer) = user.sibling(&conversation.target) else {
            return;
        };
        let theirs = Conversation { kind: conversation.kind, target: user.id().into() };
        match self.whose(&peer) {
            Whose::Peer(owner) => {
                let online = self.claim_of(&peer).is_some_and(|claim| claim.online);
                if online && self.mesh.as_ref().is_some_and(|mesh| mesh.is_linked(owner)) {
                    let frame = Frame::Delivered { user: peer, conversation: theirs, at };
                    effects.push(Effect::Send { to: owner, frame });
                }
            }
            _ => self.delivered_here(&peer, &theirs, at, effects),
        }
    }

    /// Tells the live sessions of `user` that a device has what the user sent.
    pub(super) fn delivered_here(
        &self,
        user: &UserKey,
        theirs: &Conversation,
        at: Stamp,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mailbox) = self.slots.find(user).and_then(|slot| self.slots.get(slot)) else {
            return;
        };
        for &session in &mailbox.sessions {
            if self.sessions.get(session).is_some_and(|state| state.live && state.delivered) {
                effects.push(Effect::Delivered { session, conversation: theirs.clone(), at });
            }
        }
    }

    /// Hands a durable entry to the live sessions of its mailbox; the one that caused it gets the answer instead.
    pub(super) fn push(
        &mut self,
        slot: Slot,
        entry: Entry,
        mut answer: Option<(ReplyTo, Answer)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mailbox) = self.slots.get(slot) else {
            // It has left memory: its sessions are gone, but a ticket still waits.
            if let Some((to, answer)) = answer {
                effects.push(Effect::Reply { to, answer: Ok(answer) });
            }
            return;
        };
        let asker = match &answer {
            Some((ReplyTo::Session(session, _), _)) => Some(*session),
            _ => None,
        };
        let last = mailbox.sessions.len().saturating_sub(1);
        let mut entry = Some(entry);
        #[cfg(test)]
        let mut hurried = Vec::new();
        for (i, &id) in mailbox.sessions.iter().enumerate() {
            let Some(session) = self.sessions.0.get_mut(&id) else {
                continue;
            };
            let Some(pos) = entry.as_ref().map(|entry| entry.pos) else {
                break;
            };
            let fresh = session.live && pos > session.sent;
            if Some(id) == asker {
                let prev = fresh.then(|| session.handed(pos));
                if let Some((to, answer)) = answer.take() {
                    effects.push(Effect::Reply { to, answer: Ok(answer.placed(Place { pos, prev })) });
                }
            } else if fresh && session.unacked.len() >= session.window {
                session.live = false;
                session.unacked = VecDeque::new();
                effects.push(Effect::ReadOn { session: id });
            } else if fresh {
                let prev = session.handed(pos);
                #[cfg(test)]
                if self.sabotage == Some(super::sabotage::Sabotage::CursorBeforeDelivery) {
                    hurried.push((session.device.clone(), pos));
                }
                // The last one need not share the entry.
                let pushed = if i == last { entry.take() } else { entry.clone() };
                if let Some(entry) = pushed {
                    effects.push(Effect::Push { session: id, prev, entry });
                }
            }
        }
        #[cfg(test)]
        if let Some(mailbox) = self.slots.get_mut(slot) {
            for (device, pos) in hurried {
                mailbox.acked(&device, pos, pos);
            }
        }
        // The asker is a ticket, or a session that is gone: a driver drops answers to those.
        if let Some((to, answer)) = answer {
            effects.push(Effect::Reply { to, answer: Ok(answer) });
        }
    }
}
