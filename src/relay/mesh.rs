//! What a relay knows of its peers, and who owns whom.
//!
//! Purpose: one appender for every mailbox (P4), found without asking around.
//! Flow: claims come in from peers (`take_in`) and from decisions here (`take_over`) → the presence table → the next tick
//! spreads what is news.
//! Invariants: a mailbox is in memory and open only while the highest claim known on it is this node's own; what was
//! decided here is written before anything is done upon it.
//! Pure: time comes in as an argument.

use super::{
    Effect, Frame, Input, Relay,
    asks::Asks,
    give::Give,
    hash::{Map, map},
    inbound::Inbound,
    leave::Look,
    queues::Outbox,
    repair::Comparison,
    seek::Seek,
    spread::Spreads,
    take::Takes,
    throttle::Throttle,
};
use crate::{
    gossip::{Claim, Merged, Presence},
    model::{Epoch, NodeId, Reign, Stamp, UserHash, UserKey},
    store::{ClaimRow, Write},
};
use std::collections::{BTreeMap, BTreeSet};

/// Another node.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peer {
    /// Its membership says that it lives.
    pub alive: bool,
    /// There is a link to it.
    pub linked: bool,
    /// It is about to leave.
    pub draining: bool,
}

/// Whose a mailbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Mine,
    Peer(NodeId),
    Nobody,
}

/// All that a relay with peers has and one without has not.
#[derive(Debug)]
pub(super) struct Mesh {
    pub peers: BTreeMap<NodeId, Peer>,
    pub presence: Presence,
    pub comparisons: BTreeMap<NodeId, Comparison>,
    /// Claims to be told to all peers with the next tick.
    pub news: BTreeMap<UserHash, Claim>,
    pub outbox: Outbox,
    pub throttle: Throttle,
    pub inbound: BTreeMap<NodeId, Inbound>,
    pub seeking: BTreeMap<UserKey, Seek>,
    pub asks: Asks,
    pub gives: BTreeMap<UserKey, Give>,
    pub takes: Takes,
    pub spreads: Spreads,
    /// Users whose mailbox is in the store here although another node owns it.
    pub leftovers: BTreeSet<UserKey>,
    /// Who is watched here, by number.
    pub watched: Map<UserHash, UserKey>,
    pub draining: bool,
    /// When the drain should be over.
    pub drain_by: Stamp,
    /// Users who are here, whose mailbox goes or has gone, and who have not come to its new owner yet: since when.
    pub following: Map<UserHash, Stamp>,
    pub look: Look,
    /// Mailboxes have changed hands since the outboxes were looked through.
    pub moved: bool,
    /// Users whose mailbox could not be read when a parcel came for it.
    pub unreadable: Map<UserHash, ()>,
    /// The users of those that have, where it is known.
    pub moved_users: Vec<UserHash>,
    /// When the parcels held back were last looked at.
    pub held_at: Stamp,
}

impl Mesh {
    pub fn new() -> Self {
        Self {
            peers: BTreeMap::new(),
            presence: Presence::default(),
            comparisons: BTreeMap::new(),
            news: BTreeMap::new(),
            outbox: Outbox::new(),
            throttle: Throttle::new(),
            inbound: BTreeMap::new(),
            seeking: BTreeMap::new(),
            asks: Asks::default(),
            gives: BTreeMap::new(),
            takes: Takes::default(),
            spreads: Spreads::default(),
            leftovers: BTreeSet::new(),
            watched: map(),
            draining: false,
            drain_by: Stamp::ZERO,
            following: map(),
            // Until all that the store holds has been told.
            look: Look::at_start(),
            moved: false,
            unreadable: map(),
            moved_users: Vec::new(),
            held_at: Stamp::ZERO,
        }
    }

    pub fn is_linked(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.linked)
    }

    pub fn is_alive(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| peer.alive)
    }

    /// Whether there is a node that would take a mailbox.
    pub fn has_heir(&self) -> bool {
        self.peers.values().any(|peer| peer.alive && peer.linked && !peer.draining)
    }

    /// What waits for peers, by name.
    pub fn waiting(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("parcels", self.outbox.len()),
            ("held up", self.throttle.len()),
            ("sought", self.seeking.len()),
            ("asked", self.asks.len()),
            ("going", self.gives.len()),
            ("coming", self.takes.len()),
            ("left over", self.leftovers.len()),
            ("leaving", self.look.left()),
            ("looking", usize::from(self.look.is_wanted || self.look.runs)),
        ]
    }

    pub fn linked(&self) -> Vec<NodeId> {
        self.peers.iter().filter(|(_, peer)| peer.linked).map(|(id, _)| *id).collect()
    }
}

