//! The world of the simulated cluster.

use super::{
    super::{
        Rng, Sabotage,
        client::{Client, Down, Next},
    },
    node::{Node, Read},
    wire::{Side, Wire},
};
use crate::{
    model::{Content, Conversation, EntryRow, Flags, Kind, MessageId, NodeId, Stamp, UserKey},
    relay::{
        Answer, Command, Directive, Effect, Frame, Input, KickReason, Open, Outgoing, ReplyTo, SessionId,
        Ticket,
    },
    store::Store,
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// A line between a client and the node that it reached; a session may live on another node behind it.
pub struct Line {
    pub client: usize,
    /// The node that the client talks to.
    pub entry: usize,
    /// The node on which the session lives.
    pub home: usize,
    pub down: VecDeque<Down>,
    pub up: VecDeque<Up>,
    sent: Stamp,
    /// The node has to read the store for this session; when it stands behind acks, from which position on.
    pub reading: Option<Stamp>,
    pub attach: bool,
    acked: Stamp,
    requests: BTreeMap<u64, Option<Arc<str>>>,
    pub welcomed: bool,
    open: Open,
}

pub enum Up {
    Send(Outgoing),
    Ack(Stamp),
    Read(Conversation),
    Recall(MessageId),
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
    pub lines: BTreeMap<SessionId, Line>,
    /// Whose each session was.
    sessions: BTreeMap<SessionId, usize>,
    pub clients: Vec<Client>,
    pub sent: BTreeMap<MessageId, Meant>,
    /// Messages that the server API was told are durable.
    pub answered: Vec<MessageId>,
    calls: BTreeMap<u64, Call>,
    next: u64,
    pub rough: bool,
    /// Groups of nodes that do not reach each other.
    parted: bool,
    pub trouble: bool,
    /// Prints all that happens.
    trace: bool,
}

pub const USERS: [&str; 4] = ["ann", "bo", "cy", "di"];
const NAMES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

impl World {
    pub fn new(mut rng: Rng, calm: bool, sabotage: Option<Sabotage>) -> Self {
        let mut clients = Vec::new();
        for name in USERS {
            let user = UserKey::new("app", name).expect("id");
            clients.push(Client::new(user.clone(), "phone", rng.one_in(4)));
            if rng.one_in(2) {
                clients.push(Client::new(user, "web", rng.one_in(4)));
            }
        }
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
            0..=19 => self.client_sends(),
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

    fn trouble(&mut self) {
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

    fn wire(&mut self, pair: (usize, usize)) -> &mut Wire {
        self.wires.get_mut(&pair).expect("pair")
    }

    fn some_wire(&mut self) -> Option<(usize, usize)> {
        let all: Vec<_> = self.wires.keys().copied().collect();
        (!all.is_empty()).then(|| all[self.rng.below(all.len())])
    }

    fn cut_a_wire(&mut self) {
        self.trouble = true;
        if let Some(pair) = self.some_wire() {
            self.wire(pair).cut();
            self.break_lines_over(pair);
        }
    }

    /// Splits the nodes in two groups that do not reach each other.
    fn part(&mut self) {
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

    fn join_again(&mut self) {
        self.parted = false;
        self.wires.values_mut().for_each(|wire| wire.blocked = false);
    }

    /// Members notice who is there and who is not.
    fn members(&mut self) {
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

    fn reaches(&self, from: usize, to: usize) -> bool {
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

    fn believe(&mut self, of: usize, by: usize, alive: bool) {
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
    fn mend_a_wire(&mut self) {
        if let Some(pair) = self.some_wire() {
            self.notice(pair);
            self.connect_wire(pair);
        }
        if !self.rough {
            self.members();
        }
    }

    fn notice(&mut self, pair: (usize, usize)) {
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

    fn connect_wire(&mut self, pair: (usize, usize)) {
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
    fn break_lines_over(&mut self, pair: (usize, usize)) {
        let over: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| (line.entry, line.home) == pair || (line.home, line.entry) == pair)
            .map(|(id, _)| *id)
            .collect();
        over.into_iter().for_each(|session| self.cut(session));
    }

    fn crash(&mut self, at: usize) {
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
            .filter(|(_, line)| line.entry == at || line.home == at)
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

    fn start(&mut self, at: usize) {
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

    fn drain_or_return(&mut self) {
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

    fn open_nodes(&self) -> Vec<usize> {
        let open = |at: &usize| self.nodes[*at].up && self.nodes[*at].doors && !self.nodes[*at].draining;
        (0..self.nodes.len()).filter(open).collect()
    }

    /// A node that has started lets users in when it has heard all that it reaches, or has waited long enough.
    fn open_doors(&mut self) {
        for at in 0..self.nodes.len() {
            let all =
                (0..self.nodes.len()).filter(|&other| other != at && self.nodes[other].up).all(|other| {
                    self.nodes[at].relay.has_heard(self.nodes[other].id) && self.alive[&(other, at)]
                });
            let node = &mut self.nodes[at];
            node.doors |= node.up && (all || self.now >= node.doors_by);
        }
    }

    fn line_of(&self, client: usize) -> Option<SessionId> {
        self.lines.iter().find(|(_, line)| line.client == client).map(|(id, _)| *id)
    }

    fn meant(&mut self, from: &UserKey, to: &str) -> Outgoing {
        let number = self.next;
        self.next += 1;
        let cid: Arc<str> = format!("c{number}").into();
        let out = Outgoing {
            cid: cid.clone(),
            kind: Kind::Private,
            to: to.into(),
            class: "RC:TxtMsg".into(),
            content: Content::empty(),
            flags: Flags::default()
                .with(Flags::COUNTED, !self.rng.one_in(4))
                .with(Flags::STORED, !self.rng.one_in(8)),
            push: None,
            check_blacklist: true,
            again: false,
        };
        let to = from.sibling(to).expect("id");
        let owed = (0..self.clients.len())
            .filter(|&at| {
                let client = &self.clients[at];
                client.began.is_some() && (client.user == *from || client.user == to)
            })
            .collect();
        let meant = Meant { from: from.clone(), to, number, owed, by: None, maybe: false };
        self.sent.insert(MessageId::of(from, &cid), meant);
        out
    }

    fn client_sends(&mut self) {
        let at = self.rng.below(self.clients.len());
        let to = USERS[self.rng.below(USERS.len())];
        let from = self.clients[at].user.clone();
        let out = self.meant(&from, to);
        self.sent.get_mut(&MessageId::of(&from, &out.cid)).expect("just meant").by = Some(at);
        self.clients[at].unsent.push_back(out.clone());
        if let Some(session) = self.line_of(at)
            && let Some(line) = self.lines.get_mut(&session)
            && line.welcomed
        {
            line.up.push_back(Up::Send(out));
        }
    }

    /// A back end calls some node's server API.
    fn call(&mut self) {
        let from = UserKey::new("app", USERS[self.rng.below(USERS.len())]).expect("id");
        let to = USERS[self.rng.below(USERS.len())];
        let number = self.next;
        self.next += 1;
        let (command, id) = if self.rng.one_in(5) {
            let other: Arc<str> = "zed".into();
            let on = self.rng.one_in(2);
            (if on { Command::Block(other) } else { Command::Unblock(other) }, None)
        } else if self.rng.one_in(8) {
            (Command::Direct(Directive::ExpireTokens { before: Stamp(1) }), None)
        } else {
            let out = self.meant(&from, to);
            let id = MessageId::of(&from, &out.cid);
            (Command::Send(out), Some(id))
        };
        self.calls.insert(number, Call { user: from, command, at: None, id });
        self.place_calls();
    }

    /// A call failed: what it asked for was done, or not. A back end that calls again sends another message.
    fn give_up(&mut self, call: &Call) {
        if let Some(id) = call.id
            && let Some(meant) = self.sent.get_mut(&id)
        {
            meant.owed.clear();
            meant.maybe = true;
        }
    }

    /// Calls without an answer are put to some node that is there.
    fn place_calls(&mut self) {
        self.open_doors();
        let up: Vec<_> = self.open_nodes();
        if up.is_empty() {
            return;
        }
        for (&number, call) in self.calls.iter_mut().filter(|(_, call)| call.at.is_none()) {
            let at = up[self.rng.below(up.len())];
            call.at = Some(at);
            let to = ReplyTo::Ticket(Ticket(number));
            let (user, command) = (call.user.clone(), call.command.clone());
            self.nodes[at].inputs.push_back(Input::Command { to, user, command });
        }
    }

    fn client_reads_or_recalls(&mut self) {
        let at = self.rng.below(self.clients.len());
        let Some(session) = self.line_of(at) else { return };
        let recall = self.rng.one_in(3);
        let mine: Vec<_> = self.clients[at].acked.keys().copied().collect();
        let up = if recall && !mine.is_empty() {
            Up::Recall(mine[self.rng.below(mine.len())])
        } else {
            Up::Read(Conversation { kind: Kind::Private, target: USERS[self.rng.below(USERS.len())].into() })
        };
        if let Some(line) = self.lines.get_mut(&session)
            && line.welcomed
        {
            line.up.push_back(up);
        }
    }

    fn connect_someone(&mut self) {
        let at = self.rng.below(self.clients.len());
        if self.line_of(at).is_none() {
            self.open_doors();
            let up: Vec<_> = self.open_nodes();
            if !up.is_empty() {
                let entry = up[self.rng.below(up.len())];
                self.connect(at, entry);
            }
        }
    }

    fn connect(&mut self, at: usize, entry: usize) {
        let session = SessionId(self.next);
        self.next += 1;
        let client = &mut self.clients[at];
        client.live = false;
        let open = Open {
            session,
            user: client.user.clone(),
            device: client.device.clone(),
            token_issued: Stamp(1),
            cursor: client.cursor(),
            reign: client.reign,
            window: 1 + self.rng.below(6) as u16,
            delivered: self.rng.one_in(2),
            carried: false,
        };
        let line = Line {
            client: at,
            entry,
            home: entry,
            down: VecDeque::new(),
            up: VecDeque::new(),
            sent: Stamp::ZERO,
            reading: None,
            attach: false,
            acked: Stamp::ZERO,
            requests: BTreeMap::new(),
            welcomed: false,
            open: open.clone(),
        };
        self.lines.insert(session, line);
        self.sessions.insert(session, at);
        self.nodes[entry].inputs.push_back(Input::Open(open));
    }

    fn cut_someone(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let at = self.rng.below(self.lines.len());
        let session = *self.lines.keys().nth(at).expect("bounded");
        self.cut(session);
    }

    fn cut(&mut self, session: SessionId) {
        if let Some(line) = self.lines.remove(&session) {
            self.clients[line.client].live = false;
            for at in [line.entry, line.home] {
                if self.nodes[at].up {
                    self.nodes[at].inputs.push_back(Input::Close { session });
                }
            }
        }
    }

    /// Something that was under way moves on by one step.
    fn work(&mut self) {
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

    fn sync(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.up
            && let Some(seq) = node.disk.sync(&mut self.rng)
        {
            node.inputs.push_back(Input::Committed { seq });
        }
    }

    /// A node takes a batch of inputs.
    fn feed(&mut self, at: usize) {
        if !self.nodes[at].up {
            return;
        }
        for _ in 0..=self.rng.below(8) {
            let Some(input) = self.nodes[at].inputs.pop_front() else { break };
            self.handle(at, input);
        }
        self.handle(at, Input::Tick);
    }

    fn read(&mut self, at: usize) {
        let count = self.nodes[at].reads.len();
        if count > 0 && self.nodes[at].up {
            let which = self.rng.below(count);
            self.nodes[at].read(which);
        }
    }

    fn deliver_frames(&mut self) {
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

    fn read_on(&mut self) {
        let limit = 1 + self.rng.below(4);
        let waiting: Vec<_> = self
            .lines
            .iter()
            .filter(|(_, line)| line.reading.is_some_and(|from| line.acked >= from))
            .map(|(id, _)| *id)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let session = waiting[self.rng.below(waiting.len())];
        let Some(line) = self.lines.get_mut(&session) else { return };
        let user = self.clients[line.client].user.clone();
        let page =
            self.nodes[line.home].disk.store.entries(&user, line.sent, limit, 1 << 20).expect("memory");
        for entry in page.entries {
            let prev = std::mem::replace(&mut line.sent, entry.pos);
            line.down.push_back(Down::Entry { prev, entry });
        }
        if page.more {
            line.reading = Some(line.sent);
        } else {
            line.reading = None;
            line.attach = true;
        }
    }

    fn ask_to_go_live(&mut self) {
        for (&session, line) in self.lines.iter_mut().filter(|(_, line)| line.attach) {
            line.attach = false;
            self.nodes[line.home].inputs.push_back(Input::Attach { session, at: line.sent });
        }
    }

    fn deliver_down(&mut self) {
        let ids: Vec<_> =
            self.lines.iter().filter(|(_, line)| !line.down.is_empty()).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let session = ids[self.rng.below(ids.len())];
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else { return };
            let Some(down) = line.down.pop_front() else { return };
            let welcome = matches!(down, Down::Welcome { .. });
            let refused = matches!(down, Down::Refused);
            let client = &mut self.clients[line.client];
            client.doubles |= self.trouble;
            if matches!(client.take(down), Next::Reconnect) || refused {
                self.cut(session);
                return;
            }
            if welcome {
                line.welcomed = true;
                line.up.extend(client.unsent.iter().cloned().map(Up::Send));
            }
            if self.rng.one_in(2) {
                line.up.push_back(Up::Ack(client.last));
            }
        }
    }

    fn deliver_up(&mut self) {
        let ids: Vec<_> =
            self.lines.iter().filter(|(_, line)| !line.up.is_empty()).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        let session = ids[self.rng.below(ids.len())];
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else { return };
            let Some(up) = line.up.pop_front() else { return };
            let user = self.clients[line.client].user.clone();
            let home = line.home;
            let r = self.next;
            self.next += 1;
            let to = ReplyTo::Session(session, r);
            let command = match up {
                Up::Ack(pos) => {
                    line.acked = line.acked.max(pos);
                    self.nodes[home].inputs.push_back(Input::Ack { session, pos });
                    continue;
                }
                Up::Send(out) => {
                    line.requests.insert(r, Some(out.cid.clone()));
                    Command::Send(out)
                }
                Up::Read(conversation) => {
                    line.requests.insert(r, None);
                    Command::Read { conversation, upto: None, remove: false }
                }
                Up::Recall(id) => {
                    let store = &self.nodes[home].disk.store;
                    let found = store.rows(&user).into_iter().find_map(|(_, row)| match row {
                        EntryRow::Message { id: of, at, conversation, .. } if of == id => {
                            Some((at, conversation))
                        }
                        _ => None,
                    });
                    let Some((at, conversation)) = found else { continue };
                    let Some(original) = store.message(&conversation.log(&user), at, id).expect("memory")
                    else {
                        continue;
                    };
                    line.requests.insert(r, None);
                    Command::Recall { original, extra: "".into() }
                }
            };
            self.nodes[home].inputs.push_back(Input::Command { to, user, command });
        }
    }

    fn handle(&mut self, at: usize, input: Input) {
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

    fn index(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("a node")
    }

    fn effect(&mut self, at: usize, effect: Effect) {
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
            Effect::Welcome { session, start, why, reign } => {
                let forked = why == Some(crate::relay::NotResumed::Forked);
                match self.lines.get_mut(&session).filter(|line| line.home == at) {
                    Some(line) => {
                        line.sent = start;
                        line.acked = start;
                        line.reading = Some(start);
                        line.down.push_back(Down::Welcome { start, reign, forked });
                    }
                    None => self.nodes[at].inputs.push_back(Input::Close { session }),
                }
            }
            Effect::TurnAway { session, .. } => self.end(session),
            Effect::Kick { session, why } => {
                if let KickReason::Moved { .. } = why
                    && self.lines.get(&session).is_some_and(|line| line.home != at)
                {
                    return;
                }
                self.end(session);
            }
            Effect::Live { session, .. } => {
                if let Some(line) = self.lines.get_mut(&session) {
                    line.down.push_back(Down::Live);
                }
            }
            Effect::ReadOn { session } => {
                if let Some(line) = self.lines.get_mut(&session) {
                    line.reading = Some(line.sent);
                }
            }
            Effect::Push { session, prev, entry } => {
                if let Some(line) = self.lines.get_mut(&session) {
                    assert!(line.reading.is_none(), "pushed to a session that is reading");
                    line.sent = entry.pos;
                    line.down.push_back(Down::Entry { prev, entry });
                }
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

    fn carry(&mut self, at: usize, session: SessionId, to: NodeId) {
        let to = self.index(to);
        let pair = (at.min(to), at.max(to));
        if !self.wires[&pair].is_up() {
            return self.end(session);
        }
        if let Some(line) = self.lines.get_mut(&session) {
            line.home = to;
            self.nodes[to].inputs.push_back(Input::Open(line.open.clone()));
        }
    }

    fn end(&mut self, session: SessionId) {
        if let Some(line) = self.lines.remove(&session) {
            self.clients[line.client].live = false;
        }
    }

    fn answered(&mut self, number: u64, ok: bool) {
        if let Some(call) = self.calls.remove(&number) {
            if ok {
                self.answered.extend(call.id);
            } else {
                self.give_up(&call);
            }
        }
    }

    fn reply(&mut self, session: SessionId, r: u64, answer: Option<Answer>) {
        // What comes after something that was refused overtakes it, also when nobody is there any more to hear of that.
        if answer.is_none()
            && let Some(client) = self.sessions.get(&session)
        {
            self.clients[*client].refused = true;
        }
        let Some(line) = self.lines.get_mut(&session) else { return };
        let Some(cid) = line.requests.remove(&r) else { return };
        let place = answer.as_ref().and_then(Answer::place);
        if let Some(place) = place
            && place.prev.is_some()
        {
            line.sent = place.pos;
        }
        line.down.push_back(match (answer, cid) {
            (Some(Answer::Sent { id, .. }), Some(cid)) => {
                Down::Sent { cid, id, place: place.map(|place| (place.pos, place.prev)) }
            }
            (Some(_), _) => match place {
                Some(place) => Down::Placed { pos: place.pos, prev: place.prev },
                None => return,
            },
            (None, Some(_)) => Down::Refused,
            (None, None) => return,
        });
    }

    /// Ends all faults and lets everything settle.
    pub fn heal(&mut self) {
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
            self.now += if self.rough { 2_000 } else { 200 };
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
                for line in self.lines.values_mut().filter(|line| line.welcomed && line.up.is_empty()) {
                    let client = &self.clients[line.client];
                    line.up.extend(client.unsent.iter().cloned().map(Up::Send));
                    line.up.push_back(Up::Ack(client.last));
                }
            }
            let lines = self.lines.values().all(|line| {
                line.down.is_empty() && line.up.is_empty() && line.reading.is_none() && !line.attach
            });
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
            .map(|line| (line.down.len(), line.up.len(), line.reading, line.attach, line.welcomed))
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
