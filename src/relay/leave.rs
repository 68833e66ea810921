//! Which mailboxes have to go.
//!
//! Purpose: a node that drains keeps none, and what another node owns does not stay behind here; how one goes is in `give`.
//! Flow: `drain` → a look through the store names what is there → those mailboxes go, some at a time; what another node owns
//! goes when there is a link to it.
//! Invariants: a drain is over only after a look that found nothing.
//! Pure: time comes in as an argument.

use super::{
    Effect, Frame, Input, Refused, Relay,
    mesh::{Mesh, Peer, Whose, chosen},
    seek::Seek,
    slots::Parked,
};
use crate::model::{NodeId, Stamp, UserHash, UserKey};
use std::{collections::VecDeque, time::Duration};

/// Time between two looks through the store.
const LOOK_US: u64 = 100_000;
/// Mailboxes that go over at once.
const AT_ONCE: usize = 128;
/// Users who have sessions here and are on their way with their mailbox while this node drains. If all went at once, the other
/// nodes would be busy with them for seconds, and all of them would wait as long.
const FOLLOWING: usize = 48;
/// How long one of them is waited for at the most; he may be gone for good.
const FOLLOWS_US: u64 = 1_000_000;

/// A look through the store for mailboxes that have to go.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub is_wanted: bool,
    pub runs: bool,
    /// Found while draining, and to be given away.
    pub queue: VecDeque<UserKey>,
    /// Those of them who have sessions here: they go some at a time.
    pub here: VecDeque<UserKey>,
    found: bool,
    /// The last look found nothing that is this node's.
    clean: bool,
    again_at: Stamp,
}

impl Look {
    /// The one that a node begins with: all that its store holds is told to it.
    pub fn at_start() -> Self {
        Self { runs: true, ..Self::default() }
    }

    /// Mailboxes that were found and have not begun to go.
    pub fn left(&self) -> usize {
        self.queue.len() + self.here.len()
    }

    fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// Whether nothing is left to be found.
    pub fn is_over(&self) -> bool {
        self.clean && !self.is_wanted && !self.runs && self.is_done()
    }
}

impl Mesh {
    /// A mailbox has come while this node drains: it has to go again.
    pub fn look_again_for_what_came(&mut self) {
        self.look.is_wanted |= self.draining;
    }

    /// How many more users may be sent after their mailboxes at the moment.
    fn room_to_follow(&mut self, now: Stamp) -> usize {
        if !self.following.is_empty() {
            // All have to be on their way before the time is over, whether they arrive or not.
            let time = self.drain_by.0.saturating_sub(now.0) / 4 * 3;
            let each = time.saturating_mul(FOLLOWING as u64) / (self.look.here.len() as u64 + 1);
            let patience = each.min(FOLLOWS_US);
            self.following.retain(|_, since| now.0.saturating_sub(since.0) < patience);
        }
        FOLLOWING.saturating_sub(self.following.len())
    }
}

impl Relay {
    /// From now on all mailboxes go elsewhere. Those that the store does not know of yet are written, so that a look through
    /// the store finds them.
    ///
    /// * `within`: microseconds that it may take.
    pub(super) fn drain(&mut self, now: Stamp, within: u64, effects: &mut Vec<Effect>) {
        if let Some(mesh) = &mut self.mesh {
            mesh.draining = true;
            mesh.drain_by = Stamp(now.0.saturating_add(within));
            mesh.look.is_wanted = true;
            for to in mesh.linked() {
                effects.push(Effect::Send { to, frame: Frame::Draining });
            }
            // Whoever was on the way here has to go elsewhere.
            let sought = std::mem::take(&mut mesh.seeking);
            for slot in self.slots.all() {
                self.stale(now, slot);
                self.checkpoint(slot);
            }
            for input in sought.into_values().flat_map(Seek::into_inputs) {
                super::refuse(input, &Refused::Busy(Duration::from_millis(500)), effects);
            }
        }
    }

    /// Which node gets a mailbox of this one, which drains: among those that can be reached.
    fn heir(&self, user: &UserKey) -> Option<NodeId> {
        let mesh = self.mesh.as_ref()?;
        let reached = |peer: &Peer| peer.alive && peer.linked && !peer.draining;
        chosen(UserHash::of(user), mesh.peers.iter().filter(|(_, peer)| reached(peer)).map(|(id, _)| *id))
    }

