//! The world of the simulated cluster.

mod clients;
mod faults;
mod nodes;

use super::{
    super::{
        Rng, Sabotage,
        client::{Client, people},
        line::{Line, Lines},
    },
    node::Node,
    wire::Wire,
};
use crate::{
    model::{MessageId, UserKey},
    relay::{Command, Open, SessionId},
};
use std::collections::BTreeMap;

/// Where a session is; it may live on another node than its client talks to.
pub struct Place {
    /// The node that the client talks to.
    pub entry: usize,
    /// The node on which the session lives.
    pub home: usize,
    open: Open,
}

/// A message that somebody meant to send.
pub struct Meant {
    pub from: UserKey,
    pub to: UserKey,
    /// Grows with each send.
    pub number: u64,
    /// Devices that have to see it: those known when it was made.
    pub owed: Vec<usize>,
    /// The device that sends it; `None`: the server API.
    pub by: Option<usize>,
    /// Nobody was told that it is there.
    pub maybe: bool,
}

/// A call of the server API.
struct Call {
    user: UserKey,
    command: Command,
    /// The node that was asked.
    at: Option<usize>,
    id: Option<MessageId>,
}

pub struct World {
    pub rng: Rng,
    pub now: u64,
    pub nodes: Vec<Node>,
    pub wires: BTreeMap<(usize, usize), Wire>,
    /// What each node believes of each other: (of whom, who believes).
    pub alive: BTreeMap<(usize, usize), bool>,
    pub lines: Lines<Place>,
    /// Whose each session was.
    sessions: BTreeMap<SessionId, usize>,
    pub clients: Vec<Client>,
    pub sent: BTreeMap<MessageId, Meant>,
    /// Messages that the server API was told are durable.
    pub answered: Vec<MessageId>,
    calls: BTreeMap<u64, Call>,
    next: u64,
    pub rough: bool,
    /// Mailboxes cannot be read at times.
    pub shaky: bool,
    /// Groups of nodes that do not reach each other.
    parted: bool,
    pub trouble: bool,
    /// Prints all that happens.
    trace: bool,
}

const NAMES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

impl World {
    pub fn new(mut rng: Rng, calm: bool, sabotage: Option<Sabotage>) -> Self {
        let clients = people(&mut rng, 4);
        let count = 2 + rng.below(if calm { 2 } else { 4 });
        let nodes: Vec<_> = NAMES[..count]
            .iter()
            .map(|name| Node::new(name, if calm { 0 } else { rng.below(5_000_000) as u64 }, sabotage))
            .collect();
        let mut wires = BTreeMap::new();
        let mut alive = BTreeMap::new();
        for a in 0..count {
            for b in 0..count {
                if a < b {
                    wires.insert((a, b), Wire::new());
                }
                if a != b {
                    alive.insert((a, b), false);
                }
            }
        }
        let mut world = Self {
            rng,
            now: 10_000_000,
            nodes,
            wires,
            alive,
            lines: BTreeMap::new(),
            sessions: BTreeMap::new(),
            clients,
            sent: BTreeMap::new(),
            answered: Vec::new(),
            calls: BTreeMap::new(),
            next: 1,
            rough: !calm,
            shaky: false,
            parted: false,
            trouble: false,
            trace: std::env::var_os("HONGYAN_TRACE").is_some(),
        };
        if calm || world.rng.one_in(2) {
            world.join_all();
        }
        if calm {
            // In rough runs users come before all nodes know each other.
            for at in 0..count {
                while let Some(input) = world.nodes[at].inputs.pop_front() {
                    world.handle(at, input);
                }
            }
        } else {
            world.trouble = true;
        }
        world
    }

    /// From now on mailboxes cannot be read at times.
    pub fn shake(&mut self) {
        // Parcels that were held back for a mailbox may be overtaken when it moves just then.
        (self.shaky, self.trouble) = (true, true);
    }

    pub fn length(&mut self) -> usize {
        300 + self.rng.below(1_200)
    }

    fn join_all(&mut self) {
        for pair in self.wires.keys().copied().collect::<Vec<_>>() {
            self.connect_wire(pair);
            self.believe(pair.0, pair.1, true);
            self.believe(pair.1, pair.0, true);
        }
    }

