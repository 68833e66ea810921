//! The work of the simulated cluster's nodes: inputs, effects, the disk, frames between them.

use super::{super::node::Read, World};
use crate::{
    model::NodeId,
    relay::{Effect, Frame, Input, KickReason, ReplyTo, SessionId, Ticket},
};

impl World {
    /// A node that has started lets users in when it has heard all that it reaches, or has waited long enough.
    pub(super) fn open_doors(&mut self) {
        for at in 0..self.nodes.len() {
            let all =
                (0..self.nodes.len()).filter(|&other| other != at && self.nodes[other].up).all(|other| {
                    self.nodes[at].relay.has_heard(self.nodes[other].id) && self.alive[&(other, at)]
                });
            let node = &mut self.nodes[at];
            node.doors |= node.up && (all || self.now >= node.doors_by);
        }
    }

    /// Something that was under way moves on by one step.
    pub(super) fn work(&mut self) {
        let at = self.rng.below(self.nodes.len());
        match self.rng.below(10) {
            0 => self.sync(at),
            1..=2 => self.feed(at),
            3 => self.read(at),
            4..=5 => self.deliver_frames(),
            6 => self.read_on(),
            7 => {
                self.ask_to_go_live();
                self.place_calls();
            }
            8 => self.deliver_down(),
            _ => self.deliver_up(),
        }
    }

    pub(super) fn sync(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.up
            && let Some(seq) = node.disk.sync(&mut self.rng)
        {
            node.inputs.push_back(Input::Committed { seq });
        }
    }

    /// A node takes a batch of inputs.
    pub(super) fn feed(&mut self, at: usize) {
        if !self.nodes[at].up {
            return;
        }
        for _ in 0..=self.rng.below(8) {
            let Some(input) = self.nodes[at].inputs.pop_front() else { break };
            self.handle(at, input);
        }
        self.handle(at, Input::Tick);
    }

    pub(super) fn read(&mut self, at: usize) {
        let count = self.nodes[at].reads.len();
        if count > 0 && self.nodes[at].up {
            let which = self.rng.below(count);
            let fails = self.shaky && self.rng.one_in(5);
            self.nodes[at].read(which, fails);
        }
    }

    pub(super) fn deliver_frames(&mut self) {
        let ready: Vec<_> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.is_up())
            .flat_map(|(pair, wire)| wire.ready().into_iter().map(|key| (*pair, key)))
            .collect();
        if ready.is_empty() {
            return;
        }
        let (pair, key) = ready[self.rng.below(ready.len())];
        for _ in 0..=self.rng.below(6) {
            let Some(frame) = self.wire(pair).take(key) else { break };
            let (from, to) = if key.0 == 0 { pair } else { (pair.1, pair.0) };
            let from = self.nodes[from].id;
            // What goes over the wire has to survive that.
            let bytes = postcard::to_stdvec(&frame).expect("encodes");
            let frame: Frame = postcard::from_bytes(&bytes).expect("decodes");
            self.nodes[to].inputs.push_back(Input::Frame { from, frame });
        }
    }

    pub(super) fn handle(&mut self, at: usize, input: Input) {
        if let Input::LinkUp { peer } = input {
            let other = self.index(peer);
            let generation = self.wires[&(at.min(other), at.max(other))].generation;
            self.nodes[at].links.insert(peer, generation);
        }
        let mut effects = Vec::new();
        if self.trace && !matches!(input, Input::Tick) {
            println!("{} n{} <- {input:?}", self.now, at + 1);
        }
        self.nodes[at].handle(self.now, input, &mut effects);
        if self.trace {
            effects.iter().for_each(|effect| println!("{} n{}    -> {effect:?}", self.now, at + 1));
        }
        for effect in effects {
            self.effect(at, effect);
        }
    }

    pub(super) fn index(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("a node")
    }

    pub(super) fn effect(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Commit { seq, writes } => self.nodes[at].disk.submit(seq, writes),
            Effect::Load(user) => self.nodes[at].reads.push(Read::Load(user)),
            Effect::Export { user, number, after } => {
                self.nodes[at].reads.push(Read::Export { user, number, after });
            }
            Effect::Rows { user, after } => self.nodes[at].reads.push(Read::Rows { user, after }),
            Effect::Facts { peer, after } => self.nodes[at].reads.push(Read::Facts { peer, after }),
            Effect::Find { .. } => unreachable!("only back ends look for messages"),
            Effect::Look => self.nodes[at].reads.push(Read::Look),
            Effect::Send { to, frame } => {
                let to = self.index(to);
                let (pair, side) = if at < to { ((at, to), 0) } else { ((to, at), 1) };
                let generation = self.nodes[at].links.get(&self.nodes[to].id).copied();
                self.wire(pair).send(side, generation, frame);
            }
            Effect::Carry { session, to } => self.carry(at, session, to),
            effect @ Effect::Welcome { session, .. } => {
                match self.lines.get_mut(&session).filter(|line| line.place.home == at) {
                    Some(line) => line.hear(effect),
                    None => self.nodes[at].inputs.push_back(Input::Close { session }),
                }
            }
            effect @ (Effect::Live { session, .. }
            | Effect::ReadOn { session }
            | Effect::Push { session, .. }) => {
                if let Some(line) = self.lines.get_mut(&session) {
                    line.hear(effect);
                }
            }
            Effect::TurnAway { session, .. } => self.end(session),
            Effect::Kick { session, why } => {
                if let KickReason::Moved { .. } = why
                    && self.lines.get(&session).is_some_and(|line| line.place.home != at)
                {
                    return;
                }
                self.end(session);
            }
            Effect::Reply { to, answer } => match to {
                ReplyTo::Session(session, r) => self.reply(session, r, answer.ok()),
                ReplyTo::Ticket(Ticket(number)) => self.answered(number, answer.is_ok()),
                ReplyTo::Peer(node, number) => {
                    let frame = Frame::Answer { number, answer: Box::new(answer) };
                    self.effect(at, Effect::Send { to: node, frame });
                }
            },
            Effect::Pass { .. } | Effect::Delivered { .. } | Effect::Presence { .. } => {}
        }
    }

    pub(super) fn carry(&mut self, at: usize, session: SessionId, to: NodeId) {
        let to = self.index(to);
        let pair = (at.min(to), at.max(to));
        if !self.wires[&pair].is_up() {
            return self.end(session);
        }
        if let Some(line) = self.lines.get_mut(&session) {
            line.place.home = to;
            self.nodes[to].inputs.push_back(Input::Open(line.place.open.clone()));
        }
    }
}
