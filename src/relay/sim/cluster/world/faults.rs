//! What goes wrong in the simulated cluster, and comes right again: wires, beliefs about who is alive, crashes, drains.

use super::{
    super::wire::{Side, Wire},
    World,
};
use crate::relay::Input;

impl World {
    pub(super) fn trouble(&mut self) {
        let count = self.nodes.len();
        match self.rng.below(12) {
            0..=1 => {
                let at = self.rng.below(count);
                if self.nodes[at].up {
                    self.crash(at);
                } else {
                    self.start(at);
                }
            }
            2..=3 => self.cut_a_wire(),
            4 => {
                // One direction goes quiet; both ends notice in the end.
                if let Some(pair) = self.some_wire() {
                    let side = self.rng.below(2);
                    self.wire(pair).deaf[side] = true;
                }
            }
            5 => self.part(),
            6 => self.join_again(),
            7 => {
                // Somebody is taken for dead who is not, for a while.
                let (of, by) = (self.rng.below(count), self.rng.below(count));
                if of != by {
                    self.believe(of, by, false);
                    self.trouble = true;
                }
            }
            _ => self.members(),
        }
    }

    pub(super) fn wire(&mut self, pair: (usize, usize)) -> &mut Wire {
        self.wires.get_mut(&pair).expect("pair")
    }

    pub(super) fn some_wire(&mut self) -> Option<(usize, usize)> {
        let all: Vec<_> = self.wires.keys().copied().collect();
        (!all.is_empty()).then(|| all[self.rng.below(all.len())])
    }

    pub(super) fn cut_a_wire(&mut self) {
        self.trouble = true;
        if let Some(pair) = self.some_wire() {
            self.wire(pair).cut();
            self.break_lines_over(pair);
        }
    }

    /// Splits the nodes in two groups that do not reach each other.
    pub(super) fn part(&mut self) {
        self.trouble = true;
        self.parted = true;
        let sides: Vec<bool> = self.nodes.iter().map(|_| self.rng.one_in(2)).collect();
        for pair in self.wires.keys().copied().collect::<Vec<_>>() {
            if sides[pair.0] != sides[pair.1] {
                self.wire(pair).cut();
                self.wire(pair).blocked = true;
                self.break_lines_over(pair);
            }
        }
    }

    pub(super) fn join_again(&mut self) {
        self.parted = false;
        self.wires.values_mut().for_each(|wire| wire.blocked = false);
    }

    /// Members notice who is there and who is not.
    pub(super) fn members(&mut self) {
        let count = self.nodes.len();
        for of in 0..count {
            for by in 0..count {
                if of == by || !self.nodes[by].up || self.rng.one_in(3) {
                    continue;
                }
                // A node is seen through others, too.
                let reached = self.reaches(by, of);
                self.believe(of, by, reached);
            }
        }
    }

    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![from];
        let mut at = 0;
        while at < seen.len() {
            let node = seen[at];
            at += 1;
            for (&(a, b), wire) in &self.wires {
                let other = if a == node { b } else { a };
                if (a == node || b == node)
                    && !wire.blocked
                    && self.nodes[other].up
                    && self.nodes[node].up
                    && !seen.contains(&other)
                {
                    seen.push(other);
                }
            }
        }
        seen.contains(&to)
    }

    pub(super) fn believe(&mut self, of: usize, by: usize, alive: bool) {
        if !self.nodes[by].up {
            return;
        }
        let peer = self.nodes[of].id;
        self.alive.insert((of, by), alive);
        self.nodes[by].inputs.push_back(if alive {
            Input::MemberUp { peer }
        } else {
            Input::MemberDown { peer }
        });
    }

    /// Some link that can be made is made, or a side notices that its link is gone.
    pub(super) fn mend_a_wire(&mut self) {
        if let Some(pair) = self.some_wire() {
            self.notice(pair);
            self.connect_wire(pair);
        }
        if !self.rough {
            self.members();
        }
    }

    pub(super) fn notice(&mut self, pair: (usize, usize)) {
        let side = self.rng.below(2);
        if self.wire(pair).sides[side] == Side::Stale {
            self.wire(pair).sides[side] = Side::Down;
            let (at, other) = if side == 0 { pair } else { (pair.1, pair.0) };
            let peer = self.nodes[other].id;
            if self.nodes[at].up {
                self.nodes[at].inputs.push_back(Input::LinkDown { peer });
            }
        }
    }

    pub(super) fn connect_wire(&mut self, pair: (usize, usize)) {
        if !self.nodes[pair.0].up || !self.nodes[pair.1].up {
            return;
        }
        let wire = self.wire(pair);
        if wire.blocked || wire.sides != [Side::Down; 2] {
            return;
        }
        wire.sides = [Side::Up; 2];
        wire.generation += 1;
        let (a, b) = (self.nodes[pair.0].id, self.nodes[pair.1].id);
        self.nodes[pair.0].inputs.push_back(Input::LinkUp { peer: b });
        self.nodes[pair.1].inputs.push_back(Input::LinkUp { peer: a });
    }

    /// Sessions that are carried over that link end.
    pub(super) fn break_lines_over(&mut self, pair: (usize, usize)) {
        let over: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| {
                (line.place.entry, line.place.home) == pair || (line.place.home, line.place.entry) == pair
            })
            .map(|(id, _)| *id)
            .collect();
        over.into_iter().for_each(|session| self.cut(session));
    }

    pub(super) fn crash(&mut self, at: usize) {
        self.trouble = true;
        let mut rng = self.rng.clone();
        self.nodes[at].crash(&mut rng);
        self.rng = rng;
        for pair in self.wires.keys().copied().collect::<Vec<_>>() {
            if pair.0 == at || pair.1 == at {
                self.wire(pair).cut();
                let side = usize::from(pair.1 == at);
                self.wire(pair).sides[side] = Side::Down;
            }
        }
        let gone: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| line.place.entry == at || line.place.home == at)
            .map(|(id, _)| *id)
            .collect();
        gone.into_iter().for_each(|session| self.cut(session));
        let lost: Vec<_> =
            self.calls.iter().filter(|(_, call)| call.at == Some(at)).map(|(number, _)| *number).collect();
        for number in lost {
            if let Some(call) = self.calls.remove(&number) {
                self.give_up(&call);
            }
        }
    }

    pub(super) fn start(&mut self, at: usize) {
        let effects = self.nodes[at].start(self.now);
        for by in 0..self.nodes.len() {
            if by != at {
                self.alive.insert((by, at), false);
                // A new incarnation.
                if self.alive[&(at, by)] {
                    self.believe(at, by, true);
                }
            }
        }
        for effect in effects {
            self.effect(at, effect);
        }
    }

    pub(super) fn drain_or_return(&mut self) {
        let at = self.rng.below(self.nodes.len());
        let ready = (0..self.nodes.len()).filter(|&i| self.nodes[i].up && !self.nodes[i].draining).count();
        if !self.nodes[at].up {
            return;
        }
        if self.nodes[at].draining {
            // Drained, stopped, and started again.
            if self.nodes[at].is_quiet() && self.nodes[at].relay.is_drained() {
                let trouble = self.trouble;
                self.crash(at);
                self.trouble = trouble;
                self.start(at);
            }
        } else if ready > 1 {
            self.nodes[at].draining = true;
            self.nodes[at].inputs.push_back(Input::Drain { within: 2_000_000 });
        }
    }
}
