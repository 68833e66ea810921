//! Sends that wait because what was sent before has not got through.
//!
//! Purpose: a node takes from its clients no more than its peers take from it, or what waits between would grow, and with it
//! the time that every message takes.
//! Flow: a send for a mailbox of a linked peer that is behind waits here, unanswered, so that its client, who keeps a bounded
//! number unanswered, slows down → the peer has caught up, or the send has waited for long enough: it goes on.
//! Invariants: what one user sends goes on in the order in which it came. For a peer that is out of reach nothing waits here: its
//! parcels are on disk, and nobody knows for how long; past a bound sends for it are refused.
//! Pure: time comes in as an argument.

use super::{
    Command, Effect, Input, Outgoing, Refused, Relay, ReplyTo,
    hash::{Map, map},
    mesh::Whose,
};
use crate::model::{NodeId, Stamp, UserHash, UserKey};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// The longest that a send waits, in microseconds.
const PATIENCE_US: u64 = 1_000_000;
/// Sends that may wait, for all peers, and their bytes; past that no more users have to wait, and those who do are refused.
const MAX_WAITING: usize = 16_384;
const MAX_BYTES: usize = 64 << 20;
/// What a send takes besides its content, about.
const SEND_BYTES: usize = 512;

#[derive(Debug)]
struct Waiting {
    since: Stamp,
    from: UserKey,
    bytes: usize,
    input: Input,
}

impl Waiting {
    fn new(since: Stamp, to: ReplyTo, from: &UserKey, out: &Outgoing) -> Self {
        let input = Input::Command { to, user: from.clone(), command: Command::Send(out.clone()) };
        Self { since, from: from.clone(), bytes: SEND_BYTES + out.content.json().len(), input }
    }
}

/// Sends that wait, by the peer that is behind.
#[derive(Debug)]
pub(super) struct Throttle {
    waiting: BTreeMap<NodeId, VecDeque<Waiting>>,
    /// Where the sends of each user wait.
    senders: Map<UserKey, NodeId>,
    len: usize,
    bytes: usize,
    /// What waited goes on: it does not wait anew.
    goes_on: bool,
}

impl Throttle {
    pub fn new() -> Self {
        Self { waiting: BTreeMap::new(), senders: map(), len: 0, bytes: 0, goes_on: false }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    fn is_full(&self) -> bool {
        self.len >= MAX_WAITING || self.bytes >= MAX_BYTES
    }

    fn put(&mut self, peer: NodeId, waiting: Waiting) {
        self.senders.insert(waiting.from.clone(), peer);
        (self.len, self.bytes) = (self.len + 1, self.bytes + waiting.bytes);
        self.waiting.entry(peer).or_default().push_back(waiting);
    }

    fn take(&mut self, peer: NodeId) -> VecDeque<Waiting> {
        let all = self.waiting.remove(&peer).unwrap_or_default();
        self.len -= all.len();
        for waiting in &all {
            self.bytes -= waiting.bytes;
            self.senders.remove(&waiting.from);
        }
        all
    }
}

impl Relay {
    /// Whether a send of `from` has to wait because an earlier one does; then it does, or is refused.
    pub(super) fn waits_behind(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        from: &UserKey,
        out: &Outgoing,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(mesh) = &mut self.mesh else { return false };
        if mesh.throttle.len == 0 || mesh.throttle.goes_on {
            return false;
        }
        let Some(&peer) = mesh.throttle.senders.get(from) else { return false };
        if mesh.throttle.is_full() {
            let why = Refused::Busy(Duration::from_millis(200));
            effects.push(Effect::Reply { to, answer: Err(why) });
            return true;
        }
        mesh.throttle.put(peer, Waiting::new(now, to, from, out));
        true
    }

