//! The directory, kept the same on all nodes.
//!
//! Flow: a fact asserted here is written, told to all peers with a link, and answered for once they have it on disk too, or
//! after a while without those that do not answer. When a link comes up both sides tell what they have, as much at a time as the other acknowledges.
//! Pure: time comes in as an argument.

use super::{Answer, Effect, Frame, Refused, Relay, ReplyTo, commits::After};
use crate::{
    gossip::{Fact, FactKey, FactValue, LATEST},
    model::{NodeId, Stamp},
    store::Write,
};
use std::collections::{BTreeMap, BTreeSet};

/// How long an answer waits for peers.
const PATIENCE_US: u64 = 500_000;

#[derive(Debug)]
struct Spread {
    to: ReplyTo,
    answer: Result<Answer, Refused>,
    waits_for: BTreeSet<NodeId>,
    since: Stamp,
}

/// What a peer is being told.
#[derive(Debug, Default)]
struct Telling {
    /// Names the acknowledgement that is awaited; 0: the store reads.
    number: u64,
    last: Option<FactKey>,
}

/// Answers that wait for peers.
#[derive(Debug, Default)]
pub(super) struct Spreads {
    open: BTreeMap<u64, Spread>,
    /// Peers whose link has come up.
    telling: BTreeMap<NodeId, Telling>,
    /// Facts asserted since the last answer was promised.
    pub fresh: Vec<(FactKey, Fact)>,
}

impl Spreads {
    /// A peer is gone: nothing waits for it.
    pub fn gone(&mut self, peer: NodeId) {
        self.telling.remove(&peer);
        for spread in self.open.values_mut() {
            spread.waits_for.remove(&peer);
        }
    }
}

impl Relay {
    /// Answers when all that was asserted is on disk, here and at the peers that are there.
    pub(super) fn answer_when_known(&mut self, now: Stamp, to: ReplyTo, answer: Answer) {
        let Some(mesh) = &mut self.mesh else {
            return self.commits.after(After::Reply { to, answer: Ok(answer) });
        };
        let facts = std::mem::take(&mut mesh.spreads.fresh);
        let peers: BTreeSet<_> =
            mesh.peers.iter().filter(|(_, peer)| peer.linked).map(|(id, _)| *id).collect();
        if facts.is_empty() || peers.is_empty() {
            return self.commits.after(After::Reply { to, answer: Ok(answer) });
        }
        let number = self.clock.tick(now).0;
        for &to in &peers {
            let frame = Frame::Facts { number, facts: facts.clone() };
            self.commits.after(After::Effect(Effect::Send { to, frame }));
        }
        let spread = Spread { to, answer: Ok(answer), waits_for: peers, since: now };
        mesh.spreads.open.insert(number, spread);
    }

    /// Facts of a peer.
    pub(super) fn facts(
        &mut self,
        now: Stamp,
        from: NodeId,
        number: u64,
        facts: Vec<(FactKey, Fact)>,
        effects: &mut Vec<Effect>,
    ) {
        for (key, fact) in facts.into_iter().filter(|(_, fact)| fact.stamp <= LATEST) {
            self.hear(now, fact.stamp);
            if !self.directory.merge(key.clone(), fact.clone()) {
                continue;
            }
            if let (FactKey::Blocked(user), Some(FactValue::Number(until))) = (&key, &fact.value) {
                self.cut_off(now, user, Stamp(*until), effects);
            }
            self.commits.write(Write::Fact { key, fact });
        }
        if number > 0 {
            self.commits.after(After::Effect(Effect::Send { to: from, frame: Frame::FactsDone { number } }));
        }
    }

    pub(super) fn facts_done(&mut self, from: NodeId, number: u64, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        if let Some(telling) = mesh.spreads.telling.get_mut(&from).filter(|telling| telling.number == number)
        {
            telling.number = 0;
            let after = telling.last.clone();
            return effects.push(Effect::Facts { peer: from, after });
        }
        let Some(spread) = mesh.spreads.open.get_mut(&number) else { return };
        spread.waits_for.remove(&from);
        if spread.waits_for.is_empty()
            && let Some(Spread { to, answer, .. }) = mesh.spreads.open.remove(&number)
        {
            effects.push(Effect::Reply { to, answer });
        }
    }

    pub(super) fn tick_spreads(&mut self, now: Stamp, effects: &mut Vec<Effect>) {
        let Some(mesh) = &mut self.mesh else { return };
        let over: Vec<_> = mesh
            .spreads
            .open
            .iter()
            .filter(|(_, spread)| {
                spread.waits_for.is_empty() || now.0.saturating_sub(spread.since.0) >= PATIENCE_US
            })
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            if let Some(Spread { to, answer, .. }) = mesh.spreads.open.remove(&number) {
                effects.push(Effect::Reply { to, answer });
            }
        }
    }

    /// A link has come up: the peer is told all facts that the store holds, some at a time.
    pub(super) fn begin_telling(&mut self, peer: NodeId, effects: &mut Vec<Effect>) {
        if let Some(mesh) = &mut self.mesh {
            mesh.spreads.telling.insert(peer, Telling::default());
            effects.push(Effect::Facts { peer, after: None });
        }
    }

    /// The store has read the next facts for a peer.
    pub(super) fn tell_facts(
        &mut self,
        now: Stamp,
        peer: NodeId,
        facts: Vec<(FactKey, Fact)>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(mesh) = &mut self.mesh else { return };
        let Some(telling) = mesh.spreads.telling.get_mut(&peer).filter(|telling| telling.number == 0) else {
            return; // read for a link that is gone
        };
        let Some((last, _)) = facts.last() else {
            mesh.spreads.telling.remove(&peer);
            return;
        };
        *telling = Telling { number: self.clock.tick(now).0, last: Some(last.clone()) };
        effects.push(Effect::Send { to: peer, frame: Frame::Facts { number: telling.number, facts } });
    }
}
