//! Floor 2: every decision.
//!
//! Purpose: one state machine per node that says what is to be written, who may be told what, and when.
//! Flow: [`Relay::handle`] takes one [`Input`] at a time and appends [`Effect`]s; a driver feeds it in batches and ends
//! each batch with [`Input::Tick`], upon which all that was collected becomes one [`Effect::Commit`]. When the driver
//! reports the commit as durable, acks and pushes follow.
//! Invariants: P1 (nothing is told before it is durable: `commits`), P3 (a send again is the same message: `send`),
//! P5 (one clock gives all positions), P6 (a session is live only when it has all that is on disk: `sessions`), P8 (what
//! waits is bounded, and refused with a name past that).
//! Pure: no clock, no randomness, no I/O, no tokio. Time comes in as an argument.

mod api;
mod asks;
mod commands;
mod commits;
mod frames;
mod give;
mod hash;
mod inbound;
mod leave;
mod mailbox;
mod merge;
mod mesh;
mod outbox;
mod queues;
mod repair;
mod seek;
mod send;
mod sessions;
mod slots;
mod spread;
mod take;
mod throttle;
mod watch;

#[cfg(test)]
mod sabotage;
#[cfg(test)]
mod sim;

pub use api::*;
pub use frames::{Frame, Lane, Rest};

use crate::{
    gossip::{Claim, Directory, Fact, FactKey, FactValue, Owned, Replica as _},
    model::{Clock, EntryRow, NodeId, Stamp, UserHash, UserKey},
    store::{Snapshot, Write},
};
use commits::{After, Commits};
use mesh::Mesh;
use sessions::Sessions;
use slots::{Parked, Slot, Slots};
use std::time::Duration;
use watch::Watchers;

/// Bounds of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Writes that may wait for the disk; past that, whatever needs a write is refused as busy.
    pub pending: usize,
    /// Mailboxes kept in memory; more only while sessions or the disk need them.
    pub mailboxes: usize,
    /// How long after a change a checkpoint is written, in microseconds. A restart reads at most that much of the log again.
    pub checkpoint_us: u64,
    /// Parcels on their way to one peer that are no cause for sends to wait, however long they take.
    pub outbox: usize,
    /// How long, at the most, the oldest parcel for a linked peer may go unanswered while there are more than [`Self::outbox`], in
    /// microseconds; past that sends for that peer wait. Where parcels have got through faster of late, it is less.
    pub outbox_wait_us: u64,
    /// Bytes of parcels that may wait for all peers, about; past that sends for a peer out of reach are refused as busy. They are on disk,
    /// and in memory too.
    pub outbox_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pending: 65_536,
            mailboxes: 100_000,
            checkpoint_us: 5_000_000,
            outbox: 1_024,
            outbox_wait_us: 400_000,
            outbox_bytes: 1 << 30,
        }
    }
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct Relay {
    node: NodeId,
    /// What a node with peers knows of them; boxed, since most nodes are alone.
    mesh: Option<Box<Mesh>>,
    limits: Limits,
    clock: Clock,
    directory: Directory,
    slots: Slots,
    sessions: Sessions,
    watchers: Watchers,
    commits: Commits,
    /// Mailboxes whose checkpoint is to be written, and when they were put here.
    stale: std::collections::VecDeque<(Stamp, Slot)>,
    #[cfg(test)]
    sabotage: Option<sabotage::Sabotage>,
    /// What a planted fault tells too early.
    #[cfg(test)]
    early: Vec<Effect>,
}

impl Relay {
    /// A relay whose stamps start above `last`, the highest that the store holds. [`NodeId::LOCAL`] has no peers.
    #[must_use]
    pub fn new(node: NodeId, limits: Limits, last: Stamp) -> Self {
        let peers = node != NodeId::LOCAL;
        Self {
            node,
            mesh: peers.then(|| Box::new(Mesh::new())),
            limits,
            clock: Clock::after(last),
            directory: Directory::default(),
            slots: Slots::new(peers),
            sessions: Sessions::new(),
            watchers: Watchers::new(),
            commits: Commits::default(),
            stale: std::collections::VecDeque::new(),
            #[cfg(test)]
            sabotage: None,
            #[cfg(test)]
            early: Vec::new(),
        }
    }

