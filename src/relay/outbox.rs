//! Parcels for mailboxes that other nodes own.
//!
//! Purpose: what was acked reaches its mailbox once, whatever happens to nodes and links (P2, P3), in the order in which its
//! sender sent it.
//! Flow: `post` writes a parcel into the outbox for the owner → durable: it is sent → the owner has it on disk (`Done`): it is
//! forgotten; or the owner says that the mailbox is elsewhere (`Return`): it goes to the outbox for that node. A link that
//! comes up sends all again that was not answered, marked so that the owner looks for it before it takes it.
//! Invariants: a parcel is in one outbox, on disk, until the next holder has it on disk. While a user has parcels in the
//! outbox for one node, none is put into that for another: later ones are held back, or they could overtake.
//! Pure: time comes in as an argument.

use super::{
    Effect, Frame, Input, Relay,
    hash::map,
    mesh::Whose,
    queues::{HELD, Row, State, size},
};
use crate::{
    gossip::Claim,
    model::{Clock, Item, NodeId, Parcel, Stamp, UserHash, UserKey},
    store::Write,
};
use std::sync::Arc;

/// Parcels sent to a node and not answered, and their bytes.
const WINDOW: usize = 8_192;
const WINDOW_BYTES: usize = 16 << 20;

/// How long after it was made a parcel may go on without a look whether it has come by another way.
const PROMPT_US: u64 = 2_000_000;

/// Parcels held back, and those behind them that are over, past which the first is put behind the others.
const MANY_HELD: usize = 1_024;

/// How often what is held back is looked at, should nothing else have set it going.
const HELD_US: u64 = 200_000;

/// When what a parcel holds was made; its mailbox cannot have it from before.
fn made(parcel: &Parcel) -> Stamp {
    match &parcel.item {
        Item::Message(message) => message.at,
        Item::Receipt { at, .. } => *at,
        Item::Recall { message, .. } => message.at,
    }
}

/// The parcel, marked as one that its mailbox may have.
fn unsure(parcel: &Arc<Parcel>) -> Arc<Parcel> {
    // The mailbox may have it from a node whose clock is behind that of the one that made it.
    let made = Stamp(made(parcel).0.saturating_sub(Clock::MAX_AHEAD_US));
    let since = parcel.since.map_or(made, |since| since.min(made));
    Arc::new(Parcel { since: Some(since), ..Parcel::clone(parcel) })
}

impl Relay {
    /// Puts a parcel where it has to go; it is written with the next commit.
    ///
    /// * `to`: the number of its addressee.
    /// * `logged`: its message is written into its log with the same commit.
    pub(super) fn post(&mut self, now: Stamp, parcel: Arc<Parcel>, to: UserHash, logged: bool) {
        let row = Row::to(to, now, State::Writing, parcel.clone(), logged);
        let owner = match self.whose_known(&parcel.to, row.to) {
            Whose::Mine => self.node,
            Whose::Peer(owner) => owner,
            Whose::Nobody => self.registrar(&parcel.to),
        };
        let Some(mesh) = &mut self.mesh else { return };
        let blocked = mesh
            .outbox
            .to
            .get(&row.to)
            .is_some_and(|counts| counts.nodes().any(|at| at != owner || owner == self.node));
        #[cfg(test)]
        let blocked = blocked && self.sabotage != Some(super::sabotage::Sabotage::ParcelsOvertake);
        // A mailbox that is here, or comes here, is looked at again with the next tick.
        let owner = if blocked || owner == self.node { HELD } else { owner };
        let number = mesh.outbox.put(owner, None, row);
        #[cfg(test)]
        if self.broken(super::sabotage::Sabotage::ParcelNotWritten) {
            return self.commits.posted(owner, number);
        }
        self.commits.write(Write::Outbox { peer: owner, number, parcel, logged });
        self.commits.posted(owner, number);
    }

