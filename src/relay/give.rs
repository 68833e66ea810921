//! Handing mailboxes over.
//!
//! Purpose: a mailbox is appended to by one node at a time (P4) and is forgotten only when the next one has it (P2).
//! Flow: `give` freezes the mailbox (what comes for it waits) → all that is under way is durable → the mailbox goes over in
//! parts → the new owner has it on disk, under a higher term (`Taken`) → it is forgotten here, its sessions are told where it
//! is, and what waited goes after it. When anything goes wrong before that, the mailbox thaws and stays.
//! A mailbox that another node has claimed meanwhile goes the same way, but does not thaw: it stays on disk until it is taken.
//! Pure: time comes in as an argument.

use super::{
    Effect, Frame, Input, KickReason, Refused, Relay, commits::After, frames::Rest, mailbox::Mailbox,
    slots::Parked, slots::Slot,
};
use crate::{
    gossip::{Claim, Merged},
    model::{NodeId, Reign, Stamp, UserHash, UserKey},
    store::{ClaimRow, Export, Write},
};
use std::time::Duration;

/// How long the other side may take to take a part in.
const PATIENCE_US: u64 = 10_000_000;
/// How long what the user has sent may take to reach others before the mailbox moves without waiting for it.
const SENDING_US: u64 = 1_000_000;
/// Commands of one user that may wait for its mailbox to move; more are refused.
const MAX_WAITING: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// What the user has sent has to reach others: what he sends next waits, what comes for him does not, or two users who
    /// move at once and write to each other would wait for each other.
    Quieting,
    /// What is under way has to become durable.
    Settling,
    /// The store reads a part.
    Reading,
    /// The other side takes a part in.
    Storing,
    /// The other side has all of it and writes it.
    Finishing,
}

/// A mailbox on its way out.
#[derive(Debug)]
pub(super) struct Give {
    number: u64,
    to: NodeId,
    slot: Slot,
    sent: Stamp,
    phase: Phase,
    since: Stamp,
    progress: Stamp,
    /// The other side owns it already.
    lost: bool,
    /// Commands of the user that wait.
    waiting: Vec<Input>,
}

impl Relay {
    /// Begins to hand the mailbox of `user`, which is in memory, to `to`.
    pub(super) fn give(&mut self, now: Stamp, user: &UserKey, to: NodeId, effects: &mut Vec<Effect>) {
        self.begin_give(now, user, to, false, effects);
    }

    pub(super) fn begin_give(
        &mut self,
        now: Stamp,
        user: &UserKey,
        to: NodeId,
        lost: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(slot) = self.slots.find(user).or_else(|| self.slots.frozen(user).filter(|_| lost)) else {
            return;
        };
        let Some(mesh) = &mut self.mesh else { return };
        if mesh.gives.contains_key(user)
            || mesh.takes.is_merging(user)
            || !mesh.is_linked(to)
            || to == self.node
        {
            return;
        }
        // One that was lost long ago does not know its reign any more; it is below all others.
        let none = Reign { term: 0, owner: self.node };
        let reign = self.slots.get(slot).and_then(Mailbox::reign).unwrap_or(none);
        // Unlike any from before a restart, which may be answered still.
        let number = self.clock.tick(now).0;
        let give = Give {
            number,
            to,
            slot,
            sent: Stamp::ZERO,
            phase: if lost { Phase::Settling } else { Phase::Quieting },
            since: now,
            progress: now,
            lost,
            waiting: Vec::new(),
        };
        mesh.gives.insert(user.clone(), give);
        if let Some(mailbox) = self.slots.get_mut(slot) {
            mailbox.pinned = true;
        }
        if lost {
            self.slots.freeze(slot);
        }
        effects.push(Effect::Send { to, frame: Frame::Give { number, user: user.clone(), reign } });
        self.settle(now, user, effects);
    }

    /// Another node owns the mailbox of `user`, which is in memory: nothing more is added to it here.
    pub(super) fn yield_to(&mut self, now: Stamp, user: &UserKey, owner: NodeId, effects: &mut Vec<Effect>) {
        #[cfg(test)]
        if self.broken(super::sabotage::Sabotage::KeepsWhatIsLost) {
            return;
        }
        let Some(mesh) = &mut self.mesh else { return };
        mesh.leftovers.insert(user.clone());
        let other = match mesh.gives.get_mut(user) {
            Some(give) if give.to == owner => {
                give.lost = true;
                None
            }
            _ => mesh.gives.remove(user),
        };
        let mut waited = Vec::new();
        if let Some(give) = other {
            self.withdraw(give.to, give.number, effects);
            waited = give.waiting;
        }
        let Some(slot) = self.slots.find(user).or_else(|| self.slots.frozen(user)) else { return };
        let waiting = self
            .mesh
            .as_mut()
            .and_then(|mesh| mesh.gives.get_mut(user))
            .map(|give| {
                if give.phase == Phase::Quieting {
                    give.phase = Phase::Settling;
                }
                std::mem::take(&mut give.waiting)
            })
            .unwrap_or_default();
        self.send_off(now, slot, owner, effects);
        self.slots.freeze(slot);
        let mut parked = self.slots.unpark(slot);
        parked.extend(waiting.into_iter().chain(waited));
        let going = self.mesh.as_ref().is_some_and(|mesh| mesh.gives.contains_key(user));
        if !going {
            self.begin_give(now, user, owner, true, effects);
        }
        self.again(now, parked, effects);
    }

