//! Sessions of users whose mailbox is elsewhere.
//!
//! Purpose: the mailbox follows its user; where it cannot (the user is there too), the session is carried to the mailbox.
//! Flow: `home` parks what came for the user and asks the owner (`Want`) → the owner hands the mailbox over (`give`), or says
//! `Stay`, or a claim comes that says where to ask → the parked inputs go on. An owner that is down, or does not answer, is
//! succeeded.
//! Pure: time comes in as an argument.

use super::{Effect, Frame, Input, Refused, Relay, mesh::Whose, slots::Slot};
use crate::{
    gossip::Claim,
    model::{NodeId, Stamp, UserKey},
};
use std::time::Duration;

/// How long an owner that is taken to live may take to answer before its user is served here without it.
const PATIENCE_US: u64 = 800_000;
/// How often the question is put again, when a link has come up meanwhile or an answer was lost.
const REPEAT_US: u64 = 300_000;
/// Inputs that may wait for one user.
const MAX_WAITING: usize = 256;

/// What waits for a user's mailbox to come here.
#[derive(Debug)]
pub(super) struct Seek {
    /// Who was asked.
    asked: NodeId,
    since: Stamp,
    last: Stamp,
    inputs: Vec<Input>,
}

impl Seek {
    /// What waits.
    pub fn into_inputs(self) -> Vec<Input> {
        self.inputs
    }
}

impl Relay {
    /// The mailbox of `user`, whose session has come here. `None`: `input` waits, or was refused.
    pub(super) fn home(
        &mut self,
        now: Stamp,
        user: &UserKey,
        input: impl FnOnce() -> Input,
        effects: &mut Vec<Effect>,
    ) -> Option<Slot> {
        if self.mesh.is_none() || self.slots.find(user).is_some() {
            return self.mailbox_for(user, input, effects);
        }
        let asked = match self.whose(user) {
            Whose::Mine => return self.mailbox_for(user, input, effects),
            Whose::Nobody => self.registrar(user),
            Whose::Peer(owner) => owner,
        };
        let Some(mesh) = &mut self.mesh else { return None };
        if mesh.draining {
            super::refuse(input(), &Refused::Busy(Duration::from_millis(500)), effects);
            return None;
        }
        if asked == self.node || !mesh.is_alive(asked) {
            self.take_over(now, user);
            return self.mailbox_for(user, input, effects);
        }
        let seek = mesh.seeking.entry(user.clone()).or_insert(Seek {
            asked,
            since: now,
            last: Stamp::ZERO,
            inputs: Vec::new(),
        });
        if seek.inputs.len() >= MAX_WAITING {
            super::refuse(input(), &Refused::Busy(Duration::from_millis(500)), effects);
            return None;
        }
        seek.inputs.push(input());
        if seek.asked != asked || seek.last == Stamp::ZERO {
            self.put_question(now, user, effects);
        }
        None
    }

    fn put_question(&mut self, now: Stamp, user: &UserKey, effects: &mut Vec<Effect>) {
        let asked = match self.whose(user) {
            Whose::Nobody => self.registrar(user),
            Whose::Peer(owner) => owner,
            Whose::Mine => return,
        };
        let claim = self.claim_of(user);
        let Some(mesh) = &mut self.mesh else { return };
        let Some(seek) = mesh.seeking.get_mut(user) else { return };
        (seek.asked, seek.last) = (asked, now);
        if mesh.is_linked(asked) {
            effects.push(Effect::Send { to: asked, frame: Frame::Want { user: user.clone(), claim } });
        }
    }