    /// A parcel that the store held at the start.
    pub(super) fn posted_before(&mut self, peer: NodeId, number: u64, parcel: Option<Arc<Parcel>>) {
        let Some(mesh) = &mut self.mesh else { return };
        match parcel {
            Some(parcel) => {
                let row = Row::new(Stamp::ZERO, State::Unsure, parcel, false);
                mesh.outbox.put(peer, Some(number), row);
            }
            // Its text is gone by retention: so is the message.
            None => self.commits.write(Write::OutboxDone { peer, from: number, upto: number }),
        }
    }

    /// Parcels are on disk: from the first of the numbers to the last.
    pub(super) fn posted(
        &mut self,
        now: Stamp,
        peer: NodeId,
        (first, last): (u64, u64),
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(queue) = mesh.outbox.queues.get_mut(&peer) else { return };
        let mut users = Vec::new();
        for number in first..=last {
            if let Some(row) = queue.row(number)
                && row.state == State::Writing
            {
                row.state = State::Ready;
                if peer == HELD {
                    users.push(row.parcel.to.clone());
                }
            }
        }
        if peer == HELD {
            return self.release(now, &users, effects);
        }
        self.send_parcels(peer, effects);
    }

    /// Sends what may be sent.
    fn send_parcels(&mut self, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        if peer == HELD || !mesh.is_linked(peer) {
            return;
        }
        let Some(queue) = mesh.outbox.queues.get_mut(&peer) else { return };
        while queue.sent < WINDOW
            && queue.flying < WINDOW_BYTES
            && let Some(row) = queue.rows.get_mut(queue.sent)
        {
            match row.state {
                State::Writing => break,
                State::Ready | State::Unsure => {
                    let parcel =
                        if row.state == State::Unsure { unsure(&row.parcel) } else { row.parcel.clone() };
                    let anew = !queue.returned.is_empty() && queue.returned.remove(&row.to).is_some();
                    let frame = Frame::Parcel { number: row.number, parcel, anew };
                    effects.push(Effect::Send { to: peer, frame });
                    row.state = State::Sent;
                    queue.flying += size(&row.parcel);
                }
                State::Sent | State::Returned | State::Gone => {}
            }
            queue.sent += 1;
        }
    }

    /// The link to `peer` has come up.
    pub(super) fn resend(&mut self, peer: NodeId, effects: &mut Vec<Effect>) {
        self.outbox_unsent(peer);
        self.send_parcels(peer, effects);
    }

