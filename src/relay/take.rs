//! Taking mailboxes in.
//!
//! Purpose: a mailbox that comes is durable here, with a claim of a higher term, before its giver forgets it (P2, P4).
//! Flow: parts are gathered → the last comes: everything is one commit → durable: the claim is told to all, the giver is told
//! `Taken`. If this node has a mailbox of that user already (it succeeded an owner that was believed dead), the two are merged
//! (`merge`) into it.
//! Pure: time comes in as an argument.

use super::{
    Effect, Frame, Input, Relay,
    commits::After,
    frames::Rest,
    mailbox::{DOUBT_US, MAX_CHAIN, Mailbox},
    merge::{self, Theirs},
    mesh::Whose,
    slots::Slot,
};
use crate::{
    gossip::{Claim, Merged},
    model::{EntryRow, Epoch, NodeId, Reign, Stamp, UserHash, UserKey},
    store::{ClaimRow, ExportRow, Snapshot, Write},
};
use std::collections::BTreeMap;

/// How long the giver may take to send a part.
const PATIENCE_US: u64 = 10_000_000;

#[derive(Debug)]
struct Take {
    user: UserKey,
    reign: Reign,
    rows: Vec<ExportRow>,
    progress: Stamp,
}

#[derive(Debug)]
struct Merging {
    from: NodeId,
    number: u64,
    slot: Slot,
    /// `None` once it is being written.
    theirs: Option<Theirs>,
}

/// Mailboxes on their way in.
#[derive(Debug, Default)]
pub(super) struct Takes {
    open: BTreeMap<(NodeId, u64), Take>,
    /// Being written, under a claim of that term; these inputs wait for that.
    writing: BTreeMap<UserKey, (u32, Vec<Input>)>,
    merging: BTreeMap<UserKey, Merging>,
}

impl Takes {
    /// Inputs that wait for the mailbox of `user`, if it is being written.
    pub fn being_written(&mut self, user: &UserKey) -> Option<&mut Vec<Input>> {
        self.writing.get_mut(user).map(|(_, waiting)| waiting)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.open.len() + self.writing.len() + self.merging.len()
    }

    pub fn is_writing(&self, user: &UserKey) -> bool {
        self.writing.contains_key(user)
    }

    pub fn is_writing_hash(&self, user: UserHash) -> bool {
        self.writing.keys().any(|writing| UserHash::of(writing) == user)
    }

    /// Whether the mailbox of that user is being written under a claim of a higher term.
    pub fn is_written_above(&self, user: UserHash, term: u32) -> bool {
        self.writing.iter().any(|(writing, (own, _))| *own > term && UserHash::of(writing) == user)
    }

    pub fn is_merging(&self, user: &UserKey) -> bool {
        self.merging.contains_key(user)
    }

    /// The link to `peer` is gone.
    pub fn forget(&mut self, peer: NodeId) {
        self.open.retain(|(from, _), _| *from != peer);
    }
}

impl Relay {
    /// Whether a mailbox of `user` is on its way here.
    pub(super) fn takes_in_progress(&self, user: &UserKey) -> bool {
        self.mesh.as_ref().is_some_and(|mesh| {
            mesh.takes.writing.contains_key(user) || mesh.takes.open.values().any(|take| take.user == *user)
        })
    }

    pub(super) fn is_merging(&self, user: &UserKey) -> bool {
        self.mesh.as_ref().is_some_and(|mesh| mesh.takes.merging.contains_key(user))
    }

    pub(super) fn given(
        &mut self,
        now: Stamp,
        from: NodeId,
        number: u64,
        user: UserKey,
        reign: Reign,
        effects: &mut Vec<Effect>,
    ) {
        if self.whose(&user) != Whose::Mine && (self.has_left_over(&user) || self.drains()) {
            return self.refuse_give(from, number, user, effects);
        }
        if let Some(mesh) = &mut self.mesh {
            mesh.takes.open.insert((from, number), Take { user, reign, rows: Vec::new(), progress: now });
        }
    }

    /// Whether this node still has what it owes the mailbox's owner: that goes there first, or taking the mailbox in would
    /// overwrite it.
    fn has_left_over(&self, user: &UserKey) -> bool {
        // While the store is being looked through, nobody knows what is in it.
        self.mesh.as_ref().is_some_and(|mesh| {
            mesh.leftovers.contains(user)
                || mesh.gives.contains_key(user)
                || mesh.look.is_wanted
                || mesh.look.runs
        })
    }

    fn drains(&self) -> bool {
        self.mesh.as_ref().is_some_and(|mesh| mesh.draining)
    }