    /// A peer has a session of `user`.
    pub(super) fn want(
        &mut self,
        now: Stamp,
        from: NodeId,
        user: UserKey,
        claim: Option<Claim>,
        effects: &mut Vec<Effect>,
    ) {
        let hash = crate::model::UserHash::of(&user);
        if let Some(claim) = claim {
            self.hear(now, claim.stamp);
            self.take_in(now, hash, claim, effects);
        }
        let Some(mesh) = &self.mesh else { return };
        if mesh.peers.get(&from).is_some_and(|peer| peer.draining) {
            return; // it has sent its client away
        }
        // One that drains has the mailbox follow its user at once.
        let draining = mesh.draining;
        match self.whose(&user) {
            Whose::Mine => {
                let input = || Input::Frame { from, frame: Frame::Want { user: user.clone(), claim } };
                let Some(slot) = self.mailbox_for(&user, input, effects) else { return };
                let stays = self.slots.get(slot).is_some_and(|mailbox| !mailbox.sessions.is_empty());
                if stays && !draining {
                    effects.push(Effect::Send { to: from, frame: Frame::Stay { user } });
                } else {
                    self.give(now, &user, from, effects);
                }
            }
            Whose::Nobody => {
                // It is this node's to decide, or the asker's table is behind: whoever has the session gets the mailbox.
                let stamp = self.clock.tick(now);
                let claim = Claim { owner: from, term: 1, stamp, online: false };
                self.take_in(now, hash, claim, effects);
                if let Some(mesh) = &mut self.mesh {
                    mesh.news.insert(hash, claim);
                }
            }
            Whose::Peer(_) => {
                if let Some(claim) = self.claim_of(&user) {
                    effects.push(Effect::Send { to: from, frame: Frame::Claims(vec![(hash, claim)]) });
                }
            }
        }
    }

    /// The owner keeps the mailbox: sessions are carried there.
    pub(super) fn stay(&mut self, now: Stamp, from: NodeId, user: &UserKey, effects: &mut Vec<Effect>) {
        if self.whose(user) != Whose::Peer(from) {
            return; // an answer to an old question
        }
        let Some(mesh) = &mut self.mesh else { return };
        let Some(seek) = mesh.seeking.remove(user) else { return };
        for input in seek.inputs {
            match input {
                Input::Open(open) => effects.push(Effect::Carry { session: open.session, to: from }),
                Input::Close { .. } => {}
                other => self.handle(now, other, effects),
            }
        }
    }

    /// Claims have come in: whoever was sought and is here now, or elsewhere than was thought, is looked at again.
    pub(super) fn found(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        if mesh.seeking.is_empty() {
            return;
        }
        let moved: Vec<_> = mesh
            .seeking
            .iter()
            .filter(|(user, seek)| match self.whose(user) {
                Whose::Mine => true,
                Whose::Peer(owner) => owner != seek.asked,
                Whose::Nobody => false,
            })
            .map(|(user, _)| user.clone())
            .collect();
        for user in moved {
            if self.whose(&user) == Whose::Mine {
                self.go_on(now, &user, effects);
            } else {
                self.put_question(now, &user, effects);
            }
        }
    }

    /// What waited for `user` goes on.
    pub(super) fn go_on(&mut self, now: Stamp, user: &UserKey, effects: &mut Vec<Effect>) {
        let seek = self.mesh.as_mut().and_then(|mesh| mesh.seeking.remove(user));
        if let Some(seek) = seek {
            self.again(now, seek.inputs, effects);
        }
    }

    /// A session has gone while its user was being sought.
    pub(super) fn seek_no_more(&mut self, session: super::SessionId) {
        let Some(mesh) = &mut self.mesh else { return };
        for seek in mesh.seeking.values_mut() {
            seek.inputs.retain(|input| !matches!(input, Input::Open(open) if open.session == session));
        }
        mesh.seeking.retain(|_, seek| !seek.inputs.is_empty());
    }

    /// The link to `peer` has come up, or it is taken for dead: whoever was asked for there is asked for again.
    pub(super) fn seek_again(&mut self, now: Stamp, peer: NodeId, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        let users: Vec<_> = mesh
            .seeking
            .iter()
            .filter(|(_, seek)| seek.asked == peer)
            .map(|(user, _)| user.clone())
            .collect();
        let alive = mesh.is_alive(peer);
        for user in users {
            if alive {
                self.put_question(now, &user, effects);
            } else {
                self.go_on(now, &user, effects);
            }
        }
    }

    /// Owners that do not answer are asked again, and succeeded in the end.
    pub(super) fn tick_seeking(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &self.mesh else { return };
        let (mut late, mut again) = (Vec::new(), Vec::new());
        for (user, seek) in &mesh.seeking {
            if now.0.saturating_sub(seek.since.0) >= PATIENCE_US {
                late.push(user.clone());
            } else if now.0.saturating_sub(seek.last.0) >= REPEAT_US {
                again.push(user.clone());
            }
        }
        for user in late {
            if self.whose(&user) != Whose::Mine && !self.takes_in_progress(&user) {
                self.take_over(now, &user);
            }
            if self.whose(&user) == Whose::Mine {
                self.go_on(now, &user, effects);
            }
        }
        for user in again {
            self.put_question(now, &user, effects);
        }
    }
}