    /// The link to `peer` is gone: nobody knows which of the parcels on it have arrived.
    pub(super) fn outbox_unsent(&mut self, peer: NodeId) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(queue) = mesh.outbox.queues.get_mut(&peer) else { return };
        (queue.sent, queue.flying, queue.done) = (0, 0, 0);
        queue.returned = map();
        for row in &mut queue.rows {
            // One that was not sent when it was made is old by now: its sender may have tried again elsewhere.
            if matches!(row.state, State::Sent | State::Ready) {
                row.state = State::Unsure;
            }
        }
    }

    /// `peer` has all parcels up to `upto` on disk, but for those that it returned.
    pub(super) fn posted_done(&mut self, now: Stamp, peer: NodeId, upto: u64, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(queue) = mesh.outbox.queues.get_mut(&peer) else { return };
        queue.done = queue.done.max(upto);
        self.forget_done(now, peer, effects);
        self.send_parcels(peer, effects);
    }

    /// Forgets the parcels that `peer` has.
    fn forget_done(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        // Only what waits can be set going.
        let some_wait = mesh.outbox.queues.get(&HELD).is_some_and(|held| !held.rows.is_empty());
        let mut users = Vec::new();
        let over = mesh.outbox.take_done(now, peer, |row| {
            if some_wait {
                users.push(row.parcel.to.clone());
            }
        });
        let Some((from, upto)) = over else { return };
        self.commits.write(Write::OutboxDone { peer, from, upto });
        self.release(now, &users, effects);
    }

    /// `peer` does not own the mailbox of a parcel.
    pub(super) fn returned(
        &mut self,
        now: Stamp,
        peer: NodeId,
        number: u64,
        claim: Claim,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(queue) = mesh.outbox.queues.get_mut(&peer) else { return };
        let Some(row) = queue.row(number).filter(|row| row.state == State::Sent) else {
            return;
        };
        row.state = State::Returned;
        let (user, bytes) = (row.parcel.to.clone(), size(&row.parcel));
        queue.flying = queue.flying.saturating_sub(bytes);
        let hash = UserHash::of(&user);
        queue.returned.insert(hash, ());
        // Those that are on their way come back too; the others need not go.
        let back: Vec<_> = queue
            .rows
            .iter()
            .filter(|row| !matches!(row.state, State::Sent | State::Gone) && row.parcel.to == user)
            .map(|row| row.number)
            .collect();
        self.hear(now, claim.stamp);
        self.take_in(now, hash, claim, effects);
        if self.whose(&user) == Whose::Peer(peer)
            && let Some(claim) = self.claim_of(&user)
        {
            // It does not know yet that it is the owner.
            let news = Frame::Claims(vec![(hash, claim)]);
            effects.push(Effect::Send { to: peer, frame: news });
        }
        for number in back {
            self.hold_back(peer, number);
        }
        self.forget_done(now, peer, effects);
        self.release(now, &[user], effects);
    }

    /// Takes a parcel out of the outbox for `peer`, to go on from those held back when all of its user have come to rest there.
    fn hold_back(&mut self, peer: NodeId, number: u64) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(row) = mesh.outbox.queues.get_mut(&peer).and_then(|queue| queue.row(number)) else {
            return;
        };
        let sure = matches!(row.state, State::Ready | State::Writing);
        let parcel = if sure { row.parcel.clone() } else { unsure(&row.parcel) };
        let (logged, state) = (row.logged, State::Writing);
        let held = Row { number: 0, state, parcel: parcel.clone(), ..*row };
        self.drop_row(peer, number, held.to, &parcel);
        let Some(mesh) = &mut self.mesh else { return };
        let number = mesh.outbox.put(HELD, None, held);
        self.commits.write(Write::Outbox { peer: HELD, number, parcel, logged });
        self.commits.posted(HELD, number);
    }

    fn drop_row(&mut self, peer: NodeId, number: u64, to: UserHash, parcel: &Parcel) {
        let Some(mesh) = &mut self.mesh else { return };
        mesh.outbox.count_out(peer, to, parcel);
        if let Some(queue) = mesh.outbox.queues.get_mut(&peer)
            && let Some(row) = queue.row(number)
        {
            row.state = State::Gone;
        }
        self.commits.write(Write::OutboxDone { peer, from: number, upto: number });
    }

    /// A parcel from a peer whose mailbox cannot be read at the moment: it is held back here, and the peer hears that it is
    /// durable. One mailbox must not hold up the parcels of all others.
    pub(super) fn take_charge(
        &mut self,
        now: Stamp,
        from: NodeId,
        link: Stamp,
        number: u64,
        parcel: &Arc<Parcel>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(inbound) = mesh.inbound.get(&from) else { return };
        if !inbound.is_over(link) {
            // It may have come before, over another link.
            let parcel = unsure(parcel);
            let row = Row::to(UserHash::of(&parcel.to), now, State::Writing, parcel.clone(), false);
            let held = mesh.outbox.put(HELD, None, row);
            self.commits.write(Write::Outbox { peer: HELD, number: held, parcel, logged: false });
            self.commits.posted(HELD, held);
            self.commits.received(from, link, number);
        }
    }

    /// The mailbox that a parcel held back is for is there.
    pub(super) fn redeliver(&mut self, now: Stamp, user: &UserKey, effects: &mut Vec<Effect>) {
        self.release(now, std::slice::from_ref(user), effects);
    }

    /// Parcels of these users may have come to rest: those held back go on, the oldest first.
    fn release(&mut self, now: Stamp, users: &[UserKey], effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        let Some(queue) = mesh.outbox.queues.get(&HELD).filter(|queue| !queue.rows.is_empty()) else {
            return;
        };
        let (mut places, mut lists) = (map(), Vec::new());
        for user in users {
            let hash = UserHash::of(user);
            // A user may be named several times, once for each parcel. His place must stay the first one, or his parcels
            // would go where those of the next user go.
            if !places.contains_key(&hash)
                && let Some(owner) = self.rests(hash, user)
            {
                places.insert(hash, lists.len());
                lists.push((owner, Vec::new()));
            }
        }
        if lists.is_empty() {
            return;
        }
        // Once through all that is held: for many users at a time that is the difference to hours.
        for row in queue.rows.iter().filter(|row| row.state != State::Gone) {
            if let Some(place) = places.get(&row.to)
                && let Some((_, rows)) = lists.get_mut(*place)
            {
                rows.push((made(&row.parcel), row.number, (row.parcel.clone(), row.logged)));
            }
        }
        for (owner, mut rows) in lists {
            rows.sort_by_key(|row| (row.0, row.1));
            for (_, number, parcel) in rows {
                if !self.go_on_from_held(now, owner, number, parcel, effects) {
                    break;
                }
            }
        }
        self.forget_done(now, HELD, effects);
    }

    /// Where parcels for this user go that are held back, when all of them have come to rest.
    fn rests(&self, hash: UserHash, user: &UserKey) -> Option<NodeId> {
        let owner = match self.whose(user) {
            Whose::Mine => self.node,
            Whose::Peer(owner) => owner,
            Whose::Nobody => self.registrar(user),
        };
        let counts = self.mesh.as_ref()?.outbox.to.get(&hash)?;
        let held = counts.nodes().any(|at| at == HELD);
        let free = counts.nodes().all(|at| at == HELD || (at == owner && owner != self.node));
        #[cfg(test)]
        let free = free || self.sabotage == Some(super::sabotage::Sabotage::ParcelsOvertake);
        (held && free).then_some(owner)
    }

    /// Puts a parcel that was held back where its mailbox is, in one commit. `false`: the mailbox has to be read first.
    fn go_on_from_held(
        &mut self,
        now: Stamp,
        owner: NodeId,
        number: u64,
        (parcel, logged): (Arc<Parcel>, bool),
        effects: &mut Vec<Effect>,
    ) -> bool {
        let old = now.0.saturating_sub(made(&parcel).0) > PROMPT_US;
        let parcel = if old { unsure(&parcel) } else { parcel };
        let row = Row::new(now, State::Writing, parcel.clone(), logged);
        if owner == self.node {
            if self.whose(&parcel.to) == Whose::Nobody {
                self.take_over(now, &parcel.to);
            }
            let again = || Input::Redeliver { user: parcel.to.clone() };
            let Some(slot) = self.knowing(&parcel.to, parcel.since, again, effects) else {
                return false;
            };
            self.drop_row(HELD, number, row.to, &row.parcel);
            self.receive(now, slot, &parcel);
            return true;
        }
        self.drop_row(HELD, number, row.to, &row.parcel);
        let Some(mesh) = &mut self.mesh else { return false };
        let number = mesh.outbox.put(owner, None, row);
        self.commits.write(Write::Outbox { peer: owner, number, parcel, logged });
        self.commits.posted(owner, number);
        true
    }

    /// Parcels in the outbox for `peer`, to which there is no link, whose mailbox is another's by now are held back for it.
    fn redirect(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        let Some(queue) = mesh.outbox.queues.get(&peer) else { return };
        let goes_there = |row: &Row| match self.whose_known(&row.parcel.to, row.to) {
            Whose::Mine => false,
            Whose::Peer(owner) => owner == peer,
            Whose::Nobody => self.registrar(&row.parcel.to) == peer,
        };
        let moved: Vec<_> = queue
            .rows
            .iter()
            .filter(|row| row.state != State::Gone && !goes_there(row))
            .map(|row| (row.number, row.parcel.to.clone()))
            .collect();
        let mut users = Vec::new();
        for (number, user) in moved {
            self.hold_back(peer, number);
            users.push(user);
        }
        users.sort_unstable();
        users.dedup();
        self.forget_done(now, peer, effects);
        self.release(now, &users, effects);
    }

    /// Claims have changed: parcels that wait for a node out of reach follow their mailboxes, and so do those held back.
    pub(super) fn redirect_all(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        // Users for whom nothing waits are no reason to look.
        let anything = |user| mesh.outbox.to.contains_key(user);
        let moved = mesh.moved || mesh.moved_users.iter().any(anything);
        mesh.moved = false;
        mesh.moved_users.clear();
        let peers: Vec<_> = mesh
            .outbox
            .queues
            .iter()
            .filter(|(peer, queue)| **peer != HELD && !queue.rows.is_empty() && !mesh.is_linked(**peer))
            .map(|(peer, _)| *peer)
            .collect();
        if moved {
            for peer in peers {
                self.redirect(now, peer, effects);
            }
        }
        let Some(mesh) = &mut self.mesh else { return };
        if !moved && now.0.saturating_sub(mesh.held_at.0) < HELD_US {
            return;
        }
        mesh.held_at = now;
        let Some(held) = mesh.outbox.queues.get(&HELD).filter(|queue| !queue.rows.is_empty()) else {
            return;
        };
        // One that cannot go on, such as of a mailbox that cannot be read, would keep those behind it that are over.
        if held.rows.len() > MANY_HELD
            && let Some(first) = held.rows.front()
            && matches!(first.state, State::Ready | State::Unsure)
        {
            let number = first.number;
            self.hold_back(HELD, number);
            self.forget_done(now, HELD, effects);
        }
        let Some(held) = self.mesh.as_ref().and_then(|mesh| mesh.outbox.queues.get(&HELD)) else { return };
        let waiting = held.rows.iter().filter(|row| row.state != State::Gone);
        let mut users: Vec<_> = waiting.map(|row| row.parcel.to.clone()).collect();
        users.sort_unstable();
        users.dedup();
        self.release(now, &users, effects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Conversation, Kind},
        relay::Limits,
    };

    #[test]
    fn what_is_held_back_goes_to_the_owner_of_its_own_mailbox_however_often_its_user_is_named() {
        let mut relay = Relay::new(NodeId(1), Limits::default(), Stamp::ZERO);
        let user = |id| UserKey::new("app", id).unwrap();
        let (ann, bo, now) = (user("ann"), user("bo"), Stamp(1_000));
        let conversation = Conversation { kind: Kind::Private, target: "cy".into() };
        let mesh = relay.mesh.as_mut().unwrap();
        for (to, owner) in [(&ann, NodeId(2)), (&bo, NodeId(3))] {
            mesh.presence.merge(UserHash::of(to), Claim { owner, term: 1, stamp: now, online: true });
            for at in 0..2 {
                let item = Item::Receipt { conversation: conversation.clone(), at: Stamp(990 + at) };
                let parcel = Parcel { to: to.clone(), from: user("cy"), item, since: None };
                mesh.outbox.put(HELD, None, Row::new(now, State::Ready, Arc::new(parcel), false));
            }
        }
        relay.release(now, &[ann.clone(), ann.clone(), bo.clone()], &mut Vec::new());
        let outbox = &relay.mesh.as_ref().unwrap().outbox;
        let users = |peer| {
            let rows = outbox.queues.get(&peer).map(|queue| queue.rows.iter());
            rows.into_iter().flatten().map(|row| row.parcel.to.clone()).collect::<Vec<_>>()
        };
        assert_eq!(users(NodeId(2)), [ann.clone(), ann]);
        assert_eq!(users(NodeId(3)), [bo.clone(), bo]);
        assert!(users(HELD).is_empty());
    }
}