    fn refuse_give(&mut self, from: NodeId, number: u64, user: UserKey, effects: &mut Vec<Effect>) {
        if let Some(mesh) = &mut self.mesh {
            mesh.takes.open.remove(&(from, number));
        }
        let claim = self.claim_of(&user);
        effects.push(Effect::Send { to: from, frame: Frame::Refuse { number, user, claim } });
    }

    /// The rest of a mailbox will not come.
    pub(super) fn withdrawn(&mut self, from: NodeId, number: u64) {
        if let Some(mesh) = &mut self.mesh {
            mesh.takes.open.remove(&(from, number));
        }
    }

    pub(super) fn given_part(&mut self, now: Stamp, from: NodeId, number: u64, rows: Vec<ExportRow>) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(take) = mesh.takes.open.get_mut(&(from, number)) else { return };
        take.progress = now;
        for (_, _, message) in &rows {
            if let Some(message) = message {
                self.commits.write(Write::Body(message.clone()));
            }
        }
        take.rows.extend(rows);
        // Only then the next part: so what is under way stays bounded.
        self.commits.after(After::Effect(Effect::Send { to: from, frame: Frame::Stored { number } }));
    }

    pub(super) fn given_last(
        &mut self,
        now: Stamp,
        from: NodeId,
        number: u64,
        rest: Rest,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(take) = mesh.takes.open.get(&(from, number)) else { return };
        let (user, reign) = (take.user.clone(), take.reign);
        let again = Input::Frame { from, frame: Frame::Last { number, rest: Box::new(rest.clone()) } };
        if let Some(waiting) = mesh.takes.being_written(&user) {
            return waiting.push(again);
        }
        if self.whose(&user) == Whose::Mine {
            let Some(slot) = self.mailbox_for(&user, || again, effects) else { return };
            return self.begin_merge(from, number, slot, rest);
        }
        let known = self.claim_of(&user);
        if known.is_some_and(|known| known.reign() > reign) || self.has_left_over(&user) || self.drains() {
            return self.refuse_give(from, number, user, effects);
        }
        let Some(mesh) = &mut self.mesh else { return };
        let Some(take) = mesh.takes.open.remove(&(from, number)) else { return };
        self.import(now, from, number, take, rest);
    }

    /// Writes a mailbox that this node has nothing of.
    fn import(&mut self, now: Stamp, from: NodeId, number: u64, take: Take, rest: Rest) {
        let Take { user, reign, rows, .. } = take;
        let hash = UserHash::of(&user);
        let Rest { mut mailbox, conversations, mut chain } = rest;
        // The giver may have taken this try for failed, and have gone on.
        mailbox.doubtful_until = Stamp(now.0.saturating_add(DOUBT_US));
        let base = chain.last().map_or(mailbox.last, |epoch| epoch.base.max(mailbox.last));
        #[cfg(test)]
        let raise = !self.broken(super::sabotage::Sabotage::ClockNotRaised);
        #[cfg(not(test))]
        let raise = true;
        if raise {
            self.clock.recover(base);
        }
        let known = self.claim_of(&user).map_or(0, |claim| claim.term);
        let reign = Reign { term: reign.term.max(known) + 1, owner: self.node };
        let stamp = self.clock.tick(now);
        chain.push(Epoch { reign, base, recovered: false });
        chain.drain(..chain.len().saturating_sub(MAX_CHAIN));
        for (pos, row, _) in rows {
            self.commits.write(Write::Entry { user: user.clone(), pos, row });
        }
        for (conversation, row) in conversations {
            self.commits.write(Write::Conversation { user: user.clone(), conversation, row });
        }
        self.commits.write(Write::Mailbox { user: user.clone(), row: mailbox });
        self.commits.write(Write::Claim { user: hash, row: ClaimRow { reign, stamp, chain } });
        let claim = Claim { owner: self.node, term: reign.term, stamp, online: false };
        if let Some(mesh) = &mut self.mesh {
            mesh.takes.writing.insert(user.clone(), (reign.term, Vec::new()));
        }
        self.commits.after(After::Took { user, from, number, claim });
    }

    /// A mailbox that came is durable.
    pub(super) fn took(
        &mut self,
        now: Stamp,
        user: UserKey,
        from: NodeId,
        number: u64,
        claim: Claim,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let hash = UserHash::of(&user);
        let waiting = mesh.takes.writing.remove(&user).map(|(_, waiting)| waiting).unwrap_or_default();
        if mesh.presence.merge(hash, claim) == Merged::Stale {
            // Somebody else was faster with a higher term: it goes on to him.
            mesh.leftovers.insert(user.clone());
        } else {
            mesh.leftovers.remove(&user);
            mesh.news.insert(hash, claim);
            mesh.moved_users.push(hash);
            mesh.look_again_for_what_came();
            if let Some(slot) = self.slots.by_hash(hash) {
                // What is in memory is from before it came.
                self.keep_after_all(&user, slot);
            }
        }
        effects.push(Effect::Send { to: from, frame: Frame::Taken { number, user: user.clone(), claim } });
        self.go_on(now, &user, effects);
        self.again(now, waiting, effects);
    }

    fn begin_merge(&mut self, from: NodeId, number: u64, slot: Slot, rest: Rest) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(take) = mesh.takes.open.remove(&(from, number)) else { return };
        self.slots.freeze(slot);
        let theirs = Theirs { rows: take.rows, rest };
        mesh.takes.merging.insert(take.user.clone(), Merging { from, number, slot, theirs: Some(theirs) });
        let ask = Effect::Rows { user: take.user, after: Stamp::ZERO };
        self.commits.after(After::Effect(ask));
    }

    /// This node's own rows of a mailbox that is to be merged.
    pub(super) fn merge_rows(
        &mut self,
        now: Stamp,
        user: &UserKey,
        rows: Option<Vec<(Stamp, EntryRow)>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(merging) = mesh.takes.merging.get_mut(user) else { return };
        let (from, number, slot) = (merging.from, merging.number, merging.slot);
        let Some(theirs) = merging.theirs.take() else { return };
        let (Some(rows), Some(mailbox)) = (rows, self.slots.get_mut(slot)) else {
            mesh.takes.merging.remove(user);
            let parked = self.slots.thaw(slot);
            // It may have been claimed by another node meanwhile.
            if let Some(claim) = self.claim_of(user).filter(|claim| claim.owner != self.node) {
                self.yield_to(now, user, claim.owner, effects);
            }
            return self.again(now, parked, effects);
        };
        #[cfg(test)]
        let forgets = self.sabotage == Some(super::sabotage::Sabotage::MergeForgetsIds);
        #[cfg(not(test))]
        let forgets = false;
        let plan = merge::plan(&rows, mailbox, theirs, forgets);
        let (sessions, pinned) = (std::mem::take(&mut mailbox.sessions), mailbox.pinned);
        let mut known = mailbox.known.take();
        if let Some(known) = &mut known {
            plan.rows.iter().for_each(|(_, row)| known.add(row));
        }
        let hash = UserHash::of(user);
        for (pos, row) in plan.rows {
            self.commits.write(Write::Entry { user: user.clone(), pos, row });
        }
        for (conversation, row) in &plan.conversations {
            let (conversation, row) = (conversation.clone(), row.clone());
            self.commits.write(Write::Conversation { user: user.clone(), conversation, row });
        }
        let snapshot = Snapshot {
            mailbox: Some(plan.mailbox),
            conversations: plan.conversations,
            after: Vec::new(),
            chain: plan.chain.clone(),
        };
        *mailbox = Mailbox::restore(user.clone(), snapshot);
        (mailbox.sessions, mailbox.pinned, mailbox.known) = (sessions, pinned, known);
        for (row, message) in plan.late {
            let pos = self.clock.tick(now);
            match (row, message) {
                (EntryRow::Message { mine, flags, .. }, Some(message)) => {
                    self.append_merged(now, slot, pos, &message, mine, flags);
                }
                (EntryRow::Change(change), _) => self.change(now, slot, pos, change, None),
                // Its text is gone by retention: so is the message.
                (EntryRow::Message { .. }, None) => {}
            }
        }
        self.stale(now, slot);
        self.checkpoint(slot);
        let Some(mesh) = &self.mesh else { return };
        let Some(claim) = mesh.presence.claim(hash) else { return };
        let row = ClaimRow { reign: claim.reign(), stamp: claim.stamp, chain: plan.chain };
        if claim.owner == self.node {
            self.commits.write(Write::Claim { user: hash, row });
        }
        self.commits.after(After::Merged { user: user.clone(), slot, from, number });
    }

    /// A mailbox that came has been merged, and that is durable.
    pub(super) fn merged(
        &mut self,
        now: Stamp,
        user: UserKey,
        slot: Slot,
        from: NodeId,
        number: u64,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(mesh) = &mut self.mesh {
            mesh.takes.merging.remove(&user);
        }
        let Some(claim) = self.claim_of(&user) else { return };
        let frame = Frame::Taken { number, user: user.clone(), claim };
        effects.push(Effect::Send { to: from, frame });
        if self.is_going(&user) || self.slots.frozen(&user) != Some(slot) {
            return;
        }
        let parked = self.slots.thaw(slot);
        if claim.owner != self.node {
            self.yield_to(now, &user, claim.owner, effects);
        }
        self.again(now, parked, effects);
    }

    pub(super) fn tick_takes(&mut self, now: Stamp) {
        if let Some(mesh) = &mut self.mesh {
            mesh.takes.open.retain(|_, take| now.0.saturating_sub(take.progress.0) < 2 * PATIENCE_US);
        }
    }
}