    /// Whether a send of `from` to `user`, with that number, has to wait; then it does.
    pub(super) fn waits_for_peer(
        &mut self,
        now: Stamp,
        to: ReplyTo,
        from: &UserKey,
        (user, hash): (&UserKey, UserHash),
        out: &Outgoing,
    ) -> bool {
        let Some(mesh) = &self.mesh else { return false };
        let none_is_deep = !mesh.outbox.is_deep(now, &self.limits);
        if none_is_deep || mesh.throttle.goes_on || mesh.throttle.is_full() {
            return false;
        }
        let Whose::Peer(peer) = self.whose_known(user, hash) else { return false };
        if !self.is_behind(now, peer) {
            return false;
        }
        let waiting = Waiting::new(now, to, from, out);
        if let Some(mesh) = &mut self.mesh {
            mesh.throttle.put(peer, waiting);
        }
        true
    }

    /// Whether more waits for peers than may, and `user`'s mailbox is at one out of reach.
    pub(super) fn is_out_of_room(&self, user: &UserKey, hash: UserHash) -> bool {
        let Some(mesh) = &self.mesh else { return false };
        mesh.outbox.bytes() > self.limits.outbox_bytes
            && match self.whose_known(user, hash) {
                Whose::Mine => false,
                Whose::Peer(peer) => !mesh.is_linked(peer),
                Whose::Nobody => {
                    let registrar = self.registrar(user);
                    registrar != self.node && !mesh.is_linked(registrar)
                }
            }
    }

    /// Whether a peer that is there has not dealt for a while with what was sent to it.
    fn is_behind(&self, now: Stamp, peer: NodeId) -> bool {
        self.mesh
            .as_ref()
            .is_some_and(|mesh| mesh.is_linked(peer) && mesh.outbox.is_deep_for(now, peer, &self.limits))
    }

    /// What waits for peers that have caught up, or has waited for long enough, goes on.
    pub(super) fn tick_throttle(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        if mesh.throttle.len == 0 {
            return;
        }
        let late = |first: &Waiting| now.0.saturating_sub(first.since.0) >= PATIENCE_US;
        let over: Vec<_> = mesh
            .throttle
            .waiting
            .iter()
            .filter(|(peer, all)| all.front().is_some_and(late) || !self.is_behind(now, **peer))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in over {
            let Some(mesh) = &mut self.mesh else { return };
            let all = mesh.throttle.take(peer);
            mesh.throttle.goes_on = true;
            for waiting in all {
                self.handle(now, waiting.input, effects);
            }
            if let Some(mesh) = &mut self.mesh {
                mesh.throttle.goes_on = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gossip::Claim,
        model::{Conversation, Item, Kind, Parcel},
        relay::{Limits, queues::Row, queues::State},
    };
    use std::sync::Arc;

    fn relay(limits: Limits) -> (Relay, UserKey) {
        let mut relay = Relay::new(NodeId(1), limits, Stamp::ZERO);
        let user = UserKey::new("app", "bo").unwrap();
        let claim = Claim { owner: NodeId(2), term: 1, stamp: Stamp(5), online: true };
        relay.mesh.as_mut().unwrap().presence.merge(UserHash::of(&user), claim);
        (relay, user)
    }

    #[test]
    fn past_a_bound_nothing_more_is_taken_for_a_peer_out_of_reach() {
        let (mut relay, user) = relay(Limits { outbox_bytes: 300, ..Limits::default() });
        let hash = UserHash::of(&user);
        for more in [false, true] {
            let item = Item::Receipt {
                conversation: Conversation { kind: Kind::Private, target: "cy".into() },
                at: Stamp(9),
            };
            let parcel = Arc::new(Parcel { to: user.clone(), from: user.clone(), item, since: None });
            let row = Row::new(Stamp(9), State::Ready, parcel, false);
            relay.mesh.as_mut().unwrap().outbox.put(NodeId(2), None, row);
            assert_eq!(relay.is_out_of_room(&user, hash), more);
        }
        relay.mesh.as_mut().unwrap().peers.entry(NodeId(2)).or_default().linked = true;
        assert!(!relay.is_out_of_room(&user, hash), "that one is only slow");
        let here = UserKey::new("app", "new").unwrap();
        assert!(!relay.is_out_of_room(&here, UserHash::of(&here)), "nobody owns it, and this node may");
    }
}