    pub fn step(&mut self) {
        // In calm runs no owner is so slow that it is succeeded.
        let most = if self.rough { 4_000 } else { 600 };
        self.now += self.rng.below(most) as u64;
        match self.rng.below(200) {
            0..=17 => self.client_sends(),
            18..=19 => self.burst(),
            20..=23 => self.call(),
            24..=33 => self.connect_someone(),
            34..=37 => self.cut_someone(),
            38..=41 => self.client_reads_or_recalls(),
            42 if self.rng.one_in(3) => self.drain_or_return(),
            43..=46 => self.mend_a_wire(),
            47..=48 if self.rough => self.now += self.rng.below(1_000_000) as u64,
            49 if self.rough => self.trouble(),
            _ => self.work(),
        }
    }

    /// Ends all faults and lets everything settle.
    pub fn heal(&mut self) {
        // A mailbox that cannot be read is given up on after ten seconds, and tried again.
        let slow = std::mem::take(&mut self.shaky) || self.rough;
        self.join_again();
        for at in 0..self.nodes.len() {
            if !self.nodes[at].up {
                self.start(at);
            }
        }
        for round in 0..20_000 {
            for pair in self.wires.keys().copied().collect::<Vec<_>>() {
                if self.wires[&pair].deaf != [false; 2] {
                    self.wire(pair).cut();
                    self.break_lines_over(pair);
                }
                self.notice(pair);
                self.connect_wire(pair);
            }
            for of in 0..self.nodes.len() {
                for by in 0..self.nodes.len() {
                    if of != by && !self.alive[&(of, by)] {
                        self.believe(of, by, true);
                    }
                }
            }
            for at in 0..self.nodes.len() {
                if self.nodes[at].draining && self.nodes[at].is_quiet() && self.nodes[at].relay.is_drained() {
                    let trouble = self.trouble;
                    self.crash(at);
                    self.trouble = trouble;
                    self.start(at);
                }
            }
            for _ in 0..self.clients.len() {
                self.connect_someone();
            }
            self.now += if slow { 2_000 } else { 200 };
            for at in 0..self.nodes.len() {
                self.sync(at);
                self.feed(at);
                self.read(at);
            }
            for _ in 0..8 {
                self.deliver_frames();
            }
            self.place_calls();
            for _ in 0..4 {
                self.read_on();
                self.ask_to_go_live();
                self.deliver_down();
                self.deliver_up();
            }
            // What was refused as busy is tried again, and everybody acks.
            if round % 100 == 99 {
                self.lines.values_mut().for_each(|line| line.try_again(&self.clients[line.client]));
            }
            let lines = self.lines.values().all(Line::is_quiet);
            if lines
                && self.calls.is_empty()
                && self.wires.values().all(|wire| wire.is_up() && wire.is_empty())
                && self.nodes.iter().all(|node| node.up && !node.draining && node.is_quiet())
                && self.clients.iter().all(|client| client.live && client.unsent.is_empty())
            {
                return;
            }
        }
        self.does_not_settle();
    }

    fn does_not_settle(&self) {
        let unsent: Vec<_> = self.clients.iter().map(|client| (client.live, client.unsent.len())).collect();
        let wires: Vec<_> =
            self.wires.iter().map(|(pair, wire)| (pair, wire.sides, wire.is_empty())).collect();
        let lines: Vec<_> = self
            .lines
            .values()
            .map(|line| (line.down.len(), line.up.len(), line.is_quiet(), line.welcomed))
            .collect();
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|node| {
                let mut waits = node.relay.unsettled();
                waits.retain(|(_, count)| *count > 0);
                (
                    node.up,
                    node.draining,
                    node.inputs.len(),
                    node.reads.len(),
                    node.disk.is_busy(),
                    node.relay.is_idle(),
                    waits,
                )
            })
            .collect();
        panic!(
            "does not settle: nodes {nodes:?}, lines {lines:?}, clients (live, unsent) {unsent:?}, {} calls, wires {wires:?}",
            self.calls.len()
        );
    }
}