    /// Ends the sessions of a mailbox that is served by another node.
    fn send_off(&mut self, now: Stamp, slot: Slot, to: NodeId, effects: &mut Vec<Effect>) {
        let Some(mailbox) = self.slots.get(slot) else { return };
        for session in mailbox.sessions.clone() {
            effects.push(Effect::Kick { session, why: KickReason::Moved { to } });
            self.close(now, session, effects);
        }
    }

    /// Whether the mailbox of `user` is frozen because it moves.
    pub(super) fn is_going(&self, user: &UserKey) -> bool {
        let give = self.mesh.as_ref().and_then(|mesh| mesh.gives.get(user));
        give.is_some_and(|give| give.phase != Phase::Quieting)
    }

    /// Whether a command of `user` has to wait because the mailbox is about to move; then it does.
    pub(super) fn waits_for_give(
        &mut self,
        user: &UserKey,
        input: impl FnOnce() -> Input,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let give = self.mesh.as_mut().and_then(|mesh| mesh.gives.get_mut(user));
        let Some(give) = give.filter(|give| give.phase == Phase::Quieting) else {
            return false;
        };
        if give.waiting.len() < MAX_WAITING {
            give.waiting.push(input());
        } else {
            super::refuse(input(), &Refused::Busy(Duration::from_millis(500)), effects);
        }
        true
    }

    /// Goes on with a mailbox when what its user has sent is there, and then when all of it is durable.
    fn settle(&mut self, now: Stamp, user: &UserKey, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(give) = mesh.gives.get_mut(user) else {
            return;
        };
        if give.phase == Phase::Quieting {
            let waited = now.0.saturating_sub(give.since.0);
            let sends = mesh.outbox.is_sending(user) && waited < SENDING_US;
            // Where parcels are looked for, it is frozen for a moment.
            if sends || self.slots.find(user) != Some(give.slot) {
                return;
            }
            give.phase = Phase::Settling;
            let (slot, waiting) = (give.slot, std::mem::take(&mut give.waiting));
            self.slots.freeze(slot);
            for input in waiting {
                self.slots.park(user, input);
            }
        }
        let Some(mesh) = &mut self.mesh else { return };
        let Some(give) = mesh.gives.get_mut(user).filter(|give| give.phase == Phase::Settling) else {
            return;
        };
        let Some(mailbox) = self.slots.get(give.slot) else {
            return;
        };
        // What is being merged into it goes with it.
        if mailbox.committed < mailbox.last || mesh.takes.is_merging(user) {
            return;
        }
        give.phase = Phase::Reading;
        #[cfg(test)]
        if self.sabotage == Some(super::sabotage::Sabotage::HandsOffTheTail) {
            give.sent = mailbox.devices.iter().map(|row| row.cursor).min().unwrap_or_default();
        }
        effects.push(Effect::Export { user: user.clone(), number: give.number, after: give.sent });
    }

    /// The store has read a part.
    pub(super) fn exported(
        &mut self,
        now: Stamp,
        user: &UserKey,
        number: u64,
        page: Option<Export>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(give) = mesh.gives.get_mut(user).filter(|give| give.number == number) else { return };
        let Some(page) = page else {
            return self.stop_give(now, user, effects);
        };
        let (to, slot) = (give.to, give.slot);
        (give.sent, give.progress) = (page.last, now);
        give.phase = if page.more { Phase::Storing } else { Phase::Finishing };
        effects.push(Effect::Send { to, frame: Frame::Part { number, rows: page.rows } });
        if !page.more
            && let Some(mailbox) = self.slots.get(slot)
        {
            let (row, conversations) = mailbox.whole();
            let rest = Box::new(Rest { mailbox: row, conversations, chain: mailbox.chain.clone() });
            effects.push(Effect::Send { to, frame: Frame::Last { number, rest } });
            #[cfg(test)]
            if self.broken(super::sabotage::Sabotage::ForgetsBeforeTaken) {
                self.commits.write(Write::Forget { user: user.clone() });
            }
        }
    }

    /// The other side has taken a part in.
    pub(super) fn give_stored(&mut self, now: Stamp, from: NodeId, number: u64, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let found = mesh.gives.iter_mut().find(|(_, give)| give.number == number && give.to == from);
        if let Some((user, give)) = found
            && give.phase == Phase::Storing
        {
            (give.phase, give.progress) = (Phase::Reading, now);
            effects.push(Effect::Export { user: user.clone(), number, after: give.sent });
        }
    }