    /// Takes one input at `now` and appends what has to happen, in order.
    pub fn handle(&mut self, now: Stamp, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Open(open) => self.open(now, open, effects),
            Input::Attach { session, at } => self.attach(session, at, effects),
            Input::Close { session } => self.close(now, session, effects),
            Input::Ack { session, pos } => self.ack(now, session, pos, effects),
            Input::Lag { session } => self.lag(session, effects),
            Input::Command { to, user, command } => self.command(now, to, user, command, effects),
            Input::Loaded { user, snapshot } => {
                if self.is_outdated(&user, &snapshot) {
                    return self.load_later(user);
                }
                let behind = snapshot.after.last().map(|last| last.0);
                let parked = self.slots.loaded(&user, *snapshot);
                if let Some(owner) =
                    self.claim_of(&user).map(|claim| claim.owner).filter(|id| *id != self.node)
                {
                    // It was claimed by another node meanwhile, or was read to be handed over.
                    self.yield_to(now, &user, owner, effects);
                    return self.again(now, parked, effects);
                }
                if let Some(last) = behind {
                    self.clock.recover(last);
                    if let Some(slot) = self.slots.find(&user) {
                        self.stale(now, slot);
                    }
                }
                for input in parked {
                    self.handle(now, input, effects);
                }
            }
            Input::LoadFailed { user } => {
                for input in self.slots.failed(&user) {
                    if self.is_kept(now, &input) {
                        refuse(input, &Refused::Failed, effects);
                    }
                }
            }
            Input::Committed { seq } => {
                for after in self.commits.durable(seq) {
                    self.tell(now, after, effects);
                }
            }
            Input::Trim { user, upto } => self.trim(now, user, upto, effects),
            Input::TrimLog { log, upto } => self.commits.write(Write::TrimLog { log, upto }),
            Input::Fact { key, fact } => {
                self.clock.recover(fact.stamp);
                self.directory.merge(key, fact);
            }
            Input::Claim { user, row } => self.claimed_before(user, &row),
            Input::Posted { peer, number, parcel } => self.posted_before(peer, number, parcel),
            Input::MemberUp { peer } => self.member_up(now, peer, effects),
            Input::MemberDown { peer } => self.member_down(now, peer, effects),
            Input::LinkUp { peer } => self.link_up(now, peer, effects),
            Input::LinkDown { peer } => self.link_down(now, peer, effects),
            Input::Frame { from, frame } => self.frame(now, from, frame, effects),
            Input::Exported { user, number, page } => {
                self.exported(now, &user, number, page.map(|page| *page), effects);
            }
            Input::Rows { user, after, rows } => self.looked_back(now, &user, after, rows, effects),
            Input::Arrived { from, link, number, parcel } => {
                self.arrived(now, from, link, number, parcel, effects);
            }
            Input::Facts { peer, facts } => self.tell_facts(now, peer, facts, effects),
            Input::Redeliver { user } => self.redeliver(now, &user, effects),
            Input::Holds { user } => self.holds(now, user),
            Input::Looked => self.looked(),
            Input::Leave { user } => self.leave(now, &user, effects),
            Input::Drain { within } => self.drain(now, within, effects),
            Input::Tick => self.tick(now, effects),
        }
    }

    /// Writes that wait for the disk. A driver that sees many stops feeding until some are durable.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.commits.pending()
    }

    /// Sessions that were let in and are not gone.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Mailboxes in memory.
    #[must_use]
    pub fn mailboxes(&self) -> usize {
        self.slots.len()
    }

    /// Whether all that was told to write is durable and told of.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.commits.is_idle()
    }

    /// The claim that is known here on a user; `None` without peers, and when nobody owns it.
    #[must_use]
    pub fn known_claim(&self, user: UserHash) -> Option<Claim> {
        self.mesh.as_ref()?.presence.claim(user)
    }

    /// How many users this node owns, how many are known of all, and what tells two tables of claims apart; `None` without
    /// peers.
    #[must_use]
    pub fn presence(&self) -> Option<(Owned, usize, u64)> {
        let presence = &self.mesh.as_ref()?.presence;
        Some((presence.owned(self.node), presence.len(), presence.table().summary().root()))
    }

    /// Whether the store is being looked through.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.mesh.as_ref().is_some_and(|mesh| mesh.look.runs)
    }

    /// Whether nothing waits for a peer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsettled().iter().all(|(_, count)| *count == 0)
    }

    /// What waits for peers, by name.
    #[must_use]
    pub fn unsettled(&self) -> Vec<(&'static str, usize)> {
        self.mesh.as_ref().map_or_else(Vec::new, |mesh| mesh.waiting())
    }

    /// Parcels that wait, for each node.
    #[must_use]
    pub fn outbox_depths(&self) -> Vec<(NodeId, usize)> {
        self.mesh.as_ref().map_or_else(Vec::new, |mesh| mesh.outbox.depths().collect())
    }

    /// Whether a node that drains has nothing left that can go: no mailbox that a peer would take, and no parcel for a peer
    /// that is there.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.mesh.as_ref().is_none_or(|mesh| {
            let waits = |(peer, count)| count > 0 && mesh.is_linked(peer);
            mesh.draining && (mesh.look.is_over() || !mesh.has_heir()) && !mesh.outbox.depths().any(waits)
        })
    }

    /// Mailboxes that wait to be given away, and that are on their way.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.mesh.as_ref().map_or(0, |mesh| mesh.look.left() + mesh.gives.len())
    }

    /// Writes the checkpoints of all mailboxes that changed, before the node stops.
    pub fn checkpoint_all(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        while let Some((_, slot)) = self.stale.pop_front() {
            self.checkpoint(slot);
        }
        self.flush(now, effects);
    }

    fn tick(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        while let Some(&(since, slot)) = self.stale.front()
            && now.0 >= since.0.saturating_add(self.limits.checkpoint_us)
        {
            self.stale.pop_front();
            self.checkpoint(slot);
        }
        if self.slots.len() > self.limits.mailboxes {
            self.slots.evict(now, self.limits.mailboxes);
        }
        self.tick_mesh(now, effects);
        self.flush(now, effects);
    }

    fn flush(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        #[cfg(test)]
        effects.append(&mut self.early);
        for after in self.commits.flush(effects) {
            self.tell(now, after, effects);
        }
    }

    fn tell(&mut self, now: Stamp, after: After, effects: &mut Vec<Effect>) {
        match after {
            After::Posts { peer, numbers } => self.posted(now, peer, numbers, effects),
            After::Received { from, link, numbers } => self.received(from, link, numbers),
            After::Took { user, from, number, claim } => self.took(now, user, from, number, claim, effects),
            After::Merged { user, slot, from, number } => {
                self.merged(now, user, slot, from, number, effects);
            }
            After::Effect(effect) => effects.push(effect),
            After::Reply { to, answer } => effects.push(Effect::Reply { to, answer }),
            After::Entry { slot, entry, answer } => {
                if let Some(mailbox) = self.slots.get_mut(slot) {
                    mailbox.committed = mailbox.committed.max(entry.pos);
                }
                self.push(slot, entry, answer, effects);
            }
        }
    }

    /// The mailbox of `user` if it is in memory; otherwise `input` waits for it, or is refused when too many wait.
    fn mailbox_for(
        &mut self,
        user: &UserKey,
        input: impl FnOnce() -> Input,
        effects: &mut Vec<Effect>,
    ) -> Option<Slot> {
        if let Some(slot) = self.slots.find(user) {
            if let Some(mailbox) = self.slots.get_mut(slot) {
                mailbox.used = true;
            }
            return Some(slot);
        }
        if let Some(mesh) = &mut self.mesh
            && let Some(waiting) = mesh.takes.being_written(user)
        {
            waiting.push(input());
            return None;
        }
        match self.slots.park(user, input()) {
            Parked::Waits(true) if self.mesh.is_some() => self.load_later(user.clone()),
            Parked::Waits(true) => effects.push(Effect::Load(user.clone())),
            Parked::Waits(false) => {}
            Parked::Full(input) => {
                refuse(*input, &Refused::Busy(Duration::from_millis(500)), effects);
            }
        }
        None
    }

    /// [`Self::mailbox_for`] of a user whose mailbox may be known to be open.
    fn mailbox_at(
        &mut self,
        here: Option<Slot>,
        user: &UserKey,
        input: impl FnOnce() -> Input,
        effects: &mut Vec<Effect>,
    ) -> Option<Slot> {
        match here.and_then(|slot| self.slots.get_mut(slot)) {
            Some(mailbox) => {
                mailbox.used = true;
                here
            }
            None => self.mailbox_for(user, input, effects),
        }
    }

    /// Whether this node has become the mailbox's owner anew while it was being read.
    fn is_outdated(&self, user: &UserKey, snapshot: &Snapshot) -> bool {
        let Some(claim) = self.claim_of(user).filter(|claim| claim.owner == self.node) else {
            return false;
        };
        snapshot.chain.last().is_none_or(|epoch| epoch.reign != claim.reign())
    }

    /// Reads a mailbox once all that is under way is durable: it may have come, or have been forgotten, just now.
    fn load_later(&mut self, user: UserKey) {
        self.commits.after(After::Effect(Effect::Load(user)));
    }

    /// Puts a row at the end of a mailbox, to be written with the next commit. `pos` must come from this node's clock.
    fn append(&mut self, now: Stamp, slot: Slot, pos: Stamp, row: EntryRow) {
        self.stale(now, slot);
        let Some(mailbox) = self.slots.get_mut(slot) else {
            return;
        };
        mailbox.apply(pos, &row);
        let stored = mailbox.stored;
        self.commits.write(Write::Entry { user: mailbox.user.clone(), pos, row });
        if !stored {
            self.checkpoint(slot);
        }
    }

    /// Remembers that the mailbox is about to differ from its checkpoint.
    fn stale(&mut self, now: Stamp, slot: Slot) {
        if let Some(mailbox) = self.slots.get_mut(slot)
            && !mailbox.is_dirty()
        {
            mailbox.mark_dirty();
            self.stale.push_back((now, slot));
        }
    }

    fn checkpoint(&mut self, slot: Slot) {
        let Some(mailbox) = self.slots.get_mut(slot) else {
            return;
        };
        if !mailbox.is_dirty() {
            return;
        }
        let (row, conversations) = mailbox.checkpoint();
        let user = mailbox.user.clone();
        for (conversation, row) in conversations {
            self.commits.write(Write::Conversation { user: user.clone(), conversation, row });
        }
        self.commits.write(Write::Mailbox { user, row });
    }

    fn trim(&mut self, now: Stamp, user: UserKey, upto: Stamp, effects: &mut Vec<Effect>) {
        // What is left here of another node's mailbox goes there as it is; its owner trims it.
        if matches!(self.whose(&user), mesh::Whose::Peer(_)) {
            return;
        }
        let Some(slot) = self.mailbox_for(&user, || Input::Trim { user: user.clone(), upto }, effects) else {
            return;
        };
        self.stale(now, slot);
        if let Some(mailbox) = self.slots.get_mut(slot) {
            mailbox.trimmed = mailbox.trimmed.max(upto);
        }
        // The mark must be on disk no later than the entries are gone, or the gap would be a silent one (P6).
        self.checkpoint(slot);
        self.commits.write(Write::TrimMailbox { user, upto });
    }

    /// Puts a fact into the directory, to be written with the next commit.
    fn assert_fact(&mut self, now: Stamp, key: FactKey, value: Option<FactValue>) {
        let fact = Fact { stamp: self.clock.tick(now), node: self.node.0, value };
        if self.directory.merge(key.clone(), fact.clone()) {
            if let Some(mesh) = &mut self.mesh {
                mesh.spreads.fresh.push((key.clone(), fact.clone()));
            }
            self.commits.write(Write::Fact { key, fact });
        }
    }

    /// Whether a planted fault is to show; always `false` outside tests.
    #[cfg(test)]
    fn broken(&self, sabotage: sabotage::Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }
}

/// Answers an input that cannot be handled.
fn refuse(input: Input, why: &Refused, effects: &mut Vec<Effect>) {
    match input {
        Input::Command { to, .. } => effects.push(Effect::Reply { to, answer: Err(why.clone()) }),
        Input::Open(open) => effects.push(Effect::TurnAway { session: open.session, why: why.clone() }),
        // Retention comes round again.
        _ => {}
    }
}