/// Which node is to decide about a user whom nobody owns: the one with the highest hash of both (Thaler and Ravishankar,
/// "A name-based mapping scheme for rendezvous", 1996).
fn weight(user: UserHash, node: NodeId) -> u64 {
    // The finalizer of SplitMix64 over what is already a cryptographic hash.
    let mut z = (user.0 >> 64) as u64 ^ user.0 as u64 ^ u64::from(node.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The node among `nodes` that has the highest weight for that user.
pub(super) fn chosen(user: UserHash, nodes: impl Iterator<Item = NodeId>) -> Option<NodeId> {
    nodes.max_by_key(|&node| (weight(user, node), node))
}

impl Relay {
    /// Whose the mailbox of `user` is, as far as known here.
    pub(super) fn whose(&self, user: &UserKey) -> Whose {
        if self.mesh.is_none() { Whose::Mine } else { self.whose_known(user, UserHash::of(user)) }
    }

    /// The same; `hash` is the user's.
    pub(super) fn whose_known(&self, user: &UserKey, hash: UserHash) -> Whose {
        let Some(mesh) = &self.mesh else { return Whose::Mine };
        if self.slots.find(user).is_some() || mesh.takes.is_writing(user) {
            return Whose::Mine;
        }
        match mesh.presence.claim(hash) {
            Some(claim) if claim.owner == self.node => Whose::Mine,
            Some(claim) => Whose::Peer(claim.owner),
            None => Whose::Nobody,
        }
    }

    /// A claim that the store held at the start.
    pub(super) fn claimed_before(&mut self, user: UserHash, row: &ClaimRow) {
        self.clock.recover(row.stamp);
        let Some(mesh) = &mut self.mesh else { return };
        let Reign { term, owner } = row.reign;
        mesh.presence.merge(user, Claim { owner, term, stamp: row.stamp, online: false });
    }

    /// The claim on `user` that is known here.
    pub(super) fn claim_of(&self, user: &UserKey) -> Option<Claim> {
        self.mesh.as_ref()?.presence.claim(UserHash::of(user))
    }

    /// Which living node decides about `user` while nobody owns it.
    pub(super) fn registrar(&self, user: &UserKey) -> NodeId {
        let Some(mesh) = &self.mesh else { return self.node };
        let hash = UserHash::of(user);
        let me = (!mesh.draining).then_some(self.node);
        let others = mesh.peers.iter().filter(|(_, peer)| peer.alive && !peer.draining).map(|(id, _)| *id);
        chosen(hash, others.chain(me)).unwrap_or(self.node)
    }

    /// Makes this node the owner of a mailbox that it does not have: of a user who is new, or whose owner is down.
    pub(super) fn take_over(&mut self, now: Stamp, user: &UserKey) {
        let hash = UserHash::of(user);
        if let Some(slot) = self.slots.frozen(user) {
            // It was on its way to an owner that is succeeded now; it comes back from the disk, with what waits for it.
            self.keep_after_all(user, slot);
        }
        let Some(mesh) = &self.mesh else { return };
        let before = mesh.presence.claim(hash).map(|claim| claim.reign());
        let base = self.clock.tick(now);
        let term = before.map_or(1, |reign| reign.term + 1);
        let reign = Reign { term, owner: self.node };
        let recovered = before.is_some();
        let chain = vec![Epoch { reign, base: if recovered { base } else { Stamp::ZERO }, recovered }];
        self.commits.write(Write::Claim { user: hash, row: ClaimRow { reign, stamp: base, chain } });
        let claim = Claim { owner: self.node, term, stamp: base, online: false };
        let Some(mesh) = &mut self.mesh else { return };
        mesh.presence.merge(hash, claim);
        mesh.news.insert(hash, claim);
        mesh.leftovers.remove(user);
        mesh.moved_users.push(hash);
    }

    /// Takes in a claim that a peer told. Says whether it was news.
    pub(super) fn take_in(
        &mut self,
        now: Stamp,
        user: UserHash,
        claim: Claim,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(mesh) = &mut self.mesh else { return false };
        let before = match mesh.presence.merge(user, claim) {
            Merged::Stale | Merged::Same => return false,
            Merged::New => None,
            Merged::Replaced(before) => Some(before),
        };
        self.claim_changed(now, user, claim, before, effects);
        true
    }

    /// A claim that a peer told has replaced the one that was known here.
    pub(super) fn claim_changed(
        &mut self,
        now: Stamp,
        user: UserHash,
        claim: Claim,
        before: Option<Claim>,
        effects: &mut Vec<Effect>,
    ) {
        let me = self.node;
        if claim.owner == me {
            return self.take_in_own(now, user, claim, before);
        }
        let Some(mesh) = &mut self.mesh else { return };
        if claim.online && !mesh.following.is_empty() {
            mesh.following.remove(&user);
        }
        if let Some(watched) = mesh.watched.get(&user).cloned() {
            let was = before
                .is_some_and(|before| before.online && (before.owner == me || mesh.is_alive(before.owner)));
            let is = claim.online && mesh.is_alive(claim.owner);
            if was != is && before.is_none_or(|before| before.owner != me) {
                self.watchers.tell(&watched, is, effects);
            }
        }
        if before.is_none_or(|before| before.reign() != claim.reign()) {
            mesh.moved_users.push(user);
            // Held data keeps its chain: it is handed over with the mailbox, from memory.
            // One that is on its way to the disk with its mailbox stands there.
            if !mesh.takes.is_writing_hash(user) {
                let row = ClaimRow { reign: claim.reign(), stamp: claim.stamp, chain: Vec::new() };
                self.commits.write(Write::Claim { user, row });
            }
            if before.is_some_and(|before| before.owner == me) {
                self.lost(now, user, claim, effects);
            }
        }
    }

    /// A claim that names this node: the registrar's gift, or an echo of what it said in an earlier life.
    fn take_in_own(&mut self, now: Stamp, user: UserHash, claim: Claim, known: Option<Claim>) {
        let Some(mesh) = &mut self.mesh else { return };
        let stamp = self.clock.tick(now);
        let online = self
            .slots
            .by_hash(user)
            .and_then(|slot| self.slots.get(slot))
            .is_some_and(|mailbox| !mailbox.sessions.is_empty());
        let mine = Claim { stamp: stamp.max(Stamp(claim.stamp.0 + 1)), online, ..claim };
        mesh.presence.merge(user, mine);
        mesh.news.insert(user, mine);
        // A mailbox that is being written brings its own row, under a higher term, which this one must not replace: the table
        // knows of that term only when it is durable.
        let coming = mesh.takes.is_written_above(user, claim.term);
        if !coming && known.is_none_or(|known| known.reign() != claim.reign()) {
            // This node holds nothing of the user, or only what it has not handed over yet.
            let reign = claim.reign();
            let recovered = claim.term > 1;
            let base = if recovered { mine.stamp } else { Stamp::ZERO };
            let chain = vec![Epoch { reign, base, recovered }];
            self.commits.write(Write::Claim { user, row: ClaimRow { reign, stamp: mine.stamp, chain } });
            if let Some(slot) = self.slots.by_hash(user)
                && let Some(name) = self.slots.user(slot).cloned()
            {
                self.keep_after_all(&name, slot);
            }
        }
    }

    /// Another node owns a mailbox that was this node's.
    fn lost(&mut self, now: Stamp, user: UserHash, claim: Claim, effects: &mut Vec<Effect>) {
        let Some(slot) = self.slots.by_hash(user) else {
            // It is not in memory, and its name is in the store.
            if let Some(mesh) = &mut self.mesh {
                mesh.look.is_wanted = true;
            }
            return;
        };
        let Some(user) = self.slots.user(slot).cloned() else { return };
        if let Some(mesh) = &mut self.mesh {
            mesh.leftovers.insert(user.clone());
        }
        self.yield_to(now, &user, claim.owner, effects);
    }

    /// Tells all peers what is news.
    pub(super) fn tell_news(&mut self, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        if mesh.news.is_empty() {
            return;
        }
        let news: Vec<_> = std::mem::take(&mut mesh.news).into_iter().collect();
        for to in mesh.linked() {
            effects.push(Effect::Send { to, frame: Frame::Claims(news.clone()) });
        }
    }

    /// The user of an open mailbox has come or gone.
    pub(super) fn announce(&mut self, now: Stamp, user: &UserKey, online: bool) {
        let hash = UserHash::of(user);
        let Some(mesh) = &mut self.mesh else { return };
        let Some(claim) = mesh.presence.claim(hash) else { return };
        if claim.owner != self.node || claim.online == online {
            return;
        }
        let claim = Claim { stamp: self.clock.tick(now), online, ..claim };
        mesh.presence.merge(hash, claim);
        mesh.news.insert(hash, claim);
    }

    /// A node is there and lives.
    pub(super) fn member_up(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let state = mesh.peers.entry(peer).or_default();
        let came = !std::mem::replace(&mut state.alive, true);
        if came {
            self.tell_watchers_of(peer, true, effects);
            self.tick_mesh(now, effects);
        }
    }

    /// A node is taken for dead.
    pub(super) fn member_down(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(state) = mesh.peers.get_mut(&peer) else { return };
        if !std::mem::take(&mut state.alive) {
            return;
        }
        self.tell_watchers_of(peer, false, effects);
        self.seek_again(now, peer, effects);
        self.ask_again(now, peer, effects);
    }

    fn tell_watchers_of(&mut self, peer: NodeId, online: bool, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        let mut users: Vec<_> = mesh
            .watched
            .iter()
            .filter(|(hash, _)| {
                mesh.presence.claim(**hash).is_some_and(|claim| claim.online && claim.owner == peer)
            })
            .map(|(_, user)| user.clone())
            .collect();
        users.sort_unstable();
        for user in users {
            self.watchers.tell(&user, online, effects);
        }
    }

    /// A link has come up: what the peer may have missed is told, and what waited for it goes on.
    pub(super) fn link_up(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let state = mesh.peers.entry(peer).or_default();
        (state.linked, state.draining) = (true, false);
        if mesh.draining {
            effects.push(Effect::Send { to: peer, frame: Frame::Draining });
        }
        let link = self.clock.tick(now);
        mesh.inbound.insert(peer, Inbound::new(link));
        self.begin_comparison(now, peer, effects);
        self.begin_telling(peer, effects);
        self.resend(peer, effects);
        self.seek_again(now, peer, effects);
        self.ask_again(now, peer, effects);
        self.give_leftovers(now, peer, effects);
    }

    /// A link is gone, with all that was on it.
    pub(super) fn link_down(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(state) = mesh.peers.get_mut(&peer) else { return };
        state.linked = false;
        mesh.inbound.remove(&peer);
        mesh.comparisons.remove(&peer);
        mesh.takes.forget(peer);
        mesh.spreads.gone(peer);
        self.outbox_unsent(peer);
        if let Some(mesh) = &mut self.mesh {
            mesh.moved = true; // what waits for this peer may have another way by now
        }
        self.stop_giving(now, Some(peer), effects);
        self.ask_again(now, peer, effects);
    }

    /// Time has passed for what has to do with peers.
    pub(super) fn tick_mesh(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        if self.mesh.is_none() {
            return;
        }
        self.tick_comparisons(now, effects);
        self.tick_seeking(now, effects);
        self.tick_asks(now, effects);
        self.tick_look(now, effects);
        self.tick_gives(now, effects);
        self.tick_takes(now);
        self.tick_throttle(now, effects);
        self.tick_spreads(now, effects);
        self.redirect_all(now, effects);
        self.acknowledge(effects);
        self.tell_news(effects);
    }

    /// A frame of a peer.
    pub(super) fn frame(&mut self, now: Stamp, from: NodeId, frame: Frame, effects: &mut Vec<Effect>) {
        if frame.claim().is_some_and(|claim| !claim.is_sound()) {
            return;
        }
        match frame {
            Frame::Repair(message) => self.compared(now, from, message, effects),
            Frame::Claims(claims) => {
                for (user, claim) in claims.into_iter().filter(|(_, claim)| claim.is_sound()) {
                    self.hear(now, claim.stamp);
                    self.take_in(now, user, claim, effects);
                }
                self.found(now, effects);
            }
            Frame::Want { user, claim } => self.want(now, from, user, claim, effects),
            Frame::Stay { user } => self.stay(now, from, &user, effects),
            Frame::Parcel { number, parcel, anew } => {
                self.parcel(now, from, number, parcel, anew, effects);
            }
            Frame::Done { upto } => self.posted_done(now, from, upto, effects),
            Frame::Return { number, claim } => self.returned(now, from, number, claim, effects),
            Frame::Ask { number, user, command } => self.asked(now, from, number, user, *command, effects),
            Frame::Answer { number, answer } => self.answered(now, from, number, *answer, effects),
            Frame::Facts { number, facts } => self.facts(now, from, number, facts, effects),
            Frame::FactsDone { number } => self.facts_done(from, number, effects),
            Frame::Pass { user, message } => self.pass_on(&user, &message, effects),
            Frame::Delivered { user, conversation, at } => {
                self.delivered_here(&user, &conversation, at, effects);
            }
            Frame::Give { number, user, reign } => self.given(now, from, number, user, reign, effects),
            Frame::Part { number, rows } => self.given_part(now, from, number, rows),
            Frame::Last { number, rest } => self.given_last(now, from, number, *rest, effects),
            Frame::Withdraw { number } => self.withdrawn(from, number),
            Frame::Stored { number } => self.give_stored(now, from, number, effects),
            Frame::Taken { number, user, claim } => self.give_taken(now, from, number, user, claim, effects),
            Frame::Refuse { number, user, claim } => {
                self.give_refused(now, from, number, user, claim, effects);
            }
            Frame::Draining => {
                if let Some(state) = self.mesh.as_mut().and_then(|mesh| mesh.peers.get_mut(&from)) {
                    state.draining = true;
                }
            }
        }
    }

    /// Later stamps of this node are above `stamp`. One from too far ahead is passed over: its node was let in with a clock
    /// within the bound, so the stamp is garbled.
    pub(super) fn hear(&mut self, now: Stamp, stamp: Stamp) {
        let _ = self.clock.observe(now, stamp);
    }

    /// Hands an input that had to wait to whom it concerns now.
    pub(super) fn again(&mut self, now: Stamp, inputs: Vec<Input>, effects: &mut Vec<Effect>) {
        for input in inputs {
            self.handle(now, input, effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Limits;

    /// A relay that knows one user, whose mailbox is at node 2.
    fn relay() -> (Relay, UserKey) {
        let mut relay = Relay::new(NodeId(1), Limits::default(), Stamp::ZERO);
        let user = UserKey::new("app", "bo").unwrap();
        let claim = Claim { owner: NodeId(2), term: 1, stamp: Stamp(5), online: true };
        relay.mesh.as_mut().unwrap().presence.merge(UserHash::of(&user), claim);
        (relay, user)
    }

    #[test]
    fn what_belongs_to_another_node_is_trimmed_there() {
        let (mut relay, user) = relay();
        let mut effects = Vec::new();
        relay.handle(Stamp(10), Input::Trim { user: user.clone(), upto: Stamp(3) }, &mut effects);
        relay.handle(Stamp(11), Input::Tick, &mut effects);
        assert!(effects.is_empty() && relay.slots.len() == 0, "{effects:?}");
    }

    #[test]
    fn a_claim_that_cannot_be_changes_nothing() {
        let (mut relay, user) = relay();
        let (hash, mut effects) = (UserHash::of(&user), Vec::new());
        let before = relay.claim_of(&user);
        for claim in [
            Claim { owner: NodeId(0), term: 9, stamp: Stamp(9), online: true },
            Claim { owner: NodeId(3), term: u32::MAX, stamp: Stamp(9), online: true },
            Claim { owner: NodeId(3), term: 9, stamp: Stamp(1 << 60), online: true },
        ] {
            let taken = Frame::Taken { number: 1, user: user.clone(), claim };
            for frame in [Frame::Claims(vec![(hash, claim)]), taken] {
                relay.handle(Stamp(10), Input::Frame { from: NodeId(3), frame }, &mut effects);
            }
        }
        assert_eq!(relay.claim_of(&user), before);
        assert!(relay.clock.tick(Stamp(20)) < Stamp(1_000), "the clock was lifted");
    }
}