    /// The other side has the mailbox on disk.
    pub(super) fn give_taken(
        &mut self,
        now: Stamp,
        from: NodeId,
        number: u64,
        user: UserKey,
        claim: Claim,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        if mesh.gives.get(&user).is_none_or(|give| give.number != number || give.to != from) {
            // It was given up here, and taken there all the same.
            self.hear(now, claim.stamp);
            self.take_in(now, UserHash::of(&user), claim, effects);
            return;
        }
        self.clock.recover(claim.stamp);
        let Some(give) = mesh.gives.remove(&user) else { return };
        mesh.leftovers.remove(&user);
        let hash = UserHash::of(&user);
        let before = mesh.presence.claim(hash);
        if let Merged::New | Merged::Replaced(_) = mesh.presence.merge(hash, claim) {
            mesh.moved_users.push(hash);
            if before.is_none_or(|before| before.reign() != claim.reign()) {
                let row = ClaimRow { reign: claim.reign(), stamp: claim.stamp, chain: Vec::new() };
                self.commits.write(Write::Claim { user: hash, row });
            }
        }
        let owner = self.claim_of(&user).map_or(from, |claim| claim.owner);
        self.send_off(now, give.slot, owner, effects);
        self.commits.write(Write::Forget { user: user.clone() });
        let parked = self.slots.remove(give.slot);
        if owner == self.node {
            // The taker has heard meanwhile that this node owns it, and gives it back. Until then there is nothing here, under
            // another reign: a device's cursor of the old one would pass over what comes back.
            self.take_over(now, &user);
        }
        self.go_on(now, &user, effects);
        self.again(now, parked, effects);
    }

    /// The other side does not want it.
    pub(super) fn give_refused(
        &mut self,
        now: Stamp,
        from: NodeId,
        number: u64,
        user: UserKey,
        claim: Option<Claim>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &self.mesh else { return };
        if mesh.gives.get(&user).is_none_or(|give| give.number != number || give.to != from) {
            return;
        }
        self.stop_give(now, &user, effects);
        if let Some(claim) = claim {
            self.hear(now, claim.stamp);
            self.take_in(now, UserHash::of(&user), claim, effects);
        }
    }

    /// Gives up on what is going to `peer`, or to anybody.
    pub(super) fn stop_giving(&mut self, now: Stamp, peer: Option<NodeId>, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        let users: Vec<_> = mesh
            .gives
            .iter()
            .filter(|(_, give)| peer.is_none_or(|peer| give.to == peer))
            .map(|(user, _)| user.clone())
            .collect();
        for user in users {
            self.stop_give(now, &user, effects);
        }
    }

    fn stop_give(&mut self, now: Stamp, user: &UserKey, effects: &mut Vec<Effect>) {
        let Some(give) = self.mesh.as_mut().and_then(|mesh| mesh.gives.remove(user)) else { return };
        self.withdraw(give.to, give.number, effects);
        if give.lost {
            return; // it stays frozen, and goes from memory when all of it is durable
        }
        if let Some(mailbox) = self.slots.get_mut(give.slot) {
            mailbox.pinned = false;
        }
        let parked = if give.phase == Phase::Quieting { give.waiting } else { self.slots.thaw(give.slot) };
        self.again(now, parked, effects);
    }

    /// A mailbox that was lost is this node's again: it leaves memory, to come back under its new claim.
    pub(super) fn keep_after_all(&mut self, user: &UserKey, slot: Slot) {
        let mut waiting = Vec::new();
        if let Some(mesh) = &mut self.mesh {
            mesh.leftovers.remove(user);
            if let Some(give) = mesh.gives.remove(user) {
                waiting = give.waiting;
                let frame = Frame::Withdraw { number: give.number };
                self.commits.after(After::Effect(Effect::Send { to: give.to, frame }));
            }
        }
        self.checkpoint(slot);
        let parked = self.slots.remove(slot);
        for input in parked.into_iter().chain(waiting) {
            if let Parked::Waits(true) = self.slots.park(user, input) {
                self.load_later(user.clone());
            }
        }
    }

    fn withdraw(&self, to: NodeId, number: u64, effects: &mut Vec<Effect>) {
        if self.mesh.as_ref().is_some_and(|mesh| mesh.is_linked(to)) {
            effects.push(Effect::Send { to, frame: Frame::Withdraw { number } });
        }
    }

    /// Looks after what is on its way out.
    pub(super) fn tick_gives(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        let late = |give: &Give| now.0.saturating_sub(give.progress.0) >= PATIENCE_US;
        let (stuck, settling): (Vec<_>, Vec<_>) = mesh
            .gives
            .iter()
            .filter(|(_, give)| late(give) || matches!(give.phase, Phase::Quieting | Phase::Settling))
            .map(|(user, give)| (user.clone(), late(give)))
            .partition(|(_, late)| *late);
        for (user, _) in settling {
            self.settle(now, &user, effects);
        }
        for (user, _) in stuck {
            self.stop_give(now, &user, effects);
        }
        self.tick_leftovers(now, effects);
    }
}
