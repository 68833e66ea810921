//! The world of the simulation: one node, its disk, its sessions, the lines to its clients.

use super::{
    client::{Client, Next, USERS, Up, outgoing, people, unread_by_hand, user},
    disk::Disk,
    line::{Lines, pick},
    rng::Rng,
};
use crate::{
    model::{Conversation, EntryRow, Kind, MessageId, NodeId, Stamp, UserKey},
    relay::{Effect, Input, Limits, Relay, ReplyTo, SessionId, sabotage::Sabotage},
    store::Store,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Line = super::line::Line<()>;

pub struct World {
    rng: Rng,
    now: u64,
    relay: Relay,
    disk: Disk,
    inputs: VecDeque<Input>,
    loads: Vec<UserKey>,
    lines: Lines<()>,
    clients: Vec<Client>,
    sent: BTreeMap<MessageId, (UserKey, UserKey)>,
    next: u64,
    sabotage: Option<Sabotage>,
}

fn limits() -> Limits {
    // Small, so that eviction and checkpoints happen all the time.
    Limits {
        pending: 64,
        mailboxes: 2,
        checkpoint_us: 50_000,
        outbox: 2,
        outbox_wait_us: 20_000,
        ..Limits::default()
    }
}

impl World {
    pub fn new(mut rng: Rng, sabotage: Option<Sabotage>) -> Self {
        let clients = people(&mut rng, 3);
        let mut world = Self {
            rng,
            now: 1_000_000,
            relay: Relay::new(NodeId::LOCAL, limits(), Stamp::ZERO),
            disk: Disk::default(),
            inputs: VecDeque::new(),
            loads: Vec::new(),
            lines: BTreeMap::new(),
            clients,
            sent: BTreeMap::new(),
            next: 1,
            sabotage,
        };
        world.relay.sabotage = sabotage;
        world
    }

    pub fn length(&mut self) -> usize {
        200 + self.rng.below(400)
    }

    fn line_of(&self, client: usize) -> Option<SessionId> {
        self.lines.iter().find(|(_, line)| line.client == client).map(|(id, _)| *id)
    }

    pub fn step(&mut self) {
        self.now += self.rng.below(4_000) as u64;
        match self.rng.below(100) {
            0..=19 => self.client_sends(),
            20..=27 => self.connect_someone(),
            28..=30 => self.cut_someone(),
            31..=33 => self.client_reads_or_recalls(),
            34 if self.rng.one_in(3) => self.crash(),
            _ => self.work(),
        }
    }

    /// Something that was under way moves on by one step.
    fn work(&mut self) {
        match self.rng.below(7) {
            0 => self.sync(),
            6 => self.ask_to_go_live(),
            1 => self.feed(),
            2 => self.load(),
            3 => self.read_on(),
            4 => self.deliver_down(),
            _ => self.deliver_up(),
        }
    }

    fn client_sends(&mut self) {
        let at = self.rng.below(self.clients.len());
        let to = USERS[self.rng.below(USERS.len())];
        let out = outgoing(&mut self.rng, self.next, to);
        self.next += 1;
        let client = &mut self.clients[at];
        let id = MessageId::of(&client.user, &out.cid);
        self.sent.insert(id, (client.user.clone(), client.user.sibling(to).expect("id")));
        client.unsent.push_back(out.clone());
        self.say(at, Up::Send(out));
    }

    fn client_reads_or_recalls(&mut self) {
        let at = self.rng.below(self.clients.len());
        if self.line_of(at).is_some() {
            let up = self.clients[at].reads_or_recalls(&mut self.rng);
            self.say(at, up);
        }
    }

    fn say(&mut self, client: usize, up: Up) {
        if let Some(line) = self.lines.values_mut().find(|line| line.client == client) {
            line.say(up);
        }
    }

    fn connect_someone(&mut self) {
        let at = self.rng.below(self.clients.len());
        if self.line_of(at).is_none() {
            self.connect(at);
        }
    }

    fn connect(&mut self, at: usize) {
        let session = SessionId(self.next);
        self.next += 1;
        self.clients[at].live = false;
        let open = self.clients[at].open(&mut self.rng, session);
        self.lines.insert(session, Line::new(at, ()));
        self.inputs.push_back(Input::Open(open));
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
            self.inputs.push_back(Input::Close { session });
        }
    }

    fn crash(&mut self) {
        self.disk.crash(&mut self.rng);
        self.lines.clear();
        self.inputs.clear();
        self.loads.clear();
        self.clients.iter_mut().for_each(|client| client.live = false);
        // The machine's clock may come back wrong.
        self.now = self.now.saturating_sub(self.rng.below(200_000) as u64).max(1);
        let last = self.disk.store.last_stamp().expect("memory");
        self.relay = Relay::new(NodeId::LOCAL, limits(), last);
        self.relay.sabotage = self.sabotage;
        let mut facts = Vec::new();
        self.disk.store.facts(&mut |key, fact| facts.push((key, fact))).expect("memory");
        for (key, fact) in facts {
            self.handle(Input::Fact { key, fact });
        }
    }

    fn sync(&mut self) {
        if let Some(seq) = self.disk.sync(&mut self.rng) {
            self.inputs.push_back(Input::Committed { seq });
        }
    }

    /// The node takes a batch of inputs.
    fn feed(&mut self) {
        for _ in 0..=self.rng.below(8) {
            let Some(input) = self.inputs.pop_front() else {
                break;
            };
            self.handle(input);
        }
        self.handle(Input::Tick);
    }

    fn load(&mut self) {
        if self.loads.is_empty() {
            return;
        }
        let at = self.rng.below(self.loads.len());
        let user = self.loads.swap_remove(at);
        let snapshot = Box::new(self.disk.store.load(&user).expect("memory"));
        self.inputs.push_back(Input::Loaded { user, snapshot });
    }

    /// The node reads a page for a session that is not live.
    fn read_on(&mut self) {
        let limit = 1 + self.rng.below(4);
        let Some(session) = pick(&self.lines, &mut self.rng, Line::wants_page) else { return };
        let Some(line) = self.lines.get_mut(&session) else { return };
        line.read_on(&self.disk.store, &self.clients[line.client].user, limit);
    }

    fn ask_to_go_live(&mut self) {
        for (&session, line) in &mut self.lines {
            self.inputs.extend(line.attach().map(|at| Input::Attach { session, at }));
        }
    }

    fn deliver_down(&mut self) {
        let Some(session) = pick(&self.lines, &mut self.rng, |line| !line.down.is_empty()) else { return };
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else { return };
            let client = &mut self.clients[line.client];
            match line.deliver(client) {
                None => return,
                Some(Next::Reconnect) => return self.cut(session),
                Some(Next::Nothing) if self.rng.one_in(2) => line.up.push_back(Up::Ack(client.last)),
                Some(Next::Nothing) => {}
            }
        }
    }

    fn deliver_up(&mut self) {
        let Some(session) = pick(&self.lines, &mut self.rng, |line| !line.up.is_empty()) else { return };
        for _ in 0..=self.rng.below(4) {
            let Some(line) = self.lines.get_mut(&session) else { return };
            let user = &self.clients[line.client].user;
            let Some(input) = line.take_up((session, self.next), user, &self.disk.store) else { return };
            self.next += 1;
            self.inputs.extend(input);
        }
    }

    fn handle(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.relay.handle(Stamp(self.now), input, &mut effects);
        for effect in effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Commit { seq, writes } => self.disk.submit(seq, writes),
            Effect::Load(user) => self.loads.push(user),
            effect @ Effect::Welcome { session, .. } => match self.lines.get_mut(&session) {
                Some(line) => line.hear(effect),
                None => self.inputs.push_back(Input::Close { session }),
            },
            effect @ (Effect::Live { session, .. }
            | Effect::ReadOn { session }
            | Effect::Push { session, .. }) => {
                if let Some(line) = self.lines.get_mut(&session) {
                    line.hear(effect);
                }
            }
            Effect::TurnAway { session, .. } | Effect::Kick { session, .. } => {
                if let Some(line) = self.lines.remove(&session) {
                    self.clients[line.client].live = false;
                }
            }
            Effect::Reply { to: ReplyTo::Session(session, r), answer } => {
                if let Some(line) = self.lines.get_mut(&session) {
                    line.answer(r, answer.ok());
                }
            }
            Effect::Export { .. }
            | Effect::Facts { .. }
            | Effect::Find { .. }
            | Effect::Look
            | Effect::Rows { .. }
            | Effect::Send { .. }
            | Effect::Carry { .. } => {
                panic!("a node alone has no peers: {effect:?}");
            }
            Effect::Reply { .. }
            | Effect::Pass { .. }
            | Effect::Delivered { .. }
            | Effect::Presence { .. } => {}
        }
    }

    /// Ends all faults and lets everything settle.
    pub fn heal(&mut self) {
        for round in 0..4_000 {
            for at in 0..self.clients.len() {
                if self.line_of(at).is_none() {
                    self.connect(at);
                }
            }
            self.now += 1_000;
            self.sync();
            self.feed();
            self.load();
            self.read_on();
            self.ask_to_go_live();
            self.deliver_down();
            self.deliver_up();
            // What was refused as busy is tried again, and everybody acks.
            if round % 50 == 49 {
                self.lines.values_mut().for_each(|line| line.try_again(&self.clients[line.client]));
            }
            let quiet = !self.disk.is_busy()
                && self.inputs.is_empty()
                && self.loads.is_empty()
                && self.relay.is_idle();
            let lines = self.lines.values().all(Line::is_quiet);
            if quiet && lines && self.clients.iter().all(|client| client.live && client.unsent.is_empty()) {
                return;
            }
        }
        let unsent: Vec<_> = self.clients.iter().map(|client| client.unsent.len()).collect();
        panic!(
            "does not settle: unsent {unsent:?}, {} inputs, live {:?}",
            self.inputs.len(),
            self.clients.iter().map(|client| client.live).collect::<Vec<_>>()
        );
    }

    pub fn verify(&mut self) {
        assert_eq!(self.relay.sessions(), self.lines.len(), "sessions that nobody holds");
        let logs: BTreeMap<UserKey, Vec<(Stamp, EntryRow)>> = USERS
            .iter()
            .map(|name| user(name))
            .map(|user| (user.clone(), self.disk.store.rows(&user)))
            .collect();
        let messages = |user: &UserKey, after: Stamp| -> Vec<MessageId> {
            logs[user]
                .iter()
                .filter(|(pos, _)| *pos > after)
                .filter_map(|(_, row)| match row {
                    EntryRow::Message { id, .. } => Some(*id),
                    _ => None,
                })
                .collect()
        };
        // P1, P2, P3: what was sent was acked in the end, and stands in both mailboxes once.
        for (id, (from, to)) in &self.sent {
            for user in BTreeSet::from([from, to]) {
                let count = messages(user, Stamp::ZERO).iter().filter(|of| *of == id).count();
                assert_eq!(count, 1, "{id} from {from:?} to {to:?} stands {count} times with {user:?}");
            }
        }
        for client in &self.clients {
            for id in client.acked.keys() {
                assert!(self.sent.contains_key(id), "acked {id} was never sent");
            }
            // P6: what the device saw is what the mailbox holds, in its order.
            let owed = messages(&client.user, client.began.expect("connected"));
            if client.thin {
                let seen: BTreeSet<_> = client.seen.iter().collect();
                for id in &owed {
                    assert!(seen.contains(id), "{:?}/{} never saw {id}", client.user, client.device);
                }
            } else {
                assert_eq!(client.seen, owed, "{:?}/{}", client.user, client.device);
            }
        }
        // Unread counts are what a count by hand gives.
        for (user, log) in &logs {
            let snapshot = self.disk.store.load(user).expect("memory");
            let mailbox = crate::relay::mailbox::Mailbox::restore(user.clone(), snapshot);
            let mut by_hand = 0_u64;
            for peer in USERS {
                let of = Conversation { kind: Kind::Private, target: peer.into() };
                by_hand += u64::from(unread_by_hand(log, &of));
            }
            assert_eq!(mailbox.unread(), by_hand, "unread of {user:?}");
        }
    }
}