    /// A user whose mailbox is in the store.
    pub(super) fn holds(&mut self, now: Stamp, user: UserKey) {
        if self.mesh.is_none() {
            return;
        }
        match self.claim_of(&user) {
            // From the time before this node had peers.
            None => self.take_over(now, &user),
            Some(claim) if claim.owner != self.node => {
                if let Some(mesh) = &mut self.mesh {
                    mesh.leftovers.insert(user);
                }
                return;
            }
            Some(_) => {}
        }
        if let Some(mesh) = &mut self.mesh
            && mesh.draining
        {
            mesh.look.found = true;
            mesh.look.queue.push_back(user);
        }
    }

    /// The look through the store is over.
    pub(super) fn looked(&mut self) {
        if let Some(mesh) = &mut self.mesh {
            mesh.look.runs = false;
            // A mailbox that could not go stays, and is found again.
            mesh.look.is_wanted |= mesh.draining && mesh.look.found;
            mesh.look.clean = !mesh.look.found;
        }
    }

    /// Hands a mailbox to whoever gets it now that this node drains.
    pub(super) fn leave(&mut self, now: Stamp, user: &UserKey, effects: &mut Vec<Effect>) {
        if self.whose(user) != Whose::Mine {
            return;
        }
        let input = || Input::Leave { user: user.clone() };
        if self.mailbox_for(user, input, effects).is_some()
            && let Some(to) = self.heir(user)
        {
            self.give(now, user, to, effects);
        }
    }

    /// Whether the user has sessions at a mailbox that is in memory.
    fn is_here(&self, user: &UserKey) -> bool {
        let mailbox = self.slots.find(user).and_then(|slot| self.slots.get(slot));
        mailbox.is_some_and(|mailbox| !mailbox.sessions.is_empty())
    }

    /// Looks through the store when somebody's name has to be found, and goes on with what was found.
    pub(super) fn tick_look(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let mut room = AT_ONCE.saturating_sub(mesh.gives.len());
        let mut follow = mesh.room_to_follow(now);
        while room > 0 && follow > 0 {
            let Some(user) = self.mesh.as_mut().and_then(|mesh| mesh.look.here.pop_front()) else { break };
            (room, follow) = (room - 1, follow - 1);
            if let Some(mesh) = &mut self.mesh {
                mesh.following.insert(UserHash::of(&user), now);
            }
            self.leave(now, &user, effects);
        }
        while room > 0 {
            let Some(user) = self.mesh.as_mut().and_then(|mesh| mesh.look.queue.pop_front()) else { break };
            if self.is_here(&user) {
                self.mesh.iter_mut().for_each(|mesh| mesh.look.here.push_back(user.clone()));
                continue;
            }
            room -= 1;
            self.leave(now, &user, effects);
        }
        let Some(mesh) = &mut self.mesh else { return };
        let look = &mut mesh.look;
        let early = look.again_at > now;
        if look.is_wanted && !look.runs && !early && look.is_done() && mesh.gives.is_empty() {
            (look.is_wanted, look.runs, look.found) = (false, true, false);
            look.again_at = Stamp(now.0 + LOOK_US);
            effects.push(Effect::Look);
        }
    }

    /// A link to `peer` is up: what it owns and this node still has goes there.
    pub(super) fn give_leftovers(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        let room = AT_ONCE.saturating_sub(mesh.gives.len());
        let users: Vec<_> = mesh
            .leftovers
            .iter()
            .filter(|user| {
                !mesh.gives.contains_key(*user)
                    && mesh.presence.claim(UserHash::of(user)).is_some_and(|claim| claim.owner == peer)
            })
            .take(room)
            .cloned()
            .collect();
        for user in users {
            if self.slots.frozen(&user).is_some() {
                self.begin_give(now, &user, peer, true, effects);
            } else if let Parked::Waits(true) = self.slots.park(&user, Input::Leave { user: user.clone() }) {
                self.load_later(user);
            }
        }
    }

    pub(super) fn tick_leftovers(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        if mesh.leftovers.is_empty() {
            return;
        }
        let linked: Vec<_> =
            mesh.peers.iter().filter(|(_, peer)| peer.linked).map(|(peer, _)| *peer).collect();
        for peer in linked {
            self.give_leftovers(now, peer, effects);
        }
        // What cannot go now need not stay in memory.
        let Some(mesh) = &self.mesh else { return };
        let idle: Vec<_> = mesh
            .leftovers
            .iter()
            .filter(|user| !mesh.gives.contains_key(*user) && !mesh.takes.is_merging(user))
            .filter_map(|user| self.slots.frozen(user))
            .collect();
        for slot in idle {
            if self.slots.get(slot).is_some_and(|mailbox| mailbox.committed == mailbox.last) {
                self.checkpoint(slot);
                let parked = self.slots.remove(slot);
                self.again(now, parked, effects);
            }
        }
    }
}
